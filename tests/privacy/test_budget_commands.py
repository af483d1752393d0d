"""`kith budget` as an officer meets it: who stands where, what two officers decide, and what is freed."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from privacy.accounting import epsilon
from privacy.amounts import to_text, total
from privacy.budget import read_decision
from privacy.commands import app
from privacy.errors import BudgetExceeded, InputError, KithError, Refused, VerificationFailed
from privacy.ledger import Ledger
from privacy.marks import MarkKey
from privacy.secret_files import create_secret
from tests.privacy.fixed_signer import FixedSigner
from tests.privacy.officer_keys import key_uri
from tests.privacy.small_release import OFFICERS, RUN, Group, marks, plan, state_of

COST = to_text(total(plan()))  # 0.375 of a cap of 2


def kith(*arguments: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def done(*arguments: str | Path, stdin: str | None = None) -> str:
    result = kith(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.exception
    return result.stdout


def failed(*arguments: str | Path) -> KithError:
    error = kith(*arguments).exception
    assert isinstance(error, KithError)
    assert "\n" not in str(error)
    return error


def told(*arguments: str | Path, stdin: str | None = None) -> Any:
    return json.loads(done(*arguments, "--json", stdin=stdin))


@pytest.fixture
def group(tmp_path: Path) -> Group:
    return Group(tmp_path)


@pytest.fixture
def ledger(group: Group) -> Ledger:
    return group.sites[0].ledger


@pytest.fixture
def path(group: Group) -> Path:
    return group.folder / "0.ledger"


def trained(group: Group, run: str = RUN, people: int = 5) -> None:
    """A whole run at the first site."""
    site = group.sites[0]
    site.ledger.reserve(run, plan(), marks("North", people))
    for event in plan().events:
        for index in range(event.times):
            site.contribute(run, plan(), event.name, index)
    site.ledger.end(run)


# Showing


def test_it_shows_what_was_charged_and_what_the_worst_off_employee_has_left(group: Group, path: Path) -> None:
    trained(group)
    (site,) = told("budget", "show", path)["sites"]
    assert (site["site"], site["label"], site["cap"]) == ("North", "2026", "2")
    assert site["charged"] == site["worst_off"] == COST == "0.375"
    assert (site["held"], site["left"]) == ("0", "1.625")
    assert site["epsilon_worst_off"] == format(epsilon(total(plan()), Decimal("0.00001")), "f")
    assert site["groups"]["all"]["charged"] == COST


def test_what_an_open_run_holds_is_not_left_to_the_worst_off(group: Group, ledger: Ledger, path: Path) -> None:
    ledger.reserve("open", plan(), marks("North"))
    ledger.charge("open", plan(), "second-moments", 0, state_of("second-moments", 0))
    (site,) = told("budget", "show", path)["sites"]
    assert (site["charged"], site["held"], site["left"]) == ("0.25", "0.125", "1.625")
    assert site["open_runs"] == {"open": "0.125"}


def test_the_worst_off_employee_never_has_more_than_the_cap(group: Group, path: Path) -> None:
    for n in range(7):  # 7 times 0.375 is above the cap: the last runs leave everybody of before out
        trained(group, f"run {n}")
    (site,) = told("budget", "show", path)["sites"]
    assert (site["charged"], site["worst_off"], site["left"]) == ("2.625", "2", "0")


def test_it_shows_several_sites_in_the_order_in_which_they_were_named(group: Group) -> None:
    sites = told("budget", "show", group.folder / "1.ledger", group.folder / "0.ledger")["sites"]
    assert [site["site"] for site in sites] == ["South & West", "North"]


def test_a_person_reads_it_at_80_columns(
    group: Group, ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("privacy.budget_commands.console", lambda: Console(width=80))
    trained(group)
    ledger.reserve("open", plan(), marks("North"))
    lines = done("budget", "show", path).splitlines()
    assert max(map(len, lines)) <= 80
    assert any("all" in line and "0.375" in line for line in lines)
    assert any("run open holds 0.375" in line for line in lines)
    assert any("█" in line for line in lines)
    assert any("cap 2" in line for line in lines)


def test_the_picture_is_written_as_svg(group: Group, path: Path, tmp_path: Path) -> None:
    trained(group)
    done("budget", "show", path, group.folder / "1.ledger", "--svg", tmp_path / "spending.svg")
    text = (tmp_path / "spending.svg").read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert "North: 0.375 of a cap of 2 mu² charged in period 2026 (19%)" in text
    assert "South &amp; West: 0 of a cap of 2" in text


# One person's own balance


@pytest.fixture
def site(group: Group, path: Path) -> Path:
    """The first site's folder: ledger, marks key, and a run with two employees, of whom it knows by number."""
    folder = group.folder / "site"
    folder.mkdir()
    create_secret(folder / "marks.key")
    key = MarkKey.read(folder / "marks.key")
    ledger = group.sites[0].ledger
    ledger.reserve(RUN, plan(), {key.mark("E-1"), key.mark("E-2")})
    ledger.charge(RUN, plan(), "second-moments", 0, state_of("second-moments", 0))
    (folder / "site.toml").write_text(f'name = "North"\nledger = "sqlite:///{path}"\n', encoding="utf-8")
    return folder


def test_an_employee_s_own_balance_is_found_by_the_employee_key(site: Path) -> None:
    found = told("budget", "show", "--employee", "E-1", "--site", site)
    assert (found["charged"], found["held"], found["left"], found["lifetime"]) == ("0.25", "0.125", "1.625", "0.25")
    assert found["groups"]["all"]["charged"] == "0.25"
    assert "0.25" in done("budget", "show", "--employee", "E-1", "--site", site)


def test_the_key_can_come_from_standard_input_and_is_never_repeated(site: Path) -> None:
    by_input = done("budget", "show", "--employee", "-", "--site", site, "--json", stdin="E-1\n")
    assert by_input == done("budget", "show", "--employee", "E-1", "--site", site, "--json")
    assert "E-1" not in by_input


def test_who_was_in_no_run_has_everything_left_and_is_not_told_from_who_never_worked_there(site: Path) -> None:
    found = told("budget", "show", "--employee", "nobody", "--site", site)
    assert (found["charged"], found["left"], found["epsilon"]) == ("0", "2", "0")


# Decisions


def decided(group: Group, *what: str, first: FixedSigner = OFFICERS[0], second: FixedSigner = OFFICERS[1]) -> Path:
    """A decision about the first site's ledger, signed by two."""
    out = group.folder / "decision.json"
    keys = [key_uri(group.folder, one) for one in (first, second)]
    done("budget", "decide", group.folder / "0.ledger", "--reason", "agreed", "--out", out, "--key", keys[0], *what)
    done("budget", "sign", out, "--key", keys[1])
    return out


def test_two_officers_decide_a_new_cap_and_new_groups(group: Group, ledger: Ledger, path: Path) -> None:
    decision = decided(group, "--cap", "3.50", "--group", "all=1.5:retention,mentoring", "--group", "pay=2:pay")
    done("budget", "apply", path, decision)
    budget = ledger.budget
    assert (budget.number, budget.period, budget.cap, budget.reason) == (1, 0, "3.5", "agreed")
    assert [(one.name, one.cap, one.use_cases) for one in budget.groups] == [
        ("all", "1.5", ("retention", "mentoring")),
        ("pay", "2", ("pay",)),
    ]
    assert budget.officers == read_decision(decision.read_bytes()).budget.officers


def test_a_new_period_resets_what_counts_and_not_what_was_charged(group: Group, path: Path) -> None:
    trained(group)
    done("budget", "apply", path, decided(group, "--next-period", "2027"))
    (site,) = told("budget", "show", path)["sites"]
    assert (site["period"], site["label"], site["charged"], site["lifetime"]) == (1, "2027", "0", COST)
    assert "over all periods: 0.375" in done("budget", "show", path)


def test_officers_are_shown_what_changes_and_by_how_much(group: Group, path: Path) -> None:
    uri = key_uri(group.folder, OFFICERS[0])
    out = group.folder / "d.json"
    text = done("budget", "decide", path, "--cap", "3", "--reason", "agreed", "--out", out, "--key", uri)
    assert "cap: 3 mu²" in text
    assert "(was 2 mu²" in text
    signed = done("budget", "sign", out, "--key", key_uri(group.folder, OFFICERS[1]))
    assert "cap: 3 mu²" in signed
    assert "reason: agreed" in signed


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(OFFICERS[0], FixedSigner(50), id="a stranger signs second"),
        pytest.param(FixedSigner(50), OFFICERS[1], id="a stranger signs first"),
    ],
)
def test_a_decision_by_one_officer_and_a_stranger_does_not_count(
    group: Group, ledger: Ledger, path: Path, first: FixedSigner, second: FixedSigner
) -> None:
    decision = decided(group, "--cap", "9", first=first, second=second)
    assert isinstance(failed("budget", "apply", path, decision), VerificationFailed)
    assert ledger.budget.number == 0


def test_one_officer_alone_decides_nothing(group: Group, ledger: Ledger, path: Path) -> None:
    uri, out = key_uri(group.folder, OFFICERS[0]), group.folder / "d.json"
    done("budget", "decide", path, "--cap", "9", "--reason", "mine", "--out", out, "--key", uri)
    assert isinstance(failed("budget", "apply", path, out), VerificationFailed)
    assert isinstance(failed("budget", "sign", out, "--key", uri), Refused)
    assert ledger.budget.number == 0


def test_a_decision_is_for_one_ledger_and_for_once(group: Group, path: Path) -> None:
    decision = decided(group, "--cap", "9")
    assert isinstance(failed("budget", "apply", group.folder / "1.ledger", decision), VerificationFailed)
    done("budget", "apply", path, decision)
    assert isinstance(failed("budget", "apply", path, decision), VerificationFailed)


def test_nothing_is_decided_while_a_run_is_open(group: Group, ledger: Ledger, path: Path) -> None:
    decision = decided(group, "--cap", "9")
    ledger.reserve("open", plan(), marks("North"))
    assert isinstance(failed("budget", "apply", path, decision), Refused)


def test_a_decision_that_was_written_is_not_written_over(group: Group, path: Path) -> None:
    decision = decided(group, "--cap", "9")
    before = decision.read_bytes()
    uri = key_uri(group.folder, OFFICERS[0])
    error = failed("budget", "decide", path, "--cap", "8", "--reason", "x", "--out", decision, "--key", uri)
    assert isinstance(error, InputError)
    assert decision.read_bytes() == before


# Releasing


def test_releasing_an_abandoned_run_frees_what_it_held_and_not_what_it_was_charged(
    group: Group, ledger: Ledger, path: Path
) -> None:
    ledger.reserve("abandoned", plan(), marks("North"))
    ledger.charge("abandoned", plan(), "second-moments", 0, state_of("second-moments", 0))
    freed = done("budget", "release", path, "--run", "abandoned")
    assert freed == "freed 0.125 mu² that run abandoned held; left to the worst-off: 1.75 mu²\n"
    (site,) = told("budget", "show", path)["sites"]
    assert (site["held"], site["charged"]) == ("0", "0.25")
    assert told("budget", "release", path, "--run", "abandoned")["freed"] == "0"


def test_releasing_leaves_other_runs_alone(group: Group, ledger: Ledger, path: Path) -> None:
    for run in ("abandoned", "going on"):
        ledger.reserve(run, plan(), marks("North"))
    done("budget", "release", path, "--run", "abandoned")
    assert told("budget", "show", path)["sites"][0]["open_runs"] == {"going on": COST}
    ledger.charge("going on", plan(), "second-moments", 0, state_of("second-moments", 0))


# Bad input

BAD: dict[str, tuple[str, ...]] = {
    "no ledger named": ("show",),
    "no such ledger": ("show", "{f}/nowhere"),
    "no ledger at all": ("show", "{f}/text"),
    "an employee without a site": ("show", "--employee", "E-1"),
    "a site without an employee": ("show", "--site", "{f}"),
    "an empty employee": ("show", "--employee", "", "--site", "{f}"),
    "an employee at a folder without marks": ("show", "--employee", "E-1", "--site", "{f}"),
    "an employee and ledgers": ("show", "{l}", "--employee", "E-1", "--site", "{f}"),
    "a picture that can not be written": ("show", "{l}", "--svg", "{f}/nowhere/x.svg"),
    "an unknown run": ("release", "{l}", "--run", "unknown"),
    "a cap that is no number": ("decide", "{l}", "--cap", "much", "--reason", "x", "--out", "{f}/d", "--key", "{k}"),
    "a cap below nothing": ("decide", "{l}", "--cap", "-1", "--reason", "x", "--out", "{f}/d", "--key", "{k}"),
    "a group without a cap": ("decide", "{l}", "--group", "all", "--reason", "x", "--out", "{f}/d", "--key", "{k}"),
    "a group of nothing": ("decide", "{l}", "--group", "all=1:", "--reason", "x", "--out", "{f}/d", "--key", "{k}"),
    "an officer of no key": ("decide", "{l}", "--officer", "me", "--reason", "x", "--out", "{f}/d", "--key", "{k}"),
    "an unknown key": ("decide", "{l}", "--cap", "1", "--reason", "x", "--out", "{f}/d", "--key", "file:{f}/nowhere"),
    "no decision": ("sign", "{f}/nowhere", "--key", "{k}"),
    "a decision that is none": ("apply", "{l}", "{f}/text"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_with_one_line_and_exit_2_and_changes_nothing(
    group: Group, ledger: Ledger, path: Path, name: str
) -> None:
    (group.folder / "text").write_text("not what was expected\n", encoding="utf-8")
    places = {"f": group.folder, "l": path, "k": key_uri(group.folder, OFFICERS[0])}
    size = ledger.head().size
    error = failed("budget", *(argument.format(**places) for argument in BAD[name]))
    assert isinstance(error, InputError)
    assert error.exit_code == 2
    assert ledger.head().size == size
    assert not (group.folder / "d").exists()


def test_a_plan_above_the_cap_is_still_refused_for_everybody(group: Group, ledger: Ledger, path: Path) -> None:
    done(
        "budget", "apply", path, decided(group, "--next-period", "2027", "--cap", "0.3", "--group", "all=0.3:retention")
    )
    with pytest.raises(BudgetExceeded):
        ledger.reserve(RUN, plan(), marks("North"))
