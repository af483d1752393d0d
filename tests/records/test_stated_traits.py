from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from privacy.errors import InputError, VerificationFailed
from privacy.secret_files import create_secret, read_secret
from records.facts import Trait
from records.registry import load_registry
from records.stated_traits import stated
from records.store import Store, create_store
from records.vault import Vault, open_vault
from tests.records.store_folder import NOW

REGISTRY = load_registry()
SEX = REGISTRY.columns["protected.sex"].values


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(create_store(tmp_path / "alder", "Alder")) as store:
        yield store


@pytest.fixture
def vault(store: Store) -> Iterator[Vault]:
    with closing(open_vault(store)) as vault:
        yield vault


def auditor(store: Store) -> bytes:
    return read_secret(store.folder / "auditor.key")


def said(vault: Vault, source: str, **sexes: str) -> None:
    vault.put([Trait(who, {"sex": sex}, place) for place, (who, sex) in enumerate(sexes.items())], source, NOW)


def test_positions_come_in_the_order_asked_for(store: Store, vault: Vault) -> None:
    said(vault, "hris", s1="female", s2="male", s3="non-binary")
    found = stated(vault, REGISTRY, auditor(store), "sex", ["s3", "s1", "s2", "s1"])
    assert [SEX[place] for place in found] == ["non-binary", "female", "male", "female"]
    assert found.dtype == "int64"


def test_who_is_not_in_the_vault_or_there_without_the_trait_has_not_stated_it(store: Store, vault: Vault) -> None:
    vault.put([Trait("s1", {"age_band_40": "under 40"}, 0), Trait("s2", {"sex": "male"}, 1)], "hris", NOW)
    found = stated(vault, REGISTRY, auditor(store), "sex", ["s1", "s2", "nobody"])
    assert [SEX[place] for place in found] == ["not stated", "male", "not stated"]


def test_an_empty_vault_and_nobody_asked_for_are_answered(store: Store, vault: Vault) -> None:
    assert [SEX[place] for place in stated(vault, REGISTRY, auditor(store), "sex", ["s1"])] == ["not stated"]
    assert len(stated(vault, REGISTRY, auditor(store), "sex", [])) == 0


@pytest.mark.parametrize("last", ["employee", "hris"])
def test_a_persons_own_word_counts_before_another_sources(store: Store, vault: Vault, last: str) -> None:
    for source in sorted(("employee", "hris"), key=lambda one: one == last):
        said(vault, source, s1="non-binary" if source == "employee" else "male")
    assert SEX[stated(vault, REGISTRY, auditor(store), "sex", ["s1"])[0]] == "non-binary"


@pytest.mark.parametrize("trait", ["income", "", "protected.sex", "end_month"])
def test_a_trait_that_is_not_the_vaults_is_refused(store: Store, vault: Vault, trait: str) -> None:
    with pytest.raises(InputError, match="trait: expected one of the vault"):
        stated(vault, REGISTRY, auditor(store), trait, ["s1"])


def test_without_the_auditors_key_nothing_is_counted(store: Store, vault: Vault, tmp_path: Path) -> None:
    said(vault, "hris", s1="female")
    create_secret(tmp_path / "other.key")
    with pytest.raises(VerificationFailed):
        stated(vault, REGISTRY, read_secret(tmp_path / "other.key"), "sex", ["s1"])


def test_a_value_that_is_not_registered_is_refused_and_not_shown(store: Store, vault: Vault) -> None:
    said(vault, "hris", s1="canary-4711")
    with pytest.raises(VerificationFailed, match="expected one of the registered values") as refused:
        stated(vault, REGISTRY, auditor(store), "sex", ["s1"])
    assert "canary" not in str(refused.value)
