"""What a site may show at a run's end, by what a hostile one shows: it is its own garbage, and nobody else's loss."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from federation.wire import Contribution, Cosigned, Finished, Message, Proofs
from privacy import checkpoint, consistency, fields
from privacy.checkpoint import origin_of
from privacy.consistency import Statement, sign_statement
from privacy.errors import Refused
from privacy.ledger_excerpt import LedgerExcerpt
from privacy.receipt import Receipt, open_receipt, sign_receipt
from privacy.signing import verifier
from tests.federation.ended_run import Spoil, ended
from tests.federation.tiny_group import NAMES, TinyGroup, tiny_group

HOSTILE = NAMES[0]
"""First by name: what it does comes before what the others do."""


@pytest.fixture
def group(tmp_path: Path) -> TinyGroup:
    return tiny_group(tmp_path)


def junk(lines: int) -> str:
    """Signature lines of keys that nobody knows."""
    return "".join(f"\N{EM DASH} junk{n} {fields.to_base64(os.urandom(8))}\n" for n in range(lines))


def showing(change: Callable[[LedgerExcerpt], LedgerExcerpt]) -> Spoil:
    """The hostile site's excerpt, changed."""

    def spoil(site: str, told: Message) -> Message:
        if site != HOSTILE or not isinstance(told, Finished):
            return told
        return replace(told, excerpt=change(LedgerExcerpt.from_bytes(told.excerpt, "excerpt")).to_bytes())

    return spoil


def refusal(group: TinyGroup, spoil: Spoil) -> str:
    """Why a run ends, the hostile site alone being named."""
    with pytest.raises(Refused, match=f"closing: expected replies of 3 sites, got 2, none of {HOSTILE}: ") as refused:
        ended(group, "run-1", spoil)
    assert not any(site.witnessed.conflicts() for site in group.sites)
    return str(refused.value)


@pytest.mark.parametrize("lines", [1, 127])
def test_a_checkpoint_that_leaves_witnesses_no_room_is_its_own_sites_garbage(group: TinyGroup, lines: int) -> None:
    spoil = showing(lambda excerpt: replace(excerpt, checkpoint=excerpt.checkpoint + junk(lines)))
    assert "no signature but its own" in refusal(group, spoil)


def test_a_witness_that_fills_up_the_notes_crowds_no_other_witness_out(group: TinyGroup) -> None:
    def spoil(site: str, told: Message) -> Message:
        if site != HOSTILE or not isinstance(told, Cosigned):
            return told
        return Cosigned(tuple(note + junk(126) for note in told.notes))

    closed = ended(group, "run-1", spoil)
    for name, one in closed.items():
        assert list(one.witnesses) == [other for other in NAMES if other != name]
        assert checkpoint.count_signatures(one.excerpt.checkpoint) == len(NAMES)


def test_a_witness_that_cosigns_often_is_taken_over_once(group: TinyGroup) -> None:
    signers = {site.name: site.signer for site in group.sites}

    def spoil(site: str, told: Message) -> Message:
        if site != HOSTILE or not isinstance(told, Cosigned):
            return told
        notes = told.notes
        for time in range(100):
            notes = tuple(checkpoint.cosign(note, origin_of(site), signers[site], time) for note in notes)
        return Cosigned(notes)

    closed = ended(group, "run-1", spoil)
    assert {checkpoint.count_signatures(one.excerpt.checkpoint) for one in closed.values()} == {len(NAMES)}
    assert closed["West"].witnesses == ("North", "South")


def test_an_excerpt_without_the_runs_charges_is_its_sites_garbage(group: TinyGroup) -> None:
    spoil = showing(lambda excerpt: replace(excerpt, charges=()))
    assert "expected the charge that its receipt of second-moments 0" in refusal(group, spoil)


@pytest.mark.parametrize(
    "change",
    [
        lambda receipt: replace(receipt, position=receipt.position + 1),
        lambda receipt: replace(receipt, leaf="0" * 64),
    ],
    ids=["position", "leaf"],
)
def test_a_receipt_of_another_charge_than_the_ledgers_is_its_sites_garbage(
    group: TinyGroup, change: Callable[[Receipt], Receipt]
) -> None:
    signers = {site.name: site.signer for site in group.sites}

    def spoil(site: str, told: Message) -> Message:
        if site != HOSTILE or not isinstance(told, Contribution):
            return told
        receipt = open_receipt(told.receipt, verifier(signers[site].public))
        return replace(told, receipt=sign_receipt(change(receipt), signers[site]))

    assert "expected the charge that its receipt of second-moments 0" in refusal(group, spoil)


@pytest.mark.parametrize(
    "change",
    [
        lambda said: replace(said, run="run-0"),
        lambda said: replace(said, log=origin_of("South")),
        lambda said: replace(said, continuations=()),
        lambda said: replace(said, continuations=said.continuations * 2),
        lambda said: replace(said, continuations=tuple(replace(one, now=1) for one in said.continuations)),
    ],
    ids=["another run", "another log", "nothing", "more", "another size"],
)
def test_a_statement_on_something_else_than_was_asked_is_its_sites_garbage(
    group: TinyGroup, change: Callable[[Statement], Statement]
) -> None:
    """Else every honest witness would refuse it, and be blamed."""
    ended(group, "run-0")
    north = group.sites[0]

    def spoil(site: str, told: Message) -> Message:
        if site != HOSTILE or not isinstance(told, Proofs):
            return told
        said = consistency.open_statement(told.statement, "run-1", origin_of(site), verifier(north.signer.public))
        return Proofs(sign_statement(change(said), north.signer))

    assert "proofs of" in refusal(group, spoil)


def test_a_statement_by_another_key_than_the_sites_is_its_sites_garbage(group: TinyGroup) -> None:
    ended(group, "run-0")
    stranger = group.sites[1].signer

    def spoil(site: str, told: Message) -> Message:
        if site != HOSTILE or not isinstance(told, Proofs):
            return told
        return Proofs(sign_statement(Statement("run-1", origin_of(site), ()), stranger))

    assert "expected signatures of exactly" in refusal(group, spoil)


@pytest.mark.parametrize("held", [("",), ("kith/South\n9\n",), ("kith/South\n9\nAAAA\n",)])
def test_a_head_that_is_none_is_its_sites_garbage(group: TinyGroup, held: tuple[str, ...]) -> None:
    def spoil(site: str, told: Message) -> Message:
        return replace(told, held=held) if site == HOSTILE and isinstance(told, Finished) else told

    refusal(group, spoil)


def test_a_site_that_says_that_it_holds_what_never_was_accuses_nobody(group: TinyGroup) -> None:
    """South signs that it has no proof to that head: it is the head of nobody's but who made it up."""
    made_up = checkpoint.Checkpoint(origin_of("South"), 1_000_000, bytes(32)).to_text()

    def spoil(site: str, told: Message) -> Message:
        return replace(told, held=(made_up,)) if site == HOSTILE and isinstance(told, Finished) else told

    ended(group, "run-0")
    closed = ended(group, "run-1", spoil)
    assert closed["South"].witnesses == ("North", "West")
    assert not any(site.witnessed.conflicts() for site in group.sites)
