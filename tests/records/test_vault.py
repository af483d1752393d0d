from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from privacy.errors import InputError, KithError, VerificationFailed
from privacy.pseudonyms import Pseudonyms
from privacy.sealing import open_sealed
from privacy.secret_files import create_secret, read_public, read_secret
from records.facts import Trait
from records.store import Store, create_store, open_store
from records.vault import BLOCK, MAX_BYTES, Vault, open_vault
from tests.postgresql import own_database_or_skip
from tests.records.store_folder import KINDS, NOW

CANARY = "canary-4711"


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store whose vault is of either kind."""
    with (
        own_database_or_skip() if request.param == "postgresql" else nullcontext() as url,
        closing(create_store(tmp_path / "alder", "Alder", vault=url)) as store,
    ):
        yield store


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    with closing(create_store(tmp_path / "alder", "Alder")) as store:
        yield store


@pytest.fixture
def vault(store: Store) -> Iterator[Vault]:
    with closing(open_vault(store)) as vault:
        yield vault


def traits(*subjects: str, **values: str) -> list[Trait]:
    return [Trait(subject, values or {"sex": "female"}, place) for place, subject in enumerate(subjects)]


def auditor(store: Store) -> bytes:
    return read_secret(store.folder / "auditor.key")


def run_raw(store: Store, statement: str, **values: object) -> list[tuple[object, ...]]:
    engine = sa.create_engine(store.vault_url)
    try:
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement), values)
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


def test_the_auditor_reads_what_was_put(store: Store, vault: Vault) -> None:
    assert vault.put(traits("s1", sex="female", age_band_40="under") + traits("s2", sex="male"), "hris", NOW) == 2
    frame = vault.read(auditor(store))
    assert list(frame.columns) == ["audit_key", "source", "age_band_40", "sex"]
    assert dict(zip(frame["audit_key"], frame["sex"], strict=True)) == {
        vault.audit_key("s1"): "female",
        vault.audit_key("s2"): "male",
    }
    assert frame["age_band_40"].notna().sum() == 1


def test_an_empty_vault_reads_as_an_empty_table(store: Store, vault: Vault) -> None:
    frame = vault.read(auditor(store))
    assert (list(frame.columns), len(frame)) == (["audit_key", "source"], 0)
    assert vault.put([], "hris", NOW) == 0


def test_what_a_source_says_again_takes_the_place_of_what_it_said(store: Store, vault: Vault) -> None:
    vault.put(traits("s1", sex="female"), "hris", NOW)
    vault.put(traits("s1", sex="male"), "employee", NOW)
    vault.put(traits("s1", sex="male") + traits("s1", sex="other"), "hris", NOW)
    frame = vault.read(auditor(store))
    assert dict(zip(frame["source"], frame["sex"], strict=True)) == {"hris": "other", "employee": "male"}


def test_what_is_forgotten_is_no_longer_held(store: Store, vault: Vault) -> None:
    vault.put(traits("s1", "s2"), "hris", NOW)
    vault.put(traits("s1"), "employee", NOW)
    vault.forget("s1")
    assert (vault.holds("s1"), vault.holds("s2")) == (False, True)
    assert list(vault.read(auditor(store))["audit_key"]) == [vault.audit_key("s2")]
    vault.forget("s1")
    vault.forget("nobody")
    assert vault.holds("s2")


def test_what_was_recorded_in_earlier_months_expires(vault: Vault) -> None:
    vault.put(traits("old"), "hris", datetime(2025, 1, 31, tzinfo=UTC))
    vault.put(traits("new"), "hris", datetime(2025, 2, 1, tzinfo=UTC))
    assert vault.expire(datetime(2025, 1, 31, tzinfo=UTC)) == 0
    assert vault.expire(datetime(2025, 2, 28, tzinfo=UTC)) == 1
    assert (vault.holds("old"), vault.holds("new")) == (False, True)


# Who writes can not read


def test_no_key_that_the_store_works_with_opens_anything(store: Store, vault: Vault) -> None:
    vault.put(traits("s1"), "hris", NOW)
    (store.folder / "auditor.key").rename(store.folder.parent / "at the auditor's")
    ((sealed,),) = run_raw(store, "SELECT sealed FROM protected")
    keys = [read_secret(path) for path in store.folder.glob("*.key")] + [read_public(store.folder / "auditor.public")]
    assert len(keys) == 4
    about = f'["protected","Alder","{vault.audit_key("s1")}","hris"]'
    for key in keys:
        with pytest.raises(VerificationFailed):
            vault.read(key)
        with pytest.raises(VerificationFailed):
            open_sealed(key, str(sealed), about)
    assert open_sealed(read_secret(store.folder.parent / "at the auditor's"), str(sealed), about)


def test_the_vault_works_without_the_auditors_key(store: Store) -> None:
    (store.folder / "auditor.key").unlink()
    with closing(open_store(store.folder)) as again, closing(open_vault(again)) as vault:
        vault.put(traits("s1"), "hris", NOW)
        assert vault.holds("s1")


def test_traits_are_nowhere_in_plain(sqlite_store: Store) -> None:
    with closing(open_vault(sqlite_store)) as vault:
        vault.put(traits("s1", ethnicity=CANARY), "hris", NOW)
    for path in sqlite_store.folder.iterdir():
        assert CANARY.encode() not in path.read_bytes()


# Nobody can tell whose they are


def test_an_audit_key_needs_the_vaults_key(store: Store, vault: Vault) -> None:
    subject = store.pseudonyms.person("17")
    vault.put(traits(subject), "hris", NOW)
    ((row),) = run_raw(store, "SELECT * FROM protected")
    assert subject not in str(row)
    guesses = [
        pseudonyms.index("audit", subject)
        for key in ("pseudonym.key", "sealing.key")
        for pseudonyms in [Pseudonyms(read_secret(store.folder / key), "Alder")]
    ]
    assert vault.audit_key(subject) not in guesses
    known = Pseudonyms(read_secret(store.folder / "vault.key"), "Alder")
    assert vault.audit_key(subject) == known.index("audit", subject)
    (store.folder / "vault.key").unlink()
    create_secret(store.folder / "vault.key")
    with closing(open_vault(store)) as other:
        assert not other.holds(subject)


def test_rows_do_not_stand_in_the_order_of_people(store: Store, vault: Vault) -> None:
    subjects = [f"s{number}" for number in range(100)]
    vault.put(traits(*subjects), "hris", NOW)
    keys = [key for (key,) in run_raw(store, "SELECT audit_key FROM protected ORDER BY number")]
    assert keys == sorted(keys)
    assert keys != [vault.audit_key(subject) for subject in subjects]


def test_the_time_of_writing_is_cut_to_the_month(store: Store, vault: Vault) -> None:
    for now in (datetime(2026, 3, 1, 12, 30, 1, tzinfo=UTC), datetime(2026, 3, 31, 23, 59, tzinfo=UTC)):
        vault.put(traits(now.isoformat()), "hris", now)
    assert set(run_raw(store, "SELECT recorded_at FROM protected")) == {("2026-03-01T00:00:00Z",)}


def test_the_length_does_not_tell_the_answer(store: Store, vault: Vault) -> None:
    vault.put(traits("s1", sex="male") + traits("s2", sex="female", age_band_40="x" * 100), "hris", NOW)
    lengths = run_raw(store, "SELECT length(sealed) FROM protected")
    assert lengths[0] == lengths[1]


# What was changed is noticed


def test_traits_do_not_open_as_another_persons(store: Store, vault: Vault) -> None:
    vault.put(traits("s1", sex="female") + traits("s2", sex="male"), "hris", NOW)
    (one, first), (two, second) = run_raw(store, "SELECT audit_key, sealed FROM protected")
    run_raw(store, "UPDATE protected SET sealed = :sealed WHERE audit_key = :key", sealed=second, key=one)
    run_raw(store, "UPDATE protected SET sealed = :sealed WHERE audit_key = :key", sealed=first, key=two)
    with pytest.raises(VerificationFailed):
        vault.read(auditor(store))


@pytest.mark.parametrize("change", ["source = 'employee'", "sealed = 'AAAA'", "sealed = ''"])
def test_a_changed_row_does_not_open(sqlite_store: Store, change: str) -> None:
    with closing(open_vault(sqlite_store)) as vault:
        vault.put(traits("s1"), "hris", NOW)
        run_raw(sqlite_store, f"UPDATE protected SET {change}")
        with pytest.raises(KithError):
            vault.read(auditor(sqlite_store))


# Writing all or nothing, and leaving nothing behind


def test_what_can_not_be_written_leaves_no_trace(store: Store, vault: Vault) -> None:
    for bad in (
        {"sex": "x" * MAX_BYTES},
        {"sex": 7},
        {"sex": 0.5},
        {"sex": "\ud800"},
        {7: "x"},
        {"sex": None},
        {"source": "x"},
    ):
        with pytest.raises(InputError) as refused:
            vault.put([*traits("s1"), Trait("s2", bad, 1)], "hris", NOW)
        assert "xxx" not in str(refused.value)
        assert not vault.holds("s1")


def test_a_failure_in_a_later_block_undoes_the_earlier_ones(
    sqlite_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert BLOCK > 2
    monkeypatch.setattr("records.vault.BLOCK", 2)

    def coming() -> Iterator[Trait]:
        yield from traits("s1", "s2", "s3", "s4")
        raise RuntimeError

    with closing(open_vault(sqlite_store)) as vault:
        with pytest.raises(RuntimeError):
            vault.put(coming(), "hris", NOW)
        assert not vault.holds("s1")
        assert vault.put(traits("s1", "s2", "s3", "s4", "s5"), "hris", NOW) == 5
        assert all(vault.holds(f"s{number}") for number in range(1, 6))


def test_what_is_forgotten_is_in_none_of_the_files(sqlite_store: Store) -> None:
    with closing(open_vault(sqlite_store)) as vault:
        vault.put(traits(*(f"s{number}" for number in range(50))), "hris", NOW)
        query = "SELECT sealed FROM protected WHERE audit_key = :key"
        ((sealed,),) = run_raw(sqlite_store, query, key=vault.audit_key("s7"))
        held = [str(sealed)[:60].encode(), vault.audit_key("s7").encode()]
        assert any(part in content for content in contents(sqlite_store) for part in held)
        assert vault.forget("s7")
        vault.purge()
        assert not any(part in content for content in contents(sqlite_store) for part in held)
        assert vault.holds("s8")


def contents(store: Store) -> list[bytes]:
    return [path.read_bytes() for path in store.folder.glob("vault.sqlite*")]


# Opening


@pytest.mark.parametrize("missing", ["vault.key", "auditor.public", "vault.sqlite"])
def test_a_vault_with_something_missing_does_not_open(sqlite_store: Store, missing: str) -> None:
    (sqlite_store.folder / missing).unlink()
    with pytest.raises(InputError):
        open_vault(sqlite_store)
    assert not (sqlite_store.folder / missing).exists()


def test_a_vault_of_another_schema_does_not_open(store: Store) -> None:
    run_raw(store, "UPDATE vault_schema SET version_num = '9999'")
    with pytest.raises(InputError, match="revision 0001"):
        open_vault(store)


def test_the_vault_is_never_the_stores_database(tmp_path: Path) -> None:
    for number, urls in enumerate(
        [
            ("sqlite:///x.sqlite", "sqlite:///./x.sqlite"),
            ("sqlite:///vault.sqlite", None),
            ("postgresql://127.0.0.1/x", "postgresql+psycopg://root@127.0.0.1:5432/x"),
        ]
    ):
        with pytest.raises(InputError, match="another database"):
            create_store(tmp_path / str(number), "Alder", *urls)


def test_a_key_that_is_none_is_refused(store: Store, vault: Vault) -> None:
    vault.put(traits("s1"), "hris", NOW)
    with pytest.raises(InputError, match=re.escape("32 bytes")):
        vault.read(b"")
