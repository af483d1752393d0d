"""Writers of the files that systems export: text tables, JSON lines, Parquet and Excel, the same bytes every time."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

import pyarrow as pa  # type: ignore[import-untyped,unused-ignore]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped,unused-ignore]

Cell = str | int | float | date | None

EXCEL_DAY_ZERO: Final = date(1899, 12, 30)
FIXED_TIME: Final = (2025, 1, 1, 0, 0, 0)
"""Of every member of a workbook: a clock would change the bytes."""

_NAMESPACE: Final = "http://schemas.openxmlformats.org/"
_DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_PARTS: Final = {
    "[Content_Types].xml": f'<Types xmlns="{_NAMESPACE}package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    + "".join(
        f'<Override PartName="/xl/{part}.xml" '
        f'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.{kind}+xml"/>'
        for part, kind in (("workbook", "sheet.main"), ("styles", "styles"), ("worksheets/sheet1", "worksheet"))
    )
    + "</Types>",
    "_rels/.rels": f'<Relationships xmlns="{_NAMESPACE}package/2006/relationships"><Relationship Id="rId1" '
    f'Type="{_NAMESPACE}officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_NAMESPACE}package/2006/relationships">'
    + "".join(
        f'<Relationship Id="rId{number}" Type="{_NAMESPACE}officeDocument/2006/relationships/{kind}" Target="{part}"/>'
        for number, kind, part in ((1, "worksheet", "worksheets/sheet1.xml"), (2, "styles", "styles.xml"))
    )
    + "</Relationships>",
    "xl/styles.xml": f'<styleSheet xmlns="{_NAMESPACE}spreadsheetml/2006/main"><fonts count="1"><font/></fonts>'
    '<fills count="1"><fill/></fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>'
    '<cellXfs count="2"><xf/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs></styleSheet>',
}


@dataclass(slots=True)
class Sheet:
    """Rows on their way into a file.

    Attributes:
        columns: the header.
        rows: cells in the header's order.
        owners: per row, the number of the person it is about.
    """

    columns: tuple[str, ...]
    rows: list[list[Cell]] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)

    def add(self, owner: str, *cells: Cell) -> None:
        """One more row."""
        self.rows.append(list(cells))
        self.owners.append(owner)

    def place(self, column: str) -> int:
        """Where a column stands."""
        return self.columns.index(column)


def write_text(path: Path, sheet: Sheet, separator: str = ",", encoding: str = "utf-8") -> None:
    """A text table; days must have been written as text already. Quotes only where needed, lines end as in DOS."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator="\r\n")
    writer.writerow(sheet.columns)
    writer.writerows(["" if cell is None else cell for cell in row] for row in sheet.rows)
    path.write_bytes(text.getvalue().encode(encoding))


def write_lines(path: Path, documents: Iterable[Any]) -> None:
    """One JSON document per line."""
    lines = (json.dumps(document, ensure_ascii=False, separators=(",", ":")) for document in documents)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def write_json(path: Path, document: Any) -> None:
    """One JSON document, to be read by people too."""
    path.write_bytes((json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode())


def write_parquet(path: Path, sheet: Sheet) -> None:
    """Columns of text, numbers or days, as their cells are."""
    columns = zip(*sheet.rows, strict=True)
    table = pa.table({name: pa.array(cells) for name, cells in zip(sheet.columns, columns, strict=True)})
    pa_parquet.write_table(table, path)


def write_workbook(path: Path, sheet: Sheet, title: str) -> None:
    """An Excel workbook of one sheet: numbers as numbers, days as serial days that are shown as dates."""
    header: list[Cell] = list(sheet.columns)
    rows = (_row(number, cells) for number, cells in enumerate([header, *sheet.rows], start=1))
    main = f'xmlns="{_NAMESPACE}spreadsheetml/2006/main"'
    parts = {
        **_PARTS,
        "xl/workbook.xml": f'<workbook {main} xmlns:r="{_NAMESPACE}officeDocument/2006/relationships"><sheets>'
        f'<sheet name="{escape(title)}" sheetId="1" r:id="rId1"/></sheets></workbook>',
        "xl/worksheets/sheet1.xml": f"<worksheet {main}><sheetData>{''.join(rows)}</sheetData></worksheet>",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in parts.items():
            member = zipfile.ZipInfo(name, FIXED_TIME)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, _DECLARATION + content)


def _row(number: int, cells: Sequence[Cell]) -> str:
    written = "".join(_cell(f"{_letters(place)}{number}", cell) for place, cell in enumerate(cells) if cell is not None)
    return f'<row r="{number}">{written}</row>'


def _cell(reference: str, cell: Cell) -> str:
    if isinstance(cell, date):
        return f'<c r="{reference}" s="1"><v>{(cell - EXCEL_DAY_ZERO).days}</v></c>'
    if isinstance(cell, int | float):
        return f'<c r="{reference}"><v>{cell}</v></c>'
    return f'<c r="{reference}" t="inlineStr"><is><t>{escape(cell or "")}</t></is></c>'


def _letters(place: int) -> str:
    """The name of a column of a sheet, from 0: A … Z, AA …."""
    return (_letters(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)
