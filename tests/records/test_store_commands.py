"""`kith records` as a site meets it: every command, for people and as JSON, and what it refuses."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from datetime import UTC, date, datetime, timedelta

import pytest

import kith
from records.derive import months_after
from records.store import open_store
from tests.records.store_folder import run_raw

SITE = "Alder Works"
TODAY = datetime.now(UTC).date()
AS_OF = months_after(TODAY.replace(day=1), -12) - timedelta(days=1)
PEOPLE = [f"0{number}" for number in range(70001, 70031)]
ANN, BEN = PEOPLE[10], PEOPLE[11]
CANDIDATE = "C-4711"
OFFERED, PAID = 103_000, 130_000
STRANGER = "099999"

MAPPINGS = {
    "people": """
source = "hris"
kind = "table"
read = { separator = ";" }
person = { number = "Number", width = 6 }
protected = { sex = { from = "Gender", values = { F = "female" } } }
[[facts]]
table = "person"
[facts.columns]
start_month = { from = "Since" }
candidate_key = { from = "Candidate" }
level_band = { from = "Grade" }
job_family = { from = "Dept", values = { Care = "care", Sales = "sales" } }
""",
    "exits": """
source = "hris"
kind = "table"
person = { number = "Number" }
valid_from = { column = "Left" }
[[facts]]
table = "person"
[facts.columns]
end_month = { from = "Left" }
exit_type = { from = "Why", values = { Resigned = "voluntary" } }
""",
    "consent": """
source = "employee"
kind = "table"
person = { number = "Number" }
[consent]
purpose = { always = "retention" }
state = { from = "Event" }
notice_version = { always = 1 }
at = { from = "At" }
locale = { always = "en" }
channel = { always = "web" }
""",
    "applications": """
source = "ats"
kind = "table"
person = { candidate = "Candidate" }
valid_from = { column = "Entered" }
[[facts]]
table = "application"
[facts.columns]
req_id = { from = "Requisition" }
outcome = { from = "Outcome" }
offer_pay = { from = "Offer" }
""",
    "pay": """
source = "payroll"
kind = "table"
person = { number = "Number" }
[[facts]]
table = "comp_band"
[facts.columns]
annual_pay = { from = "Pay" }
""",
}
ROWS = {
    "people": [
        ["Number", "Since", "Grade", "Dept", "Gender", "Candidate", "Shoe size", "Religion"],
        *([n.lstrip("0"), "2019-03-01", "entry", "Care", "F", "", "43", "none"] for n in PEOPLE if n != ANN),
        [ANN, f"{TODAY:%Y-%m}-01", "senior", "Sales", "F", CANDIDATE, "38", "none"],
        ["70099", "2019-03-01", "entry", "Beekeeping", "F", "", "40", "none"],
    ],
    "exits": [["Number", "Left", "Why"], *([n, str(AS_OF + timedelta(days=150)), "Resigned"] for n in PEOPLE[:6])],
    "consent": [["Number", "Event", "At"], *([n, "informed", f"{AS_OF}T08:00:00Z"] for n in PEOPLE)],
    "applications": [
        ["Candidate", "Entered", "Requisition", "Outcome", "Offer"],
        [CANDIDATE, str(TODAY - timedelta(days=9)), "REQ-1", "accepted", str(OFFERED)],
    ],
    "pay": [["Number", "Pay"], [ANN, str(PAID)]],
}
SECRETS = (*PEOPLE, *(number.lstrip("0") for number in PEOPLE), CANDIDATE, STRANGER)


class Ended:
    """How a command ended, and what it printed."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def document(self):
        return json.loads(self.out)


def call():
    """Kith's exit status in this process."""
    with pytest.raises(SystemExit) as end:
        kith.main()
    return end.value.code or 0


@pytest.fixture
def records(monkeypatch, capsys):
    """Runs `kith records` in this process; nothing that it prints may name a person."""

    def run(*arguments, code=0, stdin=""):
        monkeypatch.setattr(sys, "argv", ["kith", "records", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        status = call()
        told = capsys.readouterr()
        ended = Ended(status, told.out, told.err)
        assert ended.code == code, ended.err
        assert not [secret for secret in SECRETS if secret in ended.out + ended.err]
        return ended

    return run


@pytest.fixture(scope="module")
def taken_in(tmp_path_factory):
    """A folder of records that the command line made, from the exports beside it; and what it said of each."""
    home = tmp_path_factory.mktemp("site")
    said = {}
    for name, text in MAPPINGS.items():
        (home / f"{name}.toml").write_text(text)
        with (home / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file, delimiter=";" if name == "people" else ",").writerows(ROWS[name])
    made("init", home / "records", "--site", SITE)
    for name in MAPPINGS:
        day = ["--as-of", "2019-03-01"] if name == "people" else []
        files = (home / f"{name}.toml", home / f"{name}.csv")
        said[name] = json.loads(made("ingest", home / "records", *files, *day, "--json"))
    people = ["--people", f"{SITE}=40", "--people", "Elsewhere=10"]
    (home / "contract.toml").write_text(made("contract", "--purpose", "retention", *people, "--as-of", AS_OF))
    return home, said


def made(*arguments):
    """What `kith records` prints, run in this process."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        patch.setattr(sys, "argv", ["kith", "records", *map(str, arguments)])
        assert call() == 0
    return out.getvalue()


@pytest.fixture
def home(taken_in, tmp_path):
    """A copy of it for one test."""
    return shutil.copytree(taken_in[0], tmp_path / "site")


@pytest.fixture
def folder(home):
    return home / "records"


def subject(folder, number):
    store = open_store(folder)
    try:
        return store.pseudonyms.person(number)
    finally:
        store.close()


def held(folder, table, number):
    store = open_store(folder)
    try:
        return run_raw(
            store, f"SELECT * FROM {table} WHERE subject = :subject", subject=store.pseudonyms.person(number)
        )
    finally:
        store.close()


def test_exports_get_in_and_what_is_not_read_is_said(taken_in):
    _, said = taken_in
    people = said["people"]
    assert (people["rows"], people["quarantined"], people["already"]) == (31, 1, False)
    assert people["reasons"] == {"expected one of the values that the mapping lists, got another": 1}
    assert people["not_read"][0] == {"column": "Shoe size", "prohibited": None}
    assert people["not_read"][1]["column"] == "Religion"
    assert "religio" in people["not_read"][1]["prohibited"].lower()
    assert [said[name]["written"] for name in ("exits", "consent", "applications", "pay")] == [6, 30, 1, 1]
    assert said["pay"]["reconciliations"] == 1


def test_the_same_export_again_changes_nothing_and_says_so(records, home, folder):
    again = (folder, home / "pay.toml", home / "pay.csv")
    assert records("ingest", *again, "--json").document["already"] is True
    assert "came before, as batch 5" in records("ingest", *again).out


def test_what_is_not_read_is_told_to_people_too(records, home, folder):
    home.joinpath("people.csv").open("a").write("70098;2019-03-01;entry;Care;F;;43;none\n")
    told = records("ingest", folder, home / "people.toml", home / "people.csv").out
    assert "Shoe size" in told
    assert re.search(r"Religion: \S", told)
    assert "1 × expected one of the values" in told


@pytest.mark.parametrize("as_json", [True, False])
def test_init_makes_a_folder_once(records, tmp_path, as_json):
    asked = ("init", tmp_path / "new", "--site", SITE, *(["--json"] if as_json else []))
    told = records(*asked)
    assert "auditor.key" in told.out
    if as_json:
        assert told.document["site"] == SITE
    assert "folder without records" in one_line(records(*asked, code=2))


def test_quarantine_lists_reasons_and_first_rows(records, folder):
    (line,) = records("quarantine", folder, "--json").document
    assert (line["source"], line["column"], line["rows"], line["places"]) == ("hris", "Dept", 1, [31])
    told = records("quarantine", folder).out
    assert "Dept" in told
    assert "Beekeeping" not in told


def test_an_empty_quarantine_says_none(records, tmp_path):
    records("init", tmp_path / "new", "--site", SITE)
    assert records("quarantine", tmp_path / "new").out == "none\n"
    assert records("quarantine", tmp_path / "new", "--json").document == []


def test_a_report_in_the_terminal_as_json_and_as_a_page(records, home, folder):
    told = records("report", folder, "--contract", home / "contract.toml", "--html", home / "report.html").out
    assert "ready with reservations" in told
    assert "What the sources delivered" in told
    found = records("report", folder, "--contract", home / "contract.toml", "--json").document
    assert (found["usable"], found["labelled"], found["label"]) == (29, 29, 6 / 29)
    page = (home / "report.html").read_text()
    assert SITE in page
    assert subject(folder, BEN) not in page + told + json.dumps(found)


def test_a_report_that_refuses_ends_with_1_and_the_reason_and_still_tells_all(records, home, folder):
    for number in PEOPLE[6:25]:
        records("say", folder, "--employee", "-", "--purpose", "retention", "--state", "objected", stdin=f"{number}\n")
    asked = ("report", folder, "--contract", home / "contract.toml", "--html", home / "report.html", "--json")
    refused = records(*asked, code=1)
    assert refused.document["verdict"] == "refuse"
    assert "labelled people whose records may be used" in one_line(refused)
    assert "Refused" in (home / "report.html").read_text()


@pytest.mark.parametrize("as_json", [True, False])
def test_export_writes_everything_for_its_owner_alone(records, home, folder, as_json):
    told = records("export", folder, "--employee", ANN, "--out", home / "ann", *(["--json"] if as_json else []))
    assert "everything.json" in told.out
    everything = json.loads((home / "ann" / "everything.json").read_text())
    assert everything["tables"]["comp_band"][0]["annual_pay"] == PAID
    assert everything["tables"]["application"][0]["offer_pay"] == OFFERED
    assert everything["in_vault"] is True
    assert (home / "ann" / "everything.json").stat().st_mode & 0o777 == 0o600
    assert "new folder" in one_line(records("export", folder, "--employee", ANN, "--out", home / "ann", code=2))


def test_a_candidate_may_ask_as_well(records, home, folder):
    records("export", folder, "--candidate", "-", "--out", home / "candidate", stdin=f"{CANDIDATE}\n")
    tables = json.loads((home / "candidate" / "everything.json").read_text())["tables"]
    assert tables["application"][0]["offer_pay"] == OFFERED


@pytest.mark.parametrize("as_json", [True, False])
def test_a_correction_holds_against_the_next_export(records, home, folder, as_json):
    asked = ("correct", folder, "--employee", "-", "--column", "person.level_band", "--value", "-")
    told = records(*asked, *(["--json"] if as_json else []), stdin=f"{BEN}\nlead\n")
    assert "person.level_band" in told.out
    assert "lead" not in told.out
    home.joinpath("people.csv").write_text(f"Number;Since;Grade;Dept;Gender;Candidate\n{BEN};2019-03;senior;Care;F;\n")
    assert records("ingest", folder, home / "people.toml", home / "people.csv", "--json").document["reconciliations"]
    now = str(held(folder, "person", BEN))
    assert "lead" in now
    assert "senior" not in now


def test_a_yes_or_no_counts_at_the_next_answer(records, folder):
    asked = ("--employee", BEN, "--purpose", "retention")
    assert records("basis", folder, *asked, "--json").document["allowed"] is True
    assert "yes" in records("basis", folder, *asked).out
    assert records("say", folder, *asked, "--state", "objected", "--json").document["state"] == "objected"
    answer = records("basis", folder, *asked, "--json").document
    assert (answer["allowed"], answer["state"]) == (False, "objected")
    assert "you objected" in records("basis", folder, *asked).out
    assert "objected" in records("say", folder, *asked, "--state", "objected").out


@pytest.mark.parametrize("as_json", [True, False])
def test_who_is_erased_stays_away_until_readmitted(records, home, folder, as_json):
    more = ["--json"] if as_json else []
    told = records("erase", folder, "--employee", ANN, "--yes", *more).out
    for table in ("person", "comp_band", "application"):
        assert table in told
    assert held(folder, "person", ANN) == []
    home.joinpath("people.csv").open("a").write("\n")
    back = ("ingest", folder, home / "people.toml", home / "people.csv", "--json")
    assert records(*back).document["left_out"] == 2  # what the row says, and the trait
    assert "erased" in one_line(
        records("say", folder, "--employee", ANN, "--purpose", "retention", "--state", "given", code=1)
    )
    assert "readmitted" in records("readmit", folder, "--employee", ANN, *more).out
    assert "expected a person who was erased" in one_line(records("readmit", folder, "--employee", ANN, code=2))


def test_erasing_asks_first(records, folder):
    refused = records("erase", folder, "--employee", ANN, code=1, stdin="n\n")
    assert "Erase everything about this person?" in refused.err
    assert held(folder, "person", ANN)
    records("erase", folder, "--employee", "-", stdin=f"{ANN}\ny\n")
    assert not held(folder, "person", ANN)


def test_a_number_that_nobody_has_is_no_person(records, home, folder):
    """A leading zero that was forgotten must not pass for an erasure or an objection."""
    for command in (
        ("erase", "--yes"),
        ("export", "--out", home / "nobody"),
        ("basis", "--purpose", "retention"),
        ("say", "--purpose", "retention", "--state", "objected"),
        ("correct", "--column", "person.level_band", "--value", "lead"),
        ("disagreements",),
    ):
        for number in (BEN.lstrip("0"), STRANGER):
            refused = records(command[0], folder, "--employee", number, *command[1:], code=2)
            assert "expected" in one_line(refused)
    assert not (home / "nobody").exists()
    asked = ("--employee", STRANGER, "--purpose", "retention", "--state", "informed")
    assert records("say", folder, *asked, "--unknown", "--json").document["event"] > 0


def test_an_erasure_may_be_asked_for_ahead(records, home, folder):
    assert records("erase", folder, "--employee", STRANGER, "--unknown", "--yes", "--json").document["log"]
    (home / "pay.csv").write_text(f"Number,Pay\n{STRANGER},1\n")
    assert records("ingest", folder, home / "pay.toml", home / "pay.csv", "--json").document["left_out"] == 1


def test_a_disagreement_is_listed_without_its_person_and_settled_once(records, folder):
    (item,) = records("disagreements", folder, "--json").document
    assert (item["column"], item["held"], item["came"]) == ("comp_band.annual_pay", OFFERED, PAID)
    told = records("disagreements", folder).out
    assert "103,000" in told
    assert "130,000" in told
    assert item["subject"] not in told
    assert records("disagreements", folder, "--employee", ANN, "--json").document == [item]
    assert records("disagreements", folder, "--employee", BEN).out == "none\n"
    decided = ("settle", folder, item["number"], "--take", "held", "--by", "hr-7", "--reason", "typed wrongly")
    assert "expected held or came" in one_line(records(*decided[:4], "both", *decided[5:], code=2))
    assert "expected words without the values" in one_line(records(*decided[:-1], "it was 130 000", code=2))
    assert records(*decided, "--json").document == {"settled": item["number"], "taken": "held"}
    assert "settled" in one_line(records(*decided, code=1))
    assert records("disagreements", folder).out == "none\n"
    assert str(float(OFFERED)) in str(held(folder, "comp_band", ANN))


def test_settling_tells_people_too(records, folder):
    told = records("settle", folder, "1", "--take", "came", "--by", "hr-7", "--reason", "agreed later").out
    assert "came" in told


def test_expire_proves_that_nothing_is_left(records, folder):
    found = records("expire", folder, "--json").document
    assert set(found["left"].values()) == {0}
    told = records("expire", folder).out
    assert f"0 by {len(found['left'])} rules" in told


def test_check_verifies_the_log_and_refuses_a_changed_one(records, folder):
    entries = records("check", folder, "--json").document
    assert entries == {"log_entries": 6, "intact": True}
    assert "yes" in records("check", folder).out
    store = open_store(folder)
    for (name,) in run_raw(store, "SELECT name FROM sqlite_master WHERE type = 'trigger'"):
        run_raw(store, f"DROP TRIGGER {name}")
    run_raw(store, "UPDATE log_entry SET at = '2020-01-01T00:00:00Z' WHERE number = 3")
    store.close()
    assert "entry 3" in one_line(records("check", folder, code=1))


def test_notices_for_one_purpose_and_for_all(records):
    one = records("notice", "--purpose", "retention", "--json").document
    assert one["purpose"] == "retention"
    assert one["title"] in records("notice", "--purpose", "retention").out
    everything = records("notice", "--json").document
    assert {"retention", "learning"} <= {notice["purpose"] for notice in everything["purposes"]}
    assert "never" in records("notice").out
    candidates = records("notice", "--about", "candidate", "--json").document
    assert "retention" not in {notice["purpose"] for notice in candidates["purposes"]}


def test_the_record_of_processing_names_its_controller(records):
    found = records("processing", "--controller", "Alder Works Ltd", "--json").document
    assert found["controller"] == "Alder Works Ltd"
    assert "# Record of processing" in records("processing").out


def test_a_contract_as_toml_and_as_json(records):
    asked = ("contract", "--purpose", "retention", "--people", "A=5=40", "--people", "B=10", "--as-of", "2025-06-30")
    found = tomllib.loads(records(*asked).out)
    assert found["site"]["people_at_most"] == {"A=5": 40, "B": 10}
    assert found["moment"] == {"as_of": date(2025, 6, 30), "horizon_months": 12}
    assert records(*asked, "--json").document["moment"]["as_of"] == "2025-06-30"


WRONG = {
    "no folder": ("check", "nowhere"),
    "no mapping": ("ingest", "FOLDER", "nowhere.toml", "HOME/pay.csv"),
    "unknown mapping": ("ingest", "FOLDER", "sap", "HOME/pay.csv"),
    "no export": ("ingest", "FOLDER", "HOME/pay.toml"),
    "missing export": ("ingest", "FOLDER", "HOME/pay.toml", "HOME/nowhere.csv"),
    "another export": ("ingest", "FOLDER", "HOME/pay.toml", "HOME/exits.csv"),
    "no day": ("ingest", "FOLDER", "HOME/pay.toml", "HOME/pay.csv", "--as-of", "20250101"),
    "day to come": ("ingest", "FOLDER", "HOME/pay.toml", "HOME/pay.csv", "--as-of", "9999-12-31"),
    "no contract": ("report", "FOLDER", "--contract", "HOME/pay.csv"),
    "html nowhere": ("report", "FOLDER", "--contract", "HOME/contract.toml", "--html", "HOME/nowhere/page.html"),
    "nobody": ("erase", "FOLDER", "--yes"),
    "two people": ("basis", "FOLDER", "--purpose", "retention", "--employee", ANN, "--candidate", CANDIDATE),
    "empty number": ("basis", "FOLDER", "--purpose", "retention", "--employee", " "),
    "no number on standard input": ("basis", "FOLDER", "--purpose", "retention", "--employee", "-"),
    "endless number": ("basis", "FOLDER", "--purpose", "retention", "--employee", "9" * 5_000),
    "lone surrogate": ("basis", "FOLDER", "--purpose", "retention", "--employee", "\udcff"),
    "unknown purpose": ("basis", "FOLDER", "--purpose", "promotion", "--employee", BEN),
    "unknown state": ("say", "FOLDER", "--purpose", "retention", "--employee", BEN, "--state", "maybe"),
    "notice to come": (
        *("say", "FOLDER", "--purpose", "retention", "--employee", BEN, "--state", "given", "--notice-version", "9"),
    ),
    "unknown column": ("correct", "FOLDER", "--employee", BEN, "--column", "person.mood", "--value", "x"),
    "wrong value": ("correct", "FOLDER", "--employee", BEN, "--column", "person.level_band", "--value", "Kaiser"),
    "no version": (
        *("correct", "FOLDER", "--employee", BEN, "--column", "person.level_band", "--value", "lead"),
        *("--valid-from", "2001-01-01"),
    ),
    "no such item": ("settle", "FOLDER", "99", "--take", "held", "--by", "hr", "--reason", "so"),
    "unknown notice": ("notice", "--purpose", "promotion"),
    "unknown reader": ("notice", "--about", "manager"),
    "controller": ("processing", "--controller", "a\nb"),
    "bound": ("contract", "--purpose", "retention", "--people", "A", "--as-of", "2025-06-30"),
    "bound twice": (
        "contract",
        "--purpose",
        "retention",
        "--people",
        "A=1",
        "--people",
        "A=2",
        "--as-of",
        "2025-06-30",
    ),
    "horizon": (
        *("contract", "--purpose", "retention", "--people", "A=9", "--people", "B=9"),
        *("--as-of", "2025-06-30", "--horizon", "0"),
    ),
    "no label": ("contract", "--purpose", "learning", "--people", "A=9", "--people", "B=9", "--as-of", "2025-06-30"),
}


def one_line(ended):
    assert ended.err.startswith("kith: ")
    assert ended.err.count("\n") == 1
    assert len(ended.err) < 700
    return ended.err


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_wrong_arguments_end_with_one_line_and_2(records, home, folder, arguments):
    real = [part.replace("FOLDER", str(folder)).replace("HOME", str(home)) for part in arguments]
    ended = records(*real, code=2)
    assert ended.out == ""
    assert "expected" in one_line(ended)
    assert "Kaiser" not in ended.err


def test_arguments_that_are_missing_end_with_2(records, folder):
    for command in (("ingest", folder), ("report", folder), ("settle", folder, "one"), ("nothing",)):
        assert records(*command, code=2).out == ""


def test_what_the_vault_holds_can_not_be_corrected(records, folder):
    asked = ("correct", folder, "--employee", BEN, "--column", "protected.sex", "--value", "male")
    assert "vault" in one_line(records(*asked, code=1))


def test_a_mapping_that_reads_what_is_prohibited_is_refused(records, home, folder):
    text = MAPPINGS["pay"].replace("Pay", "Religion")
    (home / "pay.toml").write_text(text)
    assert "prohibited" in one_line(records("ingest", folder, home / "pay.toml", home / "people.csv", code=1)).lower()


@pytest.mark.parametrize(("piped", "code"), [(f" {BEN} \nmore\n".encode(), 0), (b"\xff\xfe\n", 2)])
def test_a_number_is_read_from_a_pipe(folder, piped, code):
    command = [sys.executable, "-m", "kith", "records", "basis", str(folder), "--employee", "-", "--json"]
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [*command, "--purpose", "retention"], input=piped, capture_output=True, env=environment, timeout=120
    )
    assert done.returncode == code
    if code:
        assert done.stderr == b"kith: standard input: expected UTF-8 text, got something else\n"
    else:
        assert json.loads(done.stdout)["allowed"] is True
        assert done.stderr == b""
