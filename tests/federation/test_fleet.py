"""Whole fleets on loopback, every part its own process: what a run gives, and what is left when parts are killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from federation.embedded import run_embedded
from federation.fleet.layout import Fleet
from federation.fleet.lifecycle import standing, up
from federation.site import load_site
from models.release import SHARED, read_release
from privacy.certificate import Certificate, open_certificate
from privacy.plan import SECURE_SUM, Plan, written
from privacy.verify import verify_release
from tests.federation.fleet import (
    PATIENCE,
    kill,
    needs_nginx,
    quiet,
    run_events,
    running,
    short_folder,
    tiny_fleet,
)
from tests.federation.tiny_group import FIVE
from tests.small_group import settings

pytestmark = needs_nginx

SEEDED = "seeded-for-tests:5"
ROUNDS = 2


class Operator:
    """Somebody with a shell, who runs `kith fleet run`."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    def begins(self, run: str, *options: str) -> subprocess.Popen[str]:
        how = ("--epsilon", "1", "--delta", "0.00001", "--rounds", str(ROUNDS), "--run", run, *options)
        return self._kith(*how)

    def resumes(self, run: str) -> dict[str, Any]:
        return self.ends(self._kith("--resume", run))

    @staticmethod
    def ends(started: subprocess.Popen[str]) -> dict[str, Any]:
        out, told = started.communicate(timeout=600)
        assert started.returncode == 0, told[-2000:]
        return dict(json.loads(out))

    def _kith(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kith", "fleet", "run", str(self.fleet.root), "--json", *options]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, "COLUMNS": "100"})


def wait_until(fleet: Fleet, run: str, what: str, number: int, seconds: float = 300.0) -> None:
    """Until so many events of a kind are in a run's log."""
    ends = time.monotonic() + seconds
    while sum(event["what"] == what for event in run_events(fleet, run)) < number:
        assert time.monotonic() < ends, (what, run_events(fleet, run)[-3:])
        time.sleep(0.05)


def certified(fleet: Fleet, release: Path, failed: tuple[str, ...] = ()) -> Certificate:
    """The certificate of a release that verifies, but for these checks."""
    checks = verify_release(release, fleet.coordinator / "group" / "roots.json").checks
    assert {check.name for check in checks if check.state == "fail"} == {*failed}
    listed = json.loads((fleet.coordinator / "group" / "keys.json").read_bytes())
    assert listed
    from federation.group import load_group

    coordinator = load_group(fleet.coordinator / "group").keys.trusted().coordinator
    return open_certificate((release / "certificate.dsse.json").read_bytes(), coordinator)[0]


def spent(fleet: Fleet) -> dict[str, Fraction]:
    """mu² that each site's people were charged, all together."""
    found = {}
    for site in fleet.sites:
        ledger = load_site(fleet.site(site) / "site").open_ledger()
        found[site.name] = ledger.totals.spent
        ledger.close()
    return found


@pytest.mark.slow
def test_a_run_through_a_killed_coordinator_gives_the_weights_of_one_process_byte_for_byte() -> None:
    """Secure sum, TLS, node keys, guards and proxy; the state on disk is all that is left of the SuperLink."""
    with short_folder() as here, short_folder() as there:
        one_process, fleet = tiny_fleet(here, noise=SEEDED), tiny_fleet(there, noise=SEEDED)
        wanted = replace(settings("run-1", rounds=ROUNDS), trust=SECURE_SUM)
        folders = [one_process.site(site) / "site" for site in one_process.sites]
        embedded = run_embedded(one_process.coordinator / "group", folders, wanted, one_process.runs / "run-1")
        with running(fleet):
            operator = Operator(fleet)
            begun = operator.begins("run-1", "--trust", SECURE_SUM)
            wait_until(fleet, "run-1", "released", 1)
            for part in ("superlink", "apps"):  # the coordinator's host
                kill(fleet, part)
            assert begun.wait(120) == 1
            assert not standing(fleet).whole
            assert up(fleet, quiet, PATIENCE).whole
            release = Path(operator.resumes("run-1")["release"])
        assert (release / "model.safetensors").read_bytes() == (embedded / "model.safetensors").read_bytes()
        assert certified(fleet, release, failed=("noise",)).absences == ()  # the test's noise, and nothing else
        assert spent(fleet) == spent(one_process)
        assert min(spent(fleet).values()) > 0
        assert [event["what"] for event in run_events(fleet, "run-1")].count("resumed") == 1


@pytest.mark.long
def test_five_sites_one_killed_mid_round_and_a_killed_superlink_and_the_release_is_as_good() -> None:
    with short_folder() as here, short_folder() as there:
        undisturbed, fleet = tiny_fleet(here, FIVE), tiny_fleet(there, FIVE, deadline=25.0)
        wanted = replace(settings("run-1", rounds=ROUNDS), trust=SECURE_SUM)
        folders = [undisturbed.site(site) / "site" for site in undisturbed.sites]
        embedded = run_embedded(undisturbed.coordinator / "group", folders, wanted, undisturbed.runs / "run-1")
        with running(fleet):
            operator = Operator(fleet)
            begun = operator.begins("run-1", "--trust", SECURE_SUM)
            wait_until(fleet, "run-1", "released", 1)
            for part in ("node-middle", "apps-middle", "guard-middle"):
                kill(fleet, part)
            wait_until(fleet, "run-1", "absent", 1)
            assert up(fleet, quiet, PATIENCE).whole
            wait_until(fleet, "run-1", "released", 2)
            kill(fleet, "superlink")
            time.sleep(3)
            assert up(fleet, quiet, PATIENCE).whole
            release = Path(operator.ends(begun)["release"])  # its ServerApp has waited
        certificate = certified(fleet, release)
        assert {absence.site for absence in certificate.absences} == {"Middle"}
        assert [account.site for account in certificate.accounts] == [*FIVE]
        plan = Plan.from_bytes((release / "plan.json").read_bytes())
        whole, charged = spent(undisturbed), spent(fleet)
        missed = [Fraction(written(plan.event(one.event).mu_squared_once)) for one in certificate.absences]
        # What was missed may have been charged before the kill; what was given was, and nothing twice.
        possible = {whole["Middle"] - sum(missed[n:], Fraction(0)) for n in range(len(missed) + 1)}
        assert charged.pop("Middle") in possible
        assert charged == {name: mu2 for name, mu2 in whole.items() if name != "Middle"}
        ours, theirs = (read_release(one).scorers[SHARED] for one in (release, embedded))
        apart = np.abs(ours.weights - theirs.weights) / np.sqrt(ours.variances + theirs.variances)
        assert np.max(apart) < 6  # within the noise that both say they have
