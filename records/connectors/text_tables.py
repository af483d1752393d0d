"""CSV and TSV, plain or gzip, in blocks: whatever the file's length, a few of its blocks are held at a time."""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped,unused-ignore]
import pyarrow.csv as pa_csv  # type: ignore[import-untyped,unused-ignore]

from privacy.errors import InputError
from records.connectors.rows import Binding
from records.facts import Fault
from records.mapping_file import ENCODINGS, ReadOptions
from records.table import BLOCK_BYTES, HEADER_BYTES, MAX_CELL_BYTES, MAX_COLUMNS, MAX_FILE_BYTES, MAX_ROWS, SEPARATORS

MAX_UNEVEN: Final = 10_000
"""Rows of another length than the header's. A file with more of them is parted or quoted in another way."""
_MARKS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class _Utf8(io.RawIOBase):
    """A text file's bytes as UTF-8, whatever it is written in; stops at a NUL, another encoding, or too much text."""

    def __init__(self, path: Path, encoding: str, where: str) -> None:
        super().__init__()
        opener = gzip.open if path.name.lower().endswith(".gz") else open
        self._stream = cast(io.BufferedIOBase, opener(path, "rb"))
        self._where = where
        self._encoding = encoding
        self._head = self._stream.read(4)
        self._decoder = codecs.getincrementaldecoder(self._coding())()
        self._waiting = b""
        self._length = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Close the file too."""
        self._stream.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Up to as many bytes as the buffer holds; 0 at the end."""
        while not self._waiting:
            data, self._head = self._head + self._stream.read(max(len(buffer) - 4, 4)), b""
            self._waiting = self._decoded(data)
            if not data:
                break
        part, self._waiting = self._waiting[: len(buffer)], self._waiting[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)

    def _coding(self) -> str:
        """The codec, by the byte order mark if there is one."""
        marked = next((coding for mark, coding in _MARKS if self._head.startswith(mark)), None)
        if marked == "utf-16" and self._encoding != "utf-16":
            raise InputError(f'{self._where}: expected {self._encoding}, got UTF-16: declare read.encoding = "utf-16"')
        if marked is None and self._encoding == "utf-16":
            raise InputError(f"{self._where}: expected UTF-16 with its byte order mark, got no mark")
        return marked or self._encoding

    def _decoded(self, data: bytes) -> bytes:
        try:
            text = self._decoder.decode(data, final=not data)
            found = text.encode("utf-8")
        except UnicodeError:
            others = ", ".join(repr(name) for name in ENCODINGS if name != self._encoding)
            raise InputError(
                f"{self._where}: expected {self._encoding} text, got other bytes: is read.encoding one of {others}?"
            ) from None
        self._length += len(found)
        if self._length > MAX_FILE_BYTES:
            raise InputError(f"{self._where}: expected at most {MAX_FILE_BYTES} bytes of text, got more")
        if "\0" in text:
            raise InputError(
                f'{self._where}: expected text, got a NUL byte (a binary file, or UTF-16: read.encoding = "utf-16"?)'
            )
        return found


@dataclass(frozen=True, slots=True)
class TextTable:
    """A text file with one header over rows."""

    path: Path
    options: ReadOptions
    where: str

    def names(self) -> list[str]:
        """The header's cells. Raises InputError if there is none."""
        with _Blocks(self, None) as blocks:
            batch = next(iter(blocks), None)
            if batch is None or not batch.num_rows:
                raise InputError(f"{self.where}: expected a header and rows, got nothing")
            return [str(column[0].as_py()) for column in batch.columns]

    def rows(self, binding: Binding) -> Iterator[tuple[int, Sequence[str | None] | Fault]]:
        """The rows, and a fault for each that has another number of cells than the header."""
        with _Blocks(self, [f"f{place}" for place in binding.places]) as blocks:
            place = -1  # the header's
            for batch in blocks:
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    for fault in blocks.uneven_at(place):
                        yield fault.place, fault
                        place += 1
                    if place >= 0:
                        yield place, row
                    place += 1
                for fault in blocks.uneven_at(place):
                    yield fault.place, fault
                    place += 1
                if place > MAX_ROWS:
                    raise InputError(f"{self.where}: expected at most {MAX_ROWS} rows, got more")
            for fault in blocks.uneven_at(place):
                yield fault.place, fault


class _Blocks:
    """pyarrow's reader on a text table: batches of text cells of the columns asked for, or of all."""

    def __init__(self, table: TextTable, columns: list[str] | None) -> None:
        self._table = table
        self._columns = columns
        self._stream = _Utf8(table.path, table.options.encoding, table.where)
        self._swallowed: int | None = None
        self._uneven: deque[Fault] = deque()
        self._uneven_count = 0

    def __enter__(self) -> _Blocks:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        where = self._table.where
        try:
            reader = pa_csv.open_csv(
                self._stream,
                read_options=pa_csv.ReadOptions(
                    use_threads=False, block_size=BLOCK_BYTES, autogenerate_column_names=True
                ),
                parse_options=pa_csv.ParseOptions(
                    delimiter=_separator(self._table), newlines_in_values=True, invalid_row_handler=self._note
                ),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(self._columns or (f"f{n}" for n in range(MAX_COLUMNS)), pa.string()),
                    include_columns=self._columns,
                    strings_can_be_null=False,
                ),
            )
            if len(reader.schema) > MAX_COLUMNS:
                raise InputError(f"{where}: expected at most {MAX_COLUMNS} columns, got {len(reader.schema)}")
            for batch in reader:
                self._check(batch)
                yield batch
        except (pa.ArrowException, UnicodeError, ValueError) as error:
            raise InputError(f"{where}: {self._what_arrow_met(error)}") from None

    def uneven_at(self, place: int) -> Iterator[Fault]:
        """The rows of another length that stand at this place and, one after the other, behind it."""
        while self._uneven and self._uneven[0].place == place:
            yield self._uneven.popleft()
            place += 1

    def _note(self, row: Any) -> str:
        reason = f"expected {row.expected_columns} cells as in the header, got {row.actual_columns}"
        self._uneven.append(Fault(row.number - 2, "", reason))  # pyarrow counts from 1, and the header too
        if self._swallowed is None and "\n" in row.text.strip():
            self._swallowed = row.number - 2
        self._uneven_count += 1
        return "skip" if self._uneven_count <= MAX_UNEVEN else "error"

    def _check(self, batch: pa.RecordBatch) -> None:
        where = self._table.where
        if self._swallowed is not None:
            raise InputError(f"{where}, row {self._swallowed}: expected closed quotes, got one left open over lines")
        for column in batch.columns:
            longest = pc.max(pc.binary_length(column)).as_py() or 0
            if longest > MAX_CELL_BYTES:
                raise InputError(f"{where}: expected cells of at most {MAX_CELL_BYTES} bytes, got one of {longest}")

    def _what_arrow_met(self, error: Exception) -> str:
        """What pyarrow stumbled over, without its words: they quote the row."""
        if self._uneven_count > MAX_UNEVEN:
            return f"expected at most {MAX_UNEVEN} uneven rows, got more (another separator, or other quotes?)"
        if "straddl" in str(error):
            return f"expected rows of at most {BLOCK_BYTES} bytes, got a longer one (an open quote, or a huge cell?)"
        if "Empty CSV" in str(error):
            return "expected a header and rows, got an empty file"
        return "expected one header over rows, got something else"


def _separator(table: TextTable) -> str:
    """The declared separator, or a tab in .tsv, or the one that the header holds most of outside quotes.

    Raises:
        InputError: if it parts the header into too many columns; pyarrow would take 8 KiB for each before it says so.
    """
    with _Utf8(table.path, table.options.encoding, table.where) as stream:
        head = io.BufferedReader(stream, HEADER_BYTES).read(HEADER_BYTES).decode("utf-8", errors="ignore").lstrip()
    declared = table.options.separator or ("\t" if ".tsv" in table.path.name.lower()[-7:] else None)
    separator = declared or max(SEPARATORS, key=_first_line(head, re.escape("".join(SEPARATORS))).count)
    line = _first_line(head, re.escape(separator))
    if len(head) > HEADER_BYTES // 4 and (len(line) == len(head) or re.search(rf'(?:^|{re.escape(separator)})"', line)):
        raise InputError(
            f"{table.where}: expected a header of at most {HEADER_BYTES // 4} characters, got a longer one"
        )
    if line.count(separator) >= MAX_COLUMNS:
        raise InputError(f"{table.where}: expected at most {MAX_COLUMNS} columns, got {line.count(separator) + 1}")
    return separator


def _first_line(head: str, separators: str) -> str:
    """The header without its quoted cells; a quote counts at a cell's start only."""
    return re.split(r"[\r\n]", re.sub(rf'(^|[{separators}])"(?:[^"]|"")*"', r"\1", head), maxsplit=1)[0]
