"""What somebody who can write to the database, or who sends decisions, tries: `verify` finds it, or it is refused."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from privacy import fields, ledger_tables, marks
from privacy.budget import add_signature, sign_decision
from privacy.errors import InputError, KithError, Refused, VerificationFailed
from privacy.ledger import Ledger
from privacy.ledger_book import LedgerBook
from tests.postgresql import own_database_or_skip
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.small_ledger import (
    FIRST,
    PLAN,
    SITE,
    STAFF,
    budget,
    charge,
    clock,
    complete,
    decided,
    following,
    next_period,
    people,
    sqlite_address,
    two_groups,
)
from tests.privacy.small_release import NOW, OFFICERS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of 14 entries: a whole run; a decision; a run that charged twice and left somebody out."""
    path = sqlite_address(tmp_path_factory.mktemp("written"))
    ledger = Ledger.create(path, SITE, two_groups("1", "0.75", "1"), clock=clock)
    complete(ledger, "one", people(1, 2))
    ledger.decide(decided(ledger, following(ledger.budget)))
    ledger.reserve("two", PLAN, people(1, 3))
    charge(ledger, FIRST, "two")
    ledger.settle(charge(ledger, FIRST, "two"), b"values", b"receipt")
    assert ledger.reservation("two").left_out == 1
    ledger.verify()
    ledger.close()
    return path


@pytest.fixture
def path(written: Path, tmp_path: Path) -> Path:
    copy = tmp_path / written.name
    shutil.copyfile(written, copy)
    return copy


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(path, clock=clock)
    yield ledger
    ledger.close()


def lower_a_charge(leaf: bytes) -> bytes:
    return leaf.replace(b'"mu2":"0.25"', b'"mu2":"0.05"').replace(b'spent":"0.25"', b'spent":"0.05"')


def raise_the_cap(leaf: bytes) -> bytes:
    return leaf.replace(b'"cap":"1"', b'"cap":"9"')


def date_later(leaf: bytes) -> bytes:
    return leaf.replace(b"%d" % NOW, b"%d" % (NOW + 1))


def one_fewer(data: bytes) -> bytes:
    return data[marks.MARK_BYTES :]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


CHANGES = {function.__name__: function for function in (lower_a_charge, raise_the_cap, date_later, one_fewer, sha256)}
FIRST_CROWD, OTHERS = sha256(marks.joined(people(1, 2))), sha256(marks.joined(people(2)))
CHARGED = "FROM ledger_cohorts WHERE left_out = 1"
TAMPERING = {
    "a charge made cheaper": "UPDATE ledger_entries SET leaf = lower_a_charge(leaf) WHERE position = 2",
    "a later date": "UPDATE ledger_entries SET leaf = date_later(leaf) WHERE position = 7",
    "another cap": "UPDATE ledger_entries SET leaf = raise_the_cap(leaf) WHERE position = 0",
    "the last entry removed": "DELETE FROM ledger_entries WHERE position = 13",
    "a charge removed": "DELETE FROM ledger_entries WHERE position = 2",
    "all entries removed": "DELETE FROM ledger_entries",
    "two entries swapped": "UPDATE ledger_entries SET leaf = (SELECT leaf FROM ledger_entries WHERE position = 5)"
    " WHERE position = 3",
    "an entry more": "INSERT INTO ledger_entries SELECT 14, leaf FROM ledger_entries WHERE position = 8",
    "an entry before the first": "INSERT INTO ledger_entries SELECT -1, leaf FROM ledger_entries WHERE position = 1",
    "no JSON": "UPDATE ledger_entries SET leaf = x'00' WHERE position = 3",
    "a tree node": "UPDATE ledger_nodes SET hash = zeroblob(32) WHERE level = 1 AND position = 0",
    "a tree node removed": "DELETE FROM ledger_nodes WHERE level = 2 AND position = 0",
    "a tree node more": "INSERT INTO ledger_nodes VALUES (9, 9, zeroblob(32))",
    "a tree node below the leaves": "INSERT INTO ledger_nodes VALUES (-1, 0, zeroblob(32))",
    "a contribution": "UPDATE ledger_contributions SET sent = x'00' WHERE charge = 2",
    "a receipt": "UPDATE ledger_contributions SET receipt = x'00' WHERE charge = 2",
    "a contribution removed": "DELETE FROM ledger_contributions WHERE charge = 2",
    "a contribution more": "INSERT INTO ledger_contributions VALUES (11, x'00', x'00')",
    "somebody taken out of a crowd": "UPDATE ledger_crowds SET marks = one_fewer(marks) WHERE length(marks) = 32",
    "somebody taken out of a crowd under its new name": f"UPDATE ledger_crowds SET marks = one_fewer(marks),"
    f" crowd = '{OTHERS}' WHERE crowd = '{FIRST_CROWD}'; UPDATE ledger_cohorts SET crowd = '{OTHERS}'"
    f" WHERE crowd = '{FIRST_CROWD}'; UPDATE ledger_shares SET crowd = '{OTHERS}' WHERE crowd = '{FIRST_CROWD}'",
    "a salt": f"UPDATE ledger_cohorts SET salt = zeroblob(32) WHERE digest IN (SELECT digest {CHARGED})",
    "a salt of another length": "UPDATE ledger_cohorts SET salt = x''",
    "a cohort of other people": f"UPDATE ledger_cohorts SET crowd = (SELECT crowd {CHARGED})",
    "an extra cohort": f"INSERT INTO ledger_cohorts SELECT '{'0' * 64}', salt, crowd, 0 {CHARGED}",
    "an extra crowd": f"INSERT INTO ledger_crowds VALUES ('{sha256(b'')}', x'')",
    "a crowd removed": "DELETE FROM ledger_crowds WHERE length(marks) = 32",
    "a cohort removed": f"DELETE {CHARGED}",
    "the total made smaller": "UPDATE ledger_head SET spent = '0.05'",
    "the lifetime made smaller": "UPDATE ledger_head SET lifetime = '0.05'",
    "another size": "UPDATE ledger_head SET size = 15",
    "another period": "UPDATE ledger_head SET period = 1",
    "an amount that is none": "UPDATE ledger_head SET spent = 'much'",
    "the head removed": "DELETE FROM ledger_head",
    "another budget's place": "UPDATE ledger_budgets SET position = 0 WHERE number = 1",
    "a group's total": "UPDATE ledger_group_totals SET spent = '0' WHERE name = 'keep'",
    "a group more": "INSERT INTO ledger_group_totals VALUES (0, 'other', '0')",
    "a run that holds less": "UPDATE ledger_runs SET held = '0' WHERE run = 'two'",
    "an open run ended": "UPDATE ledger_runs SET ended = 1",
    "an ended run open": "UPDATE ledger_runs SET ended = 0",
    "a run of another plan": f"UPDATE ledger_runs SET plan = '{'0' * 64}' WHERE run = 'two'",
    "a run removed": "DELETE FROM ledger_runs WHERE run = 'one'",
    "a release unsettled": "UPDATE ledger_releases SET settled = 0",
    "a release for another state": f"UPDATE ledger_releases SET state = '{'0' * 64}'",
    "a charge of another run": "UPDATE ledger_charges SET run = 'two' WHERE position = 2",
    "a charge forgotten": "DELETE FROM ledger_charges WHERE position = 2",
    "somebody's share made smaller": "UPDATE ledger_shares SET spent = '0.01'",
    "somebody's share in another period": "UPDATE ledger_shares SET period = 1",
    "somebody's share removed": "DELETE FROM ledger_shares",
}


def rewrite(path: Path, *statements: str) -> None:
    """Change the file behind the ledger's back, its triggers put back as they were."""
    with closing(sqlite3.connect(path)) as connection:
        for name, change in CHANGES.items():
            connection.create_function(name, 1, change)
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING.keys())
def test_tampering_with_a_row_is_found(ledger: Ledger, path: Path, statement: str) -> None:
    ledger.balance_of(next(iter(STAFF)))  # all crowds are in memory now
    rewrite(path, *statement.split("; "))
    with pytest.raises(VerificationFailed):
        ledger.verify()
    with pytest.raises((VerificationFailed, InputError)):
        Ledger.open(path).verify()


def test_a_file_of_strict_tables_takes_no_value_of_another_type(path: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value in BLOB"):
        rewrite(path, "UPDATE ledger_entries SET leaf = 'text' WHERE position = 3")


DEFINITIONS = {
    "a trigger dropped": "DROP TRIGGER ledger_entries_no_DELETE",
    "a trigger more": "CREATE TRIGGER more BEFORE DELETE ON ledger_entries BEGIN SELECT RAISE(IGNORE); END",
    "a table more": "CREATE TABLE more (number INTEGER)",
    "an index dropped": "DROP INDEX ledger_open_runs",
    "a view": "CREATE VIEW more AS SELECT * FROM ledger_entries",
    "a table dropped": "DROP TABLE ledger_contributions",
}


@pytest.mark.parametrize("statement", DEFINITIONS.values(), ids=DEFINITIONS.keys())
def test_another_definition_is_found(ledger: Ledger, path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()
    with pytest.raises(VerificationFailed, match="expected the tables of a Kith ledger"):
        ledger.verify()
    with pytest.raises(InputError, match="expected the tables of a Kith ledger"):
        Ledger.open(path)


@pytest.mark.parametrize("table", ["entries", "nodes", "contributions", "crowds", "cohorts"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET {} = {}"], ids=["delete", "update"])
def test_sql_that_rewrites_the_past_is_refused_by_the_file_itself(path: Path, table: str, statement: str) -> None:
    column = {"entries": "leaf", "nodes": "hash", "contributions": "sent", "crowds": "marks", "cohorts": "salt"}[table]
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="append only"):
        connection.execute(statement.format(f"ledger_{table}", column, column))


def test_postgresql_refuses_to_rewrite_the_past_and_verify_finds_what_its_owner_changes() -> None:
    with own_database_or_skip() as url:
        engine = sa.create_engine(url)

        def do(statement: str) -> None:
            with engine.begin() as connection:
                connection.exec_driver_sql(statement)

        ledger = Ledger.create(url, SITE, budget())
        complete(ledger, "one", people(1, 2))
        for statement in (
            "UPDATE ledger_entries SET leaf = leaf",
            "DELETE FROM ledger_nodes",
            "TRUNCATE ledger_crowds",
        ):
            with pytest.raises(sa.exc.DBAPIError, match="append only"):
                do(statement)
        ledger.verify()
        do("ALTER TABLE ledger_crowds DISABLE TRIGGER ledger_crowds_only")
        with pytest.raises(VerificationFailed, match="tables of a Kith ledger"):
            ledger.verify()
        do("ALTER TABLE ledger_crowds ENABLE TRIGGER ledger_crowds_only")
        ledger.verify()
        function = "CREATE OR REPLACE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        do(f"{function} $$ BEGIN RETURN NEW; END $$")
        with pytest.raises(InputError, match="tables of a Kith ledger"):
            Ledger.open(url)
        do("UPDATE ledger_crowds SET marks = substr(marks, 17)")
        do(f"{function} $$ BEGIN RAISE EXCEPTION 'append only'; END $$")
        with pytest.raises(VerificationFailed, match="crowd"):
            Ledger.open(url).verify()
        ledger.close()
        engine.dispose()


def test_a_ledger_put_back_to_an_earlier_copy_is_found_by_a_checkpoint_held_elsewhere(tmp_path: Path) -> None:
    path = sqlite_address(tmp_path)
    ledger = Ledger.create(path, SITE, budget(), clock=clock)
    ledger.close()
    earlier = path.read_bytes()
    ledger = Ledger.open(path, clock=clock)
    complete(ledger, "run")
    held = ledger.head()
    ledger.close()
    path.write_bytes(earlier)
    rolled_back = Ledger.open(path, clock=clock)
    with pytest.raises(VerificationFailed, match="at least"):
        rolled_back.verify(held)
    complete(rolled_back, "other")
    assert rolled_back.verify().size == held.size
    with pytest.raises(VerificationFailed, match="as the checkpoint has them"):
        rolled_back.verify(held)


def test_a_whole_log_made_anew_without_a_charge_is_found_by_a_checkpoint_held_elsewhere(path: Path) -> None:
    ledger = Ledger.open(path)
    held = ledger.head()
    made_anew = Ledger.create(path.with_name("anew"), SITE, two_groups("1", "0.75", "1"), clock=clock)
    assert made_anew.id == ledger.id
    for number in range(held.size):
        made_anew.reserve(str(number), PLAN, ())
    made_anew.verify()
    with pytest.raises(VerificationFailed, match="as the checkpoint has them"):
        made_anew.verify(held)


# Decisions


def test_a_decision_is_taken_once(ledger: Ledger) -> None:
    ledger.end("two")
    decision = decided(ledger, next_period(ledger.budget))
    ledger.decide(decision)
    size = ledger.head().size
    with pytest.raises(VerificationFailed, match="expected budget 3"):
        ledger.decide(decision)
    assert ledger.head().size == size


def test_no_budget_is_decided_while_a_run_is_open(ledger: Ledger) -> None:
    decision = decided(ledger, next_period(ledger.budget))
    with pytest.raises(Refused, match=r"no open run.*rule 11"):
        ledger.decide(decision)
    ledger.end("two")
    assert ledger.decide(decision).period == 1


def test_a_decision_for_another_ledger_is_refused(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger.create(tmp_path / "other", SITE, two_groups("1", "0.75", "1"), clock=lambda: NOW + 1)
    assert other.id != ledger.id
    ledger.end("two")
    with pytest.raises(VerificationFailed, match="expected one for ledger"):
        ledger.decide(decided(other, next_period(ledger.budget)))


def test_an_officer_who_is_no_longer_named_decides_nothing(ledger: Ledger) -> None:
    ledger.end("two")
    without_first = tuple(one for one in ledger.budget.officers if one != fields.to_base64(OFFICERS[0].public))
    ledger.decide(decided(ledger, next_period(ledger.budget, officers=without_first)))
    after = next_period(ledger.budget)
    with pytest.raises(VerificationFailed, match="nobody else"):
        ledger.decide(decided(ledger, after, 0, 1))
    assert ledger.decide(decided(ledger, after, 1, 2)) == after
    ledger.verify()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"number": 1}, "expected budget 2"),
        ({"number": 3}, "expected budget 2"),
        ({"period": 2}, "period 0 or 1"),
        ({"period": 0, "cap": "0.1"}, "at least"),
        ({"period": 0, "label": "other"}, "label"),
    ],
    ids=["number again", "number skipped", "period skipped", "a cap below what was charged", "another label"],
)
def test_decisions_out_of_turn_are_refused(ledger: Ledger, changes: dict[str, object], reason: str) -> None:
    ledger.end("two")
    size, label = ledger.head().size, ledger.budget.label
    new = next_period(ledger.budget, **{"label": label, **changes})
    with pytest.raises(Refused, match=reason):
        ledger.decide(decided(ledger, new))
    assert ledger.head().size == size


SIGNED: dict[str, Callable[[Ledger], bytes]] = {
    "one officer": lambda ledger: decided(ledger, next_period(ledger.budget), 0),
    "an officer and a stranger": lambda ledger: add_signature(
        decided(ledger, next_period(ledger.budget), 0), FixedSigner(9)
    ),
    "one officer twice": lambda ledger: decided(ledger, next_period(ledger.budget), 0, 0),
    "nobody": lambda ledger: sign_decision(next_period(ledger.budget), ledger.id),
    "no decision": lambda _: b"{}",
}


@pytest.mark.parametrize("forge", SIGNED.values(), ids=SIGNED.keys())
def test_decisions_that_two_officers_have_not_signed_are_refused(
    ledger: Ledger, forge: Callable[[Ledger], bytes]
) -> None:
    ledger.end("two")
    size = ledger.head().size
    with pytest.raises(KithError):
        ledger.decide(forge(ledger))
    assert ledger.head().size == size


def test_nothing_that_could_not_be_read_back_is_written(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry is applied as it will be read, whatever made it."""
    monkeypatch.setattr(LedgerBook, "add_cohort", lambda *_: "no digest")
    with pytest.raises(InputError, match="64 lower-case"):
        ledger.reserve("three", PLAN, people(9))
    monkeypatch.undo()
    assert ledger.verify().size == 14


# Files


def test_foreign_and_damaged_files_are_refused_and_left_alone(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    for name, journal in (("foreign", "DELETE"), ("foreign log", "WAL")):
        with closing(sqlite3.connect(tmp_path / name)) as connection:
            connection.execute(f"PRAGMA journal_mode = {journal}")
            connection.execute("CREATE TABLE ledger_entries (position INTEGER PRIMARY KEY, leaf BLOB NOT NULL)")
    half_foreign = tmp_path / "half foreign"
    with closing(sqlite3.connect(half_foreign)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {ledger_tables.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {ledger_tables.FORMAT}")
    later = bytearray(whole)
    later[63] += 1
    foreign = [(tmp_path / name).read_bytes() for name in ("foreign", "foreign log", "half foreign")]
    folder = tmp_path / "damaged"
    folder.mkdir()
    for content in (
        b"",
        b"no database at all" * 400,
        whole[:50],
        whole[:5000],
        whole[:100] + bytes(9000),
        later,
        *foreign,
    ):
        damaged = folder / "damaged"
        damaged.write_bytes(content)
        with pytest.raises(KithError):
            Ledger.open(damaged)
        assert damaged.read_bytes() == content
        assert [one.name for one in folder.iterdir()] == [damaged.name]
    with pytest.raises(InputError, match="got none"):
        Ledger.open(folder / "absent")
    assert not (folder / "absent").exists()


def test_an_existing_file_is_never_overwritten(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(InputError, match="new file"):
        Ledger.create(path, SITE, budget())
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("side", ["-wal", "-shm", "-journal"])
def test_a_new_ledger_is_not_made_beside_the_log_of_an_earlier_one(path: Path, side: str) -> None:
    path.rename(path.with_name(path.name + side))
    with pytest.raises(InputError, match="of an earlier one"):
        Ledger.create(path, SITE, budget())
    assert not path.exists()


def test_a_file_that_was_taken_away_is_not_made_anew(ledger: Ledger, path: Path) -> None:
    ledger._store._engine.dispose()
    path.unlink()
    with pytest.raises(KithError):
        ledger.reserve("three", PLAN, STAFF)
    assert not path.exists()


def test_only_its_owner_may_read_a_ledger_and_the_files_beside_it(tmp_path: Path) -> None:
    ledger = Ledger.create(sqlite_address(tmp_path), SITE, budget())
    ledger.reserve("run", PLAN, STAFF)
    modes = {file.name.partition("-")[2]: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == {"": 0o600, "wal": 0o600, "shm": 0o600}
    ledger.close()
    assert [file.name for file in tmp_path.iterdir()] == [sqlite_address(tmp_path).name]


def test_a_place_where_nothing_can_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can be written"):
        Ledger.create(tmp_path / "absent" / "ledger", SITE, budget())
    with pytest.raises(InputError, match="site"):
        Ledger.create(tmp_path / "ledger", "", budget())
    assert list(tmp_path.iterdir()) == []


def test_officers_of_another_ledger_s_budget_are_strangers_here(ledger: Ledger) -> None:
    ledger.end("two")
    new = replace(next_period(ledger.budget), officers=tuple(fields.to_base64(FixedSigner(n).public) for n in (1, 2)))
    with pytest.raises(VerificationFailed, match="nobody else"):
        ledger.decide(sign_decision(new, ledger.id, FixedSigner(1), FixedSigner(2)))
