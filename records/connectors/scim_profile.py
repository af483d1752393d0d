"""One site's mapping as its service provider needs it: what to advertise, and what a record says of a person."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping as Cells
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Final

from privacy.errors import InputError
from privacy.pseudonyms import Pseudonyms
from records.cell_plans import BadCell, PersonPlan
from records.connectors.scim_resources import ENDED, EXAMPLE_DAY, MANAGER, NUMBER, Advertised, advertised
from records.facts import Incoming
from records.mapping import READY, Mapping
from records.mapping_file import Form, MappingFile, read_mapping_file
from records.registry import Column, Registry, load_registry

DEFAULT: Final = "scim"
"""The ready mapping that a site has unless its settings name another."""


@dataclass(frozen=True)
class Profile:
    """What a site's mapping makes of users.

    Attributes:
        mapping: of the kind "scim"; used under `lock`, for it serves one thread at a time.
        person: reads whose record it is.
        advertised: what of a user it reads.
    """

    mapping: Mapping
    person: PersonPlan
    advertised: Advertised
    lock: threading.Lock = field(default_factory=threading.Lock)

    def subject(self, record: Cells[str, str | None], pseudonyms: Pseudonyms) -> str:
        """Whose record it is; "" if it names nobody.

        Raises:
            BadCell: if the number can not be one.
        """
        return self.person.subject(record[NUMBER], pseudonyms) if record.get(NUMBER) else ""

    def manager(self, record: Cells[str, str | None], pseudonyms: Pseudonyms) -> str:
        """To whom the person of a record reports; "" if it names nobody whose number can be one."""
        try:
            return self.person.subject(record.get(MANAGER), pseudonyms)
        except BadCell:
            return ""

    def incoming(self, record: Cells[str, str | None], pseudonyms: Pseudonyms, as_of: date) -> list[Incoming]:
        """What a record says; nothing if it names a person and says no more."""
        if not any(record.get(cell) for cell in self.mapping.cells if cell != NUMBER):
            return []
        with self.lock:
            return self.mapping.incoming(record, 0, pseudonyms, as_of)


def profile_of(mapping: Path | str | None) -> Profile:
    """The profile of a mapping: a file, or the name of a ready one; None stands for the default.

    A file that changes is read again by the next process.

    Raises:
        InputError: if there is no such mapping, or it is not one of users.
    """
    named = mapping is None or (isinstance(mapping, str) and re.fullmatch(r"[a-z0-9_]{1,80}", mapping))
    return _profile(READY / f"{mapping or DEFAULT}.toml" if named else Path(str(mapping)))


@lru_cache(maxsize=64)
def _profile(path: Path) -> Profile:
    file, registry = read_mapping_file(path), load_registry()
    if file.kind != "scim":
        raise InputError(f"{path}: expected a mapping of the kind 'scim', got {file.kind!r}")
    mapping = Mapping(file, registry)
    if file.person.cell != NUMBER or file.person.subject != "employee":
        raise InputError(f"{path}: expected the person's number in {NUMBER}, got another cell")
    if ENDED not in mapping.cells:
        raise InputError(f"{path}: expected a column for the end of an employment, {ENDED}, got none")
    person = PersonPlan(file.person, file.read)
    return Profile(mapping, person, advertised(mapping.cells, _suggested(file, registry)))


def _suggested(file: MappingFile, registry: Registry) -> dict[str, tuple[str, ...]]:
    """Canonical values of the attributes that the mapping reads in some writings only."""
    found: dict[str, tuple[str, ...]] = {}
    for block in file.facts:
        for name, form in block.columns.items():
            values = _writings(form, registry.column(f"{block.table}.{name}"))
            if form.cell and values:
                found.setdefault(form.cell, values)
    return found


def _writings(form: Form, column: Column) -> tuple[str, ...]:
    if form.values:
        return tuple(form.values)
    if column.kind in ("day", "month"):
        return (EXAMPLE_DAY,)
    return (f"{column.high:g}",) if column.kind == "number" else column.values
