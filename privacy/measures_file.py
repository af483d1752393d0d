"""What was measured of a release: `measures.json`, the sites' noisy histograms and what was read from them.

A measure is an event of the plan after the model's own (`MODEL_EVENTS`): an integer histogram over a site's employees
with noise, charged and signed like every other release. The file holds those sums as they left the sites, or under a
secure sum what they add up to, and the figures that were read from them, with their intervals.

Rules of `check_measures`:
    1. The file is canonical, in this format, says what `ABOUT` says, and is about this plan.
    2. It holds every measure of the plan and no other, over exactly the sites with a receipt for it: a sum of each, or
       under a secure sum one of all.
    3. Every sum was computed at the state that the file's scale and the released weights make (at nothing, for the
       head-count). A single site's is the contribution that its receipt names. Under a secure sum receipts name masked
       values, and the sum is the coordinator's word.
    4. Every figure is known, about a measure of the plan and the group or a site with a sum of its own, and there once;
       every measure of scores has one. It is a value within its interval, or an interval and the reason why there is no
       value. That both follow from the sums is not checked here: `models.measure_reading` computes them again from the
       file.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from privacy import canonical, fields
from privacy.errors import InputError, VerificationFailed
from privacy.plan import LOCAL, GaussianSum, Plan, decimal

MEASURES: Final = "measures.json"
FORMAT: Final = "urn:kith:measures:v2"
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
    "Figures of the group are of the sites whose people are in the sums: a site may have been absent.",
    "Every sum has noise and was charged as an event of the plan. It is a site's own, with noise before it left there,"
    " or that of several sites, which added up under masks and shared the noise.",
    "Intervals count the noise, and that other people like these would have come out differently; each holds with the"
    " confidence stated, not all at once.",
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
class NoisySum:
    """A noisy histogram in grid steps, and the sites whose people are in it, in order of name."""

    sites: tuple[str, ...]
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Measures:
    """The content of a `measures.json`.

    Attributes:
        plan: digest of the plan.
        scale: what scores were measured with, or None if only heads were counted.
        sums: by measure, the noisy histograms, grouped as `groups_of` says.
        figures: what was read from them, at confidence `CONFIDENCE` each.
    """

    plan: str
    scale: Marks | None
    sums: Mapping[str, tuple[NoisySum, ...]]
    figures: tuple[Figure, ...]

    def to_document(self) -> dict[str, Any]:
        """Plain data for canonical JSON."""
        return {
            "format": FORMAT,
            "about": list(ABOUT),
            "plan": self.plan,
            "confidence": CONFIDENCE,
            "scale": asdict(self.scale) if self.scale else None,
            "sums": {
                event: [{"sites": list(one.sites), "values": list(one.values)} for one in sums]
                for event, sums in self.sums.items()
            },
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


def groups_of(plan: Plan, sites: Iterable[str]) -> list[tuple[str, ...]]:
    """Which of these sites share a sum: each has its own, in order; under a secure sum all have one together."""
    names = sorted(sites)
    return [(name,) for name in names] if plan.trust == LOCAL else [tuple(names)]


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
    measures = measures_of(plan)
    names = [event.name for event in measures]
    if sorted(found.sums) != sorted(names):  # rule 2
        raise VerificationFailed(f"{MEASURES}: expected the plan's measures ({', '.join(names)}), got others")
    if (found.scale is None) != all(name == HEAD_COUNT for name in names):
        raise VerificationFailed(f"{MEASURES}, scale: expected one where scores were measured, got otherwise")
    for event in measures:
        scored = event.name != HEAD_COUNT and found.scale is not None
        state = found.scale.state(weights) if found.scale is not None and scored else b""
        signed = {site: answer for (site, name), answer in answers.items() if name == event.name}
        _check_sums(event, groups_of(plan, signed), found.sums[event.name])
        _check_signed(event, found.sums[event.name], hashlib.sha256(state).hexdigest(), signed)
    _check_figures(found, names)
    return found


def _check_sums(event: GaussianSum, groups: list[tuple[str, ...]], sums: tuple[NoisySum, ...]) -> None:
    """Rule 2."""
    where = f"{MEASURES}, {event.name}"
    if [one.sites for one in sums] != groups:
        raise VerificationFailed(f"{where}: expected sums over exactly the sites with a receipt for it, got others")
    for one in sums:
        if len(one.values) != event.coordinates:
            raise VerificationFailed(f"{where}: expected {event.coordinates} whole numbers, got {len(one.values)}")


def _check_signed(event: GaussianSum, sums: tuple[NoisySum, ...], state: str, answers: Mapping[str, Answer]) -> None:
    """Rule 3."""
    for site, answer in answers.items():
        if answer.state != state:
            where = f"{MEASURES}, {event.name} of {site!r:.80}"
            raise VerificationFailed(f"{where}: expected a sum at the released weights and this scale, got another's")
    for one in (one for one in sums if len(one.sites) == 1):  # under a secure sum there are more
        contribution = hashlib.sha256(struct.pack(f"<{len(one.values)}q", *one.values)).hexdigest()
        if answers[one.sites[0]].contribution != contribution:
            where = f"{MEASURES}, {event.name} of {one.sites[0]!r:.80}"
            raise VerificationFailed(f"{where}: expected the sum that the site's receipt names, got another")


def _check_figures(found: Measures, names: list[str]) -> None:
    """Rule 4."""
    scopes = {
        event: {GROUP, *(f"site/{one.sites[0]}" for one in sums if len(one.sites) == 1)}
        for event, sums in found.sums.items()
    }
    seen = {(figure.event, figure.scope, figure.of, figure.name) for figure in found.figures}
    if len(seen) != len(found.figures):
        raise VerificationFailed(f"{MEASURES}, figures: expected each once, got one twice")
    if silent := sorted(set(names) - {HEAD_COUNT} - {figure.event for figure in found.figures}):
        raise VerificationFailed(f"{MEASURES}, {silent[0]!r:.80}: expected a figure or why there is none, got nothing")
    for figure in found.figures:
        if figure.scope not in scopes.get(figure.event, ()) or figure.name not in FIGURES:
            raise VerificationFailed(f"{MEASURES}, figures: expected known ones of this plan and its sites, got others")


def _marks(value: Any) -> Marks:
    names = ("centre", "spread", "threshold")
    document = fields.exactly(value, names, f"{MEASURES}, scale")
    for name in names:
        if repr(float(decimal(document[name], f"{MEASURES}, scale, {name}"))) != document[name]:
            raise InputError(f"{MEASURES}, scale, {name}: expected the shortest writing of a float64, got another")
    return Marks(**document)


def _sums(value: Any) -> dict[str, tuple[NoisySum, ...]]:
    if not isinstance(value, dict):
        raise InputError(f"{MEASURES}, sums: expected an object of sums by measure, got otherwise")
    where = f"{MEASURES}, sums"
    return {event: tuple(_sum(one, where) for one in fields.items(sums, where)) for event, sums in value.items()}


def _sum(value: Any, where: str) -> NoisySum:
    document = fields.exactly(value, ("sites", "values"), where)
    sites, values = (fields.items(document[name], f"{where}, {name}") for name in ("sites", "values"))
    if not all(type(cell) is int and abs(cell) <= MAX_STEPS for cell in values):
        raise InputError(f"{where}: expected whole numbers below 2**53, got otherwise")
    return NoisySum(tuple(fields.text(site, where) for site in sites), tuple(values))


def _figures(value: Any) -> tuple[Figure, ...]:
    found = fields.items(value, f"{MEASURES}, figures")
    if len(found) > MAX_FIGURES:
        raise InputError(f"{MEASURES}, figures: expected at most {MAX_FIGURES}, got {len(found)}")
    names = ("event", "scope", "of", "name", "value", "low", "high", "why")
    return tuple(Figure(**fields.exactly(figure, names, f"{MEASURES}, figure")) for figure in found)
