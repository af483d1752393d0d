"""The group's keys: a numbered list of all parties' public keys, signed by root keys (`keys.json`).

Root keys sign nothing else and may lie offline. The keys in the list sign receipts, checkpoints and certificates.
A release carries the list of its day; every site keeps the newest it was given.

Rules:
    1. A list counts if at least `threshold` of its own roots signed it, each once. A signature in a root's name that
       does not hold spoils the list; signatures of other keys are not counted.
    2. No key is in a list twice, neither for two parties nor as a root and a party's. A party has at most one active
       key.
    3. A public key is written in one way only: 32 raw bytes in canonical base64, a point of large order in its one
       encoding (`signing.verifier`).
    4. Names of parties are plain (privacy.party_names), and no two of a list look alike.
    5. A list names the digests of all lists before it. So two lists of one number are a fork that shows.
    6. The next list has the next number, the same group, the signatures of the OLDER's roots up to the older's
       threshold beside its own (TUF section 5.3.4), and all of the older's keys. A key goes from active to retired to
       revoked and never back.

Clocks decide nothing: `issued_at` is for people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from privacy import canonical, dsse, fields, signing
from privacy.errors import InputError, VerificationFailed
from privacy.party_names import COORDINATOR, MAX_NAME, check_name, check_parties, site_of
from privacy.signing import Signer, Verifier
from privacy.statement import Statement, Subject

if TYPE_CHECKING:
    from privacy.trust_roots import TrustRoots

KEY_LIST: Final = "urn:kith:key-list:v1"
ACTIVE: Final = "active"
RETIRED: Final = "retired"
REVOKED: Final = "revoked"
UNKNOWN: Final = "unknown"
MAX_BYTES: Final = dsse.MAX_BYTES
MAX_ROOTS: Final = 8  # the roots of two lists fit in one envelope's signatures
MAX_KEYS: Final = 50_000
MAX_LISTS: Final = 10_000
_ORDER: Final = {ACTIVE: 0, RETIRED: 1, REVOKED: 2}
_FIELDS: Final = ("group", "number", "roots", "threshold", "keys", "history", "issued_at")


@dataclass(frozen=True, slots=True)
class Key:
    """One public key of a party.

    Attributes:
        party: "coordinator" or "site/<name>".
        public: 32 raw Ed25519 bytes, base64.
        status: active (signs now), retired (signed before; what it signed then stands) or revoked (counts no more).
        since: number of the list that gave it this status.
    """

    party: str
    public: str
    status: str
    since: int

    @property
    def keyid(self) -> str:
        """sha256 (hex) of the raw public bytes."""
        return signing.keyid(fields.from_base64(self.public, "key"))


@dataclass(frozen=True, slots=True)
class KeyList:
    """All keys of a group as of one decision of its roots; every KeyList obeys rules 2 to 4.

    Attributes:
        group: the group's name.
        number: 0, 1, 2, ... without gaps.
        roots: the root keys, base64, in order.
        threshold: how many of them must sign.
        keys: every key there ever was, in order of party and key.
        history: digests of the lists 0 to number - 1 (rule 5).
        issued_at: POSIX seconds.
        envelope: the signed bytes that it was read from; empty for a list that is being made.
    """

    group: str
    number: int
    roots: tuple[str, ...]
    threshold: int
    keys: tuple[Key, ...]
    history: tuple[str, ...]
    issued_at: int
    envelope: bytes = field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        """Raise InputError unless rules 2 to 4 hold."""
        _check(self)

    @property
    def digest(self) -> str:
        """sha256 (hex) of the canonical JSON of the list without signatures."""
        return hashlib.sha256(canonical.to_bytes(self.to_document())).hexdigest()

    def to_document(self) -> dict[str, Any]:
        """The predicate of the signed statement."""
        keys = [
            {"party": one.party, "public": one.public, "status": one.status, "since": one.since} for one in self.keys
        ]
        return {
            "group": self.group,
            "number": self.number,
            "roots": list(self.roots),
            "threshold": self.threshold,
            "keys": keys,
            "history": list(self.history),
            "issued_at": self.issued_at,
        }

    def key(self, keyid: str) -> Key | None:
        """The key of that id, or None if the list has none."""
        return next((one for one in self.keys if one.keyid == keyid), None)

    def status(self, keyid: str) -> str:
        """active, retired, revoked, or unknown."""
        key = self.key(keyid)
        return key.status if key else UNKNOWN

    def active(self, party: str) -> Key | None:
        """The one key with which a party signs now, if it has one."""
        return next((one for one in self.keys if one.party == party and one.status == ACTIVE), None)

    def trusted(self) -> TrustRoots:
        """The active keys. Parties without one are left out.

        Raises:
            VerificationFailed: if the coordinator or every site is without one.
        """
        from privacy.trust_roots import TrustRoots  # which reads key lists

        verifiers = {one.party: _verifier(one.public) for one in self.keys if one.status == ACTIVE}
        coordinator = verifiers.pop(COORDINATOR, None)
        if coordinator is None or not verifiers:
            raise VerificationFailed("key list: expected active keys of the coordinator and of a site, got none")
        return TrustRoots(coordinator, {site_of(party) or "": key for party, key in verifiers.items()})

    def signed_by(self, roots: Sequence[str], where: str = "key list") -> tuple[str, ...]:
        """Ids of those of `roots` (base64) whose signatures are under this list.

        Raises:
            VerificationFailed: if the list does not come from signed bytes, one of the roots signed twice, or a
                signature in its name does not hold (rule 1).
        """
        if not self.envelope:
            raise VerificationFailed(f"{where}: expected a signed list, got one without signatures")
        envelope = dsse.Envelope.from_bytes(self.envelope, where)
        if envelope.payload != _statement(self):
            raise VerificationFailed(f"{where}: expected signatures under this list, got under another")
        return tuple(one.keyid for one in dsse.signed_by(envelope, [_verifier(one) for one in roots], where=where))

    def require(self, roots: Sequence[str], threshold: int, where: str = "key list") -> None:
        """Return if at least `threshold` of `roots` signed this list.

        Raises:
            VerificationFailed: if fewer did, or as `signed_by` does.
        """
        found = self.signed_by(roots, where)
        if len(found) < threshold:
            raise VerificationFailed(f"{where}: expected signatures of {threshold} root keys, got {len(found)}")


def first_list(
    group: str, roots: Sequence[bytes], threshold: int, parties: Mapping[str, bytes], issued_at: int
) -> KeyList:
    """List number 0.

    Args:
        group: the group's name.
        roots: raw public root keys.
        threshold: how many of them must sign a list.
        parties: the raw public key of each party, by "coordinator" or "site/<name>" (`party_names.site_party`).
        issued_at: POSIX seconds.

    Raises:
        InputError: if it breaks rules 2 to 4.
    """
    keys = tuple(Key(party, fields.to_base64(public), ACTIVE, 0) for party, public in parties.items())
    return KeyList(group, 0, _sorted(roots), threshold, _in_order(keys), (), issued_at)


def rotated(older: KeyList, party: str, public: bytes, issued_at: int) -> KeyList:
    """The next list: `public` is the party's active key, the one before it is retired. A party of another name is new.

    Raises:
        InputError: if the key is in the list already, or is none.
    """
    keys = [_changed(one, RETIRED, older) if one.party == party and one.status == ACTIVE else one for one in older.keys]
    keys.append(Key(party, fields.to_base64(public), ACTIVE, older.number + 1))
    return _next(older, issued_at, keys=_in_order(keys))


def revoked(older: KeyList, keyid: str, issued_at: int) -> KeyList:
    """The next list: that key counts no more. Its party has no active key then, unless another is.

    Raises:
        InputError: if the list has no such key, or it is revoked already.
    """
    if older.status(keyid) not in (ACTIVE, RETIRED):
        raise InputError(
            f"key {keyid[:16]!r}: expected an active or retired key of the list, got {older.status(keyid)}"
        )
    keys = [_changed(one, REVOKED, older) if one.keyid == keyid else one for one in older.keys]
    return _next(older, issued_at, keys=_in_order(keys))


def with_roots(older: KeyList, roots: Sequence[bytes], threshold: int, issued_at: int) -> KeyList:
    """The next list, of the same keys under other roots: to be signed by the roots of both (rule 6).

    Raises:
        InputError: if the roots or the threshold are unusable.
    """
    return _next(older, issued_at, roots=_sorted(roots), threshold=threshold)


def sign_key_list(listed: KeyList, *signers: Signer) -> bytes:
    """`keys.json`: the list as an in-toto statement in a DSSE envelope, under these signatures.

    Raises:
        InputError: without signers, or with one twice.
    """
    if not 1 <= len({one.keyid for one in signers}) == len(signers):
        raise InputError("key list: expected one or more different root keys to sign, got otherwise")
    ordered = sorted(signers, key=lambda one: one.keyid)
    return dsse.sign(_statement(listed), *ordered).to_bytes()


def add_signature(data: bytes, signer: Signer, where: str = "key list") -> bytes:
    """The same list under one more signature: another officer's, at another place.

    Raises:
        InputError: if `data` is no key list, or that key has signed it.
        VerificationFailed: if a signature of one of its roots does not hold.
    """
    proposed(data, where)
    envelope = dsse.Envelope.from_bytes(data, where)
    if signer.keyid in {one.keyid for one in envelope.signatures}:
        raise InputError(f"{where}: expected a key that has not signed it, got {signer.keyid[:16]}")
    added = dsse.sign(envelope.payload, signer).signatures
    signatures = tuple(sorted(envelope.signatures + added, key=lambda one: one.keyid))
    return replace(envelope, signatures=signatures).to_bytes()


def proposed(data: bytes, where: str = "key list") -> KeyList:
    """A list that may still lack signatures; those of its own roots that are there hold. Not to be trusted.

    Raises:
        InputError: if it is no key list.
        VerificationFailed: if a signature in a root's name does not hold.
    """
    listed = _read(data, where)
    listed.signed_by(listed.roots, where)
    return listed


@lru_cache(maxsize=8)  # a guard asks at each request, nearly always for the same one
def open_key_list(data: bytes, where: str = "key list") -> KeyList:
    """The list in `data`, signed by enough of its own roots (rule 1): of one piece, whoever made it.

    Whose it is, `follows` or `PinnedKeys.check` say.

    Raises:
        InputError: if it is no key list, or breaks rules 2 to 4.
        VerificationFailed: if a signature does not hold or too few are there.
    """
    listed = _read(data, where)
    listed.require(listed.roots, listed.threshold, where)
    return listed


def follows(newer: KeyList, older: KeyList, where: str = "key list") -> None:
    """Return if `newer`, as `open_key_list` gave it, is the next list after `older` and may replace it (rule 6).

    Raises:
        VerificationFailed: if it does not succeed it, or its own or the older's roots did not sign it.
    """
    succeeds(newer, older, where)
    newer.require(newer.roots, newer.threshold, where)
    newer.require(older.roots, older.threshold, f"{where}, roots of list {older.number}")


def succeeds(newer: KeyList, older: KeyList, where: str = "key list") -> None:
    """Return if `newer` is the next list after `older` in all but the signatures, which `follows` asks for too.

    Raises:
        VerificationFailed: if not: another group or number, a fork, a key gone, another party's, or back from the
            revoked.
    """
    if (newer.group, newer.number) != (older.group, older.number + 1):
        expected = f"{older.number + 1} of {older.group!r:.80}"
        raise VerificationFailed(f"{where}: expected list {expected}, got {newer.number} of {newer.group!r:.80}")
    extends(newer, older, where)


def extends(newer: KeyList, older: KeyList, where: str = "key list") -> None:
    """Return if `newer`'s history holds `older` (rule 5) and every key of it, none gone back (rule 6).

    Raises:
        VerificationFailed: if not.
    """
    if newer.history[: older.number + 1] != (*older.history, older.digest):
        raise VerificationFailed(f"{where}: expected list {older.number} in its history, got another: a fork")
    later = {one.public: one for one in newer.keys}
    for key in older.keys:
        now = later.pop(key.public, None)
        if now != key and (now is None or now.party != key.party or _ORDER[now.status] <= _ORDER[key.status]):
            raise VerificationFailed(
                f"{where}, key {key.keyid[:16]}: expected it as before or further on, got otherwise"
            )
        if now != key:
            later[key.public] = now
    if any(one.since <= older.number for one in later.values()):
        raise VerificationFailed(f"{where}: expected changes since a list after {older.number}, got an earlier one")


def _statement(listed: KeyList) -> bytes:
    return Statement((Subject("key list", listed.digest),), KEY_LIST, listed.to_document()).to_bytes()


def _read(data: bytes, where: str) -> KeyList:
    statement = Statement.from_bytes(dsse.Envelope.from_bytes(data, where).payload, where)
    if statement.predicate_type != KEY_LIST:
        raise VerificationFailed(f"{where}: expected {KEY_LIST}, got {statement.predicate_type[:80]!r}")
    document = fields.exactly(dict(statement.predicate), _FIELDS, where)
    listed = KeyList(
        group=fields.text(document["group"], f"{where}, group", MAX_NAME),
        number=fields.whole(document["number"], f"{where}, number"),
        roots=tuple(fields.text(one, f"{where}, root") for one in fields.items(document["roots"], f"{where}, roots")),
        threshold=fields.whole(document["threshold"], f"{where}, threshold"),
        keys=tuple(_key(one, where) for one in fields.items(document["keys"], f"{where}, keys")),
        history=tuple(
            fields.digest(one, f"{where}, history") for one in fields.items(document["history"], f"{where}, history")
        ),
        issued_at=fields.whole(document["issued_at"], f"{where}, issued_at"),
        envelope=data,
    )
    if statement.subjects != (Subject("key list", listed.digest),):
        raise InputError(f"{where}, subject: expected the digest of the list, got another")
    return listed


def _key(value: object, where: str) -> Key:
    document = fields.exactly(value, ("party", "public", "status", "since"), f"{where}, key")
    return Key(
        party=fields.text(document["party"], f"{where}, party"),
        public=fields.text(document["public"], f"{where}, public"),
        status=fields.text(document["status"], f"{where}, status"),
        since=fields.whole(document["since"], f"{where}, since"),
    )


def _check(listed: KeyList) -> None:
    """Rules 2 to 4, and the order that makes the writing the only one."""
    check_name(listed.group, "key list, group")  # rule 4
    if not 1 <= len(listed.roots) <= MAX_ROOTS or list(listed.roots) != sorted(set(listed.roots)):
        raise InputError(f"key list, roots: expected 1 to {MAX_ROOTS} different keys in order, got otherwise")
    if not 1 <= listed.threshold <= len(listed.roots):
        raise InputError(f"key list, threshold: expected 1 to {len(listed.roots)}, got {listed.threshold}")
    if listed.number != len(listed.history) or listed.number >= MAX_LISTS:
        raise InputError(f"key list, history: expected {listed.number} digests, got {len(listed.history)}")
    if not 1 <= len(listed.keys) <= MAX_KEYS or listed.keys != _in_order(listed.keys):
        raise InputError(f"key list, keys: expected 1 to {MAX_KEYS} in order of party and key, got otherwise")
    check_parties([one.party for one in listed.keys], "key list, party")  # rule 4
    if any(one.status not in _ORDER or one.since > listed.number for one in listed.keys):
        raise InputError("key list, keys: expected a status, and since a list up to this one, got otherwise")
    every = [*listed.roots, *(one.public for one in listed.keys)]
    for public in every:
        _verifier(public)  # rule 3
    signing_now = [one.party for one in listed.keys if one.status == ACTIVE]
    if len(set(every)) != len(every) or len(set(signing_now)) != len(signing_now):  # rule 2
        raise InputError("key list, keys: expected every key once, and one active key for a party, got otherwise")


def _verifier(public: str) -> Verifier:
    return signing.verifier(fields.from_base64(public, "key list, public key"))


def _changed(key: Key, status: str, older: KeyList) -> Key:
    return replace(key, status=status, since=older.number + 1)


def _next(older: KeyList, issued_at: int, **changes: Any) -> KeyList:
    history = (*older.history, older.digest)
    return replace(older, number=older.number + 1, history=history, issued_at=issued_at, envelope=b"", **changes)


def _in_order(keys: Sequence[Key]) -> tuple[Key, ...]:
    return tuple(sorted(keys, key=lambda one: (one.party, one.public)))


def _sorted(roots: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(sorted(fields.to_base64(one) for one in roots))
