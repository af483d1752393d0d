"""CSV and TSV, plain or gzip, row by row: whatever the file's length, one row is held at a time.

Read by the standard library and in one thread. pyarrow's streaming reader reads ahead in threads of its own, which call
back into a reader that was given up after an error: the process dies.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Final, cast

from privacy.errors import InputError
from records.connectors.rows import Binding
from records.facts import Fault
from records.mapping_file import ENCODINGS, ReadOptions
from records.table import HEADER_BYTES, MAX_CELL_BYTES, MAX_COLUMNS, MAX_FILE_BYTES, MAX_ROWS, SEPARATORS

MAX_ROW: Final = 4 * 2**20
"""Characters of a row."""
MAX_HEADER: Final = HEADER_BYTES // 4
"""Characters of the header."""
MAX_UNEVEN: Final = 10_000
"""Rows of another length than the header's. A file with more of them is parted or quoted in another way."""
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class _Lines:
    """A text file's lines with their ends; stops at a NUL, another encoding, too long a row or too much text.

    Attributes:
        taken: characters since it was last set to 0.
    """

    def __init__(self, path: Path, encoding: str, where: str) -> None:
        self._where = where
        self._encoding = encoding
        self._length = 0
        self.taken = 0
        opener = gzip.open if path.name.lower().endswith(".gz") else open
        binary = io.BufferedReader(cast(io.RawIOBase, opener(path, "rb")))
        try:
            self._stream = io.TextIOWrapper(binary, self._coding(binary.peek(4)), newline="")
        except BaseException:
            binary.close()
            raise

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.read(MAX_ROW + 1)
        if not line:
            raise StopIteration
        self.taken += len(line)
        if self.taken > MAX_ROW:
            raise InputError(f"{self._where}: expected rows of at most {MAX_ROW} characters, got a longer one")
        return line

    def read(self, most: int, line: bool = True) -> str:
        """At most so many characters, up to the end of the line or past it; nothing at the end of the file."""
        try:
            text = self._stream.readline(most) if line else self._stream.read(most)
        except UnicodeError:
            others = ", ".join(repr(name) for name in ENCODINGS if name != self._encoding)
            raise InputError(
                f"{self._where}: expected {self._encoding} text, got other bytes: is read.encoding one of {others}?"
            ) from None
        self._length += len(text)
        if self._length > MAX_FILE_BYTES:
            raise InputError(f"{self._where}: expected at most {MAX_FILE_BYTES} bytes of text, got more")
        if "\0" in text:
            raise InputError(
                f'{self._where}: expected text, got a NUL byte (a binary file, or UTF-16: read.encoding = "utf-16"?)'
            )
        return text

    def _coding(self, head: bytes) -> str:
        """The codec, by the byte order mark if there is one."""
        marked = next((coding for mark, coding in _MARKS if head.startswith(mark)), None)
        if marked == "utf-16" and self._encoding != "utf-16":
            raise InputError(f'{self._where}: expected {self._encoding}, got UTF-16: declare read.encoding = "utf-16"')
        if marked is None and self._encoding == "utf-16":
            raise InputError(f"{self._where}: expected UTF-16 with its byte order mark, got no mark")
        return marked or self._encoding


@dataclass(frozen=True, slots=True)
class TextTable:
    """A text file with one header over rows."""

    path: Path
    options: ReadOptions
    where: str

    def names(self) -> list[str]:
        """The header's cells. Raises InputError if there is none."""
        with self._lines() as lines:
            names, _ = next(self._rows(lines), (None, False))
        if names is None:
            raise InputError(f"{self.where}: expected a header and rows, got an empty file")
        return names

    def rows(self, binding: Binding) -> Iterator[tuple[int, Sequence[str | None] | Fault]]:
        """The rows, and a fault for each that has another number of cells than the header."""
        wanted = itemgetter(*binding.places) if len(binding.places) > 1 else lambda cells: [cells[binding.places[0]]]
        uneven = 0
        with self._lines() as lines:
            rows = self._rows(lines)
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

    def _lines(self) -> _Lines:
        return _Lines(self.path, self.options.encoding, self.where)

    def _rows(self, lines: _Lines) -> Iterator[tuple[list[str] | None, bool]]:
        """Cells of each row that is not blank, None where its quotes are wrong; and whether it takes several lines."""
        reader = csv.reader(lines, delimiter=self._separator(), strict=True)
        while True:
            lines.taken, first = 0, reader.line_num
            cells: list[str] | None = None
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self._check_cell(MAX_CELL_BYTES + 1 if "limit" in str(error) else 0)
            if cells is not None and lines.taken > MAX_CELL_BYTES:
                self._check_cell(max(len(cell.encode("utf-8", "surrogatepass")) for cell in cells))
            if cells != []:
                yield cells, reader.line_num - first > 1

    def _check_cell(self, length: int) -> None:
        if length > MAX_CELL_BYTES:
            raise InputError(f"{self.where}: expected cells of at most {MAX_CELL_BYTES} bytes, got a longer one")

    def _separator(self) -> str:
        """The declared separator, or a tab in .tsv, or the one that the header holds most of outside quotes.

        Raises:
            InputError: if the header is too long, or the separator parts it into too many columns.
        """
        with self._lines() as lines:
            head = lines.read(HEADER_BYTES, line=False).lstrip("\r\n ")
        declared = self.options.separator or ("\t" if ".tsv" in self.path.name.lower()[-7:] else None)
        separator = declared or max(SEPARATORS, key=_first_line(head, re.escape("".join(SEPARATORS))).count)
        line = _first_line(head, re.escape(separator))
        if len(head) > MAX_HEADER and (len(line) == len(head) or re.search(rf'(?:^|{re.escape(separator)})"', line)):
            raise InputError(f"{self.where}: expected a header of at most {MAX_HEADER} characters, got a longer one")
        if line.count(separator) >= MAX_COLUMNS:
            raise InputError(f"{self.where}: expected at most {MAX_COLUMNS} columns, got {line.count(separator) + 1}")
        return separator


def _first_line(head: str, separators: str) -> str:
    """The header without its quoted cells; a quote counts at a cell's start only."""
    return re.split(r"[\r\n]", re.sub(rf'(^|[{separators}])"(?:[^"]|"")*"', r"\1", head), maxsplit=1)[0]
