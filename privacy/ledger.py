"""A site's record of what its people's privacy has been charged: one SQLite file, append-only, a Merkle log.

Rules:
    1. Entries are only ever added, by one writer at a time. A charge is on disk (fsync) before `charge` returns, and
       data is read after that: a crash at any point leaves it charged. Nothing refunds what may have left.
    2. The first entry opens the ledger and fixes its site and its cap.
    3. What is spent is the sum of all charges, in exact arithmetic, each rounded up once.
    4. A reservation stands only if charged + reserved by open runs + asked <= cap.
    5. A charge needs the run's reservation, of the same plan, and is one release of that plan, in the plan's order.
    6. A release that was settled is answered with the stored bytes, without a charge; with another state it is refused:
       the state of a release never changes.
    7. A release that was charged and never settled may have left with other noise. It is charged again in full, beside
       the reservation, if the cap allows.
    8. A release is settled once, under its latest charge, and that binds the bytes that left and their receipt. So the
       last charge of a run whose releases were all settled has a receipt, and states all that the run has spent.
    9. The end of a run frees what it reserved and did not charge; it is charged no more.
   10. Every charge states the total spent after it, so that a few entries prove the balance.
   11. Clocks decide nothing.
   12. A file that is not exactly such a ledger is refused, and never overwritten.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Final

from privacy import amounts, checkpoint, entries, fields, merkle
from privacy.balance import Balance
from privacy.checkpoint import Checkpoint
from privacy.entries import Charged, Ended, Entry, Opened, Reserved, Settled
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.ledger_excerpt import LedgerExcerpt, Proof
from privacy.ledger_file import LedgerFile, translated
from privacy.plan import Plan
from privacy.signing import Signer

MAX_CAP: Final = Decimal(1_000_000)


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


def _no_step(step: str) -> None:
    del step


class Ledger:
    """One site's ledger. Safe to share between threads and processes; every call is one transaction.

    `clock` gives UTC seconds for people to read (rule 11). `on_step` is told each step of a write, for crash tests.
    Methods raise `LedgerUnavailable` when the file can not be read or written, `InputError` when it is damaged.
    """

    def __init__(self, file: LedgerFile, clock: Callable[[], int], on_step: Callable[[str], None]) -> None:
        """For `open` only."""
        self._file = file
        self._clock = clock
        self._on_step = on_step
        self._lock = threading.RLock()
        self._balance = Balance()
        self._appended = False

    @classmethod
    def create(
        cls,
        path: Path,
        site: str,
        cap: Decimal,
        delta: Decimal = Decimal("0.00001"),
        clock: Callable[[], int] = _now,
        on_step: Callable[[str], None] = _no_step,
    ) -> Ledger:
        """A new ledger in which each employee of `site` may be charged at most `cap` mu² in all.

        `delta` is the delta at which the cap is read as an epsilon. The file appears complete or not at all.

        Raises:
            InputError: if `path` exists (rule 12), or the cap is not from 0 to 1,000,000 with at most 20 decimals.
        """
        if not (cap.is_finite() and 0 <= cap <= MAX_CAP and cap == round(cap, 20)):
            raise InputError(f"ledger cap: expected mu² from 0 to {MAX_CAP} with at most 20 decimals, got {cap!s:.40}")
        if not (delta.is_finite() and 0 < delta < 1 and delta == round(delta, 20)):
            raise InputError(f"ledger delta: expected between 0 and 1 with at most 20 decimals, got {delta!s:.40}")
        origin = checkpoint.origin_of(fields.text(site, "ledger site", 200))
        opened = Opened(site, origin, amounts.to_text(Fraction(cap)), format(delta, "f"), clock())
        LedgerFile.create(path, entries.to_leaf(opened), on_step)
        return cls.open(path, clock, on_step)

    @classmethod
    def open(cls, path: Path, clock: Callable[[], int] = _now, on_step: Callable[[str], None] = _no_step) -> Ledger:
        """The ledger in an existing file.

        Raises:
            InputError: if there is none, or the file is not exactly a ledger whose entries keep the rules (rule 12).
        """
        ledger = cls(LedgerFile(path), clock, on_step)
        try:
            ledger._opened()
        except BaseException:
            ledger.close()
            raise
        return ledger

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        with self._lock:
            self._file.close()

    @property
    def site(self) -> str:
        """Whose ledger this is."""
        return self._opened().site

    @property
    def cap(self) -> Fraction:
        """What each employee may be charged in all."""
        with self._reading() as balance:
            return balance.cap

    @property
    def spent(self) -> Fraction:
        """Everything that was charged (rule 3)."""
        with self._reading() as balance:
            return balance.spent

    @property
    def held(self) -> Fraction:
        """Reserved by open runs and not charged yet."""
        with self._reading() as balance:
            return balance.held

    @property
    def left(self) -> Fraction:
        """What may still be reserved."""
        with self._reading() as balance:
            return balance.left

    @property
    def open_runs(self) -> dict[str, Fraction]:
        """What each run that has not ended still holds, by its id."""
        with self._reading() as balance:
            return {name: run.held for name, run in balance.runs.items() if not run.ended}

    def reserve(self, run: str, plan: Plan) -> None:
        """Set the whole cost of `plan` aside for `run`; again for the same run and plan, even ended, it does nothing.

        Raises:
            BudgetExceeded: if the mu² left does not suffice (rule 4); nothing is written.
            Refused: if the run has another plan.
            InputError: if the site is not in the plan.
        """
        fields.text(run, "run", 200)
        if self.site not in {site.name for site in plan.sites}:
            raise InputError(f"plan sites: expected {self.site!r} among them, got others")
        with self._writing("reserve") as balance:
            if run in balance.runs:
                balance.run(run, plan.digest)
                return
            self._append(Reserved(run, plan.digest, amounts.to_text(amounts.total(plan)), self._clock()))

    def charge(self, run: str, plan: Plan, event: str, index: int, state_digest: str) -> Charge:
        """Pay for release number `index` of `event`, on disk when this returns (rule 1).

        With `answered` set in the result nothing was charged: send those bytes again (rule 6). Without, compute the
        contribution and `settle` it.

        Raises:
            InputError: if the plan has no such release; nothing is written.
            Refused: if run, plan, order or state are not as rules 5, 6 and 9 ask.
            BudgetExceeded: if a repeated charge does not fit (rule 7).
        """
        once = amounts.once(plan.event(event))
        if not 0 <= index < plan.event(event).times:
            raise InputError(f"event {event!r}: expected an index below {plan.event(event).times}, got {index}")
        fields.digest(state_digest, "state digest")
        with self._writing("charge") as balance:
            known_run = balance.run(run, plan.digest)
            release = balance.release(known_run, event, index, state_digest)
            if release is None and (event, index) != _next_release(plan, len(known_run.releases)):
                raise Refused(f"run {run!r}: expected releases in the plan's order, got {event!r} {index} (rule 5)")
            if release is not None and release.settled is not None:
                return self._answered(release.settled)
            attempt = len(release.charges) if release else 0
            spent = amounts.to_text(balance.spent + once)
            mu2 = amounts.to_text(once)
            return self._append(
                Charged(run, plan.digest, event, index, attempt, state_digest, mu2, spent, self._clock())
            )

    def settle(self, charge: Charge, values: bytes, receipt: bytes) -> None:
        """Keep what is about to leave under `charge`, on disk when this returns; again with the same bytes, nothing.

        Raises:
            Refused: if the release was settled with other bytes, or charged again since (rule 8).
        """
        with self._writing("settle") as balance:
            known = balance.charges.get(charge.position)
            settled = known is not None and balance.runs[known[0]].releases[known[1:]].settled == charge.position
            if settled and self._answered(charge.position).answered == StoredContribution(values, receipt):
                return
            self._append(Settled(charge.position, _sha256(values), _sha256(receipt), self._clock()))
            self._file.store(charge.position, values, receipt)

    def end(self, run: str) -> None:
        """Free what `run` reserved and did not charge (rule 9); again it does nothing.

        Raises:
            Refused: if there is no such run.
        """
        with self._writing("end") as balance:
            if run not in balance.runs or not balance.runs[run].ended:
                self._append(Ended(run, self._clock()))

    def head(self) -> Checkpoint:
        """The tree head over all entries so far, unsigned."""
        with self._reading():
            return self._head()

    def checkpoint(self, signer: Signer) -> str:
        """A signed note over all entries so far."""
        return checkpoint.sign(self.head(), signer)

    def proofs(self, run: str, size: int | None = None) -> tuple[Proof, ...]:
        """Every charge of `run` among the first `size` entries (all, if None), with its inclusion proof then."""
        with self._reading() as balance:
            tree = self._tree(balance.size if size is None else size)
            positions = [at for at, (name, _, _) in sorted(balance.charges.items()) if name == run and at < tree.size]
            return tuple(self._proof(position, tree) for position in positions)

    def consistency(self, earlier: int, size: int | None = None) -> tuple[bytes, ...]:
        """Proof that the first `earlier` entries are a prefix of the first `size` (all, if None)."""
        with self._reading() as balance:
            return self._tree(balance.size if size is None else size).consistency(earlier)

    def excerpt(self, run: str, signer: Signer) -> LedgerExcerpt:
        """A checkpoint and the run's proofs under it, of one moment: `ledger/<n>.json` of a release."""
        with self._reading() as balance:
            head = self._head()
            opened = self._proof(0, self._tree(balance.size))
            return LedgerExcerpt(checkpoint.sign(head, signer), head.size, opened, self.proofs(run, head.size))

    def verify(self, held: Checkpoint | None = None) -> Checkpoint:
        """Recompute everything from the entries: order, sums, tree, stored bytes; and that `held` is a prefix.

        Returns:
            The tree head over all entries.

        Raises:
            VerificationFailed: naming the first thing that does not hold.
        """
        try:
            with self._reading():
                self._check_contributions(self._recomputed())
                head = self._head()
                if held is not None:
                    self._check_prefix(held, head)
                return head
        except InputError as error:
            raise VerificationFailed(str(error)) from None

    # One transaction at a time

    @contextmanager
    def _reading(self) -> Iterator[Balance]:
        with self._lock, translated(), self._file.reading():
            self._catch_up()
            yield self._balance

    @contextmanager
    def _writing(self, operation: str) -> Iterator[Balance]:
        with self._lock, translated():
            try:
                with self._file.writing():
                    self._catch_up()
                    self._on_step(f"{operation}: begun")
                    yield self._balance
                    self._on_step(f"{operation}: written")
            except BaseException:
                if self._appended:
                    self._balance = Balance()  # it may be ahead of the disk: read again
                raise
            finally:
                self._appended = False
            self._on_step(f"{operation}: committed")

    def _catch_up(self) -> None:
        """Take in what this or another process wrote since."""
        for position, leaf in self._file.leaves(self._balance.size):
            _take_in(self._balance, position, leaf)

    def _append(self, entry: Entry) -> Charge:
        position, leaf = self._balance.size, entries.to_leaf(entry)
        self._balance.apply(entry)
        self._appended = True
        self._file.append(position, leaf)
        return Charge(position, leaf)

    # Reading back

    def _opened(self) -> Opened:
        with self._reading() as balance:
            if balance.opened is None:
                raise InputError("ledger: expected an opening entry, got none")
            return balance.opened

    def _head(self) -> Checkpoint:
        size = self._balance.size
        return Checkpoint(self._opened().origin, size, self._tree(size).root())

    def _tree(self, size: int) -> merkle.Tree:
        if not 0 <= size <= self._balance.size:
            raise InputError(f"ledger: expected a size of at most {self._balance.size}, got {size}")
        return merkle.Tree(size, self._file.node)

    def _proof(self, position: int, tree: merkle.Tree) -> Proof:
        return Proof(self._file.leaf(position), position, tree.inclusion(position))

    def _answered(self, position: int) -> Charge:
        return Charge(position, self._file.leaf(position), StoredContribution(*self._file.stored(position)))

    # Verifying

    def _recomputed(self) -> list[Entry]:
        """All entries, after adding them up and hashing them anew."""
        balance = Balance()
        nodes: dict[tuple[int, int], bytes] = {}
        result = []
        for position, leaf in self._file.leaves():
            result.append(_take_in(balance, position, leaf))
            nodes.update(merkle.completed(position, merkle.leaf_hash(leaf), lambda level, at: nodes[level, at]))
        if len(result) != self._balance.size:
            raise InputError(f"ledger: expected {self._balance.size} entries as before, got {len(result)}")
        if self._file.nodes() != nodes:
            raise InputError("ledger tree: expected the hashes of the entries, got others")
        return result

    def _check_contributions(self, entries_: list[Entry]) -> None:
        settled = {one.charge: (one.contribution, one.receipt) for one in entries_ if isinstance(one, Settled)}
        stored = {charge: (_sha256(values), _sha256(receipt)) for charge, values, receipt in self._file.all_stored()}
        if stored != settled:
            raise InputError("ledger contributions: expected the bytes that were settled, got others")

    def _check_prefix(self, held: Checkpoint, head: Checkpoint) -> None:
        if held.origin != head.origin or held.size > head.size:
            raise VerificationFailed(f"ledger: expected at least {held.size} entries of {held.origin}, got less")
        if self._tree(held.size).root() != held.root:
            raise VerificationFailed(f"ledger: expected its first {held.size} entries as the checkpoint has them")


def _take_in(balance: Balance, position: int, leaf: bytes) -> Entry:
    where = f"ledger entry {position}"
    if position != balance.size:
        raise InputError(f"{where}: expected entry {balance.size}, got another")
    entry = entries.from_leaf(leaf, where)
    try:
        balance.apply(entry)
    except Refused as error:
        raise InputError(f"{where}: {error}") from None
    return entry


def _next_release(plan: Plan, done: int) -> tuple[str, int] | None:
    for event in plan.events:
        if done < event.times:
            return event.name, done
        done -= event.times
    return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
