"""What the tests of `records` share: a small made-up table, its contract, and where the real tables lie."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from records.contract import Contract, parse_contract
from records.table import Table

SMALL_CONTRACT = """
purpose = "retention"

[label]
column = "left"
kind = "binary"
positive = ["yes"]
negative = ["no"]

[site]
column = "company"
[site.people_at_most]
"Alder" = 200
"Birch" = 200
"Cedar" = 100

[columns.hours]
kind = "number"
low = 0
high = 60
unit = "hours"
train = true

[columns.grade]
kind = "ordered"
values = ["low", "medium", "high"]
train = true

[columns.job]
kind = "category"
values = ["clerk", "driver", "nurse"]
train = true

[columns.gender]
kind = "category"
values = ["f", "m"]
train = false
protected = true

[columns.note]
kind = "text"
"""


def small_frame(rows: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "company": random.choice(["Alder", "Birch", "Cedar"], rows, p=[0.5, 0.3, 0.2]),
            "hours": [f"{hours:.1f}" for hours in random.uniform(20, 55, rows)],
            "grade": random.choice(["low", "medium", "high"], rows),
            "job": random.choice(["clerk", "driver", "nurse"], rows),
            "gender": random.choice(["f", "m"], rows),
            "note": [f"note {number}" for number in range(rows)],
            "left": random.choice(["yes", "no"], rows, p=[0.2, 0.8]),
        },
        dtype="str",
    )


@pytest.fixture
def contract() -> Contract:
    return parse_contract(SMALL_CONTRACT)


@pytest.fixture
def contract_text() -> str:
    return SMALL_CONTRACT


@pytest.fixture
def frame() -> pd.DataFrame:
    return small_frame()


@pytest.fixture
def table(frame: pd.DataFrame) -> Table:
    return Table(frame, "people")


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    """Writes bytes or text to a file of that name and returns its path."""

    def write(content: bytes | str, name: str = "people.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def real() -> Callable[[str], Path]:
    """The path of a real table, or a skip that says what is missing."""
    folder = Path(os.environ.get("KITH_DATA") or Path(__file__).parents[3] / "shared" / "data")

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"the real table {name} is not in {folder} (set KITH_DATA to its place)")
        return folder / name

    return find
