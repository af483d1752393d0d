"""The same apps on a real Flower fleet: a SuperLink and three SuperNodes, each its own process, on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.embedded import run_embedded
from privacy.ledger import Ledger
from privacy.verify import verify_release
from tests.federation.fleet import ROOT, fleet
from tests.small_group import small_group

SEEDED = "seeded-for-tests:5"


@pytest.mark.slow
def test_a_real_fleet_and_one_process_give_the_same_weights_byte_for_byte(tmp_path: Path) -> None:
    from tests.small_group import settings

    here, there = (small_group(tmp_path / name, noise=SEEDED) for name in ("embedded", "fleet"))
    embedded = run_embedded(here.group, here.folders, settings(rounds=3), tmp_path / "embedded-run")
    out = tmp_path / "fleet-run"
    config = {
        "group": str(there.group),
        "out": str(out),
        "run-id": "run-1",
        "epsilon": "1",
        "delta": "0.00001",
        "rounds": 3,
    }
    with fleet(tmp_path / "flower", there.folders) as running:
        assert running.run(ROOT, config, timeout=300) == "finished:completed"
    weights = [(release / "model.safetensors").read_bytes() for release in (embedded, out / "release")]
    assert weights[0] == weights[1]
    checks = {check.name: check.state for check in verify_release(out / "release", there.group / "roots.json").checks}
    assert checks.pop("noise") == "fail"  # the test's noise, and nothing else
    assert set(checks.values()) == {"pass"}
    for one, other in zip(here.sites, there.sites, strict=True):
        ledgers = [Ledger.open(site.folder / "ledger.sqlite") for site in (one, other)]
        assert ledgers[0].totals.spent == ledgers[1].totals.spent > 0
    for site in there.sites:
        assert len(site.witnessed.held()) == 3  # the others' ledgers, and its own
