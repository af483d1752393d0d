"""The bytes of docs/secure-sum.md, computed here a second time from sites' roots alone."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from privacy.dsse import Envelope
from privacy.fields import from_base64
from tests.federation.secure_sum.scene import RUN, Scene, made, values_of

PRIME = 65537


def expand(key: bytes, info: bytes) -> bytes:
    return hmac.digest(key, info + b"\1", "sha256")


def agree(private: bytes, public: bytes, info: bytes) -> bytes:
    shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    return expand(hmac.digest(bytes(32), shared, "sha256"), info)


def public_of(private: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def stream(key: bytes, size: int) -> bytes:
    return Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(size))


def digest(**facts: object) -> bytes:
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).digest()


def sha(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def root_of(scene: Scene, name: str) -> bytes:
    return scene.sums[name]._of(RUN)._secrets.root


def test_adverts_sealed_bags_and_masked_values_are_as_written_down(tmp_path: Path) -> None:
    scene = made(tmp_path, 3)
    keys = {name: stream(expand(root_of(scene, name), b"kith.secure-sum.keys.v1\0"), 32 * 7) for name in scene.names}
    seeds = {name: [one[32 + 64 * r :][:32] for r in range(3)] for name, one in keys.items()}
    masks = {name: [one[64 + 64 * r :][:32] for r in range(3)] for name, one in keys.items()}

    adverts = {name: Envelope.from_bytes(scene.sums[name].advert(RUN, scene.plan)) for name in scene.names}
    for name, envelope in adverts.items():
        said = json.loads(envelope.payload)
        assert (said["run"], said["plan"], said["site"]) == (RUN, scene.plan.digest, name)
        assert from_base64(said["sealing"], "") == public_of(keys[name][:32])
        assert from_base64(said["masks"], "") == b"".join(map(public_of, masks[name]))
        commitments = [expand(seed, b"kith.secure-sum.commitment.v1\0") for seed in seeds[name]]
        assert from_base64(said["commitments"], "") == b"".join(commitments)

    payloads = [hashlib.sha256(adverts[name].payload).hexdigest() for name in scene.names]
    participants = digest(adverts=payloads, what="participants")
    bags: dict[str, bytes] = {}
    recipient = scene.names[0]
    for sender, sealed in scene.coordinator.inboxes[recipient].items():
        about = b"kith.secure-sum.bag.v1\0" + participants + sha(sender) + sha(recipient)
        assert sealed[:32] == participants
        key = agree(keys[recipient][:32], public_of(keys[sender][:32]), about)
        bags[sender] = ChaCha20Poly1305(key).decrypt(bytes(12), sealed[32:], about)

    release, (event, index) = 2, ("gradient", 1)
    values = values_of(scene.plan, event)
    scope = digest(event=event, index=index, plan=scene.plan.digest, run=RUN, sites=list(scene.names), what="release")
    for name, masked in scene.masked(event, index, values, scene.names).items():
        expected = [int(one) for one in values[name]]
        own = expand(seeds[name][release], b"kith.secure-sum.own-mask.v1\0" + scope + sha(name))
        added = [(1, own)]
        for other in set(scene.names) - {name}:
            first, second = sorted((name, other))
            info = b"kith.secure-sum.pair-mask.v1\0" + scope + sha(first) + sha(second)
            key = agree(masks[name][release], public_of(masks[other][release]), info)
            added.append((1 if name == first else -1, key))
        for sign, key in added:
            words = np.frombuffer(stream(key, 8 * 3), dtype="<u8")
            expected = [one + sign * int(word) for one, word in zip(expected, words, strict=True)]
        assert masked.tolist() == [one % 2**64 for one in expected]

    replies = scene.replies(event, index, scene.names)
    for sender, bag in bags.items():
        assert replies[recipient].seeds[sender] == bag[68 * release :][:34]
    limbs = [_values(replies[name].seeds[recipient]) for name in scene.names]
    restored = [(3 * a - 3 * b + c) % PRIME for a, b, c in zip(*limbs, strict=True)]  # at 0, of values at 1, 2 and 3
    assert b"".join(one.to_bytes(2, "little") for one in restored) == seeds[recipient][release]


def _values(share: bytes) -> list[int]:
    bits = f"{int.from_bytes(share[32:], 'big'):016b}"
    low = [int.from_bytes(share[2 * n : 2 * n + 2], "little") for n in range(16)]
    return [65536 if bit == "1" else one for bit, one in zip(bits, low, strict=True)]
