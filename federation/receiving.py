"""What makes a contribution count.

Rules:
    1. A contribution counts only with a receipt that its site has signed, for exactly this run, plan, event, index and
       state, at the plan's charge, and these bytes, of the length that the plan says.
    2. What a site could not have sent honestly is its garbage: a coordinate beyond what its declared number of people
       and 64 deviations of its noise come to. Under masks that can be said of the sum alone.
    3. Noise is of the plan's own source, as the site's receipt says. Where all sites say that theirs is seeded, it is a
       test; such a release verifies nowhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from federation.wire import Contribute, Contribution, Message
from privacy import amounts
from privacy.errors import InputError, VerificationFailed
from privacy.plan import SECURE_SUM, GaussianSum, Plan
from privacy.randomness import SEEDED, SOURCES
from privacy.receipt import open_receipt
from privacy.signing import Verifier

DEVIATIONS: Final = 64


@dataclass(frozen=True, eq=False)
class Verified:
    """A contribution whose receipt has been verified.

    Attributes:
        values: int64 steps, or uint64 under masks.
        receipt: signed by the site.
        noise: name of its source.
    """

    values: NDArray[np.int64] | NDArray[np.uint64]
    receipt: bytes
    noise: str


def verified(site: str, told: Message, asked: Contribute, plan: Plan, key: Verifier) -> Verified:
    """A site's contribution, if it counts.

    Raises:
        KithError: if it does not.
    """
    if not isinstance(told, Contribution):
        raise InputError(f"contribution of {site!r:.80}: expected one, got another reply")
    receipt, event = open_receipt(told.receipt, key, f"receipt of {site!r:.80}"), plan.event(asked.event)
    state = hashlib.sha256(asked.state).hexdigest()
    expected = (site, asked.run, plan.digest, asked.event, asked.index, state)
    got = (receipt.site, receipt.run, receipt.plan, receipt.event, receipt.index, receipt.state)
    if got != expected:  # rule 1
        raise VerificationFailed(
            f"receipt of {site!r:.80}: expected run, plan and state of {asked.event} {asked.index}, got others"
        )
    if receipt.mu2 != amounts.to_text(amounts.once(event)):
        raise VerificationFailed(f"receipt of {site!r:.80}: expected the mu² of {asked.event}, got another")
    if receipt.noise not in (SOURCES[plan.mechanism], SEEDED):  # rule 3
        raise VerificationFailed(f"receipt of {site!r:.80}: expected noise of {SOURCES[plan.mechanism]}, got another")
    if receipt.contribution != hashlib.sha256(told.values).hexdigest():
        raise VerificationFailed(f"contribution of {site!r:.80}: expected the bytes that its receipt names, got others")
    if len(told.values) != 8 * event.coordinates:
        raise InputError(f"contribution of {site!r:.80}: expected {event.coordinates} numbers, got another length")
    if plan.trust == SECURE_SUM:
        return Verified(np.frombuffer(told.values, dtype="<u8").astype(np.uint64), told.receipt, receipt.noise)
    values = np.frombuffer(told.values, dtype="<i8").astype(np.int64)
    check_range(values, [site], event, plan)
    return Verified(values, told.receipt, receipt.noise)


def seeded_among(found: Mapping[str, Verified]) -> tuple[str, ...]:
    """Sites that say that their noise is seeded, if others' is not (rule 3)."""
    seeded = tuple(site for site, one in found.items() if one.noise == SEEDED)
    return seeded if len(seeded) < len(found) else ()


def check_range(values: NDArray[np.int64], sites: Collection[str], event: GaussianSum, plan: Plan) -> None:
    """That a sum over these sites is one that they could have sent (rule 2).

    Raises:
        InputError: if it is not.
    """
    people: Mapping[str, int] = {site.name: site.people_at_most for site in plan.sites}
    most = sum(people[site] for site in sites) * event.sensitivity
    most += DEVIATIONS * len(sites) * plan.at_site(event).noise
    if ((values > most) | (values < -most)).any():
        raise InputError(f"{event.name}: expected sums of at most {most} steps of {len(sites)} sites, got larger ones")
