"""What the service serves and where it keeps its state, from the environment.

`bentoml serve`, a Bento and `kith serve` start the very same thing through these variables.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from privacy.errors import InputError

RELEASES: Final = "KITH_RELEASES"
"""Release directories, separated as in PATH."""
KEYS: Final = "KITH_KEYS"
"""Keys file that the releases must be signed with; unset or empty: the releases' own keys."""
DATABASE: Final = "KITH_DATABASE"
"""SQLAlchemy URL."""
TOKEN_KEYS: Final = "KITH_TOKEN_KEYS"  # noqa: S105 - the name of a variable
"""JWKS file with the token issuer's public keys."""
RECORDS: Final = "KITH_RECORDS"
"""Sites' records folders, separated as in PATH; none: callers bring the features."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a service process."""

    releases: tuple[Path, ...]
    pinned: Path | None
    database: str
    token_keys: Path
    records: tuple[Path, ...] = ()

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the variables.

        Raises:
            InputError: naming the one that is missing.
        """
        return cls(
            releases=_paths(_variable(RELEASES)),
            pinned=Path(pinned) if (pinned := os.environ.get(KEYS)) else None,
            database=_variable(DATABASE),
            token_keys=Path(_variable(TOKEN_KEYS)),
            records=_paths(os.environ.get(RECORDS, "")),
        )

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads, with absolute paths."""
        return {
            RELEASES: _joined(self.releases),
            RECORDS: _joined(self.records),
            KEYS: str(self.pinned.resolve()) if self.pinned else "",
            DATABASE: self.database,
            TOKEN_KEYS: str(self.token_keys.resolve()),
        }


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in text.split(os.pathsep) if part)


def _joined(paths: tuple[Path, ...]) -> str:
    resolved = [str(path.resolve()) for path in paths]
    if any(os.pathsep in path for path in resolved):
        raise InputError(f"folders: expected paths without {os.pathsep!r}, got one with")
    return os.pathsep.join(resolved)


def _variable(name: str) -> str:
    if value := os.environ.get(name):
        return value
    raise InputError(f"environment: expected {name} to be set, got nothing")
