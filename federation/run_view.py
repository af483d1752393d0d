"""A run as a person watches it: a picture of its state on a terminal, or a line for each event anywhere else."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.filesize import decimal
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from federation.run_events import Event
from federation.run_folders import Following
from federation.run_log import FILE
from federation.run_state import (
    ABSENT,
    AWAITED,
    FAILED,
    FINISHED,
    IDLE,
    INTERRUPTED,
    LATE,
    REPLIED,
    RUNNING,
    WAITING,
    RunState,
    SiteState,
)
from privacy.errors import KithError

if TYPE_CHECKING:
    from rich.live import Live

ROWS: Final = 16
"""Sites up to which all are shown; of more only those whom somebody should look at, and a count of the others."""
WIDTH: Final = 120
"""Columns beyond which the eye loses the line."""
POLL: Final = 0.25
"""Seconds between two looks at a log."""
_FOUR: Final = Context(prec=4, rounding=ROUND_CEILING)
_AROUND: Final = 16
"""Lines of the view that are no sites."""
COLOURS: Final = {RUNNING: "cyan", WAITING: "yellow", FINISHED: "green", FAILED: "red", INTERRUPTED: "red"}
_STATES: Final = {ABSENT: "bold red", LATE: "yellow", WAITING: "yellow", AWAITED: "cyan", REPLIED: "green", IDLE: "dim"}
_PHASES: Final = {
    "": "beginning",
    "keys": "keys of the secure sum",
    "shares": "shares of the keys",
    "release": "contributions",
    "agreeing": "agreeing on who is in",
    "unmasking": "unmasking the sum",
    "closing": "closing at the sites",
    "certifying": "certifying",
}

Until = Callable[[RunState], bool]


def view(state: RunState, rows: int = ROWS) -> RenderableType:
    """The picture of a state, with at most `rows` sites; as wide as the console that draws it, up to `WIDTH`."""
    title = Text.assemble(" ", (state.run or "run", "bold"), "  ", (state.status, f"bold {COLOURS[state.status]}"), " ")
    parts: list[RenderableType] = [_head(state), Text(), _bars(state)]
    if state.reason:
        parts += [Text(), Text(state.reason, "red")]
    if state.status == INTERRUPTED:
        parts += [Text(), Text(f"its process is gone; --resume {state.run} goes on with it", "red")]
    if state.release:
        parts += [Text(), Text.assemble("release  ", (state.release, "green"))]
    if state.sites:
        parts += [Text(), *_sites(state.sites, rows)]
    colour = COLOURS[state.status]
    panel = Panel(Group(*parts), title=title, title_align="left", border_style=colour, padding=(0, 1))
    return Constrain(panel, WIDTH)


def words(event: Event) -> str:
    """An event as one line; "" for a reply, of which there is one for each site and exchange."""
    facts: Mapping[str, Any] = event.facts  # of the types that its shape says
    where = f"{facts['event']} {facts.get('index', 0)}" if "event" in facts else ""
    match event.what:
        case "started":
            made = f"{_count(facts['releases'], 'release')} of {_count(len(facts['sites']), 'site')}"
            budget = f"epsilon {_figure(facts['epsilon'])} at delta {_figure(facts['delta'])}"
            return f"{facts['run']}: {facts['use_case']}, {facts['trust']}, {made}, {budget}"
        case "phase":
            return f"{_PHASES[str(facts['phase'])]}{where and ': '}{where}"
        case "waiting":
            return f"{facts['site']} waits for a person there to see the plan"
        case "absent":
            return f"{facts['site']} is absent{where and ' from '}{where}: {facts['reason']}"
        case "released":
            by = _count(facts["sites"], "site")
            return f"{where or 'release'}: made by {by}, {decimal(facts['bytes'])}; {facts['done']} of {facts['of']}"
        case "resumed":
            return f"goes on after {_count(facts['done'], 'release')}"
        case "finished":
            return f"finished: {facts['release']}"
        case "failed":
            return f"failed: {facts['reason']}"
    return ""


def ended(state: RunState) -> bool:
    """Whether a run goes on no more."""
    return state.ended is not None


def watch(folder: Path, until: Until = ended, console: Console | None = None, since: float = 0.0) -> RunState:
    """Show a run until it is time to stop: a live picture on a terminal, else a line for each event.

    Args:
        folder: the run's; its log need not be there yet.
        until: asked after each look at the log whether to stop; one more look is taken then.
        console: where to; standard error if None.
        since: seconds since 1970. Events before it get no line; a run of which there are none after it is taken for one
            that is about to go on.

    Returns:
        The state that it stopped at.

    Raises:
        InputError: if there is a log that can not be read.
    """
    out = Console(stderr=True) if console is None else console
    following: Following | None = None
    last = False
    with _picture(out) as picture:
        while True:
            if following is None and (folder / FILE).exists():
                following = Following(folder)
            for event in following.new() if following else ():
                line = words(event)
                if picture is None and line and event.at >= since:
                    out.print(Text(f"{_clock(event.at)} {line}"), soft_wrap=True)
            state = following.state() if following else RunState.of(())
            if state.last < since:
                state = replace(state, status=RUNNING, reason="", ended=None)
            if picture is not None:
                picture.update(view(state, max(3, out.height - _AROUND)), refresh=True)
            if last:
                return state
            last = until(state)
            time.sleep(0 if last else POLL)


@contextmanager
def live(folder: Path, console: Console | None = None) -> Iterator[None]:
    """Show the run that this process writes the log of, for as long as the block lasts.

    Watching never ends a run: a log that can not be read is not shown.
    """
    over = threading.Event()

    def follow() -> None:
        with suppress(KithError):
            watch(folder, lambda _: over.is_set(), console, since)

    since = math.floor(time.time() * 1_000) / 1_000  # as exact as a log
    thread = threading.Thread(target=follow, name="watching", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _picture(out: Console) -> AbstractContextManager[Live | None]:
    if not out.is_terminal:
        return nullcontext()
    from rich.live import Live

    return Live(console=out, auto_refresh=False, redirect_stdout=False)  # what others pipe on stays where it is


def _head(state: RunState) -> RenderableType:
    if not state.run:
        return Text("waiting for its first event", "dim")
    sites = _count(len(state.sites), "site")
    budget = f"epsilon {_figure(state.epsilon)} at delta {_figure(state.delta)}"
    head = Text(f"{state.use_case} · {state.trust} · {sites} · {budget}")
    if state.resumed:
        head.append(f" · resumed {_count(state.resumed, 'time')}", "yellow")
    return head


def _bars(state: RunState) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(ratio=1)
    grid.add_column(no_wrap=True)
    grid.expand = True
    colour = COLOURS[state.status]
    made = ProgressBar(max(1, state.releases), state.done, complete_style=colour, finished_style="green")
    spent = ProgressBar(1.0, state.spent, complete_style="magenta", finished_style="magenta")
    grid.add_row("releases", made, f"{state.done} of {state.releases}")
    grid.add_row("budget", spent, f"{100 * state.spent:.0f} % charged")
    grid.add_row("phase", _phase(state), f"{decimal(state.bytes)} in")
    left = "" if state.left is None else f", about {span(state.left)} left"
    grid.add_row("time", Text(f"{span(state.elapsed)}{left}"), "")
    return grid


def _phase(state: RunState) -> Text:
    if state.ended is not None:
        return Text(f"ended in: {_PHASES[state.phase]}" if state.status != FINISHED else "done", "dim")
    where = f": {state.event} {state.index}" if state.event else ""
    text = Text(f"{_PHASES[state.phase]}{where}", no_wrap=True, overflow="ellipsis")
    if state.deadline and state.phase:
        late = state.phase_elapsed > state.deadline / 2
        text.append(f"  {span(state.phase_elapsed)} of {span(state.deadline)}", "yellow" if late else "dim")
    return text


def _sites(sites: tuple[SiteState, ...], rows: int) -> Iterator[RenderableType]:
    shown = sites if len(sites) <= rows else sorted(filter(_noteworthy, sites), key=_urgency)[: max(1, rows - 1)]
    if shown:
        yield _table(shown)
    if others := Counter(site.state for site in sites) - Counter(site.state for site in shown):
        counts = ", ".join(f"{others[state]} {state}" for state in _STATES if others[state])
        yield Text(f"{'and ' if shown else ''}{others.total()} {'others' if shown else 'sites'}: {counts}", "dim")


def _table(sites: Any) -> Table:
    table = Table(box=None, expand=True, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("site", ratio=2, no_wrap=True, overflow="ellipsis")
    table.add_column("now", no_wrap=True, min_width=8)
    table.add_column("last reply", justify="right", no_wrap=True)
    table.add_column("contributed", justify="right", no_wrap=True)
    table.add_column("absent", ratio=1, no_wrap=True, overflow="ellipsis", min_width=10)
    for site in sites:
        seconds = "-" if site.seconds is None else span(site.seconds)
        absences = ", ".join(f"{count} {why}" for why, count in sorted(site.absences.items())) or site.why
        now = Text("-" if site.state == IDLE else site.state, _STATES[site.state])
        table.add_row(Text(site.name), now, seconds, str(site.contributions), Text(absences or "-", _absences(site)))
    return table


def _absences(site: SiteState) -> str:
    return "red" if site.why else "dim"


def _noteworthy(site: SiteState) -> bool:
    return site.state in (ABSENT, LATE, WAITING) or bool(site.why)


def _urgency(site: SiteState) -> int:
    return list(_STATES).index(site.state)


def _count(number: Any, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _figure(text: Any) -> str:
    """A decimal in four digits, rounded up: what is shown never understates."""
    return f"{_FOUR.create_decimal(str(text)).normalize(_FOUR):g}"


def span(seconds: float) -> str:
    """A length of time in seconds as people write it: 0.8 s, 42 s, 3:07 min, 2:05:00 h."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
