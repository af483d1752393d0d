"""The one engine that turns any source's rows into facts: a mapping file, checked against the registry and compiled.

Rules:
 1. A mapping writes only columns that are registered, for which its source is registered, about whom they are.
 2. It reads no cell of a prohibited name, but what the vault may take from it, and no word of its query is one; what
    it ignores is never read.
 3. Every row ends as what it says, or as one fault that holds none of it: one bad cell keeps the whole row out. Only
    rows that no `when` lets in end as nothing.
 4. Nothing is guessed: an unknown value, an ambiguous day, a missing key is a fault.
 5. What a cell holds leaves as a registered value, a pseudonym, or not at all.
"""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Final

from privacy.errors import InputError
from privacy.pseudonyms import Pseudonyms
from records.cell_plans import BadCell, PersonPlan
from records.fact_plans import Compiler, FactPlan, Record
from records.facts import Fault, Incoming, Trait
from records.mapping_file import MappingFile, parse_mapping_file, read_mapping_file
from records.registry import Registry

READY: Final = Path(__file__).parent / "mappings"


class Mapping:
    """A mapping that was checked and compiled; for one thread at a time.

    Attributes:
        source: one of the registry's sources.
        kind: "table", "sql", "scim", "xapi" or "calendar".
        read: how the source writes.
        digest: SHA-256 of the file, hexadecimal.
        cells: names of the cells that it reads.
        required: those of them that a table must have.
        ignored: names of cells that are known and never read.
        where: the file, for messages.
    """

    def __init__(self, file: MappingFile, registry: Registry) -> None:
        """Check a file against the registry and compile it.

        Raises:
            InputError: if it targets what is not registered for its source, or does not fit together.
            Refused: if it reads a prohibited cell.
        """
        compiler = Compiler(file, registry)
        self.source, self.kind, self.read, self.digest = file.source, file.kind, file.read, file.digest
        self.ignored, self.where = file.ignored, file.where
        self._person = PersonPlan(file.person, file.read)
        self._facts = compiler.facts()
        self._protected = compiler.protected()
        self._consent = compiler.consent()
        self._only_facts = bool(self._facts) and not self._protected and self._consent is None
        self.cells, self.required = frozenset(compiler.cells), frozenset(compiler.required)

    def incoming(self, record: Record | Fault, place: int, pseudonyms: Pseudonyms, as_of: date) -> list[Incoming]:
        """What a row says, or the one fault that keeps it out (rule 3).

        Args:
            record: the row; a fault that its reader found passes as it is.
            place: its number in its source, from 0.
            pseudonyms: of the site.
            as_of: from when on a fact is true whose row does not say.
        """
        if isinstance(record, Fault):
            return [record]
        subject: str | None = None
        try:
            admitted = [plan for plan in self._facts if plan.admits(record)]
            if not admitted and self._only_facts:
                return []
            subject = self._person.subject(record.get(self._person.cell), pseudonyms)
            found = self._said(admitted, record, place, subject, pseudonyms, as_of)
        except BadCell as bad:
            return [Fault(place, bad.column, bad.reason, subject)]
        if not found and (admitted or not self._facts):
            return [Fault(place, "", "expected a row that states something, got missing cells only", subject)]
        return found

    def _said(
        self,
        admitted: list[FactPlan],
        record: Record,
        place: int,
        subject: str,
        pseudonyms: Pseudonyms,
        as_of: date,
    ) -> list[Incoming]:
        found: list[Incoming] = []
        for plan in admitted:
            fact = plan.fact(record, place, subject, pseudonyms, as_of)
            if fact is not None:
                found.append(fact)
        if self._protected and (traits := self._traits(record)):
            found.append(Trait(subject, traits, place))
        if self._consent is not None:
            found.append(self._consent.said(record, place, subject, as_of))
        return found

    def _traits(self, record: Record) -> dict[str, str]:
        read = ((name, plan.value(record.get(plan.cell))) for name, plan in self._protected)
        return {name: str(value) for name, value in read if value is not None}


def load_mapping(path_or_name: str | Path, registry: Registry) -> Mapping:
    """The mapping in a file, or a ready one by its name, such as "orangehrm_employee".

    Raises:
        InputError: if there is none, or it is not a mapping that fits this registry.
        Refused: if it reads a prohibited cell.
    """
    if not isinstance(path_or_name, str) or not re.fullmatch(r"[a-z0-9_]{1,80}", path_or_name):
        return Mapping(read_mapping_file(Path(path_or_name)), registry)
    if path_or_name not in (known := ready_mappings()):
        raise InputError(f"mapping: expected one of {', '.join(known)}, or a path, got {path_or_name!r}")
    return Mapping(read_mapping_file(READY / f"{path_or_name}.toml"), registry)


def parse_mapping(data: bytes, registry: Registry, where: str = "mapping") -> Mapping:
    """The mapping written in `data`; raises as `load_mapping` does."""
    return Mapping(parse_mapping_file(data, where), registry)


def ready_mappings() -> list[str]:
    """Names of the mappings that come with Kith."""
    return sorted(path.stem for path in READY.glob("*.toml"))
