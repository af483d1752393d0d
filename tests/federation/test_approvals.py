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
from federation.policy import Approver, Review
from federation.policy_file import POLICY_FILE, load_policy, write_policy
from federation.sealed import open_reply, seal_request
from federation.site import Site
from federation.training_run import plan_run
from federation.wire import Contribute, Contribution, Message, Refusal
from models.planning import SECOND_MOMENTS
from privacy.dsse import Envelope
from privacy.errors import KithError, Refused
from privacy.plan import Plan
from privacy.signing import Signer, create_key, verifier
from tests.federation.tiny_group import TinyGroup, tiny_group
from tests.small_group import settings

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
COORDINATOR = "ab" * 32


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
        self.admission = Admission(self.site)

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
    scene.admit()
    assert scene.shown().started == NOW


def test_without_a_review_a_plan_is_shown_all_the_same(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Review(0))
    scene.admit()
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
    scene.admit(run)


def test_where_only_new_plans_are_reviewed_the_same_plan_runs_again(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Review(2, "new"))
    approve_and_start(scene)
    scene.admit("run-2")
    other = plan_run(scene.group.load(), settings(rounds=4))
    with pytest.raises(Waiting):
        scene.admit("run-3", other)


def test_a_plan_that_ran_without_approval_does_not_pass_for_approved(tmp_path: Path) -> None:
    scene = Scene(tmp_path, Review(0))
    scene.admit()
    scene.allow(review=Review(1, "new"))
    with pytest.raises(Waiting):
        scene.admit("run-2")


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
    other = Admission(scene.group.sites[1])
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
    for run in ("run-1", "run-2", "run-1"):
        scene.admit(run)
    with pytest.raises(Refused, match="runs_per_week"):
        scene.admit("run-3")
    scene.admit("run-1")  # goes on
    scene.admit("run-3", now=NOW + timedelta(days=7, seconds=1))


def test_a_run_that_has_started_goes_on_only_within_the_hours(tmp_path: Path) -> None:
    from federation.opening_hours import Hours

    scene = Scene(tmp_path, Review(0))
    scene.allow(hours=(Hours.from_text("Mon-Fri 07:00-19:00"),))
    scene.admit()
    with pytest.raises(Refused, match="hours"):
        scene.admit(now=NOW + timedelta(hours=12))
    scene.admit(now=NOW + timedelta(hours=24))


# Through the guard and the command line


def ask(scene: Scene, guard: Guard, run: str = "run-1") -> Message:
    sites = {site.name: verifier(site.signer.public) for site in scene.group.sites}
    request = Contribute(run, scene.plan.to_bytes(), SECOND_MOMENTS, 0, b"")
    sealed = seal_request(request, scene.group.load().signer)
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
