"""What a whole run's secure sum takes in one process, without records, messages or rounds.

python -m tests.federation.secure_sum.measure SITES RELEASES COORDINATES [SITES MISSING IN EACH RELEASE]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.planning import sharing
from privacy.plan import SECURE_SUM, GaussianSum
from tests.federation.secure_sum.scene import RUN, Scene, plan_of, summed, values_of


@contextmanager
def timed(what: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    print(f"{what:34} {time.perf_counter() - wall:7.1f} s, {time.process_time() - cpu:7.1f} s of CPU", flush=True)


def main(sites: int, releases: int, coordinates: int, missing: int = 0) -> None:
    event = GaussianSum("gradient", releases, coordinates, 24, 2**25, 2**28)
    plan = plan_of(sites, sharing(sites, SECURE_SUM)[1], events=(event,))
    with tempfile.TemporaryDirectory() as folder, timed("all"):
        with timed("stores"):
            scene = Scene(plan, Path(folder))
        with timed("keys, shares and inboxes"):
            scene.set_up()
        survived = scene.names[missing:]
        with timed("masks, signatures, shares, sums"):
            for index in range(releases):
                values = values_of(plan, "gradient", index)
                masked = scene.masked("gradient", index, values, survived)
                replies = scene.replies("gradient", index, survived)
                total, faults = scene.coordinator.unmasked("gradient", index, masked, replies)
                assert total is not None
                assert (total == summed(values, survived)).all()
                assert not faults
        with timed("forgetting"):
            for name in scene.names:
                scene.sums[name].forget(RUN)
    advert, reply = scene.coordinator.to_document()["adverts"][survived[0]], replies[survived[0]]
    bags = sum(map(len, scene.coordinator.inboxes[survived[0]].values()))
    unmasking = sum(map(len, [*reply.seeds.values(), *reply.keys.values()]))
    print(f"a site and run: {len(advert) * 3 // 4} bytes of advert, {bags} of sealed shares, each way")
    print(f"a site and release: {8 * coordinates} bytes masked, {unmasking} to unmask")
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB of memory")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
