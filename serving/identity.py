"""Who asks, and what they may do.

Rules
1. A request without a valid token reaches nothing but the liveness and readiness probes.
2. A token is valid if it is signed with EdDSA by a key in the JWKS file, with issuer, audience and all claims present,
   inside its time, not longer-lived than `LONGEST_HOURS`, or `SOURCE_HOURS` where it is one source system's and
   nothing else, and not taken back (`revocation`). The verifier needs public keys only, and no network.
3. What is not in `OPERATIONS` does not exist, whatever the framework underneath would answer.
4. A role may do what `OPERATIONS` says and nothing else; each kind of source system reaches its own mount alone.
5. A token reaches the items of its own site; only auditors and privacy officers may hold one for every site ("*").
6. A source system sends its token as it can: as a bearer token, or as the password of HTTP Basic.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import jwt

from privacy import signing
from privacy.errors import InputError
from serving import problems
from serving.problems import Problem
from serving.revocation import Revoked, is_id

ISSUER: Final = "kith"
AUDIENCE: Final = "kith"
ALGORITHM: Final = "EdDSA"
LONGEST_HOURS: Final = 24
SOURCE_HOURS: Final = 366 * 24
"""Identity providers and learning systems take one token and keep it."""
LEEWAY_SECONDS: Final = 10
EVERY_SITE: Final = "*"
PUBLIC_KEYS: Final = "token-keys.json"
"""The JWKS file in a state directory."""
_CLAIMS: Final = ("iss", "aud", "sub", "roles", "site", "iat", "nbf", "exp", "jti")
_MAX_TOKEN: Final = 4096
_SCIM_TYPES: Final = (problems.SCIM_MEDIA_TYPE, "application/json")
_PARAMETER: Final = r"[\w-]{1,64}"
_SUBJECT: Final = re.compile(r"[\w.@:+-]{1,128}", re.ASCII)
_PRIVATE_KEY: Final = "token.key"


class Role(StrEnum):
    """What a token's holder is to the people whose data this is."""

    EMPLOYEE = "employee"
    MANAGER = "manager"
    REVIEWER = "reviewer"
    HR_PARTNER = "hr_partner"
    PRIVACY_OFFICER = "privacy_officer"
    AUDITOR = "auditor"
    APPLICATION = "application"
    SITE_OPERATOR = "site_operator"
    PROVISIONING = "provisioning"
    LEARNING_SYSTEM = "learning_system"


SOURCES: Final = frozenset({Role.PROVISIONING, Role.LEARNING_SYSTEM})
EVERYONE: Final = frozenset(Role) - SOURCES
DECIDERS: Final = frozenset({Role.REVIEWER, Role.HR_PARTNER})
ACROSS_SITES: Final = frozenset({Role.AUDITOR, Role.PRIVACY_OFFICER})


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked of the service, and who may.

    Attributes:
        name: in the OpenAPI document, for what is in it.
        method, path: what reaches it.
        roles: who may.
        media_types: what its body may be.
        max_body: bytes.
        mounted: whether it is everything below the path.
    """

    name: str
    method: str
    path: str
    roles: frozenset[Role]
    media_types: tuple[str, ...] = ("application/json",)
    max_body: int = 64 * 2**10
    mounted: bool = False

    def matches(self, path: str) -> bool:
        """Whether a request's path is this operation's; a `{parameter}` is one segment of letters, digits, _ and -."""
        if self.mounted:
            return path.startswith(f"{self.path}/")
        segments = (_PARAMETER if part.startswith("{") else re.escape(part) for part in self.path.split("/"))
        return re.fullmatch("/".join(segments), path, re.ASCII) is not None


OPERATIONS: Final = (
    Operation("recommend", "POST", "/v1/recommend", frozenset({Role.APPLICATION, Role.HR_PARTNER})),
    Operation("explain", "POST", "/v1/explain", DECIDERS | {Role.AUDITOR, Role.APPLICATION}),
    Operation("list_decisions", "GET", "/v1/decisions", DECIDERS | {Role.AUDITOR}),
    Operation("get_decision", "GET", "/v1/decisions/{id}", DECIDERS | {Role.AUDITOR}),
    Operation("decide", "POST", "/v1/decisions/{id}/decide", DECIDERS),
    Operation("certificate", "GET", "/v1/privacy/certificate", EVERYONE),
    Operation("contract", "GET", "/openapi.json", EVERYONE),
    Operation("bento_contract", "GET", "/docs.json", EVERYONE),
    Operation("problem", "GET", "/problems/{name}", EVERYONE),
    *(
        Operation("scim", method, problems.SCIM, frozenset({Role.PROVISIONING}), _SCIM_TYPES, 2**20, mounted=True)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
    ),
    *(
        Operation("xapi", method, "/xapi", frozenset({Role.LEARNING_SYSTEM}), max_body=8 * 2**20, mounted=True)
        for method in ("GET", "POST", "PUT")
    ),
)
"""Rules 3 and 4: all that the service does."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The holder of a valid token."""

    subject: str
    roles: frozenset[Role]
    site: str

    def reaches(self, site: str) -> bool:
        """Rule 5."""
        return self.site in (EVERY_SITE, site)

    def is_only(self, role: Role) -> bool:
        """Whether the holder has that role and no other."""
        return self.roles == {role}


def find_operation(method: str, path: str) -> Operation:
    """The operation that a request asks for (rule 3).

    Raises:
        Problem: not-found, or method-not-allowed with the methods that are.
    """
    found = [operation for operation in OPERATIONS if operation.matches(path)]
    for operation in found:
        if operation.method == method:
            return operation
    if found:
        allowed = ", ".join(sorted(operation.method for operation in found))
        raise Problem("method-not-allowed", f"Expected {allowed}.", {"Allow": allowed})
    raise Problem("not-found", "See /openapi.json for all addresses.")


def check_permission(identity: Identity, operation: Operation) -> None:
    """Refuse whoever the table does not name (rule 4).

    Raises:
        Problem: forbidden.
    """
    if not identity.roles & operation.roles:
        raise Problem("forbidden", f"Expected one of the roles {', '.join(sorted(operation.roles))}.")


class TokenVerifier:
    """Turns the Authorization header into an identity, with public keys from a JWKS document."""

    def __init__(self, keys: Mapping[str, jwt.PyJWK], revoked: Revoked) -> None:
        """Trust the keys, by key id, but not the tokens that were taken back."""
        self._keys = keys
        self._revoked = revoked

    @classmethod
    def from_file(cls, path: Path) -> TokenVerifier:
        """Read a JWKS file (RFC 7517) of Ed25519 public keys (RFC 8037), and the revoked tokens beside it.

        Raises:
            InputError: if the file can not be read, holds another kind of key, or a private one; or the file of
                revoked tokens can not be read.
        """
        try:
            entries = json.loads(path.read_bytes())["keys"]
            if any((e["kty"], e["crv"]) != ("OKP", "Ed25519") or "d" in e for e in entries):
                raise ValueError
            keys = {str(entry["kid"]): jwt.PyJWK(entry, algorithm=ALGORITHM) for entry in entries}
        except OSError as error:
            raise InputError(f"token keys: expected a JWKS file at {path}, got {error.strerror}") from None
        except (ValueError, TypeError, KeyError, jwt.PyJWTError):
            raise InputError(f"token keys: expected a JWKS of Ed25519 public keys in {path}, got otherwise") from None
        return cls(keys, Revoked(path))

    def identify(self, authorization: Iterable[str]) -> Identity:
        """The identity behind the request's Authorization headers (rules 1, 2, 5 and 6).

        Raises:
            Problem: unauthenticated, without saying which check failed.
            InputError: if the file of revoked tokens has become unreadable.
        """
        headers = list(authorization)
        if len(headers) == 1 and len(headers[0]) <= _MAX_TOKEN:
            try:
                return self._identity(headers[0])
            except (jwt.PyJWTError, ValueError, TypeError, KeyError):
                pass
        raise Problem(
            "unauthenticated",
            "Expected Authorization: Bearer with a token that is signed, in time, and meant for this service.",
            {"WWW-Authenticate": "Bearer"},
        )

    def _identity(self, header: str) -> Identity:
        """The identity behind one Authorization header's value.

        Raises:
            ValueError, TypeError, KeyError, PyJWTError: for whatever is wrong with it.
        """
        scheme, _, credentials = header.partition(" ")
        if scheme.lower() == "bearer":
            return _identity(self._claims(credentials.strip()))
        if scheme.lower() != "basic":
            raise ValueError("scheme")
        _, _, password = base64.b64decode(credentials.strip(), validate=True).decode().partition(":")
        claims = self._claims(password)
        if not _is_source(claims["roles"]):  # rule 6
            raise ValueError("scheme")
        return _identity(claims)

    def _claims(self, token: str) -> dict[str, Any]:
        """Signature, algorithm, issuer, audience, times and revocation (rule 2)."""
        key = self._keys[jwt.get_unverified_header(token)["kid"]]
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": list(_CLAIMS), "strict_aud": True},
        )
        if not 0 < claims["exp"] - claims["iat"] <= _longest(claims["roles"]) * 3600:
            raise ValueError("lifetime")
        if not is_id(claims["jti"]) or self._revoked.holds(claims["jti"]):
            raise ValueError("revoked")
        return claims


def _longest(roles: object) -> int:
    """Hours that a token of these roles may live (rule 2)."""
    return SOURCE_HOURS if _is_source(roles) else LONGEST_HOURS


def _is_source(roles: object) -> bool:
    """Whether a token's roles are one source system's and nothing else."""
    return any(roles == [role] for role in SOURCES)


def _identity(claims: Mapping[str, Any]) -> Identity:
    """The claims as an identity.

    Raises:
        ValueError: for an unknown role, none, a malformed subject or site, or a site the roles may not have (rule 5).
    """
    if not isinstance(claims["roles"], list):
        raise ValueError("roles")
    roles = frozenset(Role(role) for role in claims["roles"])
    subject, site = claims["sub"], claims["site"]
    if not roles or not isinstance(site, str) or not 0 < len(site) <= 200 or not _SUBJECT.fullmatch(subject):
        raise ValueError("claims")
    if site == EVERY_SITE and not roles <= ACROSS_SITES:
        raise ValueError("site")
    return Identity(subject, roles, site)


def issue_token(state: Path, role: str, subject: str, site: str, hours: float, now: float | None = None) -> str:
    """A token for a trial, signed with the key in the state directory (made on first use).

    Args:
        state: directory of the service's own files.
        role: one of `Role`.
        subject: who holds it; decisions are recorded under this name.
        site: the one site it reaches, or "*" for auditors and privacy officers.
        hours: until it expires, more than 0 and at most `LONGEST_HOURS` (a source system's: `SOURCE_HOURS`).
        now: Unix time in seconds; the clock if None.

    Raises:
        InputError: for an argument out of these bounds, or a state directory that can not be used.
    """
    if role not in set(Role):
        raise InputError(f"role: expected one of {', '.join(Role)}, got {role!r:.40}")
    if not 0 < hours <= _longest([role]):
        raise InputError(f"hours: expected more than 0 and at most {_longest([role])}, got {hours:g}")
    issued = int(time.time() if now is None else now)
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": subject,
        "roles": [role],
        "site": site,
        "iat": issued,
        "nbf": issued,
        "exp": issued + max(1, int(hours * 3600)),
        "jti": secrets.token_hex(16),
    }
    try:
        _identity(claims)
    except ValueError:
        raise InputError(
            "token: expected a subject of 1 to 128 letters, digits or any of . @ : + - _ and a site"
            f" ('{EVERY_SITE}' only for {', '.join(sorted(ACROSS_SITES))}), got otherwise"
        ) from None
    key, keyid = _signing_key(state)
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": keyid})


def token_keys(state: Path) -> Path:
    """The JWKS file for tokens that `issue_token` makes, written on first use.

    Raises:
        InputError: if the state directory or its keys can not be used.
    """
    _signing_key(state)
    return state / PUBLIC_KEYS


def _signing_key(state: Path) -> tuple[bytes, str]:
    """The private key's PEM and its key id; key and JWKS are made if there is none."""
    private, public = state / _PRIVATE_KEY, state / PUBLIC_KEYS
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not private.exists():
            signing.create_key(private)
        signer = signing.signer_from_uri(f"file:{private.absolute()}")
        if not public.exists():
            public.write_text(json.dumps({"keys": [_jwk(signer.public, signer.keyid)]}, indent=2) + "\n", "utf-8")
        return private.read_bytes(), signer.keyid
    except OSError as error:
        raise InputError(f"state: expected a folder that can be written at {state}, got {error.strerror}") from None


def _jwk(public: bytes, keyid: str) -> dict[str, str]:
    """An Ed25519 public key as a JSON Web Key (RFC 8037, section 2)."""
    x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": ALGORITHM, "kid": keyid, "x": x}
