"""DSSE against the published vectors, against securesystemslib (TUF's and in-toto's own) and against openssl."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib import dsse as theirs
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from privacy import canonical, dsse, release_files, signing
from privacy.errors import InputError, VerificationFailed
from privacy.signing import Signer, Verifier
from tests.privacy.small_release import RUN, FixedSigner, Group, plan

VECTORS = json.loads((Path(__file__).parent / "vectors" / "dsse.json").read_text(encoding="utf-8"))
PUBLIC = {name: bytes.fromhex(public) for name, public in VECTORS["keys"].items()}
STRICTER = {"url-safe-base64", "threshold-two-without-keyids"}
"""Accepted by the protocol, refused here: one writing only (rule 2), and every signature names its key (rule 3)."""
OPENSSL = shutil.which("openssl")
Vector = dict[str, Any]
each_vector = pytest.mark.parametrize("vector", [pytest.param(one, id=one["id"]) for one in VECTORS["vectors"]])


def from_any_base64(text: str) -> bytes:
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")))


def envelope_of(vector: Vector) -> bytes:
    """The vector's envelope, its key names replaced by our key ids."""
    signatures = [
        {"sig": signature, **({"keyid": signing.keyid(PUBLIC[name])} if name else {})}
        for name, signature in vector["signatures"]
    ]
    document = {"payload": vector["payload"], "payloadType": vector["payloadType"], "signatures": signatures}
    return canonical.to_bytes(document)


# The published vectors


@each_vector
def test_the_encoding_is_the_published_one(vector: Vector) -> None:
    kind = vector["payloadType"]
    if vector["id"] == "payload-type-swapped":
        kind = "application/vnd.in-toto+json"  # what was signed
    assert dsse.pae(kind, from_any_base64(vector["payload"])).hex() == vector["pae"]


@each_vector
def test_published_envelopes_are_accepted_and_rejected_as_published_or_more_strictly(vector: Vector) -> None:
    verifiers = [signing.verifier(PUBLIC[name]) for name in vector["trusted"]]

    def accepted() -> bool:
        try:
            envelope = dsse.Envelope.from_bytes(envelope_of(vector))
            dsse.verify(envelope, *verifiers, payload_type=vector["supported"][-1])
        except (InputError, VerificationFailed):
            return False
        return True

    assert accepted() == (vector["expect"] == "accept" and vector["id"] not in STRICTER)


@pytest.mark.parametrize("name", sorted(STRICTER))
def test_what_is_refused_for_its_writing_alone_holds_once_written_our_way(name: str) -> None:
    vector = next(one for one in VECTORS["vectors"] if one["id"] == name)
    keys = [signing.verifier(PUBLIC[key]) for key in vector["trusted"]]
    signatures = [from_any_base64(signature) for _, signature in vector["signatures"]]
    envelope = dsse.Envelope(
        vector["payloadType"],
        from_any_base64(vector["payload"]),
        tuple(dsse.Signature(key.keyid, signature) for key, signature in zip(keys, signatures, strict=True)),
    )
    assert dsse.verify(dsse.Envelope.from_bytes(envelope.to_bytes()), *keys) == envelope.payload


def test_the_example_signature_of_protocol_md_is_over_our_encoding() -> None:
    example = VECTORS["example"]
    encoded = dsse.pae(example["payloadType"], base64.b64decode(example["payload"]))
    assert encoded.hex() == example["pae"]
    key = ec.EllipticCurvePublicNumbers(int(example["x"]), int(example["y"]), ec.SECP256R1()).public_key()
    raw = base64.b64decode(example["signature"])
    signature = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key.verify(signature, encoded, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(InvalidSignature):
        key.verify(signature, encoded + b" ", ec.ECDSA(hashes.SHA256()))


# securesystemslib


def their_key(key: Signer | Verifier) -> SSlibKey:
    return SSlibKey(key.keyid, "ed25519", "ed25519", {"public": key.public.hex()})


def their_signer(seed: int) -> CryptoSigner:
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32), their_key(FixedSigner(seed)))


def their_verdict(data: bytes, *keys: Signer | Verifier) -> set[str]:
    """Ids of the keys that securesystemslib finds under an envelope, all of them asked for."""
    envelope = theirs.Envelope.from_dict(json.loads(data))
    return set(envelope.verify([their_key(key) for key in keys], threshold=len(keys)))


def test_securesystemslib_verifies_our_envelope_and_refuses_a_changed_one() -> None:
    one, other = FixedSigner(7), FixedSigner(8)
    envelope = dsse.sign(b'{"a":"\xc3\xbc"}', one, other)
    assert their_verdict(envelope.to_bytes(), one, other) == {one.keyid, other.keyid}
    changed = dsse.Envelope(envelope.payload_type, envelope.payload + b" ", envelope.signatures)
    with pytest.raises(VerificationError):
        their_verdict(changed.to_bytes(), one, other)
    with pytest.raises(VerificationError):
        their_verdict(envelope.to_bytes(), one, FixedSigner(9))


def test_we_verify_the_envelope_of_securesystemslib_and_refuse_a_changed_one() -> None:
    payload = "in-toto \N{EM DASH} ü".encode()
    made = theirs.Envelope(payload, dsse.PAYLOAD_TYPE, {})
    made.sign(their_signer(7))
    made.sign(their_signer(8))
    verifiers = [signing.verifier(FixedSigner(seed).public) for seed in (7, 8)]
    document = made.to_dict()
    assert dsse.verify(dsse.Envelope.from_bytes(canonical.to_bytes(document)), *verifiers) == payload
    document["payload"] = base64.b64encode(payload + b" ").decode()
    with pytest.raises(VerificationFailed):
        dsse.verify(dsse.Envelope.from_bytes(canonical.to_bytes(document)), *verifiers)


def test_ed25519_makes_the_same_signature_on_both_sides() -> None:
    made = theirs.Envelope(b"payload", dsse.PAYLOAD_TYPE, {})
    made.sign(their_signer(7))
    assert canonical.to_bytes(made.to_dict()) == dsse.sign(b"payload", FixedSigner(7)).to_bytes()


# A whole release, by other people's tools


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Group:
    return Group(tmp_path_factory.mktemp("group"))


@pytest.fixture(scope="module")
def files(group: Group) -> dict[str, bytes]:
    return group.train(RUN, plan())


def test_securesystemslib_verifies_certificate_and_receipts_of_a_release(group: Group, files: dict[str, bytes]) -> None:
    coordinator = group.coordinator
    assert their_verdict(files[release_files.CERTIFICATE], coordinator) == {coordinator.keyid}
    for n, site in enumerate(group.sites):
        lines = files[release_files.receipts(n)].splitlines()
        assert lines
        for line in lines:
            assert their_verdict(line, site.signer) == {site.signer.keyid}
            with pytest.raises(VerificationError):
                their_verdict(line, coordinator)


def test_securesystemslib_finds_the_root_keys_under_the_key_list(files: dict[str, bytes]) -> None:
    envelope = json.loads(files[release_files.KEYS])
    predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
    roots = [signing.verifier(base64.b64decode(root)) for root in predicate["roots"]]
    signed = {one["keyid"] for one in envelope["signatures"]}
    signers = [root for root in roots if root.keyid in signed]
    assert len(signers) >= predicate["threshold"]
    assert their_verdict(files[release_files.KEYS], *signers) == signed


@pytest.mark.skipif(OPENSSL is None, reason="no openssl on this machine")
@pytest.mark.parametrize(
    "change", [pytest.param(lambda data: data, id="as signed"), pytest.param(lambda data: data + b" ", id="changed")]
)
def test_openssl_verifies_the_signature_under_a_certificate(
    group: Group, files: dict[str, bytes], tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    envelope = json.loads(files[release_files.CERTIFICATE])
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    key = Ed25519PublicKey.from_public_bytes(group.coordinator.public)
    (tmp_path / "key.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "signed").write_bytes(change(encoded))
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    asked = [str(OPENSSL), "pkeyutl", "-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "signed"]
    done = subprocess.run([*asked, "-sigfile", "signature"], cwd=tmp_path, capture_output=True)
    assert (done.returncode == 0) == (change(encoded) == encoded), done.stderr
