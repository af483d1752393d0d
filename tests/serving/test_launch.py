"""Before anything is started: an address and a state folder that can not be used end with one line."""

import os
import socket
import subprocess
import sys

import pytest

from privacy.errors import InputError
from serving import launch

HOST = launch.DEFAULT_HOST


@pytest.fixture
def used():
    """A port on which somebody listens."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def replaced(monkeypatch):
    """The command lines that this process would have become."""
    became = []
    monkeypatch.setattr(os, "execve", lambda _path, arguments, _environment: became.append(arguments))
    return became


def kith(*arguments):
    command = [sys.executable, "-m", "kith", *map(str, arguments)]
    return subprocess.run(command, cwd=launch.ROOT, capture_output=True, text=True, timeout=60)


def in_use(port):
    return f"port {port}: expected it free, got one in use; say --port"


def test_a_port_in_use_is_named(used):
    with pytest.raises(InputError) as refused:
        launch.free_port(HOST, used)
    assert str(refused.value) == in_use(used)


def test_any_free_port_is_one_that_can_be_listened_on():
    port = launch.free_port(HOST, 0)
    assert launch.free_port(HOST, port) == port > 0


def test_a_port_whose_connections_have_just_ended_is_free():
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, 0))
        listener.listen()
        port = listener.getsockname()[1]
        with socket.create_connection((HOST, port)):
            listener.accept()[0].close()  # who closes first keeps the port in TIME_WAIT
    assert launch.free_port(HOST, port) == port


@pytest.mark.parametrize("host", ["nobody.invalid", "localhost", "256.0.0.1", "", "a..b", "192.0.2.1", "2001:db8::1"])
def test_a_host_that_can_not_be_listened_on_is_named(host):
    with pytest.raises(InputError, match=f"^host.*{host}"):
        launch.free_port(host, 0)


@pytest.mark.parametrize("host", [HOST, "192.0.2.1"])
def test_nothing_is_made_for_an_address_that_can_not_be_used(used, replaced, tmp_path, host):
    with pytest.raises(InputError):
        launch.serve([tmp_path], host, used, state=tmp_path / "state")
    with pytest.raises(InputError), launch.started([tmp_path], host, used, state=tmp_path / "state"):
        pytest.fail("it started")
    assert not replaced
    assert not (tmp_path / "state").exists()


def test_the_service_is_told_a_free_port_for_0(replaced, tmp_path):
    launch.serve([tmp_path], port=0, state=tmp_path / "state")
    (arguments,) = replaced
    assert int(arguments[arguments.index("--port") + 1]) > 0


@pytest.mark.parametrize("kind", ["releases", "records"])
def test_a_folder_whose_name_would_be_read_as_two_is_refused(replaced, tmp_path, kind):
    folders = {"releases": [tmp_path], "records": [tmp_path]} | {kind: [tmp_path / f"a{os.pathsep}b"]}
    with pytest.raises(InputError, match=r"^folders: expected paths without"):
        launch.serve(folders["releases"], port=0, records=folders["records"], state=tmp_path / "state")
    assert not replaced


def test_a_state_folder_that_is_a_file_is_refused(replaced, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"{tmp_path / 'file'}, got File exists"):
        launch.serve([tmp_path], port=0, state=tmp_path / "file")
    assert not replaced


def test_a_home_for_bentoml_that_can_not_be_made_is_refused(replaced, tmp_path):
    (tmp_path / "bentoml").touch()
    with pytest.raises(InputError, match=f"{tmp_path / 'bentoml'}, got File exists"):
        launch.serve([tmp_path], port=0, state=tmp_path)
    assert not replaced


def test_a_log_that_can_not_be_written_is_refused(tmp_path):
    (tmp_path / "service.log").mkdir()
    service = launch.started([tmp_path], port=0, state=tmp_path)
    with pytest.raises(InputError, match=f"{tmp_path / 'service.log'}, got Is a directory"), service:
        pytest.fail("it started")


def test_kith_serve_on_a_port_in_use_ends_with_one_line(used, tmp_path):
    ended = kith("serve", tmp_path, "--port", used, "--state", tmp_path / "state", "--keys", tmp_path / "keys.json")
    assert (ended.returncode, ended.stderr, ended.stdout) == (2, f"kith: {in_use(used)}\n", "")


def test_kith_demo_asks_for_the_port_before_it_trains(used, tmp_path):
    ended = kith("demo", "--port", used, "--runs", tmp_path / "runs")
    assert (ended.returncode, ended.stderr, ended.stdout) == (2, f"kith: {in_use(used)}\n", "")
    assert not (tmp_path / "runs").exists()


def test_kith_token_with_a_file_for_a_state_folder_ends_with_one_line(tmp_path):
    (tmp_path / "file").touch()
    asked = ("--role", "reviewer", "--subject", "ann", "--site", "north", "--state", tmp_path / "file")
    ended = kith("token", *asked)
    said = f"kith: state: expected a folder that can be written at {tmp_path / 'file'}, got File exists\n"
    assert (ended.returncode, ended.stderr, ended.stdout) == (2, said, "")
