"""Sites watch each other's ledgers: what replacing one leads to, and what does not count as a replacement."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from federation.closing import Closing
from federation.group import load_group
from federation.guard import Guard
from federation.site import Site
from federation.training_run import plan_run
from federation.wire import Cosigned, Finish, Finished, Message, Prove, Witness
from federation.witnessing import prove, witness
from privacy import checkpoint, key_folder, key_list
from privacy.checkpoint import Checkpoint, origin_of
from privacy.consistency import Statement, open_statement, sign_statement
from privacy.dsse import Envelope
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.ledger import Ledger
from privacy.party_names import site_party
from privacy.plan import Plan
from privacy.signing import create_key, signer_from_uri, verifier
from privacy.witness import SHRUNK, WitnessBook
from tests.federation.ended_run import ended
from tests.federation.tiny_group import NAMES, TinyGroup, tiny_group
from tests.small_group import budget, settings

NOW = 1_800_000_000
NORTH, WEST = origin_of("North"), origin_of("West")


@pytest.fixture
def group(tmp_path: Path) -> TinyGroup:
    return tiny_group(tmp_path)


def note_of(site: Site) -> str:
    ledger = site.open_ledger()
    try:
        return ledger.checkpoint(site.signer)
    finally:
        ledger.close()


def test_after_a_run_every_site_holds_and_has_cosigned_the_others_checkpoints(group: TinyGroup) -> None:
    closed = ended(group, "run-1")
    for name, one in closed.items():
        others = [other for other in NAMES if other != name]
        assert list(one.witnesses) == others
        keys = group.load().keys.trusted().sites
        verifiers = {origin_of(other): keys[other] for other in others}
        found = checkpoint.witnesses(one.excerpt.checkpoint, one.verified.head, verifiers)
        assert [origin for origin, _ in found] == [origin_of(other) for other in others]
    for site in group.sites:
        assert set(site.witnessed.held()) == set(map(origin_of, NAMES))  # its own too


def test_run_after_run_the_held_checkpoints_grow(group: TinyGroup) -> None:
    first, second = ended(group, "run-1"), ended(group, "run-2")
    held = group.sites[1].witnessed.held()[NORTH]
    assert first["North"].verified.head.size < second["North"].verified.head.size == held.size


def test_a_group_of_one_site_has_no_witness(group: TinyGroup) -> None:
    contract = group.group / "contract.toml"
    lines = contract.read_text(encoding="utf-8").splitlines()
    contract.write_text("\n".join(line for line in lines if not line.startswith(("South", "West"))), encoding="utf-8")
    north = group.sites[0]
    north.contract.write_text(contract.read_text(encoding="utf-8"), encoding="utf-8")
    closed = ended(replace(group, sites=(north,)), "run-1")
    assert closed["North"].witnesses == ()


def older_copy(site: Site, kept: Path) -> None:
    for path in site.folder.glob("ledger.sqlite*"):
        path.unlink()
    for path in kept.iterdir():
        shutil.copy(path, site.folder / path.name)


def new_empty(site: Site, kept: Path) -> None:
    del kept
    for path in site.folder.glob("ledger.sqlite*"):
        path.unlink()
    Ledger.create(site.folder / "ledger.sqlite", site.name, budget("10"), marks=site.marks.fingerprint).close()


def fork(site: Site, kept: Path) -> None:
    """The older copy, and then a history of its own that is longer than the one that was shown."""
    older_copy(site, kept)
    plan = plan_run_at(site)
    ledger = site.open_ledger()
    for number in range(3):
        ledger.reserve(f"other-{number}", plan, [site.marks.mark("1")])
        ledger.end(f"other-{number}")
    ledger.close()


def plan_run_at(site: Site) -> Plan:
    return plan_run(load_group(site.folder.parents[1] / "group"), settings())


@pytest.mark.parametrize("attack", [older_copy, new_empty, fork], ids=["older copy", "new and empty", "fork"])
def test_a_replaced_ledger_is_found_out_named_and_ends_the_groups_runs(
    group: TinyGroup, tmp_path: Path, attack: Callable[[Site, Path], None]
) -> None:
    north, south = group.sites[0], group.sites[1]
    ended(group, "run-1")
    kept = tmp_path / "kept"
    kept.mkdir()
    for path in north.folder.glob("ledger.sqlite*"):
        shutil.copy(path, kept / path.name)
    ended(group, "run-2")
    attack(north, kept)
    shutil.rmtree(north.folder / "witnessed")  # where the site held its own ledger
    with pytest.raises(Refused, match=NORTH) as refusal:
        ended(group, "run-3")
    assert "South" in str(refusal.value)
    assert "West" in str(refusal.value)
    assert south.witnessed.conflicts() == (NORTH,)
    evidence = south.witnessed.conflict(NORTH)
    assert evidence.held.startswith(NORTH)
    assert evidence.shown.startswith(NORTH)
    assert evidence.held != evidence.shown
    ledger = south.open_ledger()
    before = ledger.head()
    with pytest.raises(Refused, match="shrunk or forked"):
        ended(group, "run-4")
    assert ledger.head() == before  # refused before anything was written
    ledger.close()
    for site in group.sites[1:]:
        site.witnessed.resolve(NORTH, forget=True)
    assert ended(group, "run-5")["North"].witnesses == ("South", "West")


def asked(group: TinyGroup, *shown: tuple[str, bytes], run: str = "run-1") -> Witness:
    """What a coordinator asks of a witness: notes, each with what was said of its log."""
    return Witness(run, group.load().lists, tuple(note for note, _ in shown), tuple(said for _, said in shown))


def said_by(site: Site, now: int, *held: Checkpoint, run: str = "run-1") -> bytes:
    """What a site signs of its ledger at a size."""
    ledger = site.open_ledger()
    try:
        return prove(ledger, site.signer, Prove(run, (now,) * len(held), tuple(one.to_text() for one in held)))
    finally:
        ledger.close()


def grown(site: Site, run: str) -> Checkpoint:
    """The head of a site's ledger with another run in it."""
    plan, ledger = plan_run_at(site), site.open_ledger()
    try:
        ledger.reserve(run, plan, [])
        return ledger.head()
    finally:
        ledger.close()


def test_a_note_that_was_overtaken_by_another_runs_is_no_conflict_and_is_not_cosigned(group: TinyGroup) -> None:
    north, south = group.sites[0], group.sites[1]
    earlier = note_of(north)
    head = grown(north, "run-1")
    later, size = note_of(north), head.size - 1
    assert witness(south, asked(group, (later, b"")), NOW) != (later,)
    assert witness(south, asked(group, (earlier, said_by(north, size, head))), NOW) == (earlier,)
    assert south.witnessed.held() == {NORTH: head}
    assert witness(south, asked(group, (earlier, b"")), NOW) == (earlier,)  # nobody asked for the proof
    assert not south.witnessed.conflicts()


def test_a_site_that_says_that_it_is_behind_what_it_showed_has_shrunk(group: TinyGroup, tmp_path: Path) -> None:
    north, south = group.sites[0], group.sites[1]
    head = grown(north, "run-1")
    witness(south, asked(group, (note_of(north), b"")), NOW)
    new_empty(north, tmp_path)
    note, statement = note_of(north), said_by(north, 1, head)
    with pytest.raises(Refused, match=NORTH):
        witness(south, asked(group, (note, statement)), NOW)
    evidence = south.witnessed.conflict(NORTH)
    assert (evidence.kind, evidence.shown, evidence.statement) == (SHRUNK, note, statement)
    (told,) = open_statement(evidence.statement, "run-1", NORTH, verifier(north.signer.public)).continuations
    assert (told.now, told.held, told.proof) == (1, head, ())


# A coordinator that lies about an honest site


def replayed(group: TinyGroup, honest: bytes) -> bytes:
    """What the site said in the run before, of the same heads."""
    del honest
    west = group.sites[2]
    return said_by(west, west.witnessed.held()[WEST].size, group.sites[0].witnessed.held()[WEST])


def of_another_site(group: TinyGroup, honest: bytes) -> bytes:
    """What North said of its own log."""
    del honest
    return said_by(group.sites[0], 1, group.sites[1].witnessed.held()[NORTH], run="run-2")


def signed_by_the_coordinator(group: TinyGroup, honest: bytes) -> bytes:
    """The same with other hashes in it."""
    said = open_statement(honest, "run-2", WEST, verifier(group.sites[2].signer.public))
    spoilt = tuple(replace(one, proof=(os.urandom(32),)) for one in said.continuations)
    return sign_statement(replace(said, continuations=spoilt), group.load().signer)


def under_the_sites_signature(group: TinyGroup, honest: bytes) -> bytes:
    """Other hashes put into the site's own envelope."""
    del group
    envelope = Envelope.from_bytes(honest)
    said = Statement.from_bytes(envelope.payload, "proofs")
    spoilt = tuple(replace(one, proof=(os.urandom(32),)) for one in said.continuations)
    return replace(envelope, payload=replace(said, continuations=spoilt).to_bytes()).to_bytes()


@pytest.mark.parametrize(
    "lie",
    [
        lambda _, honest: os.urandom(32),
        replayed,
        of_another_site,
        signed_by_the_coordinator,
        under_the_sites_signature,
    ],
    ids=["hashes", "of another run", "of another site", "by the coordinator", "under the site's signature"],
)
def test_a_coordinators_bad_proof_ends_its_run_and_accuses_no_honest_site(
    group: TinyGroup, monkeypatch: pytest.MonkeyPatch, lie: Callable[[TinyGroup, bytes], bytes]
) -> None:
    ended(group, "run-1")
    honest, seen = Closing._statements, []

    def lying(closing: Closing, finished: Mapping[str, Any]) -> Mapping[str, bytes]:
        found = honest(closing, finished)
        seen.append({site.name: site.witnessed.held() for site in group.sites})
        return {**found, "West": lie(group, found["West"])}

    with monkeypatch.context() as patch:
        patch.setattr(Closing, "_statements", lying)
        with pytest.raises(Refused, match="proofs of kith/West"):
            ended(group, "run-2")
    assert seen == [{site.name: site.witnessed.held() for site in group.sites}]  # nothing was held meanwhile
    assert not any(site.witnessed.conflicts() for site in group.sites)
    assert ended(group, "run-3")["West"].witnesses == ("North", "South")


def test_a_site_that_was_asked_too_early_is_not_accused_once_it_has_got_there(group: TinyGroup) -> None:
    """What it could not prove then is no evidence, whatever else a coordinator gets it to sign."""
    north, south = group.sites[0], group.sites[1]
    witness(south, asked(group, (note_of(north), b"")), NOW)
    held = south.witnessed.held()[NORTH]
    with pytest.raises(InputError, match="sizes of kith/North from 1 to 1"):
        said_by(north, 2, held)
    early = said_by(north, 1, *(Checkpoint(NORTH, size, bytes(32)) for size in (2, 3)))
    old = note_of(north)
    head = grown(north, "run-1")
    later = note_of(north)
    assert witness(south, asked(group, (later, early)), NOW) == (later,)
    assert witness(south, asked(group, (later, said_by(north, head.size, held))), NOW) != (later,)
    assert witness(south, asked(group, (old, early)), NOW) == (old,)
    assert not south.witnessed.conflicts()


def test_a_head_that_another_run_brought_meanwhile_makes_a_proof_out_of_date_and_no_evidence(
    group: TinyGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the very moment at which it is compared."""
    north, south = group.sites[0], group.sites[1]
    witness(south, asked(group, (note_of(north), b"")), NOW)
    held = south.witnessed.held()[NORTH]
    size = grown(north, "run-1").size
    note, statement = note_of(north), said_by(north, size, held)
    grown(north, "run-2")
    newest = note_of(north)
    accept, nested = WitnessBook.accept, []

    def overtaken(book: WitnessBook, *shown: Any) -> Checkpoint:
        if not nested:
            nested.append(shown)
            witness(south, asked(group, (newest, said_by(north, size + 1, held))), NOW)
        return accept(book, *shown)

    monkeypatch.setattr(WitnessBook, "accept", overtaken)
    assert witness(south, asked(group, (note, statement)), NOW) == (note,)
    assert nested
    assert not south.witnessed.conflicts()


def test_a_run_that_another_one_overtook_is_closed_again(group: TinyGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a run's `finish` and its `witness`, another run ends at the same sites and is witnessed."""
    finish, nested = Guard.finish, []

    def overtaken(guard: Guard, request: Finish) -> Finished:
        found = finish(guard, request)
        if request.run == "run-1" and guard.name == NAMES[-1] and not nested:
            nested.append(request.run)
            ended(group, "run-2")
        return found

    monkeypatch.setattr(Guard, "finish", overtaken)
    closed = ended(group, "run-1")
    assert nested
    assert closed["North"].witnesses == ("South", "West")
    assert not any(site.witnessed.conflicts() for site in group.sites)


def test_a_note_by_another_key_than_the_sites_is_refused_and_is_no_evidence(group: TinyGroup) -> None:
    north, south = group.sites[0], group.sites[1]
    ledger = north.open_ledger()
    forged = ledger.checkpoint(group.sites[2].signer)
    ledger.close()
    with pytest.raises(VerificationFailed):
        witness(south, asked(group, (forged, b"")), NOW)
    assert not south.witnessed.conflicts()
    assert not south.witnessed.held()


def test_a_note_of_a_log_that_is_no_sites_is_refused(group: TinyGroup, tmp_path: Path) -> None:
    signer = create_key(tmp_path / "stranger.pem")
    ledger = Ledger.create(tmp_path / "stranger.sqlite", "Stranger", budget())
    note = ledger.checkpoint(signer)
    ledger.close()
    with pytest.raises(VerificationFailed, match="key list"):
        witness(group.sites[0], asked(group, (note, b"")), NOW)


def test_a_site_says_nothing_of_another_log_or_of_nonsense(group: TinyGroup) -> None:
    north = group.sites[0]
    key, own, other = verifier(north.signer.public), Checkpoint(NORTH, 1, bytes(32)), Checkpoint(WEST, 1, bytes(32))
    (told,) = open_statement(said_by(north, 1, other, own), "run-1", NORTH, key).continuations
    assert (told.now, told.held) == (1, own)
    for now, held in ((0, own), (2, own), (1, replace(own, size=0))):
        with pytest.raises(InputError, match="sizes of kith/North"):
            said_by(north, now, held)
    with pytest.raises(InputError, match="at most 1000"):
        said_by(north, 1, *[own] * 1001)
    ledger = north.open_ledger()
    for columns in (((1,), ()), ((1,), ("kith/North",))):
        with pytest.raises(InputError):
            prove(ledger, north.signer, Prove("run-1", *columns))
    ledger.close()


def test_notes_and_statements_that_do_not_pair_are_refused(group: TinyGroup) -> None:
    note = note_of(group.sites[0])
    for statements in ((), (b"", b"")):
        with pytest.raises(InputError, match="a statement for each note"):
            witness(group.sites[1], Witness("run-1", group.load().lists, (note,), statements), NOW)


@pytest.mark.parametrize(
    "change",
    [
        lambda _, notes: notes[:1],
        lambda _, notes: notes[::-1],
        lambda _, notes: tuple(note.replace("cosignature", "") + "\n" for note in notes),
    ],
    ids=["one is missing", "another order", "no note"],
)
def test_cosignatures_that_are_not_what_was_asked_for_are_refused(
    group: TinyGroup, change: Callable[[str, tuple[str, ...]], tuple[str, ...]]
) -> None:
    with pytest.raises(Refused, match="closing: expected replies of 3 sites, got 0"):
        ended(
            group,
            "run-1",
            lambda site, told: Cosigned(change(site, told.notes)) if isinstance(told, Cosigned) else told,
        )


def test_a_cosignature_by_another_key_than_the_witnesss_does_not_count(group: TinyGroup) -> None:
    stranger = group.sites[2].signer

    def forge(site: str, told: Message) -> Message:
        if site != "South" or not isinstance(told, Cosigned):
            return told
        plain = [note.rsplit("\N{EM DASH}", 1)[0] for note in told.notes]
        return Cosigned(tuple(checkpoint.cosign(note, origin_of("South"), stranger, NOW) for note in plain))

    with pytest.raises(Refused, match=r"got 2, none of South: .*witness 'South'"):
        ended(group, "run-1", forge)


def test_the_next_key_list_reaches_the_sites_with_the_notes(group: TinyGroup, tmp_path: Path) -> None:
    root = signer_from_uri(f"file:{group.group / 'root-1.pem'}")
    west = group.sites[2]
    for number in (1, 2):  # sites were away for the first
        west.folder.joinpath("key.pem").unlink()
        new = create_key(west.folder / "key.pem")
        listed = key_folder.in_force(group.group)
        following = key_list.rotated(listed, site_party("West"), new.public, NOW + number)
        assert key_folder.propose(group.group, following, root).in_force
    closed = ended(group, "run-1")
    assert closed["West"].witnesses == ("North", "South")
    assert {key_folder.in_force(site.folder).number for site in group.sites} == {2}


def test_a_key_list_that_does_not_follow_is_refused(group: TinyGroup, tmp_path: Path) -> None:
    site, lists = group.sites[0], group.load().lists
    other = tiny_group(tmp_path / "other").load().lists
    with pytest.raises(VerificationFailed):
        witness(site, Witness("run-1", other, (), ()), NOW)
    with pytest.raises(InputError, match="key lists"):
        witness(site, Witness("run-1", (), (), ()), NOW)
    assert witness(site, Witness("run-1", lists, (), ()), NOW) == ()


def test_a_list_older_than_the_held_one_is_refused(group: TinyGroup) -> None:
    root = signer_from_uri(f"file:{group.group / 'root-1.pem'}")
    first = group.load().lists
    listed = key_folder.in_force(group.group)
    key_folder.propose(group.group, key_list.with_roots(listed, [root.public], 1, NOW), root)
    witness(group.sites[0], asked(group), NOW)
    with pytest.raises(VerificationFailed, match="number 1"):
        witness(group.sites[0], Witness("run-1", first, (), ()), NOW)
