"""Features and labels, derived from the versions of facts: what was known on a day, and what came of it.

Rules:
 1. A feature reads only versions that were true by its day: `valid_from` up to it, and nothing later.
 2. A feature of a person is read only if the caller says that this person's facts may be read for it.
 3. A label is what is known now of an end of employment whose month lies in the horizon, whenever it was told.
 4. An end counts only if the person's records stand by it: the next version starts after it, or none follows.
"""

from __future__ import annotations

import calendar
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Float, select

from records.registry import Feature, LabelRule
from records.schema import FACTS, STATES

PLACES: Final = 6
"""Decimal places of a derived number."""
_EMPLOYMENT: Final = ("start_month", "end_month")
_OF_NOW: Final = ("latest", "months_since", "years_since")
"""Derivations of what holds, not of what happened."""

Cells = npt.NDArray[Any]
"""float64 with NaN where missing, or texts with None where missing."""
Mask = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Facts:
    """Versions of one table, n of them, oldest first.

    Attributes:
        who: (n,) whose they are, as a place in `Versions.subjects`.
        item: (n,) texts.
        day: (n,) `valid_from`.
        columns: (n,) cells per column.
    """

    who: Places
    item: Cells
    day: npt.NDArray[np.str_]
    columns: Mapping[str, Cells]


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of facts that were true by a day.

    Attributes:
        subjects: whose they are, m people, each once.
        tables: per table.
        as_of: the day.
    """

    subjects: tuple[str, ...]
    tables: Mapping[str, Facts]
    as_of: date


@dataclass(frozen=True, slots=True)
class _Stated:
    """What was stated of one column: whose, of which fact, from when on, the value; and the number of people."""

    who: Places
    item: Cells
    day: npt.NDArray[np.str_]
    values: Cells
    people: int

    def where(self, chosen: Mask | Places) -> _Stated:
        return _Stated(self.who[chosen], self.item[chosen], self.day[chosen], self.values[chosen], self.people)


def read_versions(
    connection: Connection, columns: Mapping[str, Collection[str]], as_of: date, subject: str | None = None
) -> Versions:
    """Reads these columns of these tables, of everybody or of one person (rule 1)."""
    rows = {table: _read(connection, table, sorted(names), as_of, subject) for table, names in columns.items()}
    return versions_of({table: sorted(names) for table, names in columns.items()}, rows, as_of)


def versions_of(
    columns: Mapping[str, Sequence[str]], rows: Mapping[str, Iterable[Sequence[Any]]], as_of: date
) -> Versions:
    """Versions from rows of (subject, item, valid_from, columns …), oldest first."""
    places: dict[str, int] = {}
    tables = {table: _facts(table, names, list(rows[table]), places) for table, names in columns.items()}
    return Versions(tuple(places), tables, as_of)


def columns_of(features: Collection[Feature]) -> dict[str, set[str]]:
    """The columns that features are derived from, by table."""
    columns: dict[str, set[str]] = {}
    for feature in features:
        columns.setdefault(feature.column.table, set()).add(feature.column.field)
    return columns


def derived(versions: Versions, feature: Feature, readable: Mask) -> Cells:
    """One feature of everybody, missing where there is none.

    Args:
        versions: with the feature's column.
        feature: the feature.
        readable: (m,) whose facts may be read for it (rule 2).

    Returns:
        (m,) numbers in the feature's unit; or texts, of an ordered feature or a category, each one of its values.
    """
    column = feature.column
    facts = versions.tables[column.table]
    stated = _Stated(facts.who, facts.item, facts.day, facts.columns[column.field], len(versions.subjects))
    stated = stated.where(readable[facts.who])
    if feature.item is not None:
        stated = stated.where(np.asarray(stated.item == feature.item, dtype=np.bool_))
    if column.table in STATES and feature.derive in _OF_NOW:  # a version of a state says all that holds
        stated = stated.where(_last_of(zip(stated.who, stated.item, strict=True)))
    values = _DERIVATIONS[feature.derive](stated.where(_present(stated.values)), feature, versions.as_of)
    return _number(values, feature) if feature.kind == "number" else _text(values, feature)


def employed(versions: Versions) -> Mask:
    """(m,) who is employed on the versions' day, as far as was known: it takes `start_month` and `end_month`.

    An employment lasts to the end of its last month. Whoever started again after it is employed.
    """
    there, start, end = _employment(versions)
    started = ~(start > _month(versions.as_of))
    return there & started & ~((end <= _months_over(versions.as_of)) & ~(start > end))


def labels(versions: Versions, rule: LabelRule, as_of: date, until: date) -> Cells:
    """(m,) the label of everybody who was there on `as_of`, by all versions given (rule 3).

    `rule.positive` where an employment ended after `as_of`, by `until`, for a reason that counts, also if another one
    began since; `rule.negative` where none ended; missing where one ended for another reason, or before `as_of`.

    Args:
        versions: known now, with `label_columns`.
        rule: the label.
        as_of: the last day of a month.
        until: the last day of a later month.
    """
    facts = versions.tables[rule.column.table]
    place, end, back = _departures(facts)
    who, reason = facts.who[place], facts.columns[rule.reason.field][place]
    within = (end > _month(as_of)) & (end <= _month(until))
    counted = within & np.array([each in rule.counted for each in reason], dtype=np.bool_)
    found: Cells = np.full(len(versions.subjects), None, dtype=np.object_)
    found[facts.who] = rule.negative
    found[who[within]] = None
    found[who[counted]] = rule.positive
    found[who[(end <= _month(as_of)) & ~(back <= _month(as_of))]] = None
    return found


def label_columns(rule: LabelRule) -> dict[str, set[str]]:
    """The columns that `labels` reads, by table."""
    return {rule.column.table: {*_EMPLOYMENT, rule.column.field, rule.reason.field}}


def employment_columns() -> dict[str, set[str]]:
    """The columns that `employed` reads, by table."""
    return {"person": set(_EMPLOYMENT)}


def months_after(day: date, months: int) -> date:
    """The day so many months later (earlier if negative); the last day of a month leads to the last of another."""
    year, month = divmod(_month(day) + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return date(year, month + 1, last if _is_last(day) else min(day.day, last))


def _read(
    connection: Connection, table: str, names: Sequence[str], as_of: date, subject: str | None
) -> Sequence[Sequence[Any]]:
    source = FACTS[table]
    query = select(*(source.c[name] for name in ("subject", "item", "valid_from", *names)))
    query = query.where(source.c.valid_from <= as_of.isoformat())  # rule 1
    if subject is not None:
        query = query.where(source.c.subject == subject)
    return connection.execute(query.order_by(source.c.valid_from, source.c.number)).all()


def _facts(table: str, names: Sequence[str], rows: list[Sequence[Any]], places: dict[str, int]) -> Facts:
    """Rows as arrays; `places` grows by the subjects that are new."""
    subjects, items, days, *cells = zip(*rows, strict=True) if rows else ((),) * (3 + len(names))
    types = [np.float64 if isinstance(FACTS[table].c[name].type, Float) else np.object_ for name in names]
    return Facts(
        np.array([places.setdefault(subject, len(places)) for subject in subjects], dtype=np.int64),
        np.array(items, dtype=np.object_),
        np.array(days, dtype="U10"),
        {name: np.array(values, dtype=type_) for name, values, type_ in zip(names, cells, types, strict=True)},
    )


def _last_of(keys: Iterable[Any]) -> Places:
    """The place of the last of each key."""
    return np.array(list({key: place for place, key in enumerate(keys)}.values()), dtype=np.int64)


def _present(values: Cells) -> Mask:
    return ~np.isnan(values) if values.dtype == np.float64 else np.asarray(values != None, dtype=np.bool_)  # noqa: E711


def _recent(stated: _Stated, feature: Feature, as_of: date) -> _Stated:
    """What became true within the feature's window."""
    if feature.window_months is None:
        return stated
    return stated.where(stated.day > months_after(as_of, -feature.window_months).isoformat())


def _latest(stated: _Stated, feature: Feature, as_of: date) -> Cells:
    recent = _recent(stated, feature, as_of)
    found = np.full(stated.people, np.nan if recent.values.dtype == np.float64 else None, recent.values.dtype)
    found[recent.who] = recent.values  # of a place that is named twice, the last one stays
    return found


def _months_since(stated: _Stated, feature: Feature, as_of: date) -> Cells:
    months = _month(as_of) - _months(_latest(stated, feature, as_of))
    return np.where(months >= 0, months, np.nan)  # what is announced has not happened


def _years_since(stated: _Stated, feature: Feature, as_of: date) -> Cells:
    return _months_since(stated, feature, as_of) / 12


def _sum(stated: _Stated, feature: Feature, as_of: date) -> Cells:
    recent = _recent(stated, feature, as_of)
    return _counted(np.bincount(recent.who, recent.values, stated.people), stated)


def _mean(stated: _Stated, feature: Feature, as_of: date) -> Cells:
    recent = _recent(stated, feature, as_of)
    count = np.bincount(recent.who, minlength=stated.people)
    return np.bincount(recent.who, recent.values, stated.people) / np.where(count, count, np.nan)


def _count(stated: _Stated, feature: Feature, as_of: date) -> Cells:
    return _counted(np.bincount(_recent(stated, feature, as_of).who, minlength=stated.people), stated)


def _changes(stated: _Stated, feature: Feature, as_of: date) -> Cells:
    """How often the stated value became another one; the first that is known is no change."""
    changed = np.zeros(len(stated.who), dtype=np.bool_)
    before: dict[tuple[int, str], Any] = {}
    for place, (who, item, value) in enumerate(zip(stated.who, stated.item, stated.values, strict=True)):
        changed[place] = before.get((who, item), value) != value
        before[who, item] = value
    recent = _recent(stated.where(changed), feature, as_of)
    return _counted(np.bincount(recent.who, minlength=stated.people), stated)


_DERIVATIONS: Final = {
    "latest": _latest,
    "months_since": _months_since,
    "years_since": _years_since,
    "sum": _sum,
    "mean": _mean,
    "count": _count,
    "changes": _changes,
}


def _counted(counts: Cells, stated: _Stated) -> Cells:
    """Nothing in the window is 0 for whoever has a fact at all, and missing for whoever has none."""
    return np.where(np.bincount(stated.who, minlength=stated.people) > 0, counts, np.nan)


def _number(values: Cells, feature: Feature) -> Cells:
    scaled = values * feature.scale
    if feature.step and feature.low is not None:
        scaled = feature.low + np.round((scaled - feature.low) / feature.step) * feature.step
    return np.asarray(np.round(scaled, PLACES))


def _text(values: Cells, feature: Feature) -> Cells:
    texts = [f"{value:g}" if isinstance(value, float) else value for value in values]
    return np.array([text if text in feature.values else None for text in texts], dtype=np.object_)


def _employment(versions: Versions) -> tuple[Mask, Cells, Cells]:
    """(m,) who has a record, and the first and last month of the last version, NaN where none is stated."""
    facts = versions.tables["person"]
    there = np.zeros(len(versions.subjects), dtype=np.bool_)
    months = np.full((2, len(versions.subjects)), np.nan)
    there[facts.who] = True
    for row, name in enumerate(_EMPLOYMENT):
        months[row, facts.who] = _months(facts.columns[name])
    return there, months[0], months[1]


def _departures(facts: Facts) -> tuple[Places, Cells, Cells]:
    """Who has left, and when (rule 4): the versions that say so, their last months, the next first ones or NaN."""
    start, end = (_months(facts.columns[name]) for name in _EMPLOYMENT)
    order = np.argsort(facts.who, kind="stable")
    same = facts.who[order][1:] == facts.who[order][:-1]
    before, after = order[:-1][same], order[1:][same]
    following = np.full(len(order), np.nan)
    following[before] = start[after]
    back = np.where(start > end, start, np.where(following > end, following, np.nan))
    stands = ~np.isnan(back)
    stands[np.setdiff1d(order, before)] = True
    place = np.flatnonzero(stands & ~np.isnan(end))
    return place, end[place], back[place]


def _months(cells: Cells) -> Cells:
    """Months (or days) as text -> months since year 0, NaN where missing."""
    months = [np.nan if text is None else int(text[:4]) * 12 + int(text[5:7]) - 1 for text in cells]
    return np.array(months, dtype=np.float64)


def _month(day: date) -> int:
    return day.year * 12 + day.month - 1


def _months_over(day: date) -> int:
    """The last month that is over when the day is."""
    return _month(day) if _is_last(day) else _month(day) - 1


def _is_last(day: date) -> bool:
    return day.day == calendar.monthrange(day.year, day.month)[1]
