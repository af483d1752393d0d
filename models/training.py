"""What one site computes in a round: sums over its employees, exact on an integer grid, each employee bounded.

Every employee counts once, however many rows they have: their loss is the mean over their rows.

1. Rows. `FeatureSpace.design` gives whole numbers of 2**-10 with ||x|| <= R, R public.
2. Second moments. An employee with m rows enters as the sum of x̃x̃' over x̃ = trunc(x / sqrt(m)); the sum of ||x̃||²
   is at most R², so the upper triangle moves by at most sqrt((R⁴ + R²) / 2) in L2: each of the two halves of the
   symmetric matrix has the same off-diagonal norm, and the diagonal's own norm is at most R, since every |x_j| <= 1.
3. Gradients. Per-employee gradient norms and clipping factors come from Opacus (ghost clipping, Li et al. 2022,
   through the norm sampler registered here). The clipped residuals are truncated toward zero to whole steps of
   2**-RESIDUAL_GRID and sent back through the layer, so the sum is a product of whole numbers: exact in float64 below
   2**53, in any order. Truncation moves the gradient of an employee with m rows by at most m * R * 2**-RESIDUAL_GRID,
   which is taken off that employee's clip beforehand: no rounding of any kind exceeds the sensitivity stated.
4. Nobody's contribution depends on who else there is, not even in its last bit: every floating-point operation before
   the sum is either elementwise (scalar code, not a vector loop with another remainder) or exact in any order.
   Weights are rounded to a grid for that and bounded, since a coordinator chooses them: without the bound, an overflow
   in one row would undo the clip. Residuals are held within ±1, as those of a logistic link are anyway.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModuleFastGradientClipping, register_grad_sampler, register_norm_sampler
from scipy.special import expit
from torch import nn

from models.features import GRID, LOGISTIC, FeatureSpace
from models.planning import (
    GRADIENT_GRID,
    LARGEST_WEIGHT,
    MOMENTS_GRID,
    RESIDUAL_GRID,
    WEIGHT_STEP,
    upper_triangle,
)
from privacy.errors import InputError
from records.minimize import MinimizedRows

# The rows are data and need no gradient of their own; torch finds a hooked module without such inputs worth a warning.
warnings.filterwarnings("ignore", message="Full backward hook is firing")

ROWS_AT_ONCE: Final = 1 << 16
"""Rows per exact matrix product: bounds the memory of second moments, never their value."""
EXACT: Final = 2**53
RESIDUAL_STEP: Final = 2.0**-RESIDUAL_GRID
FINE_STEP: Final = 2.0**-30
"""Residuals before clipping: an employee's gradient is exact in steps of 2**-40, whatever the order of the rows."""


class AdditiveLayer(nn.Module):
    """Scores of rows, with rows of one employee belonging together.

    forward(design (rows, d) float64, employee (rows,) int64) -> (rows,) float64.
    """

    def __init__(self, weights: torch.Tensor, employees: int) -> None:
        """`weights` (d,) float64; `employees`: how many different ones `forward` will see."""
        super().__init__()
        self.weight = nn.Parameter(weights.clone())
        self.employees = employees

    def forward(self, design: torch.Tensor, employee: torch.Tensor) -> torch.Tensor:
        """One score per row; `employee` is read by the samplers below."""
        del employee
        return design @ self.weight


@register_grad_sampler(AdditiveLayer)
def employee_gradients(
    layer: AdditiveLayer, activations: Sequence[torch.Tensor], residuals: torch.Tensor
) -> dict[nn.Parameter, torch.Tensor]:
    """(employees, d) gradients, one per employee: the sum over their rows of residual times row."""
    design, employee = activations
    gradients = torch.zeros(layer.employees, design.shape[1], dtype=design.dtype)
    return {layer.weight: gradients.index_add_(0, employee, residuals[:, None] * design)}


@register_norm_sampler(AdditiveLayer)
def employee_gradient_norms(
    layer: AdditiveLayer, activations: Sequence[torch.Tensor], residuals: torch.Tensor
) -> dict[nn.Parameter, torch.Tensor]:
    """(employees,) L2 norms of `employee_gradients`, never too small, exact in any order (rule 4).

    |residual| * ||row|| for an employee of one row; for others each coordinate is rounded up to a step first.
    """
    design, employee = activations
    norms = torch.zeros(layer.employees, dtype=design.dtype)
    norms.index_add_(0, employee, residuals.abs() * design.norm(dim=1))
    several = torch.bincount(employee, minlength=layer.employees) > 1
    if several.any():
        gradients = employee_gradients(layer, activations, residuals)[layer.weight][several]
        norms[several] = (torch.ceil(gradients.abs() / RESIDUAL_STEP) * RESIDUAL_STEP).norm(dim=1)
    return {layer.weight: norms}


class SiteSums:
    """The exact sums of one site's minimized rows. What it returns has no noise and must not leave the site."""

    def __init__(self, space: FeatureSpace, rows: MinimizedRows, clip: float) -> None:
        """Encode the rows once; a run asks for several sums.

        Args:
            space: the public feature space, d coordinates.
            rows: one site's rows.
            clip: L2 bound of one employee's gradient.

        Raises:
            InputError: if the site has so many rows that float64 could not carry the sums exactly.
        """
        _, employee = np.unique(rows.employee, return_inverse=True)
        self._employee = torch.from_numpy(employee.astype(np.int64))
        self._rows_each = np.bincount(employee).astype(np.float64)
        self._share = torch.from_numpy(1.0 / self._rows_each[employee])
        self._steps = space.design(rows)
        self._design = torch.from_numpy(self._steps / 2.0**GRID)
        self._label = torch.tensor(rows.label)
        self._logistic = space.link == LOGISTIC
        margin = self._rows_each * space.radius * RESIDUAL_STEP
        self._clips = torch.from_numpy(np.maximum(clip - margin, 0.0))
        # |x_j| <= 1, and an employee's residuals, each within ±1, are a mean over their rows.
        largest_sum = len(self._rows_each) * 2.0 ** max(MOMENTS_GRID, GRADIENT_GRID)
        if largest_sum >= EXACT:
            raise InputError("site table: expected few enough employees for exact sums, got too many")

    def second_moments(self) -> NDArray[np.int64]:
        """Upper triangle of the sum of x̃x̃', row by row, (d(d+1)/2,) in steps of 2**-MOMENTS_GRID (rule 2)."""
        width = self._steps.shape[1]
        total = np.zeros((width, width), dtype=np.float64)
        scale = np.sqrt(self._rows_each)[self._employee.numpy()][:, None]
        for start in range(0, len(self._steps), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            shared = np.trunc(self._steps[part] / scale[part])
            total += shared.T @ shared
        return upper_triangle(total).astype(np.int64) << (MOMENTS_GRID - 2 * GRID)

    def gradient(self, weights: NDArray[np.float64]) -> NDArray[np.int64]:
        """Sum of clipped gradients of the employees' losses at `weights`, (d,) in steps of 2**-GRADIENT_GRID (rule 3).

        Raises:
            InputError: if `weights` is not float64 of shape (d,), or one is not within ±256.
        """
        width = self._steps.shape[1]
        if weights.shape != (width,) or weights.dtype != np.float64 or not (np.abs(weights) <= LARGEST_WEIGHT).all():
            raise InputError(f"state: expected {width} float64 weights within ±{LARGEST_WEIGHT:g}, got otherwise")
        if not len(self._steps):
            return np.zeros(weights.shape, dtype=np.int64)
        layer = AdditiveLayer(torch.from_numpy(np.rint(weights / WEIGHT_STEP) * WEIGHT_STEP), len(self._rows_each))
        clipped = GradSampleModuleFastGradientClipping(layer, max_grad_norm=self._clips, loss_reduction="sum")
        scores = clipped(self._design, self._employee)
        with torch.no_grad():
            predicted = torch.from_numpy(expit(scores.numpy())) if self._logistic else scores
            residual = (predicted - self._label).clamp(-1.0, 1.0) * self._share
            residual = torch.trunc(residual / FINE_STEP) * FINE_STEP
        scores.backward(residual, retain_graph=True)  # Opacus' hooks take the norms here
        factor = clipped.get_clipping_coef()[self._employee]
        clipped.disable_hooks()
        layer.weight.grad = None
        scores.backward(torch.trunc(residual * factor / RESIDUAL_STEP) * RESIDUAL_STEP)
        clipped.remove_hooks()
        total = layer.weight.grad.numpy() * 2.0**GRADIENT_GRID
        return np.rint(total).astype(np.int64)
