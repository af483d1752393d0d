"""The command line as a person meets it: real processes, exit codes, one clear line."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from federation.embedded import run_embedded
from federation.training_run import plan_run
from models.planning import ROUNDS
from records.sample.group import write_sample_group
from tests.federation.tiny_group import tiny_group
from tests.privacy import small_release
from tests.small_group import budget, settings

KITH = [sys.executable, "-m", "kith"]
ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("KITH_DATA", ROOT.parent / "shared" / "data"))


def kith(*arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*KITH, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All five made-up subsidiaries in one table."""
    folder = tmp_path_factory.mktemp("table")
    sample = write_sample_group(folder)
    path = folder / "all.csv"
    pd.concat([pd.read_csv(site.table, dtype=str, keep_default_na=False) for site in sample.sites]).to_csv(
        path, index=False
    )
    return path


@pytest.fixture(scope="module")
def contract(table: Path) -> Path:
    return table.parent / "contract.toml"


def test_help_shows_every_command_of_this_version() -> None:
    shown = kith("--help").stdout
    for command in (
        "demo",
        "contract",
        "evaluate",
        "plan",
        "train",
        "verify",
        "budget",
        "ledger",
        "keys",
        "serve",
        "token",
    ):
        assert command in shown


def test_a_contract_is_drafted_checked_and_evaluated(table: Path, tmp_path: Path) -> None:
    drafted = kith(
        "contract", "draft", table, "--label", "left", "--site", "subsidiary", "--employee", "employee_key"
    ).stdout
    assert "confirm = true" in drafted
    (tmp_path / "contract.toml").write_text(drafted, encoding="utf-8")
    report = json.loads(kith("contract", "check", tmp_path / "contract.toml", table, "--json").stdout)
    assert report["people"] == 5280
    predictions = tmp_path / "predictions.csv"
    done = kith(
        *("evaluate", "--contract", tmp_path / "contract.toml", "--data", table, "--epsilon", "1", "--delta", "1e-5"),
        *("--trust", "local", "--seeds", "2", "--predictions", predictions, "--json"),
    )
    assert "confirm = true" in done.stderr  # the warning
    figures = json.loads(done.stdout)
    assert figures["models"]["federated"]["overall"] > figures["models"]["local_only"]["within"] > 0.5
    lines = list(csv.DictReader(predictions.open(encoding="utf-8")))
    frame = pd.read_csv(table, dtype=str)
    assert list(lines[0]) == ["seed", "row", "site", "label", "federated", "personal", "local_only"]
    assert {line["seed"] for line in lines} == {"0", "1"}
    assert len(lines) == 2 * figures["held_out"]
    for line in lines[:: len(lines) // 50]:
        row = frame.iloc[int(line["row"])]
        assert line["site"] == row["subsidiary"]
        assert line["label"] == ("1" if row["left"] == "yes" else "0")
        assert all(np.isfinite(float(line[model])) for model in ("federated", "personal", "local_only"))


def test_a_trust_that_is_none_is_refused_with_those_that_there_are(table: Path, contract: Path) -> None:
    done = kith(
        *("evaluate", "--contract", contract, "--data", table, "--epsilon", "1", "--delta", "1e-5"),
        *("--trust", "everybody"),
        code=2,
    )
    assert "secure-sum" in done.stderr
    assert "local" in done.stderr


def missing_column(text: str) -> bytes:
    return "\n".join(",".join(line.split(",")[:-1]) for line in text.splitlines()).encode()


def unknown_category(text: str) -> bytes:
    return text.replace("remote", "on the moon").encode()


def in_the_hours(cell: str) -> Callable[[str], bytes]:
    def change(text: str) -> bytes:
        lines = [line.split(",") for line in text.splitlines()]
        lines[5][lines[0].index("overtime_hours")] = cell
        return "\n".join(map(",".join, lines)).encode()

    return change


def one_site(text: str) -> bytes:
    header, *lines = text.splitlines()
    return "\n".join([header, *(line for line in lines if "Tessera" in line)]).encode()


def one_class(text: str) -> bytes:
    header, *lines = text.splitlines()
    place = header.split(",").index("left")
    return "\n".join([header, *(line for line in lines if line.split(",")[place] == "no")]).encode()


@pytest.mark.parametrize(
    "spoil",
    [
        missing_column,
        unknown_category,
        in_the_hours("NaN"),
        in_the_hours("inf"),
        in_the_hours("x" * 10_000_000),
        lambda text: text.replace("hybrid", "hybr\u00efd").encode("utf-16"),
        lambda _: b"",
        one_site,
        one_class,
    ],
    ids=[
        "missing column",
        "unknown category",
        "NaN",
        "infinity",
        "10 MB field",
        "encoding",
        "empty",
        "one site",
        "one class",
    ],
)
def test_a_bad_table_ends_with_one_clear_line_and_exit_2(
    table: Path, contract: Path, tmp_path: Path, spoil: Callable[[str], bytes]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_bytes(spoil(table.read_text(encoding="utf-8")))
    done = kith("evaluate", "--contract", contract, "--data", bad, "--epsilon", "1", "--delta", "1e-5", code=2)
    assert done.stdout == ""
    assert done.stderr.startswith("kith: ")
    assert done.stderr.count("\n") == 1
    assert "expected" in done.stderr
    assert len(done.stderr) < 500


@pytest.mark.parametrize(
    "amounts",
    [("0", "1e-5"), ("-1", "1e-5"), ("nan", "1e-5"), ("1", "0"), ("1", "2"), ("one", "1e-5"), ("1e9", "1e-5")],
)
def test_an_impossible_budget_ends_with_one_clear_line_and_exit_2(
    table: Path, contract: Path, amounts: tuple[str, str]
) -> None:
    epsilon, delta = amounts
    done = kith("evaluate", "--contract", contract, "--data", table, f"--epsilon={epsilon}", f"--delta={delta}", code=2)
    assert done.stderr.count("\n") == 1
    assert "expected" in done.stderr


def test_verify_exits_0_1_or_2(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    release = run_embedded(group.group, group.folders, settings(), tmp_path / "run")
    verdict = json.loads(kith("verify", release, "--keys", group.group / "roots.json", "--json").stdout)
    assert verdict["ok"] is True
    card = release / "card.json"
    card.write_bytes(card.read_bytes().replace(b"people", b"People", 1))
    done = kith("verify", release, "--json", code=1)
    assert json.loads(done.stdout)["failed"] == 4
    assert "card.json" in done.stderr
    kith("verify", tmp_path / "nowhere", code=2)
    kith("verify", code=2)
    shown = kith("budget", "show", *group.folders, "--json").stdout
    assert [site["site"] for site in json.loads(shown)["sites"]] == [site.name for site in group.sites]


def test_train_makes_a_release_that_follows_another_with_measures_and_an_audit(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    sites = [part for folder in group.folders for part in ("--site", folder)]
    asked = ("train", "--group", group.group, *sites, "--epsilon", "1", "--delta", "1e-5", "--runs", tmp_path / "runs")
    first = json.loads(kith(*asked, "--measure", "head-count", "--json").stdout)["release"]
    assert (Path(first) / "measures.json").exists()
    audit = tmp_path / "audit.json"
    audit.write_bytes(small_release.audit(plan_run(group.load(), settings(rounds=ROUNDS))))
    second = json.loads(kith(*asked, "--prior", first, "--audit", audit, "--json").stdout)["release"]
    asked_of = ("--keys", group.group / "roots.json", "--prior", first, "--json")
    assert json.loads(kith("verify", second, *asked_of).stdout)["ok"] is True
    assert (Path(second) / "audit.json").read_bytes() == audit.read_bytes()
    assert "measures" in kith(*asked, "--measure", "raw-rows", code=2).stderr


def test_train_refuses_what_nobodys_budget_holds(tmp_path: Path) -> None:
    group = tiny_group(tmp_path, allowed=budget("0.05"))
    sites = [part for folder in group.folders for part in ("--site", folder)]
    asked = ("train", "--group", group.group, *sites, "--epsilon", "1", "--delta", "1e-5", "--runs", tmp_path / "runs")
    refused = kith(*asked, code=1)
    said = refused.stderr.splitlines()[-1]
    assert "0.05" in said
    assert "--resume" in said


@pytest.mark.slow
def test_the_demonstration_runs_once_and_prints_one_json_object(tmp_path: Path) -> None:
    done = kith("demo", "--once", "--json", "--runs", tmp_path)
    told = json.loads(done.stdout)
    assert told["verified"]["ok"] is True
    assert len(told["sites"]) == 5
    assert {site["without_budget"] for site in told["sites"]} == {0}
    assert told["service"]["decision"]["status"] == "approved"
    explained = told["service"]["explanation"]
    assert explained["intercept"] + sum(term["points"] for term in explained["terms"]) == pytest.approx(
        explained["score"]
    )
    federated = np.mean([site["auc_federated"] for site in told["sites"]])
    local = np.mean([site["auc_local"] for site in told["sites"]])
    assert federated > local + 0.03  # five subsidiaries of 60 to 3,000 people: together they see what none sees alone
    smallest = min(told["sites"], key=lambda site: site["people"])
    assert smallest["auc_federated"] > 0.65


@pytest.mark.slow
def test_ending_the_demonstration_ends_its_service(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [*KITH, "demo", "--runs", str(tmp_path), "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as running:
        assert running.stdout is not None
        told = ""
        while "serving until" not in told:
            line = running.stdout.readline()
            assert line, told
            told += line
        assert f"http://127.0.0.1:{port}/v1/explain" in told  # the lines for curl
        running.terminate()
        assert running.wait(60) == 128 + 15
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "ds_jobchange").exists(), reason=f"no ds_jobchange under {DATA} (set KITH_DATA)")
def test_ds_jobchange_by_company_type_reaches_775_with_each_site_adding_its_own_noise(tmp_path: Path) -> None:
    data = DATA / "ds_jobchange" / "aug_train.csv.gz"
    contract = tmp_path / "contract.toml"
    contract.write_text(
        kith("contract", "draft", data, "--label", "target", "--site", "company_type").stdout, encoding="utf-8"
    )
    asked = (
        "evaluate",
        "--contract",
        contract,
        "--data",
        data,
        "--epsilon",
        "1",
        "--delta",
        "1e-5",
        "--trust",
        "local",
    )
    figures = json.loads(kith(*asked, "--seeds", "3", "--json").stdout)
    assert figures["models"]["federated"]["overall"] >= 0.775
    assert 0.9999 < float(figures["epsilon"]) <= 1
