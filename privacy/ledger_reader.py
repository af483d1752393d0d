"""What a ledger answers without writing: who may still be charged what, what was charged, and proofs of both.

The rules are those of `privacy.ledger`, by their numbers there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from privacy import checkpoint, entries, ledger_audit, merkle
from privacy.balance import Balance, PersonBalance, Totals, budget_in
from privacy.budget import Budget
from privacy.checkpoint import Checkpoint
from privacy.entries import Charged, Decided, Ended, Opened, Reserved
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.ledger_book import LedgerBook
from privacy.ledger_excerpt import LedgerExcerpt, Proof
from privacy.ledger_records import Budgeted, Release, Run
from privacy.ledger_store import LedgerStore
from privacy.marks import Marks, marks_of
from privacy.signing import Signer


@dataclass(frozen=True, slots=True)
class Reservation:
    """Who a run's charges fall on, and how many could not afford it: for the site's own eyes."""

    members: Marks
    left_out: int


@dataclass(frozen=True, slots=True)
class Spending:
    """One charge, as a picture of spending needs it; `spent` is the total of its period after it."""

    at: int
    run: str
    use_case: str
    group: str
    period: int
    mu2: Fraction
    spent: Fraction


class LedgerReader:
    """The reading half of `privacy.ledger.Ledger`; every call sees one moment."""

    def __init__(self, store: LedgerStore) -> None:
        """Over an open store."""
        self._store = store
        with self._store.reading() as book:
            leaf = book.leaf(0)
        opened = entries.from_leaf(leaf, "ledger, opening entry")
        if not isinstance(opened, Opened):
            raise InputError("ledger: expected an opening entry, got another")
        self._opened = opened
        self._id = merkle.leaf_hash(leaf).hex()

    def close(self) -> None:
        """Close the database; the object is of no use afterwards."""
        self._store.close()

    @property
    def id(self) -> str:
        """Which ledger this is: the Merkle leaf hash (hex) of its opening entry. Decisions name it."""
        return self._id

    @property
    def site(self) -> str:
        """Whose ledger this is."""
        return self._opened.site

    def check_owner(self, site: str, marks: str) -> None:
        """Return if this is the ledger of `site` for marks under the key of that fingerprint (rule 2).

        Raises:
            InputError: if it is not.
        """
        if self.site != site:
            raise InputError(f"ledger: expected that of site {site!r:.80}, got that of {self.site!r:.80} (rule 2)")
        if self._opened.marks != marks:
            raise InputError("ledger: expected one that was opened for this key of marks, got another's (rule 2)")

    @property
    def budget(self) -> Budget:
        """The current one."""
        with self._store.reading() as book:
            return Balance(book).budget

    @property
    def totals(self) -> Totals:
        """What bounds everyone (rule 10)."""
        with self._store.reading() as book:
            return Balance(book).totals()

    @property
    def open_runs(self) -> Mapping[str, Fraction]:
        """What each run that has not ended still holds, by its id."""
        with self._store.reading() as book:
            return {run.run: run.held for run in book.open_runs()}

    def knows(self, run: str) -> bool:
        """Whether `run` has reserved here, even if it has ended."""
        with self._store.reading() as book:
            return book.get(Run, run) is not None

    def settled(self, run: str, event: str, index: int) -> bool:
        """Whether what was computed for this release of `run` is kept here, to be sent again."""
        with self._store.reading() as book:
            release = book.get(Release, run, event, index)
            return release is not None and release.settled

    def members(self, run: str) -> Marks:
        """Who the next charge of `run` falls on.

        Raises:
            Refused: if there is no such run.
        """
        return self.reservation(run).members

    def reservation(self, run: str) -> Reservation:
        """Who is in `run`, and how many could not afford it.

        Raises:
            Refused: if there is no such run.
        """
        with self._store.reading() as book:
            if (found := book.get(Run, run)) is None:
                raise Refused(f"run {run!r:.80}: expected a reservation, got none (rule 5)")
            return reservation_of(book, found)

    # What was charged

    def balance_of(self, mark: bytes) -> PersonBalance:
        """One employee's own balance; somebody who was in no cohort was charged nothing.

        Raises:
            InputError: if the mark is none.
        """
        marks_of([mark], "balance")
        with self._store.reading() as book:
            return Balance(book).person(mark)

    def spending(self) -> Iterator[Spending]:
        """Every charge, in order."""
        with self._store.reading() as book:
            period, runs = 0, dict[str, Reserved]()
            for position, leaf in book.leaves():
                entry = entries.from_leaf(leaf, f"ledger entry {position}")
                match entry:
                    case Decided():
                        period = budget_in(entry).period
                    case Reserved():
                        runs[entry.run] = entry
                    case Charged():
                        if (run := runs.get(entry.run)) is None:
                            raise InputError(f"ledger entry {position}: expected a run that has reserved, got another")
                        amount, spent = Fraction(entry.mu2), Fraction(entry.spent)
                        yield Spending(entry.at, entry.run, run.use_case, run.group, period, amount, spent)
                    case Ended():
                        runs.pop(entry.run, None)

    def decisions(self) -> tuple[tuple[int, Budget], ...]:
        """When each budget was set (by the clock), and the budget, in order; the opening entry's first."""
        with self._store.reading() as book:
            balance = Balance(book)
            return tuple(balance.decided(number) for number in range(balance.head.budget + 1))

    # Proofs

    def head(self) -> Checkpoint:
        """The tree head over all entries so far, unsigned."""
        with self._store.reading() as book:
            return self._head(book)

    def checkpoint(self, signer: Signer) -> str:
        """A signed note over all entries so far."""
        return checkpoint.sign(self.head(), signer)

    def inclusion(self, position: int, size: int | None = None) -> Proof:
        """The entry at `position` and the proof that it is in the tree of the first `size` entries (all, if None).

        Raises:
            InputError: if there is no such entry, or the log is smaller.
        """
        with self._store.reading() as book:
            return _proof(book, position, _tree(book, size))

    def consistency(self, earlier: int, size: int | None = None) -> tuple[bytes, ...]:
        """Proof that the first `earlier` entries are a prefix of the first `size` (all, if None).

        Raises:
            InputError: if the log is smaller.
        """
        with self._store.reading() as book:
            return _tree(book, size).consistency(earlier)

    def excerpt(self, run: str, signer: Signer) -> LedgerExcerpt:
        """A checkpoint and what allowed and charged `run`, of one moment: `ledger/<n>.json` of a release.

        Raises:
            Refused: if there is no such run.
        """
        with self._store.reading() as book:
            known = book.get(Run, run)
            if known is None:
                raise Refused(f"run {run!r:.80}: expected a reservation, got none (rule 5)")
            head, tree = self._head(book), _tree(book, None)
            decided = book.get(Budgeted, known.budget).position
            return LedgerExcerpt(
                checkpoint.sign(head, signer),
                head.size,
                _proof(book, 0, tree),
                _proof(book, decided, tree) if decided else None,
                _proof(book, known.reserved, tree),
                tuple(_proof(book, position, tree) for position in book.charges_of(run)),
            )

    def verify(
        self, held: Checkpoint | None = None, progress: Callable[[int, int], None] = lambda _done, _of: None
    ) -> Checkpoint:
        """Recompute everything from the entries: order, sums, everyone's balance, tree, cohorts, bytes kept.

        Args:
            held: a checkpoint from earlier, which must be a prefix.
            progress: told how many entries of how many have been read.

        Returns:
            The tree head over all entries.

        Raises:
            VerificationFailed: naming the first thing that does not hold.
        """
        try:
            with self._store.reading(anew=True) as book:
                ledger_audit.audit(book, progress)
                head = self._head(book)
                if held is not None:
                    _check_prefix(book, held, head)
                return head
        except InputError as error:
            raise VerificationFailed(str(error)) from None

    def _head(self, book: LedgerBook) -> Checkpoint:
        tree = _tree(book, None)
        return Checkpoint(self._opened.origin, tree.size, tree.root())


def reservation_of(book: LedgerBook, run: Run) -> Reservation:
    """Who is in a run that the book holds."""
    cohort = book.cohort(run.cohort)
    return Reservation(book.members(cohort.crowd), cohort.left_out)


def _tree(book: LedgerBook, size: int | None) -> merkle.Tree:
    all_ = Balance(book).head.size
    if size is not None and not 0 <= size <= all_:
        raise InputError(f"ledger: expected a size of at most {all_}, got {size}")
    return merkle.Tree(all_ if size is None else size, book.node)


def _proof(book: LedgerBook, position: int, tree: merkle.Tree) -> Proof:
    path = tree.inclusion(position)
    return Proof(book.leaf(position), position, path)


def _check_prefix(book: LedgerBook, held: Checkpoint, head: Checkpoint) -> None:
    if held.origin != head.origin or held.size > head.size:
        raise VerificationFailed(f"ledger: expected at least {held.size} entries of {held.origin}, got less")
    if _tree(book, held.size).root() != held.root:
        raise VerificationFailed(f"ledger: expected its first {held.size} entries as the checkpoint has them")
