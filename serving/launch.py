"""Starting the service as a process: for good, or for as long as a block runs.

Imports no bentoml, so that the command line stays quick; the process that is started does all checks itself and ends
with a status other than 0 and one line if a release does not verify.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NoReturn

from privacy.errors import InputError, KithError, Refused
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
    records: Sequence[Path] = (),
    database: str | None = None,
    state: Path = DEFAULT_STATE,
) -> NoReturn:
    """Become the service: this process is replaced by `bentoml serve` and never returns.

    Args:
        releases: release directories, one per use case.
        host: address to listen on; loopback unless a proxy with TLS stands in front.
        port: TCP port; 0 for any free one.
        pinned: keys file that the releases must be signed with.
        records: sites' records folders, from which features are then read, and into which source systems may write.
        database: SQLAlchemy URL; a SQLite file in `state` if None.
        state: directory of the service's own files.

    Raises:
        InputError: if the address is not free, or the state directory or its keys can not be used.
    """
    port = free_port(host, port)
    environment = _environment(releases, pinned, records, database, state)
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
    records: Sequence[Path] = (),
    database: str | None = None,
    state: Path = DEFAULT_STATE,
) -> Iterator[str]:
    """A running, ready service for the length of a block; yields its base URL. Arguments as for `serve`.

    Its output goes to `service.log` in `state`.

    Raises:
        InputError: if the address is not free, or the state directory or its keys can not be used.
        Refused: with the service's own line if it does not start.
        KithError: if it is not ready within a minute.
    """
    port = free_port(host, port)
    environment = _environment(releases, pinned, records, database, state)
    log = state / "service.log"
    with _opened(log) as output:
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


def free_port(host: str, wanted: int) -> int:
    """`wanted`, or any free port for 0, if it is free at this moment.

    Args:
        host: an IP address of this machine; BentoML takes no names.
        wanted: TCP port, 0 to 65535.

    Raises:
        InputError: if the port is in use, or the host can not be listened on.
    """
    try:
        family = socket.AF_INET if ipaddress.ip_address(host).version == 4 else socket.AF_INET6
    except ValueError:
        raise InputError(f"host: expected an IP address, got {host!r:.60}; say --host") from None
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that just ended are in no way
            probe.bind((host, wanted))
            return int(probe.getsockname()[1])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {wanted}: expected it free, got one in use; say --port") from None
        where = f"host {host}, port {wanted}"
        raise InputError(f"{where}: expected an address to listen on, got {error.strerror}") from None


def _environment(
    releases: Sequence[Path], pinned: Path | None, records: Sequence[Path], database: str | None, state: Path
) -> dict[str, str]:
    from serving.identity import token_keys  # brings Starlette and JWT, which other commands should not wait for

    state = state.absolute()
    url = database or f"sqlite:///{state / 'kith.db'}"
    settings = Settings(tuple(releases), pinned, url, token_keys(state), tuple(records))
    return {
        **os.environ,
        **settings.to_environment(),
        "BENTOML_DO_NOT_TRACK": "True",
        # BentoML clears directories in its home when a service starts: two services must not share one.
        "BENTOML_HOME": str(_made(state / "bentoml")),
    }


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InputError(f"state: expected a folder that can be made at {folder}, got {error.strerror}") from None
    return folder


def _opened(log: Path) -> BinaryIO:
    try:
        return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb")
    except OSError as error:
        raise InputError(f"state: expected a file that can be written at {log}, got {error.strerror}") from None


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
