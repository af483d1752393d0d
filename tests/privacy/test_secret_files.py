from __future__ import annotations

import os
from pathlib import Path

import pytest

from privacy.errors import InputError
from privacy.secret_files import create_secret, read_public, read_secret, write_new

CANARY = "canary-4711"


def put(path: Path, content: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_secret_reads_back_and_no_two_are_alike(tmp_path: Path) -> None:
    for name in ("a", "b"):
        create_secret(tmp_path / name)
    keys = [read_secret(tmp_path / name) for name in ("a", "a", "b")]
    assert [len(key) for key in keys] == [32, 32, 32]
    assert keys[0] == keys[1] != keys[2]


def test_a_secret_is_its_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        create_secret(tmp_path / "key")
    finally:
        os.umask(before)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    create_secret(tmp_path / "key")
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(InputError, match="new file"):
        create_secret(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == before


def test_a_link_in_the_new_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="new file"):
        create_secret(tmp_path / "key")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610])
def test_a_secret_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    create_secret(tmp_path / "key")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(InputError, match="owner alone"):
        read_secret(tmp_path / "key")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        CANARY.encode(),
        b"\xff" * 44,
        b"A" * 10_000,
        b"AAAA\n",  # 3 bytes
        b"A" * 43 + b"=\n" + b"A" * 43 + b"=\n",
        b"A" * 42 + b"B=\n",  # padding bits that are not zero
        b"QUFB" * 11,  # 33 bytes
    ],
)
def test_a_file_that_holds_no_key_is_refused_without_quoting_it(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError) as refused:
        read_secret(put(tmp_path / "key", content))
    assert CANARY not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("missing", "pipe", "folder", "no\0name", "n" * 300):
        with pytest.raises(InputError):
            read_secret(tmp_path / name)
    for name in ("missing", "pipe", "no\0name", "n" * 300):
        with pytest.raises(InputError):
            create_secret(tmp_path / name / "below")


def test_a_public_key_may_be_read_by_all_and_written_by_its_owner(tmp_path: Path) -> None:
    path = put(tmp_path / "public", b"A" * 43 + b"=\n", 0o644)
    assert read_public(path) == bytes(32)
    for mode in (0o664, 0o646):
        path.chmod(mode)
        with pytest.raises(InputError, match="owner alone"):
            read_public(path)


def test_a_new_file_has_the_mode_that_was_asked_for(tmp_path: Path) -> None:
    write_new(tmp_path / "shown", "text", mode=0o644)
    assert (tmp_path / "shown").read_text() == "text"
    assert (tmp_path / "shown").stat().st_mode & 0o777 == 0o644
