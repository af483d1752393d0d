"""Exact discrete Gaussian samples from the secure source, beside numpy's floating-point ones."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

import numpy as np

from benchmarks.contribution import SPACE
from benchmarks.measure import Progress, Report, Spread, by_turns, ratio
from models.planning import plan_at_epsilon
from privacy.randomness import secure_source

EPSILON: Final = Decimal(1)
DELTA: Final = Decimal("0.00001")


def run(quick: bool, progress: Progress) -> Report:
    """Both sums of a plan at epsilon 1 over 200 features: a gradient, and the second moments."""
    plan = plan_at_epsilon(SPACE, {"made-up": 20_000}, "retention", EPSILON, DELTA, "local")
    secure, quickest = secure_source(), np.random.default_rng(0)
    rows, figures = [], {}
    for event in plan.events:
        work = {
            "kith": lambda event=event: secure.gaussian(event.coordinates, event.noise, b""),
            "numpy": lambda event=event: quickest.normal(0.0, event.noise, event.coordinates),
        }
        seconds = by_turns(work, 3 if quick else 15, progress, f"{event.name}, ")
        rates = {name: Spread.of([event.coordinates / one for one in taken]) for name, taken in seconds.items()}
        slower, whole = ratio(seconds["kith"], seconds["numpy"]), Spread.of(seconds["kith"])
        name = f"{event.name}: {event.coordinates:,} samples"
        rates_shown = (rates["kith"].shown(1e-3), rates["numpy"].shown(1e-3))
        rows.append((name, *rates_shown, slower.shown(unit="×"), whole.shown(1e3)))
        figures[event.name] = {
            "samples": event.coordinates,
            "deviation_in_steps": event.noise,
            "per_second": {which: rate.to_document() for which, rate in rates.items()},
            "times_slower": slower.to_document(),
            "seconds": whole.to_document(),
        }
    return Report(
        title=f"noise of a plan over {SPACE.width} features, epsilon {EPSILON} at delta {DELTA:f}",
        columns=(
            "release",
            "Kith (OpenDP, discrete), 1000/s",
            "numpy (float), 1000/s",
            "slower by",
            "ms for the release",
        ),
        rows=tuple(rows),
        notes=(
            "numpy's samples are neither exact nor from a secure source: the peer is a bound on speed, not a choice.",
        ),
        figures=figures,
    )
