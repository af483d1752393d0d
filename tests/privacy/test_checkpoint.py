from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy import checkpoint, signing
from privacy.checkpoint import Checkpoint
from privacy.errors import InputError, KithError, VerificationFailed
from tests.privacy.fixed_signer import FixedSigner

SIGNER, WEST, EAST = FixedSigner(2), FixedSigner(3), FixedSigner(4)
VERIFIER = signing.verifier(SIGNER.public)
HEAD = Checkpoint(checkpoint.origin_of("South & West"), 9, bytes(range(32)))
NOTE = checkpoint.sign(HEAD, SIGNER)
NAMES = {"kith/West": signing.verifier(WEST.public), "kith/East": signing.verifier(EAST.public)}
COSIGNED = checkpoint.cosign(
    checkpoint.cosign(NOTE, "kith/West", WEST, 1_763_000_000), "kith/East", EAST, 1_763_000_060
)


def found(note: str, verifiers: dict[str, signing.Verifier] = NAMES) -> tuple[tuple[str, int], ...]:
    return checkpoint.witnesses(note, HEAD, verifiers)


def lines(note: str) -> list[str]:
    return note.splitlines(keepends=True)


def test_a_checkpoint_is_the_golden_signed_note(golden: Callable[[str, bytes], None]) -> None:
    golden("checkpoint.txt", NOTE.encode())


def test_a_cosigned_checkpoint_is_the_golden_one(golden: Callable[[str, bytes], None]) -> None:
    golden("cosigned.txt", COSIGNED.encode())


def test_a_note_is_laid_out_as_c2sp_says() -> None:
    origin, size, root, blank, signature, end = NOTE.split("\n")
    dash, name, blob = signature.split(" ")
    assert (origin, size, blank, dash, name, end) == ("kith/South%20%26%20West", "9", "", "—", origin, "")
    assert base64.b64decode(root) == HEAD.root
    assert len(base64.b64decode(blob)) == 4 + 64


def test_a_note_of_golang_s_sumdb_has_our_key_id_and_signature() -> None:
    """golang.org/x/mod/sumdb/note, the example of the package's documentation."""
    seed = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
    key = Ed25519PrivateKey.from_private_bytes(seed)
    name, public = "PeterNeumann", key.public_key().public_bytes_raw()
    theirs = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    assert checkpoint.verifier_key(name, public) == theirs
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    blob = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    key_id = bytes.fromhex(theirs.split("+")[1])
    assert base64.b64decode(blob) == key_id + key.sign(text.encode())


def test_the_example_of_tlog_cosignature_has_our_layout() -> None:
    """c2sp.org/tlog-cosignature, the first example; its keys are not published."""
    note = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyW"
        "E+xeMcTOAYQ8=\n"
        "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0x"
        "Ue+mbIUBkBIfZ+qnA==\n"
    )
    head = checkpoint.read_unverified(note)
    assert (head.origin, head.size) == ("example.com/behind-the-sofa", 20852163)
    theirs = base64.b64decode(lines(note)[-1].split(" ")[2])
    ours = base64.b64decode(
        lines(checkpoint.cosign(note, "witness.example.com/w1", WEST, 1679315147))[-1].split(" ")[2]
    )
    assert ours[4:12] == theirs[4:12] == (1679315147).to_bytes(8, "big")
    assert len(ours) == len(theirs) == 4 + 8 + 64


def test_a_cosignature_is_over_the_bytes_that_c2sp_says() -> None:
    blob = base64.b64decode(lines(COSIGNED)[-1].split(" ")[2])
    assert blob[:4] == hashlib.sha256(b"kith/East\n\x04" + EAST.public).digest()[:4]
    body = "".join(lines(NOTE)[:3]).encode()
    signing.verifier(EAST.public).verify(b"cosignature/v1\ntime 1763000060\n" + body, blob[12:])


def test_a_signed_checkpoint_comes_back() -> None:
    assert checkpoint.open_note(NOTE, HEAD.origin, VERIFIER) == checkpoint.read_unverified(NOTE) == HEAD


def test_a_site_comes_back_from_its_log_s_name() -> None:
    for site in ("North", "South & West", "Süd/Ost", "kith", "北"):
        assert checkpoint.site_of(checkpoint.origin_of(site)) == site
    for name in ("kith/", "witness.example/w1", "kith/a b", "kith/%41"):
        with pytest.raises(InputError, match="name of a site"):
            checkpoint.site_of(name)


def test_one_changed_character_anywhere_is_refused() -> None:
    for position in range(len(NOTE)):
        for character in "A\n ":
            changed = NOTE[:position] + character + NOTE[position + 1 :]
            if changed != NOTE:
                with pytest.raises(KithError):
                    checkpoint.open_note(changed, HEAD.origin, VERIFIER)


def test_other_logs_and_other_keys_are_refused() -> None:
    with pytest.raises(VerificationFailed, match="log"):
        checkpoint.open_note(NOTE, checkpoint.origin_of("North"), VERIFIER)
    with pytest.raises(VerificationFailed, match="signature"):
        checkpoint.open_note(NOTE, HEAD.origin, signing.verifier(FixedSigner(5).public))


@pytest.mark.parametrize(
    "note",
    [
        pytest.param("", id="empty"),
        pytest.param("\n", id="blank"),
        pytest.param("a\n1\nAA==\n\n— a AA==\n", id="short root"),
        pytest.param(NOTE[:-1], id="no last newline"),
        pytest.param(NOTE + "\n", id="blank line after"),
        pytest.param(NOTE.replace("\n9\n", "\n09\n"), id="leading zero"),
        pytest.param(NOTE.replace("\n9\n", "\n٩\n"), id="other digits"),
        pytest.param(NOTE.replace("\n9\n", "\n9\nextension\n"), id="extension line"),
        pytest.param(NOTE.replace("\n9\n", "\n9\r\n"), id="carriage return"),
        pytest.param(NOTE + "— x\ty AA==\n", id="tab"),
        pytest.param(NOTE + "— x\x1b[2Jy AA==\n", id="terminal escape in a key name"),
        pytest.param(NOTE.replace("kith/", "kith\x00/"), id="zero byte in the origin"),
        pytest.param(NOTE + "— x+y AA==\n", id="plus in a key name"),
        pytest.param(NOTE + "— x " * 40, id="no base64"),
        pytest.param(NOTE + "— w AA==\n" * 200, id="too many signatures"),
        pytest.param("x" * 70_000, id="too long"),
    ],
)
def test_malformed_notes_are_refused(note: str) -> None:
    with pytest.raises(InputError):
        checkpoint.open_note(note, HEAD.origin, VERIFIER)


def test_cosignatures_leave_the_log_s_own_signature_as_it_was() -> None:
    assert COSIGNED.startswith(NOTE)
    assert checkpoint.open_note(COSIGNED, HEAD.origin, VERIFIER) == HEAD
    assert found(COSIGNED) == (("kith/East", 1_763_000_060), ("kith/West", 1_763_000_000))
    assert found(NOTE) == ()


def test_unknown_witnesses_do_not_count_and_do_no_harm() -> None:
    stranger = base64.b64encode(bytes(76)).decode()
    note = f"{COSIGNED}— witness.example/w1 {stranger}\n— kith/West {stranger}\n"
    assert checkpoint.open_note(note, HEAD.origin, VERIFIER) == HEAD
    assert found(note) == found(COSIGNED)
    assert found(COSIGNED, {"kith/West": NAMES["kith/East"]}) == ()


def test_a_witness_that_cosigned_twice_counts_once_with_its_latest_time() -> None:
    later = checkpoint.cosign(COSIGNED, "kith/West", WEST, 1_763_000_500)
    assert found(later) == (("kith/East", 1_763_000_060), ("kith/West", 1_763_000_500))


def test_the_log_is_no_witness_of_itself() -> None:
    with pytest.raises(InputError, match="another key"):
        checkpoint.cosign(NOTE, HEAD.origin, SIGNER, 1)
    own = NOTE + lines(checkpoint.cosign(checkpoint.sign(HEAD, SIGNER), "kith/x", SIGNER, 1))[-1]
    key_id = hashlib.sha256(HEAD.origin.encode() + b"\n\x04" + SIGNER.public).digest()[:4]
    blob = base64.b64decode(own.rsplit(" ", 1)[1])
    forged = NOTE + f"— {HEAD.origin} {base64.b64encode(key_id + blob[4:]).decode()}\n"
    assert found(forged, {**NAMES, HEAD.origin: VERIFIER}) == ()


def test_one_key_under_two_names_is_not_two_witnesses() -> None:
    verifier = NAMES["kith/West"]
    with pytest.raises(InputError, match="shared"):
        found(COSIGNED, {"kith/West": verifier, "kith/Other": verifier})


def test_a_changed_cosignature_of_a_known_witness_spoils_the_note() -> None:
    *rest, last = lines(COSIGNED)
    blob = base64.b64decode(last.split(" ")[2])
    for changed in (
        blob[:4] + (int.from_bytes(blob[4:12], "big") + 1).to_bytes(8, "big") + blob[12:],  # another time
        blob[:4] + bytes(8) + blob[12:],
        blob[:-1],
        blob[:4],
        blob[:4] + b"\xff" * 8 + blob[12:],
        blob[:-1] + bytes([blob[-1] ^ 1]),
    ):
        with pytest.raises(VerificationFailed, match="cosignature of kith/East"):
            found("".join(rest) + f"— kith/East {base64.b64encode(changed).decode()}\n")


def test_a_cosignature_of_one_head_does_not_serve_another() -> None:
    other = Checkpoint(HEAD.origin, 10, HEAD.root)
    with pytest.raises(VerificationFailed, match="cosignature of kith/East"):
        checkpoint.witnesses(checkpoint.sign(other, SIGNER) + lines(COSIGNED)[-1], other, NAMES)
    for head in (other, Checkpoint(HEAD.origin, 9, bytes(32)), Checkpoint("kith/North", 9, HEAD.root)):
        with pytest.raises(VerificationFailed, match="expected the note of"):
            checkpoint.witnesses(COSIGNED, head, NAMES)


def test_a_log_s_signature_is_no_cosignature_and_a_cosignature_no_log_s() -> None:
    as_log = lines(checkpoint.sign(Checkpoint("kith/West", 1, bytes(32)), WEST))[-1]
    assert found(NOTE + as_log) == ()
    with pytest.raises(VerificationFailed, match="one signature"):
        checkpoint.open_note(COSIGNED.replace(lines(NOTE)[-1], ""), HEAD.origin, VERIFIER)


@pytest.mark.parametrize("time", [-1, 2**53])
def test_times_that_no_reader_could_hold_are_refused(time: int) -> None:
    with pytest.raises(InputError, match="time"):
        checkpoint.cosign(NOTE, "kith/West", WEST, time)


def test_a_time_that_no_reader_could_hold_is_refused_though_a_witness_of_other_make_signed_it() -> None:
    time = 2**53
    signature = WEST.sign(f"cosignature/v1\ntime {time}\n{HEAD.to_text()}".encode())
    key_id = hashlib.sha256(b"kith/West\n\x04" + WEST.public).digest()[:4]
    blob = base64.b64encode(key_id + time.to_bytes(8, "big") + signature).decode()
    with pytest.raises(VerificationFailed, match="time"):
        found(f"{NOTE}— kith/West {blob}\n")


def test_cosignatures_of_different_copies_are_joined_into_one_note() -> None:
    copies = (("kith/West", WEST, 1_763_000_000), ("kith/East", EAST, 1_763_000_060))
    lines = [
        checkpoint.cosignature(checkpoint.cosign(NOTE, *copy), HEAD, copy[0], signing.verifier(copy[1].public))
        for copy in copies
    ]
    assert checkpoint.joined(NOTE, *filter(None, lines)) == COSIGNED
    assert checkpoint.joined(NOTE) == NOTE


def test_of_a_copy_full_of_lines_only_the_witnesss_latest_is_taken() -> None:
    west = signing.verifier(WEST.public)
    first, latest = (checkpoint.cosign(NOTE, "kith/West", WEST, time) for time in (1, 2))
    line = latest.removeprefix(NOTE)
    junk = "".join(f"— kith/{name} AAAA\n" for name in ("East", "junk", "West"))
    copy = f"{latest}{first.removeprefix(NOTE)}{junk}"
    assert checkpoint.cosignature(copy, HEAD, "kith/West", west) == line
    assert checkpoint.cosignature(f"{NOTE}{junk}", HEAD, "kith/West", west) is None
    assert checkpoint.count_signatures(copy) == 6


def test_a_cosignature_of_another_head_is_none_of_this_one() -> None:
    other = checkpoint.sign(Checkpoint(HEAD.origin, 9, bytes(32)), SIGNER)
    with pytest.raises(VerificationFailed, match="got another"):
        checkpoint.cosignature(other, HEAD, "kith/West", signing.verifier(WEST.public))


def test_a_head_is_read_back_as_it_is_written_and_in_no_other_way() -> None:
    text = HEAD.to_text()
    assert Checkpoint.from_text(text) == HEAD
    for other in (text[:-1], f"{text}\n", f"\x07{text}", text.replace("\n", "\n0", 1), NOTE, ""):
        with pytest.raises(InputError, match="checkpoint"):
            Checkpoint.from_text(other)


def test_a_note_has_room_for_128_signatures_and_no_more() -> None:
    note = NOTE + "".join(f"— w{n} AAAA\n" for n in range(127))
    with pytest.raises(InputError, match="fewer than 128"):
        checkpoint.cosign(note, "kith/West", WEST, 1)
    with pytest.raises(InputError, match="at most 128"):
        checkpoint.joined(note, "— w127 AAAA\n", "— w128 AAAA\n")
