"""Runs Flower's apps in processes that start at once: forked from one that has imported Flower already.

Flower's own SuperExec starts a new Python for each message, which takes 1.3 to 1.9 s of imports before anything is
done. It has a documented place for another one (`--isolation process`), which this is. A message still gets a process
of its own that ends with it. What this adds: apps can run under another user than the SuperNode, who holds the node's
key; only who has the secret is given tasks; and a task's token is in no argument list for others to read.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any, Final

import httpx
from flwr.proto.runtime_pb2 import AcquireTaskRequest, PullAppMessagesRequest, PullAppMessagesResponse
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.logger import mirror_output_to_queue, restore_output
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.superlink.runtime import run_serverapp
from flwr.supernode.runtime import run_clientapp as client_process

from federation.fleet.waits import IDLE, LOCAL, Waits, shorten_backoff

ACQUIRE: Final = "/flwr.proto.Runtime/AcquireTask"
KINDS: Final = {"client": TaskType.CLIENT_APP, "server": TaskType.SERVER_APP}
PATIENCE: Final = 10.0
"""Seconds for which a task's message may come after the task."""

log = logging.getLogger("kith.apps")


class PatientClient(RuntimeHttpClient):
    """Waits for the message of a task: the SuperNode makes the task first, and a forked app is there before it."""

    def PullMessages(self, request: PullAppMessagesRequest) -> PullAppMessagesResponse:  # noqa: N802 - Flower's
        """The task's message, once it is there."""
        ends = time.monotonic() + PATIENCE
        while not (found := super().PullMessages(request)).messages_list and time.monotonic() < ends:
            time.sleep(0.01)
        return found


def serve(address: str, secret: bytes, ca: Path | None, kind: TaskType) -> None:
    """Take tasks of one kind from a SuperLink's or SuperNode's Runtime API for as long as this process lives."""
    shorten_backoff()
    client_process.RuntimeHttpClient = PatientClient  # type: ignore[attr-defined]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended apps need no burial
    certificates = None if ca is None else ca.read_bytes()
    client = RuntimeHttpClient.from_server_address(
        address,
        insecure=ca is None,
        root_certificates=certificates,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperExec"),
            SuperExecAuthHttpInterceptor(master_secret=secret, protected_methods=frozenset({ACQUIRE})),
        ],
    )
    waits = Waits(LOCAL)
    request = AcquireTaskRequest(supported_task_types=[kind])
    while True:
        try:
            task = client.AcquireTask(request)
        except httpx.HTTPError as error:  # it is being restarted
            log.warning("no tasks from %s: %s", address, type(error).__name__)
            time.sleep(1)
            continue
        if task.HasField("task") and task.token:
            waits.came()
            _start(partial(_run, kind, address, task.token, certificates, os.getpid()))
        else:
            time.sleep(waits.seconds if kind == TaskType.CLIENT_APP else IDLE)


def _start(work: Callable[[], Any]) -> None:
    """Do the work in a forked process; nothing runs beside this one's only thread, so a fork is whole."""
    if threading.active_count() != 1:
        raise RuntimeError("expected one thread before a fork")
    sys.stdout.flush()
    sys.stderr.flush()
    if os.fork():
        return
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        work()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        log.error("app: %s", type(error).__name__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _run(kind: TaskType, address: str, token: str, certificates: bytes | None, parent: int) -> None:
    if kind == TaskType.CLIENT_APP:
        client_process.run_clientapp(
            runtime_api_address=address,
            token=token,
            insecure=certificates is None,
            certificates=certificates,
            parent_pid=parent,
            runtime_dependency_install=False,
        )
        return
    lines: Queue[str | None] = Queue()
    mirror_output_to_queue(lines)
    run_serverapp(
        runtime_api_address=address,
        log_queue=lines,
        token=token,
        insecure=certificates is None,
        certificates=certificates,
        parent_pid=parent,
        runtime_dependency_install=False,
    )
    restore_output()


def main() -> None:
    """Serve as the arguments say."""
    parser = argparse.ArgumentParser(
        prog="python -m federation.fleet.apps", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--runtime", required=True, metavar="HOST:PORT", help="Of the Runtime API.")
    parser.add_argument(
        "--secret", required=True, type=Path, help="File shared with it (--superexec-auth-secret-file)."
    )
    parser.add_argument("--ca", type=Path, help="Certificate authority of its certificate; plain HTTP if none.")
    told = parser.parse_args()
    serve(told.runtime, told.secret.read_bytes(), told.ca, KINDS[told.kind])


if __name__ == "__main__":
    main()
