"""A site's record of what its people's privacy has been charged: an append-only Merkle log, a balance for each person.

Rules:
    1. Entries are only ever added, by one writer at a time. A charge is on disk before `charge` returns, and what it
       pays for is computed after that: a crash at any point leaves it charged. Nothing refunds what may have left.
    2. The first entry opens the ledger and fixes its site, its first budget, and the key of its marks: under another
       key everybody would be somebody who was never charged.
    3. What a person was charged is the sum of the charges whose cohort they are in, in exact arithmetic, each rounded
       up once. It depends on the log and on cohorts alone, never on anybody's records.
    4. A plan that costs more than a cap, in all or of its purpose's group, is refused. Else it stands, and its cohort
       are all those offered who can afford it: charged this period + held by open runs they are in + asked <= cap, in
       all and in the group. Who can not is left out, and that is all that happens: a run goes on with nobody too. Each
       person's charges are fixed by plans and by their own inclusion, and inclusion by the log: an individual filter
       (Koskela, Tobaben & Honkela 2022, arXiv 2209.15596; Feldman & Zrnic 2021, arXiv 2008.11193).
    5. A charge needs the run's reservation, of the same plan, and is one release of that plan, in the plan's order;
       releases that the site was not there for are passed over.
    6. A release that was settled is answered with the stored bytes, without a charge; with another state it is refused:
       the state of a release never changes.
    7. A release that was charged and never settled may have left with other noise. It is charged again in full, beside
       the reservation; whoever can not afford that leaves the run's cohort. After `balance.MAX_ATTEMPTS` charges it is
       charged no more, so that a run costs at most that many times its plan.
    8. A release is settled once, under its latest charge, and that binds the bytes that left and their receipt.
    9. The end of a run frees what it reserved and did not charge; it is charged no more.
   10. Every charge states the totals after it: of this period, of its group in it, and of all periods. They do not say
       who was in a cohort, and bound everyone.
   11. Budgets change by decisions that two officers sign (`privacy.budget`), while no run is open.
   12. Clocks decide nothing: `at` is for people to read.
   13. No entry, and nothing that leaves, depends on how many people there are or were left out.
   14. What is not exactly such a ledger is refused, and never overwritten.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from privacy import amounts, checkpoint, entries, fields, merkle
from privacy.balance import Balance
from privacy.budget import Budget
from privacy.entries import Charged, Decided, Ended, Entry, Opened, Reserved, Settled
from privacy.errors import InputError, Refused
from privacy.ledger_book import LedgerBook
from privacy.ledger_reader import LedgerReader, Reservation, reservation_of
from privacy.ledger_records import Release, Run
from privacy.ledger_store import LedgerStore
from privacy.marks import marks_of
from privacy.plan import Plan


@dataclass(frozen=True, slots=True)
class StoredContribution:
    """What left a site before, to be sent again as it was: the values' bytes and the receipt."""

    values: bytes
    receipt: bytes


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge on disk: its position, the entry's bytes, and what was answered under it (None: compute it now)."""

    position: int
    leaf: bytes
    answered: StoredContribution | None = None

    @property
    def leaf_hash(self) -> str:
        """Merkle leaf hash (hex) of the entry."""
        return merkle.leaf_hash(self.leaf).hex()


def _now() -> int:
    return int(time.time())


def _readable(at: int) -> int:
    """A time that an entry can hold, whatever the clock says (rule 12)."""
    return min(max(at, 0), fields.MAX_WHOLE)


def _no_step(step: str) -> None:
    del step


class Ledger(LedgerReader):
    """One site's ledger. Safe to share between threads and processes; every call is one transaction.

    `clock` gives UTC seconds for people to read (rule 12). `on_step` is told each step of a write, for crash tests.
    Methods raise `databases.DatabaseUnavailable` when it can not be read or written, `InputError` when it is damaged.
    """

    def __init__(self, store: LedgerStore, clock: Callable[[], int], on_step: Callable[[str], None]) -> None:
        """For `open` only."""
        super().__init__(store)
        self._clock = clock
        self._on_step = on_step

    @classmethod
    def create(
        cls,
        address: Path | str,
        site: str,
        budget: Budget,
        clock: Callable[[], int] = _now,
        on_step: Callable[[str], None] = _no_step,
        marks: str | None = None,
    ) -> Ledger:
        """A new ledger of `site`, with its first budget, for marks under the key of that fingerprint.

        `address` is a SQLite file's path, or a database as `privacy.databases.address` takes it. It appears complete
        or not at all.

        Raises:
            InputError: if there is something already (rule 14), or the site's name or the fingerprint is none.
        """
        origin = checkpoint.origin_of(fields.text(site, "ledger site", 200))
        opened = Opened(site, origin, budget, _readable(clock()), marks)
        LedgerStore.create(address, lambda book: _add(book, opened), on_step)
        return cls.open(address, clock, on_step)

    @classmethod
    def open(
        cls, address: Path | str, clock: Callable[[], int] = _now, on_step: Callable[[str], None] = _no_step
    ) -> Ledger:
        """The ledger that `create` made there. Its entries are not read again: `verify` does that.

        Raises:
            InputError: if there is none, or something else (rule 14).
        """
        store = LedgerStore(address)
        try:
            return cls(store, clock, on_step)
        except BaseException:
            store.close()
            raise

    def reserve(self, run: str, plan: Plan, marks: Collection[bytes]) -> Reservation:
        """Set the whole cost of `plan` aside for `run`, for those of `marks` who can afford it (rule 4).

        Again for the same run and plan, even ended, it is answered as before and does nothing.

        Raises:
            BudgetExceeded: if the plan costs more than a cap; nothing is written.
            Refused: if the run has another plan, or the budget allows no such purpose.
            InputError: if the site is not in the plan, or a mark is none.
        """
        fields.text(run, "run", 200)
        offered = marks_of(marks, f"run {run!r:.80}")
        if self.site not in {site.name for site in plan.sites}:
            raise InputError(f"plan sites: expected {self.site!r} among them, got others")
        with self._writing("reserve") as (book, balance):
            if book.get(Run, run) is None:
                group = balance.budget.group_of(plan.use_case).name
                asked = amounts.total(plan)
                balance.check_affordable(group, asked, f"run {run!r:.80}")
                out = balance.over(offered, group, asked)
                cohort = book.add_cohort(offered - out, len(out))
                self._append(
                    book,
                    balance,
                    Reserved(
                        run,
                        plan.digest,
                        plan.use_case,
                        group,
                        balance.head.budget,
                        amounts.to_text(asked),
                        cohort,
                        self._at(),
                    ),
                )
            return reservation_of(book, balance.run(run, plan.digest))

    def charge(self, run: str, plan: Plan, event: str, index: int, state_digest: str) -> Charge:
        """Pay for release number `index` of `event`, on disk when this returns (rule 1).

        With `answered` set in the result nothing was charged: send those bytes again (rule 6). Without, compute the
        contribution from the rows of `members` and `settle` it.

        Raises:
            InputError: if the plan has no such release; nothing is written.
            Refused: if run, plan, order or state are not as rules 5, 6 and 9 ask, or it was charged too often (rule 7).
            BudgetExceeded: if a repeated charge would fit nobody (rule 7).
        """
        once = amounts.once(plan.event(event))
        if not 0 <= index < plan.event(event).times:
            raise InputError(f"event {event!r}: expected an index below {plan.event(event).times}, got {index}")
        fields.digest(state_digest, "state digest")
        with self._writing("charge") as (book, balance):
            known = balance.run(run, plan.digest)
            release = balance.release(run, event, index, state_digest)
            if release is None:
                _check_order(book, run, plan, event, index)
            if release is not None and release.settled:
                return _answered(book, release.charge)
            attempt, cohort = release.attempts if release else 0, known.cohort
            if attempt and not known.ended:
                cohort = self._smaller(book, balance, known, once)
            totals = (balance.head.spent, balance.group_spent(known.group), balance.head.lifetime)
            spent, group_spent, lifetime = (amounts.to_text(total + once) for total in totals)
            return self._append(
                book,
                balance,
                Charged(
                    run,
                    plan.digest,
                    event,
                    index,
                    attempt,
                    state_digest,
                    amounts.to_text(once),
                    cohort,
                    spent,
                    group_spent,
                    lifetime,
                    self._at(),
                ),
            )

    def settle(self, charge: Charge, values: bytes, receipt: bytes) -> None:
        """Keep what is about to leave under `charge`, on disk when this returns; again with the same bytes, nothing.

        Raises:
            Refused: if the release was settled with other bytes, or charged again since (rule 8).
        """
        with self._writing("settle") as (book, balance):
            release = balance.release_charged_at(charge.position)
            known = release.settled and release.charge == charge.position
            if known and book.stored(charge.position) == (values, receipt):
                return
            self._append(book, balance, Settled(charge.position, _sha256(values), _sha256(receipt), self._at()))
            book.store(charge.position, values, receipt)

    def end(self, run: str) -> None:
        """Free what `run` reserved and did not charge (rule 9); again it does nothing.

        Raises:
            Refused: if there is no such run.
        """
        with self._writing("end") as (book, balance):
            known = book.get(Run, run)
            if known is None or not known.ended:
                self._append(book, balance, Ended(run, self._at()))

    def decide(self, decision: bytes) -> Budget:
        """Take the officers' decision in; the budget that it sets (rule 11).

        Raises:
            VerificationFailed: if it is not signed as it must be, or is of another ledger or out of turn.
            Refused: while a run is open.
            InputError: if it is no decision.
        """
        with self._writing("decide") as (book, balance):
            self._append(book, balance, Decided(fields.to_base64(decision), self._at()))
            return Balance(book).budget

    # One transaction at a time

    @contextmanager
    def _writing(self, operation: str) -> Iterator[tuple[LedgerBook, Balance]]:
        with self._store.writing() as book:
            self._on_step(f"{operation}: begun")
            yield book, Balance(book)
            self._on_step(f"{operation}: written")
        self._on_step(f"{operation}: committed")

    def _at(self) -> int:
        return _readable(self._clock())

    def _append(self, book: LedgerBook, balance: Balance, entry: Entry) -> Charge:
        """Add an entry as whoever reads the log will find it."""
        position, leaf = balance.head.size, entries.to_leaf(entry)
        balance.apply(entries.from_leaf(leaf, "ledger, new entry"))
        book.append(position, leaf)
        return Charge(position, leaf)

    def _smaller(self, book: LedgerBook, balance: Balance, run: Run, once: Fraction) -> str:
        """The run's cohort without those who can not afford a repeated charge (rule 7)."""
        before = balance.members(run.cohort)
        gone = balance.over(before, run.group, once)
        return book.add_cohort(before - gone, book.cohort(run.cohort).left_out + len(gone))


def _add(book: LedgerBook, opened: Opened) -> None:
    leaf = entries.to_leaf(opened)
    Balance(book).apply(entries.from_leaf(leaf, "ledger, opening entry"))
    book.append(0, leaf)


def _answered(book: LedgerBook, position: int) -> Charge:
    return Charge(position, book.leaf(position), StoredContribution(*book.stored(position)))


def _check_order(book: LedgerBook, run: str, plan: Plan, event: str, index: int) -> None:
    """That no later release of the plan has been charged (rule 5)."""
    later = plan.releases[plan.releases.index((event, index)) + 1 :]
    if any(book.get(Release, run, *one) is not None for one in later):
        raise Refused(f"run {run!r:.80}: expected releases in the plan's order, got {event!r} {index} (rule 5)")


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
