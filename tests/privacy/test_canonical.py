from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import canonical
from privacy.errors import InputError

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INTEGERS = st.integers(-(2**53 - 1), 2**53 - 1)
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | INTEGERS | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"1" + b"]" * levels


@given(DOCUMENTS)
def test_what_is_written_is_read_back_and_written_the_same(document: object) -> None:
    written = canonical.to_bytes(document)
    assert canonical.from_bytes(written, "test") == document
    assert canonical.to_bytes(canonical.from_bytes(written, "test")) == written


@given(DOCUMENTS)
def test_the_writing_means_the_same_to_any_json_reader(document: object) -> None:
    assert json.loads(canonical.to_bytes(document)) == document


@given(st.dictionaries(TEXT, INTEGERS, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_change_the_bytes(document: dict[str, int], random: object) -> None:
    items = list(document.items())
    random.shuffle(items)
    assert canonical.to_bytes(dict(items)) == canonical.to_bytes(document)


def test_the_writing_is_that_of_rfc_8785() -> None:
    # Section 3.2.3 sorts by UTF-16 code units: the emoji (D83D…) stands before U+FB33.
    document = {"\ufb33": 1, "\U0001f600": 2, "\r": 3, "ö": 4, "1": 5, "\x80": 6, "€": 7}
    expected = '{"\\r":3,"1":5,"\x80":6,"ö":4,"€":7,"\U0001f600":2,"\ufb33":1}'
    assert canonical.to_bytes(document) == expected.encode("utf-8")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"a":1,"a":1}', id="duplicate key"),
        pytest.param(b'{"a":1,"\\u0061":2}', id="duplicate key in another writing"),
        pytest.param(b'[{"x":{"a":1,"a":2}}]', id="duplicate key within"),
        pytest.param(b"1.0", id="fraction"),
        pytest.param(b'{"a":1e2}', id="exponent"),
        pytest.param(b"-0.0", id="negative zero"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"[Infinity]", id="infinity"),
        pytest.param(b'{"a":-Infinity}', id="negative infinity"),
        pytest.param(b"9007199254740992", id="2**53"),
        pytest.param(b"-9007199254740992", id="-2**53"),
        pytest.param(b"1" + b"0" * 5000, id="more digits than Python reads"),
        pytest.param(nested(34), id="deep"),
        pytest.param(nested(100_000), id="deeper than the reader's own stack"),
        pytest.param(b'{"a":' * 40 + b"1" + b"}" * 40, id="deep objects"),
        pytest.param(b'"\\ud800"', id="lone surrogate"),
        pytest.param(b'{"\\udfff":1}', id="lone surrogate as a key"),
        pytest.param(b'"\xff"', id="no UTF-8"),
        pytest.param(b"\xed\xa0\x80", id="a surrogate in UTF-8"),
        pytest.param(b"\xef\xbb\xbf1", id="byte order mark"),
        pytest.param('"a"'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"{}{}", id="two documents"),
        pytest.param(b"{'a':1}", id="no JSON"),
        pytest.param(b'"a\nb"', id="a bare control character"),
    ],
)
def test_other_shapes_of_data_are_refused(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^test\.json: expected"):
        canonical.from_bytes(data, "test.json")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(1.0, id="float"),
        pytest.param({"a": [0.5]}, id="float within"),
        pytest.param(float("nan"), id="NaN"),
        pytest.param(2**53, id="2**53"),
        pytest.param({"a": -(2**53)}, id="-2**53"),
        pytest.param("\ud800", id="lone surrogate"),
        pytest.param({"\udc00": 1}, id="lone surrogate as a key"),
        pytest.param({1: "a"}, id="number as a key"),
        pytest.param({None: "a"}, id="null as a key"),
        pytest.param(b"bytes", id="bytes"),
        pytest.param({"a", "b"}, id="a set"),
    ],
)
def test_what_json_can_not_hold_exactly_is_not_written(value: object) -> None:
    with pytest.raises(InputError):
        canonical.to_bytes(value)


def test_the_depth_is_bounded_on_both_sides() -> None:
    value: object = 1
    for _ in range(canonical.MAX_DEPTH):
        value = [value]
    assert canonical.from_bytes(canonical.to_bytes(value), "test") == value
    with pytest.raises(InputError, match="levels"):
        canonical.to_bytes([value])
    with pytest.raises(InputError, match="levels"):
        canonical.from_bytes(b"[" + canonical.to_bytes(value) + b"]", "test")


def test_the_size_is_bounded() -> None:
    assert canonical.from_bytes(b'"12345678"', "test", max_bytes=10) == "12345678"
    with pytest.raises(InputError, match="at most 10 bytes of JSON, got 11"):
        canonical.from_bytes(b'"123456789"', "test", max_bytes=10)


def test_a_refusal_does_not_repeat_what_came() -> None:
    for data in (b'{"a":"Ada Lovelace","a":1}', b'["Ada Lovelace",0.5]', b'"Ada Lovelace'):
        with pytest.raises(InputError) as refusal:
            canonical.from_bytes(data, "test")
        assert "Ada" not in str(refusal.value)
        assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        value = canonical.from_bytes(data, "test")
    except InputError:
        return
    assert canonical.from_bytes(canonical.to_bytes(value), "test") == value
