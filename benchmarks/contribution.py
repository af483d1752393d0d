"""One clipped gradient sum of a warm site, beside the same layer in plain PyTorch and under Opacus' other ways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import GradSampleModule
from torch import nn

from benchmarks.measure import Progress, Report, Spread, by_turns, memory_in_child, ratio
from models.features import GRID, ChoiceFeature, FeatureSpace, NumberFeature
from models.planning import GRADIENT_GRID, RESIDUAL_GRID, gradient_clip
from models.training import SiteSums
from records.contract import BinaryLabel
from records.minimize import MinimizedRows

EMPLOYEES: Final = 20_000
WIDTH: Final = 200
CHOICES: Final = tuple(f"value {n}" for n in range(22))
SPACE: Final = FeatureSpace(
    label=BinaryLabel("left", ("yes",), ("no",)),
    employee=None,
    features=(
        *(NumberFeature(f"number {n}", 0.0, 1.0, "") for n in range(8)),
        ChoiceFeature("choice", CHOICES, ordered=False),
    ),
)
CLIP: Final = float(gradient_clip(SPACE))
CLIP_BEFORE_TRUNCATION: Final = CLIP - SPACE.radius * 2.0**-RESIDUAL_GRID

KITH: Final = "Kith"
PLAIN: Final = "plain PyTorch step"
PLAIN_32: Final = "plain PyTorch step, float32"
HOOKS: Final = "Opacus hooks"
FUNCTORCH: Final = "functorch (Opacus)"
NAMES: Final = (KITH, PLAIN, PLAIN_32, HOOKS, FUNCTORCH)

Step = Callable[[], NDArray[Any]]


def run(quick: bool, progress: Progress) -> Report:
    """Time by turns in this process, memory in one process each."""
    steps = {name: prepared(name, None) for name in NAMES}
    seconds = by_turns(steps, 3 if quick else 21, progress)
    memory = {}
    for name in NAMES:
        progress(f"memory of {name}")
        memory[name] = memory_in_child("contribution", name)
    rows, figures = [], {}
    for name in NAMES:
        time, beside = Spread.of(seconds[name]), ratio(seconds[KITH], seconds[name])
        held = memory[name]
        figures[name] = {
            "seconds": time.to_document(),
            "kith_over_this": beside.to_document(),
            "mib_held_and_added": None if held is None else [round(one, 1) for one in held],
        }
        shown = ("–", "–") if held is None else tuple(f"{one:.0f}" for one in held)
        rows.append((name, time.shown(1e3), beside.shown(unit="×"), *shown))
    return Report(
        title=f"one gradient sum of {EMPLOYEES:,} employees × {WIDTH} features, the site warm",
        columns=("", "ms", "time of Kith ÷ time of this", "MiB held", "MiB added at the peak"),
        rows=tuple(rows),
        notes=(
            "All but the plain steps give the clipped sum, all but one in float64; Kith's is exact on its grid. "
            + _difference(steps[KITH](), steps[HOOKS]()),
            f"Peers keep their model between steps. torch uses {torch.get_num_threads()} threads.",
        ),
        figures=figures,
    )


def prepared(name: str, employees: int | None) -> Step:
    """A step of the named kind over so many employees (None: all), with everything ready that a round does not redo."""
    rows, weights = _rows(employees or EMPLOYEES), np.random.default_rng(1).normal(0, 0.2, WIDTH)
    if name == KITH:
        sums = SiteSums(SPACE, rows, CLIP)
        return lambda: sums.gradient(weights)
    kind = torch.float32 if name == PLAIN_32 else torch.float64
    design = torch.from_numpy(SPACE.design(rows) / 2.0**GRID).to(kind)
    label = torch.tensor(rows.label, dtype=kind)
    layer = nn.Linear(WIDTH, 1, bias=False, dtype=kind)
    layer.weight.data = torch.tensor(weights[None, :], dtype=kind)
    if name in (PLAIN, PLAIN_32):
        return lambda: _plain(layer, design, label)
    model = GradSampleModule(layer, loss_reduction="sum", force_functorch=name == FUNCTORCH)
    return lambda: _per_sample(model, layer.weight, design, label)


def _plain(layer: nn.Linear, design: torch.Tensor, label: torch.Tensor) -> NDArray[Any]:
    layer.zero_grad()
    _loss(layer, design, label).backward()
    return layer.weight.grad[0].numpy()


def _per_sample(
    model: nn.Module, weight: nn.Parameter, design: torch.Tensor, label: torch.Tensor
) -> NDArray[np.float64]:
    """Per-employee gradients, clipped as Opacus' optimisers do, and summed."""
    weight.grad_sample = None
    _loss(model, design, label).backward()
    gradients = weight.grad_sample.flatten(start_dim=1)
    factor = (CLIP_BEFORE_TRUNCATION / (gradients.norm(dim=1) + 1e-6)).clamp(max=1.0)
    return torch.einsum("i,ij->j", factor, gradients).numpy()


def _loss(model: nn.Module, design: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return nn.functional.binary_cross_entropy_with_logits(model(design).squeeze(1), label, reduction="sum")


def _difference(kith: NDArray[np.int64], hooks: NDArray[np.float64]) -> str:
    largest = float(np.abs(kith / 2.0**GRADIENT_GRID - hooks).max())
    return f"It differs from that of the hooks by at most {largest:.2g}, {largest / CLIP:.2g} of one employee's clip."


def _rows(employees: int) -> MinimizedRows:
    """Made-up employees, one row each."""
    random = np.random.default_rng(0)
    each = np.arange(employees)
    label = (random.random(employees) < 0.25).astype(np.float64)
    numbers = {feature.column: random.random(employees) for feature in SPACE.features[:-1]}
    return MinimizedRows(
        numbers=numbers,
        codes={"choice": random.integers(0, len(CHOICES), employees)},
        label=label,
        raw_label=label,
        site=np.zeros(employees, dtype=np.int64),
        site_names=("made-up",),
        employee=each,
        row=each,
        twin=each,
        clipped={},
        unlabelled=0,
    )
