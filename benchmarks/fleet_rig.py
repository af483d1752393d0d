"""Real SuperLinks and SuperNodes on loopback for the benchmark, step by step from Flower's own settings to Kith's."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from benchmarks.measure import ROOT
from federation.fleet import running
from federation.fleet.layout import Fleet
from federation.fleet.lifecycle import down, up
from federation.fleet.making import Wanted, create_fleet, free_ports
from federation.fleet.parts import BIN, QUIET
from federation.fleet.processes import Place, Program, start, stop
from federation.run_log import read_log
from federation.run_settings import Settings

APP: Final = ROOT / "benchmarks" / "timed_app"
PROJECT: Final = """
[project]
name = "timed"
version = "1.0.0"
[tool.flwr.app]
publisher = "benchmarks"
[tool.flwr.app.components]
serverapp = "timed_app.server:app"
clientapp = "timed_app.CLIENT:app"
[tool.flwr.app.config]
exchanges = 5
sites = 3
loop = "strategy"
out = ""
"""
PATIENCE: Final = 600.0


@dataclass(frozen=True)
class Step:
    """How Flower's processes are started.

    Attributes:
        app: module of its ClientApp: "plain", or "with_opacus".
        loop: "strategy" for `Strategy.start`, "own" for pushing and pulling oneself.
        brisk_nodes: whether SuperNodes wait as `federation.fleet.node` does.
        forked_apps: whether apps are forked as `federation.fleet.apps` does.
        environment: more of it.
    """

    app: str = "plain"
    loop: str = "strategy"
    brisk_nodes: bool = False
    forked_apps: bool = False
    environment: tuple[tuple[str, str], ...] = ()


def plain_exchanges(home: Path, step: Step, sites: int, exchanges: int) -> list[float]:
    """Seconds of each exchange over plain HTTP, without keys, from a state on disk."""
    home.mkdir(parents=True)
    link, *nodes = free_ports(sites + 1)
    environment = {**os.environ, **QUIET, **dict(step.environment), "FLWR_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{link}"\ninsecure = true\n'
    )
    (home / "secret").write_bytes(os.urandom(32))
    process = ("--isolation", "process", "--superexec-auth-secret-file", str(home / "secret"))
    commands: dict[str, tuple[str, ...]] = {
        "superlink": (
            *(str(BIN / "flower-superlink"), "--insecure", "--port", str(link), "--database", str(home / "state.db")),
            "--disable-runtime-dependency-installation",
        )
    }
    for number, port in enumerate(nodes):
        program = (
            (sys.executable, "-m", "federation.fleet.node") if step.brisk_nodes else (str(BIN / "flower-supernode"),)
        )
        commands[f"node-{number}"] = (
            *(*program, "--insecure", "--superlink", f"127.0.0.1:{link}", "--port", str(port)),
            *(process if step.forked_apps else ()),
        )
        if step.forked_apps:
            commands[f"apps-{number}"] = (
                *(sys.executable, "-m", "federation.fleet.apps", "client", "--runtime", f"127.0.0.1:{port}"),
                *("--secret", str(home / "secret")),
            )
    places = {name: Place(home / "run", home / "log", name) for name in commands}
    try:
        for name, command in commands.items():
            start(Program(command, environment, home), places[name])
            if name == "superlink":
                _wait_for(f"http://127.0.0.1:{link}/health")
        out = home / "seconds.json"
        config = f'out="{out}" loop="{step.loop}" exchanges={exchanges} sites={sites}'
        submit = [str(BIN / "flwr"), "run", str(_bundle(home / "timed", step.app)), "here", "--run-config", config]
        subprocess.run(submit, env=environment, cwd=home, check=True, stdout=subprocess.DEVNULL)
        ends = time.monotonic() + PATIENCE
        while not (out.exists() and out.stat().st_size):
            if time.monotonic() > ends:
                raise RuntimeError(f"{home}: expected an end in {PATIENCE:g} s")
            time.sleep(0.2)
        return list(json.loads(out.read_text(encoding="utf-8")))
    finally:
        stop(list(places.values()))


@contextlib.contextmanager
def kith_fleet(home: Path, wanted: Wanted, now: datetime) -> Iterator[Fleet]:
    """A whole fleet of Kith's, up."""
    fleet = create_fleet(home, wanted, now)
    try:
        up(fleet, lambda _what, _done, _of: None, PATIENCE)
        yield fleet
    finally:
        down(fleet, lambda _what, _done, _of: None)


def kith_exchanges(fleet: Fleet, settings: Settings) -> tuple[list[float], float]:
    """Seconds of each exchange of a run that makes a release, and of the whole run, by its log."""
    started = running.start(fleet, settings)
    running.follow(fleet, started)
    events = read_log(started.folder)
    marks = [(event.at, event.facts.get("phase")) for event in events if event.what == "phase"]
    exchanges = [
        after - at for (at, phase), (after, _) in itertools.pairwise(marks) if phase in ("release", "unmasking")
    ]
    return exchanges, events[-1].at - events[0].at


def _bundle(folder: Path, client: str) -> Path:
    shutil.copytree(APP, folder / "timed_app", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pyproject.toml").write_text(PROJECT.replace("CLIENT", client), encoding="utf-8")
    return folder


def _wait_for(url: str) -> None:
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):  # noqa: S310
            return
        time.sleep(0.2)
