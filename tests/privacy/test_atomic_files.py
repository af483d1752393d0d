"""A file is replaced, or is new, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from privacy.atomic_files import new_file, replace_file
from privacy.errors import InputError
from tests.privacy.full_disk import full_disk


def test_the_new_content_is_there_for_the_owner_alone_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"old", b"new"):
        replace_file(path, content)
        assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_on_a_full_disk_the_old_content_stays(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")
    with full_disk(), pytest.raises(InputError, match="can be written"):
        replace_file(path, b"new" * 1_000)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_at_any_step_leaves_the_old_content_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old")

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os if step == "fsync" else Path, step, crash)
    with pytest.raises(KeyboardInterrupt):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_a_new_file_has_its_content_and_mode_and_nothing_else_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    new_file(path, b"new", 0o644)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_a_new_file_takes_nobodys_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "link"):
        with pytest.raises(InputError, match="expected a new file"):
            new_file(tmp_path / name, b"new", 0o600)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link"}


def test_on_a_full_disk_there_is_no_new_file(tmp_path: Path) -> None:
    with full_disk(), pytest.raises(InputError, match="can be written"):
        new_file(tmp_path / "file", b"new" * 1_000, 0o600)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_crash_at_any_step_leaves_no_half_of_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, crash)
    with pytest.raises(KeyboardInterrupt):
        new_file(tmp_path / "file", b"new", 0o600)
    assert not (tmp_path / "file").exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can be written"):
        replace_file(tmp_path / "absent" / "file", b"")
    with pytest.raises(InputError, match="can be written"):
        new_file(tmp_path / "absent" / "file", b"", 0o600)
