"""The facts of one batch on their way into their tables: duplicates told apart, corrections kept, versions written.

Rules
1. A version that is held with the same values is not written again; with others, the later batch corrects the earlier.
2. Within one batch a version is stated once: by one row, in one or more facts that agree. Another row that says the
   same changes nothing; one that says something else is a fault.
3. Against a corrected value nothing is written; an item is opened instead.
4. A state has at most `MAX_VERSIONS` versions, so that none takes time without bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Table, select

from privacy.sealing import Sealer
from records.facts import Fact, Fault, Value
from records.reconcile import CORRECTED, Difference, open_differences
from records.schema import FACTS, STATES, correction
from records.versions import NOTHING, Corrected, Key, Row, Versions, corrected_in, disputes, merged, read, write

MAX_VERSIONS: Final = 2_000
DUPLICATE: Final = "expected one row for a version, got another that states it otherwise"
TOO_MANY: Final = f"expected at most {MAX_VERSIONS} versions of one state, got more"


@dataclass(slots=True)
class Outcome:
    """What became of some facts.

    Attributes:
        written: how many changed the store.
        unchanged: how many it held already.
        opened: how many items they opened.
        faults: those that do not get in.
    """

    written: int = 0
    unchanged: int = 0
    opened: int = 0
    faults: list[Fault] = field(default_factory=list)


@dataclass(slots=True)
class _Arrival:
    """What one row says of one version, in `facts` facts."""

    place: int
    values: dict[str, Value]
    facts: int = 1


class FactWriter:
    """Writes the facts of one batch, block by block."""

    def __init__(self, connection: Connection, sealer: Sealer, batch: int, at: str) -> None:
        """`connection` is of the batch's transaction; `at` is the instant at which it is recorded."""
        self._connection = connection
        self._sealer = sealer
        self._frame = {"recorded_at": at, "batch": batch}
        self._any_corrected = connection.execute(select(correction.c.number).limit(1)).first() is not None
        self._seen = _Seen()

    def take(self, name: str, facts: Sequence[Fact]) -> Outcome:
        """Brings facts that were admitted into table `name`."""
        table = FACTS[name]
        held = read(self._connection, table, [(fact.subject, fact.item, fact.valid_from) for fact in facts])
        outcome = Outcome()
        came = self._told_apart(name, facts, held, outcome)
        corrected: Mapping[Key, Corrected] = {}
        if self._any_corrected:
            corrected = corrected_in(self._connection, table, {subject for subject, _ in came})
            self._keep_corrected(table, held, came, corrected, outcome)
        write(self._connection, table, list(self._versions(table, held, came, corrected, outcome)))
        return outcome

    def _told_apart(
        self, name: str, facts: Sequence[Fact], held: Mapping[Key, Versions], outcome: Outcome
    ) -> dict[Key, dict[str, _Arrival]]:
        """What is said of each version, by one row each (rule 2)."""
        came: dict[Key, dict[str, _Arrival]] = {}
        seen = self._seen.note([(name, fact.subject, fact.item, fact.valid_from) for fact in facts])
        for fact, in_earlier_block in zip(facts, seen, strict=True):
            key, day = (fact.subject, fact.item), fact.valid_from
            versions, arrivals = held.get(key, {}), came.setdefault(key, {})
            arrival = arrivals.get(day)
            said: Mapping[str, Value] | None = arrival.values if arrival else None
            if said is None and in_earlier_block and day in versions:
                said = {field: versions[day][field] for field in fact.values}
            full = name in STATES and day not in versions and len(versions) + len(arrivals) >= MAX_VERSIONS
            if said is None and full:  # rule 4
                outcome.faults.append(Fault(fact.place, "", TOO_MANY, fact.subject))
            elif said is None:
                arrivals[day] = _Arrival(fact.place, dict(fact.values))
            elif arrival is not None and arrival.place == fact.place and _agree(said, fact.values):
                arrival.values |= fact.values
                arrival.facts += 1
            elif fact.values.items() <= said.items():
                outcome.unchanged += 1
            else:
                outcome.faults.append(Fault(fact.place, "", DUPLICATE, fact.subject))
        return came

    def _keep_corrected(
        self,
        table: Table,
        held: Mapping[Key, Versions],
        came: Mapping[Key, Mapping[str, _Arrival]],
        corrected: Mapping[Key, Corrected],
        outcome: Outcome,
    ) -> None:
        """Takes out of what came whatever speaks against a corrected value (rule 3)."""
        differences = []
        for (subject, item), days in corrected.items():
            arrivals = came.get((subject, item), {})
            said = {day: arrival.values for day, arrival in arrivals.items()}
            for found in disputes(held.get((subject, item), {}), said, days):
                cell = (f"{table.name}.{found.field}", item, found.valid_from)
                differences.append(Difference(subject, None, *cell, found.held, found.came))
                del arrivals[found.valid_from].values[found.field]
        at = str(self._frame["recorded_at"])
        outcome.opened += open_differences(self._connection, self._sealer, differences, CORRECTED, at)

    def _versions(
        self,
        table: Table,
        held: Mapping[Key, Versions],
        came: Mapping[Key, Mapping[str, _Arrival]],
        corrected: Mapping[Key, Corrected],
        outcome: Outcome,
    ) -> Iterator[Row]:
        """The rows that have to be written (rule 1)."""
        for key, arrivals in came.items():
            said = {day: arrival.values for day, arrival in arrivals.items() if arrival.values}
            rows = merged(table, key, held.get(key, {}), said, self._frame, corrected.get(key, NOTHING))
            changed = {row["valid_from"] for row in rows}
            for day, arrival in arrivals.items():
                if day in changed and arrival.values:
                    outcome.written += arrival.facts
                else:
                    outcome.unchanged += arrival.facts
            yield from rows


def _agree(one: Mapping[str, Value], other: Mapping[str, Value]) -> bool:
    return all(one[name] == value for name, value in other.items() if name in one)


class _Seen:
    """Which versions a batch spoke of, 8 bytes each: sorted runs of hashes, each at least twice as long as the next."""

    def __init__(self) -> None:
        self._runs: list[npt.NDArray[np.int64]] = []

    def note(self, keys: Sequence[tuple[str, ...]]) -> list[bool]:
        """Whether each was noted by an earlier call; all are from now on."""
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys))
        seen = np.zeros(len(keys), dtype=np.bool_)
        for run in self._runs:
            places = np.minimum(np.searchsorted(run, hashes), len(run) - 1)
            seen |= run[places] == hashes
        if len(hashes):
            self._runs.append(np.sort(hashes))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            self._runs[-2:] = [np.sort(np.concatenate(self._runs[-2:]), kind="stable")]
        return [bool(one) for one in seen]
