"""Starting the service as a process: for good, or for as long as a block runs.

Imports no bentoml, so that the command line stays quick; the process that is started does all checks itself and ends
with a status other than 0 and one line if a release does not verify.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from privacy.errors import InputError, KithError, Refused
from serving.identity import token_keys
from serving.settings import Settings

ROOT: Final = Path(__file__).resolve().parent.parent
SERVICE: Final = "serving.service:Kith"
REFUSAL: Final = "kith: "
"""How the service's last line begins when it does not start."""
DEFAULT_STATE: Final = Path("runs/serving")
"""Where the database and the token keys live unless said otherwise."""
DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 3000
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.1


def serve(
    releases: Sequence[Path],
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    pinned: Path | None = None,
    database: str | None = None,
    state: Path = DEFAULT_STATE,
) -> NoReturn:
    """Become the service: this process is replaced by `bentoml serve` and never returns.

    Args:
        releases: release directories, one per use case.
        host: address to listen on; loopback unless a proxy with TLS stands in front.
        port: TCP port.
        pinned: keys file that the releases must be signed with.
        database: SQLAlchemy URL; a SQLite file in `state` if None.
        state: directory of the service's own files.

    Raises:
        InputError: if the state directory or its keys can not be used.
    """
    environment = _environment(releases, pinned, database, state)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, _command(host, port), environment)  # noqa: S606


@contextmanager
def started(
    releases: Sequence[Path],
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    pinned: Path | None = None,
    database: str | None = None,
    state: Path = DEFAULT_STATE,
) -> Iterator[str]:
    """A running, ready service for the length of a block; yields its base URL. Arguments as for `serve`.

    Its output goes to `service.log` in `state`.

    Raises:
        Refused: with the service's own line if it does not start.
        KithError: if it is not ready within a minute.
    """
    environment = _environment(releases, pinned, database, state)
    log = state / "service.log"
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as output:
        process = subprocess.Popen(  # noqa: S603
            _command(host, port),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://{host}:{port}"
        _wait_until_ready(process, url, log)
        yield url
    finally:
        _stop(process)


def _environment(releases: Sequence[Path], pinned: Path | None, database: str | None, state: Path) -> dict[str, str]:
    state = state.resolve()
    settings = Settings(tuple(releases), pinned, database or f"sqlite:///{state / 'kith.db'}", token_keys(state))
    if any(os.pathsep in str(path.resolve()) for path in releases):
        raise InputError(f"releases: expected paths without {os.pathsep!r}, got one with")
    return {
        **os.environ,
        **settings.to_environment(),
        "BENTOML_DO_NOT_TRACK": "True",
        # BentoML clears directories in its home when a service starts: two services must not share one.
        "BENTOML_HOME": str(state / "bentoml"),
    }


def _command(host: str, port: int) -> list[str]:
    where = ["--host", host, "--port", str(port), "--working-dir", str(ROOT)]
    return [sys.executable, "-m", "bentoml", "serve", SERVICE, *where]


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text("utf-8", errors="replace").splitlines()
            said = [line.removeprefix(REFUSAL) for line in lines if line.startswith(REFUSAL)]
            ended = f"service: expected it to start, got status {process.returncode}, see {log}"
            raise Refused(said[-1] if said else ended)
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):  # noqa: S310
                return
        except OSError:  # also urllib's own errors
            time.sleep(_POLL_SECONDS)
    raise KithError(f"service: expected it to be ready within {_START_SECONDS:g} s, got no answer, see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process that was started, and what it started, by its own id."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
