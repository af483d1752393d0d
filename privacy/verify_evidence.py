"""What the checks of a release share: what they have established so far, and how they compare.

Each check takes the `Evidence`, may use what the checks that it builds on have set there, and returns in words what it
found. It fails by raising one of Kith's errors.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from decimal import Decimal
from typing import Final

from privacy.certificate import Certificate
from privacy.cost import Cost
from privacy.errors import VerificationFailed
from privacy.key_list import KeyList
from privacy.ledger_excerpt import LedgerExcerpt, VerifiedExcerpt
from privacy.plan import Plan, SiteBound
from privacy.receipt import Receipt
from privacy.trust_roots import PinnedKeys, TrustRoots

ROUNDING: Final = Decimal("0.000002")
"""Two steps of a stated epsilon, upwards only: another machine's libm may round the last digit otherwise."""


@dataclass(slots=True)
class Evidence:
    """A release under verification.

    Attributes:
        read: reads the release's files.
        pinned: keys that the officer got by another way, if any.
        prior: certificate file of the prior release, if the officer has it.
        contract: the group's contract file, if the officer has it.
        files, key_list, keys, certificate, digests, plan, receipts, states, excerpts, ledgers, cost, weights: set by
            checks. `receipts`, `excerpts` and `ledgers` have one item per account, in their order; `states` has the
            sha256 (hex) of the state of every release, by event and index, in the plan's order; `weights` are the
            shared scorer's, little-endian float64.
    """

    read: Callable[[], Mapping[str, bytes]]
    pinned: PinnedKeys | None = None
    prior: bytes | None = None
    contract: bytes | None = None
    files: Mapping[str, bytes] = field(init=False)
    key_list: KeyList = field(init=False)
    keys: TrustRoots = field(init=False)
    certificate: Certificate | None = field(init=False, default=None)
    digests: Mapping[str, str] = field(init=False)
    plan: Plan = field(init=False)
    receipts: list[list[Receipt]] = field(init=False)
    states: Mapping[tuple[str, int], str] = field(init=False)
    excerpts: list[LedgerExcerpt] = field(init=False)
    ledgers: list[VerifiedExcerpt] = field(init=False)
    cost: Cost = field(init=False)
    weights: bytes = field(init=False)

    @property
    def certified(self) -> Certificate:
        """The certificate, in a check that builds on its check."""
        if self.certificate is None:
            raise VerificationFailed("certificate: expected one that was opened, got none")
        return self.certificate

    @property
    def sites(self) -> list[str]:
        """The plan's sites, in order."""
        return [site.name for site in self.plan.sites]

    @property
    def contributors(self) -> list[str]:
        """The sites with an account, in order: those that are in at least one release."""
        return [one.site for one in self.certified.accounts]

    @property
    def bounds(self) -> Mapping[str, SiteBound]:
        """The plan's sites, by name."""
        return {site.name: site for site in self.plan.sites}


def equal(what: str, expected: object, got: object) -> None:
    """Return if they are equal.

    Raises:
        VerificationFailed: naming both; of two records, the first field that differs.
    """
    if expected == got:
        return
    if is_dataclass(expected) and type(expected) is type(got):
        for one in fields(expected):
            equal(f"{what}, {one.name}", getattr(expected, one.name), getattr(got, one.name))
    else:
        raise VerificationFailed(f"{what}: expected {_short(expected)}, got {_short(got)}")


def close(what: str, expected: str, got: str) -> None:
    """Return if a stated epsilon is the computed one or at most `ROUNDING` above it; ">700" is only equal to itself.

    Raises:
        VerificationFailed: naming both.
    """
    if expected.startswith(">") or got.startswith(">"):
        return equal(what, expected, got)
    if not 0 <= Decimal(got) - Decimal(expected) <= ROUNDING:
        raise VerificationFailed(f"{what}: expected {expected}, got {got}")
    return None


def _short(value: object) -> str:
    """A value in words; what only looks like other text is shown by its code points."""
    text = str(sorted(value) if isinstance(value, set) else value)
    text = "".join(one if _plain(one) else f"\\u{ord(one):04x}" for one in text)
    return text if len(text) <= 160 else f"{text[:157]}..."


def _plain(character: str) -> bool:
    """Whether a character may be shown as it is: ASCII and Latin letters, and the mathematics that Kith itself uses."""
    if character.isascii():
        return character.isprintable()
    return unicodedata.name(character, "").startswith(("LATIN ", "SUPERSCRIPT ", "MICRO "))
