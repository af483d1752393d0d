"""Where noise and chance come from. The secure sources are made here and nowhere else.

Rules:
    1. Noise comes from `secure_source()`: OpenDP's exact sampler of the discrete Gaussian (Canonne, Kamath & Steinke
       2020, Alg. 3), fed by the operating system's cryptographic generator. If it can not be had, Kith stops.
    2. A source serves one mechanism of a plan and says which. `float64_source()` serves plans of rounded floating-point
       Gaussians alone: numpy's Philox, which is no cryptography, seeded anew by the operating system for each release.
    3. A seeded source exists for tests and audits. It carries its name into every receipt, and the verifier refuses it.
    4. Who is sampled is drawn from whole uniform numbers, by rejection: exact to the rate that a plan states.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from privacy.errors import InputError, KithError
from privacy.plan import DISCRETE, FLOAT64

OS: Final = "os"
OS_FLOAT64: Final = "os-float64"
SEEDED: Final = "seeded-for-tests"
SOURCES: Final = {DISCRETE: OS, FLOAT64: OS_FLOAT64}
"""The one source of noise of each mechanism that holds."""
MAX_BOUND: Final = 2**53

Integers = NDArray[np.int64]


class NoiseSource(Protocol):
    """A source of Gaussian noise on the integers."""

    @property
    def name(self) -> str:
        """What receipts and certificates call it."""

    @property
    def mechanism(self) -> str:
        """The one mechanism of a plan that it serves (rule 2)."""

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        """`size` independent draws, int64, mean 0, standard deviation `deviation` grid steps.

        `label` names the release; a seeded source derives its stream from it, the others ignore it.
        """


class ChanceSource(Protocol):
    """A source of whole numbers, all equally likely."""

    def below(self, size: int, bound: int, label: bytes) -> Integers:
        """`size` independent draws from 0 to `bound` - 1, int64, for 1 <= `bound` <= 2**53; `label` as for noise.

        Raises:
            InputError: for another bound.
        """


class _Secure:
    name = OS
    mechanism = DISCRETE

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

    def below(self, size: int, bound: int, label: bytes) -> Integers:
        del label
        return _below(secrets.token_bytes, size, bound)


class _Float64:
    name = OS_FLOAT64
    mechanism = FLOAT64

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        del label
        bits = np.random.Philox(key=secrets.randbits(128), counter=secrets.randbits(128))
        return _rounded(np.random.Generator(bits), size, deviation)

    def below(self, size: int, bound: int, label: bytes) -> Integers:
        del label
        return _below(secrets.token_bytes, size, bound)


class _Seeded:
    name = SEEDED

    def __init__(self, seed: int, mechanism: str) -> None:
        self._seed = seed
        self.mechanism = mechanism

    def gaussian(self, size: int, deviation: int, label: bytes) -> Integers:
        return _rounded(self._generator(b"noise", label), size, deviation)

    def below(self, size: int, bound: int, label: bytes) -> Integers:
        return _below(self._generator(b"chance", label).bytes, size, bound)

    def _generator(self, use: bytes, label: bytes) -> np.random.Generator:
        digest = hashlib.sha256(b"kith %s for tests\0%d\0" % (use, self._seed) + label).digest()
        return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "big")))


def secure_source() -> _Secure:
    """The operating system's secure source, as exact discrete Gaussian samples; of chance too.

    Raises:
        KithError: if it can not be had (rule 1).
    """
    return _Secure()


def float64_source() -> _Float64:
    """Rounded float64 Gaussians from 256 bits of the operating system for each release (rule 2)."""
    return _Float64()


def seeded_source(seed: int, mechanism: str = DISCRETE) -> _Seeded:
    """Reproducible rounded Gaussians and chance, for tests and audits only (rule 3); said to serve `mechanism`."""
    return _Seeded(seed, mechanism)


def _rounded(generator: np.random.Generator, size: int, deviation: int) -> Integers:
    return np.rint(generator.normal(0.0, float(deviation), size)).astype(np.int64)


def _below(random_bytes: Callable[[int], bytes], size: int, bound: int) -> Integers:
    """Rule 4: numbers of as many bits as `bound` - 1 has; those from `bound` on are drawn again."""
    if not 1 <= bound <= MAX_BOUND:
        raise InputError(f"chance: expected a bound from 1 to 2**53, got {bound}")
    spare = np.uint64(64 - max((bound - 1).bit_length(), 1))
    drawn = np.zeros(size, dtype=np.uint64)
    missing = np.arange(size)
    while len(missing):
        drawn[missing] = np.frombuffer(random_bytes(8 * len(missing)), dtype="<u8") >> spare
        missing = missing[drawn[missing] >= bound]
    return drawn.astype(np.int64)
