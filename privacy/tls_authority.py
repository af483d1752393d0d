"""Certificates for a fleet's connections, and the keys by which its SuperNodes are known.

Who may ask for what is decided by which authority vouches for a certificate: one for servers, another for operators.

Rules:
    1. An authority vouches for one use alone: its certificates say that they are a server's or a client's, never both.
    2. A private key is written for its owner alone (0600), whole or not at all, and never in another's place.
    3. An authority vouches for no other authority (path length 0), and for nothing beyond its own time.

Elliptic curves P-256 for certificates and P-384 for nodes: what nginx, OpenSSL and Flower all take (Flower refuses
Ed25519 for nodes).
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from privacy.atomic_files import new_file
from privacy.errors import InputError

SERVERS: Final = "servers"
CLIENTS: Final = "clients"
AUTHORITY_YEARS: Final = 10
SERVER_DAYS: Final = 397
CLIENT_DAYS: Final = 90
SKEW: Final = timedelta(minutes=5)
"""By how much another's clock may be behind."""
_MAX_BYTES: Final = 1 << 16
_HOST: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_USES: Final = {SERVERS: ExtendedKeyUsageOID.SERVER_AUTH, CLIENTS: ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass(frozen=True)
class Authority:
    """Who vouches for certificates of one use.

    Attributes:
        certificate: its own.
        key: its private key.
        use: `SERVERS` or `CLIENTS`.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    use: str

    @classmethod
    def create(cls, folder: Path, name: str, use: str, now: datetime) -> Authority:
        """A new authority in `folder`: ca.key for whoever keeps it offline, ca.crt for everybody.

        Raises:
            InputError: if there is one already, or it can not be written.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(f"{name} {use}", use)
        until = now + timedelta(days=365 * AUTHORITY_YEARS)
        built = (
            _builder(subject, subject, key.public_key(), now, until)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)  # rule 3
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, "ca", key, built)
        return cls(built, key, use)

    @classmethod
    def read(cls, folder: Path) -> Authority:
        """The authority in `folder`.

        Raises:
            InputError: if it is none.
        """
        try:
            key = serialization.load_pem_private_key(_bytes(folder / "ca.key"), None)
            certificate = x509.load_pem_x509_certificate(_bytes(folder / "ca.crt"))
            use = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value
        except (ValueError, IndexError):
            raise InputError(f"{folder}: expected an authority's key and certificate, got something else") from None
        if (
            not isinstance(key, ec.EllipticCurvePrivateKey)
            or use not in _USES
            or certificate.public_key() != key.public_key()
        ):
            raise InputError(f"{folder}: expected an authority's key and certificate, got something else")
        return cls(certificate, key, str(use))

    def vouch(self, folder: Path, file: str, name: str, addresses: Sequence[str], now: datetime) -> x509.Certificate:
        """A new key and certificate, as `file`.key and `file`.crt in `folder`.

        Args:
            folder: where they are put.
            file: their name.
            name: whose they are.
            addresses: names and IP addresses of a server; none for a client.
            now: when it begins to hold.

        Raises:
            InputError: if they are there already, or an address is none.
        """
        if (self.use == SERVERS) != bool(addresses):
            raise InputError(
                f"certificate of {name!r:.60}: expected addresses for a server and none for a client, "
                f"got {len(addresses)} from the authority of {self.use}"
            )
        key = ec.generate_private_key(ec.SECP256R1())
        days = SERVER_DAYS if self.use == SERVERS else CLIENT_DAYS
        until = min(now + timedelta(days=days), self.certificate.not_valid_after_utc)  # rule 3
        issuer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            _builder(_name(name, self.use), self.certificate.subject, key.public_key(), now, until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([_USES[self.use]]), critical=True)  # rule 1
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        )
        if addresses:
            names = x509.SubjectAlternativeName([_address(address) for address in addresses])
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder, file, key, certificate)
        return certificate


def days_left(certificate: Path, now: datetime) -> int:
    """Whole days for which a certificate still holds; negative once it has ended.

    Raises:
        InputError: if the file is no certificate.
    """
    try:
        ends = x509.load_pem_x509_certificate(_bytes(certificate)).not_valid_after_utc
    except ValueError:
        raise InputError(f"{certificate}: expected a certificate, got something else") from None
    return (ends - now).days


def create_node_key(folder: Path, file: str) -> bytes:
    """A SuperNode's new key as Flower wants it: `file` (OpenSSH, private) and `file`.pub, which an operator registers.

    Returns:
        The public key as Flower's APIs carry it (`node_public`).

    Raises:
        InputError: if the files are there already, or can not be written.
    """
    key = ec.generate_private_key(ec.SECP384R1())
    form = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    folder.mkdir(parents=True, exist_ok=True)
    new_file(folder / file, key.private_bytes(*form), 0o600)  # rule 2
    new_file(folder / f"{file}.pub", public + b"\n", 0o644)
    return node_public(folder / f"{file}.pub")


def node_public(path: Path) -> bytes:
    """A SuperNode's public key as Flower's APIs carry it: PEM.

    Raises:
        InputError: if the file is not the public key of a node.
    """
    try:
        key = serialization.load_ssh_public_key(_bytes(path))
    except (ValueError, UnsupportedAlgorithm):
        raise InputError(f"{path}: expected a node's public key, got something else") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise InputError(f"{path}: expected a node's public key on P-384, got another kind")
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _write(folder: Path, file: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    new_file(folder / f"{file}.key", key.private_bytes(*form), 0o600)  # rule 2
    new_file(folder / f"{file}.crt", certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(until)
    )


def _name(name: str, use: str) -> x509.Name:
    if not 0 < len(name) <= 64:
        raise InputError(f"certificate: expected a name of 1 to 64 characters, got {len(name)}")
    unit = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, use)
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Kith"), unit, x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )


def _usage(signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _address(text: str) -> x509.GeneralName:
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(text))
    if len(text) > 253 or not _HOST.fullmatch(text):
        raise InputError(f"server address: expected a host's name or IP address, got {text!r:.80}")
    return x509.DNSName(text)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be read, got {error.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise InputError(f"{path}: expected at most {_MAX_BYTES:,} bytes, got more")
    return data
