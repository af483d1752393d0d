"""The check of a release's audit: its counts of an attacker's errors are taken as they are, all else is computed anew.

The rule is in `privacy.verify`, by number. This module brings SciPy: it is imported only for a release with an audit.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from privacy import canonical, fields, release_files
from privacy.audit import FALSE_ALARM, FEWEST_RUNS, MOST_RUNS, Attack, AuditResult, Guesses, epsilon_of, held_out
from privacy.errors import InputError, VerificationFailed
from privacy.plan import LOCAL, Plan, SiteBound, decimal
from privacy.verify_evidence import equal

MAX_ATTACKS: Final = 16
_COUNTS: Final = ("false_positives", "false_negatives", "each")
_WHERE: Final = release_files.AUDIT


def check_audit(data: bytes, plan: Plan) -> None:
    """Return if `data` is an audit of this plan that found nothing, and states what its counts give.

    Raises:
        InputError: if it is no audit.
        VerificationFailed: if a fault was planted, the plan is refuted, or something else is stated.
    """
    document = canonical.from_bytes(data, _WHERE)
    if canonical.to_bytes(document) != data:
        raise InputError(f"{_WHERE}: expected canonical JSON, got another writing")
    result = _recomputed(document, plan)
    equal(f"{_WHERE}, fault", None, document["fault"])
    if result.refuted or document["refuted"] is not False:
        raise VerificationFailed(f"{_WHERE}, refuted: expected an audit that does not refute the plan, got one")
    expected = result.to_document()
    fields.exactly(document, expected.keys(), _WHERE)
    for name, computed in expected.items():
        equal(f"{_WHERE}, {name}", computed, document[name])


def _recomputed(document: Any, plan: Plan) -> AuditResult:
    """The audit of `plan` with the counts of `document`."""
    try:
        runs = fields.whole(document["runs"], f"{_WHERE}, runs")
        people = fields.whole(document["twin"]["people"], f"{_WHERE}, people")
        attacks = fields.items(document["attacks"], f"{_WHERE}, attacks")
        if not FEWEST_RUNS <= runs <= MOST_RUNS or runs % 2 or not 1 <= len(attacks) <= MAX_ATTACKS:
            raise InputError(f"{_WHERE}: expected {FEWEST_RUNS} to {MOST_RUNS} trainings and an attack, got otherwise")
        return AuditResult(
            plan=replace(plan, trust=LOCAL, sites=(SiteBound("twin", people),), replies_at_least=1, colluding=0),
            attacks=tuple(_attack(one, runs, Decimal(plan.delta), len(attacks)) for one in attacks),
            runs=runs,
            seed=fields.whole(document["twin"]["seed"], f"{_WHERE}, seed"),
            noise=fields.text(document["noise"], f"{_WHERE}, noise"),
            fault=None,
        )
    except (KeyError, TypeError):
        raise InputError(f"{_WHERE}: expected the document of an audit, got otherwise") from None


def _attack(document: Any, runs: int, delta: Decimal, attacks: int) -> Attack:
    """The bounds that an attack's counts give; its `direct` bound has counts of its own, which are not stated."""
    counts = {name: fields.whole(document[name], f"{_WHERE}, {name}") for name in _COUNTS}
    equal(f"{_WHERE}, each", runs // 2 - held_out(runs // 2), counts["each"])
    if max(counts.values()) > counts["each"]:
        raise InputError(f"{_WHERE}: expected at most as many errors as guesses, got more")
    guesses = Guesses(**counts)
    return Attack(
        name=fields.text(document["attack"], f"{_WHERE}, attack"),
        guesses=guesses,
        direct=decimal(document["direct"], f"{_WHERE}, direct"),
        gdp_rates=epsilon_of(guesses.mu_by_rates(), delta),
        gdp_guesses=epsilon_of(guesses.mu_by_guesses(), delta),
        mu=guesses.mu_by_guesses(),
        mu_sure=guesses.mu_by_guesses(1 - FALSE_ALARM / attacks),
    )
