from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from models.features import FeatureSpace
from records.contract import Contract, load_contract
from records.minimize import MinimizedRows, minimized_rows
from records.sample.group import SampleGroup, write_sample_group
from records.table import Table, read_table


@pytest.fixture(scope="session")
def group(tmp_path_factory: pytest.TempPathFactory) -> SampleGroup:
    """The made-up group of five subsidiaries, on disk."""
    return write_sample_group(Path(tmp_path_factory.mktemp("group")))


@pytest.fixture(scope="session")
def group_contract(group: SampleGroup) -> Contract:
    return load_contract(group.contract)


@pytest.fixture(scope="session")
def group_frame(group: SampleGroup) -> pd.DataFrame:
    """All five tables as one, cells as text."""
    return pd.concat([read_table(site.table).frame for site in group.sites], ignore_index=True)


@pytest.fixture(scope="session")
def group_rows(group_frame: pd.DataFrame, group_contract: Contract) -> MinimizedRows:
    return minimized_rows(Table(group_frame, "the group"), group_contract)


@pytest.fixture(scope="session")
def group_space(group_contract: Contract) -> FeatureSpace:
    return FeatureSpace.from_contract(group_contract)
