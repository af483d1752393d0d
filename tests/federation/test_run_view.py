"""What a person sees of a run: at any width, of five sites or two hundred, on a terminal or in a file."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from federation.run_events import SHAPES, Event, event_line, read_event
from federation.run_log import FILE, RunLog
from federation.run_state import FINISHED, INTERRUPTED, RUNNING, RunState
from federation.run_view import WIDTH, ended, live, span, view, watch, words
from privacy.errors import InputError
from tests.federation.test_run_log import events
from tests.federation.told_run import BEGAN, SITES, STEP, Told, started, told_run, write


def read(told: Sequence[Told]) -> list[Event]:
    return [event for one in told if (event := read_event(event_line(*one)[:-1])) is not None]


def going_on(sites: Sequence[str], replied: Sequence[str]) -> list[Told]:
    """In the seventh release, 35 s after it was asked for; the first site was not in the fourth."""
    told = told_run(6, sites, absent_from=3)
    at = told[-1][0]
    of = {"event": "gradient", "index": 6}
    told.append((at, "phase", {"phase": "release", **of}))
    return [*told, *((at + 1, "reply", {"site": name, "phase": "release", "seconds": 1.0}) for name in replied)]


def drawn(state: RunState, width: int, rows: int = 16) -> list[str]:
    console = Console(width=width, file=io.StringIO(), record=True, force_terminal=True)
    console.print(view(state, rows))
    return console.export_text().splitlines()


FIVE = """\
╭─  retention-ab12cd34  running  ──────────────────────────────────────────────╮
│ retention · secure-sum · 5 sites · epsilon 1 at delta 0.00001                │
│                                                                              │
│ releases  ━━━━━━━━━━━━━━━━━━━━━━━━╺━━━━━━━━━━━━━━━━━━━━━━━━━━━  6 of 13      │
│ budget    ━━━━━━━━━━━━━━━━━━━━━━━━╺━━━━━━━━━━━━━━━━━━━━━━━━━━━  46 % charged │
│ phase     contributions: gradient 6  35 s of 1:00 min           29.0 kB in   │
│ time      47 s, about 12 s left                                              │
│                                                                              │
│ site                        now       last reply  contributed  absent        │
│ Nord                        late           0.5 s            5  1 silent      │
│ Ost Logistik GmbH           replied        1.0 s            7  -             │
│ Süd                         replied        1.0 s            7  -             │
│ West                        replied        1.0 s            7  -             │
│ Zentrale                    replied        1.0 s            7  -             │
╰──────────────────────────────────────────────────────────────────────────────╯"""

MANY = """\
│ site                        now       last reply  contributed  absent        │
│ site-000                    late           0.5 s            5  1 silent      │
│ site-199                    late           0.5 s            6  -             │
│ and 198 others: 198 replied                                                  │
╰──────────────────────────────────────────────────────────────────────────────╯"""


def test_five_sites_on_eighty_columns() -> None:
    told = going_on(SITES, SITES[1:])
    shown = drawn(RunState.of(read(told), BEGAN + 6 * STEP + 35, True), 80)
    assert "\n".join(shown) == FIVE


def test_of_two_hundred_sites_those_that_matter_and_a_count_of_the_others() -> None:
    sites = [f"site-{number:03}" for number in range(200)]
    shown = drawn(RunState.of(read(going_on(sites, sites[1:-1])), BEGAN + 6 * STEP + 35, True), 80)
    assert "\n".join(shown[-5:]) == MANY


def test_of_two_hundred_late_sites_as_many_as_there_is_room_for() -> None:
    sites = [f"site-{number:03}" for number in range(200)]
    shown = drawn(RunState.of(read(going_on(sites, [])), BEGAN + 6 * STEP + 35, True), 80, rows=6)
    assert sum("site-" in line for line in shown) == 5
    assert "and 195 others: 195 late" in shown[-2]


@settings(deadline=None)
@given(st.lists(events(), max_size=8), st.floats(0, 1e12), st.integers(40, 200))
def test_any_state_is_drawn_within_the_width(told: list[Event], now: float, width: int) -> None:
    assert {cell_len(line) for line in drawn(RunState.of(told, now, True), width)} == {min(width, WIDTH)}


def test_an_interrupted_run_says_how_it_goes_on() -> None:
    shown = drawn(RunState.of(read(told_run(2)), BEGAN + 9, alive=False), 80)
    assert any("--resume retention-ab12cd34" in line for line in shown)


def test_names_are_text_and_no_markup() -> None:
    told: list[Told] = [started(["[red]Nord[/red]"])]
    assert any("[red]Nord[/red]" in line for line in drawn(RunState.of(read(told), BEGAN, True), 80))


def test_a_failure_shows_its_reason_and_a_release_its_place() -> None:
    at = BEGAN + 1
    failed = drawn(RunState.of(read([started(), (at, "failed", {"reason": "too few [of] them"})]), at), 80)
    assert any("failed" in line for line in failed[:1])
    assert any("too few [of] them" in line for line in failed)
    finished = drawn(RunState.of(read([started(), (at, "finished", {"release": "runs/x/release"})]), at), 80)
    assert any("runs/x/release" in line for line in finished)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0.0 s"), (9.96, "10 s"), (59.4, "59 s"), (60, "1:00 min"), (3_599, "59:59 min"), (7_265, "2:01:05 h")],
)
def test_lengths_of_time(seconds: float, expected: str) -> None:
    assert span(seconds) == expected


@given(events())
def test_every_event_has_words_on_one_line(event: Event) -> None:
    said = words(event)
    assert said.isprintable()
    assert (said == "") == (event.what == "reply")


def test_all_kinds_of_events_have_words_of_their_own() -> None:
    told = [
        *told_run(1, absent_from=0),
        (BEGAN, "waiting", {"site": "Nord"}),
        (BEGAN, "resumed", {"done": 1}),
        (BEGAN, "failed", {"reason": "too few"}),
        (BEGAN, "finished", {"release": "runs/x/release"}),
    ]
    assert {what for _, what, _ in told} == set(SHAPES)
    assert [line for event in read(told) if (line := words(event))] == [
        "retention-ab12cd34: retention, secure-sum, 13 releases of 5 sites, epsilon 1 at delta 0.00001",
        "contributions: gradient 0",
        "Nord is absent from gradient 0: silent",
        "gradient 0: made by 4 sites, 4.0 kB; 1 of 13",
        "Nord waits for a person there to see the plan",
        "goes on after 1 release",
        "failed: too few",
        "finished: runs/x/release",
    ]


# Following


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=80, height=40)


def file() -> Console:
    return Console(file=io.StringIO(), width=80)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_in_a_file_there_is_a_line_for_each_event(tmp_path: Path) -> None:
    write(tmp_path, [*told_run(1), (BEGAN + 3, "finished", {"release": "runs/x/release"})])
    out = file()
    assert watch(tmp_path, console=out).status == FINISHED
    assert said(out).splitlines()[1:] == [
        "22:13:20 contributions: gradient 0",
        "22:13:22 gradient 0: made by 5 sites, 5.0 kB; 1 of 13",
        "22:13:23 finished: runs/x/release",
    ]


def test_a_run_whose_process_is_gone_is_watched_no_longer(tmp_path: Path) -> None:
    write(tmp_path, told_run(2))
    assert watch(tmp_path, console=file()).status == INTERRUPTED


def test_a_run_is_watched_from_before_its_log_is_there(tmp_path: Path) -> None:
    out = terminal()
    folder = tmp_path / "run"
    found: list[RunState] = []
    over = threading.Event()
    thread = threading.Thread(target=lambda: found.append(watch(folder, lambda _: over.is_set(), out)))
    thread.start()
    try:
        while "waiting for its first event" not in said(out):
            time.sleep(0.02)
        write(folder, [*told_run(1), (BEGAN + 3, "finished", {"release": "runs/x/release"})])
    finally:
        over.set()
        thread.join()
    assert found[0].status == FINISHED
    assert "runs/x/release" in said(out)


@pytest.mark.parametrize("console", [terminal, file])
def test_what_the_same_process_tells_is_shown_to_its_last_event(
    tmp_path: Path, console: Callable[[], Console], capsys: pytest.CaptureFixture[str]
) -> None:
    out = console()
    with live(tmp_path, out), RunLog(tmp_path) as log:
        _, what, facts = told_run(0)[0]
        log.add(what, **facts)
        print("for others")
        log.add("finished", release="runs/x/release")
    assert "runs/x/release" in said(out)
    assert capsys.readouterr().out == "for others\n"


def test_a_run_that_goes_on_shows_only_what_is_new(tmp_path: Path) -> None:
    write(tmp_path, [*told_run(1), (BEGAN + 3, "failed", {"reason": "an old failure"})])
    plain, picture = file(), terminal()
    for out in (plain, picture):
        with live(tmp_path, out):
            time.sleep(0.1)
        assert "an old failure" not in said(out)
    with live(tmp_path, plain), RunLog(tmp_path) as log:
        log.add("resumed", done=1)
    assert said(plain).splitlines()[0][9:] == "goes on after 1 release"
    assert RUNNING in said(picture)


def test_watching_never_ends_a_run(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with live(tmp_path, file()):
        pass
    with pytest.raises(InputError, match="run's log"):
        watch(tmp_path, ended, file())
