"""A site that is killed at any moment goes on as if it had not been."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from federation.secure_sum.sum_store import SumStore
from federation.wire import Unmasked
from privacy.errors import InputError, Refused
from tests.federation.secure_sum.scene import RUN, Scene, plan_of, values_of

ROOT = Path(__file__).resolve().parents[3]


class Transcript(Scene):
    """A scene whose sites are started anew, with other randomness, before every single step, if they are to be."""

    anew = False

    def of(self, name: str) -> object:
        return self.open(name) if self.anew else self.sums[name]

    def whole(self) -> list[object]:
        """All that sites say in a run in which one drops out of the second release."""
        said: list[object] = []
        adverts = {name: self.of(name).advert(RUN, self.plan) for name in self.names}  # type: ignore[attr-defined]
        shown = self.coordinator.advertised(adverts)
        shares = {name: self.of(name).shares(RUN, self.plan, shown) for name in self.names}  # type: ignore[attr-defined]
        self.coordinator.shared(shares)
        said += [adverts, shares]
        for name in self.names:
            self.of(name).ready(RUN, self.plan, self.coordinator.inboxes[name])  # type: ignore[attr-defined]
        for index, survived in enumerate((self.names, self.names[:4])):
            values = values_of(self.plan, "gradient", index)
            for name in survived:
                said.append(self.of(name).mask(RUN, "gradient", index, values[name]).tolist())  # type: ignore[attr-defined]
            signed: dict[str, bytes] = {}
            if index:
                signed = {name: self.of(name).agree(RUN, "gradient", index, survived) for name in survived}  # type: ignore[attr-defined]
            said += [Unmasked(*self.of(n).unmask(RUN, "gradient", index, survived, signed)) for n in survived]  # type: ignore[attr-defined]
            said.append(signed)
        return said


def test_killed_between_all_steps_sites_say_the_same(tmp_path: Path) -> None:
    """Both scenes' sites begin with the same roots; the second's forget all but their files at every step."""
    undisturbed, disturbed = Transcript(plan_of(5), tmp_path / "a"), Transcript(plan_of(5), tmp_path / "b")
    for name in disturbed.names:
        disturbed.sums[name].advert(RUN, disturbed.plan)
    disturbed.anew = True
    assert disturbed.whole() == undisturbed.whole()


def test_asked_everything_again_after_a_crash_a_site_says_the_same(tmp_path: Path) -> None:
    scene = Transcript(plan_of(5), tmp_path)
    first = scene.whole()
    for name in scene.names:
        scene.open(name)
    assert scene.whole() == first


def test_a_mask_is_used_up_when_a_site_is_killed_right_after(tmp_path: Path) -> None:
    """kill -9 between the mask and anything else: afterwards it serves the same values and no others."""
    scene = Scene(plan_of(3), tmp_path)
    scene.set_up()
    code = f"""
        import os, signal
        from pathlib import Path
        from tests.federation.secure_sum.scene import RUN, Scene, plan_of, values_of
        scene = Scene(plan_of(3), Path({str(tmp_path)!r}))
        name = scene.names[0]
        masked = scene.sums[name].mask(RUN, "gradient", 1, values_of(scene.plan, "gradient")[name])
        print(masked.tobytes().hex(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    name, values = scene.names[0], values_of(scene.plan, "gradient")[scene.names[0]]
    again = scene.open(name)
    with pytest.raises(Refused, match="expected the same as before"):
        again.mask(RUN, "gradient", 1, values + 1)
    assert again.mask(RUN, "gradient", 1, values).tobytes().hex() == done.stdout.strip()


# The store


def test_what_is_written_first_stays(tmp_path: Path) -> None:
    store, other = SumStore(tmp_path / "sums.sqlite"), SumStore(tmp_path / "sums.sqlite")
    assert store.read("run", "what") is None
    assert store.first("run", "what", b"1") == b"1"
    assert other.first("run", "what", b"2") == b"1"
    assert other.read("run", "what") == b"1"
    assert other.first("other run", "what", b"2") == b"2"
    store.close()
    other.close()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "sums.sqlite"
    store = SumStore(path)
    store.first("run", "what", b"1")
    for file in tmp_path.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
    store.close()


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sums.sqlite"
    path.write_bytes(b"something else, and long enough to look at" * 10)
    with pytest.raises(InputError, match="expected a site's file of secure sums"):
        SumStore(path)


def test_a_run_is_over_for_every_process_once_one_has_ended_it(tmp_path: Path) -> None:
    scene = Scene(plan_of(3), tmp_path)
    scene.set_up()
    name, before = scene.names[0], scene.sums[scene.names[0]]
    before.mask(RUN, "gradient", 0, np.zeros(3, dtype=np.int64))
    scene.open(name).forget(RUN)
    with pytest.raises(Refused):
        before.mask(RUN, "gradient", 1, np.zeros(3, dtype=np.int64))
    with pytest.raises(Refused):
        before.agree(RUN, "gradient", 0, scene.names)
