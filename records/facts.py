"""What a connector hands on: one typed thing that a source says of one person, or why a row says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Value = str | float | None
"""As the store writes it: text (see records/schema.py), a finite number, or None for a cell that says nothing."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One version of one fact.

    Attributes:
        table: one of `schema.FACTS`.
        subject: the pseudonym of the person (or candidate).
        item: tells facts of one person apart; "" where there is one only.
        valid_from: the day from which it is true, YYYY-MM-DD.
        values: by column of the table; columns that the source does not speak of are absent.
        place: the row's number in its source, from 0.
    """

    table: str
    subject: str
    item: str
    valid_from: str
    values: Mapping[str, Value]
    place: int


@dataclass(frozen=True, slots=True)
class Trait:
    """Protected traits of one person, on their way to the vault and nowhere else."""

    subject: str
    values: Mapping[str, str]
    place: int


@dataclass(frozen=True, slots=True)
class Said:
    """One consent event of one person; `at` is an instant, `state` one of `consent_event.state`."""

    subject: str
    purpose: str
    state: str
    notice_version: int
    locale: str
    channel: str
    at: str
    place: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that can not be used: where it stands and why, in words that hold no cell's content."""

    place: int
    column: str
    reason: str
    subject: str | None = None


Incoming = Fact | Trait | Said | Fault
