"""Contracts out of the registry: the group's contract for a purpose, and whether a contract keeps to the registry.

Rules:
 1. A contract's purpose is registered, has a label, and the contract's label is that one.
 2. It learns from features that are registered to train for its purpose, and from nothing else.
 3. Their kinds, bounds, steps and values are the registered, public ones.
 4. What a feature is derived from is still there when the label is known: it is kept for the feature's window, the
    contract's horizon and `GRACE_MONTHS`. (What is kept until after an exit is there as long as anybody needs it.)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import tomli_w

from privacy.errors import InputError, Refused
from records.contract import BinaryLabel, CategoryColumn, Column, Contract, NumberColumn, OrderedColumn, parse_contract
from records.registry import Feature, LabelRule, Registry

EMPLOYEE: Final = "employee_key"
GRACE_MONTHS: Final = 2
"""Between the end of a horizon and a run that learns from it."""


def contract_text(
    registry: Registry,
    purpose: str,
    people_at_most: Mapping[str, int],
    as_of: date,
    horizon_months: int,
    site_column: str = "subsidiary",
) -> str:
    """The contract of a purpose in TOML: its training features, in the registry's order, with their public bounds.

    Args:
        registry: where features, bounds and the label come from.
        purpose: a registered one with a label.
        people_at_most: each site's declared head-count bound.
        as_of: the day as which features are read, the last of a month.
        horizon_months: months after it when the label is known, 1 to 60.
        site_column: the column that says where a row belongs.

    Raises:
        InputError: for a purpose without label or training features, or for what a contract may not hold.
    """
    rule = _label(registry, purpose)
    features = registry.features_for(purpose, "train")
    document: dict[str, Any] = {
        "purpose": purpose,
        "employee": EMPLOYEE,
        "label": {"column": rule.name, "kind": "binary", "positive": [rule.positive], "negative": [rule.negative]},
        "site": {"column": site_column, "people_at_most": people_at_most},
        "moment": {"as_of": as_of, "horizon_months": horizon_months},
        "columns": {feature.name: _entry(feature) for feature in features},
    }
    try:
        text = tomli_w.dumps(document)
    except (TypeError, ValueError, AttributeError):
        raise InputError("contract: expected sites and head counts, a date and whole months, got others") from None
    text = f"# From the registry of digest {registry.digest}: bounds and values are public.\n{text}"
    check_contract(registry, parse_contract(text))
    return text


def check_contract(registry: Registry, contract: Contract) -> None:
    """Does nothing, unless the contract asks for more or for something else than the registry gives.

    Raises:
        InputError: for a purpose that is not registered, or has no label.
        Refused: naming the column that breaks rule 1, 2, 3 or 4.
    """
    rule = _label(registry, contract.purpose)
    if contract.label != BinaryLabel(rule.name, (rule.positive,), (rule.negative,)):  # rule 1
        raise Refused(f"contract, 'label': expected the registered label {rule.name!r}, got another")
    registered = {feature.name: feature for feature in registry.features_for(contract.purpose, "train")}
    for column in contract.features:
        feature = registered.get(column.name)
        if feature is None or column.purpose != contract.purpose:  # rule 2
            raise Refused(
                f"contract, {'columns.' + column.name!r:.100}: expected a feature that is registered to train for "
                f"{contract.purpose}, got another"
            )
        if not _is_same(feature, column):  # rule 3
            raise Refused(
                f"contract, {'columns.' + column.name!r}: expected the registered kind and bounds, got others"
            )
        needed = (feature.window_months or 0) + (contract.moment.horizon_months if contract.moment else 0)
        kept = feature.column.retention_months
        if feature.column.retention_from != "exit" and kept < needed + GRACE_MONTHS:  # rule 4
            raise Refused(
                f"contract, 'moment.horizon_months': expected {feature.column.name}, kept for {kept} months, to last"
                f" for window, horizon and {GRACE_MONTHS} more ({needed + GRACE_MONTHS}), got less"
            )


def _label(registry: Registry, purpose: str) -> LabelRule:
    rule = registry.purpose(purpose).label
    if rule is None:  # rule 1
        raise InputError(f"contract: expected a purpose with a registered label, got {purpose!r}")
    return rule


def _entry(feature: Feature) -> dict[str, Any]:
    if feature.kind != "number":
        return {"kind": feature.kind, "values": list(feature.values), "train": True}
    step = {"step": _short(feature.step)} if feature.step else {}
    bounds = {"low": _short(feature.low or 0.0), "high": _short(feature.high or 0.0)}
    return {"kind": "number", **bounds, **step, "unit": feature.unit, "train": True}


def _short(number: float) -> float:
    return int(number) if number.is_integer() else number


def _is_same(feature: Feature, column: Column) -> bool:
    if isinstance(column, NumberColumn):
        mine = ("number", feature.low, feature.high, feature.step, feature.unit)
        return feature.kind == mine[0] and mine[1:] == (column.low, column.high, column.step, column.unit)
    if isinstance(column, OrderedColumn):
        return feature.kind == "ordered" and feature.values == column.values
    same = isinstance(column, CategoryColumn) and set(feature.values) == set(column.values)
    return same and feature.kind == "category"
