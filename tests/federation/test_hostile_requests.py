"""Requests of a coordinator, and bytes of anybody on a site's host, that would cost a site what nobody gets."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from federation.sealed import open_reply
from federation.training_run import train
from federation.wire import Contribute, Refusal
from privacy.ledger import Ledger
from privacy.signing import verifier
from tests.federation.test_secure_sum_runs import FIVE, secure
from tests.federation.tiny_fleet import TinyFleet, opened
from tests.federation.tiny_group import TinyGroup, tiny_group


@pytest.fixture
def group(tmp_path: Path) -> TinyGroup:
    return tiny_group(tmp_path, names=FIVE)


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
