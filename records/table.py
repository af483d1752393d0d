"""One reader for the tables that people bring: CSV, TSV and Parquet, every cell as text.

What a cell means is the contract's business, so nothing is guessed here. A table that can not be read without a guess
ends in one line that says what was expected, what came and where, and holds no cell's content.
"""

from __future__ import annotations

import gzip
import itertools
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped,unused-ignore]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped,unused-ignore]

from privacy.errors import InputError
from records.text_rows import MAX_CELL_BYTES, MAX_COLUMNS, MAX_FILE_BYTES, MAX_ROWS, TextRows

MAX_NAME: Final = 500
BATCH_ROWS: Final = 8_192

MISSING: Final = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "null", "NULL", "?")
"""Writings of a missing cell. "None" may be an answer; "nan" is a failed computation, which a number column refuses."""
TEXT_ENDINGS: Final = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
NUMBER: Final = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?"
NOT_FINITE: Final = r"(?i:[+-]?(?:nan|inf|infinity))"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it came.

    Attributes:
        frame: (rows, columns) of text cells, stripped; a missing cell is missing to `isna()`. The index counts the rows
            from 0, blank lines left out.
        source: where it came from, for messages.
    """

    frame: pd.DataFrame
    source: str

    def column(self, name: str) -> pd.Series[Any]:
        """The cells of a column.

        Raises:
            InputError: if there is none of that name, listing those there are.
        """
        if name not in self.frame.columns:
            raise InputError(f"{self.source}: expected a column {name!r:.80}, got {listed(list(self.frame.columns))}")
        return self.frame[name]


@dataclass(frozen=True, slots=True)
class Numbers:
    """How the cells of a column read as numbers.

    Attributes:
        values: float64 (rows,), NaN where the cell is missing or not a finite number.
        not_finite: bool (rows,), cells that say NaN or infinity, or are too large for a float.
        other: bool (rows,), cells that are present and no numbers at all.
    """

    values: npt.NDArray[np.float64]
    not_finite: npt.NDArray[np.bool_]
    other: npt.NDArray[np.bool_]


def read_table(path: str | Path) -> Table:
    """The table in a .csv, .csv.gz, .tsv, .tsv.gz or .parquet file.

    Text is UTF-8 (a byte order mark is accepted); the separator is a comma, semicolon or tab, whichever the header
    holds most of. Columns without a name are left out if they are empty, else named "(column n)".

    Raises:
        InputError: if the file is missing, too large, of another kind, or not one header over rows of equal length.
    """
    path = Path(path)
    where = f"{str(path)!r:.300}"
    name = path.name.lower()
    try:
        if not path.is_file():
            raise InputError(f"{where}: expected a table, got {'a directory' if path.is_dir() else 'no such file'}")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{where}: expected at most {MAX_FILE_BYTES} bytes, got {path.stat().st_size}")
        if name.endswith(TEXT_ENDINGS):
            names, table = _read_text(path, where)
        elif name.endswith(".parquet"):
            names, table = _read_parquet(path, where)
        else:
            raise InputError(f"{where}: expected a name ending in {', '.join(TEXT_ENDINGS)} or .parquet, got another")
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise InputError(f"{where}: expected gzip data, got something else or only a part of it") from None
    except OSError as error:
        raise InputError(f"{where}: expected a readable file, got {type(error).__name__}") from None
    return Table(_frame(names, table, where), where)


def joined(tables: Sequence[Table], source: str) -> Table:
    """The rows of several tables with the same columns, one under the other, numbered anew.

    Raises:
        InputError: if a table's columns differ from the first one's.
    """
    if not tables:
        raise InputError(f"{source}: expected at least one table, got none")
    first = list(tables[0].frame.columns)
    for table in tables:
        if list(table.frame.columns) != first:
            raise InputError(f"{table.source}: expected the columns of {tables[0].source}, got others")
    return Table(pd.concat([table.frame for table in tables], ignore_index=True), source)


def as_numbers(cells: pd.Series[Any]) -> Numbers:
    """Reads text cells as decimal numbers ("1", "-2.5", "1e3"); no other writing of a number counts."""
    missing = cells.isna().to_numpy(dtype=bool)
    text = cells.astype("str")
    number = text.str.fullmatch(NUMBER).to_numpy(dtype=bool) & ~missing
    odd = text.str.fullmatch(NOT_FINITE).to_numpy(dtype=bool) & ~missing
    values = np.full(len(cells), np.nan)
    values[number] = cells.to_numpy(dtype=object)[number].astype(np.float64)
    odd |= np.isinf(values)
    values[odd] = np.nan
    return Numbers(values, odd, ~(missing | number | odd))


def listed(names: Sequence[str], most: int = 40) -> str:
    """Names for a message, cut to a readable length."""
    shown = ", ".join(f"{name!r:.60}" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def is_shown(text: str) -> bool:
    """Whether every character can be seen or is a space of some width: no control, no line break, no hidden mark."""
    return all(character.isprintable() or unicodedata.category(character) == "Zs" for character in text)


def check_plain(schema: pa.Schema, names: Sequence[str], where: str) -> None:
    """Refuses Parquet columns whose cells are no single values: one of them may unpack to any number of bytes.

    pyarrow reads with "a.b" also what is inside a column "a".

    Raises:
        InputError: if one of the columns that reading these names would read is no plain one.
    """
    for field in schema:
        if not _is_plain(field.type) and any(f"{name}.".startswith(f"{field.name}.") for name in names):
            raise InputError(
                f"{where}: expected a Parquet file of plain columns, got {field.name!r:.80} of type "
                f"{str(field.type).partition('<')[0]:.40}"
            )


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    tests = ("string", "large_string", "boolean", "integer", "floating", "decimal", "temporal", "null")
    return any(getattr(pa.types, f"is_{test}")(kind) for test in tests)


def _read_text(path: Path, where: str) -> tuple[list[str], pa.Table]:
    """Header and rows, which must all be of its length."""
    rows = iter(TextRows(path, where))
    names, _ = next(rows, (None, False))
    if names is None:
        raise InputError(f"{where}: expected a header and rows, got an empty file")
    _check_columns(len(names), where)
    batches = _bounded(_batches(rows, len(names), where), where)
    if not batches:
        raise InputError(f"{where}: expected a header and rows, got a header only")
    return names, pa.Table.from_batches(batches)


def _batches(rows: Iterator[tuple[list[str] | None, bool]], width: int, where: str) -> Iterator[pa.RecordBatch]:
    """The rows in blocks of text columns."""
    names = _places(width)
    for first in itertools.count(0, BATCH_ROWS):
        block = list(itertools.islice(rows, BATCH_ROWS))
        if not block:
            return
        for place, (cells, _) in enumerate(block, start=first):
            if cells is None or len(cells) != width:
                got = "quotes around a part of a cell" if cells is None else str(len(cells))
                raise InputError(f"{where}, row {place}: expected {width} cells as in the header, got {got}")
        columns = zip(*(cells for cells, _ in block if cells is not None), strict=True)
        yield pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], names=names)


def _read_parquet(path: Path, where: str) -> tuple[list[str], pa.Table]:
    try:
        with pa_parquet.ParquetFile(path) as file:
            if file.metadata.num_rows > MAX_ROWS:
                raise InputError(f"{where}: expected at most {MAX_ROWS} rows, got {file.metadata.num_rows}")
            schema = file.schema_arrow
            _check_columns(len(schema), where)
            check_plain(schema, schema.names, where)
            table = pa.Table.from_batches(_bounded(file.iter_batches(batch_size=BATCH_ROWS), where), schema=schema)
        if table.num_rows == 0 or not schema.names:
            raise InputError(f"{where}: expected rows, got none")
        return list(schema.names), pa.table([_text(column) for column in table.columns], names=_places(len(schema)))
    except (pa.ArrowException, UnicodeError, ValueError, TypeError, KeyError, OSError):
        raise InputError(f"{where}: expected a Parquet file of plain columns, got something else") from None


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Cells of any plain type as text."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.large_string()).cast(pa.string())


def _places(count: int) -> list[str]:
    """The names that pyarrow gives to columns without one."""
    return [f"f{position}" for position in range(count)]


def _bounded(batches: Iterator[pa.RecordBatch], where: str) -> list[pa.RecordBatch]:
    """All batches, or an error as soon as they hold too many rows, bytes, or too long a cell."""
    kept: list[pa.RecordBatch] = []
    rows = held = 0
    for batch in batches:
        rows += batch.num_rows
        held += batch.nbytes
        if rows > MAX_ROWS:
            raise InputError(f"{where}: expected at most {MAX_ROWS} rows, got more")
        if held > 2 * MAX_FILE_BYTES:
            raise InputError(f"{where}: expected at most {2 * MAX_FILE_BYTES} bytes of cells, got more")
        for column in batch.columns:
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                longest = pc.max(pc.binary_length(column)).as_py() or 0
                if longest > MAX_CELL_BYTES:
                    raise InputError(f"{where}: expected cells of at most {MAX_CELL_BYTES} bytes, got one of {longest}")
        kept.append(batch)
    return kept


def _check_columns(count: int, where: str) -> None:
    if count > MAX_COLUMNS:
        raise InputError(f"{where}: expected at most {MAX_COLUMNS} columns, got {count}")


def _frame(names: list[str], table: pa.Table, where: str) -> pd.DataFrame:
    """Strips cells, marks the missing ones, and settles the names."""
    cells = [_stripped(column) for column in table.columns]
    kept: dict[str, pa.ChunkedArray] = {}
    for position, (raw, column) in enumerate(zip(names, cells, strict=True), start=1):
        name = " ".join(raw.split())
        if not name:
            if column.null_count == len(column):
                continue
            name = f"(column {position})"
        if len(name) > MAX_NAME or not is_shown(name):
            raise InputError(
                f"{where}: expected a printable name of at most {MAX_NAME} characters, got another as column {position}"
            )
        if name in kept:
            raise InputError(f"{where}: expected distinct column names, got {name!r:.80} twice")
        kept[name] = column
    _check_header(list(kept), where)
    return cast(pd.DataFrame, pa.table(kept).to_pandas())


def _check_header(names: list[str], where: str) -> None:
    """Refuses a first row of data in the header's place: its cells would turn up in messages as names."""
    if not names:
        raise InputError(f"{where}: expected columns with names, got none")
    numbers = [float(name) for name in names if re.fullmatch(NUMBER, name)]
    if len(numbers) > 1 and any(later <= earlier for earlier, later in itertools.pairwise(numbers)):
        raise InputError(
            f"{where}: expected a header of column names, got {len(numbers)} numbers among "
            f"{len(names)} names (is the header missing?)"
        )


def _stripped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    stripped = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(stripped, value_set=pa.array(MISSING, pa.string()))
    return pc.if_else(missing, pa.scalar(None, pa.string()), stripped)
