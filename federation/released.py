"""One release of a run as the coordinator has it: what came of it, from whom, and who is not in it and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.pooling import Part
from privacy import fields
from privacy.errors import InputError

STEPS = np.dtype("<i8")


@dataclass(frozen=True, eq=False)
class Released:
    """What a release has come to.

    Attributes:
        event, index: which release of the plan.
        state: sha256 (hex) of what it was computed at.
        parts: its sums: one for each site, or one of all its sites under a secure sum. None if the sum can not be used
            because some site sent garbage that nobody can tell from the others' masked values.
        receipts: the DSSE receipts of the sites in it, by name in order.
        absent: why each of the other sites of the plan is not in it, by name.
        faults: what else was wrong, by the site that did it, or by "" where nobody knows which.
        size: bytes of the contributions as they came.
    """

    event: str
    index: int
    state: str
    parts: tuple[Part, ...]
    receipts: Mapping[str, bytes]
    absent: Mapping[str, str]
    faults: Mapping[str, str]
    size: int

    def to_document(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "event": self.event,
            "index": self.index,
            "state": self.state,
            "parts": [
                {"sites": list(part.sites), "sum": fields.to_base64(part.sum.astype(STEPS).tobytes())}
                for part in self.parts
            ],
            "receipts": {name: fields.to_base64(data) for name, data in self.receipts.items()},
            "absent": dict(self.absent),
            "faults": dict(self.faults),
            "size": self.size,
        }

    @classmethod
    def from_document(cls, document: Any, where: str) -> Released:
        """What `to_document` wrote.

        Raises:
            InputError: for anything else.
        """
        try:
            return cls(
                parts=tuple(
                    Part(
                        tuple(part["sites"]),
                        np.frombuffer(fields.from_base64(part["sum"], where), dtype=STEPS).astype(np.int64),
                    )
                    for part in document["parts"]
                ),
                receipts={name: fields.from_base64(data, where) for name, data in document["receipts"].items()},
                **{name: document[name] for name in ("event", "index", "state", "absent", "faults", "size")},
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"{where}: expected a release of a run, got otherwise") from None
