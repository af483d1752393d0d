"""Text with separators, plain or gzip, row by row: whatever the file's length, one row is held at a time.

Read by the standard library and in one thread. pyarrow's readers read ahead in threads of their own, which call back
into a stream that was given up after an error: the process dies.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from privacy.errors import InputError

MAX_FILE_BYTES: Final = 2 * 2**30
MAX_COLUMNS: Final = 2_000
MAX_ROWS: Final = 20_000_000
MAX_CELL_BYTES: Final = 64 * 2**10
MAX_ROW: Final = 4 * 2**20
"""Characters of a row."""
HEADER_BYTES: Final = 2**20
MAX_HEADER: Final = HEADER_BYTES // 4
"""Characters of the header."""
SEPARATORS: Final = (",", ";", "\t")
ENCODINGS: Final = ("utf-8", "latin-1", "cp1252", "utf-16")
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


@dataclass(frozen=True, slots=True)
class TextRows:
    """The rows of a text file, the header first.

    Attributes:
        path, where: the file, and what messages call it.
        encoding: one of `ENCODINGS`.
        separator: what parts the cells; None for a tab in .tsv, else for the one that the header holds most of.
    """

    path: Path
    where: str
    encoding: str = "utf-8"
    separator: str | None = None

    def __iter__(self) -> Iterator[tuple[list[str] | None, bool]]:
        """Cells of each row that is not blank, None where its quotes are wrong; and whether it takes several lines.

        Raises:
            InputError: for another encoding, a NUL, or too long a cell, row, header or file.
        """
        separator = self._separator()
        with self._lines() as lines:
            yield from self._rows(lines, separator)

    def _lines(self) -> _Lines:
        return _Lines(self.path, self.encoding, self.where)

    def _rows(self, lines: _Lines, separator: str) -> Iterator[tuple[list[str] | None, bool]]:
        reader = csv.reader(lines, delimiter=separator, strict=True)
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
        declared = self.separator or ("\t" if ".tsv" in self.path.name.lower()[-7:] else None)
        separator = declared or max(SEPARATORS, key=_first_line(head, re.escape("".join(SEPARATORS))).count)
        line = _first_line(head, re.escape(separator))
        if len(head) > MAX_HEADER and (len(line) == len(head) or re.search(rf'(?:^|{re.escape(separator)})"', line)):
            raise InputError(f"{self.where}: expected a header of at most {MAX_HEADER} characters, got a longer one")
        if line.count(separator) >= MAX_COLUMNS:
            raise InputError(f"{self.where}: expected at most {MAX_COLUMNS} columns, got {line.count(separator) + 1}")
        return separator


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
            raise InputError(
                f"{self._where}: expected {self._encoding} text, got another encoding;"
                f" a mapping declares it by read.encoding, one of {', '.join(ENCODINGS)}"
            ) from None
        self._length += len(text)
        if self._length > MAX_FILE_BYTES:
            raise InputError(f"{self._where}: expected at most {MAX_FILE_BYTES} bytes of text, got more")
        if "\0" in text:
            raise InputError(
                f"{self._where}: expected {self._encoding} text, got a NUL byte (UTF-16 or a binary file?)"
            )
        return text

    def _coding(self, head: bytes) -> str:
        """The codec, by the byte order mark if there is one."""
        marked = next((coding for mark, coding in _MARKS if head.startswith(mark)), None)
        if marked == "utf-16" and self._encoding != "utf-16":
            raise InputError(
                f"{self._where}: expected {self._encoding} text, got UTF-16; a mapping declares it by read.encoding"
            )
        if marked is None and self._encoding == "utf-16":
            raise InputError(f"{self._where}: expected UTF-16 with its byte order mark, got no mark")
        return marked or self._encoding


def _first_line(head: str, separators: str) -> str:
    """The header without its quoted cells; a quote counts at a cell's start only."""
    return re.split(r"[\r\n]", re.sub(rf'(^|[{separators}])"(?:[^"]|"")*"', r"\1", head), maxsplit=1)[0]
