"""The outcome of a verification: numbered checks, each passed, failed or not reached, and what they answer.

Words of a release's maker are in it (names, labels, the run's id). `visible` is what a person is shown of them.
"""

from __future__ import annotations

import unicodedata
from dataclasses import asdict, dataclass
from typing import Any, Final

from privacy.party_names import INVISIBLE

PASS: Final = "pass"  # noqa: S105  (the state of a check, no password)
FAIL: Final = "fail"
NOT_REACHED: Final = "not reached"
NOT_STATED: Final = "not stated"
_BACKWARDS: Final = frozenset({"R", "AL", "AN"})


def visible(text: str) -> str:
    """`text` without what could make it look otherwise: such characters are shown by their code points.

    That is whatever is not printed (escape sequences for a terminal, line ends, signs that turn the direction), is
    drawn as nothing or over its neighbours, or is of a script from right to left, which turns numbers beside it around.
    """
    return "".join(one if _harmless(one) else f"\\u{ord(one):04x}" for one in text)


def _harmless(one: str) -> bool:
    if one.isascii():
        return one.isprintable()
    drawn = one.isprintable() and ord(one) not in INVISIBLE
    overlaid = unicodedata.name(one, "").startswith("COMBINING ")
    return drawn and not overlaid and unicodedata.bidirectional(one) not in _BACKWARDS


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
class Answer:
    """What a release says to one question of an evaluator: pass, fail or not stated, with the evidence."""

    number: int
    question: str
    state: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """All checks of a release, in order of number.

    Attributes:
        checks: what was checked. They alone decide whether the release is valid.
        answers: what the checks and the certificate answer to the questions of NIST SP 800-226. A valid certificate may
            have a bad answer: the checks say whether it is true, the answers whether it is good.
        epsilon, delta: what the certificate claims per employee; None unless the coordinator signed one.
        keys: whose keys the signatures were held against, in words.
    """

    checks: tuple[Check, ...]
    answers: tuple[Answer, ...] = ()
    epsilon: str | None = None
    delta: str | None = None
    keys: str = ""

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> Check | None:
        """The first check that failed; None if all passed."""
        return next((check for check in self.checks if check.state == FAIL), None)

    @property
    def line(self) -> str:
        """The whole verdict in one line: valid or refused, and the cost that is claimed."""
        claim = f"epsilon = {self.epsilon} at delta = {self.delta} per employee"
        if self.failed is None:
            return f"valid: {claim}"
        refused = f"REFUSED by check {self.failed.number} ({self.failed.name})"
        return f"{refused}: it claims {claim}" if self.epsilon else f"{refused}: no certificate that states an epsilon"

    def rows(self) -> tuple[tuple[str, str, str, str], ...]:
        """(number, name, state, detail) of every check, for a table."""
        return tuple((str(check.number), check.name, check.state, check.detail) for check in self.checks)

    def to_document(self) -> dict[str, Any]:
        """The verdict as JSON values: all that a person is shown."""
        failed = self.failed
        return {
            "ok": self.ok,
            "verdict": self.line,
            "epsilon": self.epsilon,
            "delta": self.delta,
            "keys": self.keys,
            "failed": failed.number if failed else None,
            "questions": [asdict(answer) for answer in self.answers],
            "checks": [asdict(check) for check in self.checks],
        }
