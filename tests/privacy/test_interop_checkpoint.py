"""Checkpoints and cosignatures against published notes, real logs' notes, and golang.org/x/mod where there is Go."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from privacy import checkpoint, merkle, release_files, signing
from privacy.checkpoint import COSIGNATURE_KEY, NOTE_KEY, Checkpoint
from privacy.errors import VerificationFailed
from privacy.ledger_excerpt import LedgerExcerpt
from privacy.signing import Verifier
from tests.privacy.small_release import RUN, SITES, FixedSigner, Group, plan

FOLDER = Path(__file__).parent / "vectors"
VECTORS = json.loads((FOLDER / "notes.json").read_text(encoding="utf-8"))
COSIGNED = VECTORS["cosigned"]["note"]
GO = shutil.which("go")
X_MOD = Path("/usr/share/gocode")
"""Where Debian's golang-golang-x-mod-dev puts golang.org/x/mod; KITH_GOPATH names another place."""


def key_of(vkey: str) -> tuple[str, bytes, Verifier]:
    """(name, kind, verifier) of a published verifier key, checked to be the one that we would write."""
    name, _, encoded = vkey.split("+", 2)
    data = base64.b64decode(encoded)
    assert checkpoint.verifier_key(name, data[1:], data[:1]) == vkey
    return name, data[:1], signing.verifier(data[1:])


def signature_in(note: str, name: str) -> list[bytes]:
    """The decoded signatures of a name, read without the module under test."""
    lines = [line.split(" ") for line in note.partition("\n\n")[2].splitlines()]
    return [base64.b64decode(signature) for dash, signer, signature in lines if (dash, signer) == ("—", name)]


# golang.org/x/mod/sumdb/note's own example


def test_the_example_key_of_x_mod_has_our_key_id_and_signs_as_we_do() -> None:
    example = VECTORS["example"]
    name, kind, verifier = key_of(example["vkey"])
    assert (name, kind) == ("PeterNeumann", NOTE_KEY)
    verifier.verify(example["text"].encode(), base64.b64decode(example["signature"])[4:])
    seed = base64.b64decode(example["skey"].split("+", 4)[4])
    private = Ed25519PrivateKey.from_private_bytes(seed[1:])

    class Neumann:
        keyid, public = verifier.keyid, private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

        def sign(self, data: bytes) -> bytes:
            return private.sign(data)

    note = checkpoint.sign(Checkpoint(name, 1, bytes(32)), Neumann())
    assert checkpoint.open_note(note, name, verifier).size == 1
    (ours,) = signature_in(note, name)
    assert ours[:4] == base64.b64decode(example["signature"])[:4]


# Real logs


@pytest.mark.parametrize("note", VECTORS["sumdb"]["notes"], ids=[n.split("\n")[1] for n in VECTORS["sumdb"]["notes"]])
def test_trees_of_sum_golang_org_are_the_text_that_we_would_sign(note: str) -> None:
    name, _, verifier = key_of(VECTORS["sumdb"]["vkey"])
    head = checkpoint.read_unverified(note)
    (signature,) = signature_in(note, name)
    verifier.verify(head.to_text().encode(), signature[4:])
    with pytest.raises(VerificationFailed):
        verifier.verify(Checkpoint(head.origin, head.size + 1, head.root).to_text().encode(), signature[4:])


def test_a_checkpoint_of_a_certificate_log_opens_among_signatures_of_other_kinds() -> None:
    origin, kind, log = key_of(VECTORS["cosigned"]["log"])
    head = checkpoint.open_note(COSIGNED, origin, log)
    assert (kind, head.size) == (NOTE_KEY, 1432088532)
    with pytest.raises(VerificationFailed):
        checkpoint.open_note(COSIGNED.replace("1432088532", "1432088533"), origin, log)


def test_real_witnesses_are_found_under_it_at_the_time_they_signed() -> None:
    origin, _, log = key_of(VECTORS["cosigned"]["log"])
    keys = [key_of(vkey) for vkey in VECTORS["cosigned"]["witnesses"]]
    assert {kind for _, kind, _ in keys} == {COSIGNATURE_KEY}
    verifiers = {name: key for name, _, key in keys}
    head = checkpoint.open_note(COSIGNED, origin, log)
    found = dict(checkpoint.witnesses(COSIGNED, head, verifiers))
    assert set(found) == set(verifiers)
    assert min(found.values()) == VECTORS["cosigned"]["time"]
    assert max(found.values()) - min(found.values()) <= 1


def test_a_real_cosignature_holds_for_no_other_head_and_no_other_time() -> None:
    origin, _, log = key_of(VECTORS["cosigned"]["log"])
    head = checkpoint.open_note(COSIGNED, origin, log)
    name, _, verifier = key_of(VECTORS["cosigned"]["witnesses"][0])
    (signature,) = signature_in(COSIGNED, name)
    later = signature[:11] + bytes([signature[11] ^ 1]) + signature[12:]
    changed = COSIGNED.replace(base64.b64encode(signature).decode(), base64.b64encode(later).decode())
    with pytest.raises(VerificationFailed):
        checkpoint.witnesses(changed, head, {name: verifier})
    with pytest.raises(VerificationFailed):
        checkpoint.witnesses(COSIGNED, Checkpoint(head.origin, head.size - 1, head.root), {name: verifier})


def test_our_witness_adds_its_line_to_a_real_note() -> None:
    origin, _, log = key_of(VECTORS["cosigned"]["log"])
    head = checkpoint.open_note(COSIGNED, origin, log)
    ours = FixedSigner(9)
    note = checkpoint.cosign(COSIGNED, "kith/North", ours, VECTORS["cosigned"]["time"])
    assert checkpoint.open_note(note, origin, log) == head
    name, _, theirs = key_of(VECTORS["cosigned"]["witnesses"][0])
    found = checkpoint.witnesses(note, head, {"kith/North": signing.verifier(ours.public), name: theirs})
    assert found == (("kith/North", VECTORS["cosigned"]["time"]), (name, VECTORS["cosigned"]["time"]))


# C2SP's example: no key is published for it, so it shows the layout alone


def test_the_example_of_the_specification_is_laid_out_as_our_notes_are() -> None:
    spec = VECTORS["spec"]
    head = checkpoint.read_unverified(spec["note"])
    assert head == Checkpoint(spec["origin"], spec["size"], base64.b64decode(spec["root"]))
    assert spec["note"].startswith(head.to_text() + "\n— ")
    (theirs,) = signature_in(spec["note"], "witness.example.com/w1")
    log = FixedSigner(2)
    note = checkpoint.cosign(checkpoint.sign(head, log), "kith/South", FixedSigner(3), spec["time"])
    (ours,) = signature_in(note, "kith/South")
    assert (ours[4:12], len(ours)) == (theirs[4:12], len(theirs))
    (own,) = signature_in(note, spec["origin"])
    assert len(own) == len(signature_in(spec["note"], spec["origin"])[0])


# golang.org/x/mod opens what we write


@pytest.fixture(scope="module")
def opener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """vectors/open_checkpoint.go, built."""
    sources = Path(os.environ.get("KITH_GOPATH", X_MOD))
    if GO is None or not (sources / "src/golang.org/x/mod/sumdb/note").is_dir():
        pytest.skip("no Go with golang.org/x/mod (Debian: golang-go golang-golang-x-mod-dev)")
    program = tmp_path_factory.mktemp("go") / "open_checkpoint"
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(sources), "GOFLAGS": ""}
    subprocess.run([GO, "build", "-o", program, FOLDER / "open_checkpoint.go"], env=environment, check=True)
    return program


def opened(opener: Path, given: Mapping[str, Any]) -> dict[str, Any] | str:
    """What Go found, or its message if it refused."""
    done = subprocess.run([opener], input=json.dumps(given).encode(), capture_output=True)
    assert done.returncode in (0, 1), done.stderr
    return dict(json.loads(done.stdout)) if done.returncode == 0 else done.stderr.decode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_go_opens_the_real_cosigned_checkpoint_too(opener: Path) -> None:
    keys = [VECTORS["cosigned"]["log"], *VECTORS["cosigned"]["witnesses"]]
    found = opened(opener, {"checkpoint": COSIGNED, "keys": keys})
    assert isinstance(found, dict)
    assert set(found["signed"]) == {vkey.split("+")[0] for vkey in keys}


@pytest.mark.parametrize("size", [1, 2, 7, 64, 65])
def test_go_opens_our_checkpoint_its_cosignatures_and_every_proof_under_it(opener: Path, size: int) -> None:
    log, witness = FixedSigner(2), FixedSigner(3)
    leaves = [b"entry %d" % n for n in range(size)]
    tree = merkle.Tree.of([merkle.leaf_hash(leaf) for leaf in leaves])
    origin, other = checkpoint.origin_of("South & West"), checkpoint.origin_of("Nørd 社")
    note = checkpoint.sign(Checkpoint(origin, size, tree.root()), log)
    note = checkpoint.cosign(note, other, witness, 1_763_000_000)
    given: dict[str, Any] = {
        "checkpoint": note,
        "keys": [
            checkpoint.verifier_key(origin, log.public),
            checkpoint.verifier_key(other, witness.public, COSIGNATURE_KEY),
        ],
        "records": [
            {"leaf": b64(leaf), "index": n, "proof": [b64(one) for one in tree.inclusion(n)]}
            for n, leaf in enumerate(leaves)
        ],
        "earlier": [
            {
                "size": earlier,
                "root": b64(merkle.Tree(earlier, tree.node).root()),
                "proof": [b64(one) for one in tree.consistency(earlier)],
            }
            for earlier in range(1, size + 1)
        ],
    }
    assert opened(opener, given) == {"origin": origin, "size": size, "signed": [origin, other]}
    wrong = [
        {**given, "checkpoint": note.replace(f"\n{size}\n", f"\n{size + 1}\n")},
        {**given, "keys": [*given["keys"], checkpoint.verifier_key("kith/x", witness.public)]},
        {**given, "records": [{**given["records"][0], "leaf": b64(b"another")}]},
        {**given, "earlier": [{**given["earlier"][0], "root": b64(bytes(32))}]},
    ]
    for one in wrong:
        assert isinstance(opened(opener, one), str)


def test_go_checks_a_releases_excerpt_down_to_every_charge(opener: Path, tmp_path: Path) -> None:
    group = Group(tmp_path)
    files = group.train(RUN, plan())
    for n, (name, site) in enumerate(zip(SITES, group.sites, strict=True)):
        document = json.loads(files[release_files.ledger(n)])
        shown = LedgerExcerpt.from_bytes(files[release_files.ledger(n)], name)
        shown.verified(name, signing.verifier(site.signer.public))
        records = [document["open"], document["reserve"], *document["charges"]]
        origin = checkpoint.origin_of(name)
        given = {
            "checkpoint": document["checkpoint"],
            "keys": [checkpoint.verifier_key(origin, site.signer.public)],
            "records": records,
        }
        found = opened(opener, given)
        assert isinstance(found, dict), found
        assert found["size"] == document["size"]
        records[-1]["index"] -= 1
        assert isinstance(opened(opener, given), str)
