"""Ledgers for tests: one site, a plan of three releases (1/4 + 2 · 1/16), employees who are nothing but marks."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import sqlalchemy as sa

from privacy import fields
from privacy.budget import Budget, PurposeGroup, first_budget, sign_decision
from privacy.ledger import Charge, Ledger
from privacy.marks import Marks
from privacy.plan import Plan
from tests.privacy.small_release import DELTA, NOW, OFFICERS, SITES, plan, state_of

SITE = SITES[0]
PLAN = plan()
ONCE = Fraction(1, 4)
STEP = Fraction(1, 16)
TOTAL = Fraction(3, 8)
FIRST = ("second-moments", 0)
SECOND = ("gradient", 0)
RELEASES = tuple((event.name, index) for event in PLAN.events for index in range(event.times))
NAMED = tuple(sorted(fields.to_base64(officer.public) for officer in OFFICERS))


def people(*numbers: int) -> Marks:
    """The marks of employees who are called by numbers."""
    return frozenset(number.to_bytes(16, "big") for number in numbers)


STAFF = people(*range(5))


def budget(cap: str = "1", groups: tuple[PurposeGroup, ...] | None = None) -> Budget:
    """What a ledger opens with, under three officers."""
    return first_budget(Decimal(cap), DELTA, ("retention", "mentoring"), "2026", NAMED, groups)


def two_groups(cap: str, retention: str, mentoring: str) -> Budget:
    """The same with a group of its own for each use case."""
    groups = (PurposeGroup("keep", retention, ("retention",)), PurposeGroup("grow", mentoring, ("mentoring",)))
    return budget(cap, groups)


def decided(ledger: Ledger, new: Budget, *officers: int) -> bytes:
    """A decision for the ledger by officers of these numbers, 0 and 1 if none are given."""
    return sign_decision(new, ledger.id, *(OFFICERS[n] for n in officers or (0, 1)))


def following(current: Budget, **changes: object) -> Budget:
    """The budget of the next number."""
    return replace(current, **{"number": current.number + 1, "reason": "decided in a test", **changes})


def next_period(current: Budget, **changes: object) -> Budget:
    """The same budget for a new period."""
    return following(current, **{"period": current.period + 1, "label": f"{current.period + 2027}", **changes})


def charge(
    ledger: Ledger, release: tuple[str, int], run: str = "run", state: str | None = None, plan: Plan = PLAN
) -> Charge:
    """Charge a release of a run, for the state that a group would send."""
    return ledger.charge(run, plan, *release, state or state_of(*release))


def complete(ledger: Ledger, run: str, marks: Marks = STAFF, plan: Plan = PLAN) -> None:
    """A whole run; what was settled before is not settled again."""
    ledger.reserve(run, plan, marks)
    for event in plan.events:
        for index in range(event.times):
            charged = charge(ledger, (event.name, index), run, plan=plan)
            if charged.answered is None:
                ledger.settle(charged, b"values of %d" % index, b"receipt")
    ledger.end(run)


def clock() -> int:
    """A clock that stands still."""
    return NOW


def leaves(ledger: Ledger) -> list[bytes]:
    """All entries."""
    return [ledger.inclusion(position).leaf for position in range(ledger.head().size)]


@contextmanager
def own_schema(database: str) -> Iterator[str]:
    """The URL of an empty schema of a PostgreSQL database: what a test needs in a fraction of a database's time."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(database, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {name}"))
    try:
        yield f"{database}?options=-csearch_path%3D{name}"
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP SCHEMA {name} CASCADE"))
        engine.dispose()


def sqlite_address(folder: Path) -> Path:
    """Where a test's SQLite ledger is."""
    return folder / "site.ledger"
