from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from privacy.errors import InputError, VerificationFailed
from records.log import raise_anchor, read_anchor
from records.store import Store, open_store
from tests.records.store_folder import (
    NOW,
    add_log,
    consent,
    log_length,
    run_raw,
    store_of_kind,
)


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    with store_of_kind("sqlite", tmp_path / "alder") as store:
        yield store


def test_the_log_gives_the_digest_of_its_entries(sqlite_store: Store) -> None:
    store = sqlite_store
    digests = add_log(store, "a", "b")
    assert run_raw(store, "SELECT digest FROM log_entry WHERE number > 1 ORDER BY number") == [(d,) for d in digests]
    assert log_length(store) == 3


def test_entries_of_one_transaction_are_chained(sqlite_store: Store) -> None:
    store = sqlite_store
    with store.writing() as connection:
        for event in "abc":
            store.log(connection, {"event": event}, NOW)
        assert store.check_log(connection) == 4
    assert log_length(open_store(store.folder)) == 4


def test_the_first_entry_has_a_digest_that_anyone_can_compute(sqlite_store: Store) -> None:
    store = sqlite_store
    ((number, at, document, previous, digest),) = run_raw(store, "SELECT * FROM log_entry")
    quoted = document.replace('"', '\\"')
    content = f'{{"at":"{at}","document":"{quoted}","number":{number},"previous":"{previous}"}}'
    assert previous == "0" * 64
    assert hashlib.sha256(content.encode()).hexdigest() == digest


UNGUARDED = ["DROP TRIGGER log_entry_stays", "DROP TRIGGER log_entry_is_kept"]
ATTACKS = {
    "document": ['UPDATE log_entry SET document = \'{"event":"c"}\' WHERE number = 3'],
    "time": ["UPDATE log_entry SET at = '2020-01-01T00:00:00Z' WHERE number = 3"],
    "digest": ["UPDATE log_entry SET digest = '0' WHERE number = 3"],
    "previous": ["UPDATE log_entry SET previous = digest WHERE number = 3"],
    "number": ["UPDATE log_entry SET number = 100 WHERE number = 5"],
    "first removed": ["DELETE FROM log_entry WHERE number = 1"],
    "one removed": ["DELETE FROM log_entry WHERE number = 3"],
    "removed and numbered anew": [
        "DELETE FROM log_entry WHERE number = 3",
        "UPDATE log_entry SET number = 3 WHERE number = 4",
        "UPDATE log_entry SET number = 4 WHERE number = 5",
    ],
    "two change places": [
        "UPDATE log_entry SET number = 100 WHERE number = 3",
        "UPDATE log_entry SET number = 3 WHERE number = 4",
        "UPDATE log_entry SET number = 4 WHERE number = 100",
    ],
    "last removed": ["DELETE FROM log_entry WHERE number = 5"],
    "all removed": ["DELETE FROM log_entry"],
    "huge document": ["UPDATE log_entry SET document = 'x' || digest WHERE number = 3"],
}


def run_around_triggers(store: Store, *statements: str) -> None:
    for statement in (*UNGUARDED, *statements):
        run_raw(store, statement)


@pytest.mark.parametrize("attack", ATTACKS)
def test_whoever_gets_around_the_triggers_is_noticed(sqlite_store: Store, attack: str) -> None:
    add_log(sqlite_store, "a", "b", "c", "d")
    assert log_length(sqlite_store) == 5
    run_around_triggers(sqlite_store, *ATTACKS[attack])
    with pytest.raises(VerificationFailed, match="log"):
        log_length(sqlite_store)


def test_a_log_computed_anew_is_noticed(sqlite_store: Store) -> None:
    """Whoever can write to the database can also compute digests; the anchor lies elsewhere."""
    store = sqlite_store
    add_log(store, "a", "dismissed")
    anchor = (store.folder / "log.anchor").read_bytes()
    (store.folder / "log.anchor").write_bytes(b'{"number":0,"digest":"' + b"0" * 64 + b'"}')
    run_around_triggers(store, "DELETE FROM log_entry WHERE number > 1")
    add_log(store, "a", "nothing")
    assert log_length(store) == 3
    (store.folder / "log.anchor").write_bytes(anchor)
    with pytest.raises(VerificationFailed, match="anchor"):
        log_length(store)


def test_what_was_cut_off_stays_noticed_when_the_log_grows_again(sqlite_store: Store) -> None:
    add_log(sqlite_store, "a", "b")
    run_around_triggers(sqlite_store, "DELETE FROM log_entry WHERE number = 3")
    for event in "cde":
        add_log(sqlite_store, event)
        with pytest.raises(VerificationFailed, match="anchor"):
            log_length(sqlite_store)


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b'{"number":-1,"digest":""}', b"\xff", b"[" * 1000])
def test_a_broken_anchor_is_told_in_one_line(sqlite_store: Store, content: bytes) -> None:
    (sqlite_store.folder / "log.anchor").write_bytes(content)
    for use in (log_length, lambda store: add_log(store, "x")):
        with pytest.raises(InputError) as caught:
            use(sqlite_store)
        assert "\n" not in str(caught.value)


def test_an_entry_that_was_not_anchored_is_no_fault(sqlite_store: Store) -> None:
    """A crash between the commit and the anchor, or a folder that can not be written."""
    add_log(sqlite_store, "a")
    anchor = (sqlite_store.folder / "log.anchor").read_bytes()
    add_log(sqlite_store, "b")
    (sqlite_store.folder / "log.anchor").write_bytes(anchor)
    assert log_length(sqlite_store) == 3
    add_log(sqlite_store, "c")
    assert log_length(sqlite_store) == 4
    assert (sqlite_store.folder / "log.anchor").read_bytes() != anchor
    assert list(sqlite_store.folder.glob(".log*")) == []


@pytest.mark.parametrize(
    "document", [{"a": 0.5}, {"a": float("nan")}, {"a": object()}, {1: 2}, {"a": "\ud800"}, {"a": "x" * 70_000}]
)
def test_what_is_no_document_is_not_logged(sqlite_store: Store, document: dict[str, object]) -> None:
    with pytest.raises(InputError), sqlite_store.writing() as connection:
        sqlite_store.log(connection, document, NOW)
    assert log_length(sqlite_store) == 1


def test_an_anchor_never_goes_back_when_writers_cross(sqlite_store: Store) -> None:
    path = sqlite_store.folder / "log.anchor"
    before = read_anchor(path)
    add_log(sqlite_store, "a", "b")
    newest = read_anchor(path)
    raise_anchor(path, before)
    assert read_anchor(path) == newest


@pytest.mark.parametrize("gone", ["r1", "r2"])
def test_a_consent_event_that_was_taken_away_is_missed(sqlite_store: Store, gone: str) -> None:
    store = sqlite_store
    with store.writing() as connection:
        for receipt in ("r1", "r2"):
            consent(connection, receipt=receipt)
        store.log(connection, {"event": "said"}, NOW, said=store.digest_of(["r2", "r1"]))
    assert log_length(store) == 2
    run_raw(store, "INSERT INTO erasing VALUES ('s1')")
    run_raw(store, "DELETE FROM consent_event WHERE receipt = :gone", gone=gone)
    run_raw(store, "DELETE FROM erasing")
    add_log(store, "later")
    with pytest.raises(VerificationFailed, match="consent"):
        log_length(store)
