"""The mechanism of a training run, as frozen data.

A plan binds what is released, how often, of which share of the employees, on which integer grid, with which
sensitivity and which noise. Its cost is derived from it and never typed in: every event is a Gaussian mechanism, so the
plan as a whole is mu-GDP with

    mu² = sum over events of  times * (sensitivity / noise)²          (Dong, Roth & Su 2022, Cor. 3.3)

exactly where everybody takes part in every release (rate 1). Where each employee enters by chance alone (rate below 1)
it is a bound, since not knowing who entered only hides more: budgets are kept in it because it alone adds up exactly;
what sampling gains is seen in epsilon (`privacy.loss_distribution`).

Sensitivity and noise are whole grid steps, so mu² is a rational number and is kept as one.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import asdict, dataclass, replace
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

from privacy import canonical
from privacy.errors import InputError

UNIT: Final = "employee"
NEIGHBOURS: Final = "add-remove"
DISCRETE: Final = "discrete-gaussian-on-grid"
"""Exact samples of the discrete Gaussian: what is accounted for is what runs."""
FLOAT64: Final = "float64-gaussian-on-grid"
"""Rounded samples of a float64 Gaussian: faster, and the accounting takes its arithmetic for exact."""
MECHANISMS: Final = (DISCRETE, FLOAT64)
LOCAL: Final = "local"
"""Every site adds all of the noise: what leaves it is protected against everybody else."""
SECURE_SUM: Final = "secure-sum"
"""Sites add up under masks and share the noise: what is protected is the sum."""
TRUSTS: Final = (LOCAL, SECURE_SUM)
MAX_ROUNDS: Final = 1_000
MAX_EVENTS: Final = 64
MAX_SITES: Final = 10_000
MAX_COORDINATES: Final = 10_000_000
MAX_STEPS: Final = 2**53 - 1
MIN_SECURE_SITES: Final = 3
"""With two, each would know the other's sum."""
MAX_TOTAL: Final = 2**62
"""Masked sums are taken modulo 2**64: honest ones stay below a quarter of it on either side."""
MU_SQUARED_DIGITS: Final = 18
"""Significant digits of mu² in writing; rounded up, so that a written charge never under-states."""
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([Ee][+-]?[0-9]{1,3})?")
"""Not all that Decimal takes: no spaces, underscores, or digits of other scripts, which may look like others here."""
_RATE: Final = re.compile(r"1|0\.[0-9]{0,11}[1-9]")


@dataclass(frozen=True, slots=True)
class GaussianSum:
    """A clipped sum over employees, released `times` times with fresh Gaussian noise.

    Attributes:
        name: which statistic ("second-moments", "gradient").
        times: releases under the plan, at least 1.
        coordinates: length of the released vector of integers.
        grid: one unit of the statistic is 2**grid steps.
        sensitivity: L2 distance, in steps, that one employee added or removed can move the sum (rounded up).
        noise: standard deviation per coordinate, in steps: of what a site adds, or under a secure sum of what
            `Plan.noise_shares` sites add together.
        rate: probability with which each employee enters each release, independently of everybody and of every other
            release (Poisson sampling); a plain decimal of at most 12 places in (0, 1].
    """

    name: str
    times: int
    coordinates: int
    grid: int
    sensitivity: int
    noise: int
    rate: str = "1"

    def __post_init__(self) -> None:
        """Refuse what is not a mechanism.

        Raises:
            InputError: naming the field, what was expected and what came.
        """
        if not self.name or len(self.name) > 64:
            raise InputError(f"plan event name: expected 1 to 64 characters, got {len(self.name)}")
        bounds = {
            "times": (1, MAX_ROUNDS),
            "coordinates": (1, MAX_COORDINATES),
            "grid": (0, 60),
            "sensitivity": (1, MAX_STEPS),
            "noise": (1, MAX_STEPS),
        }
        for field, (low, high) in bounds.items():
            _check_integer(getattr(self, field), low, high, f"plan event {self.name!r}, {field}")
        if not isinstance(self.rate, str) or not _RATE.fullmatch(self.rate):
            expected = "'1' or a plain decimal between 0 and 1 of at most 12 places"
            raise InputError(f"plan event {self.name!r}, rate: expected {expected}, got {self.rate!r:.40}")

    @property
    def mu_squared(self) -> Fraction:
        """Cost of all releases of this event together."""
        return self.times * self.mu_squared_once

    @property
    def mu_squared_once(self) -> Fraction:
        """Cost of one release of this event to somebody who enters it."""
        return Fraction(self.sensitivity * self.sensitivity, self.noise * self.noise)

    @property
    def sampled(self) -> bool:
        """Whether employees enter by chance."""
        return self.rate != "1"


@dataclass(frozen=True, slots=True)
class SiteBound:
    """A site and the public, declared bound on its head count (never the true count)."""

    name: str
    people_at_most: int

    def __post_init__(self) -> None:
        """Refuse an empty name or a bound below one.

        Raises:
            InputError: naming the site's field.
        """
        if not self.name or len(self.name) > 200:
            raise InputError(f"plan site name: expected 1 to 200 characters, got {len(self.name)}")
        _check_integer(self.people_at_most, 1, 10**9, f"plan site {self.name!r}, people_at_most")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will release about each site's employees.

    Attributes:
        use_case: the purpose, e.g. "retention".
        features: sha256 (hex) of the public feature space that both sides must share.
        trust: `LOCAL` or `SECURE_SUM`.
        delta: the delta at which epsilon is stated, as a decimal string.
        clip: L2 norm bound of one employee's gradient in units of the statistic, as a decimal string.
        sites: who takes part, with public head-count bounds, in order of name.
        events: what is released, in order.
        replies_at_least: fewest sites whose contributions make up a release; with fewer there is none.
        colluding: how many sites may pool what they know with each other and with the coordinator, under a secure sum,
            without learning more of the other sites than their sum; 0 where every site adds all the noise.
        mechanism: where the noise comes from, one of `MECHANISMS`.
    """

    use_case: str
    features: str
    trust: str
    delta: str
    clip: str
    sites: tuple[SiteBound, ...]
    events: tuple[GaussianSum, ...]
    replies_at_least: int
    colluding: int = 0
    unit: str = UNIT
    neighbours: str = NEIGHBOURS
    mechanism: str = DISCRETE

    def __post_init__(self) -> None:
        """Refuse a plan that does not say exactly what would run.

        Raises:
            InputError: naming the field, what was expected and what came.
        """
        self._check_words()
        if not 0 < decimal(self.delta, "plan delta") < 1:
            raise InputError(f"plan delta: expected more than 0 and less than 1, got {self.delta}")
        if decimal(self.clip, "plan clip") <= 0:
            raise InputError(f"plan clip: expected more than 0, got {self.clip}")
        names = [site.name for site in self.sites]
        if not 1 <= len(names) <= MAX_SITES or names != sorted(set(names)):
            raise InputError("plan sites: expected 1 to 10000 distinct names in order, got otherwise")
        events = [event.name for event in self.events]
        if not 1 <= len(set(events)) == len(events) <= MAX_EVENTS:
            raise InputError(f"plan events: expected 1 to {MAX_EVENTS} with distinct names, got otherwise")
        self._check_replies()

    def _check_words(self) -> None:
        for field, expected in (("unit", UNIT), ("neighbours", NEIGHBOURS)):
            if getattr(self, field) != expected:
                raise InputError(f"plan {field}: expected {expected!r}, got {getattr(self, field)!r}")
        for field in ("use_case", "features"):
            if not isinstance(getattr(self, field), str):
                raise InputError(f"plan {field}: expected text, got {type(getattr(self, field)).__name__}")
        if self.mechanism not in MECHANISMS:
            raise InputError(f"plan mechanism: expected one of {', '.join(MECHANISMS)}, got {self.mechanism!r:.60}")
        if self.trust not in TRUSTS:
            raise InputError(f"plan trust: expected one of {', '.join(TRUSTS)}, got {self.trust!r}")

    def _check_replies(self) -> None:
        """Rules of Bonawitz et al. 2017, Thm. 6.5, for a coordinator that may lie: 2t > n + c."""
        sites, replies, colluding = len(self.sites), self.replies_at_least, self.colluding
        _check_integer(replies, 1, sites, "plan replies_at_least")
        if self.trust == LOCAL:
            return _check_integer(colluding, 0, 0, "plan colluding (where every site adds all the noise)")
        if sites < MIN_SECURE_SITES:
            raise InputError(f"plan sites: expected at least {MIN_SECURE_SITES} for a secure sum, got {sites}")
        _check_integer(colluding, 1, 2 * replies - sites - 1, "plan colluding (below 2 * replies_at_least - sites)")
        if self.mechanism != DISCRETE:
            raise InputError(f"plan mechanism: expected {DISCRETE!r} under a secure sum, got {self.mechanism!r}")
        _check_integer(self.noise_shares, 1, sites, "plan replies_at_least - colluding")
        largest = max(
            sum(site.people_at_most for site in self.sites) * event.sensitivity + 64 * sites * event.noise
            for event in self.events
        )
        if largest >= MAX_TOTAL:
            raise InputError("plan events: expected sums below 2**62 grid steps under a secure sum, got larger ones")
        return None

    @property
    def noise_shares(self) -> int:
        """Sites whose shares of noise make up an event's `noise`: the honest ones of the fewest that reply."""
        return 1 if self.trust == LOCAL else self.replies_at_least - self.colluding

    def at_site(self, event: GaussianSum) -> GaussianSum:
        """The event as one site releases it: under a secure sum with its share of the noise, rounded up."""
        if self.noise_shares == 1:
            return event
        return replace(event, noise=math.isqrt((event.noise**2 - 1) // self.noise_shares) + 1)

    @property
    def mu_squared(self) -> Fraction:
        """Cost of the whole plan to each employee of a site, whether sampling gains something or not."""
        return sum((event.mu_squared for event in self.events), Fraction(0))

    @property
    def sampled(self) -> bool:
        """Whether employees enter some release by chance."""
        return any(event.sampled for event in self.events)

    @property
    def releases(self) -> tuple[tuple[str, int], ...]:
        """Event and index of each release, in order."""
        return tuple((event.name, index) for event in self.events for index in range(event.times))

    def event(self, name: str) -> GaussianSum:
        """The event of that name.

        Raises:
            InputError: if the plan has none.
        """
        for event in self.events:
            if event.name == name:
                return event
        raise InputError(f"event: expected one of {', '.join(e.name for e in self.events)}, got {name!r}")

    def to_bytes(self) -> bytes:
        """Canonical JSON (RFC 8785) of the plan."""
        return canonical.to_bytes(asdict(self))

    @property
    def digest(self) -> str:
        """sha256 (hex) of `to_bytes()`: the plan's identity."""
        return _digest(self)

    @classmethod
    def from_bytes(cls, data: bytes) -> Plan:
        """The plan that `to_bytes` wrote.

        Raises:
            InputError: for anything else, also for other bytes with the same meaning.
        """
        fields = canonical.from_bytes(data, "plan")
        try:
            plan = cls(
                **{
                    **fields,
                    "sites": tuple(SiteBound(**site) for site in fields["sites"]),
                    "events": tuple(GaussianSum(**event) for event in fields["events"]),
                }
            )
        except (TypeError, KeyError, AttributeError):
            raise InputError("plan: expected exactly the fields of a plan, got others") from None
        if plan.to_bytes() != data:
            raise InputError("plan: expected canonical JSON bytes, got another writing of them")
        return plan


@lru_cache(maxsize=16)  # a request of a run of many sites asks for it again and again
def _digest(plan: Plan) -> str:
    return hashlib.sha256(plan.to_bytes()).hexdigest()


def decimal(text: str, where: str) -> Decimal:
    """A finite decimal number from its string.

    Raises:
        InputError: if the text is none.
    """
    if isinstance(text, str) and len(text) <= 64 and _NUMBER.fullmatch(text):
        number = Decimal(text)
        if abs(number.adjusted()) <= 400:
            return number
    raise InputError(f"{where}: expected a decimal number as a string of at most 64 characters, got otherwise")


def written(mu_squared: Fraction) -> str:
    """mu² as a decimal string of 18 significant digits, rounded up."""
    context = Context(prec=MU_SQUARED_DIGITS, rounding=ROUND_CEILING)
    return str(context.divide(Decimal(mu_squared.numerator), Decimal(mu_squared.denominator)))


def _check_integer(value: Any, low: int, high: int, where: str) -> None:
    if type(value) is not int or not low <= value <= high:
        raise InputError(f"{where}: expected a whole number from {low} to {high}, got {value!r:.40}")
