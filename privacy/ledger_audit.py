"""A whole ledger computed anew from its entries, and compared with everything that the database keeps beside them.

Entries are replayed through the same `Balance` that admitted them, in memory; the tree is hashed anew; cohorts are held
against the digests in the log; what was sent against what was settled. Memory grows with runs and releases, not marks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from typing import Final

from privacy import entries, marks, merkle
from privacy.balance import Balance
from privacy.entries import Charged, Entry, Reserved, Settled
from privacy.errors import InputError, Refused
from privacy.ledger_book import LedgerBook
from privacy.ledger_records import KEYS, MemoryBook, key_of

LEVELS: Final = 12
"""Entries are taken in by 2**LEVELS at a time, so that the tree nodes over them are read level by level."""

Progress = Callable[[int, int], None]


def audit(book: LedgerBook, progress: Progress = lambda _done, _of: None) -> None:
    """Return if the ledger is what its entries add up to. `book` has nothing in memory yet.

    Raises:
        InputError: naming the first thing that does not hold.
    """
    book.check()
    size, nodes = book.counts()
    memory, settled, cohorts = MemoryBook(book), dict[int, tuple[bytes, bytes]](), set[str]()
    balance, peaks, read = Balance(memory), list[bytes](), 0
    for start in range(0, max(size, 1), 1 << LEVELS):
        hashes: list[bytes] = []
        for position, leaf in book.leaves(start, start + (1 << LEVELS)):
            entry = _taken_in(balance, read, position, leaf)
            hashes.append(merkle.leaf_hash(leaf))
            read += 1
            match entry:
                case Settled():
                    settled[entry.charge] = bytes.fromhex(entry.contribution), bytes.fromhex(entry.receipt)
                case Reserved() | Charged():
                    cohorts.add(entry.cohort)
        peaks += _checked_nodes(book, start, hashes)
        progress(read, size)
    _check_upper_nodes(book, peaks)
    if balance.head.size != size or nodes != sum(size >> level for level in range(size.bit_length())):
        raise InputError("ledger: expected as many entries and tree nodes as follow each other, got others beside them")
    _check_records(book, memory)
    _check_cohorts(book, cohorts)
    _check_contributions(book, settled)


def _taken_in(balance: Balance, expected: int, position: int, leaf: bytes) -> Entry:
    where = f"ledger entry {position}"
    if position != expected:
        raise InputError(f"{where}: expected entry {expected}, got another")
    entry = entries.from_leaf(leaf, where)
    try:
        balance.apply(entry)
    except Refused as error:
        raise InputError(f"{where}: {error}") from None
    return entry


def _checked_nodes(book: LedgerBook, start: int, hashes: list[bytes]) -> list[bytes]:
    """Compare the nodes over a batch of leaves; the root over the batch, if it is full."""
    nodes: dict[tuple[int, int], bytes] = {}
    for n, leaf in enumerate(hashes):
        nodes.update(merkle.completed(n, leaf, lambda level, at: nodes[level, at]))
    by_level: dict[int, dict[int, bytes]] = {level: {} for level in range(LEVELS + 1)}
    for (level, at), value in nodes.items():
        by_level[level][(start >> level) + at] = value
    for level, expected in by_level.items():
        _compare(book, level, start >> level, 1 << (LEVELS - level), expected)
    return [nodes[LEVELS, 0]] if (LEVELS, 0) in nodes else []


def _check_upper_nodes(book: LedgerBook, peaks: list[bytes]) -> None:
    nodes: dict[tuple[int, int], bytes] = {}
    for n, peak in enumerate(peaks):
        nodes.update(merkle.completed(n, peak, lambda level, at: nodes[level, at]))
    for level in range(1, len(peaks).bit_length()):
        expected = {at: value for (its, at), value in nodes.items() if its == level}
        _compare(book, LEVELS + level, 0, len(peaks), expected)


def _compare(book: LedgerBook, level: int, first: int, count: int, expected: dict[int, bytes]) -> None:
    if book.nodes(level, first, first + count) != expected:
        raise InputError("ledger tree: expected the hashes of the entries, got others")


def _check_records(book: LedgerBook, memory: MemoryBook) -> None:
    for kind in KEYS:
        expected = memory.all(kind)
        count = 0
        for record in book.every(kind):
            count += 1
            if expected.get(key_of(record)) != record:
                raise InputError(f"ledger {kind.__name__.lower()}s: expected what the entries add up to, got otherwise")
        if count != len(expected):
            raise InputError(f"ledger {kind.__name__.lower()}s: expected {len(expected)}, got {count}")


def _check_cohorts(book: LedgerBook, expected: set[str]) -> None:
    crowds = 0
    for crowd, cohorts in groupby(book.cohorts(), key=itemgetter(0)):
        crowds += 1
        data = book.joined(crowd)
        marks.split(data, f"ledger, crowd {crowd[:16]}")
        for _, digest, salt in cohorts:
            if marks.joined_digest(salt, data) != digest:
                raise InputError(f"ledger cohort {digest[:16]}: expected the marks of its digest, got others")
            if digest not in expected:
                raise InputError(f"ledger cohort {digest[:16]}: expected one that an entry names, got another")
            expected.remove(digest)
    if expected or book.count_crowds() != crowds:
        raise InputError("ledger cohorts: expected those that the entries name, got others")


def _check_contributions(book: LedgerBook, settled: dict[int, tuple[bytes, bytes]]) -> None:
    for charge, *sent in book.all_stored():
        if settled.pop(charge, None) != tuple(hashlib.sha256(one).digest() for one in sent):
            raise InputError(f"ledger, contribution under charge {charge}: expected the bytes settled, got others")
    if settled:
        raise InputError("ledger contributions: expected all that were settled, got fewer")
