"""Databases of other systems: read as declared, by one SELECT, and nothing is written or given away."""

import sqlite3
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

import records.connectors.sql as sql
from privacy.errors import InputError
from privacy.pseudonyms import Pseudonyms
from records.connectors.sql import records_of
from records.facts import Fact
from records.mapping import Mapping, parse_mapping
from records.registry import load_registry
from tests.postgresql import own_database_or_skip
from tests.records.source_files import small_mapping

PASSWORD = "Geheimnis"
CANARY = "Kanarienvogel"
PEOPLE = [(1, date(2019, 5, 1), 0.8, "Prod:1"), (2, date(2020, 2, 29), None, CANARY)]


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """A SQLite database of two people."""
    url = f"sqlite:///{tmp_path / 'hr.sqlite'}"
    fill(url)
    return url


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """A PostgreSQL database of two people, which no test may change; dropped afterwards."""
    with own_database_or_skip() as url:
        fill(url)
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    found: str = request.getfixturevalue(request.param)
    monkeypatch.setenv("HRIS_URL", found)
    return found


def fill(url: str) -> None:
    engine = sa.create_engine(url)
    table = sa.Table(
        "people",
        sa.MetaData(),
        sa.Column("number", sa.Integer),
        sa.Column("hired", sa.Date),
        sa.Column("fte", sa.Float),
        sa.Column("note", sa.Text),
    )
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(table), [dict(zip(table.columns.keys(), row, strict=True)) for row in PEOPLE])
    engine.dispose()


def mapping(query: str, read: str = "", variable: str = "HRIS_URL") -> Mapping:
    text = f"""
source = "hris"
kind = "sql"
[read]
url_from = "{variable}"
query = '''{query}'''
{read}
[person]
number = "number"
width = 6
[[facts]]
table = "person"
columns.start_month = {{ from = "hired" }}
columns.fte = {{ from = "fte" }}
"""
    return parse_mapping(text.encode(), load_registry())


def test_a_query_becomes_records_and_facts(url: str) -> None:
    source = mapping("SELECT number, hired, fte, note FROM people ORDER BY number;", 'decimal = ","')
    found = records_of(source)
    assert list(found) == [
        (0, {"number": "1", "hired": "2019-05-01", "fte": "0,8"}),
        (1, {"number": "2", "hired": "2020-02-29", "fte": None}),
    ]
    assert [unknown.name for unknown in found.unknown] == ["note"]
    pseudonyms = Pseudonyms(b"k" * 32, "Alder")
    (fact,) = (
        one for place, row in found for one in source.incoming(row, place, pseudonyms, date(2026, 1, 1)) if not place
    )
    assert isinstance(fact, Fact)
    assert fact.subject == pseudonyms.person("000001")
    assert fact.values == {"start_month": "2019-05", "fte": 0.8}


def test_colons_percents_and_comments_of_a_query_are_its_own(url: str) -> None:
    query = "/* ; :x */ SELECT number, hired, fte FROM people WHERE note LIKE '%:1' -- 50 %; drop\n"
    assert [row["number"] for _, row in records_of(mapping(query)) if isinstance(row, dict)] == ["1"]
    query = "WITH all_people AS (SELECT * FROM people) SELECT number, hired, fte FROM all_people"
    assert len(list(records_of(mapping(query)))) == 2


def test_a_cast_of_postgresql_is_read(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRIS_URL", postgresql)
    query = (
        "SELECT number::text, hired::timestamptz AT TIME ZONE 'UTC' AS hired, fte::numeric FROM people WHERE number=1"
    )
    ((_, row),) = records_of(mapping(query))
    assert row == {"number": "1", "hired": "2019-05-01T00:00:00", "fte": "0.8"}


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM people",
        "SELECT 1; DELETE FROM people",
        "SELECT ';' AS a; DELETE FROM people",
        "-- SELECT\nDROP TABLE people",
        "PRAGMA query_only = OFF",
        "SET TRANSACTION READ WRITE",
        "EXPLAIN SELECT 1",
        "SELECTED",
        ";",
        "/* SELECT */",
        "CREATE TABLE x (y int)",
    ],
)
def test_anything_but_one_select_is_refused_before_it_is_sent(url: str, query: str) -> None:
    with pytest.raises(InputError, match="expected one SELECT"):
        records_of(mapping(query))
    assert len(list(records_of(mapping("SELECT number, hired, fte FROM people")))) == 2


@pytest.mark.parametrize(
    "query",
    [
        "WITH gone AS (DELETE FROM people RETURNING *) SELECT number, hired, fte FROM gone",
        "WITH x AS (SELECT 1) DELETE FROM people",
        "WITH x AS (SELECT 1) INSERT INTO people (number) SELECT 3",
        "SELECT number, hired, fte INTO copied FROM people",
        "SELECT number, hired, fte, nextval('counted') FROM people",
        "SELECT set_config('transaction_read_only', 'off', false) AS number, hired, fte FROM people",
    ],
)
def test_the_database_itself_lets_nothing_be_written(url: str, query: str) -> None:
    engine = sa.create_engine(url)
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE SEQUENCE IF NOT EXISTS counted"))
    with pytest.raises(InputError, match="expected the query to be answered"):
        list(records_of(mapping(query)))
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM people")).scalar() == 2
        assert "copied" not in sa.inspect(engine).get_table_names()
    engine.dispose()


def test_what_the_database_says_is_not_passed_on(url: str) -> None:
    for query in (
        "SELECT number, hired, fte FROM " + CANARY,
        f"SELECT CAST('{CANARY}' AS numeric) / 0 AS a FROM nothing",
    ):
        with pytest.raises(InputError) as caught:
            list(records_of(mapping(query)))
        assert "the database that HRIS_URL names" in str(caught.value)
        assert CANARY not in str(caught.value)
        assert caught.value.__cause__ is None


def test_an_error_while_reading_on_ends_in_one_line(postgresql: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRIS_URL", postgresql)
    found = records_of(
        mapping("SELECT g AS number, hired, 1 / (4000 - g) AS fte FROM people, generate_series(1, 5000) AS g")
    )
    with pytest.raises(InputError, match="DataError 22012"):
        list(found)


def test_missing_columns_and_cells_that_are_not_plain_are_refused(url: str) -> None:
    with pytest.raises(InputError, match="none named 'fte'"):
        records_of(mapping("SELECT number, hired FROM people"))
    with pytest.raises(InputError, match="got two"):
        records_of(mapping("SELECT number, number, hired, fte FROM people"))
    binary = "X'00ff'" if url.startswith("sqlite") else "'\\x00ff'::bytea"
    with pytest.raises(InputError, match="one of type bytes"):
        list(records_of(mapping(f"SELECT number, hired, {binary} AS fte FROM people")))


def test_huge_cells_and_rows_beyond_the_limit_are_refused(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HRIS_URL", sqlite)
    with pytest.raises(InputError, match="at most 65536 characters"):
        list(records_of(mapping("SELECT number, hired, printf('%.70000c', 'x') AS fte FROM people")))
    with pytest.raises(InputError, match="OperationalError"):
        list(records_of(mapping("SELECT number, hired, CAST(X'ff41' AS TEXT) AS fte FROM people")))
    monkeypatch.setattr(sql, "MAX_ROWS", 1)
    with pytest.raises(InputError, match="at most 1 rows"):
        list(records_of(mapping("SELECT number, hired, fte FROM people")))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "got nothing"),
        ("", "got nothing"),
        (f"not a url {PASSWORD}", "something else"),
        (f"oracle://reader:{PASSWORD}@host/hr", "a database among sqlite, postgresql, mysql, mariadb"),
        (f"sqlite:////nowhere/{PASSWORD}.sqlite", "an existing SQLite file"),
        ("sqlite://", "an existing SQLite file"),
        (f"postgresql+psycopg://reader:{PASSWORD}@127.0.0.1:1/hr?connect_timeout=2", "OperationalError"),
        (f"postgresql+psycopg://reader:{PASSWORD}@127.0.0.1:5432/{PASSWORD}", "OperationalError"),
        (f"postgresql+psycopg://reader:{PASSWORD}@host:port/hr", "something else"),
        (f"postgresql+nodriver://reader:{PASSWORD}@host/hr", "an installed driver"),
        (f"postgresql+psycopg://reader:{PASSWORD}@127.0.0.1/hr?option={PASSWORD}", "got"),
    ],
)
def test_a_url_that_can_not_be_used_is_never_repeated(
    monkeypatch: pytest.MonkeyPatch, value: str | None, expected: str
) -> None:
    monkeypatch.delenv("HRIS_URL", raising=False)
    if value is not None:
        monkeypatch.setenv("HRIS_URL", value)
    with pytest.raises(InputError) as caught:
        records_of(mapping("SELECT number, hired, fte FROM people"))
    assert expected in str(caught.value)
    assert "HRIS_URL" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hr.sqlite").write_bytes(b"number,hired\n" * 99)
    monkeypatch.setenv("HRIS_URL", f"sqlite:///{tmp_path / 'hr.sqlite'}")
    with pytest.raises(InputError, match="DatabaseError"):
        records_of(mapping("SELECT number, hired, fte FROM people"))


def test_a_url_in_the_mapping_itself_is_refused(sqlite: str) -> None:
    with pytest.raises(InputError, match="the name of an environment variable"):
        mapping("SELECT 1", variable=sqlite)


def test_a_mapping_of_tables_is_no_query() -> None:
    with pytest.raises(InputError, match='expected kind = "sql"'):
        records_of(small_mapping())


def test_an_endless_answer_is_read_as_it_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite3.connect(tmp_path / "hr.sqlite").execute("CREATE TABLE a (b)").connection.commit()
    monkeypatch.setenv("HRIS_URL", f"sqlite:///{tmp_path / 'hr.sqlite'}")
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)"
    found = iter(records_of(mapping(f"{endless} SELECT n AS number, n AS hired, n AS fte FROM c")))
    assert [next(found)[0] for _ in range(5_000)] == list(range(5_000))
    found.close()  # type: ignore[attr-defined]
