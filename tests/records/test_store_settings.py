from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import InputError, KithError
from records.store import Store, create_store, open_store
from records.store_settings import read_settings
from tests.postgresql import own_database_or_skip
from tests.records.store_folder import (
    KINDS,
    NOW,
    add_log,
    add_person,
    log_length,
    people,
    run_raw,
    store_of_kind,
)

CANARY = "canary-4711"


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with store_of_kind(request.param, tmp_path / "alder") as store:
        yield store


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    with store_of_kind("sqlite", tmp_path / "alder") as store:
        yield store


def test_a_created_store_opens_again(store: Store) -> None:
    with store.writing() as connection:
        add_person(connection, store.pseudonyms.person("17"))
    again = open_store(store.folder)
    assert again.site == "Alder"
    assert people(again) == [again.pseudonyms.person("17")]
    assert again.sealer.open(store.sealer.seal(b"x", "about"), "about") == b"x"
    again.close()


def test_the_folder_and_its_secrets_are_their_owners_alone(sqlite_store: Store) -> None:
    before = os.umask(0)
    try:
        with sqlite_store.writing() as connection:
            sqlite_store.log(connection, {"event": "x"}, NOW)
    finally:
        os.umask(before)
    assert stat.S_IMODE(sqlite_store.folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in sqlite_store.folder.iterdir()}
    assert {name for name, mode in modes.items() if mode != 0o600} == {"auditor.public"}
    assert {"records.sqlite", "records.sqlite-wal", "vault.sqlite", "pseudonym.key"} <= set(modes)


def test_a_database_file_that_others_may_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "records.sqlite").touch(mode=0o666)
    (tmp_path / "records.sqlite").chmod(0o666)
    create_store(tmp_path, "Alder").close()
    assert stat.S_IMODE((tmp_path / "records.sqlite").stat().st_mode) == 0o600


def test_a_store_is_not_created_over_another(sqlite_store: Store) -> None:
    before = {path.name: path.read_bytes() for path in sqlite_store.folder.glob("*.key")}
    with pytest.raises(InputError, match="without records"):
        create_store(sqlite_store.folder, "Birch")
    assert {path.name: path.read_bytes() for path in sqlite_store.folder.glob("*.key")} == before


def test_a_database_that_holds_a_store_is_not_taken_over(store: Store, tmp_path: Path) -> None:
    url = str(store.settings.database_url(store.folder))
    with pytest.raises(InputError, match="expected an empty one"):
        create_store(tmp_path / "other", "Alder", url)
    assert list((tmp_path / "other").glob("*.key")) == []
    assert log_length(store) == 1


@pytest.mark.parametrize("missing", ["records.toml", "pseudonym.key", "sealing.key", "log.anchor", "records.sqlite"])
def test_a_folder_with_something_missing_is_told_in_one_line(sqlite_store: Store, missing: str) -> None:
    sqlite_store.close()
    (sqlite_store.folder / missing).unlink()
    with pytest.raises(InputError) as refused:
        add_log(open_store(sqlite_store.folder), "x")
    assert "\n" not in str(refused.value)
    assert not (sqlite_store.folder / missing).exists()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="settings of a store"):
        open_store(tmp_path / "nowhere")


def test_another_pseudonym_key_or_site_does_not_open_the_database(sqlite_store: Store, tmp_path: Path) -> None:
    """Every subject would change, and the tombstones would no longer hold."""
    store = sqlite_store
    settings = store.folder / "records.toml"
    settings.write_text(settings.read_text().replace("Alder", "Birch"))
    with pytest.raises(InputError, match="site"):
        open_store(store.folder)
    settings.write_text(settings.read_text().replace("Birch", "Alder"))
    create_store(tmp_path / "other", "Alder").close()
    (tmp_path / "other" / "pseudonym.key").replace(store.folder / "pseudonym.key")
    with pytest.raises(InputError, match=r"pseudonym\.key"):
        open_store(store.folder)


@pytest.mark.parametrize("revision", ["'0000'", "'9999'", "NULL"])
def test_another_schema_revision_does_not_open(sqlite_store: Store, revision: str) -> None:
    store = sqlite_store
    if revision == "NULL":
        run_raw(store, "DELETE FROM store_schema")
    else:
        run_raw(store, f"UPDATE store_schema SET version_num = {revision}")
    with pytest.raises(InputError, match="revision 0001"):
        open_store(store.folder)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\0" + b"\xff" * 4096, b"no database" * 1000])
def test_a_broken_database_file_is_refused(sqlite_store: Store, content: bytes) -> None:
    sqlite_store.close()
    (sqlite_store.folder / "records.sqlite").write_bytes(content)
    with pytest.raises(InputError, match="database"):
        open_store(sqlite_store.folder)


@pytest.mark.parametrize(
    "text",
    [
        "", "site = 7", "site = ''", "site = ' Alder'", 'site = "Al\\nder"', "site = ", "\x00", "site = 'Alder'\nx = 1",
        "site = 'Alder'\ndatabase = 7", "site = 'Alder'\ndatabase = ''",
        "site = 'Alder'\ndatabase = 'a'\ndatabase_from = 'A'", "site = 'Alder'\ndatabase_from = 'A B'",
        "site = 'Alder'\nscim = 'x'", "site = 'Alder'\n[scim]", "site = 'Alder'\n[scim]\nmapping = 7",
        "site = 'Alder'\n[scim]\nmapping = 'x'\nmore = 1", "site = 'Alder'\nx = " + "[" * 5_000 + "]" * 5_000,
        "#" * 100_000, "site = 'Alder'\nvault = 'sqlite:///records.sqlite'",
        "site = 'Alder'\nvault = 'sqlite:///../alder/records.sqlite'",
    ],
)  # fmt: skip
def test_unusable_settings_are_told_in_one_line(tmp_path: Path, text: str) -> None:
    (folder := tmp_path / "alder").mkdir()
    (folder / "records.toml").write_text(text)
    with pytest.raises(InputError) as refused:
        read_settings(folder).vault_url(folder)
    assert "\n" not in str(refused.value)


def test_a_key_of_thousands_of_dots_costs_no_time(tmp_path: Path) -> None:
    (tmp_path / "records.toml").write_text("a." * 30_000 + "b = 1\n")
    with pytest.raises(InputError, match="dots"):
        read_settings(tmp_path)


@given(st.binary(max_size=300))
def test_any_bytes_as_settings_are_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "records.toml").write_bytes(data)
    with pytest.raises(InputError):
        open_store(folder)


def test_settings_name_mappings(sqlite_store: Store) -> None:
    settings = sqlite_store.folder / "records.toml"
    said = '[scim]\nmapping = "mine.toml"\n[xapi]\nmapping = "xapi"\n'
    settings.write_text(settings.read_text() + said)
    read = open_store(sqlite_store.folder).settings
    assert read.scim_mapping == sqlite_store.folder / "mine.toml"
    assert read.xapi_mapping == "xapi"


@pytest.mark.parametrize("site", ["", " ", "Alder ", "Al\nder", "Al\u200bder", "A" * 201, "\ud800", None, 7])
def test_a_site_without_a_proper_name_is_refused(tmp_path: Path, site: str) -> None:
    with pytest.raises(InputError, match="site"):
        create_store(tmp_path / "alder", site)
    assert not (tmp_path / "alder").exists()


@pytest.mark.parametrize(
    "url",
    [
        "nonsense", "mysql://x/y", "sqlite://", "sqlite:///:memory:", "sqlite:///x?mode=memory", "sqlite://host/x",
        "sqlite:////proc/nowhere/x", "sqlite:////proc", "sqlite:///a\0b", "postgresql+nosuch://x", "env:KITH_NO_SUCH",
        "postgresql://127.0.0.1:1/x?connect_timeout=1", "postgresql://127.0.0.1:5432/kith_no_such_database",
    ],
)  # fmt: skip
def test_an_unusable_database_is_told_in_one_line_and_leaves_no_keys(tmp_path: Path, url: str) -> None:
    with pytest.raises(KithError) as refused:
        create_store(tmp_path / "alder", "Alder", url)
    assert "\n" not in str(refused.value)
    assert list((tmp_path / "alder").glob("*.key")) == []


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{CANARY}@127.0.0.1:1/x",
        f"postgresql://u@127.0.0.1:1/x?password={CANARY}",
        f"postgresql://u@127.0.0.1:1/x?sslpassword={CANARY}",
    ],
)
def test_a_password_is_never_shown_or_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(InputError, match="env:NAME") as refused:
        create_store(tmp_path / "alder", "Alder", url)
    assert CANARY not in str(refused.value)
    monkeypatch.setenv("RECORDS_URL", url)
    with pytest.raises(KithError) as unreachable:
        create_store(tmp_path / "birch", "Birch", "env:RECORDS_URL")
    assert CANARY not in f"{unreachable.value} {unreachable.value.__cause__}"
    assert not any(CANARY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_url_in_the_environment_stays_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with own_database_or_skip() as url:
        secret = url.replace("root@", f"root:{CANARY}@")  # the server trusts, whatever the password
        monkeypatch.setenv("RECORDS_URL", secret)
        store = create_store(tmp_path / "alder", "Alder", "env:RECORDS_URL")
        assert 'database_from = "RECORDS_URL"' in (store.folder / "records.toml").read_text()
        assert CANARY not in f"{store.settings} {store.vault_url} {store.settings.database_url(store.folder)}"
        assert log_length(open_store(store.folder)) == 1
        monkeypatch.delenv("RECORDS_URL")
        with pytest.raises(InputError, match="RECORDS_URL"):
            open_store(store.folder)
        store.close()
