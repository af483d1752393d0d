"""The picture of spending: what it says in words, on a terminal of 80 columns, and as an SVG that stands alone."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.spending_picture import COLUMNS, MOST_STEPS, Limit, Point, Spending, chart, course_of
from privacy.spending_svg import svg

DAY = 86_400
START = 1_767_225_600  # 2026-01-01
ONE_PERIOD = Spending(
    "North",
    (Limit(START, 0, "2026", 0.5),),
    (Point(START + 40 * DAY, 0, 0.1), Point(START + 200 * DAY, 0, 0.35)),
)
TWO_PERIODS = Spending(
    "South & Söhne <AG>",
    (
        Limit(START, 0, "2026", 0.5),
        Limit(START + 365 * DAY, 1, "2027", 0.5),
        Limit(START + 500 * DAY, 1, "2027", 0.3),
    ),
    (
        Point(START + 40 * DAY, 0, 0.45),
        Point(START + 400 * DAY, 1, 0.1),
        Point(START + 600 * DAY, 1, 0.29),
    ),
)
FRESH = Spending("Fresh", (Limit(START, 0, "1", 0.0),), ())
NUMBER = re.compile(r"[MLHV ](-?[0-9.]+)")


def bars(spending: Spending) -> list[str]:
    """The chart's columns, each from bottom to top."""
    lines = chart(spending).plain.split("\n")
    plot = [line[-COLUMNS:].ljust(COLUMNS) if len(line) < COLUMNS else line[10 : 10 + COLUMNS] for line in lines[:8]]
    return ["".join(row[column] for row in reversed(plot)) for column in range(COLUMNS)]


def height(column: str) -> int:
    return sum(" ▁▂▃▄▅▆▇█".index(character) for character in column if character not in "╌")


def test_it_says_in_a_sentence_what_was_charged_of_what() -> None:
    assert ONE_PERIOD.summary == "North: 0.35 of a cap of 0.5 mu² charged in period 2026 (70%)"
    assert TWO_PERIODS.summary.endswith("0.29 of a cap of 0.3 mu² charged in period 2027 (97%); 1 earlier period")
    assert FRESH.summary == "Fresh: 0 of a cap of 0 mu² charged in period 1"


@pytest.mark.parametrize("spending", [ONE_PERIOD, TWO_PERIODS, FRESH], ids=["one period", "two periods", "fresh"])
def test_the_chart_fits_80_columns(spending: Spending) -> None:
    assert max(map(len, chart(spending).plain.split("\n"))) <= 80


def test_the_chart_climbs_with_every_charge_and_falls_where_a_period_begins() -> None:
    heights = [height(column) for column in bars(TWO_PERIODS)]
    reset = heights.index(0, 10)
    assert heights[reset - 1] > max(heights[reset:]) > 0
    before, after = heights[:reset], heights[reset:]
    assert before == sorted(before)
    assert after == sorted(after)
    labels = chart(TWO_PERIODS).plain.split("\n")[9]
    assert labels[10:].index("│2027") == reset


def test_the_cap_is_drawn_above_what_was_charged_and_lower_once_it_was_lowered() -> None:
    rows = [column.find("╌") for column in bars(TWO_PERIODS)]
    assert rows[0] > rows[-8] > 0  # the last columns' bar has reached the cap's row
    assert "cap 0.3" in chart(TWO_PERIODS).plain


def test_the_svg_is_one_well_formed_document_with_a_title_and_a_description() -> None:
    root = ElementTree.fromstring(svg([ONE_PERIOD, TWO_PERIODS]))
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names == {"svg", "title", "desc", "style", "rect", "g", "text", "path"}
    described = {element.get("id"): element.text for element in root if element.get("id")}
    assert root.get("aria-labelledby") == "title summary"
    assert described["title"]
    assert ONE_PERIOD.summary in str(described["summary"])
    assert TWO_PERIODS.summary in str(described["summary"])


def test_the_svg_refers_to_nothing_outside_and_runs_nothing() -> None:
    text = svg([ONE_PERIOD]).replace('xmlns="http://www.w3.org/2000/svg"', "")
    for word in ("http", "url(", "href", "script", "@import", "onload", "data:"):
        assert word not in text


def test_the_svg_has_colours_for_a_light_and_a_dark_page() -> None:
    style = svg([ONE_PERIOD]).partition("<style>")[2].partition("</style>")[0]
    light, _, dark = style.partition("@media (prefers-color-scheme:dark)")
    for name in (".page", ".soft", ".strong", ".axis", ".line", ".cap", ".capword"):
        assert name in light
        assert name in dark


def test_the_svg_marks_each_period_and_the_cap_in_words() -> None:
    text = svg([TWO_PERIODS])
    assert text.count('class="reset"') == 1
    assert "period 2026" in text
    assert "period 2027" in text
    assert ">cap 0.3<" in text
    assert "South &amp; Söhne &lt;AG&gt;" in text


numbers = st.floats(0, 2, allow_nan=False)
names = st.text(max_size=12)


@st.composite
def spendings(draw: st.DrawFn) -> Spending:
    """Any order of clocks, any names, several periods."""
    times = st.integers(0, 2**53)
    periods = draw(st.integers(1, 4))
    limits = tuple(Limit(draw(times), n, draw(names), draw(numbers)) for n in range(periods))
    points = [
        Point(draw(times), n, spent) for n in range(periods) for spent in sorted(draw(st.lists(numbers, max_size=4)))
    ]
    return Spending(draw(names), limits, tuple(points))


@given(spending=spendings())
def test_whatever_clocks_and_names_say_both_pictures_can_be_drawn(spending: Spending) -> None:
    course = course_of(spending)
    places = [step.at for step in course.steps]
    assert places == sorted(places)
    assert all(0 <= place <= 1 for place in places)
    assert len(course.steps) == len(spending.limits) + len(spending.points)
    assert max(map(len, chart(spending).plain.split("\n"))) <= 80
    document = svg([spending])
    ElementTree.fromstring(document)
    for path in re.findall(r' d="([^"]+)"', document):
        assert all(-1 <= float(number) <= 720 for number in NUMBER.findall(path))


def test_a_ledger_of_a_million_charges_gives_a_picture_of_bounded_size() -> None:
    points = tuple(Point(START + n, n // 5_000, (n % 5_000) / 5_000) for n in range(20_000))
    limits = tuple(Limit(START + 5_000 * n, n, str(n), 1.0) for n in range(4))
    course = course_of(Spending("North", limits, points))
    assert len(course.steps) <= MOST_STEPS + 10
    assert [step.spent for step in course.steps].count(0.0) >= 3  # resets are not thinned out
    assert max(step.spent for step in course.steps) == pytest.approx(0.9998)
