"""Tables of other systems: every encoding, separator and type as declared; bad rows alone, bad files in one line."""

import datetime as dt
import gzip
import io
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import records.connectors.text_tables as text_tables
import records.text_rows as text_rows
from privacy.errors import InputError
from records.connectors.rows import as_text
from records.connectors.tables import records_of
from records.facts import Fault
from records.mapping import parse_mapping
from records.registry import load_registry
from records.table import read_table
from tests.records.source_files import CANARY, attempt, both, rows, small_mapping

Write = Callable[..., Path]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_header_tells_the_separator(csv: Write, separator: str) -> None:
    text = f'no{separator}mode{separator}"x,;y"\n1{separator}remote{separator}"a{separator}b"\n'
    assert rows(csv(text)) == [(0, both("1", "remote"))]


def test_a_declared_separator_counts_and_tsv_has_tabs(csv: Write) -> None:
    assert rows(csv("no|mode\n1|a;b,c\n"), 'separator = "|"') == [(0, both("1", "a;b,c"))]
    assert rows(csv("no\tmode,;\n1\tx\n", "p.tsv"), cell="mode,;") == [(0, {"no": "1", "mode,;": "x"})]


@pytest.mark.parametrize(
    ("encoding", "read"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-8-sig", 'encoding = "latin-1"'),
        ("latin-1", 'encoding = "latin-1"'),
        ("cp1252", 'encoding = "cp1252"'),
        ("utf-16", 'encoding = "utf-16"'),
    ],
)
def test_text_is_read_in_the_declared_encoding(csv: Write, encoding: str, read: str) -> None:
    text = "no;mode\r\n1;Ærø\r\n" * 1 + "2;naïve\r\n" * 3_000
    found = rows(csv(text.encode(encoding)), read)
    assert found[0] == (0, both("1", "Ærø"))
    assert found[3_000] == (3_000, both("2", "naïve"))


@pytest.mark.parametrize(
    ("content", "read", "expected"),
    [
        ("no,mode\n1,Ærø\n".encode("latin-1"), "", "latin-1, cp1252, utf-16"),
        ("no,mode\n1,x\n".encode("utf-16"), "", "got UTF-16; a mapping declares it"),
        ("no,mode\n1,x\n".encode("utf-16-le"), "", "a NUL byte"),
        (b"no,mode\n1,x\n", 'encoding = "utf-16"', "byte order mark"),
        (b"no,mode\n1,\x81\n", 'encoding = "cp1252"', "expected cp1252 text"),
        ("no,mode\n1,x\n".encode("utf-16")[:-1], 'encoding = "utf-16"', "expected utf-16 text"),
        (b"no,mode\n1,\xff\n", "", "expected utf-8 text"),
        (b"no,mode\n" + b"1,x\n" * 100_000 + b"2,\xe6\n", "", "expected utf-8 text"),
        (b"no,mode\n1,a\0b\n", "", "a NUL byte"),
    ],
)
def test_another_encoding_is_refused_and_the_declaration_named(
    csv: Write, content: bytes, read: str, expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        rows(csv(content), read)
    assert expected in str(caught.value)


def test_uneven_rows_are_faults_where_they_stand_and_the_others_go_on(csv: Write) -> None:
    text = "no,mode,x\n1,a,\n2,b\n\n3,c,,\n4,d,\n5\n"
    found = rows(csv(text))
    assert [place for place, _ in found] == [0, 1, 2, 3, 4]
    assert [row for _, row in found if not isinstance(row, Fault)] == [both("1", "a"), both("4", "d")]
    assert found[1][1] == Fault(1, "", "expected 3 cells as in the header, got 2")
    assert found[4][1] == Fault(4, "", "expected 3 cells as in the header, got 1")


def test_uneven_rows_keep_their_places(csv: Write) -> None:
    lines = [f"{n},m" if n % 7 else f"{CANARY}" for n in range(5_000)] + ["short"] * 2_000
    found = rows(csv("no,mode\n" + "\n".join(lines) + "\n"))
    assert [place for place, _ in found] == list(range(7_000))
    for place, row in found:
        if place < 5_000 and place % 7:
            assert row == both(str(place), "m")
        else:
            assert isinstance(row, Fault)
            assert CANARY not in row.reason


def test_a_file_of_mostly_uneven_rows_is_refused_and_not_held(csv: Write) -> None:
    path = csv("no,mode\n" + "a\n" * 1_500_000)
    tracemalloc.start()
    with pytest.raises(InputError, match="at most 10000 uneven rows, got more"):
        rows(path)
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


def test_a_quote_left_open_over_lines_stops_the_file(csv: Write) -> None:
    with pytest.raises(InputError, match="row 1: expected closed quotes"):
        rows(csv('no,mode\n1,a\n2,"b\n3,c\n4,d\n5","e\n'))
    with pytest.raises(InputError, match="row 1: expected closed quotes"):
        rows(csv('no,mode\n1,a\n2,"b\n' + "3,c\n" * 20_000))
    with pytest.raises(InputError, match="cells of at most 65536 bytes"):
        rows(csv('no,mode\n1,a\n2,"b\n' + "3,c\n" * 2_000_000))


def test_a_quote_in_a_cell_s_middle_is_text_and_after_a_quoted_cell_a_fault(csv: Write) -> None:
    found = rows(csv('no,mode\n1,a"b\n2,"a"b\n3,"a ""b"""\n'))
    assert [row for _, row in found if not isinstance(row, Fault)] == [both("1", 'a"b'), both("3", 'a "b"')]
    assert found[1] == (1, Fault(1, "", "expected quotes around a whole cell, got others"))


def test_readers_that_are_given_up_after_an_error_do_no_harm(csv: Write) -> None:
    """pyarrow's threads read on and brought the process down."""
    path = csv("no,mode\n" + "1,remote\n" * 50_000 + "2\n" * 20_000)
    for _ in range(5):
        with pytest.raises(InputError, match="uneven rows"):
            rows(path)


def test_only_the_columns_of_the_mapping_are_read_and_the_others_are_listed(csv: Write) -> None:
    path = csv("no,Name, mode ,Blood group,,Gender,shoe size\n1,x,remote,A,,f,44\n")
    found = records_of(path, small_mapping())
    assert list(found) == [(0, both("1", "remote"))]
    assert {unknown.name: unknown.prohibited is not None for unknown in found.unknown} == {
        "Blood group": True,
        "(column 5)": False,
        "Gender": True,
        "shoe size": False,
    }


BAD: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "p.csv", "an empty file"),
    "blank lines": (b"\n\n\n", "p.csv", "an empty file"),
    "missing column": (f"no,{CANARY}\n1,2\n".encode(), "p.csv", "none named 'mode'"),
    "no header": (f"1,{CANARY}\n2,x\n".encode(), "p.csv", "no header?"),
    "column twice": (b"no,mode,mode\n1,a,b\n", "p.csv", "one column 'mode', got two"),
    "control characters": (b"no,mode,\x1b[31m\n1,a,b\n", "p.csv", "printable names"),
    "long name": (b"no,mode," + b"x" * 501 + b"\n1,a,b\n", "p.csv", "at most 500 characters"),
    "too many columns": (b"no,mode" + b",x" * 1_999 + b"\n", "p.csv", "at most 2000 columns"),
    "millions of columns": (b"no,mode" + b"," * 3_000_000 + b"\n", "p.csv", "a header of at most"),
    "columns behind a quote": (b'no,x"' + b"," * 9_000 + b'"\n', "p.csv", "at most 2000 columns, got 9002"),
    "columns behind an open quote": (b'no,"' + b"x\n" * 600_000 + b'"' + b"," * 9_000, "p.csv", "a header of at most"),
    "endless header": (b"x" * 5_000_000, "p.csv", "a header of at most"),
    "huge cell": (b"no,mode\n1," + CANARY.encode() * 6_000 + b"\n", "p.csv", "cells of at most 65536 bytes"),
    "endless row": (b"no,mode\n1," + b"x" * 9_000_000 + b"\n", "p.csv", "rows of at most"),
    "broken gzip": (gzip.compress(b"no,mode\n1,2\n")[:12] + b"garbage", "p.csv.gz", "gzip data"),
    "half of gzip": (gzip.compress(b"no,mode\n" + bytes(range(32, 127)) * 9)[:-20], "p.csv.gz", "gzip data"),
    "another ending": (b"no,mode\n1,2\n", "p.doc", "a name ending in .csv"),
    "no parquet": (b"no,mode\n1,2\n", "p.parquet", "a Parquet file"),
    "no workbook": (b"no,mode\n1,2\n", "p.xlsx", "an .xlsx workbook"),
    "old workbook": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "p.xlsx", "a password?"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_file_that_can_not_be_read_ends_in_one_line(csv: Write, name: str) -> None:
    content, file, expected = BAD[name]
    with pytest.raises(InputError) as caught:
        rows(csv(content, file))
    message = str(caught.value)
    assert expected in message
    assert "\n" not in message
    assert CANARY not in message


def test_missing_files_folders_and_mappings_of_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        rows(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="a directory"):
        rows(tmp_path / "folder.csv")
    sql = 'source = "hris"\nkind = "sql"\nread = { url_from = "X", query = "SELECT 1" }\nperson.number = "n"\n'
    other = parse_mapping((sql + '[[facts]]\ntable = "person"\ncolumns.fte = { from = "f" }').encode(), load_registry())
    with pytest.raises(InputError, match='expected kind = "table"'):
        records_of(tmp_path / "none.csv", other)


def test_a_header_alone_is_a_table_of_no_rows(csv: Write) -> None:
    assert rows(csv("no,mode\n")) == []


def test_a_gzip_bomb_stops_at_the_limit(csv: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_rows, "MAX_FILE_BYTES", 100_000)
    with pytest.raises(InputError, match="bytes of text, got more"):
        rows(csv(gzip.compress(b"no,mode\n" + b"1,2\n" * 200_000), "p.csv.gz"))


def test_rows_beyond_the_limit_are_refused(csv: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_tables, "MAX_ROWS", 50)
    assert len(rows(csv("no,mode\n" + "1,2\n" * 50))) == 50
    with pytest.raises(InputError, match="at most 50 rows"):
        rows(csv("no,mode\n" + "1,2\n" * 51))


def test_memory_does_not_grow_with_the_file(csv: Write) -> None:
    def peak(lines: int) -> int:
        records = records_of(csv("no,mode,x\n" + "1,remote,some words of a note\n" * lines), small_mapping())
        tracemalloc.start()
        for _ in records:
            pass
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    assert peak(120_000) < 1.3 * peak(40_000)  # both longer than what is read to guess the separator


@pytest.mark.parametrize(
    ("value", "decimal", "text"),
    [
        (None, ".", None),
        (5, ".", "5"),
        (5.0, ".", "5"),
        (0.1, ",", "0,1"),
        (1e-7, ".", "1e-07"),
        (float("nan"), ".", "nan"),
        (Decimal("12.3400"), ",", "12,34"),
        (Decimal("100"), ".", "100"),
        (Decimal("1E+999999"), ".", "1E+999999"),
        (True, ".", "true"),
        (dt.date(2016, 2, 13), ".", "2016-02-13"),
        (dt.datetime(2016, 2, 13, 8, 30), ".", "2016-02-13T08:30:00"),
        (dt.datetime(2016, 2, 13, 8, 30, tzinfo=dt.UTC), ".", "2016-02-13T08:30:00+00:00"),
        (dt.time(8, 30), ".", "08:30:00"),
        (dt.timedelta(hours=1, seconds=1), ".", "PT3601S"),
    ],
)
def test_typed_cells_have_one_writing(value: object, decimal: str, text: str | None) -> None:
    assert as_text(value, decimal, "here") == text


def test_parquet_is_read_batch_by_batch(tmp_path: Path) -> None:
    frame = pd.DataFrame({"no": range(20_000), "mode": ["a", None, "b", "a"] * 5_000, "x": [[1]] * 20_000})
    frame.to_parquet(tmp_path / "p.parquet")
    found = rows(tmp_path / "p.parquet")
    assert found[:3] == [(0, both("0", "a")), (1, both("1", None)), (2, both("2", "b"))]
    assert found[-1] == (19_999, both("19999", "a"))


def test_parquet_types_are_written_as_the_mapping_reads_them(tmp_path: Path) -> None:
    columns = {
        "1.5": 1.5,
        "1,25": Decimal("1.250"),
        "2016-02-13": dt.date(2016, 2, 13),
        "2016-02-13T08:30:00": dt.datetime(2016, 2, 13, 8, 30),
        "true": True,
    }
    for text, value in columns.items():
        pq.write_table(pa.table({"no": [1], "mode": [value]}), tmp_path / "p.parquet")
        read = 'decimal = ","' if "," in text else ""
        assert rows(tmp_path / "p.parquet", read) == [(0, both("1", text))]
    dictionary = pa.array(["x", "y"]).dictionary_encode()
    pq.write_table(pa.table({"no": [1, 2], "mode": dictionary}), tmp_path / "p.parquet")
    assert rows(tmp_path / "p.parquet") == [(0, both("1", "x")), (1, both("2", "y"))]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([[1], [2]]), "plain columns, got 'mode' of type list"),
        (pa.array([b"a", b"b"]), "plain columns, got 'mode' of type binary"),
        (pa.array([{"x": 1}, {"x": 2}]), "plain columns, got 'mode' of type struct"),
        (pa.array(["x" * 70_000, "y"]), "cells of at most 65536 bytes"),
    ],
)
def test_parquet_of_other_cells_is_refused(tmp_path: Path, column: pa.Array, expected: str) -> None:
    pq.write_table(pa.table({"no": [1, 2], "mode": column}), tmp_path / "p.parquet")
    with pytest.raises(InputError, match=expected):
        rows(tmp_path / "p.parquet")


@pytest.mark.parametrize("name", ["mode", "mode.x"])
def test_a_parquet_column_of_lists_is_not_unpacked_to_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    cells = pa.array([[1, 2]])
    nested = cells if name == "mode" else pa.StructArray.from_arrays([cells], ["x"])
    columns = {"no": pa.array(["1"]), "mode": nested} | ({name: pa.array(["y"])} if name != "mode" else {})
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    unread = "the cells were read"
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: pytest.fail(unread))
    for read in (lambda: rows(tmp_path / "p.parquet", cell=name), lambda: read_table(tmp_path / "p.parquet")):
        with pytest.raises(InputError, match="expected a Parquet file of plain columns, got 'mode' of type"):
            read()


texts = st.text(alphabet=st.sampled_from('ab1,;\t"\n\r .-é\0\ufeff'), max_size=60).map(lambda text: f"no,mode\n{text}")
reads = st.sampled_from(["", 'encoding = "latin-1"', 'encoding = "cp1252"', 'encoding = "utf-16"', 'separator = ";"'])


@settings(max_examples=150, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=80), texts.map(str.encode), texts.map(lambda text: text.encode("utf-16"))),
    ending=st.sampled_from([".csv", ".tsv", ".csv.gz", ".parquet", ".xlsx"]),
    read=reads,
)
def test_arbitrary_bytes_are_records_or_an_input_error(content: bytes, ending: str, read: str) -> None:
    attempt(gzip.compress(content) if ending.endswith("gz") and content[:1] != b"n" else content, ending, read)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 3))
def test_a_damaged_parquet_file_is_records_or_an_input_error(place: int, value: int, cut: int) -> None:
    buffer = io.BytesIO()
    pd.DataFrame({"no": ["x", "y", None], "mode": [1.5, 2.5, 3.5]}).to_parquet(buffer)
    content = bytearray(buffer.getvalue())
    content[place % len(content)] = value
    attempt(bytes(content[: len(content) - cut]), ".parquet")
