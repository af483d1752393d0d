"""Requests of a coordinator, and bytes of anybody on a site's host, that would cost a site what nobody gets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path

import pytest

from federation.approvals import REFUSE, Approvals
from federation.policy import Approver
from federation.policy_file import POLICY_FILE, write_policy
from federation.sealed import open_reply
from federation.site import Site
from federation.training_run import train
from federation.wire import Agree, Contribute, Refusal, Unmask
from privacy.errors import Refused
from privacy.ledger import Ledger
from privacy.signing import Signer, create_key, verifier
from tests.federation.test_secure_sum_runs import FIVE, secure
from tests.federation.tiny_fleet import Ask, TinyFleet, opened
from tests.federation.tiny_group import TinyGroup, tiny_group


@pytest.fixture
def group(tmp_path: Path) -> TinyGroup:
    return tiny_group(tmp_path, names=FIVE)


def test_what_the_sites_people_refuse_after_the_last_contribution_is_unmasked_by_nobody(
    group: TinyGroup, tmp_path: Path
) -> None:
    approver, fleet = create_key(tmp_path / "ana.pem"), TinyFleet(group)
    for site in group.sites:
        policy = replace(site.policy, approvers=(Approver("ana", approver.public.hex()),))
        (site.folder / POLICY_FILE).unlink()
        write_policy(site.folder / POLICY_FILE, policy)
    refused = list[Unmask]()

    def hooked(ask: Ask) -> Ask:
        def answer(request: bytes) -> bytes:
            asked = opened(request)
            if isinstance(asked, Unmask) and not refused:
                refused.append(asked)
                for site in group.sites:
                    refuse(site, approver)
            return ask(request)

        return answer

    for node in fleet.nodes.values():
        node.ask = hooked(node.ask)
    with pytest.raises(Refused, match="the site's people have refused it"):
        train(fleet, group.load(), secure(rounds=3), tmp_path / "run")
    agree = Agree(refused[0].run, refused[0].event, refused[0].index, refused[0].survivors)
    for guard in fleet.guards.values():
        for ask in (lambda guard=guard: guard.unmask(refused[0]), lambda guard=guard: guard.agree(agree)):
            with pytest.raises(Refused, match="the site's people have refused it"):
                ask()


def refuse(site: Site, approver: Signer) -> None:
    queue, approvers = Approvals(site.folder, site.name), site.policy.approvers
    queue.decide(queue.shown(approvers)[0], REFUSE, approver, approvers, datetime.now(UTC))
    queue.close()


def test_a_masked_release_that_a_crash_lost_is_charged_once_however_often_it_is_asked_for(
    group: TinyGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, settle, asked = TinyFleet(group), Ledger.settle, []
    ask = fleet.nodes["West"].ask

    def keep(request: bytes) -> bytes:
        asked.extend([request] if isinstance(opened(request), Contribute) else [])
        return ask(request)

    def dies(ledger: Ledger, *rest: object) -> None:
        if ledger.site == "West":
            raise RuntimeError("killed")
        settle(ledger, *rest)  # type: ignore[arg-type]

    fleet.nodes["West"].ask = keep
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "settle", dies)
        train(fleet, group.load(), secure(rounds=3), tmp_path / "run")
    ledger = group.sites[-1].open_ledger()
    before = ledger.totals.lifetime
    assert before > Fraction(0)
    for _ in range(3):
        reply = fleet.guards["West"].answer(asked[0])
        told = open_reply(reply, asked[0], {"West": verifier(group.sites[-1].signer.public)})[1]
        assert isinstance(told, Refusal)
    assert ledger.totals.lifetime == before
    ledger.close()
