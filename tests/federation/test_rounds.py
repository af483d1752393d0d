"""The coordinator's rules for replies, by the attacks of a site, a network or an impostor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import Error, Message

from federation import client_app, messages
from federation.embedded import InProcessGrid
from federation.group import Group, load_group
from federation.guard import Contribution
from federation.rounds import Rounds
from federation.training_run import plan_run
from models.planning import SECOND_MOMENTS
from privacy.errors import InputError, Refused, VerificationFailed
from privacy.plan import Plan
from privacy.receipt import open_receipt, sign_receipt
from privacy.signing import verifier
from tests.federation.tiny_group import TinyGroup, tiny_group
from tests.small_group import settings

Tamper = Callable[[list[Message]], list[Message]]


class Interfering(InProcessGrid):
    """A grid whose replies somebody has had in hand."""

    tamper: Tamper = staticmethod(lambda replies: replies)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self.tamper(list(super().pull_messages(message_ids)))


@pytest.fixture
def group(tmp_path: Path) -> TinyGroup:
    return tiny_group(tmp_path)


@pytest.fixture
def known(group: TinyGroup) -> Group:
    return load_group(group.group)


@pytest.fixture
def plan(known: Group) -> Plan:
    return plan_run(known, settings())


def ask(group: TinyGroup, known: Group, plan: Plan, tamper: Tamper, deadline: float = 1.0) -> object:
    grid = Interfering(client_app.app, group.folders)
    rounds = Rounds(grid, "run-1", plan, known.keys, deadline)
    grid.tamper = tamper
    return rounds.contributions(SECOND_MOMENTS, 0, b"")


def changed(reply: Message, change: Callable[[Contribution], Contribution]) -> Message:
    reply.content = messages.contribution_record(change(messages.read_contribution(reply.content)))
    return reply


def test_every_site_counts_once_and_verifies(group: TinyGroup, known: Group, plan: Plan) -> None:
    found = ask(group, known, plan, lambda replies: replies)
    assert set(found) == {site.name for site in group.sites}


def test_values_that_differ_from_the_receipt_are_refused(group: TinyGroup, known: Group, plan: Plan) -> None:
    def flip(contribution: Contribution) -> Contribution:
        return replace(contribution, values=bytes([contribution.values[0] ^ 1]) + contribution.values[1:])

    with pytest.raises(VerificationFailed, match="bytes"):
        ask(group, known, plan, lambda replies: [changed(reply, flip) for reply in replies])


def test_a_receipt_by_a_key_that_is_not_enrolled_is_refused(group: TinyGroup, known: Group, plan: Plan) -> None:
    def resign(contribution: Contribution) -> Contribution:
        receipt = open_receipt(contribution.receipt, verifier(group.sites[0].signer.public))
        return replace(contribution, receipt=sign_receipt(receipt, known.signer))

    with pytest.raises(VerificationFailed, match="receipt"):
        ask(group, known, plan, lambda replies: [changed(replies[0], resign), *replies[1:]])


def test_a_site_that_signs_under_another_sites_name_is_refused(group: TinyGroup, known: Group, plan: Plan) -> None:
    def rename(contribution: Contribution) -> Contribution:
        signer = group.sites[0].signer
        receipt = open_receipt(contribution.receipt, verifier(signer.public))
        return replace(contribution, receipt=sign_receipt(replace(receipt, site=group.sites[1].name), signer))

    with pytest.raises(VerificationFailed, match="receipt"):
        ask(group, known, plan, lambda replies: [changed(replies[0], rename), *replies[1:]])


def test_a_reply_of_an_earlier_run_is_refused(group: TinyGroup, known: Group, plan: Plan) -> None:
    grid = InProcessGrid(client_app.app, group.folders)
    old = Rounds(grid, "run-0", plan, known.keys, 1.0).contributions(SECOND_MOMENTS, 0, b"")

    def replay(contribution: Contribution) -> Contribution:
        of_site = old[group.sites[0].name]
        return Contribution(of_site.sum.astype("<i8").tobytes(), of_site.envelope)

    with pytest.raises(VerificationFailed, match="run"):
        ask(group, known, plan, lambda replies: [changed(replies[0], replay), *replies[1:]])


def test_two_replies_under_one_name_are_refused(group: TinyGroup, known: Group, plan: Plan) -> None:
    def double(replies: list[Message]) -> list[Message]:
        first = messages.read_contribution(replies[0].content)
        return [replies[0], changed(replies[1], lambda _: first), *replies[2:]]

    with pytest.raises(VerificationFailed, match="second"):
        ask(group, known, plan, double)


def test_a_silent_site_ends_the_exchange_and_is_named(group: TinyGroup, known: Group, plan: Plan) -> None:
    silent = group.sites[2].name

    def without(replies: list[Message]) -> list[Message]:
        key = verifier(group.sites[2].signer.public)

        def is_silent(reply: Message) -> bool:
            try:
                return open_receipt(messages.read_contribution(reply.content).receipt, key).site == silent
            except VerificationFailed:
                return False

        return [reply for reply in replies if not is_silent(reply)]

    with pytest.raises(Refused, match=silent):
        ask(group, known, plan, without, deadline=0.5)


def test_an_error_reply_ends_the_exchange_with_its_reason(group: TinyGroup, known: Group, plan: Plan) -> None:
    def failed(replies: list[Message]) -> list[Message]:
        answered = replies[0]
        error = Message(Error(code=1000, reason="site: no"), reply_to=answered)
        error.metadata.__dict__["_reply_to_message_id"] = answered.metadata.reply_to_message_id
        return [error, *replies[1:]]

    with pytest.raises(Refused, match="site: no"):
        ask(group, known, plan, failed)


def test_a_reply_without_kiths_record_is_refused(group: TinyGroup, known: Group, plan: Plan) -> None:
    def foreign(replies: list[Message]) -> list[Message]:
        replies[0].content = messages.finish_record("run-1")
        return replies

    with pytest.raises(InputError, match="message"):
        ask(group, known, plan, foreign)


def test_too_few_nodes_are_refused_at_the_deadline(group: TinyGroup, known: Group, plan: Plan) -> None:
    with pytest.raises(Refused, match="nodes online"):
        Rounds(InProcessGrid(client_app.app, group.folders[:1]), "run-1", plan, known.keys, deadline=0.2)


def test_an_unforeseen_error_of_a_site_leaves_as_its_type_alone(
    group: TinyGroup, known: Group, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(folder: Path) -> object:
        raise ZeroDivisionError("salary 103000 of employee 17")

    monkeypatch.setattr(client_app, "guard_at", broken)
    with pytest.raises(Refused, match="ZeroDivisionError") as refusal:
        ask(group, known, plan, lambda replies: replies)
    assert "103000" not in str(refusal.value)


def test_a_node_without_a_site_in_its_own_config_serves_nothing(group: TinyGroup, known: Group, plan: Plan) -> None:
    grid = InProcessGrid(client_app.app, group.folders)
    for context in grid._contexts.values():
        context.node_config = {}
        context.run_config = {"site": str(group.folders[0])}  # what a run says is not listened to
    with pytest.raises(Refused, match="node config"):
        Rounds(grid, "run-1", plan, known.keys, 1.0).contributions(SECOND_MOMENTS, 0, b"")
