"""The outcome of a verification: numbered checks, each passed, failed or not reached."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

PASS: Final = "pass"  # noqa: S105  (the state of a check, no password)
FAIL: Final = "fail"
NOT_REACHED: Final = "not reached"


@dataclass(frozen=True, slots=True)
class Check:
    """One check: its number and name, its state, and what was found in words."""

    number: int
    name: str
    state: str
    detail: str

    @property
    def passed(self) -> bool:
        """Whether it was reached and held."""
        return self.state == PASS


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks of a release, in order of number."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> Check | None:
        """The first check that failed; None if all passed."""
        return next((check for check in self.checks if check.state == FAIL), None)

    def rows(self) -> tuple[tuple[str, str, str, str], ...]:
        """(number, name, state, detail) of every check, for a table."""
        return tuple((str(check.number), check.name, check.state, check.detail) for check in self.checks)

    def to_document(self) -> dict[str, Any]:
        """The verdict as JSON values: ok, the failed check's number (or null) and all checks."""
        failed = self.failed
        return {
            "ok": self.ok,
            "failed": failed.number if failed else None,
            "checks": [asdict(check) for check in self.checks],
        }
