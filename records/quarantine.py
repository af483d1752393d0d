"""What did not get in: where it stands and why. What it held was never kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, select

from records.schema import batch, quarantine
from records.store import Store

SHOWN_PLACES: Final = 5


@dataclass(frozen=True, slots=True)
class Held:
    """Rows of one source that were quarantined for one reason.

    Attributes:
        source: of the registry.
        connector: what read it.
        column: of the source; "" for the row as a whole.
        reason: why; it holds no cell's content.
        rows: how many.
        places: the first rows' numbers in their source, from 1; a header is none.
    """

    source: str
    connector: str
    column: str
    reason: str
    rows: int
    places: tuple[int, ...]

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def held(store: Store) -> tuple[Held, ...]:
    """Everything in quarantine, most frequent first."""
    with store.reading() as connection:
        return held_in(connection)


def held_in(connection: Connection) -> tuple[Held, ...]:
    """Everything in quarantine, as a connection sees it."""
    kind = (batch.c.source, batch.c.connector, quarantine.c.column, quarantine.c.reason)
    rank = func.row_number().over(partition_by=kind, order_by=(quarantine.c.batch, quarantine.c.place))
    count = func.count().over(partition_by=kind)
    numbered = (
        select(*kind, quarantine.c.place, rank.label("rank"), count.label("rows"))
        .join_from(quarantine, batch, quarantine.c.batch == batch.c.number)
        .subquery()
    )
    first = select(numbered).where(numbered.c.rank <= SHOWN_PLACES).order_by(numbered.c.rank)
    found: dict[tuple[str, str, str, str], tuple[int, list[int]]] = {}
    for source, connector, column, reason, place, _, rows in connection.execute(first):
        found.setdefault((source, connector, column, reason), (rows, []))[1].append(place + 1)
    lines = [Held(*named, rows=rows, places=tuple(places)) for named, (rows, places) in found.items()]
    return tuple(sorted(lines, key=lambda line: (-line.rows, line.source, line.column, line.reason)))
