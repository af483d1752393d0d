"""Which ledger a site's guard charges: its own, for its own marks, as it last was; by what goes wrong with folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread, get_ident

import pytest

from federation.computing import Computing
from federation.guard import Guard
from federation.site import Site, create_site, load_site
from federation.source import source_of
from federation.training_run import plan_run
from federation.wire import Contribute, Finish
from models.planning import SECOND_MOMENTS
from privacy import ledger_place
from privacy.checkpoint import origin_of
from privacy.errors import InputError, Refused
from privacy.ledger import Ledger
from privacy.marks import MarkKey
from privacy.plan import Plan
from records.contract import load_contract
from tests.federation.tiny_group import TinyGroup, tiny_group
from tests.small_group import budget, settings


@pytest.fixture
def group(tmp_path: Path) -> TinyGroup:
    return tiny_group(tmp_path)


@pytest.fixture
def plan(group: TinyGroup) -> Plan:
    return plan_run(group.load(), settings())


def moments(plan: Plan, run: str = "run-1") -> Contribute:
    return Contribute(run, plan.to_bytes(), SECOND_MOMENTS, 0, b"")


def test_a_ledger_of_another_site_is_refused(group: TinyGroup) -> None:
    north, south = group.sites[:2]
    with pytest.raises(InputError, match="that of site 'South'"):
        Guard(replace(south, ledger=f"sqlite:///{north.folder / 'ledger.sqlite'}"))


def test_a_second_folder_under_the_same_name_can_not_charge_the_same_people_as_others(group: TinyGroup) -> None:
    """Its key of marks is another, under which nobody has been charged anything."""
    north = group.sites[0]
    second = create_site(north.folder.parent / "second", "North", north.source, north.contract, budget("10"))
    with pytest.raises(InputError, match="key of marks"):
        Guard(replace(second, ledger=f"sqlite:///{north.folder / 'ledger.sqlite'}"))


def test_a_new_key_of_marks_does_not_give_everybody_a_new_balance(group: TinyGroup, plan: Plan) -> None:
    north = group.sites[0]
    Guard(north).contribute(moments(plan))
    (north.folder / "marks.key").unlink()
    MarkKey.create(north.folder / "marks.key")
    with pytest.raises(InputError, match="key of marks"):
        Guard(load_site(north.folder))


def test_a_ledgers_path_is_relative_to_the_sites_folder(
    group: TinyGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From wherever a guard is started, it is the same ledger."""
    north = group.sites[0]
    folder = tmp_path / "other"
    create_site(folder, "North", north.source, north.contract, budget("10"), ledger="sqlite:///mine.sqlite")
    monkeypatch.chdir("/")
    assert load_site(folder).ledger_address == ledger_place.place_of(str(folder)) == folder / "mine.sqlite"
    load_site(folder).open_ledger().close()


def older_copy(site: Site, kept: Path) -> None:
    for path in site.folder.glob("ledger.sqlite*"):
        path.unlink()
    for path in kept.iterdir():
        shutil.copy(path, site.folder / path.name)


def new_empty(site: Site, kept: Path) -> None:
    del kept
    for path in site.folder.glob("ledger.sqlite*"):
        path.unlink()
    Ledger.create(site.folder / "ledger.sqlite", site.name, budget("10"), marks=site.marks.fingerprint).close()


def longer_fork(site: Site, kept: Path) -> None:
    older_copy(site, kept)
    ledger = site.open_ledger()
    one = plan_run(tiny_group(kept.parent / "to-plan").load(), settings())
    for number in range(5):
        ledger.reserve(f"other-{number}", one, [])
        ledger.end(f"other-{number}")
    ledger.close()


@pytest.mark.parametrize("ended", [True, False], ids=["after the run", "in the run"])
@pytest.mark.parametrize("attack", [older_copy, new_empty, longer_fork], ids=["older copy", "new", "longer fork"])
def test_a_ledger_put_back_is_refused_before_anybody_is_charged_again(
    group: TinyGroup, plan: Plan, tmp_path: Path, attack: Callable[[Site, Path], None], ended: bool
) -> None:
    """Without another site, and before rows are read: what was charged since the copy was made left the site."""
    site = group.sites[0]
    kept = tmp_path / "kept"
    kept.mkdir()
    for path in site.folder.glob("ledger.sqlite*"):
        shutil.copy(path, kept / path.name)
    guard = Guard(site)
    guard.contribute(moments(plan))
    if ended:
        guard.finish(Finish("run-1"))
    attack(site, kept)
    site.source.unlink()  # reading it would fail in other words
    for _ in range(2):
        with pytest.raises(Refused, match="own ledger kith/North has shrunk or forked"):
            Guard(site).contribute(moments(plan, "run-2"))
    assert site.witnessed.conflicts() == (origin_of("North"),)
    ledger = site.open_ledger()
    assert not ledger.knows("run-2")
    ledger.close()


def test_once_somebody_has_looked_into_it_the_site_goes_on(group: TinyGroup, plan: Plan, tmp_path: Path) -> None:
    site = group.sites[0]
    Guard(site).contribute(moments(plan))
    new_empty(site, tmp_path)
    with pytest.raises(Refused, match="own ledger"):
        Guard(site).contribute(moments(plan, "run-2"))
    site.witnessed.resolve(origin_of("North"), forget=True)
    Guard(site).contribute(moments(plan, "run-2"))


def test_two_runs_at_once_in_one_guard_use_each_its_own_members_rows(
    group: TinyGroup, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both threads have their rows before either goes on: the cache holds the other run's then."""
    site = group.sites[0]
    both, found, waited = Barrier(2), {}, set()

    class Cached(Computing):
        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_of_rows" and value is not None and get_ident() not in waited:
                waited.add(get_ident())
                both.wait(60)

    computing = Cached(site, load_contract(site.contract))
    members = {"run-1": ["1"], "run-2": [str(n) for n in range(24)]}
    compute = computing.of_release(plan.event(SECOND_MOMENTS), b"")

    def rows_of(run: str) -> None:
        marks = frozenset(site.marks.mark(one) for one in members[run])
        found[run] = (len(computing._rows_of(run, marks)[2]), compute(run, marks)[0])

    threads = [Thread(target=rows_of, args=[run]) for run in ("run-1", "run-2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {run: people for run, (people, _) in found.items()} == {"run-1": 1, "run-2": 24}
    one = 2 ** plan.event(SECOND_MOMENTS).grid
    assert {run: count / one for run, (_, count) in found.items()} == {"run-1": 1, "run-2": 24}


def test_a_key_in_another_unicode_form_is_the_same_person(group: TinyGroup) -> None:
    """Else one program's export would give everybody with an accent in their key a balance of nothing."""
    site = group.sites[0]
    seen = []
    for key in ("Zo\u00eb", "Zoe\u0308"):
        lines = site.source.read_text(encoding="utf-8").splitlines()
        site.source.write_text("\n".join([*lines[:-1], f"{key},North,no,1,home"]) + "\n", encoding="utf-8")
        seen.append(source_of(site, load_contract(site.contract)).rows().marks)
    assert seen[0] == seen[1]


def test_both_forms_in_one_table_are_one_person(group: TinyGroup) -> None:
    site = group.sites[0]
    with site.source.open("a", encoding="utf-8") as file:
        file.write("Zo\u00eb,North,no,1,home\nZoe\u0308,North,yes,9,office\n")
    found = source_of(site, load_contract(site.contract)).rows()
    assert len(set(found.marks)) == len(found.marks) == 25
    assert len(found.rows) == 26
