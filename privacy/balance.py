"""What a ledger's entries add up to: the arithmetic of spending, without a file.

The rules are those of `privacy.ledger`, by their numbers there. `Balance.apply` is the only way in, for a new entry as
for one read back, so that a ledger that breaks a rule can neither be written nor be read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from privacy import amounts
from privacy.entries import Charged, Ended, Entry, Opened, Reserved, Settled
from privacy.errors import BudgetExceeded, Refused


@dataclass(slots=True)
class Release:
    """One release of an event: the state it answers, where it was charged, and which charge was settled."""

    state: str
    charges: list[int] = field(default_factory=list)
    settled: int | None = None


@dataclass(slots=True)
class Run:
    """A run's reservation, and what became of it.

    `held` is reserved and not charged yet.
    """

    plan: str
    held: Fraction
    ended: bool = False
    releases: dict[tuple[str, int], Release] = field(default_factory=dict)


@dataclass(slots=True)
class Balance:
    """The state of a ledger after its first `size` entries."""

    size: int = 0
    opened: Opened | None = None
    cap: Fraction = Fraction(0)
    spent: Fraction = Fraction(0)
    runs: dict[str, Run] = field(default_factory=dict)
    charges: dict[int, tuple[str, str, int]] = field(default_factory=dict)

    @property
    def held(self) -> Fraction:
        """What open runs have reserved and not charged yet."""
        return sum((run.held for run in self.runs.values()), Fraction(0))

    @property
    def left(self) -> Fraction:
        """What may still be reserved."""
        return self.cap - self.spent - self.held

    def apply(self, entry: Entry) -> None:
        """Take the next entry in, or refuse it and stay as before.

        Raises:
            Refused: naming the rule's reason; `BudgetExceeded` where mu² does not suffice.
        """
        if (self.opened is None) != isinstance(entry, Opened):
            raise Refused("ledger: expected one opening entry, and it first (rule 2)")
        match entry:
            case Opened():
                self.opened, self.cap = entry, amounts.from_text(entry.cap, "cap")
            case Reserved():
                self._reserve(entry)
            case Charged():
                self._charge(entry)
            case Settled():
                self._settle(entry)
            case Ended():
                self._end(entry)
        self.size += 1

    def run(self, name: str, plan: str) -> Run:
        """The open or ended run of that name and plan.

        Raises:
            Refused: if there is none.
        """
        run = self.runs.get(name)
        if run is None:
            raise Refused(f"run {name!r}: expected a reservation before anything else, got none (rule 5)")
        if run.plan != plan:
            raise Refused(f"run {name!r}: expected plan {run.plan[:16]}, got {plan[:16]} (rule 5)")
        return run

    def release(self, run: Run, event: str, index: int, state: str) -> Release | None:
        """What is known of a release, None if it was never charged.

        Raises:
            Refused: if it was charged for another state (rule 6).
        """
        known = run.releases.get((event, index))
        if known is not None and known.state != state:
            raise Refused(
                f"release {event!r} {index}: expected the state it was charged for, "
                f"{known.state[:16]}, got {state[:16]} (rule 6)"
            )
        return known

    def _reserve(self, entry: Reserved) -> None:
        if entry.run in self.runs:
            raise Refused(f"run {entry.run!r}: expected one reservation, got a second (rule 4)")
        asked = amounts.from_text(entry.mu2, "reserve, mu2")
        self._afford(asked, f"run {entry.run!r}")
        self.runs[entry.run] = Run(entry.plan, held=asked)

    def _charge(self, entry: Charged) -> None:
        run = self.run(entry.run, entry.plan)
        if run.ended:
            raise Refused(f"run {entry.run!r}: expected an open run, got one that has ended (rule 9)")
        release = self.release(run, entry.event, entry.index, entry.state)
        attempts = len(release.charges) if release else 0
        if entry.attempt != attempts or (release and release.settled is not None):
            raise Refused(f"release {entry.event!r} {entry.index}: expected attempt {attempts} of an unsettled one")
        asked = amounts.from_text(entry.mu2, "charge, mu2")
        if attempts:
            self._afford(asked, f"attempt {attempts + 1} at release {entry.event!r} {entry.index}")  # rule 7
        elif asked > run.held:
            raise BudgetExceeded(f"run {entry.run!r}: expected at most what it reserved, got more (rule 5)")
        if amounts.from_text(entry.spent, "charge, spent") != self.spent + asked:
            raise Refused(f"release {entry.event!r} {entry.index}: expected the total after it (rule 10), got another")
        if not attempts:
            run.held -= asked
        self.spent += asked
        release = run.releases.setdefault((entry.event, entry.index), Release(entry.state))
        release.charges.append(self.size)
        self.charges[self.size] = (entry.run, entry.event, entry.index)

    def _settle(self, entry: Settled) -> None:
        if entry.charge not in self.charges:
            raise Refused(f"settle: expected the position of a charge, got {entry.charge} (rule 8)")
        name, event, index = self.charges[entry.charge]
        release = self.runs[name].releases[event, index]
        if release.settled is not None:
            raise Refused(f"release {event!r} {index}: expected to be settled once, got a second contribution (rule 8)")
        if entry.charge != release.charges[-1]:
            raise Refused(
                f"release {event!r} {index}: expected its latest charge to be settled, got an earlier (rule 8)"
            )
        release.settled = entry.charge

    def _end(self, entry: Ended) -> None:
        run = self.runs.get(entry.run)
        if run is None or run.ended:
            raise Refused(f"run {entry.run!r}: expected an open run to end, got none (rule 9)")
        run.ended, run.held = True, Fraction(0)

    def _afford(self, asked: Fraction, what: str) -> None:
        if asked > self.left:
            raise BudgetExceeded(
                f"{what}: expected at most the mu² that is left, {amounts.to_text(self.left)} of a cap of "
                f"{amounts.to_text(self.cap)}, got {amounts.to_text(asked)} asked (rule 4)"
            )
