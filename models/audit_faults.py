"""Faults to plant in a site, so that the audit can show that it would catch them. Each breaks exactly one thing.

Nothing but the audit uses them: a guard makes its own sums, reads no plan from here and has its own source of noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from models.planning import GRADIENT, sharing
from privacy.errors import InputError
from privacy.plan import SECURE_SUM, Plan
from privacy.randomness import Integers, NoiseSource

NO_CLIP: Final = 2.0**20
"""A clip that no gradient reaches."""
MANY_SITES: Final = 100


@dataclass(frozen=True, slots=True)
class Fault:
    """What a faulty site runs in place of the plan, the clip and the noise that it was told; all as told by default.

    Attributes:
        says: the fault in words.
    """

    says: str
    plan: Callable[[Plan], Plan] = lambda plan: plan
    clip: Callable[[float], float] = lambda clip: clip
    noise: Callable[[NoiseSource], NoiseSource] = lambda noise: noise


class _Less:
    """A share of the noise that is asked for."""

    def __init__(self, source: NoiseSource, share: float) -> None:
        self._source, self._share = source, share
        self.name, self.mechanism = source.name, source.mechanism

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        return self._source.gaussian(size, int(deviation * self._share), label)


def _shared_by_all() -> float:
    """What is left of the noise where it was shared by all of many sites, and fewest reply and most collude."""
    replies, colluding = sharing(MANY_SITES, SECURE_SUM)
    return math.sqrt((replies - colluding) / MANY_SITES)


def _priced_for_one_round(plan: Plan) -> Plan:
    """Every round with the noise that would do for one."""
    event = plan.event(GRADIENT)
    alone = replace(event, noise=math.isqrt(event.noise * event.noise // event.times) + 1)
    return replace(plan, events=tuple(alone if one is event else one for one in plan.events))


NONE: Final = Fault("none")
FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {
        "accountant-reset": Fault("every round has the noise of a plan of one round", plan=_priced_for_one_round),
        "missing-clip": Fault("gradients are not clipped", clip=lambda _: NO_CLIP),
        "halved-noise": Fault("noise has half the deviation", noise=lambda source: _Less(source, 0.5)),
        "shared-by-all": Fault(
            "under masks, the noise is shared as if every site replied and none colluded",
            noise=lambda source: _Less(source, _shared_by_all()),
        ),
    }
)


def fault_of(name: str | None) -> Fault:
    """The fault of that name; none for None.

    Raises:
        InputError: for an unknown name.
    """
    if name is None:
        return NONE
    if name not in FAULTS:
        raise InputError(f"fault: expected one of {', '.join(FAULTS)}, got {name!r:.40}")
    return FAULTS[name]
