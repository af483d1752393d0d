"""CSV and TSV as records: rows of the header's length, and a fault for each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Final

from privacy.errors import InputError
from records.connectors.rows import Binding
from records.facts import Fault
from records.mapping_file import ReadOptions
from records.text_rows import MAX_ROWS, TextRows

MAX_UNEVEN: Final = 10_000
"""Rows of another length than the header's. A file with more of them is parted or quoted in another way."""


@dataclass(frozen=True, slots=True)
class TextTable:
    """A text file with one header over rows."""

    path: Path
    options: ReadOptions
    where: str

    def names(self) -> list[str]:
        """The header's cells. Raises InputError if there is none."""
        names, _ = next(iter(self._rows()), (None, False))
        if names is None:
            raise InputError(f"{self.where}: expected a header and rows, got an empty file")
        return names

    def rows(self, binding: Binding) -> Iterator[tuple[int, Sequence[str | None] | Fault]]:
        """The rows, and a fault for each that has another number of cells than the header."""
        wanted = itemgetter(*binding.places) if len(binding.places) > 1 else lambda cells: [cells[binding.places[0]]]
        uneven = 0
        rows = iter(self._rows())
        next(rows, None)  # the header
        for place, (cells, spread) in enumerate(rows):
            if place >= MAX_ROWS:
                raise InputError(f"{self.where}: expected at most {MAX_ROWS} rows, got more")
            if cells is not None and len(cells) == binding.width:
                yield place, wanted(cells)
                continue
            uneven += 1
            if spread:  # what the open quote took are other rows
                raise InputError(f"{self.where}, row {place}: expected closed quotes, got one left open over lines")
            if uneven > MAX_UNEVEN:
                raise InputError(
                    f"{self.where}: expected at most {MAX_UNEVEN} uneven rows, got more"
                    " (another separator, or other quotes?)"
                )
            reason = (
                "expected quotes around a whole cell, got others"
                if cells is None
                else f"expected {binding.width} cells as in the header, got {len(cells)}"
            )
            yield place, Fault(place, "", reason)

    def _rows(self) -> TextRows:
        return TextRows(self.path, self.where, self.options.encoding, self.options.separator)
