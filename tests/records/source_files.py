"""A small mapping of two cells, and what its records of a file are; shared by the tests of the readers."""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from privacy.errors import InputError
from records.connectors.tables import records_of
from records.facts import Fault
from records.mapping import Mapping as SourceMapping
from records.mapping import parse_mapping
from records.registry import load_registry

CANARY = "Kanarienvogel"


def small_mapping(read: str = "", cell: str = "mode") -> SourceMapping:
    """Reads "no" and one cell, and ignores "Name"."""
    text = f"""
source = "hris"
kind = "table"
[read]
{read}
[person]
number = "no"
[[facts]]
table = "person"
[facts.columns]
work_mode = {{ from = "{cell}" }}
[ignore]
columns = ["Name"]
"""
    return parse_mapping(text.encode(), load_registry())


def rows(path: Path, read: str = "", cell: str = "mode") -> list[tuple[int, Mapping[str, str | None] | Fault]]:
    """All that comes of a file."""
    return list(records_of(path, small_mapping(read, cell)))


def both(first: str, second: str | None) -> dict[str, str | None]:
    """One record."""
    return {"no": first, "mode": second}


def attempt(content: bytes, ending: str, read: str = "") -> None:
    """Reads bytes as a file of that ending; nothing but InputError may come of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"fuzz{ending}"
        path.write_bytes(content)
        message = ""
        try:
            for _, row in rows(path, read):
                assert isinstance(row, Fault) or set(row) == {"no", "mode"}
        except InputError as error:
            message = str(error)
    assert "\n" not in message
