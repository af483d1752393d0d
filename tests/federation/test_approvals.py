"""What a site's people must see first: nobody but they can approve, and nothing starts before they have."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

import kith
from federation.admission import Admission
from federation.approvals import APPROVALS_FILE, APPROVE, MAX_WAITING, REFUSE, Approvals, Shown, Waiting
from federation.guard import Guard
from federation.opening_hours import Hours
from federation.policy import Approver, Review
from federation.policy_file import POLICY_FILE, load_policy, write_policy
from federation.sealed import open_reply, seal_request
from federation.site import Site
from federation.training_run import plan_run
from federation.wire import Contribute, Contribution, Message, Refusal
from models.planning import SECOND_MOMENTS
from privacy.dsse import Envelope
from privacy.errors import InputError, KithError, Refused
from privacy.plan import Plan, SiteBound
from privacy.signing import Signer, create_key, verifier
from tests.federation.guards import ALWAYS
from tests.federation.tiny_group import TinyGroup, tiny_group
from tests.small_group import settings

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
COORDINATOR = "ab" * 32
OVERWRITING = "nightly\x1b[0m\n  cost        epsilon 0.01 at delta 1e-9\n  leaves      1 number, once\x1b[8m\u202e"


class Scene:
    """A site whose policy wants approvals, and the keys of two approvers and a stranger."""

    def __init__(self, folder: Path, review: Review) -> None:
        self.group: TinyGroup = tiny_group(folder)
        self.site: Site = self.group.sites[0]
        self.keys: dict[str, Signer] = {name: create_key(folder / f"{name}.pem") for name in ("ana", "bo", "stranger")}
        self.key_files = {name: f"file:{folder / f'{name}.pem'}" for name in self.keys}
        approvers = tuple(Approver(name, self.keys[name].public.hex()) for name in ("ana", "bo"))
        self.allow(review=review, approvers=approvers)
        self.plan: Plan = plan_run(self.group.load(), settings())
        self.ledger = self.site.open_ledger()
        self.admission = Admission(self.site, self.ledger)

    @property
    def approvals(self) -> Approvals:
        return self.admission.approvals

    def allow(self, **changes: object) -> None:
        path = self.site.folder / POLICY_FILE
        policy = replace(load_policy(path), **changes)  # type: ignore[arg-type]
        path.unlink()
        write_policy(path, policy)

    def admit(self, run: str = "run-1", plan: Plan | None = None, now: datetime = NOW) -> None:
        self.admission.admit(run, plan or self.plan, COORDINATOR, now)

    def begin(self, run: str = "run-1", now: datetime = NOW) -> None:
        """What a guard does at a run's first contribution."""
        self.admit(run, now=now)
        self.admission.start(run, self.plan, COORDINATOR, now)
        self.ledger.reserve(run, self.plan, ())

    def shown(self, run: str = "run-1") -> Shown:
        return next(one for one in self.approvals.shown(self.site.policy.approvers) if one.run == run)

    def decide(self, who: str, verdict: str = APPROVE, run: str = "run-1") -> None:
        self.approvals.decide(self.shown(run), verdict, self.keys[who], self.site.policy.approvers, NOW)

    def kept(self) -> sqlite3.Connection:
        return sqlite3.connect(self.site.folder / APPROVALS_FILE)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, Review(2))


def test_a_run_waits_until_two_different_people_have_approved_its_plan(scene: Scene) -> None:
    for who in ("ana", "ana", "bo"):
        with pytest.raises(Waiting, match="waits for approval by 2"):
            scene.admit()
        scene.decide(who)
    scene.begin()
    assert scene.shown().started == NOW


def test_without_a_review_a_plan_is_shown_all_the_same(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Review(0))
    scene.begin()
    assert (scene.shown().digest, scene.shown().started) == (scene.plan.digest, NOW)


def test_an_approval_is_for_one_run_alone(scene: Scene) -> None:
    approve_and_start(scene)
    with pytest.raises(Waiting):
        scene.admit("run-2")


def approve_and_start(scene: Scene, run: str = "run-1") -> None:
    with pytest.raises(Waiting):
        scene.admit(run)
    scene.decide("ana", run=run)
    scene.decide("bo", run=run)
    scene.begin(run)


def test_where_only_new_plans_are_reviewed_the_same_plan_runs_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Review(2, "new"))
    approve_and_start(scene)
    scene.admit("run-2")
    other = plan_run(scene.group.load(), settings(rounds=4))
    with pytest.raises(Waiting):
        scene.admit("run-3", other)


def test_a_plan_that_ran_without_approval_does_not_pass_for_approved(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Review(0))
    scene.begin()
    scene.allow(review=Review(1, "new"))
    with pytest.raises(Waiting):
        scene.admit("run-2")


def test_a_plan_that_was_refused_in_one_run_waits_again_under_another_run_id(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Review(2, "new"))
    approve_and_start(scene)
    scene.begin("run-2")  # it was approved before
    scene.decide("ana", REFUSE, run="run-2")
    with pytest.raises(Refused, match="refused it"):
        scene.admit("run-2")
    with pytest.raises(Waiting, match="by 2"):
        scene.admit("run-3")
    scene.decide("ana", APPROVE, run="run-2")  # takes the refusal back
    scene.admit("run-3")


def test_a_refusal_outweighs_approvals_and_stops_a_run_that_has_started(scene: Scene) -> None:
    approve_and_start(scene)
    scene.decide("ana", REFUSE)
    with pytest.raises(Refused, match="refused it") as refusal:
        scene.admit()
    assert not isinstance(refusal.value, Waiting)


def test_a_stranger_can_neither_approve_nor_refuse(scene: Scene) -> None:
    with pytest.raises(Waiting):
        scene.admit()
    for verdict in (APPROVE, REFUSE):
        with pytest.raises(Refused, match="expected an approver's"):
            scene.decide("stranger", verdict)


def test_an_approver_whom_the_policy_drops_has_approved_nothing(scene: Scene) -> None:
    approve_and_start(scene)
    stranger = Approver("new", scene.keys["stranger"].public.hex())
    scene.allow(approvers=(scene.site.policy.approvers[0], stranger))
    with pytest.raises(Waiting, match="so far 1"):
        scene.admit()


def test_another_plan_or_coordinator_under_an_approved_run_is_refused(scene: Scene) -> None:
    approve_and_start(scene)
    with pytest.raises(Refused, match="expected the plan and coordinator"):
        scene.admit(plan=plan_run(scene.group.load(), settings(rounds=4)))
    with pytest.raises(Refused, match="expected the plan and coordinator"):
        scene.admission.admit("run-1", scene.plan, "cd" * 32, NOW)


# Whoever edits the file


def test_rows_that_nobody_signed_approve_nothing(scene: Scene) -> None:
    with pytest.raises(Waiting):
        scene.admit()
    with scene.kept() as kept:
        for keyid in (scene.keys["ana"].keyid, scene.keys["bo"].keyid):
            kept.execute("INSERT INTO decisions VALUES ('run-1', ?, ?)", (keyid, b'{"verdict":"approve"}'))
        kept.execute("UPDATE shown SET started = 1")
    with pytest.raises(Waiting, match="so far 0"):
        scene.admit()


def test_one_approval_under_two_names_is_one(scene: Scene) -> None:
    with pytest.raises(Waiting):
        scene.admit()
    scene.decide("ana")
    with scene.kept() as kept:
        kept.execute("INSERT INTO decisions SELECT run, ?, envelope FROM decisions", (scene.keys["bo"].keyid,))
    with pytest.raises(Waiting, match="so far 1"):
        scene.admit()


def test_an_approval_moved_to_another_run_or_site_is_none(scene: Scene, tmp_path: Path) -> None:
    approve_and_start(scene)
    with pytest.raises(Waiting):
        scene.admit("run-2")
    with scene.kept() as kept:
        kept.execute("INSERT INTO decisions SELECT 'run-2', keyid, envelope FROM decisions")
        rows = kept.execute("SELECT * FROM decisions WHERE run = 'run-1'").fetchall()
    with pytest.raises(Waiting, match="so far 0"):
        scene.admit("run-2")
    other = Admission(scene.group.sites[1], scene.group.sites[1].open_ledger())
    path = scene.group.sites[1].folder / POLICY_FILE
    path.unlink()
    write_policy(path, scene.site.policy)
    with pytest.raises(Waiting):
        other.admit("run-1", scene.plan, COORDINATOR, NOW)
    with sqlite3.connect(scene.group.sites[1].folder / APPROVALS_FILE) as kept:
        kept.executemany("INSERT INTO decisions VALUES (?, ?, ?)", rows)
    with pytest.raises(Waiting, match="so far 0"):
        other.admit("run-1", scene.plan, COORDINATOR, NOW)


def test_a_refusal_can_not_be_turned_into_an_approval(scene: Scene) -> None:
    with pytest.raises(Waiting):
        scene.admit()
    scene.decide("ana", REFUSE)
    with scene.kept() as kept:
        (envelope,) = kept.execute("SELECT envelope FROM decisions").fetchone()
        refused = Envelope.from_bytes(envelope)
        approved = replace(refused, payload=refused.payload.replace(b'"refuse"', b'"approve"'))
        kept.execute("UPDATE decisions SET envelope = ?", (approved.to_bytes(),))
    with pytest.raises(Waiting, match="so far 0"):
        scene.admit()


def test_an_approver_is_never_shown_another_plan_than_the_one_that_is_signed(scene: Scene) -> None:
    with pytest.raises(Waiting):
        scene.admit()
    harmless = plan_run(scene.group.load(), settings(epsilon="0.1"))
    with scene.kept() as kept:
        kept.execute("UPDATE shown SET plan = ?", (harmless.to_bytes(),))
    with pytest.raises(KithError, match="expected the plan with its digest"):
        scene.shown()
    with scene.kept() as kept:
        kept.execute("UPDATE shown SET digest = ?", (harmless.digest,))
    scene.decide("ana")  # of the harmless one, as shown
    with pytest.raises(Refused, match="expected the plan and coordinator"):
        scene.admit()


@pytest.mark.parametrize("damage", [b"", b"SQLite format 3\0" + b"x" * 4096, b"no database"])
def test_a_damaged_file_lets_nothing_start(scene: Scene, damage: bytes) -> None:
    (scene.site.folder / APPROVALS_FILE).write_bytes(damage)
    with pytest.raises(KithError):
        scene.admit()


# Bounds


def test_few_plans_wait_at_a_time(scene: Scene) -> None:
    for number in range(MAX_WAITING):
        with pytest.raises(Waiting):
            scene.admit(f"run-{number}")
    with pytest.raises(Refused, match="too many"):
        scene.admit("one-more")
    scene.decide("ana", REFUSE, run="run-7")  # somebody looked
    with pytest.raises(Waiting):
        scene.admit("one-more")
    with pytest.raises(Refused, match="too many"):
        scene.admit("two-more")
    with pytest.raises(Waiting):
        scene.admit("two-more", now=NOW + timedelta(days=31))


def test_runs_per_week_are_counted_from_what_the_site_has_seen_start(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Review(0))
    scene.allow(runs_per_week=2)
    for run in ("run-1", "run-2"):
        scene.begin(run)
    with pytest.raises(Refused, match="runs_per_week"):
        scene.admit("run-3")
    scene.admit("run-1")  # goes on
    scene.begin("run-3", now=NOW + timedelta(days=7, seconds=1))


def test_starts_can_not_be_saved_up_by_requests_that_come_to_nothing(tmp_path: Path) -> None:
    scene, now = Scene(tmp_path, Review(0)), [NOW]
    scene.allow(runs_per_week=1)
    guard = Guard(scene.site, clock=lambda: now[0])
    for number in range(3):
        with pytest.raises(KithError, match="state"):
            guard.contribute(replace(asked(scene, f"run-{number}"), state=b"x"))
        now[0] += timedelta(days=7)
    guard.contribute(asked(scene, "run-0"))
    for number in (1, 2):
        with pytest.raises(Refused, match="runs_per_week"):
            guard.contribute(asked(scene, f"run-{number}"))
    assert scene.approvals.starts() == (now[0],)
    assert list(scene.ledger.open_runs) == ["run-0"]


def test_a_start_that_died_before_it_reserved_counts_when_it_is_made_again(tmp_path: Path) -> None:
    scene, later = Scene(tmp_path, Review(0)), NOW + timedelta(days=30)
    scene.allow(runs_per_week=1)
    for run, now in (("run-1", NOW), ("run-2", NOW + timedelta(days=8))):
        scene.admission.start(run, scene.plan, COORDINATOR, now)  # and then the guard died
    scene.begin("run-1", now=later)
    with pytest.raises(Refused, match="runs_per_week"):
        scene.admit("run-2", now=later)


def test_two_runs_that_were_both_admitted_do_not_both_start(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Review(0))
    scene.allow(runs_per_week=1)
    scene.admit("run-1")
    scene.admit("run-2")
    scene.begin("run-1")
    with pytest.raises(Refused, match="runs_per_week"):
        scene.admission.start("run-2", scene.plan, COORDINATOR, NOW)
    assert [one.run for one in scene.approvals.shown(())] == ["run-1"]


@pytest.mark.parametrize("needed", [0, 2])
def test_run_ids_that_the_policy_refuses_do_not_lock_the_site(tmp_path: Path, needed: int) -> None:
    scene, night = Scene(tmp_path, Review(needed)), NOW.replace(hour=23)
    scene.allow(hours=(Hours.from_text("Mon-Fri 07:00-19:00"),))
    for number in range(MAX_WAITING + 1):
        with pytest.raises(Refused, match="hours"):
            scene.admit(f"night-{number}", now=night)
    assert scene.approvals.shown(()) == ()
    if needed:
        with pytest.raises(Waiting):
            scene.admit("day")
    else:
        scene.admit("day")


def test_plans_that_nobody_need_see_take_no_place_among_those_that_wait(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Review(0))
    for number in range(MAX_WAITING + 1):
        scene.admit(f"run-{number}")
    scene.allow(review=Review(1))
    with pytest.raises(Waiting):
        scene.admit("one-more")


def test_a_run_that_has_started_goes_on_only_within_the_hours(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Review(0))
    scene.allow(hours=(Hours.from_text("Mon-Fri 07:00-19:00"),))
    scene.begin()
    with pytest.raises(Refused, match="hours"):
        scene.admit(now=NOW + timedelta(hours=12))
    scene.admit(now=NOW + timedelta(hours=24))


# Through the guard and the command line


def asked(scene: Scene, run: str = "run-1") -> Contribute:
    return Contribute(run, scene.plan.to_bytes(), SECOND_MOMENTS, 0, b"")


def ask(scene: Scene, guard: Guard, run: str = "run-1") -> Message:
    sites = {site.name: verifier(site.signer.public) for site in scene.group.sites}
    request = asked(scene, run)
    sealed = seal_request(request, scene.group.load().signer, ALWAYS)
    return open_reply(guard.answer(sealed), sealed, sites)[1]


def kith_guard(*words: str) -> str:
    done = CliRunner().invoke(kith.app, ["guard", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_guard_says_that_it_waits_and_reads_nothing_until_people_have_approved(scene: Scene) -> None:
    kept = scene.site.source.read_bytes()
    scene.site.source.unlink()
    guard = Guard(scene.site)
    folder = str(scene.site.folder)
    for who in ("ana", "bo"):
        waiting = ask(scene, guard)
        assert isinstance(waiting, Refusal)
        assert waiting.waiting
        (told,) = json.loads(kith_guard("plans", folder, "--json"))["plans"]
        assert (told["state"], told["purpose"], told["trust"]) == ("waiting", "retention", "local")
        assert told["other_sites"] == ["South", "West"]
        assert 0.9 < float(told["epsilon"]) <= 1
        assert [one["event"] for one in told["leaves"]] == ["second-moments", "gradient"]
        kith_guard("approve", folder, told["plan"], "--key", scene.key_files[who])
    scene.site.source.write_bytes(kept)
    assert isinstance(ask(scene, guard), Contribution)
    text = kith_guard("plans", folder)
    for words in ("approve by ana; approve by bo", "3 times", "epsilon", "South, West"):
        assert words in text


@pytest.mark.parametrize("run", [OVERWRITING, "run-1\n", "", "\u202enur", "x" * 101, "../run"])
def test_a_run_id_that_could_write_over_what_approvers_read_is_refused_and_not_shown(scene: Scene, run: str) -> None:
    with pytest.raises(InputError, match="run id: expected") as refusal:
        Guard(scene.site).contribute(asked(scene, run))
    assert str(refusal.value).isprintable()
    assert scene.approvals.shown(()) == ()


def test_what_approvers_read_has_no_line_that_the_coordinator_wrote(scene: Scene) -> None:
    """Also of rows that came into the file by another way than the guard."""
    with pytest.raises(Waiting):
        scene.admit()
    sites = tuple(sorted((*scene.plan.sites, SiteBound(OVERWRITING, 10)), key=lambda one: one.name))
    forged = replace(scene.plan, sites=sites)
    with scene.kept() as kept:
        row = (OVERWRITING, forged.digest, forged.to_bytes())
        kept.execute("UPDATE shown SET run = ?, digest = ?, plan = ?", row)
    text = kith_guard("plans", str(scene.site.folder))
    assert all(line.isprintable() for line in text.splitlines())
    assert text.count("\n  cost ") == text.count("\n  leaves ") == 1
    told = kith_guard("plans", str(scene.site.folder), "--json")
    assert all(line.isprintable() for line in told.splitlines())


@pytest.mark.parametrize("verdict", [APPROVE, REFUSE])
@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_plan_is_printed_before_it_is_signed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, verdict: str, words: tuple[str, ...]
) -> None:
    with pytest.raises(Waiting):
        scene.admit()

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Approvals, "decide", dies)
    given = ["guard", verdict, str(scene.site.folder), scene.plan.digest, "--key", scene.key_files["ana"], *words]
    done = CliRunner().invoke(kith.app, given)
    assert done.exit_code != 0
    assert scene.plan.digest in done.output
    assert "epsilon" in done.output


def test_after_signing_one_more_line_says_where_the_run_stands(scene: Scene) -> None:
    with pytest.raises(Waiting):
        scene.admit()
    given = (str(scene.site.folder), scene.plan.digest, "--key", scene.key_files["ana"])
    printed = kith_guard("approve", *given).splitlines()
    assert (printed[0], printed[-1]) == (
        "run run-1: waiting (2 needed)",
        "run run-1: waiting (2 needed; approve by ana)",
    )


def test_a_refused_plan_is_refused_for_good_and_not_as_waiting(scene: Scene) -> None:
    guard, folder = Guard(scene.site), str(scene.site.folder)
    assert isinstance(ask(scene, guard), Refusal)
    kith_guard("refuse", folder, scene.plan.digest[:12], "--key", scene.key_files["bo"])
    refused = ask(scene, guard)
    assert isinstance(refused, Refusal)
    assert not refused.waiting


def test_looking_at_a_site_that_was_asked_nothing_leaves_no_file_there(scene: Scene) -> None:
    """Root may look before the guard has run; a file of root's would then be in the guard's way."""
    folder = str(scene.site.folder)
    assert json.loads(kith_guard("plans", folder, "--json")) == {"site": "North", "plans": []}
    done = CliRunner().invoke(
        kith.app, ["guard", "approve", folder, scene.plan.digest, "--key", scene.key_files["ana"]]
    )
    assert "expected one that was asked for" in str(done.exception)
    assert not (scene.site.folder / APPROVALS_FILE).exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("approve", "{site}", "{digest}", "--key", "{stranger}"), "expected an approver's"),
        (("approve", "{site}", "0123456789ab", "--key", "{ana}"), "got none"),
        (("approve", "{site}", "{digest:.4}", "--key", "{ana}"), "at least 12 digits"),
        (("approve", "{site}", "{digest}", "--key", "{ana}", "--run", "other"), "got none"),
        (("approve", "{site}", "{digest}", "--key", "{ana}"), "got run-1, run-2; --run"),
        (("plans", "/nowhere"), "expected a site's file"),
    ],
)
def test_what_can_not_be_approved_is_said_in_one_line(scene: Scene, words: tuple[str, ...], expected: str) -> None:
    several = "run-2" in expected
    for run in ("run-1", "run-2")[: 1 + several]:
        with pytest.raises(Waiting):
            scene.admit(run)
    filled = [
        word.format(site=scene.site.folder, digest=scene.plan.digest, **scene.key_files) for word in ("guard", *words)
    ]
    done = CliRunner().invoke(kith.app, filled)
    assert isinstance(done.exception, KithError)
    assert expected in str(done.exception)
