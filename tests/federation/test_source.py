"""Rows from a site's records: read under the basis that holds at that moment, also in the middle of a run."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from federation.group import create_group, load_group
from federation.guard import Guard
from federation.site import Site, create_site
from federation.source import source_of
from federation.training_run import plan_run
from federation.wire import Contribute
from models.planning import GRADIENT, SECOND_MOMENTS
from privacy.errors import InputError, Refused
from privacy.plan import Plan
from records.access import erase
from records.consent import record
from records.contract import load_contract
from records.registry import load_registry
from records.registry_contract import contract_text
from records.store import create_store, instant, open_store
from tests.federation.tiny_group import tiny_group
from tests.records.made_up_store import fact, put, said, subject
from tests.small_group import budget, settings

SITE = "Tessera Software"
PEOPLE = 40
NOW = datetime.now(UTC)
AS_OF = NOW.date().replace(year=NOW.year - 1, month=1, day=31)
SOMEBODY = subject(7)


def people(folder: Path, count: int = PEOPLE) -> None:
    """Records of made-up people: every fourth leaves in the half year after the day of the features."""
    with closing(create_store(folder, SITE)) as store:
        facts = []
        for number in range(count):
            start = f"{AS_OF.year - 1 - number % 9}-0{1 + number % 9}"
            stated = {"start_month": start, "job_family": "care" if number % 2 else "sales", "level_band": "entry"}
            facts.append(fact("person", subject(number), f"{start}-01", **stated))
            if number % 4 == 0:
                left = {"end_month": f"{AS_OF.year}-03", "exit_type": "voluntary"}
                facts.append(fact("person", subject(number), f"{AS_OF.year}-03-31", **stated, **left))
        put(store, *facts)
        for number in range(count):
            record(store, load_registry(), said(subject(number), "informed", instant(NOW)), NOW)


def site_at(folder: Path, count: int = PEOPLE) -> Site:
    contract = folder / "contract.toml"
    folder.mkdir()
    contract.write_text(contract_text(load_registry(), "retention", {SITE: 60, "Elsewhere": 10}, AS_OF, 6))
    people(folder / "records", count)
    noise = "seeded-for-tests:1"
    site = create_site(folder / "site", SITE, folder / "records", contract, budget(), noise)
    elsewhere = create_site(folder / "elsewhere", "Elsewhere", folder / "records", contract, budget(), noise)
    create_group(folder / "group", contract, [site, elsewhere])  # each in one of its own: they are variants of one site
    return site


def objects(site: Site) -> None:
    with closing(open_store(site.source)) as store:
        record(store, load_registry(), said(SOMEBODY, "objected", instant(NOW)), NOW)


def plan_of(site: Site) -> Plan:
    return plan_run(load_group(site.folder.parent / "group"), settings())


def moments(guard: Guard, plan: Plan, run: str = "run-1") -> bytes:
    return guard.contribute(Contribute(run, plan.to_bytes(), SECOND_MOMENTS, 0, b"")).values


def gradient(guard: Guard, plan: Plan) -> bytes:
    state = np.zeros(plan.event(GRADIENT).coordinates).astype("<f8").tobytes()
    return guard.contribute(Contribute("run-1", plan.to_bytes(), GRADIENT, 0, state)).values


def test_whoever_objects_between_two_rounds_is_in_no_later_one(tmp_path: Path) -> None:
    everybody, without, later = (site_at(tmp_path / name) for name in ("everybody", "without", "later"))
    plan = plan_of(everybody)
    objects(without)
    guards = {name: Guard(site) for name, site in (("all", everybody), ("one less", without), ("later", later))}
    first = {name: moments(guard, plan) for name, guard in guards.items()}
    objects(later)
    second = {name: gradient(guard, plan) for name, guard in guards.items()}
    assert first["later"] == first["all"] != first["one less"]  # the tests' noise is the same at all three
    assert second["later"] == second["one less"] != second["all"]


def test_rows_are_read_again_only_if_the_records_have_changed(tmp_path: Path) -> None:
    site = site_at(tmp_path / "a")
    source = source_of(site, load_contract(site.contract))
    first = source.rows()
    assert source.rows() is first
    objects(site)
    assert len(source.rows().rows) == len(first.rows) - 1


def test_whoever_is_erased_in_the_middle_of_a_run_is_in_no_later_round(tmp_path: Path) -> None:
    site = site_at(tmp_path / "a")
    source = source_of(site, load_contract(site.contract))
    first = source.rows()
    with closing(open_store(site.source)) as store:
        erase(store, SOMEBODY, NOW)
    assert len(source.rows().rows) == len(first.rows) - 1


def test_records_below_the_bar_are_refused_with_the_reasons(tmp_path: Path) -> None:
    site = site_at(tmp_path / "few", count=19)
    with pytest.raises(Refused, match="19 labelled people whose records may be used: expected at least 20"):
        source_of(site, load_contract(site.contract)).rows()


def test_the_reasons_stay_at_the_site(tmp_path: Path) -> None:
    site = site_at(tmp_path / "few", count=19)
    with pytest.raises(Refused) as refusal:
        moments(Guard(site), plan_of(site))
    assert str(refusal.value) == f"site {SITE!r}: its rows can not be used; its own log says why"


def appears(site: Site) -> None:
    """Somebody's records come in who was not there before; they would count like everybody else's."""
    with closing(open_store(site.source)) as store:
        stated = {"start_month": f"{AS_OF.year - 3}-02", "job_family": "care", "level_band": "entry"}
        put(store, fact("person", subject(PEOPLE), f"{AS_OF.year - 3}-02-01", **stated))
        record(store, load_registry(), said(subject(PEOPLE), "informed", instant(NOW)), NOW)


def test_whoever_is_hired_between_two_rounds_is_in_none_of_the_run_and_in_the_next(tmp_path: Path) -> None:
    plain, hiring = site_at(tmp_path / "plain"), site_at(tmp_path / "hiring")
    plan = plan_of(plain)
    guards = {"plain": Guard(plain), "hiring": Guard(hiring)}
    assert moments(guards["plain"], plan) == moments(guards["hiring"], plan)
    appears(hiring)
    assert len(source_of(hiring, load_contract(hiring.contract)).rows().rows) == PEOPLE + 1
    assert gradient(guards["plain"], plan) == gradient(guards["hiring"], plan)
    again = {name: moments(guard, plan, "run-2") for name, guard in guards.items()}
    assert again["plain"] != again["hiring"]


def test_an_employees_mark_is_of_the_stores_pseudonym(tmp_path: Path) -> None:
    site = site_at(tmp_path / "a")
    found = source_of(site, load_contract(site.contract)).rows()
    assert sorted(found.employees) == sorted(subject(number) for number in range(PEOPLE))
    assert found.marks == tuple(site.marks.mark(employee) for employee in found.employees)


def test_rows_of_some_marks_are_exactly_those_employees_rows(tmp_path: Path) -> None:
    site = site_at(tmp_path / "a")
    found = source_of(site, load_contract(site.contract)).rows()
    some = frozenset(found.marks[::3])
    kept = found.of(some)
    assert [found.marks[number] in some for number in found.rows.employee].count(True) == len(kept) > 0
    assert {found.marks[number] for number in kept.employee} == some
    assert len(found.of(frozenset())) == 0


def test_a_table_knows_its_people_by_the_employee_column_or_by_the_place_of_a_row(tmp_path: Path) -> None:
    group = tiny_group(tmp_path)
    site = group.sites[0]
    contract = load_contract(site.contract)
    by_column = source_of(site, contract).rows()
    assert by_column.employees == tuple(str(n) for n in range(24))
    assert by_column.marks == tuple(site.marks.mark(str(n)) for n in range(24))
    by_place = source_of(site, replace(contract, employee=None)).rows()
    assert by_place.employees == tuple(f"row {n}" for n in range(24))


def test_all_rows_of_an_employee_have_one_mark(tmp_path: Path) -> None:
    site = tiny_group(tmp_path).sites[0]
    lines = site.source.read_text(encoding="utf-8").splitlines()
    site.source.write_text("\n".join([*lines, *lines[1:5]]) + "\n", encoding="utf-8")
    found = source_of(site, load_contract(site.contract)).rows()
    assert (len(found.rows), len(found.marks)) == (28, 24)
    assert len(found.of(frozenset(found.marks[:4]))) == 8


def test_records_need_a_contract_that_names_an_employee_column(tmp_path: Path) -> None:
    site = site_at(tmp_path / "a")
    with pytest.raises(InputError, match="employee"):
        source_of(site, replace(load_contract(site.contract), employee=None))


def test_a_fairness_count_is_refused_where_there_is_no_vault_or_no_auditors_key(tmp_path: Path) -> None:
    records = site_at(tmp_path / "records")
    table = tiny_group(tmp_path / "tiny").sites[0]
    plan = plan_of(records)
    asked = replace(plan, events=(*plan.events, replace(plan.events[0], name="fairness-sex")))
    with pytest.raises(Refused, match="vault"):
        source_of(table, load_contract(table.contract)).check(asked)
    source = source_of(records, load_contract(records.contract))
    source.check(asked)
    (records.source / "auditor.key").unlink()
    with pytest.raises(Refused, match="auditor"):
        source.check(asked)
    source.check(plan)
