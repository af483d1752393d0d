from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from privacy import canonical
from privacy.accounting import delta_of, epsilon, mu_squared_for
from privacy.audit import (
    FALSE_ALARM,
    MOST_RUNS_UNASKED,
    Attack,
    AuditResult,
    Guesses,
    Scores,
    attacks_of,
    epsilon_of,
    runs_for,
    upper_bound,
)
from privacy.errors import InputError
from privacy.plan import GaussianSum, Plan, SiteBound

DELTA = Decimal("0.00001")
SENSITIVITY = 2**20

counts = st.tuples(st.integers(0, 400), st.integers(0, 400))


def mu_at(claim: str) -> float:
    return math.sqrt(mu_squared_for(Decimal(claim), DELTA))


def plan_at(mu: float) -> Plan:
    event = GaussianSum("gradient", 1, 8, 20, SENSITIVITY, math.ceil(SENSITIVITY / mu))
    return Plan("retention", "0" * 64, "local", str(DELTA), "1", (SiteBound("twin", 200),), (event,), 1)


def gaussian_scores(mu: float, runs: int, seed: int) -> Scores:
    """A tight mu-GDP mechanism's best attack."""
    random = np.random.default_rng(seed)
    return Scores(random.normal(0.0, 1.0, runs // 2), random.normal(mu, 1.0, runs // 2))


def audited(mu: float, claimed: float, runs: int, seed: int) -> AuditResult:
    scores = [
        ("releases", gaussian_scores(mu, runs, seed)),
        ("final model", gaussian_scores(mu / 2, runs, seed + 10**6)),
    ]
    return AuditResult(plan_at(claimed), attacks_of(scores, DELTA), runs, seed, "seeded-for-tests", None)


@given(count=st.integers(0, 500), of=st.integers(1, 500), alpha=st.sampled_from([0.05, 0.025, 0.0005]))
def test_the_upper_bound_is_where_so_few_would_be_a_surprise_of_alpha(count: int, of: int, alpha: float) -> None:
    bound = upper_bound(min(count, of), of, alpha)
    if count >= of:
        assert bound == 1.0
    else:
        assert binom.cdf(count, of, bound) == pytest.approx(alpha, rel=1e-6)


@pytest.mark.parametrize("claim", ["1", "8"])
def test_no_bound_fails_more_often_than_it_says(claim: str) -> None:
    """300 audits of a tight mechanism: at most 5 % may fail; the form with one interval is nearly exact."""
    mu, truth = mu_at(claim), Decimal(claim)
    attacks = [Attack.of("releases", gaussian_scores(mu, 400, seed), DELTA, 1) for seed in range(300)]
    most = binom.ppf(0.9999, 300, 0.05)
    assert sum(attack.direct > truth for attack in attacks) <= most
    assert sum(attack.gdp_rates > truth for attack in attacks) <= most
    assert binom.ppf(0.0001, 300, 0.03) <= sum(attack.gdp_guesses > truth for attack in attacks) <= most


def test_right_guesses_prove_more_than_two_rates_and_these_more_than_the_direct_bound() -> None:
    attack = Attack.of("releases", gaussian_scores(mu_at("3"), 6000, 1), DELTA, 1)
    assert attack.direct < attack.gdp_rates < attack.gdp_guesses < 3


def test_two_rates_by_hand() -> None:
    """Clopper-Pearson at 97.5 % for 20 and 30 of 100: 0.2918427 and 0.3998147 (R's binom.test)."""
    guesses = Guesses(20, 30, 100)
    assert guesses.mu_by_rates() == pytest.approx(norm.isf(0.2918427) - norm.ppf(0.3998147), abs=1e-6)
    assert guesses.epsilon(1e-5) == pytest.approx(math.log((1 - 1e-5 - 0.3998147) / 0.2918427), abs=1e-6)


@given(first=counts, second=counts)
def test_more_errors_never_prove_more(first: tuple[int, int], second: tuple[int, int]) -> None:
    fewer = Guesses(*(min(pair) for pair in zip(first, second, strict=True)), 400)
    more = Guesses(*(max(pair) for pair in zip(first, second, strict=True)), 400)
    assert fewer.epsilon(1e-5) >= more.epsilon(1e-5)
    assert fewer.mu_by_rates() >= more.mu_by_rates()
    assert fewer.mu_by_guesses() >= more.mu_by_guesses()


@given(errors=counts)
def test_surer_bounds_prove_less(errors: tuple[int, int]) -> None:
    guesses = Guesses(*errors, 400)
    assert guesses.mu_by_guesses(0.9995) <= guesses.mu_by_guesses(0.95)
    assert guesses.mu_by_rates(0.9995) <= guesses.mu_by_rates(0.95)
    assert guesses.epsilon(1e-5, 0.9995) <= guesses.epsilon(1e-5, 0.95)


def test_guessing_at_random_proves_nothing() -> None:
    attack = Attack.of("releases", gaussian_scores(0.0, 2000, 3), DELTA, 1)
    assert (attack.direct, attack.gdp_rates, attack.gdp_guesses) == (0, 0, 0)


def test_the_threshold_comes_from_the_runs_that_are_held_out() -> None:
    """Held-out scores of another scale set a bad threshold, and the other runs do not mend it."""
    scores = gaussian_scores(4.0, 1000, 5)
    misled = Scores(scores.absent.copy(), scores.present.copy())
    misled.absent[:100] += 50
    misled.present[:100] += 50
    assert Attack.of("releases", scores, DELTA, 1).gdp_guesses > 15
    wrong = Attack.of("releases", misled, DELTA, 1)
    assert (wrong.direct, wrong.gdp_rates, wrong.gdp_guesses) == (0, 0, 0)
    assert wrong.guesses == Guesses(0, 400, 400)


def test_a_sound_and_tight_mechanism_is_refuted_at_most_once_in_a_thousand_audits() -> None:
    mu = mu_at("3")
    refuted = sum(audited(mu, mu, 400, seed).refuted for seed in range(200))
    assert refuted <= binom.ppf(0.9999, 200, FALSE_ALARM)


def test_twice_the_claimed_mu_is_refuted() -> None:
    mu = mu_at("3")
    assert sum(audited(2 * mu, mu, 600, seed).refuted for seed in range(20)) >= 18


def test_either_attack_can_refute() -> None:
    mu = mu_at("3")
    scores = [("releases", gaussian_scores(mu, 600, 0)), ("final model", gaussian_scores(3 * mu, 600, 1))]
    result = AuditResult(plan_at(mu), attacks_of(scores, DELTA), 600, 0, "seeded-for-tests", None)
    assert result.lower_bound <= 3
    assert result.refuted


def test_the_default_number_of_runs_shows_three_quarters_of_a_tight_claim() -> None:
    mu = mu_at("3")
    runs = runs_for(plan_at(mu))
    shown = sum(audited(mu, mu, runs, seed).lower_bound >= Decimal("2.25") for seed in range(60))
    assert shown >= binom.ppf(0.0005, 60, 0.95)


def test_smaller_claims_take_more_runs_up_to_a_limit() -> None:
    wanted = [runs_for(plan_at(mu_at(claim))) for claim in ("8", "3", "1", "0.1")]
    assert wanted == sorted(wanted)
    assert wanted[0] < 2000
    assert wanted[-1] == MOST_RUNS_UNASKED
    assert all(runs % 2 == 0 for runs in wanted)


@given(mu=st.floats(0.01, 8.0))
def test_epsilon_of_mu_rounds_down(mu: float) -> None:
    found = epsilon_of(mu, DELTA)
    assert found == 0 or delta_of(float(found), mu) >= float(DELTA) * (1 - 1e-9)
    assert epsilon(Fraction(mu) ** 2, DELTA) - found <= Decimal("0.000001")


@pytest.mark.parametrize(
    ("absent", "present"),
    [([], []), ([1.0, 2.0], [1.0]), ([1.0, math.nan], [1.0, 2.0]), ([1.0, 2.0], [math.inf, 2.0]), ([[1.0]], [[1.0]])],
)
def test_scores_without_a_meaning_are_refused(absent: list[float], present: list[float]) -> None:
    with pytest.raises(InputError, match=r"^audit: expected"):
        Scores(np.array(absent), np.array(present))


def test_the_document_is_canonical_and_says_what_was_claimed_and_found() -> None:
    result = audited(mu_at("3"), mu_at("3"), 4000, 2)
    document = result.to_document()
    assert canonical.from_bytes(canonical.to_bytes(document), "audit") == document
    assert document["claim"]["delta"] == "0.00001"
    assert float(document["claim"]["epsilon"]) == pytest.approx(3.0, abs=1e-4)
    stated = document["lower_bound"]
    assert stated["epsilon"] == document["attacks"][0]["gdp-guesses"] == str(result.lower_bound)
    assert (stated["attack"], stated["bound"], stated["confidence"]) == ("releases", "gdp-guesses", "0.95")
    assert float(stated["share_of_claim"]) == pytest.approx(float(stated["epsilon"]) / 3, abs=1e-4)
    assert document["held_out"] == 800
    assert document["attacks"][0]["each"] == 1600
    assert 0 < float(document["discrete_noise_would_differ"]) < 1e-6
