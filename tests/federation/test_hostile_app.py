"""A Flower app that attacks the site it runs at, with real users and the kernel's own permissions.

What is checked: the real `kith guard serve` runs as one user, who owns the site's folder (0700), and a program in the
place of a Flower ClientApp runs as another user, without other groups and capabilities, as the deployment files set a
SuperNode up. It may open the guard's socket, since the socket's folder gives its group that right, and nothing else.

What is not: both run on one kernel, outside of a container. Faults of the kernel, of hardware, and of time (how long an
answer takes) are beyond it; so is a SuperNode that is set up to run as the guard's user.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from federation.policy_file import POLICY_FILE, load_policy, write_policy
from federation.sealed import open_reply, seal_request
from federation.training_run import plan_run
from federation.wire import Contribute, Contribution, Message, Refusal
from models.planning import SECOND_MOMENTS
from privacy.plan import Plan
from privacy.signing import create_key
from tests.federation.guards import ALWAYS, ROOT, SECONDS, Served, keys_of, listening
from tests.federation.tiny_group import TinyGroup, tiny_group
from tests.small_group import settings

GUARD, APP = 61_001, 61_002
REFUSED = {"EACCES", "EPERM"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to run the guard and the app as users of their own"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's /proc and users"),
]


@dataclass
class Scene:
    folder: Path
    group: TinyGroup
    plan: Plan
    served: Served
    socket: Path

    @property
    def site_folder(self) -> Path:
        return self.group.sites[0].folder

    def request(self, run: str = "run-1", plan: Plan | None = None) -> Contribute:
        return Contribute(run, (plan or self.plan).to_bytes(), SECOND_MOMENTS, 0, b"")

    def sealed(self, request: Contribute) -> bytes:
        return seal_request(request, self.group.load().signer, ALWAYS)

    def opened(self, reply: bytes, sealed: bytes) -> Message:
        name, message = open_reply(reply, sealed, keys_of(self.group.sites))
        assert name == self.group.sites[0].name
        return message

    def app(self, *requests: bytes, user: int = APP, files_only: bool = False) -> dict[str, Any]:
        """What the app of that user came to."""
        known = {
            "guard": GUARD,
            "pid": self.served.process.pid,
            "folder": str(self.site_folder),
            "files": [str(self.group.sites[0].source)],
            "files_only": files_only,
            "socket": str(self.socket),
            "requests": [base64.b64encode(one).decode() for one in requests],
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.federation.hostile_app", str(user)],
            input=json.dumps(known),
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
            timeout=2 * SECONDS,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        found["replies"] = [base64.b64decode(one) for one in found["replies"]]
        return found


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A guard as one user, with a socket that the other user's group may open."""
    folder = Path(tempfile.mkdtemp(prefix="kith-hostile-", dir="/tmp"))  # pytest's own folders are root's alone
    try:
        folder.chmod(0o755)
        group = tiny_group(folder)
        site = group.sites[0]
        (folder / "sites").chmod(0o711)
        for path in (site.folder, *site.folder.rglob("*"), site.source):
            os.chown(path, GUARD, GUARD)
        site.source.chmod(0o600)
        place = folder / "run"
        place.mkdir()
        os.chown(place, GUARD, APP)
        place.chmod(0o2710)  # its group may reach the socket, which belongs to the same group; nobody else writes
        plan = plan_run(group.load(), settings())
        with guard_as(GUARD, site.folder, place / "guard.sock") as served:
            yield Scene(folder, group, plan, served, place / "guard.sock")
    finally:
        shutil.rmtree(folder)


@contextmanager
def guard_as(user: int, folder: Path, at: Path) -> Iterator[Served]:
    words = ["guard", "serve", str(folder), "--listen", f"unix:{at}"]
    with listening([sys.executable, "-m", "tests.federation.dropped", str(user), *words]) as served:
        yield served


@pytest.fixture(scope="module")
def found(scene: Scene) -> dict[str, Any]:
    """The whole attack, once, between two honest deliveries of the same request."""
    request = scene.sealed(scene.request())
    return scene.app(request, b"not sealed at all", request)


def test_the_two_run_as_users_of_their_own(scene: Scene, found: dict[str, Any]) -> None:
    status = Path(f"/proc/{scene.served.process.pid}/status").read_text()
    assert f"Uid:\t{GUARD}\t{GUARD}\t{GUARD}\t{GUARD}" in status
    assert "CapEff:\t0000000000000000" in status
    assert (found["uid"], int(found["capabilities"], 16)) == (APP, 0)
    assert scene.site_folder.stat().st_mode & 0o777 == 0o700


def test_nothing_of_the_site_can_be_read_changed_or_moved(found: dict[str, Any]) -> None:
    tries = {name: end for name, end in found["tries"].items() if not name.startswith(("signal", "read /proc"))}
    assert tries.pop("bind over it") == "EADDRINUSE"
    assert {name: end for name, end in tries.items() if end not in REFUSED} == {}


def test_neither_memory_nor_environment_nor_life_of_the_guard_is_to_be_had(scene: Scene, found: dict[str, Any]) -> None:
    tries = {name: end for name, end in found["tries"].items() if name.startswith(("signal", "read /proc"))}
    assert len(tries) >= 12
    assert {name: end for name, end in tries.items() if end not in REFUSED} == {}
    assert scene.served.process.poll() is None


def test_the_same_attempts_on_files_succeed_as_the_guards_own_user(scene: Scene, found: dict[str, Any]) -> None:
    """Control: it is the permissions that stop the app, not a wrong path. Nothing that changes anything is tried."""
    script = f"""
import json, os, sys
from pathlib import Path
os.setgroups([]); os.setresgid({GUARD}, {GUARD}, {GUARD}); os.setresuid({GUARD}, {GUARD}, {GUARD})
folder = Path({str(scene.site_folder)!r})
print(json.dumps({{path.name: len(path.read_bytes()) for path in folder.iterdir() if path.is_file()}}))
os.kill({scene.served.process.pid}, 0)
try:
    open("/proc/{scene.served.process.pid}/mem", "rb")
except PermissionError:
    print("not even as the same user")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=SECONDS)
    lines = done.stdout.splitlines()
    read = json.loads(lines[0])
    assert {"key.pem", "marks.key", "ledger.sqlite", "policy.toml", "approvals.sqlite"} <= set(read)
    assert all(read[name] for name in ("key.pem", "marks.key", "ledger.sqlite"))
    assert lines[1:] == ["not even as the same user"]
    named = {name.removeprefix("read ") for name in found["tries"] if name.startswith("read ")}
    assert set(read) <= named  # whatever the guard keeps, the app has tried


def test_it_can_carry_requests_and_gets_signed_answers_and_refusals(scene: Scene, found: dict[str, Any]) -> None:
    request = scene.sealed(scene.request())
    first, garbage, again = found["replies"]
    contribution = scene.opened(first, request)
    assert isinstance(contribution, Contribution)
    assert scene.opened(again, request) == contribution  # the same bytes, and no new charge
    assert isinstance(scene.opened(garbage, b"not sealed at all"), Refusal)
    ledger = scene.group.sites[0].open_ledger()
    assert len([one for one in ledger.spending() if one.run == "run-1"]) == 1
    ledger.close()


def test_a_request_that_the_app_made_up_is_refused(scene: Scene) -> None:
    own = create_key(scene.folder / "apps-own.pem")
    forged = seal_request(scene.request("run-of-the-app"), own, ALWAYS)
    (reply,) = scene.app(forged, files_only=True)["replies"]
    refusal = scene.opened(reply, forged)
    assert isinstance(refusal, Refusal)
    assert "known key" in refusal.reason


def test_more_than_the_policy_allows_is_refused_before_data_is_read(scene: Scene) -> None:
    """The table is gone: whatever opened it would end in other words, and does where the policy allows the plan."""
    path, table = scene.site_folder / POLICY_FILE, scene.group.sites[0].source
    before, kept = load_policy(path), table.read_bytes()
    table.unlink()
    asked = scene.sealed(scene.request("run-2", plan_run(scene.group.load(), settings(epsilon="2"))))
    try:
        (reply,) = scene.app(asked, files_only=True)["replies"]
        assert "its rows can not be used" in str(scene.opened(reply, asked))
        rewrite(path, replace(before, largest_mu2="0.1"))
        (reply,) = scene.app(asked, files_only=True)["replies"]
        refusal = scene.opened(reply, asked)
        assert isinstance(refusal, Refusal)
        assert refusal.reason.startswith("policy, largest_mu2: expected at most 0.1")
    finally:
        rewrite(path, before)
        table.write_bytes(kept)
        os.chown(table, GUARD, GUARD)


def rewrite(path: Path, policy: Any) -> None:
    path.unlink()
    write_policy(path, policy)
    os.chown(path, GUARD, GUARD)


def test_a_stopped_guard_is_not_replaced_by_the_app(scene: Scene) -> None:
    """Last, as it stops the guard: the socket's folder is still the guard's, so nobody can listen in its place."""
    scene.served.process.send_signal(signal.SIGTERM)
    assert scene.served.process.wait(SECONDS) == 0
    script = f"""
import os, socket
os.setgroups([]); os.setresgid({APP}, {APP}, {APP}); os.setresuid({APP}, {APP}, {APP})
try:
    socket.socket(socket.AF_UNIX).bind({str(scene.socket)!r})
except PermissionError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=SECONDS)
    assert done.stdout == "refused\n"
