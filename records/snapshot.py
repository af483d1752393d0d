"""From a site's records to the rows of one purpose: the only way from the store to a model.

Rules:
 1. Rows hold what is registered as a feature for the purpose, and may train (to be learned from) or serve (to be
    recommended from); a contract that asks for anything else is refused.
 2. Only the store is read. The vault is another database, which neither this module nor any that it imports knows.
 3. A person's row is there only if `records.consent` says so now, whatever it said before.
 4. A feature that rests on consent, or that the notice told did not name yet, is empty for whoever it is not open to.
 5. Who was erased, whose records await a reconciliation, and who was not employed on the day is left out, and counted.
 6. Features are what was known on the contract's day, and nothing later.
 7. A label is there once the horizon is over: what is known now of it, as exits are told late.
 8. All of it is one state of the store, whose revision is told.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import pandas as pd
from sqlalchemy import Connection, select

from privacy.errors import InputError, Refused
from records import schema
from records.consent import Answer, may_use, may_use_all
from records.contract import Contract, Moment
from records.derive import (
    Cells,
    Mask,
    Versions,
    columns_of,
    derived,
    employed,
    employment_columns,
    label_columns,
    labels,
    months_after,
    read_versions,
)
from records.facts import Value
from records.reconcile import blocked
from records.registry import Feature, LabelRule, Registry
from records.registry_contract import check_contract
from records.store import Store
from records.table import Table

ERASED: Final = "erased"
NOT_ALLOWED: Final = "not allowed"
RECONCILIATION: Final = "awaits a reconciliation"
NOT_EMPLOYED: Final = "not employed on the day"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rows of one purpose at one moment.

    Attributes:
        table: one row per person, cells as text: the contract's employee column (a pseudonym), site, features, label.
        left_out: how many people are not in it, by reason, each under the first that holds; whoever was erased and
            of whom nothing is there is nobody.
        revision: of the store, when it was read.
    """

    table: Table
    left_out: Mapping[str, int]
    revision: int


def snapshot(store: Store, registry: Registry, contract: Contract, now: datetime) -> Snapshot:
    """What the store lets be learned for the contract's purpose, to be handed to `records.minimize.minimized_rows`.

    Raises:
        InputError: if the contract names no moment, not this site, or a purpose without a registered label.
        Refused: if it asks for what is not registered for its purpose.
    """
    moment, rule, features = _agreed(store.site, registry, contract)
    until = months_after(moment.as_of, moment.horizon_months)
    columns = _together(columns_of(features), employment_columns())
    with store.reading() as connection:  # rule 8
        answers = may_use_all(connection, registry, contract.purpose, now)
        versions = read_versions(connection, columns, moment.as_of)
        there = {who for who, is_there in zip(versions.subjects, employed(versions), strict=True) if is_there}
        answers, left_out = _left(connection, store, answers, there)
        over = until < now.date()
        later = read_versions(connection, label_columns(rule), now.date()) if over else None  # rule 7
        revision = int(connection.scalar(select(schema.revision.c.count)) or 0)
    people = sorted(answers)
    cells: dict[str, Any] = {contract.employee: people} if contract.employee else {}
    cells[contract.site.column] = [store.site] * len(people)
    for feature in features:
        cells[feature.name] = _cells(versions, derived(versions, feature, _open_to(versions, answers, feature)), people)
    known = _cells(later, labels(later, rule, moment.as_of, until), people) if later else [None] * len(people)
    table = Table(pd.DataFrame({**cells, rule.name: known}, dtype="str"), f"records of {store.site!r:.80}")
    return Snapshot(table, MappingProxyType(left_out), revision)


def features_of(store: Store, registry: Registry, purpose: str, subject: str, now: datetime) -> dict[str, Value]:
    """The features of one employee at this moment, for a recommendation: numbers in their unit, text, or None.

    Raises:
        InputError: for a purpose that is not registered.
        Refused: if the person's records may not be used, in the words of the `Answer` where consent decides.
    """
    features = registry.features_for(purpose, "serve")  # rule 1
    with store.reading() as connection:  # rule 8
        mark = schema.tombstone.c.mark
        if connection.scalar(select(mark).where(mark == store.pseudonyms.mark(subject))) is not None:  # rule 5
            raise Refused("this person's records were erased")
        answer = may_use(connection, registry, subject, purpose, now)
        if not answer:  # rule 3
            raise Refused(answer.because)
        if subject in blocked(connection):  # rule 5
            raise Refused("this person's records await a decision of HR: two sources disagree about them")
        values = read_features(connection, features, answer, subject, now.date())
    if values is None:
        raise Refused("this person is not employed today, as far as the records know")
    return values


def read_features(
    connection: Connection, features: Collection[Feature], answer: Answer, subject: str, day: date
) -> dict[str, Value] | None:
    """These features of one person on a day, as far as the answer opens them, or None if not employed then."""
    open_ = [feature for feature in features if _covers(answer, feature)]  # rule 4
    columns = _together(columns_of(open_), employment_columns())
    versions = read_versions(connection, columns, day, subject)  # rule 6
    if not employed(versions).any():  # rule 5
        return None
    everybody = np.ones(len(versions.subjects), dtype=np.bool_)
    found = {feature.name: _plain(derived(versions, feature, everybody)[0]) for feature in open_}
    return {feature.name: found.get(feature.name) for feature in features}


def _agreed(site: str, registry: Registry, contract: Contract) -> tuple[Moment, LabelRule, list[Feature]]:
    """The moment, label and features that the contract names, if registry and site agree (rule 1)."""
    check_contract(registry, contract)
    rule = registry.purpose(contract.purpose).label
    if rule is None or contract.moment is None:
        raise InputError("contract: expected a [moment] with as_of and horizon_months, got none")
    if site not in contract.site.names:
        raise InputError(f"contract, site.people_at_most: expected {site!r:.80} among the sites, got others")
    return contract.moment, rule, [registry.feature(column.name) for column in contract.features]


def _left(
    connection: Connection, store: Store, answers: Mapping[str, Answer], there: Collection[str]
) -> tuple[dict[str, Answer], dict[str, int]]:
    """The people whose rows may be used, and how many may not, by reason (rules 3 and 5)."""
    tombstones = set(connection.scalars(select(schema.tombstone.c.mark)))
    left, left_out = dict(answers), {}
    reasons = {
        ERASED: {subject for subject in answers if tombstones and store.pseudonyms.mark(subject) in tombstones},
        NOT_ALLOWED: {subject for subject, answer in answers.items() if not answer},
        RECONCILIATION: blocked(connection),
        NOT_EMPLOYED: answers.keys() - set(there),
    }
    for reason, subjects in reasons.items():
        left_out[reason] = len(left.keys() & subjects)
        left = {subject: answer for subject, answer in left.items() if subject not in subjects}
    return left, {reason: count for reason, count in left_out.items() if count}


def _open_to(versions: Versions, answers: Mapping[str, Answer], feature: Feature) -> Mask:
    """Whose facts may be read for a feature (rule 4)."""
    open_ = {subject for subject, answer in answers.items() if _covers(answer, feature)}
    return np.array([subject in open_ for subject in versions.subjects], dtype=np.bool_)


def _covers(answer: Answer, feature: Feature) -> bool:
    return answer.covers(feature.basis, max(feature.since, feature.column.since))


def _together(*columns: Mapping[str, set[str]]) -> dict[str, set[str]]:
    together: dict[str, set[str]] = {}
    for part in columns:
        for table, names in part.items():
            together.setdefault(table, set()).update(names)
    return together


def _cells(versions: Versions, values: Cells, people: Sequence[str]) -> list[str | None]:
    """Values as text cells in the order of people, None where there is none."""
    by_subject = dict(zip(versions.subjects, values.tolist(), strict=True))
    return [_cell(by_subject.get(subject)) for subject in people]


def _cell(value: str | float | None) -> str | None:
    value = _plain(value)
    return f"{value:.10g}" if isinstance(value, float) else value


def _plain(value: Any) -> str | float | None:
    """A number as float, a text as it is, None for NaN."""
    return value if value is None or isinstance(value, str) else None if math.isnan(value) else float(value)
