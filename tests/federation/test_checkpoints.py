"""What a run has by now is on disk whole, or not there: whatever happens while it is written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.checkpoints import Checkpoints
from privacy.errors import InputError
from tests.privacy.full_disk import full_disk

TEXTS = st.text(st.characters(codec="utf-8"), max_size=10)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
PLAIN = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)


@settings(deadline=None, max_examples=20)  # each waits for the disk
@given(st.dictionaries(PLAIN, DOCUMENTS, max_size=4))
def test_documents_come_back_by_their_names(documents: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        checkpoints = Checkpoints(Path(name) / "checkpoints")
        for key, document in documents.items():
            checkpoints.save(key, "one before it")
            checkpoints.save(key, document)
        assert names(Path(name) / "checkpoints") == sorted(documents)
        for key, document in documents.items():
            assert checkpoints.load(key) == document


def names(folder: Path) -> list[str]:
    """Of the documents that lie in a folder."""
    return sorted(path.stem for path in folder.glob("[!.]*.json"))


def test_what_was_never_saved_is_none_and_nothing_is_made_by_looking(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.load("release-0000") is None
    assert not (tmp_path / "checkpoints").exists()
    assert list(tmp_path.iterdir()) == []


def test_they_are_for_the_owner_alone(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "checkpoints").save("a", 1)
    assert (tmp_path / "checkpoints").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "checkpoints" / "a.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/etc/passwd", ".hidden", "a\0", "a\n", "ä", "a" * 101, "a b", None, 1]
)
def test_a_name_that_is_not_plain_is_refused(tmp_path: Path, name: Any) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(InputError, match="expected a name"):
        checkpoints.save(name, 1)
    with pytest.raises(InputError, match="expected a name"):
        checkpoints.load(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("document", [1.5, {"a": b"bytes"}, {1: 2}, "\ud800", 2**53])
def test_what_is_no_canonical_json_is_refused_and_the_old_one_stays(tmp_path: Path, document: Any) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("a", "old")
    with pytest.raises(InputError, match="canonical JSON"):
        checkpoints.save("a", document)
    assert checkpoints.load("a") == "old"


@settings(deadline=None, max_examples=20)  # each waits for the disk
@given(st.data())
def test_any_damage_is_refused(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        checkpoints = Checkpoints(Path(name))
        checkpoints.save("a", {"sum": "AAECAwQ=", "index": 3})
        path = Path(name) / "a.json"
        content = bytearray(path.read_bytes())
        where = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[where] ^= data.draw(st.integers(1, 255))
        else:
            del content[where:]
        path.write_bytes(content)
        with pytest.raises(InputError):
            checkpoints.load("a")


def test_a_document_under_another_ones_name_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("release-0001", "sum")
    (tmp_path / "release-0001.json").rename(tmp_path / "release-0002.json")
    with pytest.raises(InputError, match="saved under this name"):
        checkpoints.load("release-0002")
    content = json.loads((tmp_path / "release-0002.json").read_text())
    (tmp_path / "release-0001.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="saved under this name"):  # the same in another writing
        checkpoints.load("release-0001")


@pytest.mark.parametrize("kind", ["folder", "pipe", "link"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/etc/passwd")
    with pytest.raises(InputError, match="expected a"):
        Checkpoints(tmp_path).load("a")


def test_on_a_full_disk_the_old_one_stays(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("a", "old")
    with full_disk(), pytest.raises(InputError, match="can be written"):
        checkpoints.save("a", "new" * 1_000)
    assert checkpoints.load("a") == "old"
    assert names(tmp_path) == ["a"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


KILLED = """
import os, signal, sys
from pathlib import Path
from federation.checkpoints import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.save("a", "old")
step = sys.argv[2]
real = getattr(os if step == "fsync" else Path, step)
def killed(*arguments):
    if sys.argv[3] == "after":
        real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(os if step == "fsync" else Path, step, killed)
checkpoints.save("a", "new")
"""


@pytest.mark.parametrize(
    ("step", "when", "left"),
    [("fsync", "before", "old"), ("replace", "before", "old"), ("replace", "after", "new")],
)
def test_a_kill_between_write_and_rename_leaves_the_old_one_whole(
    tmp_path: Path, step: str, when: str, left: str
) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), step, when], check=False)
    assert done.returncode == -9
    checkpoints = Checkpoints(tmp_path)
    assert names(tmp_path) == ["a"]
    assert checkpoints.load("a") == left
    assert len(list(tmp_path.iterdir())) == (2 if left == "old" else 1)
    checkpoints.save("b", 1)  # the next writer clears away what was left half written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_a_folder_that_can_not_be_made_or_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder"):
        Checkpoints(tmp_path / "file" / "x").save("a", 1)
    with pytest.raises(InputError, match="expected a folder"):
        Checkpoints(tmp_path / "file").save("a", 1)
