"""Reading tables: what is accepted, and that everything else ends in one clear line."""

import gzip
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import records.table as reading
import records.text_rows as text_rows
from privacy.errors import InputError
from records.table import Table, as_numbers, joined, read_table

Write = Callable[..., Path]
CANARY = "Kanarienvogel"


def test_cells_are_text_stripped_and_missing_where_they_say_so(csv: Write) -> None:
    frame = read_table(csv("a, b ,c\n 1.0 ,NA,None\nN/A,,x\n007,null, 1\n")).frame
    assert list(frame.columns) == ["a", "b", "c"]
    assert frame["a"].to_numpy(dtype=object, na_value=None).tolist() == ["1.0", None, "007"]
    assert frame["b"].isna().all()
    assert frame["c"].tolist() == ["None", "x", "1"]
    assert frame.index.tolist() == [0, 1, 2]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_header_tells_the_separator(csv: Write, separator: str) -> None:
    text = f'"x,;y"{separator}b{separator}c\n1,5{separator}2{separator}3\n'.replace("1,5", '"1,5"')
    assert list(read_table(csv(text)).frame.iloc[0]) == ["1,5", "2", "3"]


def test_a_byte_order_mark_windows_lines_and_quoted_line_breaks_are_read(csv: Write) -> None:
    frame = read_table(csv(b'\xef\xbb\xbfa,b\r\n1,"x\r\ny"\r\n\r\n2,"say ""hi"""\r\n')).frame
    assert list(frame.columns) == ["a", "b"]
    assert frame["b"].tolist() == ["x\r\ny", 'say "hi"']


def test_every_form_of_a_table_reads_the_same(csv: Write, tmp_path: Path) -> None:
    text = "a,b\n1,x\n2,\n"
    expected = read_table(csv(text)).frame
    pd.testing.assert_frame_equal(read_table(csv(gzip.compress(text.encode()), "p.csv.gz")).frame, expected)
    pd.testing.assert_frame_equal(read_table(csv(text.replace(",", "\t"), "p.tsv")).frame, expected)
    pd.DataFrame({"a": [1, 2], "b": ["x", None]}).to_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "p.parquet").frame, expected)


def test_parquet_types_become_text(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "whole": [1, 2],
            "part": [0.1, np.nan],
            "truth": [True, False],
            "kind": pd.Categorical(["x", None]),
            "day": pd.to_datetime(["2024-01-02", "2024-01-03"]),
        }
    )
    frame.to_parquet(tmp_path / "p.parquet")
    read = read_table(tmp_path / "p.parquet").frame
    assert read["part"].to_numpy(dtype=object, na_value=None).tolist() == ["0.1", None]
    assert read["truth"].tolist() == ["true", "false"]
    assert read["kind"].to_numpy(dtype=object, na_value=None).tolist() == ["x", None]
    assert read["day"].iloc[0].startswith("2024-01-02")


def test_columns_without_a_name_are_left_out_if_empty_and_numbered_if_not(csv: Write) -> None:
    assert list(read_table(csv(",a,\n0,x,\n1,y,NA\n")).frame.columns) == ["(column 1)", "a"]


BAD: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "p.csv", "empty file"),
    "blank lines only": (b"\n\n \n\n"[:2], "p.csv", "empty file"),
    "header only": (b"a,b\n", "p.csv", "a header only"),
    "short row": (f"a,b\n1,2\n{CANARY}\n".encode(), "p.csv", "row 1: expected 2 cells as in the header, got 1"),
    "long row": (f"a,b\n1,2,{CANARY}\n".encode(), "p.csv", "row 0: expected 2 cells as in the header, got 3"),
    "duplicate names": (b"a,b,a\n1,2,3\n", "p.csv", "distinct column names, got 'a' twice"),
    "NUL": (f"a,b\n1,{CANARY}\0\n".encode(), "p.csv", "NUL byte"),
    "UTF-16": (f"a,b\n1,{CANARY}\n".encode("utf-16"), "p.csv", "got UTF-16"),
    "latin-1": (f"a,b\n1,{CANARY}é\n".encode("latin-1"), "p.csv", "utf-8 text, got another encoding"),
    "cut UTF-8": (f"a,b\n1,{CANARY}é".encode()[:-1], "p.csv", "utf-8 text, got another encoding"),
    "10 MB field": (b"a,b\n1," + b"x" * 10_000_000 + b"\n2,3\n", "p.csv", "a longer one"),
    "10 MB quoted field": (b'a,b\n1,"' + b"x\n" * 5_000_000 + b'"\n2,3\n', "p.csv", "a longer one"),
    "100 kB field": (b"a,b\n1," + b"x" * 100_000 + b"\n", "p.csv", "cells of at most 65536 bytes"),
    "no gzip": (f"a,b\n1,{CANARY}\n".encode(), "p.csv.gz", "gzip data"),
    "cut gzip": (gzip.compress(b"a,b\n" + os.urandom(5000).hex().encode())[:-3000], "p.csv.gz", "gzip data"),
    "broken gzip": (gzip.compress(b"a,b\n1,2\n")[:12] + b"garbage garbage", "p.csv.gz", "gzip data"),
    "no parquet": (f"a,b\n1,{CANARY}\n".encode(), "p.parquet", "a Parquet file"),
    "parquet by its ends alone": (b"PAR1" + b"\xff" * 100 + b"PAR1", "p.parquet", "a Parquet file"),
    "another ending": (b"a,b\n1,2\n", "p.xlsx", "a name ending in .csv"),
    "no header": (f"39,{CANARY},7,1\n50,x,8,0\n".encode(), "p.csv", "is the header missing?"),
    "name of control characters": (b"a,\x1b[31mb\n1,2\n", "p.csv", "printable name"),
    "too many columns": (b",".join(b"c%d" % n for n in range(2001)) + b"\n", "p.csv", "at most 2000 columns, got 2001"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_table_ends_in_one_clear_line(csv: Write, name: str) -> None:
    content, file, expected = BAD[name]
    with pytest.raises(InputError) as caught:
        read_table(csv(content, file))
    message = str(caught.value)
    assert expected in message
    assert "expected" in message
    assert "\n" not in message
    assert CANARY not in message
    assert caught.value.__cause__ is None


def test_a_missing_file_and_a_directory_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputError, match="a directory"):
        read_table(tmp_path / "folder.csv")


def test_a_table_of_another_shape_inside_parquet_is_refused(tmp_path: Path) -> None:
    pd.DataFrame({"a": [[1], [2]]}).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(InputError, match="plain columns"):
        read_table(tmp_path / "p.parquet")
    pd.DataFrame({"a": []}).to_parquet(tmp_path / "p.parquet")
    with pytest.raises(InputError, match="expected rows, got none"):
        read_table(tmp_path / "p.parquet")


def test_a_gzip_bomb_stops_at_the_limit(csv: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_rows, "MAX_FILE_BYTES", 20_000)
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * 200_000)
    assert len(bomb) < 20_000
    with pytest.raises(InputError, match="bytes of text, got more"):
        read_table(csv(bomb, "p.csv.gz"))


def test_too_large_a_file_and_too_many_rows_are_refused(csv: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = csv("a,b\n" + "1,2\n" * 50)
    monkeypatch.setattr(reading, "MAX_ROWS", 49)
    with pytest.raises(InputError, match="at most 49 rows"):
        read_table(path)
    monkeypatch.setattr(reading, "MAX_ROWS", 50)
    assert len(read_table(path).frame) == 50
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 100)
    with pytest.raises(InputError, match="at most 100 bytes"):
        read_table(path)


def test_a_missing_column_is_answered_with_those_there_are(table: Table) -> None:
    with pytest.raises(InputError, match="expected a column 'pay', got 'company', 'hours'"):
        table.column("pay")


def test_joined_tables_must_have_the_same_columns(table: Table) -> None:
    both = joined([table, table], "both")
    assert len(both.frame) == 600
    assert both.frame.index.tolist() == list(range(600))
    with pytest.raises(InputError, match="others"):
        joined([table, Table(table.frame.drop(columns="job"), "other")], "both")


def test_numbers_are_decimal_writings_only() -> None:
    cells = pd.Series(
        ["1", "-2.5", "1e3", ".5", "+7.", None, "nan", "-Infinity", "1e999", "1_0", "0x1", "१", "x", "1,5"]
    )
    numbers = as_numbers(cells.astype("str"))
    assert numbers.values[:5].tolist() == [1.0, -2.5, 1000.0, 0.5, 7.0]
    assert np.isnan(numbers.values[5:]).all()
    assert np.flatnonzero(numbers.not_finite).tolist() == [6, 7, 8]
    assert np.flatnonzero(numbers.other).tolist() == [9, 10, 11, 12, 13]


def attempt(content: bytes, ending: str) -> None:
    """Reads bytes as a file of that ending; nothing but InputError may come of it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"fuzz{ending}"
        path.write_bytes(content)
        message, frame = "", pd.DataFrame({"a": ["b"]})
        try:
            frame = read_table(path).frame
        except InputError as error:
            message = str(error)
    assert "\n" not in message
    assert len(frame) > 0
    assert all(isinstance(cell, str) for column in frame for cell in frame[column].dropna())


texts = st.text(alphabet=st.sampled_from('ab1,;\t"\n\r .-é\0\ufeff'), max_size=60).map(str.encode)


@settings(max_examples=150, deadline=None)
@given(
    content=st.one_of(st.binary(max_size=80), texts), ending=st.sampled_from([".csv", ".tsv", ".csv.gz", ".parquet"])
)
def test_arbitrary_bytes_are_a_table_or_an_input_error(content: bytes, ending: str) -> None:
    attempt(content, ending)


@settings(max_examples=80, deadline=None)
@given(content=texts)
def test_arbitrary_text_inside_gzip_is_a_table_or_an_input_error(content: bytes) -> None:
    attempt(gzip.compress(content), ".csv.gz")


@settings(max_examples=80, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255), cut=st.integers(0, 3))
def test_a_damaged_parquet_file_is_a_table_or_an_input_error(place: int, value: int, cut: int) -> None:
    buffer = io.BytesIO()
    pd.DataFrame({"a": ["x", "y", None], "b": [1.5, 2.5, 3.5]}).to_parquet(buffer)
    content = bytearray(buffer.getvalue())
    content[place % len(content)] = value
    attempt(bytes(content[: len(content) - cut]), ".parquet")


@pytest.mark.parametrize("name", ["wide.csv", "wide.tsv"])
def test_a_header_of_a_million_separators_is_refused_before_anything_is_made_of_them(tmp_path, name) -> None:
    path = tmp_path / name
    path.write_text(("\t" if name.endswith("tsv") else ",") * 900_000 + "\n1\n")
    with pytest.raises(InputError, match="expected at most 2000 columns"):
        read_table(path)
