"""The releases of a plan in their order, and what is bound to one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from privacy import canonical
from privacy.errors import InputError, Refused
from privacy.plan import SECURE_SUM, Plan

MAX_SITES: Final = 1_000
MAX_SHARES: Final = 200_000
"""Sites times releases: each site holds so many shares of secrets, twice."""


@lru_cache(maxsize=16)
def releases(plan: Plan) -> tuple[tuple[str, int], ...]:
    """Every (event, index) of a plan with a secure sum.

    Raises:
        Refused: for a plan without, or one too large for the masks of everybody with everybody.
    """
    if plan.trust != SECURE_SUM:
        raise Refused(f"plan trust: expected {SECURE_SUM!r}, got {plan.trust!r}")
    found = plan.releases
    if len(plan.sites) > MAX_SITES or len(plan.sites) * len(found) > MAX_SHARES:
        raise Refused(
            f"plan: expected at most {MAX_SITES} sites, and {MAX_SHARES} sites times releases, under a secure sum,"
            f" got {len(plan.sites)} sites and {len(found)} releases"
        )
    return found


def place_of(plan: Plan, event: str, index: int) -> int:
    """A release's place in the plan, from 0.

    Raises:
        InputError: if the plan has no such release.
    """
    try:
        return releases(plan).index((event, index))
    except ValueError:
        raise InputError(f"release: expected one of the plan, got {event!r:.80} {index!r:.20}") from None


@lru_cache(maxsize=16)
def plan_digest(plan: Plan) -> str:
    """sha256 (hex) of a plan."""
    return plan.digest


def point_of(plan: Plan, site: str) -> int:
    """Where the polynomials of secrets are taken for a site: one more than its place in the plan."""
    return 1 + [one.name for one in plan.sites].index(site)


def digest_of(what: str, **facts: str | int | Sequence[str]) -> bytes:
    """32 bytes that stand for these facts and no others, for keys to be bound to."""
    named = {name: list(fact) if isinstance(fact, tuple) else fact for name, fact in facts.items()}
    return hashlib.sha256(canonical.to_bytes({"what": what, **named})).digest()
