from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import amounts, canonical, signing, statement
from privacy.budget import Budget, PurposeGroup
from privacy.certificate import (
    FAILED,
    GARBAGE,
    NO_TUNING,
    REASONS,
    SILENT,
    Absence,
    AuditSummary,
    Certificate,
    KeysUsed,
    Mechanism,
    SiteAccount,
    account,
    issue,
    open_certificate,
    side_outputs,
)
from privacy.checkpoint import Checkpoint
from privacy.cost import Cost
from privacy.entries import Charged, Opened, Reserved
from privacy.errors import InputError, KithError, VerificationFailed
from privacy.ledger_excerpt import VerifiedExcerpt
from privacy.plan import GaussianSum, SiteBound
from privacy.statement import Statement, Subject
from tests.privacy.small_release import HEADS, NOW, FixedSigner, audit, masked_plan, plan

SIGNER = FixedSigner(1)
VERIFIER = signing.verifier(SIGNER.public)
SUBJECTS = (Subject("plan.json", plan().digest),)
DIGEST = hashlib.sha256(b"digest").hexdigest()
COST = Cost(
    mu2="0.375",
    delta="0.00001",
    discretization_delta="4.696E-13",
    accountant="gdp-closed-form",
    epsilon="2.501740",
    second_accountant="privacy-loss-distribution",
    epsilon_second="2.502007",
    epsilon_replace_one="5.544832",
    epsilon_two_sites="3.708635",
    epsilons=(("0.001", "1.725426"), ("0.00001", "2.501740")),
    leavers=((2, "5.544832"), (11, ">700")),
    releases=((12, "11.527141"), (24, "17.800130")),
    cumulative=("1.993092", "2.258146", "2.501740"),
)
ACCOUNT = SiteAccount(
    site="North",
    keyid=FixedSigner(2).keyid,
    people_at_most=100,
    budget=1,
    period=1,
    label="2027",
    group="support",
    cap="2",
    group_cap="1",
    total_before="1.75",
    total_after="2.125",
    worst_before="1.75",
    worst_after="2",
    group_before="0",
    group_after="0.375",
    lifetime="4.125",
    size=90,
    root=DIGEST,
    witnesses=("East", "South & West"),
)
ABSENCE = Absence("South & West", "gradient", 1, SILENT)
CERTIFICATE = Certificate(
    run="run-1",
    contract=DIGEST,
    mechanism=Mechanism.of(plan()),
    cost=COST,
    accounts=(ACCOUNT,),
    absences=(ABSENCE,),
    tuning=NO_TUNING,
    side_outputs=(),
    audit=AuditSummary("1.2", "0.95", "releases", "gdp-guesses", 2_000, 7, False, DIGEST),
    noise="os",
    code=DIGEST,
    environment={"python": "3.11.0", "torch": "2.13.0"},
    image=f"sha256:{DIGEST}",
    coordinator=SIGNER.keyid,
    keys=KeysUsed(3, DIGEST),
    prior=DIGEST,
    issued_at=NOW,
    not_covered=("what a site's own staff can read",),
)


ABSENCES = (
    Absence("North", "second-moments", 0, SILENT),
    Absence("West", "second-moments", 0, GARBAGE),
    Absence("East", "gradient", 0, FAILED),
    Absence("East", "gradient", 1, "refused"),
)


def issued(**changes: Any) -> bytes:
    return issue(replace(CERTIFICATE, **changes), SUBJECTS, SIGNER)


def test_a_certificate_is_the_golden_one(golden: Callable[[str, bytes], None]) -> None:
    golden("certificate.dsse.json", issued())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"audit": None, "image": None, "prior": None, "absences": ()},
        {"side_outputs": ("head-count",)},
        {"accounts": ()},
        {"mechanism": Mechanism.of(masked_plan())},
        {"absences": ABSENCES},
    ],
    ids=["everything stated", "nothing more", "a side output", "no account", "a secure sum", "every reason"],
)
def test_an_issued_certificate_comes_back(changes: dict[str, Any]) -> None:
    assert open_certificate(issued(**changes), VERIFIER) == (
        replace(CERTIFICATE, **changes),
        {"plan.json": plan().digest},
    )


def test_what_an_earlier_version_would_not_check_is_another_predicate() -> None:
    assert statement.CERTIFICATE == "urn:kith:privacy-certificate:v3"
    predicate = statement.unseal(issued(), VERIFIER, statement.CERTIFICATE, "certificate").predicate
    older = statement.seal(Statement(SUBJECTS, "urn:kith:privacy-certificate:v2", predicate), SIGNER)
    with pytest.raises(VerificationFailed, match="v3"):
        open_certificate(older, VERIFIER)


def test_there_are_four_reasons_for_an_absence_and_each_comes_back() -> None:
    assert REASONS == ("silent", "failed", "refused", "garbage")
    assert {one.reason for one in ABSENCES} == set(REASONS)


def test_more_absences_than_anybody_needs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("privacy.certificate.MAX_ABSENCES", 3)
    with pytest.raises(InputError, match="expected at most 3, got 4"):
        open_certificate(issued(absences=ABSENCES), VERIFIER)


def test_only_the_coordinator_it_names_issues_it() -> None:
    with pytest.raises(InputError, match="signer"):
        issue(CERTIFICATE, SUBJECTS, FixedSigner(2))
    foreign = issue(replace(CERTIFICATE, coordinator=FixedSigner(2).keyid), SUBJECTS, FixedSigner(2))
    with pytest.raises(VerificationFailed):
        open_certificate(foreign, VERIFIER)


def test_one_changed_byte_anywhere_is_refused() -> None:
    data = issued()
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 2]) + data[position + 1 :]
        with pytest.raises(KithError):
            open_certificate(changed, VERIFIER)


def away(**changes: Any) -> dict[str, Any]:
    return {"absences": (replace(ABSENCE, **changes),)}


REFUSED: dict[str, dict[str, Any]] = {
    "an infinite epsilon": {"cost": replace(COST, epsilon="inf")},
    "no epsilon": {"cost": replace(COST, epsilon="")},
    "an epsilon of three decimals": {"cost": replace(COST, epsilon="2.501")},
    "an epsilon that is no number": {"cost": replace(COST, epsilons=(("0.001", "NaN"),))},
    "a step that is no number": {"cost": replace(COST, cumulative=("1.993092", "x"))},
    "an amount with trailing zeros": {"cost": replace(COST, mu2="0.3750")},
    "a discretization of two writings": {"cost": replace(COST, discretization_delta="4.696e-13")},
    "an accountant without a name": {"cost": replace(COST, accountant="")},
    "a cap with a leading zero": {"accounts": (replace(ACCOUNT, cap="02"),)},
    "a negative size": {"accounts": (replace(ACCOUNT, size=-1),)},
    "a negative bound on people": {"accounts": (replace(ACCOUNT, people_at_most=-1),)},
    "witnesses out of order": {"accounts": (replace(ACCOUNT, witnesses=("South & West", "East")),)},
    "a witness twice": {"accounts": (replace(ACCOUNT, witnesses=("East", "East")),)},
    "no name of the noise": {"noise": ""},
    "an absence for another reason": away(reason="holiday"),
    "an absence for no reason": away(reason=None),
    "an absence for a list of reasons": away(reason=["silent"]),
    "an absence of nobody": away(site=""),
    "an absence from no event": away(event="holidays"),
    "an absence before the first release": away(index=-1),
    "an absence after the last release": away(index=2),
    "an absence from release true": away(index=True),
    "an absence twice": {"absences": (ABSENCE, ABSENCE)},
    "an absence for two reasons": {"absences": (ABSENCE, replace(ABSENCE, reason=FAILED))},
    "absences in another order of events": {"absences": ABSENCES[::-1]},
    "absences in another order of releases": {"absences": (ABSENCE, replace(ABSENCE, index=0))},
    "absences in another order of sites": {"absences": (ABSENCE, replace(ABSENCE, site="North"))},
    "a negative number of replies": {"mechanism": replace(CERTIFICATE.mechanism, replies_at_least=-1)},
    "true for who may collude": {"mechanism": replace(CERTIFICATE.mechanism, colluding=True)},
    "nothing that is not covered": {"not_covered": ()},
    "true for a time": {"issued_at": True},
    "an image without a digest": {"image": "kith:latest"},
    "a contract in capitals": {"contract": DIGEST.upper()},
    "a prior that is none": {"prior": "none"},
    "no environment": {"environment": {}},
    "a number as a version": {"environment": {"python": 3}},
    "an audit neither refuted nor not": {"audit": replace(CERTIFICATE.audit or AuditSummary(*[""] * 8), refuted=0)},  # type: ignore[arg-type]
    "a negative number of keys": {"keys": KeysUsed(-1, DIGEST)},
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED.keys())
def test_facts_that_are_none_are_refused_however_well_signed(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="certificate"):
        open_certificate(issued(**change), VERIFIER)


@pytest.mark.parametrize("where", ["", "cost", "mechanism", "audit", "keys"])
@pytest.mark.parametrize("change", ["one field less", "one field more"])
def test_a_missing_or_further_fact_is_refused(where: str, change: str) -> None:
    predicate = dict(statement.unseal(issued(), VERIFIER, statement.CERTIFICATE, "certificate").predicate)
    inside = predicate[where] if where else predicate
    if change == "one field less":
        inside.pop(sorted(inside)[0])
    else:
        inside["further"] = "1"
    with pytest.raises(InputError, match="exactly"):
        open_certificate(statement.seal(Statement(SUBJECTS, statement.CERTIFICATE, predicate), SIGNER), VERIFIER)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from(sorted(statement.unseal(issued(), VERIFIER, statement.CERTIFICATE, "c").predicate)),
)
def test_any_value_of_any_fact_is_read_or_refused_and_comes_back_as_it_was(value: Any, name: str) -> None:
    predicate = {**statement.unseal(issued(), VERIFIER, statement.CERTIFICATE, "c").predicate, name: value}
    sealed = statement.seal(Statement(SUBJECTS, statement.CERTIFICATE, predicate), SIGNER)
    try:
        certificate, _ = open_certificate(sealed, VERIFIER)
    except KithError:
        return
    if certificate.coordinator == SIGNER.keyid:
        assert issue(certificate, SUBJECTS, SIGNER) == sealed


# An account, from what a ledger shows


BUDGET = Budget(1, 1, "2027", "0.00001", "2", (PurposeGroup("support", "1", ("retention",)),), (), "a new year")


def shown(*charges: tuple[str, str, str]) -> VerifiedExcerpt:
    """Charges of 0.25 each, with totals of the period, of the group, and of all periods."""
    entries = {
        10 + n: Charged("run-1", DIGEST, "gradient", n, 0, DIGEST, "0.25", DIGEST, *totals, NOW)
        for n, totals in enumerate(charges)
    }
    opened = Opened("North", "kith/North", replace(BUDGET, number=0, period=0), NOW)
    reserved = Reserved("run-1", DIGEST, "retention", "support", 1, "0.5", DIGEST, NOW)
    return VerifiedExcerpt(Checkpoint("kith/North", 90, b"\1" * 32), opened, BUDGET, reserved, entries)


def test_an_account_takes_the_run_off_what_was_charged_with_it() -> None:
    found = account(SiteBound("North", 100), DIGEST, shown(("1.8", "0.25", "3.8"), ("2.05", "0.5", "4.05")), {"West"})
    assert (found.total_before, found.total_after) == ("1.55", "2.05")
    assert (found.group_before, found.group_after) == ("0", "0.5")
    assert (found.lifetime, found.size, found.root, found.witnesses) == ("4.05", 90, "01" * 32, ("West",))
    assert (found.cap, found.group, found.group_cap, found.label) == ("2", "support", "1", "2027")


def test_the_worst_off_employee_has_the_total_or_the_cap_whichever_is_less() -> None:
    found = account(SiteBound("North", 100), DIGEST, shown(("1.8", "0.25", "3.8"), ("2.05", "0.5", "4.05")), ())
    assert (found.worst_before, found.worst_after) == ("1.55", "2")
    below = account(SiteBound("North", 100), DIGEST, shown(("0.25", "0.25", "0.25")), ())
    assert Fraction(below.worst_after) == Fraction(below.total_after) == Fraction(1, 4)


def test_side_outputs_are_what_a_plan_releases_beyond_the_model() -> None:
    assert side_outputs(plan()) == ()
    assert side_outputs(plan(events=(*plan().events, HEADS))) == ("head-count",)
    assert side_outputs(plan(events=(GaussianSum("salaries", 1, 1, 0, 1, 9),))) == ("salaries",)


def test_an_audit_is_summed_up_as_it_states() -> None:
    data = audit(plan())
    found = AuditSummary.of(data)
    document = canonical.from_bytes(data, "audit")
    assert found.epsilon == document["lower_bound"]["epsilon"]
    assert (found.runs, found.seed, found.refuted) == (2_000, 7, False)
    assert found.sha256 == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("data", [b"{}", b"[]", b'{"lower_bound":1,"runs":1}', b"nothing", b'{"lower_bound":{}}'])
def test_what_is_no_audit_is_not_summed_up(data: bytes) -> None:
    with pytest.raises(InputError, match="audit"):
        AuditSummary.of(data)


def test_amounts_of_an_account_are_exact() -> None:
    charges = [(amounts.to_text(Fraction(n + 1, 4)),) * 3 for n in range(40)]
    found = account(SiteBound("North", 100), DIGEST, shown(*charges), ())  # type: ignore[arg-type]
    assert (found.total_before, found.total_after) == ("0", "10")
