"""kill -9 at random moments of runs, again and again, at the same sites: what was sent is charged, for ever.

`KITH_KILLS` says how often (200). Delays are seeded; where in its work a child is then, the machine decides.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from federation.policy_file import POLICY_FILE, write_policy
from federation.site import Site
from privacy import amounts, entries, merkle
from privacy.checkpoint import Checkpoint
from privacy.entries import Charged
from privacy.marks import split
from privacy.verify import verify_release
from tests.federation.killed import SENT
from tests.federation.tiny_group import TinyGroup, tiny_group
from tests.small_group import budget

KILLS = int(os.environ.get("KITH_KILLS", "200"))
ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0


class Children:
    """Children of a warm process, killed when they are told."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.federation.killed", str(folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._warm = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)

    def start(self) -> int:
        assert self._warm.stdin is not None
        assert self._warm.stdout is not None
        self._warm.stdin.write("\n")
        self._warm.stdin.flush()
        return int(self._warm.stdout.readline())

    def kill(self, child: int) -> None:
        assert self._warm.stdout is not None
        os.kill(child, signal.SIGKILL)
        status = int(self._warm.stdout.readline())
        assert os.WIFSIGNALED(status), "the child ended by itself"

    def close(self) -> None:
        assert self._warm.stdin is not None
        self._warm.stdin.close()
        self._warm.wait(30)


@pytest.mark.kill
def test_whatever_moment_a_run_is_killed_at_what_was_sent_stays_charged(tmp_path: Path) -> None:
    group = tiny_group(tmp_path, allowed=budget("1000"))
    for site in group.sites:
        tireless = replace(site.policy, runs_per_week=1_000_000)
        (site.folder / POLICY_FILE).unlink()
        write_policy(site.folder / POLICY_FILE, tireless)
    children = Children(tmp_path)
    delays = random.Random(5)
    held: dict[str, Checkpoint] = {}
    before: dict[str, Fraction] = defaultdict(Fraction)
    interrupted = 0
    try:
        child = children.start()
        began = time.monotonic()
        while not (tmp_path / "runs" / "0" / "release").exists():
            assert time.monotonic() - began < PATIENCE
            time.sleep(0.01)
        one_run = time.monotonic() - began
        children.kill(child)
        for _ in range(KILLS):
            child = children.start()
            time.sleep(delays.uniform(0, 1.5 * one_run))
            children.kill(child)
            sent = [json.loads(line) for line in (tmp_path / SENT).read_text(encoding="utf-8").splitlines()]
            interrupted += any(open_runs(site) for site in group.sites)
            for site in group.sites:
                spent, head = checked(site, [line for line in sent if line["site"] == site.name], held.get(site.name))
                assert spent >= before[site.name]
                before[site.name], held[site.name] = spent, head
    finally:
        children.close()
    assert interrupted > KILLS / 10  # most kills are to come in the middle of something
    check_releases(group, tmp_path / "runs")


def open_runs(site: Site) -> bool:
    with closing(site.open_ledger()) as ledger:
        return bool(ledger.open_runs)


def checked(site: Site, sent: list[dict[str, Any]], held: Checkpoint | None) -> tuple[Fraction, Checkpoint]:
    """What is spent and the tree head, once everything holds of a ledger after a kill."""
    assert site.witnessed.conflicts() == ()  # a crash is no forgery
    with closing(site.open_ledger()) as ledger:
        head = ledger.verify(held)
        leaves, cohorts = read(site.folder / "ledger.sqlite")
        charges = {
            position: entry
            for position, entry in enumerate(entries.from_leaf(leaf, "entry") for leaf in leaves)
            if isinstance(entry, Charged)
        }
        bytes_of: dict[tuple[str, str, int], set[str]] = defaultdict(set)
        for line in sent:
            charge = charges[line["position"]]  # there is a charge for all that was sent
            assert (charge.run, charge.event, charge.index) == (line["run"], line["event"], line["index"])
            assert merkle.leaf_hash(leaves[line["position"]]).hex() == line["leaf"]
            bytes_of[line["run"], line["event"], line["index"]].add(line["values"])
        assert all(len(values) == 1 for values in bytes_of.values())  # the same release, the same bytes
        charged: dict[bytes, Fraction] = defaultdict(Fraction)
        for charge in charges.values():
            for mark in cohorts[charge.cohort]:
                charged[mark] += amounts.from_text(charge.mu2, "mu2")
        for mark in charged:
            assert ledger.balance_of(mark).spent == charged[mark]
        total = sum((amounts.from_text(charge.mu2, "mu2") for charge in charges.values()), Fraction(0))
        assert ledger.totals.spent == total
        return total, head


def read(path: Path) -> tuple[list[bytes], dict[str, frozenset[bytes]]]:
    """The leaves in order, and who is in each cohort, as the file has them."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        leaves = [row[0] for row in connection.execute("SELECT leaf FROM ledger_entries ORDER BY position")]
        found = connection.execute("SELECT digest, marks FROM ledger_cohorts JOIN ledger_crowds USING (crowd)")
        return leaves, {digest: split(marks, "cohort") for digest, marks in found}


def check_releases(group: TinyGroup, runs: Path) -> None:
    """Whatever was released in spite of all that verifies; and something was."""
    releases = [path for path in runs.glob("*/release") if path.is_dir()]
    assert releases
    for release in random.Random(5).sample(releases, min(5, len(releases))):
        verdict = verify_release(release, group.group / "roots.json")
        assert verdict.ok, verdict.failed
