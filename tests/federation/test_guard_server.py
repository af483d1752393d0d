"""The guard's process: whatever comes over the socket it goes on, one request at a time, and stops when it is asked."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from federation import guard_listeners, guard_server, messenger
from federation.fleet import parts
from federation.framing import read_frame, write_frame
from federation.guard_listeners import Listener, listen
from federation.guard_metrics import GuardMetrics
from federation.guard_process import JsonLines
from federation.guard_server import CROWD, MAX_CONNECTIONS, MAX_OF_ORIGIN, GuardServer
from federation.messenger import ask_at
from federation.sealed import MAX_BYTES, Answered
from federation.site import SITE_FILE, TlsFiles, load_site
from federation.training_run import plan_run
from federation.wire import Contribute, Contribution, Finish, Finished, Message, Refusal, Request
from models.planning import GRADIENT, SECOND_MOMENTS
from privacy.errors import InputError
from privacy.tls_authority import CLIENTS, SERVERS, Authority
from tests.federation.guards import ROOT, Served, ask, serving
from tests.federation.tiny_group import TinyGroup, tiny_group
from tests.small_group import settings

Answer = Callable[[bytes], bytes]


class Watched:
    def __init__(self) -> None:
        self.answers: list[tuple[str, int, int]] = []
        self.away: list[str] = []

    def answered(self, peer: str, received: int, answered: Answered, seconds: float) -> None:
        assert seconds >= 0
        self.answers.append((peer, received, len(answered.sealed)))

    def turned_away(self, why: str) -> None:
        self.away.append(why)


@contextmanager
def running(answer: Answer, listener: Listener) -> Iterator[tuple[GuardServer, Watched]]:
    watch = Watched()
    server = GuardServer(lambda request: Answered(None, Refusal("no"), answer(request)), listener, watch)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server, watch
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def place(tmp_path: Path) -> str:
    return f"unix:{tmp_path / 'guard.sock'}"


def twice(body: bytes) -> bytes:
    return body * 2


def connect(place: str) -> socket.socket:
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    channel.settimeout(10)
    channel.connect(place.removeprefix("unix:"))
    return channel


def soon(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


# Frames


@given(st.binary(min_size=1, max_size=3_000))
def test_a_frame_is_read_as_it_was_written(body: bytes) -> None:
    one, other = socket.socketpair()
    with one, other:
        write_frame(one, body, 5)
        kept: list[int] = []
        assert read_frame(other, 3_000, 5, kept.append) == body
        assert sum(kept) == 4 + len(body)


def test_a_frame_that_says_more_than_it_may_takes_no_memory() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(InputError, match="4294967295"):
            read_frame(other, MAX_BYTES, 5, lambda _: None)


def test_a_frame_has_one_deadline_however_its_bytes_trickle() -> None:
    one, other = socket.socketpair()

    def trickle() -> None:
        with suppress(OSError):
            one.sendall((1_000).to_bytes(4, "big"))
            for _ in range(1_000):
                one.sendall(b"x")
                time.sleep(0.02)

    with one, other:
        threading.Thread(target=trickle, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(OSError, match="timed out"):
            read_frame(other, 2_000, 0.2, lambda _: None)
        assert time.monotonic() - began < 2


# The server


def test_the_messenger_and_the_server_speak_the_same_frames(place: str) -> None:
    with running(twice, listen(place)) as (_, watch):
        for size in (1, 5, 70_000, 3_000_000):
            assert ask_at(place)(b"x" * size) == b"x" * 2 * size
        soon(lambda: len(watch.answers) == 4)
        assert watch.answers[0] == (f"user {os.getuid()}", 1, 2)


@given(st.binary(max_size=64))
@examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_does_no_harm(tmp_path_factory: pytest.TempPathFactory, garbage: bytes) -> None:
    place = f"unix:{tmp_path_factory.mktemp('s') / 'guard.sock'}"
    with running(twice, listen(place)):
        with connect(place) as channel:
            channel.sendall(garbage)
        assert ask_at(place)(b"still there") == b"still there" * 2


def test_what_is_no_frame_is_dropped_without_a_word(place: str) -> None:
    with running(twice, listen(place)) as (_, watch):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", bytes(4), (MAX_BYTES + 1).to_bytes(4, "big")):
            with connect(place) as channel:
                channel.sendall(garbage)
                with suppress(ConnectionError):
                    assert channel.recv(1) == b""
        soon(lambda: watch.away == ["frame"] * 3)
        assert not watch.answers


def test_requests_are_answered_one_at_a_time(place: str) -> None:
    inside: list[int] = []

    def answer(body: bytes) -> bytes:
        inside.append(1)
        assert len(inside) == 1
        time.sleep(0.01)
        inside.pop()
        return body

    with running(answer, listen(place)):
        threads = [threading.Thread(target=ask_at(place), args=(b"x",)) for _ in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert not inside


def test_those_who_ask_nothing_are_few_and_lose_their_place(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_server, "READ_SECONDS", 0.5)
    with running(twice, listen(place)) as (_, watch):
        idle = [connect(place) for _ in range(MAX_CONNECTIONS)]
        began = time.monotonic()
        assert ask_at(place)(b"x") == b"xx"
        assert time.monotonic() - began < 5
        soon(lambda: watch.away == ["connection"] * MAX_CONNECTIONS)
        for channel in idle:
            channel.close()


def test_what_all_connections_hold_at_once_is_bounded_and_announcing_much_takes_nothing(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_server, "MAX_HELD", 2_000)
    with running(twice, listen(place)) as (server, watch), ExitStack() as open_:
        announcing = [open_.enter_context(connect(place)) for _ in range(4)]
        for channel in announcing:
            channel.sendall(MAX_BYTES.to_bytes(4, "big"))
        assert ask_at(place)(b"x" * 1_500) == b"x" * 3_000
        announcing[0].sendall(b"x" * 1_500)
        soon(lambda: server._held > 1_500)
        announcing[1].sendall(b"x" * 1_500)
        soon(lambda: watch.away == ["frame"])
        assert ask_at(place)(b"x") == b"xx"
        announcing[0].close()
        soon(lambda: watch.away == ["frame", "connection"])
        assert ask_at(place)(b"x" * 1_500) == b"x" * 3_000
    assert server._held == 0


def test_a_fault_in_the_guard_ends_one_connection_and_its_words_stay_here(
    place: str, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(body: bytes) -> bytes:
        if body == b"bad":
            raise ValueError("Ana Canary earns 3")
        return body

    with running(answer, listen(place)) as (_, watch):
        with pytest.raises(ConnectionError):
            ask_at(place)(b"bad")
        assert ask_at(place)(b"good") == b"good"
    assert watch.away == ["fault"]
    assert "Canary" not in caplog.text


def test_a_request_that_is_being_answered_is_finished_when_the_server_stops(place: str) -> None:
    began, go_on, answers = threading.Event(), threading.Event(), []

    def answer(body: bytes) -> bytes:
        began.set()
        go_on.wait(10)
        return body

    with running(answer, listen(place)) as (server, _):
        asking = threading.Thread(target=lambda: answers.append(ask_at(place)(b"x")))
        asking.start()
        assert began.wait(10)
        idle = connect(place)
        server.stop()
        go_on.set()
        asking.join(10)
        assert answers == [b"x"]
        with idle, suppress(ConnectionError):
            assert idle.recv(1) == b""
    assert not Path(place.removeprefix("unix:")).exists()


# Where it listens


def test_a_socket_is_for_its_owner_and_group(place: str) -> None:
    listener = listen(place)
    mode = Path(place.removeprefix("unix:")).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660
    listener.close()


def test_a_socket_that_somebody_listens_on_is_left_alone_and_a_stale_one_replaced(place: str) -> None:
    path = Path(place.removeprefix("unix:"))
    with running(twice, listen(place)), pytest.raises(InputError, match="a process that listens there"):
        listen(place)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    listen(place).close()
    path.write_text("precious")
    with pytest.raises(InputError, match="another file"):
        listen(place)
    assert path.read_text() == "precious"


def test_the_socket_of_a_guard_at_whose_door_too_many_wait_is_left_alone(place: str) -> None:
    """To a second guard that is started, to a look whether it is up, and to those who ask."""
    path, listener = Path(place.removeprefix("unix:")), listen(place)
    with ExitStack() as waiting:
        with suppress(BlockingIOError):
            while True:
                one = waiting.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                one.setblocking(False)
                one.connect(str(path))
        with pytest.raises(InputError, match="a process that listens there"):
            listen(place)
        assert path.stat().st_ino == listener.inode
        assert parts._answers_unix(path)
    with running(twice, listener):
        assert ask_at(place)(b"x") == b"xx"
    assert not parts._answers_unix(path)


@pytest.mark.parametrize(
    "place",
    ["", "unix:", "unix:relative", "tcp:127.0.0.1:1", "tls:127.0.0.1", "tls::1", "tls:127.0.0.1:99999", "tls:h:1"],
)
def test_what_is_no_place_is_refused(place: str) -> None:
    with pytest.raises(InputError, match="guard"):
        listen(place)


def test_peers_are_users_of_this_system(place: str) -> None:
    with pytest.raises(InputError, match="user of this system"):
        listen(place, ("no-such-user-here",))


def test_a_user_who_is_no_peer_is_turned_away(place: str) -> None:
    with running(twice, listen(place, (str(os.getuid() + 1),))) as (_, watch):
        with pytest.raises(ConnectionError):
            ask_at(place)(b"x")
        soon(lambda: watch.away == ["peer"])
    with running(twice, listen(place, (str(os.getuid()),))):
        assert ask_at(place)(b"x") == b"xx"


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, now = tmp_path_factory.mktemp("tls"), datetime.now(UTC)
    servers = Authority.create(folder / "servers", "test", SERVERS, now)
    servers.vouch(folder, "guard", "guard", ["127.0.0.1"], now)
    servers.vouch(folder, "elsewhere", "guard", ["192.0.2.1"], now)
    clients = Authority.create(folder / "clients", "test", CLIENTS, now)
    for name in ("messenger", "operator"):
        clients.vouch(folder, name, name, [], now)
    Authority.create(folder / "others", "test", CLIENTS, now).vouch(folder, "stranger", "messenger", [], now)
    return folder


def tls_at(folder: Path, server: str = "guard", peers: tuple[str, ...] = ()) -> Listener:
    files = TlsFiles(folder / f"{server}.crt", folder / f"{server}.key", folder / "clients" / "ca.crt")
    return listen("tls:127.0.0.1:0", peers, files)


def asked_as(folder: Path, who: str, listener: Listener) -> Answer:
    files = f"ca={folder / 'servers' / 'ca.crt'},cert={folder / who}.crt,key={folder / who}.key"
    return ask_at(f"{listener.address},{files}")


def test_a_guard_on_another_host_is_asked_over_mutual_tls(certificates: Path) -> None:
    listener = tls_at(certificates)
    with running(twice, listener) as (_, watch):
        assert asked_as(certificates, "messenger", listener)(b"x" * 3_000_000) == b"x" * 6_000_000
        soon(lambda: [one[0] for one in watch.answers] == ["certificate messenger"])


def test_without_a_certificate_of_the_sites_authority_nobody_is_answered(certificates: Path) -> None:
    listener = tls_at(certificates)
    with running(twice, listener) as (_, watch):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            asked_as(certificates, "stranger", listener)(b"x")
        with socket.create_connection(listener.bound.getsockname(), 5) as plain, suppress(ConnectionError):
            plain.sendall(b"\0\0\0\1x")
            assert plain.recv(100)[:1] in (b"", b"\x15")  # nothing, or a TLS alert
        assert asked_as(certificates, "messenger", listener)(b"x") == b"xx"
        assert len(watch.answers) == 1


def test_a_guard_is_not_closed_by_strangers_without_a_certificate(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who connects and says nothing shuts out those who come from where he does; and he has no place."""
    monkeypatch.setattr(guard_listeners, "HANDSHAKE_SECONDS", 60.0)
    monkeypatch.setattr(messenger, "PATIENCE", 20.0)
    listener = tls_at(certificates)
    with running(twice, listener) as (_, watch), ExitStack() as open_:
        for _ in range(3 * MAX_CONNECTIONS):
            where = listener.bound.getsockname()
            open_.enter_context(socket.create_connection(where, 10, source_address=("127.0.0.2", 0)))
        assert asked_as(certificates, "messenger", listener)(b"x") == b"xx"
        assert watch.away == [CROWD] * (3 * MAX_CONNECTIONS - MAX_OF_ORIGIN)


def test_who_has_yet_to_show_a_certificate_loses_his_place_at_the_door(
    certificates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_listeners, "HANDSHAKE_SECONDS", 0.2)
    listener = tls_at(certificates)
    with running(twice, listener) as (_, watch), ExitStack() as open_:
        for _ in range(MAX_OF_ORIGIN):
            open_.enter_context(socket.create_connection(listener.bound.getsockname(), 10))
        soon(lambda: watch.away == ["connection"] * MAX_OF_ORIGIN)
        assert asked_as(certificates, "messenger", listener)(b"x") == b"xx"


def test_an_origin_is_what_somebody_can_not_choose_of_his_address(certificates: Path, place: str) -> None:
    listener = tls_at(certificates)
    listener.close()
    one, other = (listener.origin((f"2001:db8::{host}", 1, 0, 0)) for host in ("1", "ffff:ffff:ffff:ffff"))
    assert one == other != listener.origin(("2001:db8:0:1::1", 1, 0, 0))
    assert listener.origin(("192.0.2.1", 1)) != listener.origin(("192.0.2.2", 1))
    assert listener.origin(("::ffff:192.0.2.1", 1, 0, 0)) != listener.origin(("::ffff:192.0.2.2", 1, 0, 0))
    unix = listen(place)
    assert unix.origin("") is None
    unix.close()


def test_a_certificate_of_somebody_else_of_the_authority_is_turned_away(certificates: Path) -> None:
    listener = tls_at(certificates, peers=("messenger",))
    with running(twice, listener) as (_, watch):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            asked_as(certificates, "operator", listener)(b"x")
        assert asked_as(certificates, "messenger", listener)(b"x") == b"xx"
        assert "peer" in watch.away


def test_the_messenger_talks_to_no_server_that_is_not_the_guard(certificates: Path) -> None:
    listener = tls_at(certificates, server="elsewhere")
    with running(twice, listener) as (_, watch):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            asked_as(certificates, "messenger", listener)(b"x")
        soon(lambda: watch.away == ["connection"])


@pytest.mark.parametrize("missing", ["certificate", "key", "clients"])
def test_tls_needs_its_files(certificates: Path, missing: str) -> None:
    files = TlsFiles(certificates / "guard.crt", certificates / "guard.key", certificates / "clients" / "ca.crt")
    with pytest.raises(InputError, match="guard, tls"):
        listen("tls:127.0.0.1:0", (), replace(files, **{missing: certificates / "none"}))


# Log and metrics


def test_the_log_holds_no_word_of_an_unforeseen_error_or_of_another_library() -> None:
    formatter = JsonLines()
    try:
        raise ValueError("Ana Canary earns 3")
    except ValueError:
        record = logging.LogRecord("kith.guard", logging.ERROR, "guard.py", 1, "unforeseen", (), sys.exc_info())
    line = json.loads(formatter.format(record))
    assert (line["what"], line["error"]) == ("unforeseen", "ValueError")
    assert "Canary" not in json.dumps(line)
    other = logging.LogRecord("sqlalchemy", logging.WARNING, "engine.py", 7, "Ana %s", ("Canary",), None)
    line = json.loads(formatter.format(other))
    assert (line["from"], line["where"]) == ("sqlalchemy", "engine.py:7")
    assert "Canary" not in json.dumps(line)


@pytest.mark.parametrize(
    ("asked", "told", "kind", "outcome"),
    [
        (None, Refusal("no"), "unreadable", "Refusal"),
        (Finish("run-1"), Refusal("not yet", waiting=True), "Finish", "Waiting"),
        (Contribute("run-1", b"", GRADIENT, 3, b""), Contribution(b"", b""), "Contribute", "Contribution"),
    ],
)
def test_metrics_count_what_the_guard_has_opened(
    asked: Request | None, told: Message, kind: str, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kith.guard.server")
    metrics = GuardMetrics()
    metrics.answered("user 0", 5, Answered(asked, told, b"reply"), 0.1)
    labels = {"kind": kind, "outcome": outcome}
    assert metrics.registry.get_sample_value("kith_guard_requests_total", labels) == 1
    (line,) = caplog.records
    facts = line.facts  # type: ignore[attr-defined]
    assert labels.items() <= facts.items()
    assert (facts.get("reason"), facts.get("index")) == (
        getattr(told, "reason", None),
        None if kind != "Contribute" else "3",
    )


def test_strangers_who_are_turned_away_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    metrics = GuardMetrics()
    metrics.turned_away("peer")
    for _ in range(1_000):
        metrics.turned_away(CROWD)
    assert metrics.registry.get_sample_value("kith_guard_turned_away_total", {"why": CROWD}) == 1_000
    assert len(caplog.records) == 1


# The real process


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> TinyGroup:
    return tiny_group(tmp_path_factory.mktemp("group"))


@pytest.fixture(scope="module")
def served(group: TinyGroup, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = f"unix:{tmp_path_factory.mktemp('run') / 'guard.sock'}"
    with serving(group.sites[0], "--listen", place, "--metrics", "127.0.0.1:0") as process:
        yield process


def test_a_run_through_the_process(group: TinyGroup, served: Served) -> None:
    plan = plan_run(group.load(), settings())
    moments = Contribute("run-1", plan.to_bytes(), SECOND_MOMENTS, 0, b"")
    first = ask(served.place, group, moments)
    assert isinstance(first, Contribution)
    assert ask(served.place, group, moments) == first
    weights = np.zeros(plan.event(GRADIENT).coordinates).astype("<f8").tobytes()
    assert isinstance(ask(served.place, group, replace(moments, event=GRADIENT, state=weights)), Contribution)
    wrong = ask(served.place, group, replace(moments, run="run-2", plan=b"{}"))
    assert isinstance(wrong, Refusal)
    assert isinstance(ask(served.place, group, Finish("run-1")), Finished)
    line = served.told("answered")
    assert {"kind", "outcome", "seconds", "received", "sent", "peer", "run"} <= set(line)


def test_prometheus_sees_requests_and_the_budget(group: TinyGroup, served: Served) -> None:
    plan = plan_run(group.load(), settings())
    ask(served.place, group, Contribute("run-3", plan.to_bytes(), SECOND_MOMENTS, 0, b""))
    url = next(line["metrics"] for line in served.seen if line.get("what") == "listening")
    with urllib.request.urlopen(url, timeout=30) as page:
        text = page.read().decode()
    ledger = group.sites[0].open_ledger()
    held = float(ledger.totals.held)
    ledger.close()
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(figures['kith_guard_mu2{group="",what="held"}']) == pytest.approx(held)
    assert float(figures['kith_guard_mu2{group="",what="cap"}']) == 10
    assert float(figures['kith_guard_requests_total{kind="Contribute",outcome="Contribution"}']) >= 1
    assert float(figures['kith_guard_plans{state="approved"}']) >= 1
    assert float(figures["kith_guard_last_run_timestamp_seconds"]) > 1_600_000_000


def test_the_process_keeps_its_memory_and_files_to_itself(served: Served) -> None:
    """Not dumpable: its /proc files are root's even where it runs as another user."""
    status = Path(f"/proc/{served.process.pid}/status").read_text()
    assert "NoNewPrivs:\t1" in status
    assert "Umask:\t0077" in status
    limits = Path(f"/proc/{served.process.pid}/limits").read_text()
    assert [line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size")] == ["0"]


def test_the_process_stops_when_asked_and_leaves_no_socket(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    path = tmp_path / "guard.sock"
    with serving(group.sites[0], "--listen", f"unix:{path}") as served:
        began = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - began < 15
        assert served.told("stopped")
    assert not path.exists()


def test_a_killed_process_leaves_the_request_charged_and_its_successor_goes_on(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    site, place = group.sites[0], f"unix:{tmp_path / 'guard.sock'}"
    plan = plan_run(group.load(), settings())
    moments = Contribute("run-1", plan.to_bytes(), SECOND_MOMENTS, 0, b"")
    with serving(site, "--listen", place) as served:
        first = ask(place, group, moments)
        served.process.send_signal(signal.SIGKILL)
        served.process.wait(30)
    with serving(site, "--listen", place):
        assert ask(place, group, moments) == first


def test_where_it_listens_may_stand_in_the_sites_file(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    site = group.sites[0]
    with (site.folder / SITE_FILE).open("a") as file:
        file.write(f'listen = "unix:{tmp_path / "guard.sock"}"\npeers = ["{os.getuid()}"]\n')
    with serving(load_site(site.folder)) as served:
        assert isinstance(ask(served.place, group, Finish("no-such-run")), Refusal)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "expected --listen"),
        (("--listen", "unix:/nowhere/at/all.sock"), "expected a socket at"),
        (("--listen", "unix:{folder}/s", "--metrics", "0.0.0.0:0"), "loopback"),
        (("--listen", "unix:{folder}/s", "--metrics", "localhost"), "HOST:PORT"),
        (("--listen", "tls:127.0.0.1:0"), r"\[tls\]"),
    ],
)
def test_what_can_not_be_served_is_said_in_one_line(
    group: TinyGroup, tmp_path: Path, options: tuple[str, ...], expected: str
) -> None:
    words = [option.format(folder=tmp_path) for option in options]
    command = [sys.executable, "-m", "kith", "guard", "serve", str(group.sites[1].folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert re.search(expected, line)
