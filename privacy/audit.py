"""What an attacker's scores prove about a mechanism: lower bounds on its epsilon. Statistics only.

A mechanism is run many times, in half of the runs with one more employee (the canary). An attacker gives every run a
score and guesses "present" above a threshold. If the mechanism costs what is claimed, no attacker guesses too well:

    (epsilon, delta)   1 - delta - FPR <= e^epsilon FNR, and the same with FPR and FNR exchanged (Kairouz et al. 2015)
    mu-GDP             Phi^-1(1 - FPR) - Phi^-1(FNR) <= mu                                   (Dong, Roth & Su 2022)
    mu-GDP             right guesses, canary present in half of the runs: a share of at most Phi(mu / 2)

The last is the second at its best threshold, for which FPR = FNR. Rates are bounded by Clopper & Pearson's exact
intervals. The third form needs one interval where the second needs two, and so half the runs: it is the one that
is stated. (Half of the runs are fixed to have the canary, so right guesses are a sum of two binomials; its tail is
lighter than that of the one binomial which is used, Hoeffding 1956, Thm 4.)

Rules:
    1. A threshold is picked on runs that are held out, and the bound is taken on the others.
    2. Which attack and which form is stated is fixed here, not picked by the result.
    3. A claim is refuted where a bound that fails for at most one sound mechanism in 1000 is above it, over all attacks
       together. At 95 % one in 20 sound and tight mechanisms would be.
    4. Numbers round against the finding: bounds down, and what discrete noise would change up.

An audit refutes claims; it proves none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr, ndtri

from privacy import accounting
from privacy.errors import InputError
from privacy.plan import Plan, written

CONFIDENCE: Final = 0.95
FALSE_ALARM: Final = 0.001
"""Largest probability that a sound mechanism is refuted (rule 3)."""
HELD_OUT: Final = 0.2
"""Share of the runs on which thresholds are picked (rule 1)."""
FEWEST_RUNS: Final = 200
MOST_RUNS: Final = 1_000_000
SHARE_TO_SHOW: Final = Decimal("0.75")
"""Share of a claim that the default number of runs shows 19 times in 20, if the claim is tight."""
MOST_RUNS_UNASKED: Final = 40_000
STATED: Final = "gdp-guesses"
"""The form that is stated (rule 2)."""
_THRESHOLDS: Final = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """An attacker's scores, higher where it finds the canary likelier, in the order of the runs.

    Attributes:
        absent: (n,) of runs without the canary.
        present: (n,) of runs with it.
    """

    absent: Floats
    present: Floats

    def __post_init__(self) -> None:
        """Refuse what no bound could be taken from.

        Raises:
            InputError: for no score, halves of unlike size, or a score that is not finite.
        """
        if self.absent.shape != self.present.shape or self.absent.ndim != 1 or not len(self.absent):
            raise InputError("audit: expected as many scores with the canary as without, got otherwise")
        if not (np.isfinite(self.absent).all() and np.isfinite(self.present).all()):
            raise InputError("audit: expected finite scores, got others")

    def split(self) -> tuple[Scores, Scores]:
        """The first fifth of either half, which is held out, and the others (rule 1)."""
        cut = held_out(len(self.absent))
        return Scores(self.absent[:cut], self.present[:cut]), Scores(self.absent[cut:], self.present[cut:])

    def guesses(self, threshold: float) -> Guesses:
        """What guessing "present" above `threshold` gets wrong."""
        wrong = int((self.absent > threshold).sum()), int((self.present <= threshold).sum())
        return Guesses(*wrong, len(self.absent))

    def middle(self) -> float:
        """The threshold between the two medians: the best one for scores that the canary only shifts."""
        return float(np.median(self.absent) + np.median(self.present)) / 2

    def best_threshold(self, delta: float) -> float:
        """The quantile of all scores at which `Guesses.epsilon` is largest."""
        every = np.concatenate([self.absent, self.present])
        return max(
            (float(one) for one in np.quantile(every, np.linspace(0, 1, _THRESHOLDS + 1))),
            key=lambda one: self.guesses(one).epsilon(delta),
        )


@dataclass(frozen=True, slots=True)
class Guesses:
    """How often an attacker was wrong at one threshold, of `each` runs without and as many with the canary."""

    false_positives: int
    false_negatives: int
    each: int

    def epsilon(self, delta: float, confidence: float = CONFIDENCE) -> float:
        """Lower bound on epsilon at `delta`, whatever the mechanism."""
        fpr, fnr = self._rates(confidence)
        ratios = ((1 - delta - fpr) / fnr, (1 - delta - fnr) / fpr)
        return math.log(max(1.0, *ratios))

    def mu_by_rates(self, confidence: float = CONFIDENCE) -> float:
        """Lower bound on mu of a mu-GDP mechanism, from both error rates."""
        fpr, fnr = self._rates(confidence)
        return max(0.0, -float(ndtri(fpr)) - float(ndtri(fnr)))

    def mu_by_guesses(self, confidence: float = CONFIDENCE) -> float:
        """Lower bound on mu of a mu-GDP mechanism, from the share of right guesses."""
        wrong = upper_bound(self.false_positives + self.false_negatives, 2 * self.each, 1 - confidence)
        return max(0.0, -2 * float(ndtri(wrong)))

    def _rates(self, confidence: float) -> tuple[float, float]:
        half = (1 - confidence) / 2
        return upper_bound(self.false_positives, self.each, half), upper_bound(self.false_negatives, self.each, half)


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack's bounds.

    Attributes:
        name: what the attacker sees.
        guesses: at the threshold of the GDP bounds, on the runs that were not held out.
        direct: lower bound on epsilon that assumes nothing of the mechanism, at a threshold of its own.
        gdp_rates, gdp_guesses: lower bounds on epsilon of a GDP mechanism, by the two forms.
        mu: lower bound on mu behind `gdp_guesses`.
        mu_sure: the same at the confidence of a refutation (rule 3), for one of two attacks.
    """

    name: str
    guesses: Guesses
    direct: Decimal
    gdp_rates: Decimal
    gdp_guesses: Decimal
    mu: float
    mu_sure: float

    @classmethod
    def of(cls, name: str, scores: Scores, delta: Decimal, attacks: int) -> Attack:
        """Bounds from an attack's scores; `attacks` share the false alarms that a claim's refutation may have."""
        held, rest = scores.split()
        guesses = rest.guesses(held.middle())
        direct = rest.guesses(held.best_threshold(float(delta))).epsilon(float(delta))
        return cls(
            name=name,
            guesses=guesses,
            direct=_down(direct),
            gdp_rates=epsilon_of(guesses.mu_by_rates(), delta),
            gdp_guesses=epsilon_of(guesses.mu_by_guesses(), delta),
            mu=guesses.mu_by_guesses(),
            mu_sure=guesses.mu_by_guesses(1 - FALSE_ALARM / attacks),
        )

    def to_document(self) -> dict[str, Any]:
        """For a certificate or a program; numbers that are not counts as decimal strings."""
        return {
            "attack": self.name,
            **asdict(self.guesses),
            "direct": str(self.direct),
            "gdp-rates": str(self.gdp_rates),
            "gdp-guesses": str(self.gdp_guesses),
            "mu": str(_down(self.mu)),
        }


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit found about a plan.

    Attributes:
        plan: the plan under audit, with the twin as its only site; sites do not change a plan's cost.
        attacks: the stated one first (rule 2).
        runs: trainings, half of them with the canary.
        seed: of the twin and the noise.
        noise: name of the source of noise.
        fault: name of the fault that was planted, or None.
    """

    plan: Plan
    attacks: tuple[Attack, ...]
    runs: int
    seed: int
    noise: str
    fault: str | None

    @property
    def claim(self) -> Decimal:
        """Epsilon of the plan at its delta, by the closed form."""
        return accounting.epsilon(self.plan.mu_squared, Decimal(self.plan.delta))

    @property
    def lower_bound(self) -> Decimal:
        """Epsilon at the plan's delta that the stated attack proves, at 95 %."""
        return self.attacks[0].gdp_guesses

    @property
    def refuted(self) -> bool:
        """Whether the plan costs more than it claims (rule 3)."""
        return max(attack.mu_sure for attack in self.attacks) ** 2 > self.plan.mu_squared

    def to_document(self) -> dict[str, Any]:
        """For a certificate or a program; numbers that are not counts as decimal strings."""
        plan = self.plan
        return {
            "claim": {"epsilon": str(self.claim), "delta": plan.delta, "mu2": written(plan.mu_squared)},
            "lower_bound": {
                "epsilon": str(self.lower_bound),
                "confidence": str(CONFIDENCE),
                "attack": self.attacks[0].name,
                "bound": STATED,
                "share_of_claim": str(_down(float(self.lower_bound / self.claim))),
            },
            "refuted": self.refuted,
            "false_alarm_at_most": str(FALSE_ALARM),
            "mechanism": {
                "name": plan.mechanism,
                "unit": plan.unit,
                "neighbours": plan.neighbours,
                "features": plan.features,
                "clip": plan.clip,
                "events": [asdict(event) for event in plan.events],
            },
            "twin": {"people": sum(site.people_at_most for site in plan.sites), "seed": self.seed},
            "runs": self.runs,
            "held_out": 2 * held_out(self.runs // 2),
            "noise": self.noise,
            "discrete_noise_would_differ": self._differs(),
            "fault": self.fault,
            "attacks": [attack.to_document() for attack in self.attacks],
        }

    def _differs(self) -> str:
        """Bound on the probability that exact discrete noise would have changed any run: its distance, run by run."""
        return f"{self.runs * float(accounting.total_variation(self.plan)) * 1.001:.3e}"


def upper_bound(count: int, of: int, alpha: float) -> float:
    """Clopper & Pearson's upper bound on a probability, which fails with probability at most `alpha`."""
    return 1.0 if count >= of else float(betaincinv(count + 1, of - count, 1 - alpha))


def epsilon_of(mu: float, delta: Decimal) -> Decimal:
    """Epsilon at `delta` of a mu-GDP mechanism, rounded down to 6 decimals (rule 4); 0 for mu = 0."""
    if mu <= 0:
        return Decimal(0)
    return max(Decimal(0), accounting.epsilon(Fraction(mu) ** 2, delta) - accounting.EPSILON_STEP)


def runs_for(plan: Plan) -> int:
    """Runs after which a tight claim is shown up to a share of `SHARE_TO_SHOW` 19 times in 20; at most 40,000."""
    delta = Decimal(plan.delta)
    enough = accounting.mu_squared_for(SHARE_TO_SHOW * accounting.epsilon(plan.mu_squared, delta), delta)
    right, wanted = (float(ndtr(math.sqrt(squared) / 2)) for squared in (plan.mu_squared, enough))
    deviations = float(ndtri(CONFIDENCE) + ndtri(0.95))
    fresh = deviations**2 * right * (1 - right) / (right - wanted) ** 2
    return min(MOST_RUNS_UNASKED, max(FEWEST_RUNS, 100 * math.ceil(fresh / (1 - HELD_OUT) / 100)))


def attacks_of(scores: Sequence[tuple[str, Scores]], delta: Decimal) -> tuple[Attack, ...]:
    """Bounds of several attacks on the same runs; the first is the one that is stated."""
    return tuple(Attack.of(name, one, delta, len(scores)) for name, one in scores)


def held_out(each: int) -> int:
    """Of `each` runs of one kind, those that are held out."""
    return math.ceil(HELD_OUT * each)


def _down(value: float) -> Decimal:
    return Decimal(value).quantize(accounting.EPSILON_STEP, rounding=ROUND_FLOOR)
