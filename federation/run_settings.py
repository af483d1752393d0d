"""What a run is to do, as its folder keeps it from the beginning. What it may do is decided at each site."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from models.planning import ROUNDS
from privacy import canonical
from privacy.errors import InputError
from privacy.plan import decimal

SETTINGS: Final = "settings.json"
DEADLINE: Final = 600.0
"""Seconds that an exchange with the sites may take, unless somebody says otherwise."""
RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Settings:
    """What a run is to do. What it may do is decided at each site.

    Attributes:
        run: the run's id.
        use_case: the purpose.
        epsilon, delta: budget of the run for each employee, measures included.
        trust: "local" or "secure-sum".
        rounds: gradient sums.
        measures: what is measured at the end, out of `models.planning.measures_offered`.
        float64: whether to ask for floating-point noise, which sites must allow and certificates tell.
        audit: file of an audit of exactly this plan (`kith audit --json`), to go into the release.
        prior: directory of the release that this one follows.
        deadline: seconds that one exchange with the sites may take.
    """

    run: str
    use_case: str
    epsilon: Decimal
    delta: Decimal
    trust: str
    rounds: int = ROUNDS
    measures: tuple[str, ...] = ()
    float64: bool = False
    audit: Path | None = None
    prior: Path | None = None
    deadline: float = DEADLINE

    def __post_init__(self) -> None:
        """Refuse a run id that is no plain name, as it becomes a folder's, and a deadline out of range.

        Raises:
            InputError: for either.
        """
        if not RUN_ID.fullmatch(self.run):
            raise InputError(f"run id: expected up to 100 letters, digits, . _ or -, got {self.run!r:.60}")
        if not 1 <= self.deadline <= 7 * 86_400:
            raise InputError(f"deadline: expected 1 second to a week, got {self.deadline!r:.40}")

    def to_document(self) -> dict[str, Any]:
        """All but the deadline, which may be another when the run is gone on with."""
        return {
            "run": self.run,
            "use_case": self.use_case,
            "epsilon": str(self.epsilon),
            "delta": str(self.delta),
            "trust": self.trust,
            "rounds": self.rounds,
            "measures": list(self.measures),
            "float64": self.float64,
            "audit": str(self.audit or ""),
            "prior": str(self.prior or ""),
        }


def begun(out: Path, deadline: float = DEADLINE) -> Settings:
    """The settings that the run in a folder was begun with.

    Raises:
        InputError: if there is none.
    """
    path = out / SETTINGS
    try:
        document = canonical.from_bytes(path.read_bytes(), str(path))["settings"]
        return Settings(
            **{name: document[name] for name in ("run", "use_case", "trust", "rounds", "float64")},
            epsilon=decimal(document["epsilon"], f"{path}, epsilon"),
            delta=decimal(document["delta"], f"{path}, delta"),
            measures=tuple(document["measures"]),
            audit=Path(document["audit"]) if document["audit"] else None,
            prior=Path(document["prior"]) if document["prior"] else None,
            deadline=deadline,
        )
    except (OSError, KeyError, TypeError):
        raise InputError(f"{path}: expected the settings of a run that was begun, got none") from None
