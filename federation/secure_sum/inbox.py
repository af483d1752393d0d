"""What others have sealed for a site, opened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from privacy import canonical, fields


@dataclass(frozen=True, repr=False)
class Inbox:
    """The bags of shares that a site holds.

    Attributes:
        sites: those of the sum, the site itself too, in order.
        came: `digest_of` what came sealed.
        bags: by sender, of those that opened and the site itself.
    """

    sites: tuple[str, ...]
    came: str
    bags: Mapping[str, bytes]

    @staticmethod
    def digest_of(sealed: Mapping[str, bytes]) -> str:
        """sha256 (hex) that stands for sealed bags by sender."""
        digests = {name: hashlib.sha256(bag).hexdigest() for name, bag in sealed.items()}
        return hashlib.sha256(canonical.to_bytes(digests)).hexdigest()

    def to_bytes(self) -> bytes:
        """For the site's own store; the bags, which are of one length, are one text."""
        return canonical.to_bytes(
            {
                "bags": fields.to_base64(b"".join(self.bags.values())),
                "came": self.came,
                "opened": list(self.bags),
                "sites": list(self.sites),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Inbox:
        """What `to_bytes` wrote."""
        document = canonical.from_bytes(data, "inbox")
        opened, bags = document["opened"], fields.from_base64(document["bags"], "inbox")
        size = len(bags) // len(opened)
        cut = {name: bags[place * size : (place + 1) * size] for place, name in enumerate(opened)}
        return cls(tuple(document["sites"]), document["came"], cut)
