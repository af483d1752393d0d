"""What a site does with the checkpoints of other sites' ledgers: it keeps the newest, and proof of any that lied."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import checkpoint, merkle, signing
from privacy.checkpoint import Checkpoint
from privacy.consistency import Continuation, Statement, open_statement, sign_statement
from privacy.errors import InputError, VerificationFailed
from privacy.merkle import Tree
from privacy.witness import Conflict, NotJudged, WitnessBook
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.full_disk import full_disk

SIGNER, OTHER = FixedSigner(2), FixedSigner(3)
VERIFIER = signing.verifier(SIGNER.public)
SAID = b"what the site signed"
NORTH, SOUTH = checkpoint.origin_of("North"), checkpoint.origin_of("South & West")


class Log:
    """A log of so many entries; a `branch` differs from the others from entry 4 on."""

    def __init__(self, size: int, branch: str = "", origin: str = NORTH, signer: FixedSigner = SIGNER) -> None:
        entries = [f"{n}{branch if n >= 4 else ''}".encode() for n in range(size)]
        self.tree = Tree.of([merkle.leaf_hash(entry) for entry in entries])
        self.head = Checkpoint(origin, size, self.tree.root())
        self.note = checkpoint.sign(self.head, signer)

    def since(self, size: int) -> tuple[bytes, ...]:
        return self.tree.consistency(size)


@pytest.fixture
def book(tmp_path: Path) -> WitnessBook:
    return WitnessBook(tmp_path / "witnessed")


def accept(book: WitnessBook, log: Log, proof: tuple[bytes, ...] = ()) -> Checkpoint:
    """Shown with the site's word on whatever head is held."""
    held = book.held().get(log.head.origin)
    said = (Continuation(log.head.size, held, proof),) if held else ()
    return book.accept(log.note, log.head.origin, VERIFIER, said, SAID)


def test_a_book_without_a_folder_holds_nothing_and_makes_none(book: WitnessBook) -> None:
    assert (book.held(), book.notes(), book.conflicts()) == ({}, {}, ())
    assert not book.folder.exists()


def test_a_log_that_grows_is_held_at_its_newest(book: WitnessBook) -> None:
    for before, size in ((0, 3), (3, 4), (4, 9), (9, 16)):
        log = Log(size)
        assert accept(book, log, log.since(before)) == log.head
        assert WitnessBook(book.folder).held() == {NORTH: log.head}
        assert book.notes() == {NORTH: log.note}
    assert book.conflicts() == ()


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6).map(sorted))
def test_any_honest_growth_is_accepted(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    book, before = WitnessBook(tmp_path_factory.mktemp("any") / "witnessed"), 0
    for size in sizes:
        log = Log(size)
        accept(book, log, log.since(before))
        before = size
    assert book.held()[NORTH].size == sizes[-1]


def test_logs_are_held_apart(book: WitnessBook) -> None:
    north, south = Log(5), Log(3, origin=SOUTH)
    accept(book, north)
    accept(book, south)
    assert book.held() == {NORTH: north.head, SOUTH: south.head}
    assert list(book.held()) == sorted([NORTH, SOUTH])


def test_the_same_head_again_is_fine_with_whatever_proof_and_cosignatures(book: WitnessBook) -> None:
    log = Log(5)
    accept(book, log)
    cosigned = checkpoint.cosign(log.note, SOUTH, OTHER, 1_763_000_000)
    for note in (log.note, cosigned):
        for said in ((), (Continuation(5, log.head, (bytes(32),)),)):
            assert book.accept(note, NORTH, VERIFIER, said) == log.head
    assert book.notes() == {NORTH: log.note}


# Logs that go back on what they showed


def lies(kind: str) -> tuple[Log, tuple[bytes, ...]]:
    """What a witness that holds 9 entries is shown next."""
    fork = Log(12, "other")
    return {
        "shrunk": (Log(7), ()),
        "shrunk, with a proof of something": (Log(7), Log(12).since(7)),
        "shrunk and grown again otherwise": (Log(8, "other"), Log(9, "other").since(8)),
        "forked": (Log(9, "other"), ()),
        "unproven: a forked longer log": (fork, fork.since(9)),
        "unproven: no proof": (Log(12), ()),
        "unproven: a proof from another size": (Log(12), Log(12).since(8)),
        "unproven: an endless proof": (Log(12), Log(12).since(9) + (bytes(32),) * 100),
    }[kind]


LIES = [
    "shrunk",
    "shrunk, with a proof of something",
    "shrunk and grown again otherwise",
    "forked",
    "unproven: a forked longer log",
    "unproven: no proof",
    "unproven: a proof from another size",
    "unproven: an endless proof",
]


@pytest.mark.parametrize("kind", LIES)
def test_a_log_that_goes_back_is_refused_and_both_notes_are_kept(book: WitnessBook, kind: str) -> None:
    held, (shown, proof) = Log(9), lies(kind)
    accept(book, held)
    with pytest.raises(VerificationFailed, match=f"{NORTH} {kind.split(':')[0].split(' ')[0].strip(',')}"):
        accept(book, shown, proof)
    again = WitnessBook(book.folder)
    assert again.conflicts() == (NORTH,)
    evidence = again.conflict(NORTH)
    assert (evidence.held, evidence.shown, evidence.statement) == (held.note, shown.note, SAID)
    for note in (evidence.held, evidence.shown):
        checkpoint.open_note(note, NORTH, VERIFIER)  # anybody with the log's key can judge them
    assert again.held() == {NORTH: held.head}


def test_an_old_note_whose_site_says_it_has_no_proof_is_of_a_log_put_back_from_a_backup(book: WitnessBook) -> None:
    old, new = Log(5), Log(9)
    accept(book, old)
    accept(book, new, new.since(5))
    with pytest.raises(VerificationFailed, match="shrunk"):
        accept(book, old)
    assert book.conflict(NORTH).shown == old.note
    assert book.held() == {NORTH: new.head}


def test_an_old_note_with_proof_that_the_held_one_extends_it_is_refused_but_no_evidence(book: WitnessBook) -> None:
    old, new = Log(5), Log(9)
    accept(book, new)
    with pytest.raises(NotJudged, match="got its older 5"):
        accept(book, old, new.since(5))
    assert book.conflicts() == ()
    assert book.held() == {NORTH: new.head}


def test_a_log_in_conflict_is_refused_whatever_it_shows_and_others_are_not(book: WitnessBook) -> None:
    held, longer = Log(9), Log(12)
    accept(book, held)
    with pytest.raises(VerificationFailed, match="forked"):
        accept(book, Log(9, "other"))
    evidence = book.conflict(NORTH)
    for log in (held, longer, Log(9, "third")):
        with pytest.raises(VerificationFailed, match="nobody resolved"):
            accept(book, log, log.since(9))
    assert book.conflict(NORTH) == evidence
    accept(book, Log(3, origin=SOUTH))


@pytest.mark.parametrize(
    ("log", "origin"),
    [
        pytest.param(Log(9, "other", signer=OTHER), NORTH, id="another key's note"),
        pytest.param(Log(9, origin=SOUTH), NORTH, id="another log's note"),
        pytest.param(Log(9, origin=SOUTH, signer=OTHER), NORTH, id="another log's note by another key"),
    ],
)
def test_notes_that_anybody_could_have_made_are_refused_and_no_evidence(
    book: WitnessBook, log: Log, origin: str
) -> None:
    held = Log(5)
    accept(book, held)
    with pytest.raises(VerificationFailed, match=r"expected log|expected one signature"):
        book.accept(log.note, origin, VERIFIER)
    assert book.conflicts() == ()
    assert book.held() == {NORTH: held.head}


@pytest.mark.parametrize("shown", [Log(12), Log(7)], ids=["larger", "smaller"])
def test_nothing_is_held_against_a_site_that_has_said_nothing_of_the_very_head_that_is_held(
    book: WitnessBook, shown: Log
) -> None:
    """It was asked of another head, or at another size, or the root is not the one that it was asked of."""
    held, size = Log(9), shown.head.size
    accept(book, held)
    for said in (
        [],
        [Continuation(size, Log(8).head, ()), Continuation(size, Log(10).head, ())],
        [Continuation(size - 1, held.head, ()), Continuation(size + 1, held.head, ())],
        [Continuation(size, Log(9, "other").head, ())],
        [Continuation(size, Log(9, origin=SOUTH).head, ())],
    ):
        with pytest.raises(NotJudged, match="since 9 entries"):
            book.accept(shown.note, NORTH, VERIFIER, said, SAID)
    assert book.conflicts() == ()
    assert book.held() == {NORTH: held.head}


# Decided by a person


def test_a_resolved_conflict_leaves_its_evidence_and_the_log_must_go_on_from_what_is_held(book: WitnessBook) -> None:
    accept(book, Log(9))
    for _ in range(2):
        with pytest.raises(VerificationFailed):
            accept(book, Log(9, "other"))
        book.resolve(NORTH)
        assert book.conflicts() == ()
    assert len(list((book.folder / "resolved").iterdir())) == 2
    longer = Log(12)
    assert accept(book, longer, longer.since(9)) == longer.head


def test_a_log_that_was_made_anew_is_taken_as_a_first_one_if_a_person_says_so(book: WitnessBook) -> None:
    accept(book, Log(9))
    anew = Log(5, "other")
    with pytest.raises(VerificationFailed):
        accept(book, anew)
    book.resolve(NORTH, forget=True)
    assert book.held() == {}
    assert accept(book, anew) == anew.head


def test_there_is_nothing_to_resolve_without_a_conflict(book: WitnessBook) -> None:
    accept(book, Log(9))
    for origin in (NORTH, SOUTH):
        with pytest.raises(InputError, match="readable"):
            book.resolve(origin, forget=True)
    assert book.held() == {NORTH: Log(9).head}


# Crashes and full disks


def test_evidence_survives_the_process_that_found_it(tmp_path: Path) -> None:
    """The process is killed at the moment that it would tell."""
    book, held, shown = WitnessBook(tmp_path / "witnessed"), Log(9), Log(9, "other")
    accept(book, held)
    program = (
        "import os, sys; from pathlib import Path\n"
        "from privacy import signing; from privacy.witness import WitnessBook\n"
        "folder, note, public = sys.argv[1:]\n"
        "try: WitnessBook(Path(folder)).accept(note, 'kith/North', signing.verifier(bytes.fromhex(public)))\n"
        "except BaseException: os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(book.folder), shown.note, SIGNER.public.hex()])
    assert done.returncode == -9
    assert book.conflict(NORTH) == Conflict(NORTH, "forked", held.note, shown.note, b"")
    with pytest.raises(VerificationFailed, match="nobody resolved"):
        accept(book, held)


def test_on_a_full_disk_what_was_held_is_still_held(book: WitnessBook) -> None:
    old, new = Log(5), Log(9)
    accept(book, old)
    with full_disk(), pytest.raises(InputError, match="can be written"):
        accept(book, new, new.since(5))
    assert book.notes() == {NORTH: old.note}
    assert accept(book, new, new.since(5)) == new.head


def test_a_lie_on_a_full_disk_is_refused_and_found_again_later(book: WitnessBook) -> None:
    held, shown = Log(9), Log(9, "other")
    accept(book, held)
    with full_disk(), pytest.raises(VerificationFailed, match="could not be written"):
        accept(book, shown)
    assert book.notes() == {NORTH: held.note}
    with pytest.raises(VerificationFailed, match="both notes are kept"):
        accept(book, shown)
    assert book.conflicts() == (NORTH,)


def test_what_a_crash_left_half_written_is_passed_over(book: WitnessBook) -> None:
    log = Log(5)
    accept(book, log)
    (book.folder / ".0123456789abcdef.partial").write_bytes(b"half a no")
    assert book.notes() == {NORTH: log.note}


def test_a_file_put_in_place_of_another_log_s_is_refused(book: WitnessBook) -> None:
    accept(book, Log(5))
    accept(book, Log(3, origin=SOUTH))
    one, other = sorted(book.folder.glob("*.note"))
    one.write_bytes(other.read_bytes())
    with pytest.raises(InputError, match="another's"):
        book.held()


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"kith/North\n5\n", b"x" * 300_000], ids=["none", "no text", "half", "long"]
)
def test_a_spoiled_file_is_not_read_as_no_file(book: WitnessBook, content: bytes) -> None:
    accept(book, Log(5))
    next(book.folder.glob("*.note")).write_bytes(content)
    with pytest.raises(InputError):
        accept(book, Log(3))


def test_of_several_at_once_one_is_held_and_the_others_proofs_are_out_of_date(book: WitnessBook) -> None:
    """The race that c2sp.org/tlog-witness describes: the smaller one must not be put back over the larger."""
    held = accept(book, Log(4))
    logs = [Log(size) for size in (8, 16, 6, 12)]

    def tried(log: Log) -> bool:
        try:
            book.accept(log.note, NORTH, VERIFIER, [Continuation(log.head.size, held, log.since(4))])
        except NotJudged:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(tried, logs))
    first = [log.head for log, fine in zip(logs, done, strict=True) if fine]
    assert first == [book.held()[NORTH]]
    assert book.conflicts() == ()


def test_evidence_is_the_golden_file(book: WitnessBook, golden: Callable[[str, bytes], None]) -> None:
    held = accept(book, Log(9))
    shown, proof = lies("unproven: a proof from another size")
    said = Statement("run-1", NORTH, (Continuation(12, held, proof),))
    with pytest.raises(VerificationFailed):
        book.accept(shown.note, NORTH, VERIFIER, said.continuations, sign_statement(said, SIGNER))
    data = next((book.folder / "conflicts").iterdir()).read_bytes()
    golden("conflict.json", data)
    assert Conflict.from_bytes(data, "evidence") == book.conflict(NORTH)
    assert open_statement(book.conflict(NORTH).statement, "run-1", NORTH, VERIFIER) == said


def test_files_and_folders_are_for_their_owner_alone(book: WitnessBook) -> None:
    accept(book, Log(9))
    with pytest.raises(VerificationFailed):
        accept(book, Log(8))
    book.resolve(NORTH)
    for path in (book.folder, *book.folder.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
