"""How much work a warm guard does for one contribution of a site of 20,000 people and 200 features."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from federation.group import create_group, load_group
from federation.messenger import ask_at
from federation.site import create_site
from federation.training_run import plan_run
from federation.wire import Contribute, Contribution
from models.planning import GRADIENT, SECOND_MOMENTS
from tests.federation.guards import keys_of, opened, serving
from tests.small_group import budget, settings

PEOPLE, COLUMNS, RELEASES = 20_000, 9, 8
MOST_SECONDS = 0.1
CONTRACT = """
purpose = "retention"
employee = "who"
[label]
column = "left"
kind = "binary"
positive = ["yes"]
negative = ["no"]
[site]
column = "site"
[site.people_at_most]
North = 30000
"""
COLUMN = '[columns.x{0}]\nkind = "number"\nlow = 0\nhigh = 10\nunit = "hours"\ntrain = true\n'


def worked(pid: int) -> float:
    """Seconds that a process has computed, in all its threads: what else the machine does is not in it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_a_contribution_of_a_warm_guard_takes_less_than_a_tenth_of_a_second_of_work(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    contract, table = tmp_path / "contract.toml", tmp_path / "table.csv"
    contract.write_text(CONTRACT + "".join(map(COLUMN.format, range(COLUMNS))))
    cells = draw.integers(0, 11, (PEOPLE, COLUMNS))
    left = draw.random(PEOPLE) < 0.2
    lines = [f"{n},North,{'yes' if left[n] else 'no'}," + ",".join(map(str, cells[n])) for n in range(PEOPLE)]
    table.write_text("\n".join(["who,site,left," + ",".join(f"x{n}" for n in range(COLUMNS)), *lines]) + "\n")
    site = create_site(tmp_path / "site", "North", table, contract, budget("10"))
    create_group(tmp_path / "group", contract, [site])
    group = load_group(tmp_path / "group")
    plan = plan_run(group, settings(rounds=RELEASES + 1))
    width = plan.event(GRADIENT).coordinates
    assert 190 < width < 210
    moments = Contribute("run-1", plan.to_bytes(), SECOND_MOMENTS, 0, b"")
    with serving(site, "--listen", f"unix:{tmp_path / 'guard.sock'}") as served:
        served.told("warm")

        def ask(request: Contribute) -> None:
            answer = opened(ask_at(served.place), group.signer, keys_of([site]), request)
            assert isinstance(answer, Contribution)

        def gradient(index: int) -> Contribute:
            weights = draw.normal(0, 0.01, width).astype("<f8").tobytes()
            return replace(moments, event=GRADIENT, index=index, state=weights)

        ask(moments)
        ask(gradient(0))
        before = worked(served.process.pid)
        for index in range(1, RELEASES + 1):
            ask(gradient(index))
        assert (worked(served.process.pid) - before) / RELEASES < MOST_SECONDS
