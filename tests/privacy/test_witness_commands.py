"""`kith witness` as a site's officer meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from privacy import checkpoint, signing
from privacy.checkpoint import Checkpoint
from privacy.errors import InputError, VerificationFailed
from privacy.witness import WitnessBook
from privacy.witness_commands import app
from tests.privacy.fixed_signer import FixedSigner

SIGNER = FixedSigner(2)
SITE = "South & West"
LOG = checkpoint.origin_of(SITE)
HELD, SHOWN = (checkpoint.sign(Checkpoint(LOG, 9, bytes([n]) * 32), SIGNER) for n in (1, 2))


def kith(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["witness", *map(str, arguments)])


def accept(folder: Path, note: str) -> None:
    WitnessBook(folder).accept(note, LOG, signing.verifier(SIGNER.public))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A book with one log, in conflict."""
    accept(tmp_path / "witnessed", HELD)
    with pytest.raises(VerificationFailed):
        accept(tmp_path / "witnessed", SHOWN)
    return tmp_path / "witnessed"


def test_a_conflict_is_shown_with_both_notes(folder: Path) -> None:
    words = kith("show", folder).stdout
    for word in (f"{LOG} forked. Held:", HELD, SHOWN):
        assert word in words
    document = json.loads(kith("show", folder, "--json").stdout)
    assert document["held"] == [{"log": LOG, "size": 9, "root": "01" * 32}]
    (conflict,) = document["conflicts"]
    assert conflict == {"log": LOG, "kind": "forked", "held_size": 9, "shown_size": 9, "held": HELD, "shown": SHOWN}


def test_after_it_is_resolved_the_log_goes_on_from_what_is_held(folder: Path) -> None:
    assert kith("resolve", folder, SITE).stdout == f"{LOG}: it must extend what is held\n"
    accept(folder, HELD)
    with pytest.raises(VerificationFailed, match="forked"):
        accept(folder, SHOWN)


def test_a_log_made_anew_is_forgotten_by_an_explicit_word(folder: Path) -> None:
    done = json.loads(kith("resolve", folder, SITE, "--forget", "--json").stdout)
    assert done == {"log": LOG, "forgotten": True, "conflicts": []}
    accept(folder, SHOWN)


def test_there_is_nothing_to_resolve_about_other_ledgers(folder: Path) -> None:
    for site in ("North", LOG, ""):
        error = kith("resolve", folder, site, "--forget").exception
        assert isinstance(error, InputError)
    assert WitnessBook(folder).conflicts() == (LOG,)


def test_an_empty_book_is_shown_and_not_made(tmp_path: Path) -> None:
    document = json.loads(kith("show", tmp_path / "none", "--json").stdout)
    assert document == {"held": [], "conflicts": []}
    assert not (tmp_path / "none").exists()
