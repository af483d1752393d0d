"""Masked values are uniform, whatever is masked, and tell nothing of those of another release.

Every test below has a false-alarm rate of 1e-7; roots are fixed, so a test that passes goes on to pass. Chi-square over
the 48,000 bytes at one place of all words finds a bit that is one 54 times in 100 with probability .999 (asserted).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from privacy.plan import GaussianSum
from tests.federation.secure_sum.scene import Scene, made

FALSE_ALARM = 1e-7
COORDINATES, RELEASES = 4_000, 4
Words = NDArray[np.uint64]


@pytest.fixture(scope="module")
def masked(folder: Path) -> Words:
    """(releases, sites, coordinates): the same small values in every place, masked."""
    event = GaussianSum("gradient", RELEASES, COORDINATES, 24, 2**25, 2**28)
    scene: Scene = made(folder / "random", 3, events=(event,))
    values = {name: np.full(COORDINATES, 7, dtype=np.int64) for name in scene.names}
    return np.array([list(scene.masked("gradient", n, values, scene.names).values()) for n in range(RELEASES)])


def p_values(words: Words) -> list[float]:
    """Chi-square of the bytes at each place of the words, and Kolmogorov and Smirnov's of the words."""
    places = words.ravel().view(np.uint8).reshape(-1, 8).T
    found = [stats.chisquare(np.bincount(place, minlength=256)).pvalue for place in places]
    return [*found, stats.kstest(words.ravel() / 2.0**64, "uniform").pvalue]


def test_masked_values_are_uniform(masked: Words) -> None:
    assert min(p_values(masked)) > FALSE_ALARM


def test_masked_values_of_equal_values_in_two_releases_are_independent(masked: Words) -> None:
    """Their differences and their bits' are uniform, site by site."""
    for other in range(1, RELEASES):
        assert min(p_values(masked[0] - masked[other])) > FALSE_ALARM
        assert min(p_values(masked[0] ^ masked[other])) > FALSE_ALARM


def test_masked_values_of_two_sites_are_independent(masked: Words) -> None:
    """Their masks share one part, with two signs; each one's own mask hides it."""
    for sign in (1, -1):
        other = masked[:, 1] if sign > 0 else np.negative(masked[:, 1])
        assert min(p_values(masked[:, 0] + other)) > FALSE_ALARM


def test_a_mask_that_is_not_uniform_is_found(masked: Words) -> None:
    for planted in (
        masked >> np.uint64(1),
        masked & ~np.uint64(1 << 40),
        np.where(np.arange(COORDINATES) % 12 == 0, masked | np.uint64(1), masked),
        np.zeros_like(masked),
    ):
        assert min(p_values(planted)) < FALSE_ALARM


def test_the_test_has_the_power_that_is_stated() -> None:
    count, one = COORDINATES * RELEASES * 3, 0.54
    alarm = stats.chi2.isf(FALSE_ALARM, 255)
    assert stats.ncx2.sf(alarm, 255, count * (2 * (one - 0.5)) ** 2) > 0.999
