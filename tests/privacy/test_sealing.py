from __future__ import annotations

import base64
import hmac
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import InputError, KithError, VerificationFailed
from privacy.sealing import Sealer, create_sealing_pair, open_sealed, seal_to
from privacy.secret_files import read_public, read_secret

KEY = bytes(range(32))
PUBLIC = X25519PrivateKey.from_private_bytes(KEY).public_key().public_bytes_raw()
SEALER = Sealer(KEY)


def test_golden_sealed_text_opens() -> None:
    """Texts in databases were sealed like this: they must open for ever."""
    sealed = "AAECAwQFBgcICQoLN263cquefT60M9mu0J+06EULcz4i"
    assert SEALER.open(sealed, "reconciliation/7/held") == b"plain"


def test_golden_text_sealed_to_a_public_key_opens() -> None:
    sealed = "oPd15WVIVYUmyMF0tZM41uSWukhtMtAjneAVngCN/hWQ0Rul/gCey4hjms+tTVMsEwSa2vg="
    assert open_sealed(KEY, sealed, "protected/Alder/k/hris") == b"plain"


def test_a_sealed_text_is_aes_256_gcm_with_its_nonce_before_it() -> None:
    data = base64.b64decode(SEALER.seal(b"plain", "about"))
    assert AESGCM(KEY).decrypt(data[:12], data[12:], b"kith.sealed.v1\0about") == b"plain"


def extract(salt: bytes, label: bytes, secret: bytes, suite: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + secret, "sha256")


def expand(key: bytes, label: bytes, info: bytes, length: int, suite: bytes) -> bytes:
    message = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info + b"\x01"
    return hmac.digest(key, message, "sha256")[:length]


def open_by_rfc_9180(private: bytes, sealed: bytes, info: bytes) -> bytes:
    """Base mode as sections 4.1 and 5.1 write it down, of one block of HKDF-SHA256 each."""
    kem = b"KEM\x00\x20"
    suite = b"HPKE\x00\x20\x00\x01\x00\x03"
    key = X25519PrivateKey.from_private_bytes(private)
    shared = key.exchange(X25519PublicKey.from_public_bytes(sealed[:32]))
    secret = extract(b"", b"eae_prk", shared, kem)
    secret = expand(secret, b"shared_secret", sealed[:32] + key.public_key().public_bytes_raw(), 32, kem)
    context = b"\0" + extract(b"", b"psk_id_hash", b"", suite) + extract(b"", b"info_hash", info, suite)
    secret = extract(secret, b"secret", b"", suite)
    cipher = ChaCha20Poly1305(expand(secret, b"key", context, 32, suite))
    return cipher.decrypt(expand(secret, b"base_nonce", context, 12, suite), sealed[32:], b"")


def test_a_text_sealed_to_a_public_key_is_what_rfc_9180_says() -> None:
    sealed = base64.b64decode(seal_to(PUBLIC, b"plain", "about"))
    assert open_by_rfc_9180(KEY, sealed, b"kith.sealed-to.v1\0about") == b"plain"


@given(st.binary(max_size=2_000), st.text(st.characters(exclude_categories=["Cs"])))
def test_what_was_sealed_opens(plain: bytes, about: str) -> None:
    assert SEALER.open(SEALER.seal(plain, about), about) == plain
    assert open_sealed(KEY, seal_to(PUBLIC, plain, about), about) == plain


def test_sealing_twice_gives_two_texts() -> None:
    assert len({SEALER.seal(b"plain", "about") for _ in range(100)}) == 100
    assert len({seal_to(PUBLIC, b"plain", "about") for _ in range(100)}) == 100


def test_another_key_or_place_does_not_open() -> None:
    with pytest.raises(VerificationFailed):
        Sealer(bytes(32)).open(SEALER.seal(b"plain", "about"), "about")
    with pytest.raises(VerificationFailed):
        SEALER.open(SEALER.seal(b"plain", "about"), "about me")
    with pytest.raises(VerificationFailed):
        open_sealed(bytes(32), seal_to(PUBLIC, b"plain", "about"), "about")
    with pytest.raises(VerificationFailed):
        open_sealed(KEY, seal_to(PUBLIC, b"plain", "about"), "about me")


def test_every_single_changed_byte_is_noticed() -> None:
    for sealed, opened in (
        (SEALER.seal(b"plain", "about"), lambda text: SEALER.open(text, "about")),
        (seal_to(PUBLIC, b"plain", "about"), lambda text: open_sealed(KEY, text, "about")),
    ):
        data = base64.b64decode(sealed)
        for place in range(len(data)):
            changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
            with pytest.raises(VerificationFailed):
                opened(base64.b64encode(changed).decode())


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode())))
def test_what_was_never_sealed_is_refused(text: str) -> None:
    with pytest.raises(KithError):
        SEALER.open(text, "about")
    with pytest.raises(KithError):
        open_sealed(KEY, text, "about")


@pytest.mark.parametrize("text", ["", "AAAA", None, 7, b"AAAA", "\ud800"])
def test_what_is_no_sealed_text_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        SEALER.open(text, "about")
    with pytest.raises(InputError):
        open_sealed(KEY, text, "about")


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), "k" * 32])
def test_a_key_of_another_length_is_refused(key: bytes) -> None:
    for use in (Sealer, lambda key: seal_to(key, b"", ""), lambda key: open_sealed(key, "", "")):
        with pytest.raises(InputError, match="32 bytes"):
            use(key)


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_a_public_key_of_low_order_is_refused(point: bytes) -> None:
    """Anyone could open what is sealed to it."""
    with pytest.raises(InputError, match="X25519"):
        seal_to(point, b"plain", "about")


def test_a_lone_surrogate_is_refused_as_what_it_is_about() -> None:
    for use in (lambda: SEALER.seal(b"", "\ud800"), lambda: seal_to(PUBLIC, b"", "\ud800")):
        with pytest.raises(InputError, match="surrogate"):
            use()


def test_a_pair_seals_and_opens_and_its_private_half_is_its_owners_alone(tmp_path: Path) -> None:
    create_sealing_pair(tmp_path / "private", tmp_path / "public")
    sealed = seal_to(read_public(tmp_path / "public"), b"plain", "about")
    assert open_sealed(read_secret(tmp_path / "private"), sealed, "about") == b"plain"
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("there", ["private", "public"])
def test_a_pair_is_made_whole_or_not_at_all(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    with pytest.raises(InputError, match="new file"):
        create_sealing_pair(tmp_path / "private", tmp_path / "public")
    assert [path.name for path in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine"
