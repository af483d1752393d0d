"""Excel workbooks: every kind of cell in one writing, and hostile ones refused before they cost anything."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import records.connectors.workbooks as workbooks
from privacy.errors import InputError
from records.facts import Fault
from tests.records.source_files import CANARY, attempt, both, rows

HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELS = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
STYLES = (
    '<numFmts><numFmt numFmtId="164" formatCode="dd\\/mm\\/yyyy;@"/><numFmt numFmtId="165" formatCode="[h]:mm"/>'
    '<numFmt numFmtId="166" formatCode="#,##0.00 &quot;days&quot;"/></numFmts>'
    '<cellStyleXfs><xf numFmtId="14"/></cellStyleXfs>'
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/>'
    '<xf numFmtId="165"/><xf numFmtId="166"/></cellXfs>'
)
TEXTS = "<si><t>no</t></si><si><t>mode</t></si><si><r><t>re</t></r><r><t>mote</t></r><rPh><t>XX</t></rPh></si>"
HEADER = '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'


def parts(data: str, sheets: Sequence[str] = ("People",), book: str = "") -> dict[str, str]:
    named = "".join(f'<sheet name="{n}" sheetId="{k}" r:id="r{k}"/>' for k, n in enumerate(sheets, 1))
    related = "".join(
        f'<Relationship Id="r{k}" Type="{RELATED}/worksheet" Target="worksheets/s{k}.xml"/>' for k in (1, 2)
    )
    return {
        "_rels/.rels": f'<Relationships {RELS}><Relationship Id="b" Type="{RELATED}/officeDocument" '
        'Target="xl/book.xml"/></Relationships>',
        "xl/book.xml": f'<workbook {MAIN} xmlns:r="{RELATED}">{book}<sheets>{named}</sheets></workbook>',
        "xl/_rels/book.xml.rels": f"<Relationships {RELS}>{related}"
        f'<Relationship Id="t" Type="{RELATED}/sharedStrings" Target="/xl/texts.xml"/>'
        f'<Relationship Id="s" Type="{RELATED}/styles" Target="styles.xml"/></Relationships>',
        "xl/texts.xml": f"<sst {MAIN}>{TEXTS}</sst>",
        "xl/styles.xml": f"<styleSheet {MAIN}>{STYLES}</styleSheet>",
        "xl/worksheets/s1.xml": f"<worksheet {MAIN}><sheetData>{data}</sheetData></worksheet>",
        "xl/worksheets/s2.xml": f"<worksheet {MAIN}><sheetData>{HEADER}</sheetData></worksheet>",
    }


def workbook(files: Mapping[str, str | bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, HEAD.encode() + content.encode() if isinstance(content, str) else content)
    return packed.getvalue()


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_part_packed_in_another_way_is_refused_whole_or_broken(tmp_path: Path, packing: int) -> None:
    path = tmp_path / "p.xlsx"
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("_rels/.rels", "x" * 5_000)
    packed = path.read_bytes()
    start = packed.index(b"_rels/.rels") + len("_rels/.rels")
    for place in range(start, start + 24):
        path.write_bytes(packed[:place] + bytes([packed[place] ^ 0xFF]) + packed[place + 1 :])
        with pytest.raises(InputError, match="stored or deflated"):
            rows(path)


def cells(path: Path, *written: str, read: str = "", book: str = "") -> list[str | None]:
    data = "".join(f'<row><c r="A{n}"><v>{n}</v></c><c r="B{n}"{cell}</c></row>' for n, cell in enumerate(written, 2))
    path.write_bytes(workbook(parts(HEADER + data, book=book)))
    return [row["mode"] for _, row in rows(path, read) if not isinstance(row, Fault)]


def test_a_sheets_cells_are_written_in_one_way(tmp_path: Path) -> None:
    written = {
        ' t="s"><v>2</v>': "remote",
        ' t="inlineStr"><is><r><t>a</t></r><r><t> b</t></r><rPh><t>XX</t></rPh></is>': "a b",
        ' t="str"><f>UPPER("x")</f><v>X</v>': "X",
        ' t="b"><v>1</v>': "true",
        ' t="e"><v>#N/A</v>': "#N/A",
        "><v>7.0</v>": "7",
        "><v>1.1000000000000001</v>": "1.1",
        ' s="1"><v>42413</v>': "2016-02-13",
        ' s="2"><v>42413.5</v>': "2016-02-13T12:00:00",
        ' s="1"><v>60</v>': "60",
        ' s="1"><v>59</v>': "1900-02-28",
        ' s="1"><v>0.25</v>': "06:00:00",
        ' s="1"><v>99999999</v>': "99999999",
        ' s="3"><v>1.5</v>': "PT129600S",
        ' s="4"><v>1234.5</v>': "1234.5",
        ' s="4">': None,
    }
    assert cells(tmp_path / "p.xlsx", *written) == list(written.values())
    assert cells(tmp_path / "p.xlsx", "><v>1.5</v>", read='decimal = ","') == ["1,5"]
    assert cells(tmp_path / "p.xlsx", ' s="1"><v>40951</v>', book='<workbookPr date1904="1"/>') == ["2016-02-13"]


def test_blank_rows_and_other_columns_of_a_sheet_are_left_out(tmp_path: Path) -> None:
    data = (
        "<row/>" + HEADER + '<row><c r="C3"><v>9</v></c></row><row r="9"><c r="B9" t="s"><v>2</v></c></row>'
        '<row><c><v>4</v></c><c t="s"><v>2</v></c><c r="XFD10"><v>1</v></c></row>'
    )
    (tmp_path / "p.xlsx").write_bytes(workbook(parts(data)))
    assert rows(tmp_path / "p.xlsx") == [(0, {"no": None, "mode": "remote"}), (1, both("4", "remote"))]


def test_the_sheet_is_named_where_there_are_several(tmp_path: Path) -> None:
    (tmp_path / "p.xlsx").write_bytes(workbook(parts(HEADER + "<row/>", ("People", "Notes"))))
    with pytest.raises(InputError, match="to name one of 'People', 'Notes'"):
        rows(tmp_path / "p.xlsx")
    assert rows(tmp_path / "p.xlsx", 'sheet = "People"') == []
    with pytest.raises(InputError, match="got another"):
        rows(tmp_path / "p.xlsx", 'sheet = "Gone"')


def test_cells_at_the_far_corner_cost_nothing(tmp_path: Path) -> None:
    data = HEADER + '<row r="1048576"><c r="A1048576"><v>1</v></c><c r="XFD1048576"><v>1</v></c></row>'
    (tmp_path / "p.xlsx").write_bytes(workbook(parts(data)))
    assert rows(tmp_path / "p.xlsx") == [(0, both("1", None))]


ENTITIES = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {after} "{f"&{before};" * 10}">' for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>'
AWAY = f'<Relationship Id="r1" TargetMode="External" Type="{RELATED}/worksheet" Target="../../../etc/passwd"/>'
SHEET_PART, TEXTS_PART, BOOK_PART = "xl/worksheets/s1.xml", "xl/texts.xml", "xl/book.xml"


def sheet(data: str) -> str:
    return f"<worksheet {MAIN}><sheetData>{data}"


END = "</sheetData></worksheet>"
HOSTILE: dict[str, tuple[str, str | bytes, str]] = {
    "entities": (TEXTS_PART, ENTITIES + f"]><sst {MAIN}><si><t>&i;</t></si></sst>", "document types"),
    "external entity": (SHEET_PART, OUTSIDE + sheet("&e;" + END), "document types"),
    "endless tag": (SHEET_PART, sheet("<row " + " " * 3_000_000), "tags of at most"),
    "endless text": (SHEET_PART, sheet('<row><c t="str"><v>' + CANARY * 3_000), "32767 characters"),
    "endless shared text": (TEXTS_PART, f"<sst {MAIN}><si><t>" + CANARY * 3_000, "32767 characters"),
    "header without end": (SHEET_PART, sheet("<row>" + "<c><v>1</v></c>" * 2_001 + "</row>"), "2000 columns"),
    "no such shared text": (SHEET_PART, sheet(f'<row><c t="s"><v>99</v></c></row>{END}'), "parts do not fit"),
    "no such style": (SHEET_PART, sheet(f'<row><c s="99"><v>9</v></c></row>{END}'), "parts do not fit"),
    "text for a number": (SHEET_PART, sheet(f"<row><c><v>{CANARY}</v></c></row>{END}"), "parts do not fit"),
    "no xml": (SHEET_PART, b"\x00\x01", "parts do not fit"),
    "no sheets": (BOOK_PART, f"<workbook {MAIN}/>", "read.sheet"),
    "sheet outside": ("xl/_rels/book.xml.rels", f"<Relationships {RELS}>{AWAY}</Relationships>", "parts do not fit"),
    "sheet that is not there": (
        BOOK_PART,
        f'<workbook {MAIN}><sheets><sheet name="a" id="r9"/></sheets></workbook>',
        "parts do not fit",
    ),
}


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_hostile_workbook_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    part, content, expected = HOSTILE[name]
    (tmp_path / "p.xlsx").write_bytes(workbook({**parts(HEADER), part: content}))
    with pytest.raises(InputError) as caught:
        rows(tmp_path / "p.xlsx")
    assert expected in str(caught.value)
    assert CANARY not in str(caught.value)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = workbook({**parts(HEADER), "xl/media.bin": b"\0" * 3_000_000})
    assert len(bomb) < 20_000
    (tmp_path / "p.xlsx").write_bytes(bomb)
    monkeypatch.setattr(workbooks, "MAX_UNPACKED", 2_000_000)
    with pytest.raises(InputError, match="2000000 bytes unpacked in all"):
        rows(tmp_path / "p.xlsx")
    (tmp_path / "p.xlsx").write_bytes(workbook(parts(HEADER)))
    monkeypatch.setattr(workbooks, "MAX_HELD", 100)
    with pytest.raises(InputError, match="parts of at most 100 bytes"):
        rows(tmp_path / "p.xlsx")
    monkeypatch.setattr(workbooks, "MAX_HELD", 10_000)
    monkeypatch.setattr(workbooks, "MAX_SHEET_ROWS", 3)
    (tmp_path / "p.xlsx").write_bytes(workbook(parts(HEADER + "<row/>" * 5)))
    with pytest.raises(InputError, match="at most 3 rows"):
        rows(tmp_path / "p.xlsx")


BOOK = workbook(parts(HEADER + '<row><c r="A2"><v>1</v></c><c s="2"><v>42413</v></c></row>'))
SHEET = parts(HEADER + '<row r="2"><c r="A2"><v>1</v></c><c r="B2" s="2" t="n"><v>42413</v></c></row>')


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, len(BOOK) - 1), value=st.integers(0, 255), cut=st.integers(0, 40))
def test_a_damaged_workbook_is_records_or_an_input_error(place: int, value: int, cut: int) -> None:
    content = bytearray(BOOK)
    content[place] = value
    attempt(bytes(content[: len(content) - cut]), ".xlsx")


@settings(max_examples=120, deadline=None)
@given(
    part=st.sampled_from(sorted(SHEET)),
    place=st.integers(0, 900),
    junk=st.text(alphabet="<>/\"='&;rcvst10-A. XFD", max_size=8),
    cut=st.integers(0, 8),
)
def test_a_workbook_of_damaged_parts_is_records_or_an_input_error(part: str, place: int, junk: str, cut: int) -> None:
    text = SHEET[part]
    place %= len(text)
    attempt(workbook({**SHEET, part: text[:place] + junk + text[place + cut :]}), ".xlsx")
