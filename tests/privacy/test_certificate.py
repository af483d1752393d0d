from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from privacy import accounting, signing
from privacy.certificate import Certificate, Mechanism, SiteAccount, issue, open_certificate
from privacy.cost import Cost, cost_of
from privacy.errors import InputError, KithError, VerificationFailed
from privacy.plan import GaussianSum
from privacy.statement import Subject
from tests.privacy.small_release import NOW, FixedSigner, plan

SIGNER = FixedSigner(1)
VERIFIER = signing.verifier(SIGNER.public)
SUBJECTS = (Subject("plan.json", plan().digest),)
COST = Cost(
    "0.375", "0.00001", "4.696E-13", "2.501740", "2.501741", "5.544832", (("0.001", "1.7"), ("0.00001", "2.50174"))
)
CERTIFICATE = Certificate(
    run="run-1",
    mechanism=Mechanism.of(plan()),
    cost=COST,
    accounts=(SiteAccount("North", FixedSigner(2).keyid, "2", "0", "0.375", 9, hashlib.sha256(b"root").hexdigest()),),
    noise="os",
    code=hashlib.sha256(b"code").hexdigest(),
    coordinator=SIGNER.keyid,
    issued_at=NOW,
    not_covered=("what a site's own staff can read",),
)


def test_a_certificate_is_the_golden_one(golden: Callable[[str, bytes], None]) -> None:
    golden("certificate.dsse.json", issue(CERTIFICATE, SUBJECTS, SIGNER))


def test_an_issued_certificate_comes_back() -> None:
    assert open_certificate(issue(CERTIFICATE, SUBJECTS, SIGNER), VERIFIER) == (
        CERTIFICATE,
        {"plan.json": plan().digest},
    )


def test_only_the_coordinator_it_names_issues_it() -> None:
    with pytest.raises(InputError, match="signer"):
        issue(CERTIFICATE, SUBJECTS, FixedSigner(2))
    foreign = issue(replace(CERTIFICATE, coordinator=FixedSigner(2).keyid), SUBJECTS, FixedSigner(2))
    with pytest.raises(VerificationFailed):
        open_certificate(foreign, VERIFIER)


def test_one_changed_byte_anywhere_is_refused() -> None:
    data = issue(CERTIFICATE, SUBJECTS, SIGNER)
    for position in range(len(data)):
        changed = data[:position] + bytes([data[position] ^ 2]) + data[position + 1 :]
        with pytest.raises(KithError):
            open_certificate(changed, VERIFIER)


@pytest.mark.parametrize(
    "change",
    [
        {"cost": replace(COST, epsilon="inf")},
        {"cost": replace(COST, epsilon="")},
        {"cost": replace(COST, epsilons=(("0.001", "NaN"),))},
        {"accounts": (replace(CERTIFICATE.accounts[0], cap="02"),)},
        {"accounts": (replace(CERTIFICATE.accounts[0], size=-1),)},
        {"noise": ""},
        {"not_covered": ()},
        {"issued_at": True},
    ],
)
def test_facts_that_are_none_are_refused_however_well_signed(change: dict[str, object]) -> None:
    signed = issue(replace(CERTIFICATE, **change), SUBJECTS, SIGNER)
    with pytest.raises(InputError, match="certificate"):
        open_certificate(signed, VERIFIER)


def test_epsilons_include_what_discrete_noise_adds() -> None:
    coarse = plan(events=(GaussianSum("gradient", 1, 10, 0, 2**9, 2**14),))
    cost, mu = cost_of(coarse), math.sqrt(coarse.mu_squared)
    added = float(cost.discretization_delta)
    assert added > 1e-10
    assert accounting.delta_of(float(cost.epsilon), mu) + added <= float(coarse.delta)
    assert cost.epsilon > format(accounting.epsilon(coarse.mu_squared, Decimal(coarse.delta)), "f")
    for delta, epsilon in cost.epsilons:
        slack = float(accounting.total_variation(coarse)) * (1 + math.exp(float(epsilon)))
        assert accounting.delta_of(float(epsilon), mu) + slack <= float(delta)


def test_a_grid_too_coarse_for_its_delta_is_refused() -> None:
    with pytest.raises(InputError, match=r"epsilon: .* ask for a smaller epsilon"):
        cost_of(plan(events=(GaussianSum("gradient", 1, 10, 0, 2**3, 2**5),)))


def test_replacing_an_employee_costs_as_twice_the_mu() -> None:
    cost = cost_of(plan())
    continuous = accounting.epsilon(4 * plan().mu_squared, Decimal("0.00001"))
    assert continuous <= Decimal(cost.epsilon_replace_one) <= continuous + Decimal("0.00001")
    assert [delta for delta, _ in cost.epsilons] == ["0.001", "0.0001", "0.00001", "0.000001", "0.0000001"]
