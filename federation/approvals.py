"""Plans that were shown to a site, and what its people said of them: `approvals.sqlite` in the site's folder.

Rules:
    1. An approver signs one plan, in one run, of one coordinator, at one site. What is kept is that signature, and it
       is verified each time that it is read, by the keys that the policy names then: whoever edits the file can take
       words away, and approves nothing.
    2. Approvals count by keys: the same key's twice is one.
    3. A signed refusal outweighs approvals, also of a run that has started. A plan that was refused in one run passes
       for approved in no other.
    4. A run id is of one plan and one coordinator. What an approver is shown is the plan whose digest is signed.
    5. A plan is taken in when it waits for a person, or starts. Those that nobody has looked at are few: beyond
       `MAX_WAITING` in thirty days no further one waits.
    6. A start is kept in the one transaction that counts the others, and it is the run's latest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from federation.policy import Approver
from privacy import canonical, databases, dsse, fields
from privacy.dsse import Envelope
from privacy.errors import InputError, KithError, Refused, VerificationFailed
from privacy.plan import Plan
from privacy.signing import Signer

APPROVALS_FILE: Final = "approvals.sqlite"
TYPE: Final = "application/vnd.kith.approval+json"
APPROVE, REFUSE = "approve", "refuse"
WAITING, APPROVED, REFUSED = "waiting", "approved", "refused"
MAX_WAITING: Final = 100
THIRTY_DAYS: Final = timedelta(days=30)
MAX_PLAN: Final = 2**21
"""Bytes of a plan that is taken in: some 10,000 sites."""
MAX_DECISION: Final = 8_192
_PRAGMAS: Final[dict[str, str | int]] = {"busy_timeout": 10_000, "trusted_schema": "OFF", "synchronous": "FULL"}
_SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS shown (run TEXT PRIMARY KEY, digest TEXT NOT NULL, plan BLOB NOT NULL,"
    " coordinator TEXT NOT NULL, first_seen INTEGER NOT NULL, started INTEGER) STRICT",
    "CREATE TABLE IF NOT EXISTS decisions (run TEXT NOT NULL, keyid TEXT NOT NULL, envelope BLOB NOT NULL,"
    " PRIMARY KEY (run, keyid)) STRICT",
)
_UNSEEN: Final = text(
    "SELECT count(*) FROM shown WHERE started IS NULL AND first_seen > :since"
    " AND NOT EXISTS (SELECT 1 FROM decisions WHERE decisions.run = shown.run)"
)
_TAKE_IN: Final = text(
    "INSERT OR IGNORE INTO shown (run, digest, plan, coordinator, first_seen)"
    " VALUES (:run, :digest, :plan, :coordinator, :first_seen)"
)
_START: Final = text(
    "UPDATE shown SET started = :now WHERE run = :run AND digest = :digest AND coordinator = :coordinator"
)
_STATEMENT: Final = ("site", "run", "plan", "coordinator", "verdict", "name", "at")


class Waiting(Refused):
    """A plan that the site's people must see first."""


@dataclass(frozen=True)
class Verdict:
    """What an approver signed.

    Attributes:
        name, keyid: of the approver, as the policy has them.
        verdict: "approve" or "refuse".
        at: POSIX seconds, for people to read.
    """

    name: str
    keyid: str
    verdict: str
    at: int


@dataclass(frozen=True)
class Shown:
    """A plan that a coordinator wants to run here, whether it was taken in yet or not.

    Attributes:
        run: the run's id.
        digest: of the plan.
        plan: the plan itself.
        coordinator: id of the key that asked.
        first_seen: when it was first asked for.
        started: when the run started here, if it has.
        verdicts: those that verify.
    """

    run: str
    digest: str
    plan: Plan
    coordinator: str
    first_seen: datetime
    started: datetime | None
    verdicts: tuple[Verdict, ...]

    @classmethod
    def of(cls, run: str, plan: Plan, coordinator: str, now: datetime) -> Shown:
        """One that is asked for now for the first time."""
        return cls(run, plan.digest, plan, coordinator, now, started=None, verdicts=())

    @property
    def approvals(self) -> int:
        """How many different approvers have approved (rule 2)."""
        return len({one.keyid for one in self.verdicts if one.verdict == APPROVE})

    def state(self, needed: int) -> str:
        """Where it stands if so many approvals are needed (rule 3)."""
        if any(one.verdict == REFUSE for one in self.verdicts):
            return REFUSED
        return APPROVED if self.approvals >= needed else WAITING


class Approvals:
    """One site's queue; safe to share between threads and processes."""

    def __init__(self, folder: Path, site: str) -> None:
        """Open the file in the site's folder; a new one is made if there is none.

        Raises:
            InputError: if it can not be written, or is something else.
        """
        path = folder / APPROVALS_FILE
        databases.create_private(path)
        self._site = site
        self._engine = databases.create_engine_for(URL.create("sqlite", database=str(path.resolve())), _PRAGMAS)
        with _whole(), databases.writing(self._engine) as connection:
            for statement in _SCHEMA:
                connection.execute(text(statement))

    def close(self) -> None:
        """Close the database; the object is of no use afterwards."""
        self._engine.dispose()

    def find(self, run: str, plan: Plan, coordinator: str, approvers: Sequence[Approver]) -> Shown | None:
        """Where a run's plan stands; None if it was never taken in.

        Raises:
            Refused: if the run has another plan or coordinator (rule 4).
        """
        with _whole(), databases.reading(self._engine) as connection:
            known = self._read(connection, run, approvers)
        if known is not None and (known.digest, known.coordinator) != (plan.digest, coordinator):
            raise _of_another(run)
        return known

    def wait(self, shown: Shown) -> None:
        """Take in a plan that waits for a person.

        Raises:
            Refused: if it is too large, or too many wait (rule 5).
        """
        row, since = _row(shown), int((shown.first_seen - THIRTY_DAYS).timestamp())
        with _whole(), databases.writing(self._engine) as connection:
            if connection.execute(_UNSEEN, {"since": since}).scalar_one() >= MAX_WAITING:  # rule 5
                raise Refused("plan: expected few that wait for this site, got too many; its people must look first")
            connection.execute(_TAKE_IN, row)

    def shown(self, approvers: Sequence[Approver]) -> tuple[Shown, ...]:
        """Every plan that was shown, the latest first."""
        with _whole(), databases.reading(self._engine) as connection:
            runs = [row.run for row in connection.execute(text("SELECT run FROM shown ORDER BY first_seen DESC, run"))]
            found = [self._read(connection, run, approvers) for run in runs]
        return tuple(one for one in found if one is not None)

    def approved_before(self, shown: Shown, needed: int, approvers: Sequence[Approver]) -> bool:
        """Whether another run of this plan, of the same coordinator, has the approvals needed, and none a refusal."""
        with _whole(), databases.reading(self._engine) as connection:
            query = text("SELECT run FROM shown WHERE digest = :digest AND coordinator = :coordinator AND run != :run")
            asked = {"digest": shown.digest, "coordinator": shown.coordinator, "run": shown.run}
            found = [self._read(connection, row.run, approvers) for row in connection.execute(query, asked).all()]
        states = {one.state(needed) for one in found if one is not None}
        return APPROVED in states and REFUSED not in states  # rule 3

    def start(self, shown: Shown, now: datetime, check: Callable[[Sequence[datetime]], None]) -> None:
        """Keep that a run starts now (rule 6).

        Args:
            shown: the run's plan; it is taken in unless it was.
            now: aware.
            check: told when other runs have started here; what it raises leaves everything as it was.

        Raises:
            Refused: if the plan is too large, or the run has another plan or coordinator (rule 4).
        """
        row = _row(shown)
        with _whole(), databases.writing(self._engine) as connection:
            check(_starts(connection, shown.run))
            connection.execute(_TAKE_IN, row)
            if not connection.execute(_START, {**row, "now": int(now.timestamp())}).rowcount:
                raise _of_another(shown.run)

    def starts(self, but: str | None = None) -> tuple[datetime, ...]:
        """When runs have started here, but for one."""
        with _whole(), databases.reading(self._engine) as connection:
            return _starts(connection, but)

    def decide(self, shown: Shown, verdict: str, signer: Signer, approvers: Sequence[Approver], now: datetime) -> None:
        """Sign and keep an approver's word on a plan; a second one of the same approver takes the first one's place.

        Raises:
            Refused: if the key is no approver's.
        """
        approver = {one.verifier.keyid: one for one in approvers}.get(signer.keyid)
        if approver is None:
            raise Refused(f"key {signer.keyid[:16]}: expected an approver's of the site's policy, got another")
        statement = {**self._statement(shown.run, shown.digest, shown.coordinator), "verdict": verdict}
        payload = canonical.to_bytes({**statement, "name": approver.name, "at": int(now.timestamp())})
        envelope = dsse.sign(payload, signer, payload_type=TYPE).to_bytes()
        with _whole(), databases.writing(self._engine) as connection:
            connection.execute(
                text("INSERT OR REPLACE INTO decisions (run, keyid, envelope) VALUES (:run, :keyid, :envelope)"),
                {"run": shown.run, "keyid": signer.keyid, "envelope": envelope},
            )

    def _read(self, connection: Connection, run: str, approvers: Sequence[Approver]) -> Shown | None:
        row = connection.execute(text("SELECT * FROM shown WHERE run = :run"), {"run": run}).one_or_none()
        if row is None:
            return None
        if hashlib.sha256(row.plan).hexdigest() != row.digest:  # rule 4
            raise InputError(f"{APPROVALS_FILE}, run {run!r:.80}: expected the plan with its digest, got another")
        query = text("SELECT envelope FROM decisions WHERE run = :run ORDER BY rowid")
        envelopes = [one.envelope for one in connection.execute(query, {"run": run})]
        return Shown(
            run=run,
            digest=row.digest,
            plan=_plan(row.plan),
            coordinator=row.coordinator,
            first_seen=_moment(row.first_seen),
            started=None if row.started is None else _moment(row.started),
            verdicts=_verified(envelopes, self._statement(run, row.digest, row.coordinator), approvers),
        )

    def _statement(self, run: str, digest: str, coordinator: str) -> Mapping[str, str]:
        return {"site": self._site, "run": run, "plan": digest, "coordinator": coordinator}


_plan: Final = lru_cache(maxsize=16)(Plan.from_bytes)


def _row(shown: Shown) -> dict[str, Any]:
    """A plan as it is taken in.

    Raises:
        Refused: if it is too large.
    """
    data = shown.plan.to_bytes()
    if len(data) > MAX_PLAN:
        raise Refused(f"plan: expected at most {MAX_PLAN} bytes, got more")
    return {
        "run": shown.run,
        "digest": shown.digest,
        "plan": data,
        "coordinator": shown.coordinator,
        "first_seen": int(shown.first_seen.timestamp()),
    }


def _starts(connection: Connection, but: str | None) -> tuple[datetime, ...]:
    rows = connection.execute(text("SELECT run, started FROM shown WHERE started IS NOT NULL"))
    return tuple(_moment(row.started) for row in rows if row.run != but)


def _of_another(run: str) -> Refused:
    """What is said where a run has another plan or coordinator (rule 4)."""
    return Refused(f"run {run!r:.80}: expected the plan and coordinator that it was shown with, got another")


@contextmanager
def _whole() -> Iterator[None]:
    """Turns what SQLite says of a damaged file into one line."""
    try:
        yield
    except SQLAlchemyError as error:
        raise InputError(
            f"{APPROVALS_FILE}: expected the plans shown to the site, got {type(error).__name__}"
        ) from None


def _verified(
    envelopes: Iterable[bytes], about: Mapping[str, str], approvers: Sequence[Approver]
) -> tuple[Verdict, ...]:
    """Those verdicts that an approver signed about this (rule 1); others are as if they were not there."""
    found: dict[str, Verdict] = {}
    for data in envelopes:
        for approver in approvers:
            try:
                verdict = _verdict(data, about, approver)
            except KithError:
                continue
            found[verdict.keyid] = verdict
    return tuple(found.values())


def _verdict(data: bytes, about: Mapping[str, str], approver: Approver) -> Verdict:
    key = approver.verifier
    payload = dsse.verify(Envelope.from_bytes(data, "approval", MAX_DECISION), key, payload_type=TYPE)
    said: dict[str, Any] = fields.exactly(
        canonical.from_bytes(payload, "approval", MAX_DECISION), _STATEMENT, "approval"
    )
    if {name: said[name] for name in about} != about or said["verdict"] not in (APPROVE, REFUSE):
        raise VerificationFailed("approval: expected one of this plan in this run, got another's")
    return Verdict(approver.name, key.keyid, said["verdict"], fields.whole(said["at"], "approval, at"))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
