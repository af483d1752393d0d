from __future__ import annotations

import secrets

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.secure_sum import shamir
from federation.secure_sum.wrong_shares import wrong_places
from privacy.errors import InputError
from tests.federation.secure_sum.scene import random_of

SECRETS = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3)
POINTS = st.lists(st.integers(1, 65536), min_size=1, max_size=12, unique=True)


def dealt(texts: list[bytes], points: list[int], threshold: int) -> shamir.Values:
    """(points, secrets, 16)"""
    raw = np.frombuffer(b"".join(texts), dtype=np.uint8).reshape(-1, 32)
    return shamir.to_values(shamir.deal(raw, points, threshold, secrets.token_bytes))


@given(SECRETS, POINTS, st.data())
def test_any_threshold_of_the_shares_restore_every_secret(
    texts: list[bytes], points: list[int], data: st.DataObject
) -> None:
    threshold = data.draw(st.integers(1, len(points)))
    values = dealt(texts, points, threshold)
    used = data.draw(st.permutations(range(len(points))))[:threshold]
    restored = shamir.at(0, [points[n] for n in used], values[used].reshape(threshold, -1)).reshape(-1, 16)
    assert [shamir.to_secret(one) for one in restored] == texts


@given(SECRETS, POINTS, st.data())
def test_fewer_shares_go_with_every_secret_equally(texts: list[bytes], points: list[int], data: st.DataObject) -> None:
    """One less than the threshold: whatever the secret is said to be, some share at the next point makes it so."""
    threshold = len(points)
    values = dealt(texts, points, threshold)[:-1].reshape(threshold - 1, 16 * len(texts))
    claimed = data.draw(st.lists(st.binary(min_size=32, max_size=32), min_size=len(texts), max_size=len(texts)))
    limbs = np.frombuffer(b"".join(claimed), dtype="<u2").astype(np.int64)[None, :]
    missing = _through(points, values, limbs[0])
    restored = shamir.at(0, points, np.vstack([values, missing[None, :]])).reshape(-1, 16)
    assert [shamir.to_secret(one) for one in restored] == claimed


def _through(points: list[int], values: shamir.Values, at_zero: shamir.Values) -> shamir.Values:
    """The share at the last point of the polynomials with these values at 0 and at the other points."""
    weights = shamir._basis(0, tuple(points))
    known = (weights[:-1, None] * values % shamir.PRIME).sum(axis=0)
    return (at_zero - known) * shamir.inverse(int(weights[-1])) % shamir.PRIME


@given(st.lists(st.lists(st.integers(0, 65536), min_size=16, max_size=16), min_size=1, max_size=4))
def test_every_value_of_a_share_has_a_writing(values: list[list[int]]) -> None:
    shares = shamir.to_shares(np.array(values, dtype=np.int64))
    assert shares.shape == (len(values), shamir.SHARE_BYTES)
    assert shamir.to_values(shares).tolist() == values


@given(st.binary(min_size=34, max_size=34))
def test_any_bytes_read_as_values_of_the_field(share: bytes) -> None:
    values = shamir.to_values(np.frombuffer(share, dtype=np.uint8))
    assert values.shape == (16,)
    assert 0 <= values.min() <= values.max() < shamir.PRIME


def test_a_limb_that_no_secret_has_is_no_secret() -> None:
    assert shamir.to_secret(np.array([65536] + [0] * 15)) is None
    assert shamir.to_secret(np.zeros(16, dtype=np.int64)) == bytes(32)


def test_products_are_exact_at_their_largest() -> None:
    terms = 2**16
    ones = np.full((1, terms), shamir.PRIME - 1, dtype=np.int64)
    assert shamir._product(ones, ones.T)[0, 0] == (65536**2 * terms) % shamir.PRIME


def test_coefficients_are_uniform_and_all_ones_are_drawn_again() -> None:
    drawn = iter([b"\xff" * 4 + b"\x01\0\0\0", b"\x02\0\0\0"])
    assert shamir._uniform((1, 2), lambda _: next(drawn)).tolist() == [[2, 1]]
    counts = np.bincount(shamir._uniform((1, 65537 * 20), random_of("coefficients"))[0], minlength=65537)
    chi_square = ((counts - 20) ** 2 / 20).sum()
    assert abs(chi_square - 65536) < 5 * (2 * 65536) ** 0.5


@pytest.mark.parametrize("points", [[], [1], [1, 1], [0, 1], [1, 65537]])
def test_points_that_are_none_are_refused(points: list[int]) -> None:
    with pytest.raises(InputError, match="distinct points"):
        shamir.deal(np.zeros((1, 32), dtype=np.uint8), points, 2, secrets.token_bytes)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(0, 15), st.data())
def test_wrong_shares_are_found_up_to_half_of_what_is_beyond_the_threshold(
    threshold: int, beyond: int, data: st.DataObject
) -> None:
    count = threshold + beyond
    points = data.draw(st.lists(st.integers(1, 65536), min_size=count, max_size=count, unique=True))
    values = dealt([bytes(range(32))], points, threshold).reshape(count, -1)
    wrong = sorted(data.draw(st.sets(st.integers(0, count - 1), max_size=beyond // 2)))
    for place in wrong:
        values[place, data.draw(st.integers(0, 15))] += data.draw(st.integers(1, 65536))
    assert wrong_places(points, values % shamir.PRIME, threshold, random_of("mixture")) == tuple(wrong)


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(2, 8), st.integers(0, 2**32))
def test_more_wrong_shares_are_never_taken_for_none(threshold: int, beyond: int, seed: int) -> None:
    rng = np.random.Generator(np.random.PCG64(seed))
    count = threshold + beyond
    values = rng.integers(0, shamir.PRIME, (count, 16))
    assert wrong_places(range(1, count + 1), values, threshold, random_of(seed)) != ()
