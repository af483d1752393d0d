"""What a site's contributions are computed from: the rows of a run's members, as they may be used at this moment.

Nothing here is noisy yet, and nothing of it leaves: `federation.guard` alone calls it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from federation.site import Site
from federation.source import MarkedRows, Source, source_of
from models.features import FeatureSpace
from models.planning import FAIRNESS, GRADIENT, LARGEST_WEIGHT, SECOND_MOMENTS, gradient_clip
from privacy.errors import InputError
from privacy.marks import Marks
from privacy.plan import GaussianSum
from records.contract import Contract
from records.minimize import MinimizedRows

if TYPE_CHECKING:
    from models.training import SiteSums

Computation = Callable[[str, Marks], NDArray[np.int64]]
"""From a run and its members to an exact sum."""


class Computing:
    """Exact sums over one run's members at a time. Nothing is kept from one run to another."""

    def __init__(self, site: Site, contract: Contract) -> None:
        """Nothing is read yet."""
        self._site, self._contract = site, contract
        self.space = FeatureSpace.from_contract(contract)
        self._run: tuple[str, Source] | None = None
        self._of_rows: tuple[MarkedRows, Marks, MinimizedRows, SiteSums] | None = None

    def source(self, run: str) -> Source:
        """The rows of a run: the same object until another run's are asked for."""
        known = self._run  # another thread may be at another run
        if known is None or known[0] != run:
            known = run, source_of(self._site, self._contract)
            self._run, self._of_rows = known, None
        return known[1]

    def forget(self) -> None:
        """Keep no rows."""
        self._run = self._of_rows = None

    def rows(self, run: str) -> MarkedRows:
        """All rows as they may be used now.

        Raises:
            KithError: if they can not be used.
            Refused: if the policy does not find their people enough.
        """
        here = self.source(run).rows()
        self._site.policy.check_people(len(here.marks))
        return here

    def of_release(self, event: GaussianSum, state: bytes) -> Computation:
        """What computes an event's exact sum, int64 in grid steps, once its state has been checked.

        Raises:
            InputError: if the state is none for this event; nothing has been read then.
        """
        if event.name == SECOND_MOMENTS:
            if state:
                raise InputError(f"state: expected none for {SECOND_MOMENTS!r}, got {len(state)} bytes")
            return lambda run, members: self._rows_of(run, members)[3].second_moments()
        if event.name == GRADIENT:
            weights = _weights(event, state)
            return lambda run, members: self._rows_of(run, members)[3].gradient(weights)
        from models import measures

        measures.check_state(event.name, self.space, state)
        return lambda run, members: self._measured(run, members, event.name, state)

    def _rows_of(self, run: str, members: Marks) -> tuple[MarkedRows, Marks, MinimizedRows, SiteSums]:
        """All rows as they may be used now, the run's members, their rows, and the sums over these."""
        here = self.rows(run)
        known = self._of_rows
        if known is None or known[0] is not here or known[1] != members:
            from models.training import SiteSums  # torch and opacus: seconds that a refused plan need not wait for

            rows = here.of(members)
            known = here, members, rows, SiteSums(self.space, rows, float(gradient_clip(self.space)))
            self._of_rows = known
        return known

    def _measured(self, run: str, members: Marks, event: str, state: bytes) -> NDArray[np.int64]:
        """The exact histogram of a measure."""
        from models.measures import measure

        here, _, rows, _ = self._rows_of(run, members)
        trait = event.removeprefix(FAIRNESS) if event.startswith(FAIRNESS) else None
        stated = {} if trait is None else {trait: self.source(run).stated(trait, here.employees)}
        return measure(event, self.space, rows, state, stated)


def _weights(event: GaussianSum, state: bytes) -> NDArray[np.float64]:
    """The state of a gradient: weights that serve a model (`models.planning.LARGEST_WEIGHT`)."""
    if len(state) != 8 * event.coordinates:
        raise InputError(f"state: expected {8 * event.coordinates} bytes, got {len(state)}")
    weights = np.frombuffer(state, dtype="<f8").astype(np.float64)
    if not (np.abs(weights) <= LARGEST_WEIGHT).all():  # false for NaN
        raise InputError(f"state: expected weights within ±{LARGEST_WEIGHT:g}, got another, NaN or infinity")
    return weights
