"""Everything about one person, as files that the person can take along: JSON, and CSV for every table."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from privacy.errors import InputError

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would run."""


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything about one person.

    Attributes:
        site: who holds it.
        subject: the pseudonym under which it is held.
        at: when it was read.
        tables: rows by table; tables without any are left out.
        uses: per purpose, the answer whether it may be used now, and today's features where it may.
        in_vault: whether the vault holds protected traits, which only the auditor can read.
    """

    site: str
    subject: str
    at: str
    tables: Mapping[str, Sequence[Mapping[str, Any]]]
    uses: Sequence[Mapping[str, Any]]
    in_vault: bool

    def to_document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def to_json(self) -> str:
        """All of it as one JSON document."""
        return json.dumps(self.to_document(), indent=2, ensure_ascii=False) + "\n"

    def to_csv_files(self) -> dict[str, str]:
        """All of it as CSV by file name: a file per table, one of the uses, one of the features."""
        uses = [{key: value for key, value in use.items() if key != "features"} for use in self.uses]
        features = [
            {"purpose": use["purpose"], "feature": name, "value": value}
            for use in self.uses
            for name, value in use["features"].items()
        ]
        vault = [{"subject": self.subject, "at": self.at, "in_vault": self.in_vault}]
        tables = {**self.tables, "uses": uses, "features": features, "vault": vault}
        return {f"{name}.csv": _csv(rows) for name, rows in tables.items() if rows}

    def write(self, folder: Path) -> list[Path]:
        """Writes everything.json and the CSV files into a new folder, for the owner's eyes alone.

        Raises:
            InputError: if the folder is there already, or can not be written.
        """
        files = {"everything.json": self.to_json(), **self.to_csv_files()}
        try:
            folder.mkdir(parents=True, mode=0o700)
            for name, content in files.items():
                descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
                    file.write(content)
        except OSError as error:
            raise InputError(f"{folder}: expected a new folder that can be written, got {error.strerror}") from None
        return [folder / name for name in files]


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV (RFC 4180); a text that a spreadsheet would run as a formula starts with an apostrophe."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _inert(value) for name, value in row.items()})
    return text.getvalue()


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
