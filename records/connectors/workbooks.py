"""Excel workbooks (.xlsx, .xlsm), one sheet row by row.

Read by events and not by a library that builds rows or sheets as trees: two cells at a sheet's far corners make a dense
grid of 17 thousand million, and one row may hold as many elements as its file has bytes. Rules:
 1. A workbook unpacks to at most `MAX_UNPACKED` bytes, of which shared texts, styles and structure `MAX_HELD` each;
    its parts are stored or deflated, as the standard has them, and packed in no other way.
 2. No document type, so no entities; nothing is followed that points out of the file.
 3. Of a row only the columns asked for are held; a cell's text is bounded.
 4. A cell is written in one way: numbers without trailing zeros, days and times as ISO 8601, by the cell's number
    format; a formula counts as what it last came to, an error as its sign.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from privacy.errors import InputError
from records.connectors.rows import Binding, as_text
from records.mapping_file import ReadOptions
from records.table import listed
from records.text_rows import MAX_COLUMNS

MAX_UNPACKED: Final = 2**30
MAX_HELD: Final = 64 * 2**20
MAX_PARTS: Final = 10_000
MAX_SHEET_ROWS: Final = 1_048_576
MAX_TEXT: Final = 32_767
"""Of a cell, as Excel has it."""
CHUNK: Final = 64 * 2**10
MAX_QUIET: Final = 16
"""Chunks without an event: a tag or comment longer than they are is refused, as it would be parsed again and again."""

_DATES: Final = frozenset({*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)})
"""Number formats that come with Excel and show days or times."""
_LENGTH: Final = 46
"""The one that shows a length of time."""
_UNSHOWN: Final = re.compile(r'"[^"]*"|\\.|_.|\*.|\[(?!h+\]|m+\]|s+\])[^\]]*\]', re.IGNORECASE)
_LAST_SERIAL: Final = 109_575
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})[0-9]{1,7}")

Attributes = dict[str, str]


@dataclass(frozen=True, slots=True)
class Workbook:
    """A workbook of which one sheet is read: the one that `options.sheet` names, or the only one there is."""

    path: Path
    options: ReadOptions
    where: str

    def names(self) -> list[str]:
        """The cells of the sheet's first row that is not blank. Raises InputError if there is none."""
        for row in self._rows(range(MAX_COLUMNS + 1)):
            if row[-1] is not None:
                raise InputError(f"{self.where}: expected at most {MAX_COLUMNS} columns, got more")
            while row[-1] is None:
                row.pop()
            return [cell or "" for cell in row]
        raise InputError(f"{self.where}: expected a header and rows, got an empty sheet")

    def rows(self, binding: Binding) -> Iterator[tuple[int, Sequence[str | None]]]:
        """The rows below the header; blank ones are left out."""
        found = self._rows(range(binding.width))
        next(found, None)
        for place, row in enumerate(found):
            yield place, [row[column] for column in binding.places]

    def _rows(self, columns: range) -> Iterator[list[str | None]]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                self._check(archive)
                yield from _Sheet(archive, self, len(columns)).rows()
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
            raise InputError(
                f"{self.where}: expected an .xlsx workbook, got something else (an .xls file, or one with a password?)"
            ) from None
        except (expat.ExpatError, KeyError, ValueError, IndexError, OverflowError):
            raise InputError(f"{self.where}: expected an .xlsx workbook, got one whose parts do not fit") from None

    def _check(self, archive: zipfile.ZipFile) -> None:
        """Rule 1, before anything is unpacked; `zipfile` reads no more than these sizes say."""
        parts = archive.infolist()
        if len(parts) > MAX_PARTS or sum(part.file_size for part in parts) > MAX_UNPACKED:
            raise InputError(
                f"{self.where}: expected at most {MAX_PARTS} parts of {MAX_UNPACKED} bytes unpacked in all, got more"
            )
        if any(part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for part in parts):
            raise InputError(f"{self.where}: expected parts that are stored or deflated, got another compression")


class _Parser:
    """Expat over one part of the archive; subclasses say what its elements mean.

    Attributes:
        text: what `keep` has collected since it was set to "".
        keep: whether character data is wanted now.
    """

    def __init__(self, archive: zipfile.ZipFile, part: str, where: str, held: bool = True) -> None:
        self.where = where
        self.text = ""
        self.keep = False
        self._quiet = 0
        if held and archive.getinfo(part).file_size > MAX_HELD:  # rule 1
            raise InputError(f"{where}: expected parts of at most {MAX_HELD} bytes beside the sheets, got a larger one")
        self._stream = archive.open(part)

    def start(self, name: str, attributes: Attributes) -> None:
        """An element begins; `name` without its prefix."""

    def end(self, name: str) -> None:
        """An element ends."""

    def chunks(self) -> Iterator[None]:
        """Parse, coming back after every chunk."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        with self._stream as stream:
            while chunk := stream.read(CHUNK):
                self._quiet += 1
                if self._quiet > MAX_QUIET:
                    raise InputError(
                        f"{self.where}: expected tags of at most {MAX_QUIET * CHUNK} bytes, got a longer one"
                    )
                parser.Parse(chunk)
                yield
            parser.Parse(b"", True)
            yield

    def run(self) -> None:
        """Parse it all."""
        for _ in self.chunks():
            pass

    def _start(self, name: str, attributes: Attributes) -> None:
        self._quiet = 0
        self.start(name.rpartition(":")[2], attributes)

    def _end(self, name: str) -> None:
        self._quiet = 0
        self.end(name.rpartition(":")[2])

    def _data(self, data: str) -> None:
        self._quiet = 0
        if self.keep:
            self.text += data
            if len(self.text) > MAX_TEXT:  # rule 3
                raise InputError(f"{self.where}: expected cells of at most {MAX_TEXT} characters, got a longer one")

    def _refuse(self, *_: Any) -> None:  # rule 2
        raise InputError(f"{self.where}: expected a workbook without document types, got one")


class _Relations(_Parser):
    """What a part names: the targets inside the archive, by id and by type."""

    def __init__(self, archive: zipfile.ZipFile, part: str, where: str) -> None:
        folder, name = posixpath.split(part)
        super().__init__(archive, posixpath.join(folder, "_rels", f"{name}.rels"), where)
        self._folder = folder
        self.by_id: dict[str, str] = {}
        self.by_type: dict[str, str] = {}
        self.run()

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "Relationship" and attributes.get("TargetMode") != "External":  # rule 2
            target = posixpath.normpath(posixpath.join("/", self._folder, attributes["Target"])).lstrip("/")
            self.by_id[attributes["Id"]] = target
            self.by_type[attributes["Type"].rpartition("/")[2]] = target


class _Structure(_Parser):
    """The sheets of a workbook, and the day from which it counts."""

    def __init__(self, archive: zipfile.ZipFile, part: str, where: str) -> None:
        super().__init__(archive, part, where)
        self.sheets: list[tuple[str, str, bool]] = []
        self.from_1904 = False
        self.run()

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "workbookPr":
            self.from_1904 = attributes.get("date1904") in ("1", "true")
        elif name == "sheet":
            target = next(value for key, value in attributes.items() if key.rpartition(":")[2] == "id")
            self.sheets.append((attributes["name"], target, attributes.get("state", "visible") == "visible"))


class _Texts(_Parser):
    """The shared texts, in order; readings of Asian characters left out."""

    def __init__(self, archive: zipfile.ZipFile, part: str, where: str) -> None:
        super().__init__(archive, part, where)
        self.found: list[str] = []
        self._reading = False
        self.run()

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "si":
            self.text = ""
        elif name == "rPh":
            self._reading = True
        self.keep = name == "t" and not self._reading

    def end(self, name: str) -> None:
        self.keep = False
        if name == "rPh":
            self._reading = False
        elif name == "si":
            self.found.append(self.text)


class _Styles(_Parser):
    """What a cell's style shows: "number", "day" or "length", by the style's number."""

    def __init__(self, archive: zipfile.ZipFile, part: str, where: str) -> None:
        super().__init__(archive, part, where)
        self.shows: list[str] = []
        self._formats: dict[int, str] = {}
        self._inside = False
        self.run()

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "numFmt":
            self._formats[int(attributes["numFmtId"])] = _shown(attributes["formatCode"])
        elif name == "cellXfs":
            self._inside = True
        elif name == "xf" and self._inside:
            number = int(attributes.get("numFmtId", "0"))
            known = "day" if number in _DATES else "length" if number == _LENGTH else "number"
            self.shows.append(self._formats.get(number, known))

    def end(self, name: str) -> None:
        if name == "cellXfs":
            self._inside = False


def _shown(code: str) -> str:
    """What a number format shows, by the letters of its first section that are not quoted."""
    plain = _UNSHOWN.sub("", code.partition(";")[0]).lower()
    if "[" in plain:
        return "length"
    return "day" if re.search("[ymdhs]", plain) else "number"


class _Sheet(_Parser):
    """The rows of the sheet that is read."""

    def __init__(self, archive: zipfile.ZipFile, book: Workbook, width: int) -> None:
        where = book.where
        main = _Relations(archive, "", where).by_type["officeDocument"]
        relations = _Relations(archive, main, where)
        structure = _Structure(archive, main, where)
        texts, styles = (relations.by_type.get(kind) for kind in ("sharedStrings", "styles"))
        super().__init__(archive, relations.by_id[_chosen(structure.sheets, book)], where, held=False)
        self._texts = _Texts(archive, texts, where).found if texts else []
        self._shows = _Styles(archive, styles, where).shows if styles else []
        self._from_1904 = structure.from_1904
        self._decimal = book.options.numbers.decimal
        self._width = width
        self._rows: deque[list[str | None]] = deque()
        self._row: list[str | None] = []
        self._count = 0
        self._column = -1
        self._reading = False  # inside a reading of Asian characters
        self._cell: Attributes = {}

    def rows(self) -> Iterator[list[str | None]]:
        """The rows that hold anything, `width` cells each."""
        for _ in self.chunks():
            while self._rows:
                yield self._rows.popleft()

    def start(self, name: str, attributes: Attributes) -> None:
        if name == "c":
            self._cell = attributes
            match = _REFERENCE.fullmatch(attributes["r"]) if "r" in attributes else None
            self._column = _column(match[1]) if match else self._column + 1
            self.text = ""
        elif name == "row":
            self._row, self._column = [None] * self._width, -1
        elif name == "rPh":
            self._reading = True
        self.keep = name in ("v", "t") and not self._reading and self._column < self._width

    def end(self, name: str) -> None:
        self.keep = False
        if name == "rPh":
            self._reading = False
        elif name == "c" and self.text and self._column < self._width:
            self._row[self._column] = self._value(self._cell.get("t", "n"), self._cell.get("s"))
        elif name == "row":
            self._count += 1
            if self._count > MAX_SHEET_ROWS:
                raise InputError(f"{self.where}: expected at most {MAX_SHEET_ROWS} rows, got more")
            if any(cell is not None and not cell.isspace() for cell in self._row):
                self._rows.append(self._row)

    def _value(self, kind: str, style: str | None) -> str | None:  # rule 4
        if kind == "s":
            return self._texts[int(self.text)] or None
        if kind == "b":
            return "true" if self.text == "1" else "false"
        if kind != "n":
            return self.text
        shows = self._shows[int(style)] if style and self._shows else "number"
        number = float(self.text)
        moment = self._moment(number, shows) if shows != "number" else None
        return as_text(number if moment is None else moment, self._decimal, self.where)

    def _moment(self, serial: float, shows: str) -> date | time | timedelta | None:
        """The day, time or length of time that a serial number is, if it is any."""
        if shows == "length":
            return timedelta(seconds=round(serial * 86_400))
        if not 0 <= serial < _LAST_SERIAL:
            return None
        if serial < 1 and not self._from_1904:
            return (datetime(1900, 1, 1) + timedelta(seconds=round(serial * 86_400))).time()
        if int(serial) == 60 and not self._from_1904:  # the 29 February 1900, which never was
            return None
        origin = datetime(1904, 1, 1) if self._from_1904 else datetime(1899, 12, 31 if serial < 60 else 30)
        moment = origin + timedelta(seconds=round(serial * 86_400))
        return moment.date() if serial == int(serial) else moment


def _column(letters: str) -> int:
    """A: 0, Z: 25, AA: 26."""
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _chosen(sheets: list[tuple[str, str, bool]], book: Workbook) -> str:
    """The id of the sheet that is named, or of the only visible one."""
    name = book.options.sheet
    found = [target for sheet, target, shown in sheets if (sheet == name if name else shown)]
    if len(found) != 1:
        names = listed([sheet for sheet, _, _ in sheets])
        raise InputError(
            f"{book.where}: expected read.sheet to name one of {names}, got {'no' if not name else 'another'} name"
        )
    return found[0]
