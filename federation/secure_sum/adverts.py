"""The public keys with which sites enter a secure sum, and the list of those that do.

Rules:
    1. A site's keys count only under the signature of its enrolled key, for this run and plan and in its own name: the
       coordinator, who carries them, can not put its own in their place.
    2. They are one sealing key, and for every release of the plan one mask key and the commitment to one seed; each
       public key is of large order and in its one encoding.
    3. Participants are at least as many sites as the plan asks for, each once. Their digest is of what they signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Final

from federation.secure_sum.releases import digest_of, plan_digest, releases
from privacy import canonical, dsse, fields, key_agreement, signing
from privacy.dsse import Envelope
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.plan import Plan
from privacy.signing import Signer, Verifier

ADVERT: Final = "application/vnd.kith.secure-sum-advert+json"
_COMMITMENT: Final = b"kith.secure-sum.commitment.v1\0"
_FIELDS: Final = ("commitments", "masks", "plan", "run", "sealing", "site")


@dataclass(frozen=True)
class Advert:
    """A site's public keys for a run.

    Attributes:
        run: the run's id.
        plan: sha256 (hex) of the plan.
        site: whose keys.
        sealing: X25519 public key under which others seal for this site.
        masks: X25519 public keys, one for each release of the plan.
        commitments: to the seed of the site's own mask, one for each release.
    """

    run: str
    plan: str
    site: str
    sealing: bytes
    masks: tuple[bytes, ...]
    commitments: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """Canonical JSON; the keys of all releases are one text."""
        return canonical.to_bytes(
            {
                "commitments": fields.to_base64(b"".join(self.commitments)),
                "masks": fields.to_base64(b"".join(self.masks)),
                "plan": self.plan,
                "run": self.run,
                "sealing": fields.to_base64(self.sealing),
                "site": self.site,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Advert:
        """What `to_bytes` wrote.

        Raises:
            InputError: for anything else, or keys that are none (rule 2).
        """
        document = fields.exactly(canonical.from_bytes(data, where), _FIELDS, where)
        advert = cls(
            run=fields.text(document["run"], f"{where}, run"),
            plan=fields.digest(document["plan"], f"{where}, plan"),
            site=fields.text(document["site"], f"{where}, site"),
            sealing=fields.from_base64(document["sealing"], f"{where}, sealing"),
            masks=_cut(fields.from_base64(document["masks"], f"{where}, masks"), where),
            commitments=_cut(fields.from_base64(document["commitments"], f"{where}, commitments"), where),
        )
        for public in (advert.sealing, *advert.masks):
            key_agreement.check_public(public, where)
        if advert.to_bytes() != data:
            raise InputError(f"{where}: expected the canonical writing, got another")
        return advert


@dataclass(frozen=True)
class Participants:
    """The sites that made keys for a run, by name in order (rule 3)."""

    adverts: Mapping[str, Advert]

    def to_bytes(self) -> bytes:
        """What was signed, for the site's own store."""
        return self._written

    @cached_property
    def _written(self) -> bytes:
        return canonical.to_bytes([one.to_bytes().decode("utf-8") for one in self.adverts.values()])

    @staticmethod
    def from_bytes(data: bytes) -> Participants:
        """What `to_bytes` wrote."""
        return _kept(data)

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that stand for the run, the plan, and everybody's keys."""
        digests = tuple(hashlib.sha256(one.to_bytes()).hexdigest() for one in self.adverts.values())
        return digest_of("participants", adverts=digests)


def commitment(seed: bytes) -> bytes:
    """What a site says beforehand of the seed of its own mask: it tells nothing of it and fits no other."""
    return key_agreement.derive(seed, _COMMITMENT)


def sign_advert(advert: Advert, site: Signer) -> bytes:
    """The DSSE envelope of an advert."""
    return dsse.sign(advert.to_bytes(), site, payload_type=ADVERT).to_bytes()


def read_advert(data: bytes, run: str, plan: Plan, sites: Mapping[str, Verifier]) -> Advert:
    """The keys that one of these sites signed for this run and plan.

    Args:
        data: the envelope as it came.
        run: the run's id.
        plan: the run's plan.
        sites: the enrolled key of each site, by name.

    Raises:
        InputError: if `data` is no advert.
        VerificationFailed: if the site that it names did not sign it, or for another run or plan (rule 1).
    """
    envelope = Envelope.from_bytes(data, "advert")
    advert = Advert.from_bytes(envelope.payload, "advert")
    where = f"advert of {advert.site!r:.80}"
    if advert.site not in {site.name for site in plan.sites} or advert.site not in sites:
        raise VerificationFailed(f"{where}: expected one of a site of the plan, got another")
    dsse.verify(envelope, sites[advert.site], payload_type=ADVERT, where=where)
    if (advert.run, advert.plan) != (run, plan_digest(plan)):
        raise VerificationFailed(f"{where}: expected keys for this run and plan, got others")
    if not len(advert.masks) == len(advert.commitments) == len(releases(plan)):  # rule 2
        raise InputError(f"{where}: expected keys for {len(releases(plan))} releases, got others")
    return advert


def read_participants(adverts: Sequence[bytes], run: str, plan: Plan, sites: Mapping[str, Verifier]) -> Participants:
    """The participants that these adverts are of.

    Raises:
        KithError: as `read_advert`.
        InputError: if a site is in it twice.
        Refused: if it is of fewer sites than the plan asks for (rule 3).
    """
    names = {site.name for site in plan.sites}
    if len(adverts) > len(names):
        raise InputError(f"adverts: expected at most {len(names)}, got {len(adverts)}")
    keys = tuple((name, sites[name].public) for name in sorted(names & set(sites)))
    return _verified(tuple(adverts), run, plan, keys)


def participants_of(adverts: Iterable[Advert], plan: Plan) -> Participants:
    """The participants of verified adverts; raises as `read_participants`."""
    found = {advert.site: advert for advert in adverts}
    if len(found) < plan.replies_at_least:
        raise Refused(f"adverts: expected those of {plan.replies_at_least} sites at least, got {len(found)}")
    return Participants({name: found[name] for name in sorted(found)})


@lru_cache(maxsize=4)
def _verified(adverts: tuple[bytes, ...], run: str, plan: Plan, keys: tuple[tuple[str, bytes], ...]) -> Participants:
    """As `read_participants`. Where many sites are in one process, each is shown the same list."""
    sites = {name: signing.verifier(public) for name, public in keys}
    read = [read_advert(one, run, plan, sites) for one in adverts]
    if len({one.site for one in read}) != len(read):
        raise InputError("adverts: expected one of each site, got two of one")
    return participants_of(read, plan)


@lru_cache(maxsize=4)
def _kept(data: bytes) -> Participants:
    """Where many sites are in one process, each holds the same."""
    adverts = [Advert.from_bytes(one.encode("utf-8"), "participants") for one in canonical.from_bytes(data, "store")]
    return Participants({one.site: one for one in adverts})


def _cut(data: bytes, where: str) -> tuple[bytes, ...]:
    size = key_agreement.KEY_BYTES
    if len(data) % size:
        raise InputError(f"{where}: expected keys of {size} bytes, got otherwise")
    return tuple(data[start : start + size] for start in range(0, len(data), size))
