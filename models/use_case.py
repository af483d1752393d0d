"""A use case: one purpose, declared in one file under `models/use_cases/`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from typing import Any, Final

from privacy.errors import InputError
from privacy.plan import decimal

STAKES: Final = ("low", "medium", "high")
MAX_BYTES: Final = 1 << 16


@dataclass(frozen=True)
class Action:
    """What may be proposed; `when` lists the columns whose terms suggest it, empty for the fallback."""

    id: str
    title: str
    when: tuple[str, ...]


@dataclass(frozen=True)
class UseCase:
    """One purpose with its rules.

    Attributes:
        stakes: "low" (straight to the employee), "medium" (one decision first), "high" (two people decide).
        elevated, low: bands, as multiples of the odds at the group's typical employee.
        not_seen: what the system can not see, in words, shown with every explanation.
    """

    name: str
    purpose: str
    legal_basis: str
    stakes: str
    visible_to: tuple[str, ...]
    outcome: str
    prohibited_for: tuple[str, ...]
    not_seen: tuple[str, ...]
    elevated: Decimal
    low: Decimal
    actions: tuple[Action, ...]

    def actions_for(self, raising: Sequence[str]) -> tuple[Action, ...]:
        """The actions that the raising columns suggest, strongest column first; the fallback where none does."""
        chosen = [action for column in raising for action in self.actions if column in action.when]
        return tuple(dict.fromkeys(chosen)) or tuple(action for action in self.actions if not action.when)


def load_use_case(name: str) -> UseCase:
    """The use case declared in `models/use_cases/<name>.toml`.

    Raises:
        InputError: if there is none of that name, or its file is not a use case.
    """
    known = use_case_names()
    if name not in known:
        raise InputError(f"use case: expected one of {', '.join(known)}, got {name!r:.80}")
    text = resources.files("models.use_cases").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return parse_use_case(text, f"models/use_cases/{name}.toml")


def use_case_names() -> tuple[str, ...]:
    """All declared use cases, in order."""
    files = resources.files("models.use_cases").iterdir()
    return tuple(sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml")))


def parse_use_case(text: str, where: str) -> UseCase:
    """A use case from its TOML text.

    Raises:
        InputError: for anything that is not exactly one.
    """
    if len(text) > MAX_BYTES:
        raise InputError(f"{where}: expected at most {MAX_BYTES} characters, got {len(text)}")
    try:
        fields: dict[str, Any] = tomllib.loads(text)
        bands = fields.pop("bands")
        case = UseCase(
            **{
                **fields,
                "elevated": decimal(bands["elevated"], f"{where}, bands.elevated"),
                "low": decimal(bands["low"], f"{where}, bands.low"),
                "visible_to": tuple(fields["visible_to"]),
                "prohibited_for": tuple(fields["prohibited_for"]),
                "not_seen": tuple(fields["not_seen"]),
                "actions": tuple(Action(item["id"], item["title"], tuple(item["when"])) for item in fields["actions"]),
            }
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: expected a use case, got {type(error).__name__}") from None
    if case.stakes not in STAKES:
        raise InputError(f"{where}, stakes: expected one of {', '.join(STAKES)}, got {case.stakes!r:.40}")
    if not any(not action.when for action in case.actions):
        raise InputError(f"{where}, actions: expected a fallback with an empty `when`, got none")
    if not 0 < case.low <= 1 <= case.elevated:
        raise InputError(f"{where}, bands: expected 0 < low <= 1 <= elevated, got otherwise")
    return case
