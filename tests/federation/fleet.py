"""Kith's own fleets for tests: a tiny group's, on free ports of loopback. What was started is ended, and no more."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from federation.fleet import processes
from federation.fleet.layout import Fleet
from federation.fleet.lifecycle import down, up
from federation.fleet.making import Wanted, create_fleet, proxy_of
from federation.fleet.parts import PROXY, SUPERLINK, Part, parts_of
from federation.fleet.proxy import nginx
from privacy.errors import InputError
from privacy.randomness import OS
from tests.federation.tiny_group import CONTRACT, NAMES, PEOPLE, write_table

PATIENCE = 240.0
"""Seconds for a fleet to be up: other tests run beside."""


def has_nginx() -> bool:
    try:
        nginx()
    except InputError:
        return False
    return True


needs_nginx = pytest.mark.skipif(not has_nginx(), reason="nginx is not installed: apt-get install nginx-light")


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder with a short name, for a socket's path has 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="kf-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def tiny_fleet(folder: Path, names: tuple[str, ...] = NAMES, noise: str = OS, **options: Any) -> Fleet:
    """A fleet of a tiny group in folder/f; nothing of it runs."""
    contract = folder / "contract.toml"
    people = "\n".join(f"{name} = 60" for name in names)
    contract.write_text(CONTRACT.replace("{people}", people), encoding="utf-8")
    sources = {}
    for number, name in enumerate(names):
        sources[name] = folder / f"{name}.csv"
        write_table(sources[name], name, range(100 * number, 100 * number + PEOPLE))
    wanted = Wanted(contract, sources, Decimal(10), Decimal("0.00001"), port=0, noise=noise, **options)
    return create_fleet(folder / "f", wanted, datetime.now(UTC))


@contextlib.contextmanager
def running(fleet: Fleet) -> Iterator[Fleet]:
    """The whole fleet, up; its processes are ended whatever happens."""
    try:
        assert up(fleet, quiet, PATIENCE).whole
        yield fleet
    finally:
        down(fleet, quiet)


@contextlib.contextmanager
def front(fleet: Fleet) -> Iterator[Fleet]:
    """The SuperLink and the proxy before it, and nothing else."""
    from federation.fleet import lifecycle

    (fleet.coordinator / "proxy" / "nginx.conf").write_text(proxy_of(fleet).to_text(), encoding="utf-8")
    parts = [part for part in parts_of(fleet) if part.name in (SUPERLINK, PROXY)]
    try:
        for part in parts:
            processes.start(part.program, part.place)
        for part in parts:
            lifecycle._wait_for(part, lifecycle.time.monotonic() + PATIENCE)
        yield fleet
    finally:
        processes.stop([part.place for part in parts])


def part(fleet: Fleet, name: str) -> Part:
    return next(one for one in parts_of(fleet) if one.name == name)


def kill(fleet: Fleet, name: str) -> None:
    """kill -9 of a part and of what it started."""
    pid = processes.pid_of(part(fleet, name).place)
    assert pid is not None
    os.killpg(pid, signal.SIGKILL)


def run_events(fleet: Fleet, run: str) -> list[dict[str, Any]]:
    path = fleet.runs / run / "events.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def quiet(_what: str, _done: int, _of: int) -> None:
    """Progress that nobody looks at."""
