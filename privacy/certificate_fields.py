"""Reading the figures and texts of a certificate, each in one writing only; all raise `InputError` for another."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final

from privacy import amounts, fields
from privacy.cost import Cost
from privacy.errors import InputError
from privacy.plan import MAX_ROUNDS, GaussianSum, decimal

MAX_NAME: Final = 200
MAX_LIST: Final = 1_000
TABLES: Final = {"epsilons": str, "leavers": int, "releases": int}
"""Fields of `Cost` that are pairs there and objects in JSON, and the type of a pair's first."""
_EPSILON: Final = re.compile(r"(0|[1-9][0-9]{0,2})(\.[0-9]{6})?|>700")
_SCIENTIFIC: Final = re.compile(r"[0-9.E+-]{1,64}")
_IMAGE: Final = re.compile(r"sha256:[0-9a-f]{64}")


def cost_document(cost: Cost) -> dict[str, Any]:
    """The cost as JSON values: what is a table of pairs there is an object here."""
    tables = {name: {str(key): epsilon for key, epsilon in getattr(cost, name)} for name in TABLES}
    return {**dataclasses.asdict(cost), **tables}


def cost(value: Any, where: str) -> Cost:
    """The cost that `cost_document` wrote; whether its figures are right is for the verifier."""
    document = fields.exactly(value, names(Cost), where)
    amounts.from_text(document["mu2"], f"{where}, mu2")
    decimal(document["delta"], f"{where}, delta")
    added = _matching(_SCIENTIFIC, document["discretization_delta"], f"{where}, discretization_delta")
    if str(decimal(added, where)) != added:
        raise InputError(f"{where}, discretization_delta: expected the one writing of it, got another")
    for name in ("accountant", "second_accountant"):
        fields.text(document[name], f"{where}, {name}", MAX_NAME)
    for name in ("epsilon", "epsilon_second", "epsilon_replace_one", "epsilon_two_sites"):
        _epsilon(document[name], f"{where}, {name}")
    for name in ("epsilon", "epsilon_second"):
        decimal(document[name], f"{where}, {name}")  # a figure: nothing is certified above 700
    cumulative = fields.items(document["cumulative"], f"{where}, cumulative")
    if len(cumulative) > MAX_ROUNDS:
        raise InputError(f"{where}, cumulative: expected at most {MAX_ROUNDS} figures, got {len(cumulative)}")
    tables = {name: _table(document[name], kind, f"{where}, {name}") for name, kind in TABLES.items()}
    steps = tuple(_epsilon(one, f"{where}, cumulative") for one in cumulative)
    return Cost(**{**document, **tables, "cumulative": steps})


def event(value: Any, where: str) -> GaussianSum:
    """An event of a mechanism."""
    document = fields.exactly(value, names(GaussianSum), where)
    fields.text(document["name"], where)
    return GaussianSum(**document)


def environment(value: Any, where: str) -> dict[str, str]:
    """Versions by name, at least one."""
    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_LIST:
        raise InputError(f"{where}: expected an object of 1 to {MAX_LIST} versions, got otherwise")
    return {fields.text(name, where, MAX_NAME): fields.text(one, where, MAX_NAME) for name, one in value.items()}


def image(value: Any, where: str) -> str:
    """The digest of a container image, as registries write it."""
    return _matching(_IMAGE, value, where)


def texts(value: Any, where: str) -> tuple[str, ...]:
    """A list of texts, none of them empty."""
    found = fields.items(value, where)
    if len(found) > MAX_LIST:
        raise InputError(f"{where}: expected at most {MAX_LIST} texts, got {len(found)}")
    return tuple(fields.text(one, where) for one in found)


def names(cls: type) -> list[str]:
    """Names of a record's fields, in order."""
    return [field.name for field in dataclasses.fields(cls)]


def _table(value: Any, kind: type[str] | type[int], where: str) -> tuple[tuple[Any, str], ...]:
    """Pairs from an object, in the order of `Cost`: deltas from large to small, numbers from small to large."""
    if not isinstance(value, dict) or len(value) > MAX_LIST:
        raise InputError(f"{where}: expected an object of at most {MAX_LIST} figures, got otherwise")
    pairs = [(decimal(key, where), key, _epsilon(epsilon, where)) for key, epsilon in value.items()]
    if kind is int and any(str(int(number)) != key for number, key, _ in pairs):
        raise InputError(f"{where}: expected plain whole numbers as keys, got otherwise")
    return tuple((kind(key), epsilon) for _, key, epsilon in sorted(pairs, reverse=kind is str))


def _epsilon(value: Any, where: str) -> str:
    return _matching(_EPSILON, value, where)


def _matching(pattern: re.Pattern[str], value: Any, where: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InputError(f"{where}: expected the one writing of it, got otherwise")
    return value
