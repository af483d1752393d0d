"""Sites watch each other's ledgers: what replacing one leads to, and what does not count as a replacement."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import pytest

from federation import sealed
from federation.closing import Closed, Closing
from federation.exchange import Exchanges
from federation.guard import Guard
from federation.run_log import RunLog
from federation.site import Site
from federation.training_run import plan_run
from federation.wire import Contribute, Cosigned, Finish, Finished
from federation.witnessing import Shown, Span, prove, witness
from models.planning import SECOND_MOMENTS
from privacy import checkpoint, key_folder, key_list
from privacy.checkpoint import origin_of
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.ledger import Ledger
from privacy.party_names import site_party
from privacy.signing import Signer, create_key, signer_from_uri, verifier
from tests.federation.tiny_fleet import Ask, TinyFleet
from tests.federation.tiny_group import NAMES, TinyGroup, tiny_group
from tests.small_group import budget, settings

NOW = 1_800_000_000
NORTH = origin_of("North")


@pytest.fixture
def group(tmp_path: Path) -> TinyGroup:
    return tiny_group(tmp_path)


Spoil = Callable[[str, Cosigned], Cosigned]


def ended(group: TinyGroup, run: str, spoil: Spoil | None = None) -> Mapping[str, Closed]:
    """A run of one release, closed: what every site showed, and who cosigned."""
    known, fleet = group.load(), TinyFleet(group)
    plan = plan_run(known, settings(run))
    for site in group.sites:
        if spoil is not None:
            fleet.nodes[site.name].ask = spoiling(fleet.guards[site.name], site.signer, spoil)
    with RunLog(Path(mkdtemp(dir=group.group))) as log:
        keys = known.keys.trusted().sites
        exchanges = Exchanges(fleet, known.signer, {site.name: keys[site.name] for site in plan.sites}, log, 2.0)
        asked = Contribute(run, plan.to_bytes(), SECOND_MOMENTS, 0, b"")
        exchanges.ask("release", asked, lambda _, told: told, len(plan.sites))
        return Closing(exchanges, run, plan, [site.name for site in plan.sites], known.lists).closed()


def spoiling(guard: Guard, signer: Signer, spoil: Spoil) -> Ask:
    """Change what a witness sends back; it signs that itself."""

    def ask(request: bytes) -> bytes:
        told = sealed.open_reply(guard.answer(request), request, {guard.name: verifier(signer.public)})[1]
        return sealed.seal_reply(spoil(guard.name, told) if isinstance(told, Cosigned) else told, request, signer)

    return ask


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


def plan_run_at(site: Site):
    from federation.group import load_group

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


def test_a_note_that_was_overtaken_by_another_runs_is_no_conflict_and_is_not_cosigned(group: TinyGroup) -> None:
    north, south = group.sites[0], group.sites[1]
    lists = group.load().lists
    plan = plan_run(group.load(), settings())
    earlier = note_of(north)
    ledger = north.open_ledger()
    ledger.reserve("run-1", plan, [])
    later = ledger.checkpoint(north.signer)
    now, held = ledger.head().size - 1, ledger.head().size
    (proof,) = prove(ledger, [Span("North", now, held), Span("South", 1, 2)])
    assert witness(south, lists, [Shown(later, {})], NOW) != (later,)
    assert witness(south, lists, [Shown(earlier, {held: proof})], NOW) == (earlier,)
    assert south.witnessed.held()[NORTH].size == held
    assert not south.witnessed.conflicts()
    assert witness(south, lists, [Shown(earlier, {held - 1: b""})], NOW) == (earlier,)  # nobody asked for the proof
    with pytest.raises(Refused, match=NORTH):  # the site was asked and has none: a log that shrank
        witness(south, lists, [Shown(earlier, {held: b""})], NOW)
    ledger.close()


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
        witness(south, group.load().lists, [Shown(forged, {})], NOW)
    assert not south.witnessed.conflicts()
    assert not south.witnessed.held()


def test_a_note_of_a_log_that_is_no_sites_is_refused(group: TinyGroup, tmp_path: Path) -> None:
    signer = create_key(tmp_path / "stranger.pem")
    ledger = Ledger.create(tmp_path / "stranger.sqlite", "Stranger", budget())
    note = ledger.checkpoint(signer)
    ledger.close()
    with pytest.raises(VerificationFailed, match="key list"):
        witness(group.sites[0], group.load().lists, [Shown(note, {})], NOW)


def test_a_site_proves_nothing_beyond_its_own_log_and_no_nonsense(group: TinyGroup) -> None:
    ledger = group.sites[0].open_ledger()
    assert prove(ledger, [Span("North", 1, 1), Span("North", 1, 9)]) == (b"", b"")
    with pytest.raises(InputError, match="consistency"):
        prove(ledger, [Span("North", 0, 1)])
    ledger.close()


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
        ended(group, "run-1", lambda site, told: Cosigned(change(site, told.notes)))


def test_a_cosignature_by_another_key_than_the_witnesss_does_not_count(group: TinyGroup) -> None:
    stranger = group.sites[2].signer

    def forge(site: str, told: Cosigned) -> Cosigned:
        if site != "South":
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
        witness(site, other, [], NOW)
    with pytest.raises(InputError, match="key lists"):
        witness(site, (), [], NOW)
    assert witness(site, lists, [], NOW) == ()


def test_a_list_older_than_the_held_one_is_refused(group: TinyGroup) -> None:
    root = signer_from_uri(f"file:{group.group / 'root-1.pem'}")
    first = group.load().lists
    listed = key_folder.in_force(group.group)
    key_folder.propose(group.group, key_list.with_roots(listed, [root.public], 1, NOW), root)
    witness(group.sites[0], group.load().lists, [], NOW)
    with pytest.raises(VerificationFailed, match="number 1"):
        witness(group.sites[0], first, [], NOW)
