"""The log of a run: whatever becomes of its writer or its file, what it says is what was told, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.run_events import MAX_LINE, PHASES, SHAPES, TIMES, Event, event_line, read_event
from federation.run_log import FILE, LogReader, RunLog, is_written, read_log
from privacy.certificate import REASONS
from privacy.errors import InputError, Refused
from tests.federation.told_run import RELEASES, SITES, told_run, write
from tests.privacy.full_disk import full_disk

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(str.isprintable)
WHOLE = st.integers(0, 2**53 - 1)
SECONDS = st.integers(0, 10**14).map(lambda n: n / 1000)
DECIMALS = st.decimals(0, 1, places=9).map(str)
FACTS: dict[str, st.SearchStrategy[Any]] = {
    **{name: NAMES for name in ("run", "use_case", "site", "event", "release", "reason")},
    **{name: WHOLE for name in ("releases", "index", "done", "of", "sites", "bytes")},
    **{name: SECONDS for name in TIMES},
    **{name: DECIMALS for name in ("epsilon", "delta", "spent")},
    "plan": st.just("0" * 64),
    "trust": st.sampled_from(("local", "secure-sum")),
    "phase": st.sampled_from(PHASES),
}

OF = {"event": "gradient", "index": 0}


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Any event that may be told, as a reader gets it."""
    what = draw(st.sampled_from(sorted(SHAPES)))
    required, optional = SHAPES[what]
    own = {
        "started": {"sites": st.lists(NAMES, min_size=1, max_size=5).map(tuple)},
        "absent": {"reason": st.sampled_from(REASONS)},
    }.get(what, {})
    names = [*required, *draw(st.lists(st.sampled_from(sorted(optional)), unique=True) if optional else st.just([]))]
    facts = {name: draw(own.get(name, FACTS[name])) for name in names}
    for free in {"failed": ["reason"], "finished": ["release"]}.get(what, []):
        facts[free] = " ".join(facts[free].split()) or "x"
    return Event(draw(SECONDS), what, facts)


def line(event: Event) -> bytes:
    return event_line(event.at, event.what, event.facts)


@given(events())
def test_what_is_told_is_read_back(event: Event) -> None:
    assert line(event).count(b"\n") == 1
    found = read_event(line(event)[:-1])
    assert found is not None
    assert found == event


@settings(deadline=None, max_examples=50)
@given(st.lists(events(), max_size=6), st.data())
def test_any_beginning_of_a_log_says_what_was_told_by_then(told: list[Event], data: st.DataObject) -> None:
    lines = [line(event) for event in told]
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole)))
    finished = [n for n in range(len(told) + 1) if sum(map(len, lines[:n])) <= cut][-1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / FILE).write_bytes(whole[:cut])
        reader = LogReader(folder)
        assert list(reader.new()) == told[:finished]
        with (folder / FILE).open("ab") as file:
            file.write(whole[cut:])
        assert list(reader.new()) == told[finished:]
        assert reader.damaged == 0


@settings(deadline=None, max_examples=50)
@given(st.lists(events(), min_size=1, max_size=4), st.data())
def test_after_a_kill_in_the_middle_of_a_line_the_next_writer_begins_a_new_one(
    told: list[Event], data: st.DataObject
) -> None:
    whole = b"".join(map(line, told))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / FILE).write_bytes(whole[:cut])
        with RunLog(folder, lambda: 5.0) as log:
            log.add("resumed", done=1)
        *before, after = read_log(folder)
        assert after == Event(5.0, "resumed", {"done": 1})
        assert before == told[: len(before)]
        assert len(before) >= whole[:cut].count(b"\n")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=40), max_size=5), st.lists(events(), min_size=1, max_size=5))
def test_foreign_bytes_between_the_lines_are_passed_over(foreign: list[bytes], told: list[Event]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / FILE).write_bytes(b"".join(b"\n".join([*foreign, b""]) + line(event) for event in told))
        assert list(read_log(folder)) == told


def test_a_line_of_any_length_takes_bounded_memory_and_costs_no_other(tmp_path: Path) -> None:
    write(tmp_path, told_run(1))
    told = read_log(tmp_path)
    with (tmp_path / FILE).open("r+b") as file:
        good = file.read()
        for _ in range(12 * MAX_LINE >> 20):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + good)
    reader = LogReader(tmp_path)
    tracemalloc.start()
    try:
        assert tuple(reader.new()) == told * 2
        assert tracemalloc.get_traced_memory()[1] < 5 * MAX_LINE
    finally:
        tracemalloc.stop()
    assert reader.damaged == 1


@pytest.mark.parametrize(
    ("what", "facts"),
    [
        ("salary", {"amount": 1}),
        ("resumed", {}),
        ("resumed", {"done": 1, "employee": "E-1"}),
        ("resumed", {"done": 1.5}),
        ("resumed", {"done": True}),
        ("resumed", {"done": -1}),
        ("resumed", {"done": 2**53}),
        ("resumed", {"done": "1"}),
        ("phase", {"phase": "lunch"}),
        ("phase", {"phase": ["release"]}),
        ("phase", {"phase": "release", "event": {"of": "nobody"}}),
        ("reply", {"site": "", "phase": "release", "seconds": 1.0}),
        ("reply", {"site": "S" * 201, "phase": "release", "seconds": 1.0}),
        ("reply", {"site": "Nord\nSüd", "phase": "release", "seconds": 1.0}),
        ("reply", {"site": "\x1b[2JNord", "phase": "release", "seconds": 1.0}),
        ("reply", {"site": "Nord\u202e", "phase": "release", "seconds": 1.0}),
        ("reply", {"site": "Nord", "phase": "release", "seconds": float("nan")}),
        ("reply", {"site": "Nord", "phase": "release", "seconds": float("inf")}),
        ("reply", {"site": "Nord", "phase": "release", "seconds": 1e13}),
        ("reply", {"site": "Nord", "phase": "release", "seconds": "soon"}),
        ("absent", {"site": "Nord", "reason": "Ada was ill"}),
        ("released", {**OF, "done": 1, "of": 2, "sites": ["Nord"], "bytes": 1}),
        ("released", {**OF, "done": 1, "of": 2, "sites": 1, "bytes": 1, "spent": 0.5}),
        ("failed", {}),
    ],
)
def test_what_has_no_place_in_a_log_is_refused_and_not_written(
    tmp_path: Path, what: str, facts: dict[str, Any]
) -> None:
    with RunLog(tmp_path) as log, pytest.raises(InputError, match="run log"):
        log.add(what, **facts)
    assert (tmp_path / FILE).read_bytes() == b""
    foreign = json.dumps({"at": "1.000", "what": what, **facts}, ensure_ascii=False)
    assert read_event(foreign.encode()) is None


def test_a_site_with_a_hostile_name_in_a_foreign_log_commands_no_terminal(tmp_path: Path) -> None:
    facts = {"site": "\x1b]0;owned\x07", "phase": "release", "seconds": "1.000"}
    (tmp_path / FILE).write_text(json.dumps({"at": "1.000", "what": "reply", **facts}) + "\n")
    assert read_log(tmp_path) == ()


def test_a_run_does_not_fail_at_telling_how_it_ended(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.add("failed", reason="a\x1b[2J\n b\udc80" + "c" * 5_000)
        log.add("failed", reason="\n")
        log.add("finished", release="runs/\nx/release")
    first, second, third = read_log(tmp_path)
    assert str(first.facts["reason"]).startswith("a [2J b c")
    assert second.facts["reason"] == "unknown"
    assert third.facts["release"] == "runs/ x/release"


def test_decimals_and_tuples_are_taken_as_they_come(tmp_path: Path) -> None:
    _, what, facts = told_run(0)[0]
    with RunLog(tmp_path) as log:
        log.add(what, **{**facts, "epsilon": Decimal("1E-2"), "sites": SITES})
        log.add("phase", phase="keys", event=None, index=None)
    begun, phase = read_log(tmp_path)
    assert (begun.facts["epsilon"], begun.facts["sites"], begun.facts["deadline"]) == ("0.01", SITES, 60.0)
    assert dict(phase.facts) == {"phase": "keys"}


def test_no_two_write_at_once(tmp_path: Path) -> None:
    with RunLog(tmp_path):
        assert is_written(tmp_path)
        with pytest.raises(Refused, match="no other process"):
            RunLog(tmp_path)
    assert not is_written(tmp_path)
    RunLog(tmp_path).close()


WRITER = """
import sys, time
from pathlib import Path
from federation.run_log import RunLog
log = RunLog(Path(sys.argv[1]))
for n in range(int(sys.argv[2])):
    log.add("released", event="gradient", index=n, done=n, of=9, sites=3, bytes=n)
print("done", flush=True)
time.sleep(600)
"""


def writer(folder: Path, events: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(events)], stdout=subprocess.PIPE, text=True)


def test_a_reader_keeps_up_with_another_process_and_sees_when_it_is_killed(tmp_path: Path) -> None:
    process = writer(tmp_path, 3_000)
    try:
        while not (tmp_path / FILE).exists():
            assert process.poll() is None
        reader, found = LogReader(tmp_path), []
        while len(found) < 3_000:
            assert process.poll() is None
            found += [event.facts["done"] for event in reader.new()]
        assert found == list(range(3_000))
        assert reader.damaged == 0
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        assert is_written(tmp_path)
        with pytest.raises(Refused):
            RunLog(tmp_path)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert not is_written(tmp_path)
    with RunLog(tmp_path) as log:
        log.add("resumed", done=1)
    assert [event.what for event in reader.new()] == ["resumed"]


def test_on_a_full_disk_a_line_is_refused_and_the_log_goes_on_when_there_is_room(tmp_path: Path) -> None:
    with RunLog(tmp_path) as log:
        log.add("resumed", done=1)
        with full_disk((tmp_path / FILE).stat().st_size + 5), pytest.raises(InputError, match="can be written"):
            log.add("resumed", done=2)
        log.add("resumed", done=3)
    reader = LogReader(tmp_path)
    assert [event.facts["done"] for event in reader.new()] == [1, 3]
    assert reader.damaged == 1


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "link"])
def test_what_is_no_log_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / FILE
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere").write_text("")
    for use in (LogReader, read_log, is_written):
        with pytest.raises(InputError, match="expected a run's log"):
            use(tmp_path)
    if kind in ("folder", "link"):
        with pytest.raises(InputError, match="can be written"):
            RunLog(tmp_path)


def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can be written"):
        RunLog(tmp_path / "file" / "run")


def test_the_largest_plan_fits_on_a_line() -> None:
    _, what, facts = told_run(RELEASES)[0]
    names = [f"{n:05}".ljust(200, "字") for n in range(10_000)]
    assert len(event_line(0.0, what, {**facts, "sites": names})) < MAX_LINE
