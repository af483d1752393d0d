"""How a run stands, folded from its log: what the live view, `kith runs show` and the metrics tell.

A resumed run does some things twice; here each release counts once, and each site once in it: as it was told last.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from federation.run_events import PHASES, Event

RUNNING: Final = "running"
WAITING: Final = "waiting"
FAILED: Final = "failed"
FINISHED: Final = "finished"
INTERRUPTED: Final = "interrupted"
STATUSES: Final = (RUNNING, WAITING, FAILED, FINISHED, INTERRUPTED)
AWAITED: Final = "awaited"
LATE: Final = "late"
REPLIED: Final = "replied"
ABSENT: Final = "absent"
IDLE: Final = "idle"
SLACK: Final = 60.0
"""Seconds past a deadline after which a run that says nothing is taken for dead, if nobody knows better."""
_ASKED: Final = frozenset(PHASES) - {"certifying"}
"""Phases in which sites are asked for something."""

Release = tuple[str, int]
"""Event of the plan, and index."""


@dataclass(frozen=True, slots=True)
class SiteState:
    """One site in a run.

    Attributes:
        name: of the site.
        state: in the phase that the run is at: `AWAITED`, `WAITING` (a person there must see the plan first), `LATE`
            (past half of the deadline), `REPLIED`, `ABSENT` (from this release), or `IDLE` (it is not asked for
            anything).
        why: reason of its last absence; "" if there was none.
        seconds: what its last reply took; None before the first.
        replies: how many came.
        contributions: releases that it gave a contribution to.
        absences: releases that it is not in, by reason.
    """

    name: str
    state: str
    why: str
    seconds: float | None
    replies: int
    contributions: int
    absences: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class RunState:
    """A run at one moment.

    Attributes:
        run, plan, use_case, trust, epsilon, delta: as the run began with; "" before that.
        status: one of `STATUSES`; `WAITING` while a site is.
        reason: why it failed; "" if it did not.
        release: where its release is; "" if there is none.
        phase: one of `run_events.PHASES`, or "" before the first.
        event, index: the release that the phase is of; "" and None where it is of none.
        done, releases: releases that are made, of how many.
        sites: the plan's, in its order.
        spent: share of the run's mu² that is charged by now, from 0 to 1; where the log does not say, of the releases.
        bytes: what the releases brought in.
        began, last, ended: seconds since 1970 of its first event, its last one, and its end (None if it has not ended).
        elapsed: seconds from its beginning to now or its end.
        phase_elapsed, deadline: seconds since the phase began, and those after which it ends.
        left: estimated seconds until all releases are made; None before the first one.
        release_seconds: what each release took.
        resumed: how often it was gone on with.
    """

    run: str
    plan: str
    use_case: str
    trust: str
    epsilon: str
    delta: str
    status: str
    reason: str
    release: str
    phase: str
    event: str
    index: int | None
    done: int
    releases: int
    sites: tuple[SiteState, ...]
    spent: float
    bytes: int
    began: float
    last: float
    ended: float | None
    elapsed: float
    phase_elapsed: float
    deadline: float
    left: float | None
    release_seconds: tuple[float, ...]
    resumed: int

    def to_document(self) -> dict[str, Any]:
        """As JSON: the same names, seconds as numbers with three places."""
        document: dict[str, Any] = _rounded(asdict(self))
        return document

    @classmethod
    def of(cls, events: Iterable[Event], now: float | None = None, alive: bool | None = None) -> RunState:
        """The state that events in order make.

        Args:
            events: of one log, from its beginning.
            now: seconds since 1970; the clock's if None.
            alive: whether a process writes the log (`run_log.is_written`); None if nobody can tell, as on another
                machine: then a run is taken for dead when it is silent past its deadline.
        """
        fold = Fold()
        for event in events:
            fold.add(event)
        return fold.state(now, alive)


@dataclass(slots=True)
class _Site:
    seconds: float | None = None
    replies: int = 0
    replied: bool = False
    waiting: bool = False
    contributed: set[Release | None] = field(default_factory=set)
    absent: dict[Release | None, str] = field(default_factory=dict)
    why: str = ""


class Fold:
    """A state that grows with its log."""

    def __init__(self) -> None:
        """Before the first event."""
        self._facts: dict[str, Any] = {}
        self._sites: dict[str, _Site] = {}
        self._status, self._reason, self._release = RUNNING, "", ""
        self._phase, self._phase_began, self._deadline = "", 0.0, 0.0
        self._at: Release | None = None
        self._done, self._resumed = 0, 0
        self._spent: float | None = None
        self._bytes: dict[Release, int] = {}
        self._began: float | None = None
        self._last = 0.0
        self._mark: float | None = None
        self._seconds: list[float] = []

    @property
    def empty(self) -> bool:
        """Whether no event has come yet."""
        return self._began is None

    def add(self, event: Event) -> None:
        """Take the next event into account."""
        self._began = event.at if self._began is None else self._began
        self._last = max(self._last, event.at)
        getattr(self, f"_on_{event.what}")(event.at, event.facts)

    def state(self, now: float | None = None, alive: bool | None = None) -> RunState:
        """How the run stands; see `RunState.of`."""
        now = time.time() if now is None else now
        status = self._status_at(now, alive)
        ended = self._last if status in (FAILED, FINISHED, INTERRUPTED) else None
        upto = now if ended is None else ended
        phase_elapsed = max(0.0, upto - self._phase_began) if self._phase else 0.0
        asked = ended is None and self._phase in _ASKED
        late = asked and phase_elapsed > self._deadline / 2
        releases = self._facts.get("releases", 0)
        share = self._done / releases if releases else 0.0
        event, index = self._at if self._at and ended is None else ("", None)
        return RunState(
            **{name: self._facts.get(name, "") for name in ("run", "plan", "use_case", "trust", "epsilon", "delta")},
            status=status,
            reason=self._reason,
            release=self._release,
            phase=self._phase,
            event=event,
            index=index,
            done=self._done,
            releases=releases,
            sites=tuple(self._site(name, site, asked, late) for name, site in self._sites.items()),
            spent=min(1.0, max(0.0, share if self._spent is None else self._spent)),
            bytes=sum(self._bytes.values()),
            began=self._began or 0.0,
            last=self._last,
            ended=ended,
            elapsed=max(0.0, upto - (upto if self._began is None else self._began)),
            phase_elapsed=phase_elapsed,
            deadline=self._deadline,
            left=None if ended is not None else self._left(now, releases),
            release_seconds=tuple(self._seconds),
            resumed=self._resumed,
        )

    def _status_at(self, now: float, alive: bool | None) -> str:
        status = self._status
        if status == RUNNING and any(site.waiting for site in self._sites.values()):
            status = WAITING
        if status in (FAILED, FINISHED) or alive or self.empty:
            return status
        silent = now > self._last + self._deadline + SLACK
        return INTERRUPTED if silent or alive is False else status

    def _left(self, now: float, releases: int) -> float | None:
        missing = releases - self._done
        if missing <= 0 or not self._seconds:
            return 0.0 if missing <= 0 < releases else None
        typical = statistics.median(self._seconds)
        begun = 0.0 if self._mark is None else min(typical, max(0.0, now - self._mark))
        return missing * typical - begun

    def _site(self, name: str, site: _Site, asked: bool, late: bool) -> SiteState:
        state = IDLE
        left_out = self._at in site.absent or None in site.absent
        dropped = self._phase in ("agreeing", "unmasking") and self._at not in site.contributed
        if asked and (left_out or dropped):
            state = ABSENT
        elif asked:
            state = REPLIED if site.replied else WAITING if site.waiting else LATE if late else AWAITED
        absences = Counter(why for release, why in site.absent.items() if release is not None)
        why = site.why if site.absent else ""
        return SiteState(name, state, why, site.seconds, site.replies, len(site.contributed), dict(absences))

    # One for each event

    def _on_started(self, at: float, facts: Mapping[str, Any]) -> None:
        if self._facts:
            self._on_resumed(at, {"done": 0})
        self._facts = dict(facts)
        self._deadline = facts["deadline"]
        self._sites = {name: self._sites.get(name, _Site()) for name in facts["sites"]}

    def _on_phase(self, at: float, facts: Mapping[str, Any]) -> None:
        self._phase, self._phase_began = facts["phase"], at
        self._deadline = facts.get("deadline", self._facts.get("deadline", 0.0))
        self._status = RUNNING
        self._at = (facts["event"], facts.get("index", 0)) if "event" in facts else None
        if self._phase == "release" and self._mark is None:
            self._mark = at
        for site in self._sites.values():
            site.replied = site.waiting = False

    def _on_reply(self, at: float, facts: Mapping[str, Any]) -> None:
        del at
        site = self._sites.get(facts["site"])
        if site is None:
            return
        site.seconds, site.replies = facts["seconds"], site.replies + 1
        if facts["phase"] != self._phase:
            return
        site.replied, site.waiting = True, False
        for release in (self._at, None):  # a run that was gone on with asks again who was absent before
            site.absent.pop(release, None)
        if self._phase == "release" and self._at is not None:
            site.contributed.add(self._at)

    def _on_waiting(self, at: float, facts: Mapping[str, Any]) -> None:
        del at
        if (site := self._sites.get(facts["site"])) is not None:
            site.waiting = True

    def _on_absent(self, at: float, facts: Mapping[str, Any]) -> None:
        del at
        site = self._sites.get(facts["site"])
        if site is None:
            return
        release = (facts["event"], facts.get("index", 0)) if "event" in facts else None
        site.absent[release], site.why = facts["reason"], facts["reason"]
        site.contributed.discard(release)
        site.waiting = False

    def _on_released(self, at: float, facts: Mapping[str, Any]) -> None:
        if self._mark is not None:
            self._seconds.append(max(0.0, at - self._mark))
        self._mark, self._done = at, facts["done"]
        self._bytes[facts["event"], facts["index"]] = facts["bytes"]
        if "spent" in facts:
            self._spent = float(facts["spent"])

    def _on_resumed(self, at: float, facts: Mapping[str, Any]) -> None:
        del at
        for site in self._sites.values():
            site.replied = site.waiting = False
        if self._phase or self._status != RUNNING:  # else it was just said, by a second `started`
            self._resumed += 1
        self._status, self._reason, self._release = RUNNING, "", ""
        self._mark, self._done, self._phase, self._at = None, facts["done"], "", None
        self._deadline = self._facts.get("deadline", 0.0)

    def _on_finished(self, at: float, facts: Mapping[str, Any]) -> None:
        del at
        self._status, self._release = FINISHED, facts["release"]

    def _on_failed(self, at: float, facts: Mapping[str, Any]) -> None:
        del at
        self._status, self._reason = FAILED, facts["reason"]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value
