"""What Prometheus gets to see of runs: figures of the logs as they are when it asks, in its own format."""

from __future__ import annotations

import select
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from federation.metrics_server import MAX_CONNECTIONS
from federation.run_log import FILE, RunLog
from federation.run_metrics import RECENT, serve_runs
from privacy.errors import InputError
from tests.federation.told_run import BEGAN, RELEASES, STEP, Told, told_run, write

Sample = tuple[str, frozenset[tuple[str, str]]]


def scraped(url: str) -> Mapping[Sample, float]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def of(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())


def now(told: list[Told]) -> list[Told]:
    """The same, so that it ends now."""
    shift = time.time() - told[-1][0]
    return [(at + shift, what, facts) for at, what, facts in told]


def test_a_run_that_goes_on_is_told_of_as_it_goes(tmp_path: Path) -> None:
    told = now(told_run(3, absent_from=1))
    with serve_runs(tmp_path, "127.0.0.1", 0) as url:
        assert scraped(url)[of("kith_runs", status="running")] == 0
        moments = iter([at for at, _, _ in told])
        with RunLog(tmp_path / "one", lambda: next(moments, time.time())) as log:
            for _, what, facts in told:
                log.add(what, **facts)
            found = scraped(url)
            assert found[of("kith_runs", status="running")] == 1
            assert found[of("kith_run_status", run="one", status="running")] == 1
            assert found[of("kith_run_status", run="one", status="failed")] == 0
            assert found[of("kith_run_releases", run="one")] == RELEASES
            assert found[of("kith_run_releases_done", run="one")] == 3
            assert found[of("kith_run_budget_spent_ratio", run="one")] == 3 / RELEASES
            labels = {"use_case": "retention", "trust": "secure-sum", "delta": "0.00001"}
            assert found[of("kith_run_epsilon", run="one", **labels)] == 1
            assert found[of("kith_run_received_bytes_total", run="one")] == 14_000
            assert found[of("kith_run_replies_total", run="one", site="Nord")] == 2
            assert found[of("kith_run_replies_total", run="one", site="Süd")] == 3
            assert found[of("kith_run_contributions", run="one", site="Nord")] == 2
            assert found[of("kith_run_absences", run="one", site="Nord", reason="silent")] == 1
            assert found[of("kith_run_last_reply_seconds", run="one", site="Nord")] == 0.5
            assert found[of("kith_run_last_event_timestamp_seconds", run="one")] == pytest.approx(told[-1][0], abs=0.01)
            assert found[of("kith_run_release_seconds_count", run="one")] == 3
            assert found[of("kith_run_release_seconds_sum", run="one")] == pytest.approx(3 * STEP, abs=0.01)
            assert found[of("kith_run_release_seconds_bucket", run="one", le="1.0")] == 0
            assert found[of("kith_run_release_seconds_bucket", run="one", le="2.5")] == 3
            assert found[of("kith_run_release_seconds_bucket", run="one", le="+Inf")] == 3
            log.add("failed", reason="too few")
            assert scraped(url)[of("kith_run_status", run="one", status="failed")] == 1


def test_runs_that_ended_long_ago_are_only_counted(tmp_path: Path) -> None:
    write(tmp_path / "old", [*told_run(1), (BEGAN + 9, "finished", {"release": "x"})])
    told = now([*told_run(1), (BEGAN + RECENT, "finished", {"release": "x"})])
    write(tmp_path / "new", told)
    with serve_runs(tmp_path, "127.0.0.1", 0) as url:
        found = scraped(url)
    assert found[of("kith_runs", status="finished")] == 2
    assert {dict(labels)["run"] for name, labels in found if name == "kith_run_releases"} == {"new"}


def test_hostile_names_are_escaped_and_what_is_no_run_is_left_out(tmp_path: Path) -> None:
    told = now(told_run(1, ('Nord"} 1\\', "Süd", "West")))
    write(tmp_path / 'a"b\\', told)
    (tmp_path / "line\nbreak").mkdir()
    (tmp_path / "line\nbreak" / FILE).write_text("")
    (tmp_path / "broken" / FILE).mkdir(parents=True)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / FILE).write_bytes(b"\xff" * 100)
    with serve_runs(tmp_path, "127.0.0.1", 0) as url:
        found = scraped(url)
    assert found[of("kith_run_replies_total", run='a"b\\', site='Nord"} 1\\')] == 1
    assert {dict(labels)["run"] for name, labels in found if name == "kith_run_releases"} == {'a"b\\', "foreign"}


def test_many_may_ask_at_once(tmp_path: Path) -> None:
    write(tmp_path / "one", now(told_run(5)))
    with serve_runs(tmp_path, "127.0.0.1", 0) as url, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(scraped, [url] * 16))
    assert all(one[of("kith_run_releases_done", run="one")] == 5 for one in found)


def test_it_stops_when_it_should_and_its_address_is_free_again(tmp_path: Path) -> None:
    with serve_runs(tmp_path, "127.0.0.1", 0) as url:
        port = int(url.split(":")[2].split("/")[0])
        with pytest.raises(InputError, match="address to listen on"), serve_runs(tmp_path, "127.0.0.1", port):
            pass
    with pytest.raises(urllib.error.URLError):
        scraped(url)
    with serve_runs(tmp_path, "127.0.0.1", port) as again:
        scraped(again)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "x" * 300])
def test_an_address_that_is_not_this_machines_is_refused(tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError, match="address to listen on"), serve_runs(tmp_path, host, 0):
        pass


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder of runs"), serve_runs(tmp_path / "absent", "127.0.0.1", 0):
        pass


def test_whoever_connects_and_says_nothing_takes_up_few_connections_and_not_for_long(tmp_path: Path) -> None:
    """A guard serves its figures too: its descriptors are not for any user of the host to take."""
    write(tmp_path / "one", now(told_run(1)))
    threads = threading.active_count()
    with serve_runs(tmp_path, "127.0.0.1", 0) as url, ExitStack() as held:
        place = "127.0.0.1", int(url.split(":")[2].split("/")[0])
        silent = [held.enter_context(socket.create_connection(place, 10)) for _ in range(2 * MAX_CONNECTIONS)]
        wait_for_the_end_of(silent, MAX_CONNECTIONS)
        assert threading.active_count() <= threads + 1 + MAX_CONNECTIONS
        wait_for_the_end_of(silent, 0)
        assert scraped(url)[of("kith_run_releases_done", run="one")] == 1


def wait_for_the_end_of(channels: list[socket.socket], left: int) -> None:
    """Until the other side has ended all but so many of these, which are taken out."""
    end = time.monotonic() + 30
    while len(channels) > left:
        assert time.monotonic() < end
        for one in select.select(channels, [], [], 0.1)[0]:
            assert one.recv(1) == b""
            channels.remove(one)
