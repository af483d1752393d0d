"""Figures to reach on public tables of ../shared/data, with noise that is seeded: the same every time."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks.school import DELTA, FILE, HELD_OUT, school_contract, school_table
from models.evaluation import evaluate
from privacy.plan import LOCAL
from privacy.randomness import seeded_source
from records.contract import NumberLabel, parse_contract
from records.draft import draft_contract
from records.minimize import minimized_rows
from records.table import read_table

DATA = Path(os.environ.get("KITH_DATA") or Path(__file__).parents[3] / "shared" / "data")
JOBCHANGE = DATA / "ds_jobchange" / "aug_train.csv.gz"
needs_school = pytest.mark.skipif(not (DATA / FILE).exists(), reason=f"no {FILE} under {DATA} (set KITH_DATA)")
needs_jobchange = pytest.mark.skipif(not JOBCHANGE.exists(), reason=f"no ds_jobchange under {DATA} (set KITH_DATA)")


@needs_school
def test_the_school_file_is_read_whole() -> None:
    table = school_table(DATA / FILE)
    contract = school_contract(table)
    rows = minimized_rows(table, contract)
    assert isinstance(contract.label, NumberLabel)
    assert (contract.label.low, contract.label.high) == (1, 70)
    assert (len(rows), len(rows.site_names), len(contract.features)) == (15362, 139, 27)
    assert (rows.label.min(), rows.label.max()) == (0, 1)


@needs_school
@pytest.mark.long
@pytest.mark.parametrize(("epsilon", "error"), [("6", 0.0224), ("1", 0.0238)])
def test_schools_reach_the_published_error_at_a_budget_that_is_proved(epsilon: str, error: float) -> None:
    table = school_table(DATA / FILE)
    contract = school_contract(table)
    rows = minimized_rows(table, contract)
    found = evaluate(contract, rows, Decimal(epsilon), DELTA, LOCAL, range(3), seeded_source(1), share=HELD_OUT)
    assert found.mean("personal") <= error


@needs_jobchange
@pytest.mark.long
@pytest.mark.parametrize(("trust", "least"), [("secure-sum", 0.785), ("local", 0.765)])
def test_ds_jobchange_by_city(trust: str, least: float) -> None:
    table = read_table(JOBCHANGE)
    contract = parse_contract(draft_contract(table, "target", "city"), "ds_jobchange")
    rows = minimized_rows(table, contract)
    found = evaluate(contract, rows, Decimal(1), Decimal("0.00001"), trust, range(3), seeded_source(1), min_site=30)
    assert found.mean("federated") >= least
