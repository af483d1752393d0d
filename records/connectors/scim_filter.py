"""Which users a query means: SCIM filters of bounded length, cost and depth, and the look-ups that spare reading all.

Parsing and matching are scim2-models' (RFC 7644, section 3.4.2.2; at most 32 expressions inside one another). What is
added is a bound on the length, on the number of comparisons, and the reading of `userName eq`, `externalId eq` and
`id eq`, which clients ask before every change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from unicodedata import normalize

from scim2_models import Resource, ScimFilter
from scim2_models.path import (
    CompareOperator,
    Comparison,
    FilterNode,
    LogicalExpr,
    LogicalOperator,
    Not,
    ValuePath,
)

from privacy.errors import InputError
from records.connectors.scim_resources import CORE, of

MAX_FILTER: Final = 2_000
MAX_COMPARISONS: Final = 50
_INDEXED: Final = {"id": "id", "externalid": "externalId", "username": "userName"}


@dataclass(frozen=True, slots=True)
class LookUp:
    """An attribute ("id", "externalId" or "userName") and the value that every match of a filter has there."""

    attribute: str
    value: str


def bounded(expression: str, model: type[Resource[Any]]) -> ScimFilter[Any]:
    """The filter, bound to `model`.

    Raises:
        InputError: if it is too long or compares too much.
        scim2_models.InvalidFilterException: if it is no filter, or compares what can not be compared.
    """
    if len(expression) > MAX_FILTER:
        raise InputError(f"filter: expected at most {MAX_FILTER} characters, got {len(expression)}")
    parsed: ScimFilter[Any] = of(ScimFilter, model)(expression)
    if (comparisons := _comparisons(parsed.ast)) > MAX_COMPARISONS:
        raise InputError(f"filter: expected at most {MAX_COMPARISONS} comparisons, got {comparisons}")
    return parsed


def look_up(node: FilterNode) -> LookUp | None:
    """What an index answers of a filter: one equality that all its matches fulfil, if it has one."""
    terms = node.terms if isinstance(node, LogicalExpr) and node.op == LogicalOperator.and_ else (node,)
    return next((found for term in terms if (found := _equality(term))), None)


def indexed_form(attribute: str, value: str) -> str:
    """The value as comparisons take it: in Unicode's composed form, a user name also without case."""
    composed = normalize("NFC", value)
    return normalize("NFC", composed.lower()) if attribute == "userName" else composed


def _equality(node: FilterNode) -> LookUp | None:
    if not isinstance(node, Comparison) or node.op != CompareOperator.eq or not isinstance(node.value, str):
        return None
    path = node.attr_path
    if path.sub_attr or (path.uri and path.uri.lower() != CORE.lower()):
        return None
    attribute = _INDEXED.get(path.attr.lower())
    return LookUp(attribute, node.value) if attribute and _is_unicode(node.value) else None


def _comparisons(node: FilterNode) -> int:
    if isinstance(node, LogicalExpr):
        return sum(map(_comparisons, node.terms))
    if isinstance(node, Not):
        return _comparisons(node.expr)
    return _comparisons(node.val_filter) if isinstance(node, ValuePath) else 1


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
