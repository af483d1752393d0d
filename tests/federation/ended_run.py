"""A run of one release, closed, over the guards of a tiny group that may say something else than they would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

from federation import sealed
from federation.closing import Closed, Closing
from federation.exchange import Exchanges
from federation.guard import Guard
from federation.run_log import RunLog
from federation.training_run import plan_run
from federation.wire import Contribute, Contribution, Message
from models.planning import SECOND_MOMENTS
from privacy.receipt import Receipt, open_receipt
from privacy.signing import Signer, Verifier, verifier
from tests.federation.tiny_fleet import Ask, TinyFleet
from tests.federation.tiny_group import TinyGroup
from tests.small_group import settings

Spoil = Callable[[str, Message], Message]
"""What a site says instead, by its name and what it would say."""


def ended(group: TinyGroup, run: str, spoil: Spoil | None = None) -> Mapping[str, Closed]:
    """What every site showed, and who cosigned."""
    known, fleet = group.load(), TinyFleet(group)
    plan = plan_run(known, settings(run))
    for site in group.sites:
        if spoil is not None:
            fleet.nodes[site.name].ask = _spoiling(fleet.guards[site.name], site.signer, spoil)
    with RunLog(Path(mkdtemp(dir=group.group))) as log:
        keys = known.keys.trusted().sites
        exchanges = Exchanges(fleet, known.signer, {site.name: keys[site.name] for site in plan.sites}, log, 2.0)
        asked = Contribute(run, plan.to_bytes(), SECOND_MOMENTS, 0, b"")
        told = exchanges.ask("release", asked, lambda _, told: told, len(plan.sites)).found
        receipts = {name: [_receipt(one, keys[name])] for name, one in told.items()}
        return Closing(exchanges, run, plan, receipts, known.lists).closed()


def _receipt(told: Message, key: Verifier) -> Receipt:
    assert isinstance(told, Contribution)
    return open_receipt(told.receipt, key)


def _spoiling(guard: Guard, signer: Signer, spoil: Spoil) -> Ask:
    """The site signs itself what it says instead."""

    def ask(request: bytes) -> bytes:
        told = sealed.open_reply(guard.answer(request), request, {guard.name: verifier(signer.public)})[1]
        return sealed.seal_reply(spoil(guard.name, told), request, signer)

    return ask
