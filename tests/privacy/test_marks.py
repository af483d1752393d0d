from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import marks
from privacy.errors import InputError
from privacy.marks import MarkKey
from tests.privacy.small_ledger import people

KEY = MarkKey(bytes(range(32)))
SALT = bytes(32)
sets = st.frozensets(st.binary(min_size=16, max_size=16), max_size=20)


def test_a_mark_is_hmac_sha256_of_the_employee_number_cut_to_sixteen_bytes() -> None:
    expected = hmac.new(bytes(range(32)), b"kith employee mark v1\0" + "Å-17".encode(), hashlib.sha256).digest()[:16]
    assert KEY.mark("Å-17") == expected
    assert MarkKey(bytes(32)).mark("Å-17") != expected


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_different_numbers_have_different_marks(one: str, other: str) -> None:
    assert (KEY.mark(one) == KEY.mark(other)) == (one == other)


@pytest.mark.parametrize("number", ["", "x" * 1001, 17, b"17", "\ud800"], ids=["empty", "long", "int", "bytes", "half"])
def test_what_is_no_employee_number_is_refused_without_being_repeated(number: object) -> None:
    with pytest.raises(InputError, match="employee number") as caught:
        KEY.mark(number)  # type: ignore[arg-type]
    assert "17" not in str(caught.value)


def test_a_key_is_kept_in_a_file_of_its_owner_and_does_not_show_itself(tmp_path: Path) -> None:
    path = tmp_path / "marks.key"
    key = MarkKey.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert MarkKey.read(path) == key
    assert key.key.hex() not in repr(key)
    assert repr(key.key) not in repr(key)
    with pytest.raises(InputError, match="new file"):
        MarkKey.create(path)
    path.chmod(0o640)
    with pytest.raises(InputError, match="owner alone"):
        MarkKey.read(path)


def test_a_key_is_known_by_a_fingerprint_that_is_no_mark() -> None:
    assert KEY.fingerprint == MarkKey(KEY.key).fingerprint != MarkKey(bytes(32)).fingerprint
    assert len(bytes.fromhex(KEY.fingerprint)) == 32
    assert KEY.key.hex() != KEY.fingerprint != hashlib.sha256(KEY.key).hexdigest()


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), "x" * 32])
def test_a_key_of_another_length_is_refused(key: object) -> None:
    with pytest.raises(InputError, match="mark key"):
        MarkKey(key)  # type: ignore[arg-type]


def test_a_cohort_s_digest_is_that_of_salt_and_sorted_marks() -> None:
    expected = hashlib.sha256(b"kith cohort v1\0" + SALT + b"".join(sorted(people(3, 1, 2)))).hexdigest()
    assert marks.cohort_digest(SALT, people(1, 2, 3)) == expected
    assert marks.cohort_digest(bytes([1]) * 32, people(1, 2, 3)) != expected
    with pytest.raises(InputError, match="salt"):
        marks.cohort_digest(bytes(31), people(1))


@given(sets, sets)
def test_cohorts_have_equal_digests_only_if_they_are_equal(one: frozenset[bytes], other: frozenset[bytes]) -> None:
    assert (marks.cohort_digest(SALT, one) == marks.cohort_digest(SALT, other)) == (one == other)


@given(sets)
def test_joined_marks_are_split_again(members: frozenset[bytes]) -> None:
    assert marks.split(marks.joined(members), "crowd") == members


@given(sets.filter(lambda members: len(members) > 1))
def test_marks_in_another_order_twice_or_cut_are_refused(members: frozenset[bytes]) -> None:
    data = marks.joined(members)
    for other in (data[16:32] + data[:16] + data[32:], data[:16] + data, data[:-1], data + b"\0"):
        with pytest.raises(InputError, match="ascending"):
            marks.split(other, "crowd")


@pytest.mark.parametrize("offered", [[b"short"], ["0" * 16], [bytes(17)], b"0" * 16], ids=repr)
def test_what_are_no_marks_is_refused(offered: object) -> None:
    with pytest.raises(InputError, match="16 bytes"):
        marks.marks_of(offered, "run")  # type: ignore[arg-type]


def test_too_many_marks_are_refused_before_they_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "MAX_MARKS", 2)
    with pytest.raises(InputError, match="at most 2"):
        marks.marks_of([b"short"] * 3, "run")
