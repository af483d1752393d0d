"""Where noise comes from. The secure source is made here and nowhere else.

Rules:
    1. In production noise comes from `secure_source()`: OpenDP's exact sampler of the discrete Gaussian
       (Canonne, Kamath & Steinke 2020, Alg. 3), fed by the operating system's cryptographic generator. If it can not be
       had, Kith stops.
    2. A seeded source exists for tests. It carries its name into every receipt, and the verifier refuses it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.errors import KithError

OS: Final = "os"
SEEDED: Final = "seeded-for-tests"

Integers = NDArray[np.int64]


class NoiseSource(Protocol):
    """A source of Gaussian noise on the integers."""

    @property
    def name(self) -> str:
        """What receipts and certificates call it."""

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        """`size` independent draws, int64, mean 0, standard deviation `deviation` grid steps.

        `label` names the release; a seeded source derives its stream from it, the secure source ignores it.
        """


class _Secure:
    name = OS

    def __init__(self) -> None:
        try:
            import opendp.prelude as dp

            dp.enable_features("contrib")
            self._dp: Any = dp
            self.gaussian(1, 1, b"")
        except Exception as error:  # whatever the reason, without it nothing may be released (rule 1)
            raise KithError(f"randomness: expected OpenDP's secure sampler, got {type(error).__name__}") from error

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        del label
        space = self._dp.vector_domain(self._dp.atom_domain(T="i64")), self._dp.l2_distance(T="f64")
        sampler = self._dp.m.make_gaussian(*space, scale=float(deviation))
        return np.array(sampler([0] * size), dtype=np.int64)


class _Seeded:
    name = SEEDED

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        digest = hashlib.sha256(b"kith noise for tests\0%d\0" % self._seed + label).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))
        return np.rint(generator.normal(0.0, float(deviation), size)).astype(np.int64)


def secure_source() -> NoiseSource:
    """The operating system's secure source, as exact discrete Gaussian samples.

    Raises:
        KithError: if it can not be had (rule 1).
    """
    return _Secure()


def seeded_source(seed: int) -> NoiseSource:
    """Reproducible rounded Gaussians, for tests only (rule 2)."""
    return _Seeded(seed)
