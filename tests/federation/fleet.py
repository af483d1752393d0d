"""A real Flower fleet on loopback for a test: one SuperLink, one SuperNode per site, each its own process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

BIN = Path(sys.executable).parent
ROOT = Path(__file__).resolve().parent.parent.parent
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Fleet:
    """Started processes, and `flwr` commands against them."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.port = port
        self.environment = {
            **os.environ,
            **QUIET,
            "FLWR_HOME": str(home),
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        }

    def flwr(self, *arguments: str, timeout: float = 120) -> str:
        command = [str(BIN / "flwr"), *arguments]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=timeout, cwd=self.home
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout

    def run(self, app: Path, config: Mapping[str, str | int], timeout: float) -> str:
        """Run an app to its end; the final status as Flower words it."""
        overrides = " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())
        started = json.loads(self.flwr("run", str(app), "test", "--run-config", overrides, "--format", "json"))
        run = str(started["run-id"])
        ends = time.monotonic() + timeout
        while time.monotonic() < ends:
            runs = json.loads(self.flwr("list", "test", "--run-id", run, "--format", "json"))["runs"]
            if runs[0]["status"].startswith("finished"):
                return f"{runs[0]['status']}"
            time.sleep(1)
        raise AssertionError(f"run {run}: expected an end within {timeout} s, see {self.home}")


@contextlib.contextmanager
def fleet(home: Path, sites: Sequence[Path]) -> Iterator[Fleet]:
    """A running fleet, ready for a run; its processes are ended, by their own ids, whatever happens."""
    home.mkdir(parents=True)
    made = Fleet(home, free_port())
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "test"\n[superlink.test]\naddress = "127.0.0.1:{made.port}"\ninsecure = true\n'
    )
    address = f"127.0.0.1:{made.port}"
    started: list[subprocess.Popen[bytes]] = []
    try:
        link = [str(BIN / "flower-superlink"), "--insecure", "--host", "127.0.0.1", "--port", str(made.port)]
        started.append(_start(made, "superlink", [*link, "--disable-runtime-dependency-installation"]))
        _wait_for(f"http://{address}/health", started[0])
        for number, site in enumerate(sites):
            node = [str(BIN / "flower-supernode"), "--insecure", "--superlink", address, "--port", str(free_port())]
            started.append(_start(made, f"supernode-{number}", [*node, "--node-config", f'site="{site}"']))
        yield made
    finally:
        for process in reversed(started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _start(made: Fleet, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    with (made.home / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            command,
            env=made.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=made.home,
            start_new_session=True,
        )


def _wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        assert process.poll() is None, "the SuperLink ended before it was ready"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
            return
        time.sleep(0.2)
    raise AssertionError(f"{url}: expected an answer within {seconds} s")
