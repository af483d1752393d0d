"""Tables that systems export: CSV and TSV (plain or gzip), Parquet, Excel; read in blocks, as the mapping declares.

A row that can not be read alone becomes a fault and the others go on; a file that can not be read without a guess is
refused as a whole. Columns that the mapping does not name are not read: they are listed.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped,unused-ignore]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped,unused-ignore]

from privacy.errors import InputError
from records.connectors.rows import Binding, Records, as_text, bind
from records.connectors.text_tables import TextTable
from records.connectors.workbooks import Workbook
from records.facts import Fault
from records.mapping import Mapping
from records.table import BATCH_ROWS, TEXT_ENDINGS, check_plain
from records.text_rows import MAX_CELL_BYTES, MAX_FILE_BYTES, MAX_ROWS

WORKBOOKS: Final = (".xlsx", ".xlsm")
PARQUET: Final = ".parquet"
BUFFER_BYTES: Final = 2**20


def records_of(path: str | Path, mapping: Mapping) -> Records:
    """The rows of a file as records of a mapping; its header is read at once, its rows when iterated.

    Raises:
        InputError: now or while iterating, if the file is missing, too large, of another kind, not in the declared
            encoding, lacks a column that the mapping reads, or can not be read on.
    """
    path = Path(path)
    where = f"{str(path)!r:.300}"
    if mapping.kind != "table":
        raise InputError(f'{mapping.where}: expected kind = "table" for a file, got {mapping.kind!r}')
    with _readable(where):
        table = _table(path, mapping, where)
        binding = bind(table.names(), mapping, where)

    def rows(bound: Binding) -> Iterator[tuple[int, Sequence[str | None] | Fault]]:
        with _readable(where):
            yield from table.rows(bound)

    return Records(where, binding, rows)


@contextmanager
def _readable(where: str) -> Iterator[None]:
    """What the file system and gzip may say, as input errors."""
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError):
        raise InputError(f"{where}: expected gzip data, got something else or only a part of it") from None
    except OSError as error:
        raise InputError(f"{where}: expected a readable file, got {type(error).__name__}") from None


def _table(path: Path, mapping: Mapping, where: str) -> TextTable | Workbook | _ParquetTable:
    if not path.is_file():
        raise InputError(f"{where}: expected a table, got {'a directory' if path.is_dir() else 'no such file'}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise InputError(f"{where}: expected at most {MAX_FILE_BYTES} bytes, got {path.stat().st_size}")
    name = path.name.lower()
    if name.endswith(TEXT_ENDINGS):
        return TextTable(path, mapping.read, where)
    if name.endswith(WORKBOOKS):
        return Workbook(path, mapping.read, where)
    if name.endswith(PARQUET):
        return _ParquetTable(path, mapping.read.numbers.decimal, where)
    endings = ", ".join((*TEXT_ENDINGS, PARQUET, *WORKBOOKS))
    raise InputError(f"{where}: expected a name ending in {endings}, got another")


@dataclass(frozen=True, slots=True)
class _ParquetTable:
    """A Parquet file of plain columns."""

    path: Path
    decimal: str
    where: str

    def names(self) -> list[str]:
        """The columns' names."""
        with self._open(()) as file:
            return list(file.schema_arrow.names)

    def rows(self, binding: Binding) -> Iterator[tuple[int, Sequence[str | None]]]:
        """The rows, batch by batch. Texts stay in dictionaries, so that one long text can not fill a batch."""
        place = 0
        with self._open(binding.places) as file:
            if file.metadata.num_rows > MAX_ROWS:
                raise InputError(f"{self.where}: expected at most {MAX_ROWS} rows, got {file.metadata.num_rows}")
            names = [file.schema_arrow.names[column] for column in binding.places]
            for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=names):
                columns = [self._texts(batch.column(name)) for name in names]
                for row in zip(*columns, strict=True):
                    yield place, row
                    place += 1

    def _texts(self, column: pa.Array) -> list[str | None]:
        """The cells of a column of one batch as text."""
        if not pa.types.is_dictionary(column.type):
            return [as_text(value, self.decimal, self.where) for value in column.to_pylist()]
        values = column.dictionary
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            longest = pc.max(pc.binary_length(values)).as_py() or 0
            if longest > MAX_CELL_BYTES:
                raise InputError(
                    f"{self.where}: expected cells of at most {MAX_CELL_BYTES} bytes, got one of {longest}"
                )
        texts = [as_text(value, self.decimal, self.where) for value in values.to_pylist()]
        return [None if place is None else texts[place] for place in column.indices.to_pylist()]

    @contextmanager
    def _open(self, places: Sequence[int]) -> Iterator[pa_parquet.ParquetFile]:
        try:
            with pa_parquet.ParquetFile(self.path) as file:
                schema = file.schema_arrow
                read = [schema.names[place] for place in places]
                check_plain(schema, read, self.where)
                texts = [name for name in read if _is_text(schema.field(name).type)]
            with pa_parquet.ParquetFile(self.path, read_dictionary=texts, buffer_size=BUFFER_BYTES) as file:
                yield file
        except (pa.ArrowException, UnicodeError, ValueError, TypeError, KeyError, IndexError, OverflowError, OSError):
            raise InputError(f"{self.where}: expected a Parquet file of plain columns, got something else") from None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
