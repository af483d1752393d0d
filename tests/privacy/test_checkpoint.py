from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from privacy import checkpoint, signing
from privacy.checkpoint import Checkpoint
from privacy.errors import InputError, KithError, VerificationFailed
from tests.privacy.small_release import FixedSigner

SIGNER = FixedSigner(2)
VERIFIER = signing.verifier(SIGNER.public)
HEAD = Checkpoint(checkpoint.origin_of("South & West"), 9, bytes(range(32)))
NOTE = checkpoint.sign(HEAD, SIGNER)


def test_a_checkpoint_is_the_golden_signed_note(golden: Callable[[str, bytes], None]) -> None:
    golden("checkpoint.txt", NOTE.encode())


def test_a_note_is_laid_out_as_c2sp_says() -> None:
    origin, size, root, blank, signature, end = NOTE.split("\n")
    dash, name, blob = signature.split(" ")
    assert (origin, size, blank, dash, name, end) == ("kith/South%20%26%20West", "9", "", "—", origin, "")
    assert base64.b64decode(root) == HEAD.root
    assert len(base64.b64decode(blob)) == 4 + 64


def test_a_signed_checkpoint_comes_back() -> None:
    assert checkpoint.open_note(NOTE, HEAD.origin, VERIFIER) == HEAD


def test_one_changed_character_anywhere_is_refused() -> None:
    for position in range(len(NOTE)):
        for character in "A\n ":
            changed = NOTE[:position] + character + NOTE[position + 1 :]
            if changed != NOTE:
                with pytest.raises(KithError):
                    checkpoint.open_note(changed, HEAD.origin, VERIFIER)


def test_witnesses_may_cosign() -> None:
    witness = base64.b64encode(bytes(76)).decode()
    assert checkpoint.open_note(f"{NOTE}— witness.example/w1 {witness}\n", HEAD.origin, VERIFIER) == HEAD


def test_other_logs_and_other_keys_are_refused() -> None:
    with pytest.raises(VerificationFailed, match="log"):
        checkpoint.open_note(NOTE, checkpoint.origin_of("North"), VERIFIER)
    with pytest.raises(VerificationFailed, match="signature"):
        checkpoint.open_note(NOTE, HEAD.origin, signing.verifier(FixedSigner(3).public))


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "a\n1\nAA==\n\n— a AA==\n",
        NOTE[:-1],
        NOTE + "\n",
        NOTE.replace("\n9\n", "\n09\n"),
        NOTE.replace("\n9\n", "\n٩\n"),
        NOTE.replace("\n9\n", "\n9\nextension\n"),
        NOTE + "— x " * 40,
        NOTE + "— w AA==\n" * 40,
        "x" * 20_000,
    ],
)
def test_malformed_notes_are_refused(note: str) -> None:
    with pytest.raises(InputError):
        checkpoint.open_note(note, HEAD.origin, VERIFIER)
