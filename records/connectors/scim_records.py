"""From a user to the flat record that the mapping reads: attribute paths and text, whatever the JSON wrote.

Rules
1. A manager is named by the `id` of a User or by employee number; an `id` that is nobody's names nobody.
2. Who is not active ended: on the last day stated, else on the day that the caller knows. Whoever is yet to begin has
   not ended by being inactive.
3. No end is no word about the end: it may be another source that told it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import Any, Final

from scim2_models import Resource

from records.connectors.scim_resources import ENDED, ENTERPRISE, HIRED, MANAGER

_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MANAGER: Final = f"{ENTERPRISE}:manager".lower()


def worded(value: Any) -> Any:
    """JSON with numbers as text, as attributes are here: clients write employee numbers and shares either way."""
    if isinstance(value, dict):
        return {key: worded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [worded(item) for item in value]
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def with_whole_manager(operation: Any) -> Any:
    """A PATCH operation that writes a manager as text, as Microsoft Entra does, with the manager as an object."""
    if not isinstance(operation, dict):
        return operation
    path = next((key for key in operation if key.lower() == "path"), "path")
    value = next((key for key in operation if key.lower() == "value"), "value")
    named, written = operation.get(path), operation.get(value)
    if isinstance(named, str) and named.lower() == _MANAGER and isinstance(written, str):
        return {**operation, value: {"value": written}}
    return operation


def record_of(
    user: Resource[Any], cells: Iterable[str], number_of: Callable[[str], str | None], ended: date | None
) -> dict[str, str | None]:
    """The record of a user.

    Args:
        user: as it is advertised.
        cells: attribute paths that the record is made of.
        number_of: the employee number of the User with an `id`, None if there is none.
        ended: when somebody who is not active ended, if nothing says when.
    """
    record = {path: _text(user[path]) for path in cells}
    if manager := record.get(MANAGER):
        record[MANAGER] = number_of(manager) or (None if _ID.fullmatch(manager) else manager)  # rule 1
    inactive = record.get("active") == "false"
    if inactive and ended and not record.get(ENDED) and begun(record) <= ended:  # rule 2
        record[ENDED] = ended.isoformat()
    return {cell: text for cell, text in record.items() if text or cell != ENDED}  # rule 3


def begun(record: Mapping[str, str | None]) -> date:
    """The first day of the employment, or the earliest there is if the record does not say, or not in ISO 8601."""
    try:
        return date.fromisoformat((record.get(HIRED) or "")[:10])
    except ValueError:
        return date.min


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "" if value is None else str(value).strip()
    return text or None
