"""What was measured of a release: `measures.json`, the sites' noisy histograms and what was read from them.

A measure is an event of the plan after the model's own (`MODEL_EVENTS`): an integer histogram over a site's employees
with noise, charged and signed like every other release. The file holds those sums as they left the sites, so that
whoever has the receipts can check them, and the figures that were read from them, with their intervals.

Rules of `check_measures`:
    1. The file is canonical, in this format, says what `ABOUT` says, and is about this plan.
    2. It holds every measure of the plan, once, in the plan's order, with a sum of every site of the plan.
    3. Every sum is the contribution that the site's receipt names, and was computed at the state that the file's scale
       and the released weights make (at nothing, for the head-count).
    4. Every figure is known, about a measure of the plan and the group or a site of it, and there once; every measure
       of scores has one. It is a value
       within its interval, or an interval and the reason why there is no value. That both follow from the sums is not
       checked here: `models.measure_reading` computes them again from the file.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from privacy import canonical, fields
from privacy.errors import InputError, VerificationFailed
from privacy.plan import GaussianSum, Plan, decimal

MEASURES: Final = "measures.json"
FORMAT: Final = "urn:kith:measures:v1"
MODEL_EVENTS: Final = ("second-moments", "gradient")
"""Events of a plan that the model is made of; all others are measures."""
HEAD_COUNT: Final = "head-count"
CONFIDENCE: Final = "0.95"
GROUP: Final = "group"
"""Scope of a figure over all sites; a site's is "site/" and its name."""
MAX_FIGURES: Final = 200_000
MAX_STEPS: Final = 2**53 - 1
ABOUT: Final = (
    "Measured on the people whose records trained the model, not on others: figures are somewhat better than they"
    " would be on new people. Differential privacy bounds that difference and does not remove it.",
    "Of the group's shared scorer; a site's own terms are not in it.",
    "Every sum left its site with noise and was charged as an event of the plan. Intervals count the noise, and that"
    " other people like these would have come out differently; each holds with the confidence stated, not all at once.",
    "An interval of a number of people counts the noise alone.",
    "A value is left out where its interval is wider than a public rule allows. Values that are told near that limit"
    " lean by chance, since the noise decides which are; their intervals hold all the same, told or not.",
    "Scores in one bin count as equal, so an area under the ROC curve is told slightly too low.",
)
FIGURES: Final = (
    "auc",
    "observed",
    "predicted",
    "observed-minus-predicted",
    "people",
    "selected",
    "selected-ratio",
    "selected-of-positive",
)
"""What is told of a measure: area under the ROC curve; share of people with label 1, as counted and as predicted; how
many people; the share that is selected, its ratio to the highest such share, and the share among people of label 1."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number read from noisy sums with its interval, or the interval and why there is no number.

    Attributes:
        event: the measure it was read from.
        scope: "group", or "site/" and a site's name.
        of: the part of the people: "all", "lower half", "upper half", or a value of a trait.
        name: one of `FIGURES`.
        value: decimal string, or None where it is not measurable.
        low, high: decimal strings, low <= value <= high; both None where there is no value and no bound on it.
        why: the reason why there is no value, or None.
    """

    event: str
    scope: str
    of: str
    name: str
    value: str | None
    low: str | None
    high: str | None
    why: str | None

    def __post_init__(self) -> None:
        """Refuse what is neither a number with its interval nor a reason.

        Raises:
            InputError: naming the field.
        """
        for field in ("event", "scope", "of", "name"):
            fields.text(getattr(self, field), f"measures, {field} of a figure", 300)
        if (self.value is None) != (self.why is not None) or (self.low is None) != (self.high is None):
            raise InputError("measures, figure: expected a value or why there is none, and two bounds or none")
        if self.why is not None:
            fields.text(self.why, "measures, why of a figure")
            if self.low is None:
                return
        told = (self.low, self.value, self.high) if self.value is not None else (self.low, self.high)
        numbers = [decimal(number or "", "measures, figure") for number in told]
        if numbers != sorted(numbers):
            raise InputError("measures, figure: expected low <= value <= high, got otherwise")


@dataclass(frozen=True, slots=True)
class Marks:
    """The scale of scores: float64 as their shortest decimal strings; see `models.measures.Scale`."""

    centre: str
    spread: str
    threshold: str

    def state(self, weights: bytes) -> bytes:
        """What measures on this scale were asked for at, with the shared scorer's little-endian float64 weights."""
        numbers = (float(decimal(text, "measures, scale")) for text in (self.centre, self.spread, self.threshold))
        return weights + struct.pack("<3d", *numbers)


@dataclass(frozen=True, slots=True)
class Measures:
    """The content of a `measures.json`.

    Attributes:
        plan: digest of the plan.
        scale: what scores were measured with, or None if only heads were counted.
        sums: by measure and site, the noisy histogram in grid steps.
        figures: what was read from them, at confidence `CONFIDENCE` each.
    """

    plan: str
    scale: Marks | None
    sums: Mapping[str, Mapping[str, tuple[int, ...]]]
    figures: tuple[Figure, ...]

    def to_document(self) -> dict[str, Any]:
        """Plain data for canonical JSON."""
        return {
            "format": FORMAT,
            "about": list(ABOUT),
            "plan": self.plan,
            "confidence": CONFIDENCE,
            "scale": asdict(self.scale) if self.scale else None,
            "sums": {event: {site: list(cells) for site, cells in by.items()} for event, by in self.sums.items()},
            "figures": [asdict(figure) for figure in self.figures],
        }

    @classmethod
    def from_bytes(cls, data: bytes) -> Measures:
        """The content that canonical bytes of `to_document` hold (rule 1).

        Raises:
            InputError: for anything else.
        """
        document = canonical.from_bytes(data, MEASURES)
        names = ("format", "about", "plan", "confidence", "scale", "sums", "figures")
        fields.exactly(document, names, MEASURES)
        for name, expected in (("format", FORMAT), ("about", list(ABOUT)), ("confidence", CONFIDENCE)):
            if document[name] != expected:
                raise InputError(f"{MEASURES}, {name}: expected what this version writes, got otherwise")
        found = cls(
            plan=fields.digest(document["plan"], f"{MEASURES}, plan"),
            scale=None if document["scale"] is None else _marks(document["scale"]),
            sums=_sums(document["sums"]),
            figures=_figures(document["figures"]),
        )
        if canonical.to_bytes(found.to_document()) != data:
            raise InputError(f"{MEASURES}: expected canonical JSON, got another writing of it")
        return found


@dataclass(frozen=True, slots=True)
class Answer:
    """What a site's receipt says of one measure: digests (hex) of the state and of the noisy sum."""

    state: str
    contribution: str


def measures_of(plan: Plan) -> tuple[GaussianSum, ...]:
    """The plan's events that are measures, in order."""
    return tuple(event for event in plan.events if event.name not in MODEL_EVENTS)


def check_measures(data: bytes, plan: Plan, answers: Mapping[tuple[str, str], Answer], weights: bytes) -> Measures:
    """The measures of a release, if they are what its sites have signed.

    Args:
        data: the bytes of `measures.json`.
        plan: of the release.
        answers: by site and event, from the verified receipts; of the measures at least.
        weights: little-endian float64 of the released shared scorer.

    Raises:
        InputError: if the file is malformed.
        VerificationFailed: if it is not about this plan, these receipts and these weights.
    """
    found = Measures.from_bytes(data)
    if found.plan != plan.digest:  # rule 1
        raise VerificationFailed(f"{MEASURES}: expected the digest of this release's plan, got another")
    measures, sites = measures_of(plan), sorted(site.name for site in plan.sites)
    names = [event.name for event in measures]
    if sorted(found.sums) != sorted(names):  # rule 2
        raise VerificationFailed(f"{MEASURES}: expected the plan's measures ({', '.join(names)}), got others")
    if (found.scale is None) != all(name == HEAD_COUNT for name in names):
        raise VerificationFailed(f"{MEASURES}, scale: expected one where scores were measured, got otherwise")
    for event in measures:
        scored = event.name != HEAD_COUNT and found.scale is not None
        state = found.scale.state(weights) if found.scale is not None and scored else b""
        if sorted(found.sums[event.name]) != sites:  # rule 2
            raise VerificationFailed(f"{MEASURES}, {event.name}: expected a sum of every site of the plan, got others")
        for site, cells in found.sums[event.name].items():
            _check_signed(event, site, cells, hashlib.sha256(state).hexdigest(), answers.get((site, event.name)))
    _check_figures(found.figures, names, sites)
    return found


def _check_signed(event: GaussianSum, site: str, cells: tuple[int, ...], state: str, answer: Answer | None) -> None:
    """Rule 3."""
    where = f"{MEASURES}, {event.name} of {site!r:.80}"
    if len(cells) != event.coordinates:
        raise VerificationFailed(f"{where}: expected {event.coordinates} whole numbers, got {len(cells)}")
    if answer is None:
        raise VerificationFailed(f"{where}: expected a receipt of the site for it, got none")
    if answer.contribution != hashlib.sha256(struct.pack(f"<{len(cells)}q", *cells)).hexdigest():
        raise VerificationFailed(f"{where}: expected the sum that the site's receipt names, got another")
    if answer.state != state:
        raise VerificationFailed(f"{where}: expected a sum at the released weights and this scale, got another's")


def _check_figures(figures: tuple[Figure, ...], names: list[str], sites: list[str]) -> None:
    """Rule 4."""
    scopes = {GROUP, *(f"site/{site}" for site in sites)}
    seen = {(figure.event, figure.scope, figure.of, figure.name) for figure in figures}
    if len(seen) != len(figures):
        raise VerificationFailed(f"{MEASURES}, figures: expected each once, got one twice")
    if silent := sorted(set(names) - {HEAD_COUNT} - {figure.event for figure in figures}):
        raise VerificationFailed(f"{MEASURES}, {silent[0]!r:.80}: expected a figure or why there is none, got nothing")
    for figure in figures:
        if figure.event not in names or figure.scope not in scopes or figure.name not in FIGURES:
            raise VerificationFailed(f"{MEASURES}, figures: expected known ones of this plan and its sites, got others")


def _marks(value: Any) -> Marks:
    names = ("centre", "spread", "threshold")
    document = fields.exactly(value, names, f"{MEASURES}, scale")
    for name in names:
        if repr(float(decimal(document[name], f"{MEASURES}, scale, {name}"))) != document[name]:
            raise InputError(f"{MEASURES}, scale, {name}: expected the shortest writing of a float64, got another")
    return Marks(**document)


def _sums(value: Any) -> dict[str, dict[str, tuple[int, ...]]]:
    if not isinstance(value, dict) or not all(isinstance(by_site, dict) for by_site in value.values()):
        raise InputError(f"{MEASURES}, sums: expected objects of sites by measure, got otherwise")
    return {
        event: {site: _cells(cells, f"{MEASURES}, {event!r:.60} of {site!r:.80}") for site, cells in by_site.items()}
        for event, by_site in value.items()
    }


def _cells(value: Any, where: str) -> tuple[int, ...]:
    cells = fields.items(value, where)
    if not all(type(cell) is int and abs(cell) <= MAX_STEPS for cell in cells):
        raise InputError(f"{where}: expected whole numbers below 2**53, got otherwise")
    return tuple(cells)


def _figures(value: Any) -> tuple[Figure, ...]:
    found = fields.items(value, f"{MEASURES}, figures")
    if len(found) > MAX_FIGURES:
        raise InputError(f"{MEASURES}, figures: expected at most {MAX_FIGURES}, got {len(found)}")
    names = ("event", "scope", "of", "name", "value", "low", "high", "why")
    return tuple(Figure(**fields.exactly(figure, names, f"{MEASURES}, figure")) for figure in found)
