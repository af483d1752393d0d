"""The report's page and tables: valid, self-contained, the same every time, and no place for what others wrote."""

import io
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser

import pytest
from rich.console import Console

from privacy.errors import InputError
from records.quarantine import Held
from records.report import Report
from records.report_figures import FeatureReport, LeftOut
from records.report_page import page, write_page
from records.report_sources import SourceReport
from records.report_tables import tables

VOID = {"meta", "br"}
HOSTILE = "<script src=//evil.example>alert(1)</script>\"'&{{ 7 * 7 }}[/red]"
MONTHS = {f"{2024 + month // 12}-{month % 12 + 1:02d}": month * 10 for month in range(24)}


def source(**changes):
    counts = {"rows": 1_000, "written": 950, "unchanged": 40, "quarantined": 10, "left_out": 3, "unfit": 0.01}
    days = {"late": 7, "months": MONTHS, "newest": "2025-12-30", "delivered": "2026-01-02", "age": 0}
    reasons = (Held("hris", "table", "Joined", "expected a date, got other text", 10, (3, 1_204)),)
    fields = {"source": "hris", "deliveries": 2, **counts, **days, "fresh_days": 31, "stale": False, "reasons": reasons}
    return SourceReport(**fields | changes)


def report(**changes):
    fields = {
        "site": "Alder",
        "purpose": "retention",
        "on": date(2026, 1, 2),
        "as_of": date(2024, 12, 31),
        "until": date(2025, 12, 31),
        "people": 1_300,
        "usable": 1_250,
        "labelled": 1_234,
        "people_at_most": 1_500,
        "label_is": "left = yes",
        "label": 0.1255,
        "left_out": (LeftOut("objected", 66, "noise as if epsilon were 5.1% smaller"), LeftOut("erased", 2, "nothing")),
        "waiting": 0,
        "intact": True,
        "sources": (source(),),
        "features": (
            FeatureReport("pulse", "pulse.likert", ("survey",), 0.841, 0.0531, 0.1059, "15.9% do without it"),
        ),
        "verdict": "ready with reservations",
        "refusals": (),
        "reasons": ("source hris: something is odd",),
    }
    return Report(**fields | changes)


class Reader(HTMLParser):
    """Refuses tags that do not nest; keeps tags with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        assert tag == "rect"  # HTML closes no other tag like that
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


REPORTS = {
    "with reservations": report(),
    "ready": report(verdict="ready", reasons=()),
    "refused": report(
        verdict="refuse",
        refusals=("too few",),
        reasons=("too few", "stale"),
        label=None,
        labelled=0,
        usable=0,
        people=0,
        left_out=(),
        intact=False,
    ),
    "stale": report(sources=(source(stale=True, age=40), source(source="lms", newest="", reasons=()))),
    "empty": report(sources=(), features=(), left_out=(), labelled=0, label=None),
    "hostile": report(
        site=HOSTILE,
        label_is=HOSTILE,
        reasons=(HOSTILE,),
        left_out=(LeftOut(HOSTILE, 1, HOSTILE),),
        sources=(source(reasons=(Held("hris", "table", HOSTILE, HOSTILE, 1, (1,)),)),),
    ),
}
CASES = pytest.mark.parametrize("case", REPORTS.values(), ids=REPORTS)


@CASES
def test_tags_nest_and_every_row_of_a_table_has_its_cells(case):
    read = Reader(page(case))
    assert read.tags.count("html") == read.tags.count("body") == read.tags.count("h1") == 1
    for table in re.findall(r"<table>.*?</table>", page(case), re.DOTALL):
        rows = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
        assert len({len(re.findall(r"<t[dh]", row)) for row in rows}) == 1


@CASES
def test_nothing_runs_and_nothing_is_fetched(case):
    text = page(case)
    read = Reader(text)
    assert not {"script", "iframe", "object", "embed", "link", "img", "form"} & set(read.tags)
    names = {name for name, _ in read.attributes}
    assert not names & {"href", "src", "srcset", "style", "action", "xlink:href", "id"}
    assert not [name for name in names if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert "http:" not in text
    assert "https:" not in text
    assert "default-src 'none'" in text


def test_what_others_wrote_is_shown_and_nothing_else():
    read = Reader(page(REPORTS["hostile"]))
    assert read.words.count(HOSTILE) == 8  # title, heading, reason, label, group, its cost, column and why
    assert "49" not in read.words


@CASES
def test_the_same_report_gives_the_same_bytes(case):
    assert page(case).encode() == page(replace(case)).encode()


def test_every_figure_stands_in_words_too():
    words = Reader(page(report())).words
    for figure in ("1,234", "of 1,300 known; at most 1,500 by contract", "12.6%", "left = yes", "66", "5.1% smaller"):
        assert figure in words
    for figure in ("84.1%", "5.3%", "10.6%", "1,000", "950", "2025-12-30", "3, 1204", "10 in quarantine"):
        assert figure in words
    assert "Ready with reservations source hris: something is odd" in words


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("ready", "Ready People"),
        ("refused", "Refused too few stale"),
        ("stale", "stale: 40 of 31 days"),
        ("empty", "– nobody has"),
    ],
)
def test_the_verdict_and_what_is_wrong_can_be_seen(case, words):
    assert words in Reader(page(REPORTS[case])).words


def test_the_parts_of_a_bar_follow_each_other_and_fill_it():
    (bar,) = re.findall(r'<svg class="bar"[^>]*><rect class="ground"[^>]*/>(.*?)</svg>', page(report(left_out=())))[1:]
    parts = re.findall(r'class="(\w+)" x="([\d.]+)" width="([\d.]+)"', bar)
    assert [kind for kind, _, _ in parts] == ["good", "kept", "bad"]
    assert [(float(start), float(width)) for _, start, width in parts] == [(0, 84.1), (84.1, 5.31), (89.41, 10.59)]


def test_the_highest_month_fills_its_height():
    heights = [float(height) for height in re.findall(r'width="8" height="([\d.]+)"><title>', page(report()))]
    assert heights == [round(100 * month / 23, 1) for month in range(24)]


def test_the_page_is_for_its_owner_alone(tmp_path):
    for there in (False, True):
        path = tmp_path / f"{there}.html"
        if there:
            path.write_text("x" * 1_000_000)
            path.chmod(0o644)
        write_page(report(), path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.read_text(encoding="utf-8") == page(report())


@pytest.mark.parametrize("name", ["", "nowhere/page.html", "a\0b.html", "x" * 5_000])
def test_a_path_that_can_not_be_written_is_said(tmp_path, name):
    with pytest.raises(InputError, match="expected a file that can be written") as refusal:
        write_page(report(), tmp_path / name)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("width", [100, 160])
@CASES
def test_tables_fit_the_terminal_and_cut_no_name(case, width):
    out = Console(width=width, record=True, file=io.StringIO())
    for table in tables(case):
        out.print(table)
    text = out.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert case.verdict in text
