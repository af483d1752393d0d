"""Processes that are started, found again and ended; and the places in Flower that a fleet reaches into."""

from __future__ import annotations

import ast
import inspect
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from federation.fleet import processes
from federation.fleet.processes import Place, Program, last_lines, pid_of, start, stop
from privacy.errors import InputError

SLEEP = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here', flush=True); time.sleep(600)"
)
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"


@pytest.fixture
def place(tmp_path: Path):
    made = Place(tmp_path / "run", tmp_path / "log", "part")
    yield made
    stop([made], 1)


def program(code: str, folder: Path, **environment: str) -> Program:
    return Program((sys.executable, "-c", code), {"PATH": os.environ["PATH"], **environment}, folder)


def wait_for(what, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_part_is_started_once_and_ended(place: Place, tmp_path: Path) -> None:
    pid = start(program(SLEEP, tmp_path), place)
    assert start(program(SLEEP, tmp_path), place) == pid == pid_of(place)
    wait_for(lambda: last_lines(place) == "here")
    assert stop([place]) == 1
    assert pid_of(place) is None
    assert stop([place]) == 0
    assert start(program(SLEEP, tmp_path), place) != pid


def test_a_part_has_the_environment_that_it_is_given_and_no_other(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_SHELL", "x")
    start(program("import os; print(sorted(os.environ), flush=True)", tmp_path, ONLY="this"), place)
    wait_for(lambda: "ONLY" in last_lines(place))
    assert "SECRET_OF_THE_SHELL" not in last_lines(place)


def test_what_a_part_has_started_ends_with_it(place: Place, tmp_path: Path) -> None:
    pid = start(program(PARENT, tmp_path), place)
    children = Path(f"/proc/{pid}/task/{pid}/children")
    wait_for(lambda: children.read_text().strip())
    child = int(children.read_text())
    stop([place])
    wait_for(lambda: not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text())


def test_a_part_that_does_not_want_to_end_is_ended(place: Place, tmp_path: Path) -> None:
    start(program(STUBBORN, tmp_path), place)
    wait_for(lambda: last_lines(place) == "here")
    assert stop([place], grace=0.3) == 1
    assert pid_of(place) is None


def test_somebody_elses_process_with_the_number_of_a_part_is_left_alone(place: Place) -> None:
    """After a restart of the host, or once numbers have gone round."""
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        place.run.mkdir()
        began = processes._began(stranger.pid)
        assert began is not None
        boot, tick = began.split()
        for written in (f"{boot} {int(tick) + 1}", f"{'0' * len(boot)} {tick}", "", tick):
            place.file.write_text(json.dumps({"pid": stranger.pid, "began": written}))
            assert pid_of(place) is None
            assert stop([place]) == 0
            assert stranger.poll() is None
    finally:
        os.killpg(stranger.pid, signal.SIGKILL)
        stranger.wait()


@pytest.mark.parametrize(
    "written", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "began": ""}', '{"pid": -1, "began": "x"}']
)
def test_a_damaged_number_is_nobodys(place: Place, written: str) -> None:
    place.run.mkdir()
    place.file.write_text(written)
    assert pid_of(place) is None
    assert stop([place]) == 0


def test_a_program_that_is_not_there(place: Place, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected to start"):
        start(Program(("/no/such/program",), {}, tmp_path), place)


# Flower 1.41 as it is installed: what `waits`, `node` and `apps` rely on.


def test_the_nodes_loop_uses_of_time_only_sleep() -> None:
    from flwr.supernode import start_client_internal

    used = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(start_client_internal)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time"
    }
    assert used == {"sleep"}


def test_the_waits_are_where_they_are_shortened() -> None:
    code = (
        "from federation.fleet import node, waits; node.shorten_waits();"
        "from flwr.supercore.inflatable import inflatable_utils as i;"
        "from flwr.supernode import start_client_internal as s, fleet_http_connection as f;"
        "from flwr.supercore import heartbeat as h;"
        "assert i.pull_objects.__kwdefaults__['initial_backoff'] == waits.BACKOFF;"
        "assert isinstance(s.time, node.Clock);"
        "assert f.HEARTBEAT_DEFAULT_INTERVAL == h.HEARTBEAT_DEFAULT_INTERVAL == node.HEARTBEAT;"
        "from flwr.common.constant import HEARTBEAT_MIN_INTERVAL; assert node.HEARTBEAT >= HEARTBEAT_MIN_INTERVAL"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_node_asks_often_only_while_a_run_goes_on() -> None:
    from federation.fleet import waits

    asked = waits.Waits()
    assert asked.seconds == waits.IDLE
    asked.came()
    assert asked.seconds == waits.BRISK < waits.IDLE
    asked._last -= waits.LINGER
    assert asked.seconds == waits.IDLE


def test_a_nodes_sign_is_written_once_it_is_let_in(tmp_path: Path) -> None:
    from federation.fleet.node import Clock
    from federation.fleet.waits import Waits

    clock = Clock(Waits(), tmp_path / "online")
    assert not (tmp_path / "online").exists()
    clock.sleep(0.001)
    assert (tmp_path / "online").read_text() == str(os.getpid())


def test_an_app_is_forked_whole_or_not_at_all() -> None:
    """A fork beside other threads can hang; the app's process says so instead of trying."""
    from federation.fleet.apps import _start

    release = threading.Event()
    thread = threading.Thread(target=release.wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="one thread"):
            _start(lambda: None)
    finally:
        release.set()
        thread.join()


def test_the_executor_of_apps_imports_nothing_of_a_site() -> None:
    """It is warm for the messenger, which needs Flower and the standard library."""
    heavy = ("torch", "pandas", "opacus", "models", "records", "privacy")
    code = f"import sys, federation.fleet.apps; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"
