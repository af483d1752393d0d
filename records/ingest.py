"""The one way into a site's store: what a connector read, as one batch.

Rules
1. A batch is one transaction: it gets in as a whole, or leaves no trace. Batches take turns.
2. A batch that came already changes nothing at all, not even the revision.
3. Everything that comes ends in one count: written, unchanged, quarantined or left out.
4. Who and what gets in is judged by `records.admission`; how facts become versions, by `records.fact_writer`.
5. Memory does not grow with the batch, but for 8 bytes a fact and the consent events, which are put in order of time.
6. The log counts what came and names its digest; it holds no person and no value.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from privacy.databases import Undo
from privacy.errors import InputError
from records import schema
from records.admission import Admission
from records.consent import receipt
from records.fact_writer import FactWriter
from records.facts import Fault, Incoming, Said, Trait
from records.reconcile import compare_offers
from records.registry import Registry
from records.schema import consent_event, quarantine
from records.store import Store, instant
from records.vault import open_vault
from records.versions import rows_of

BLOCK: Final = 5_000
"""Things that are judged, looked up and written together."""
MAX_SAID: Final = 2_000_000
"""Consent events of one batch."""
MAX_PLACE: Final = 2**31 - 1
"""The highest place that a column holds; what stands further on is said to stand there."""
MAX_REASONS: Final = 100
"""Reasons that are counted by name; what comes after them is counted together."""
_DIGEST: Final = re.compile(r"[A-Za-z0-9:_+/=-]{1,128}", re.ASCII)
_CONNECTOR: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.: -]{0,63}", re.ASCII)
_COUNTS: Final = ("rows", "written", "unchanged", "quarantined", "left_out")


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a batch.

    Attributes:
        batch: its number; of a batch that came already, the number it got then.
        source: one of the registry's.
        rows: of the source, that anything came of.
        written: things that changed the store: facts, consent events, traits.
        unchanged: things that it held already, or that state nothing.
        quarantined: things that do not fit.
        left_out: things of erased people, or past their time.
        reconciliations: disagreements that it opened.
        already: whether it came before; then nothing was changed, and the counts are 0.
        reasons: why things were quarantined, counted.
    """

    batch: int | None
    source: str
    rows: int
    written: int
    unchanged: int
    quarantined: int
    left_out: int
    reconciliations: int
    already: bool
    reasons: Mapping[str, int]

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {**{name: getattr(self, name) for name in self.__slots__}, "reasons": dict(self.reasons)}


def ingest(
    store: Store,
    registry: Registry,
    source: str,
    connector: str,
    digest: str,
    incoming: Iterable[Incoming],
    now: datetime,
    *,
    connection: Connection | None = None,
) -> Ingested:
    """Takes in what a connector read.

    Args:
        store: where to.
        registry: what may get in.
        source: one of the registry's, whose word it is.
        connector: what read it.
        digest: of what came and of the mapping it came through: by it a batch is known again (rule 2).
        incoming: read once, in blocks; the things of one row follow each other. An error that it raises undoes the
            batch and passes on.
        now: aware.
        connection: of a `store.writing()` that is open, to become part of that transaction; None for one of its own.

    Raises:
        InputError: for an unknown source, a digest or connector's name that is none, or what `Admission` refuses.
        KithError: if the database does not answer.
    """
    _check(registry, source, connector, digest)
    batch = _Batch(store, registry, source, connector, digest, now)
    if connection is not None:
        return batch.run(connection, incoming)
    with store.reading() as reading:
        if (number := _known(reading, digest)) is not None:
            return _again(number, source)
    with store.writing() as writing:  # rule 1
        taken = batch.run(writing, incoming)
        if taken.already:  # another writer took it in while this one waited for its turn
            raise Undo  # rule 2
    return taken


class _Batch:
    """One batch on its way in."""

    def __init__(
        self, store: Store, registry: Registry, source: str, connector: str, digest: str, now: datetime
    ) -> None:
        self._store = store
        self._registry = registry
        self._head = {"digest": digest, "source": source, "connector": connector}
        self._now = now
        self._at = instant(now)
        self._counts: Counter[str] = Counter(dict.fromkeys(_COUNTS, 0))
        self._reasons: Counter[str] = Counter()
        self._opened = 0
        self._place: int | None = None
        self._said: list[Said] = []
        self._receipts = 0

    def run(self, connection: Connection, incoming: Iterable[Incoming]) -> Ingested:
        """Takes everything in inside a writing transaction, and closes the batch."""
        source = self._head["source"]
        if (known := _known(connection, self._head["digest"])) is not None:  # rule 2
            return _again(known, source)
        self._connection = connection
        head = insert(schema.batch).values({**self._head, "came_at": self._at, **self._counts})
        self._number = int(connection.execute(head.returning(schema.batch.c.number)).scalar_one())
        self._admission = Admission(self._store, self._registry, source, connection, self._now)
        self._facts = FactWriter(connection, self._store.sealer, self._number, self._at)
        blocks = _blocks(incoming)
        for block in blocks:
            if traits := self._take(block):
                self._through_the_vault(traits, blocks)
                break
        else:
            self._close()
        reasons = MappingProxyType(dict(self._reasons))
        return Ingested(
            self._number, source, **self._counts, reconciliations=self._opened, already=False, reasons=reasons
        )

    def _through_the_vault(self, traits: list[Trait], blocks: Iterator[list[Incoming]]) -> None:
        """The vault draws the rest of the batch through, so that what it writes is one transaction too (rule 1).

        It commits just before the store does. Should the store then fail, the vault holds traits that the same batch,
        taken in again, puts in their own place.
        """

        def coming() -> Iterator[Trait]:
            yield from traits
            for block in blocks:
                yield from self._take(block)
            self._close()

        vault = open_vault(self._store)
        try:
            vault.put(coming(), self._head["source"], self._now)
        finally:
            vault.close()

    def _take(self, block: list[Incoming]) -> list[Trait]:
        """Everything of a block but its traits, which are left to the vault."""
        for one in block:
            if one.place != self._place:
                self._counts["rows"] += 1
                self._place = one.place
        admitted = self._admission.judge(block)
        self._counts.update(left_out=admitted.left_out, unchanged=admitted.silent, written=len(admitted.traits))
        faults = admitted.faults
        for name, facts in admitted.facts.items():
            outcome = self._facts.take(name, facts)
            self._counts.update(written=outcome.written, unchanged=outcome.unchanged)
            self._opened += outcome.opened
            faults += outcome.faults
        self._quarantine(faults)
        self._said += admitted.said
        if len(self._said) > MAX_SAID:
            raise InputError(f"connector: expected at most {MAX_SAID} consent events at once, got more")
        return admitted.traits

    def _quarantine(self, faults: list[Fault]) -> None:
        if not faults:
            return
        self._counts.update(quarantined=len(faults))
        for fault in faults:
            known = fault.reason in self._reasons or len(self._reasons) < MAX_REASONS
            self._reasons[fault.reason if known else "other reasons"] += 1
        rows = [
            {
                "batch": self._number,
                "place": min(fault.place, MAX_PLACE),
                "column": fault.column,
                "reason": fault.reason,
                "subject": fault.subject,
            }
            for fault in faults
        ]
        self._connection.execute(insert(quarantine), rows)

    def _close(self) -> None:
        """What takes the whole batch: consent in order of time, offers, the batch's counts and the log."""
        self._said.sort(key=lambda said: (said.at, said.place))
        for start in range(0, len(self._said), BLOCK):
            self._say(self._said[start : start + BLOCK])
        self._opened += compare_offers(self._connection, self._store.sealer, self._number, self._at)
        mine = update(schema.batch).where(schema.batch.c.number == self._number)
        self._connection.execute(mine.values(dict(self._counts)))
        counts = {**self._counts, "reconciliations": self._opened}
        document = {"event": "ingested", "batch": self._number, **self._head, **counts}
        self._store.log(self._connection, document, self._now, said=self._receipts)

    def _say(self, said: list[Said]) -> None:
        """Puts consent events on record that are not there yet, told by their receipts."""
        events = {receipt(one): one for one in said}
        named = rows_of(self._connection, [consent_event.c.receipt], consent_event.c.receipt, events)
        known = {found for (found,) in named}
        rows = [
            {
                "subject": one.subject,
                "purpose": one.purpose,
                "state": one.state,
                "notice_version": one.notice_version,
                "locale": one.locale,
                "channel": one.channel,
                "at": one.at,
                "recorded_at": self._at,
                "receipt": name,
            }
            for name, one in events.items()
            if name not in known
        ]
        self._counts.update(written=len(rows), unchanged=len(said) - len(rows))
        if rows:
            self._connection.execute(insert(consent_event), rows)
            self._receipts += self._store.digest_of(str(row["receipt"]) for row in rows)


def _blocks(incoming: Iterable[Incoming]) -> Iterator[list[Incoming]]:
    """Blocks of at least `BLOCK` things, cut between rows; a row that never ends is cut too."""
    block: list[Incoming] = []
    for one in incoming:
        if not isinstance(one, Incoming):
            raise InputError(f"connector: expected facts, traits, events or faults, got {type(one).__name__:.60}")
        if len(block) >= BLOCK and (one.place != block[-1].place or len(block) >= 2 * BLOCK):
            yield block
            block = []
        block.append(one)
    if block:
        yield block


def _check(registry: Registry, source: str, connector: str, digest: str) -> None:
    if source not in registry.sources:
        raise InputError(f"source: expected one of {', '.join(registry.sources)}, got another")
    if not isinstance(connector, str) or not _CONNECTOR.fullmatch(connector):
        raise InputError("connector: expected a name of at most 64 letters, digits, blanks and _.:-, got otherwise")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise InputError("digest: expected at most 128 letters, digits and :_+/=-, got otherwise")


def _known(connection: Connection, digest: str) -> int | None:
    """The number of the batch that has this digest."""
    return connection.execute(select(schema.batch.c.number).where(schema.batch.c.digest == digest)).scalar()


def _again(number: int, source: str) -> Ingested:
    return Ingested(number, source, 0, 0, 0, 0, 0, 0, True, MappingProxyType({}))
