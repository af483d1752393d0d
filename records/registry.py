"""The column registry: what may be known about people, for what, on which ground, for how long, and by whom.

Rules:
 1. What the registry's file does not know is refused: other keys, a key twice, anchors, tags, too much of anything.
 2. Every column and feature says its purposes, basis, training and serving, notice and `since`; every column also its
    sensitivity, sources, retention and who may see it. Nothing of this has a default.
 3. A notice that is named has a text, and a text is named by something.
 4. Columns match the store's tables both ways: no column without an entry, no entry without a column.
 5. A prohibited name does not get in. Protected traits are known to the vault alone.
 6. P3 and special categories are in the vault, for the equity audit and the auditor, and never train or serve.
 7. A key, a code and an instant never train.
 8. A feature comes from a column that has its purposes and may train or serve as it does. Only a count of changes may
    come from a column that may not: it holds none of the column's values.
 9. A feature's basis is no weaker than its column's: what needs consent needs it in every derivation.
10. A feature has public bounds or values that fit its column and its derivation, and reaches no further back than its
    column is kept.
11. Whoever a column is about may see it, outside the vault.
12. Nothing is newer than the notice of the purposes that it serves: `since` is a version of theirs.
13. A value outside its column's bounds, values or writing is not stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

from privacy.errors import InputError
from records.prohibited import prohibition
from records.registry_entries import Basis, Column, Feature, LabelRule, Notice, Purpose, stricter, time_problem
from records.registry_file import MAX_NAME, Section, parse_yaml, read_bytes
from records.schema import CANDIDATES, FACTS, FRAME

__all__ = [
    "Basis",
    "Column",
    "Feature",
    "LabelRule",
    "Notice",
    "Purpose",
    "Registry",
    "load_registry",
    "parse_registry",
    "stricter",
]

VAULT: Final = "protected"
AUDIT: Final = "equity_audit"
KINDS: Final = ("number", "ordered", "category", "month", "day", "instant", "key", "code")
SENSITIVITIES: Final = ("P0", "P1", "P2", "P3")
ROLES: Final = ("self", "manager", "reviewer", "hr_partner", "privacy_officer", "auditor", "application")
USES: Final = ("pay", "promotion", "discipline", "termination", "hiring")
"""What a column or purpose may be declared never to be used for."""
DERIVATIONS: Final = ("latest", "months_since", "years_since", "sum", "mean", "count", "changes")
MAX_MONTHS: Final = 600
MAX_VERSION: Final = 10_000

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Registry:
    """All that is registered, in the file's order. `digest` is the SHA-256 of the file, hexadecimal."""

    columns: Mapping[str, Column]
    features: Mapping[str, Feature]
    purposes: Mapping[str, Purpose]
    notices: Mapping[str, Notice]
    sources: tuple[str, ...]
    digest: str

    def column(self, name: str) -> Column:
        """The column "table.field". Raises InputError if it is not registered."""
        return _known(self.columns, name, "a registered column")

    def feature(self, name: str) -> Feature:
        """The feature of that name. Raises InputError if it is not registered."""
        return _known(self.features, name, "a registered feature")

    def purpose(self, name: str) -> Purpose:
        """The purpose of that name. Raises InputError if it is not registered."""
        return _known(self.purposes, name, f"one of {', '.join(self.purposes)}")

    def features_for(self, purpose: str, use: Literal["train", "serve"]) -> tuple[Feature, ...]:
        """The features that may train or serve for a purpose, in order.

        Raises:
            InputError: for an unknown purpose or use.
        """
        self.purpose(purpose)
        if use not in ("train", "serve"):
            raise InputError(f"registry: expected train or serve, got {use!r:.40}")
        mine = (feature for feature in self.features.values() if purpose in feature.purposes)
        return tuple(feature for feature in mine if (feature.train if use == "train" else feature.serve))

    def columns_for(self, purpose: str) -> tuple[Column, ...]:
        """The columns that are kept for a purpose, in order. Raises InputError for an unknown purpose."""
        self.purpose(purpose)
        return tuple(column for column in self.columns.values() if purpose in column.purposes)


def load_registry(path: Path | None = None) -> Registry:
    """The registry in a file, or the packaged one.

    Raises:
        InputError: naming the entry and what a rule expected of it.
    """
    if path is None:
        return _packaged()
    where = f"{str(path)!r:.300}"
    return parse_registry(read_bytes(path, where), where)


@cache
def _packaged() -> Registry:
    data = resources.files("records").joinpath("registry.yaml").read_bytes()
    return parse_registry(data, "records/registry.yaml")


def parse_registry(data: bytes, where: str = "registry") -> Registry:
    """The registry written in `data`.

    Raises:
        InputError: naming the entry and what a rule expected of it.
    """
    top = Section(parse_yaml(data, where), where)  # rule 1
    sources = top.texts("sources")
    notices = {name: _notice(name, entry) for name, entry in top.section("notices").sections().items()}
    purposes = top.section("purposes").sections()
    columns = _columns(top.section("columns").sections(), tuple(purposes), sources)
    features = {
        name: _feature(name, entry, columns, tuple(purposes))
        for name, entry in top.section("features").sections().items()
    }
    top.close()
    registry = Registry(
        MappingProxyType(columns),
        MappingProxyType(features),
        MappingProxyType({name: _purpose(name, entry, columns, notices) for name, entry in purposes.items()}),
        MappingProxyType(notices),
        sources,
        hashlib.sha256(data).hexdigest(),
    )
    _check_notices(registry, where)
    return registry


def _known(entries: Mapping[str, Entry], name: str, expected: str) -> Entry:
    if not isinstance(name, str) or name not in entries:
        raise InputError(f"registry: expected {expected}, got {name!r:.80}")
    return entries[name]


def _notice(key: str, section: Section) -> Notice:
    version = section.whole("version", 1, MAX_VERSION)
    changed = section.text("changed", MAX_NAME)
    if time_problem("day", changed):
        raise section.fail("changed", "a day YYYY-MM-DD", "another")
    notice = Notice(key, version, section.text("text"), changed)  # rule 3
    section.close()
    return notice


def _columns(sections: Mapping[str, Section], purposes: tuple[str, ...], sources: tuple[str, ...]) -> dict[str, Column]:
    columns = {name: _column(name, section, purposes, sources) for name, section in sections.items()}
    expected = {f"{table.name}.{c.name}" for table in FACTS.values() for c in table.columns if c.name not in FRAME}
    for name, section in sections.items():  # rule 4
        if name not in expected and columns[name].table != VAULT:
            raise InputError(f"{section.where}: expected a column of the store or a trait of the vault, got another")
    if missing := sorted(expected - set(columns)):
        raise InputError(f"registry: expected an entry for every column of the store, got none for {missing[0]}")
    return columns


def _column(name: str, section: Section, purposes: tuple[str, ...], sources: tuple[str, ...]) -> Column:
    table, _, field = name.partition(".")
    _check_name(field, section, in_vault=table == VAULT)
    kind = section.choice("kind", KINDS)
    low, high, step, unit, values = _range(section, kind)
    column = Column(
        name,
        table,
        field,
        kind,
        section.choices("purposes", purposes),  # rule 2
        Basis(section.choice("basis", tuple(Basis))),
        section.choice("sensitivity", SENSITIVITIES),
        section.flag("special_category") if section.has("special_category") else False,
        section.choices("sources", sources),
        "candidate" if table in CANDIDATES else "employee",
        section.flag("train"),
        section.flag("serve"),
        section.choices("visible_to", ROLES),
        section.whole("retention_months", 1, MAX_MONTHS),
        section.choice("retention_from", ("exit", "valid_from", "recorded")),
        low,
        high,
        step,
        unit,
        values,
        section.text("notice", MAX_NAME),
        section.whole("since", 1, MAX_VERSION),
        section.choices("prohibited_for", USES) if section.has("prohibited_for") else (),
    )
    section.close()
    _check_column(column, section)
    return column


def _check_name(name: str, section: Section, in_vault: bool = False) -> None:
    if found := prohibition(name, in_vault):  # rule 5
        raise InputError(f"{section.where}: expected no prohibited column, got {name!r:.80}, {found}")


def _range(section: Section, kind: str) -> tuple[float | None, float | None, float, str, tuple[str, ...]]:
    """low, high, step, unit and values, as the kind has them."""
    if kind == "number":
        low, high, step = section.bounds()
        return low, high, step, section.text("unit", MAX_NAME), ()
    return None, None, 0.0, "", section.texts("values") if kind in ("ordered", "category") else ()


def _check_column(column: Column, section: Section) -> None:
    vault = column.table == VAULT
    if vault != (column.sensitivity == "P3"):  # rule 6
        raise section.fail("sensitivity", "P3 in the vault and nowhere else", column.sensitivity)
    if column.special_category and not vault:  # rule 6
        raise section.fail("special_category", "special categories in the vault alone", "true")
    if vault and (column.train or column.serve):  # rule 6
        raise section.fail("train", "nothing of the vault to train or serve", "true")
    if vault and (column.purposes, column.visible_to) != ((AUDIT,), ("auditor",)):  # rule 6
        raise section.fail("purposes", f"{AUDIT} for the auditor alone", "others")
    if column.train and column.kind in ("key", "code", "instant"):  # rule 7
        raise section.fail("train", f"false for a column of kind {column.kind}", "true")
    if not vault and "self" not in column.visible_to:  # rule 11
        raise section.fail("visible_to", "self among those who may see it", "others")


def _feature(name: str, section: Section, columns: Mapping[str, Column], purposes: tuple[str, ...]) -> Feature:
    if "." in name:
        raise InputError(f"{section.where}: expected a feature's name without a dot, got one")
    _check_name(name, section)
    column = columns[section.choice("column", columns)]
    kind = section.choice("kind", ("number", "ordered", "category"))
    low, high, step, unit, values = _range(section, kind)  # rule 10
    feature = Feature(
        name,
        column,
        section.choice("derive", DERIVATIONS),
        section.whole("window_months", 1, MAX_MONTHS) if section.has("window_months") else None,
        section.text("item", MAX_NAME) if section.has("item") else None,
        section.number("scale") if section.has("scale") else 1.0,
        kind,
        low,
        high,
        step,
        unit,
        values,
        section.choices("purposes", purposes),
        Basis(section.choice("basis", tuple(Basis))),
        section.flag("train"),
        section.flag("serve"),
        section.text("notice", MAX_NAME),
        section.whole("since", 1, MAX_VERSION),
    )
    section.close()
    _check_feature(feature, section)
    return feature


def _check_feature(feature: Feature, section: Section) -> None:
    column = feature.column
    if column.table == VAULT:  # rule 6
        raise section.fail("column", "a column outside the vault", "a protected trait")
    if missing := [purpose for purpose in feature.purposes if purpose not in column.purposes]:  # rule 8
        raise section.fail("purposes", f"purposes of {column.name}", missing[0])
    if feature.derive != "changes":  # rule 8
        for use, mine, its in (("train", feature.train, column.train), ("serve", feature.serve, column.serve)):
            if mine and not its:
                raise section.fail(use, f"false, as {column.name} may not", "true")
    if not feature.basis.covers(column.basis):  # rule 9
        raise section.fail("basis", f"no weaker ground than {column.basis} of {column.name}", feature.basis)
    if feature.scale <= 0:
        raise section.fail("scale", "a number above 0", f"{feature.scale:g}")
    if column.retention_from != "exit" and (feature.window_months or 0) > column.retention_months:  # rule 10
        raise section.fail("window_months", f"at most {column.retention_months}", str(feature.window_months))
    if problem := _derivation_problem(feature):  # rule 10
        raise section.fail("derive", problem, f"{feature.derive} of a column of kind {column.kind}")


def _derivation_problem(feature: Feature) -> str | None:
    """What the derivation would need, or None if column, derivation and range fit together."""
    column, derive = feature.column, feature.derive
    if derive == "latest":
        return _latest_problem(feature)
    if feature.kind != "number":
        return "latest for a feature of values"
    if derive in ("months_since", "years_since"):
        return None if column.kind in ("month", "day") else "a month or a day"
    if feature.window_months is None:
        return "window_months for what is added up or counted"
    if derive in ("sum", "mean") and column.kind != "number":
        return "a number"
    return _bounds_problem(feature) if derive == "mean" else None


def _latest_problem(feature: Feature) -> str | None:
    column = feature.column
    if feature.kind == "number":
        return _bounds_problem(feature) if column.kind == "number" else "a number"
    if column.kind == "number":
        return None if feature.values == _steps(column) and feature.kind == "ordered" else "the steps of the column"
    same = feature.kind == column.kind and feature.values == column.values
    return None if same else "the kind and the values of the column"


def _bounds_problem(feature: Feature) -> str | None:
    """Bounds beyond what the column can be would be a mistake in one of the two, most likely in the scale."""
    low, high = ((bound or 0.0) * feature.scale for bound in (feature.column.low, feature.column.high))
    fits = low <= (feature.low or 0.0) and (feature.high or 0.0) <= high
    return None if fits else f"bounds within those of the column, {low:g} to {high:g} when scaled"


def _steps(column: Column) -> tuple[str, ...]:
    """The values of a stepped number as text."""
    low, high = column.low or 0.0, column.high or 0.0
    count = round((high - low) / column.step) if column.step else 0
    return tuple(f"{low + step * column.step:g}" for step in range(count + 1)) if count <= MAX_NAME else ()


def _purpose(name: str, section: Section, columns: Mapping[str, Column], notices: Mapping[str, Notice]) -> Purpose:
    notice = notices[section.choice("notice", notices)]  # rule 3
    purpose = Purpose(
        name,
        section.text("title", MAX_NAME),
        Basis(section.choice("basis", tuple(Basis))),
        notice.key,
        notice.version,
        _label(name, section.section("label"), columns) if section.has("label") else None,
        section.choices("prohibited_for", USES) if section.has("prohibited_for") else (),
        section.text("balancing"),
    )
    section.close()
    return purpose


def _label(purpose: str, section: Section, columns: Mapping[str, Column]) -> LabelRule:
    rule = LabelRule(
        section.text("name", MAX_NAME),
        columns[section.choice("column", columns)],
        section.choice("derive", ("ended_within",)),
        columns[section.choice("reason", columns)],
        section.texts("counted"),
        section.text("positive", MAX_NAME),
        section.text("negative", MAX_NAME),
    )
    section.close()
    for key, column, kind in (("column", rule.column, "month"), ("reason", rule.reason, "category")):
        if purpose not in column.purposes or column.kind != kind:  # rule 8
            raise section.fail(key, f"a {kind} that has the purpose", "another")
    if not set(rule.counted) <= set(rule.reason.values) or rule.positive == rule.negative:
        raise section.fail("counted", f"values of {rule.reason.name}, and two different sides", "others")
    return rule


def _check_notices(registry: Registry, where: str) -> None:
    entries: list[Any] = [*registry.columns.values(), *registry.features.values()]
    named = {purpose.notice for purpose in registry.purposes.values()}
    for entry in entries:
        if entry.notice not in registry.notices:  # rule 3
            raise InputError(f"{where}, {entry.name!r}: expected a notice that has a text, got {entry.notice!r}")
        oldest = min(registry.purposes[purpose].notice_version for purpose in entry.purposes)
        if entry.since > oldest:  # rule 12
            raise InputError(f"{where}, {entry.name!r}: expected since of at most {oldest}, got {entry.since}")
        named.add(entry.notice)
    if unnamed := sorted(set(registry.notices) - named):  # rule 3
        raise InputError(f"{where}: expected notices that something names, got {unnamed[0]!r}")
