"""The one writing of what the coordinator and guards say, by what else somebody may send."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import wire
from federation.wire import (
    Advertise,
    Agree,
    Contribute,
    Contribution,
    Cosigned,
    Finish,
    Finished,
    Message,
    Proofs,
    Refusal,
    Request,
    Unmask,
    Unmasked,
    Witness,
)
from privacy import canonical
from privacy.errors import InputError

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
OF_TYPE: Mapping[str, st.SearchStrategy[Any]] = {
    "str": texts,
    "int": st.integers(0, 2**53 - 1),
    "bool": st.booleans(),
    "bytes": st.binary(max_size=40),
    "tuple[str, ...]": st.lists(texts, max_size=4).map(tuple),
    "tuple[int, ...]": st.lists(st.integers(0, 2**53 - 1), max_size=4).map(tuple),
    "tuple[bytes, ...]": st.lists(st.binary(max_size=20), max_size=4).map(tuple),
    "Mapping[str, bytes]": st.dictionaries(texts, st.binary(max_size=20), max_size=4),
}
KINDS = tuple(Message.kinds.values())


def any_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    fields = {field.name: OF_TYPE[str(field.type)] for field in dataclasses.fields(kind)}
    return st.builds(kind, **fields)


def family(kind: type[Message]) -> type[Message]:
    return Request if issubclass(kind, Request) else Message


messages = st.sampled_from(KINDS).flatmap(any_of)
SAMPLE = Contribute("run-1", b"plan", "gradient", 3, b"\0" * 16, {"North": b"sealed"})


def test_every_kind_of_the_protocol_is_known_and_no_other() -> None:
    assert {kind.__name__ for kind in KINDS} == {
        *("Advertise", "Share", "Contribute", "Agree", "Unmask", "Finish", "Prove", "Witness"),
        *("Advertised", "Shares", "Contribution", "Agreed", "Unmasked", "Finished", "Proofs", "Cosigned", "Refusal"),
    }


@settings(deadline=None)
@given(messages)
def test_every_message_is_read_back_as_it_was_written(message: Message) -> None:
    data = wire.to_bytes(message)
    assert wire.from_bytes(data, family(type(message)), "message") == message
    assert wire.from_bytes(data, type(message), "message") == message


@settings(max_examples=300, deadline=None)
@given(messages, st.data())
def test_a_changed_byte_is_refused_or_says_something_else(message: Message, data: st.DataObject) -> None:
    """No second writing of the same message: what is still read differs in a value."""
    written = bytearray(wire.to_bytes(message))
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] ^= data.draw(st.integers(1, 255))
    try:
        read = wire.from_bytes(bytes(written), Message, "message")
    except InputError:
        return
    assert read != message
    assert wire.to_bytes(read) == bytes(written)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        wire.from_bytes(data, Message, "message")


def spaced(text: str) -> str:
    return text.replace(",", ", ")


def in_another_order(text: str) -> str:
    document = json.loads(text)
    return json.dumps(dict(reversed(document.items())), separators=(",", ":"))


def escaped(text: str) -> str:
    return text.replace("gradient", "\\u0067radient")


def ended_with_a_line(text: str) -> str:
    return text + "\n"


def with_an_unpadded_field(text: str) -> str:
    return text.replace("==", "")


def with_loose_padding_bits(text: str) -> str:
    return text.replace("AA==", "AB==")


def with_a_number_as_a_float(text: str) -> str:
    return text.replace('"index":3', '"index":3.0')


def with_a_key_twice(text: str) -> str:
    return text.replace('"index":3', '"index":3,"index":3')


def with_another_field(text: str) -> str:
    return text.replace('"index":3', '"index":3,"rate":1')


def without_a_field(text: str) -> str:
    return text.replace('"index":3,', "")


def of_an_unknown_kind(text: str) -> str:
    return text.replace("Contribute", "Give")


def of_no_kind(text: str) -> str:
    return text.replace(',"kind":"Contribute"', "")


def of_a_kind_that_is_none(text: str) -> str:
    return text.replace('"Contribute"', "[]")


def of_a_reply(text: str) -> str:
    del text
    return wire.to_bytes(Contribution(b"", b"")).decode()


def of_all_requests(text: str) -> str:
    del text
    return '{"kind":"Request","run":"run-1"}'


def as_a_list(text: str) -> str:
    return f"[{text}]"


@pytest.mark.parametrize(
    "change",
    [
        spaced,
        in_another_order,
        escaped,
        ended_with_a_line,
        with_an_unpadded_field,
        with_loose_padding_bits,
        with_a_number_as_a_float,
        with_a_key_twice,
        with_another_field,
        without_a_field,
        of_an_unknown_kind,
        of_no_kind,
        of_a_kind_that_is_none,
        of_a_reply,
        of_all_requests,
        as_a_list,
    ],
)
def test_another_writing_or_another_message_is_no_request(change: Any) -> None:
    text = wire.to_bytes(SAMPLE).decode()
    assert wire.from_bytes(text.encode(), Request, "request") == SAMPLE
    other = change(text)
    assert other != text
    with pytest.raises(InputError):
        wire.from_bytes(other.encode(), Request, "request")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run", ""),
        ("run", 3),
        ("run", "x" * (wire.MAX_TEXT + 1)),
        ("plan", "not base64!"),
        ("plan", None),
        ("index", -1),
        ("index", 2**53),
        ("index", True),
        ("index", "3"),
        ("inbox", []),
        ("inbox", {"": "QQ=="}),
        ("inbox", {"North": 1}),
    ],
)
def test_a_field_of_another_type_or_beyond_its_bounds_is_refused(name: str, value: object) -> None:
    document = {**json.loads(wire.to_bytes(SAMPLE)), name: value}
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(InputError):
        wire.from_bytes(data, Request, "request")


def test_whole_numbers_are_no_truths_and_truths_no_numbers() -> None:
    for written in (
        '{"kind":"Refusal","reason":"no","waiting":1}',
        '{"held":[true],"kind":"Prove","run":"run-1","sizes":[true]}',
    ):
        with pytest.raises(InputError):
            wire.from_bytes(written.encode(), Message, "reply")


def test_the_right_kind_is_told_from_all_others() -> None:
    data = wire.to_bytes(Finish("run-1"))
    for kind in KINDS:
        if kind is not Finish:
            with pytest.raises(InputError, match="expected a message"):
                wire.from_bytes(data, kind, "message")


def test_a_message_that_is_too_long_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = wire.to_bytes(SAMPLE)
    monkeypatch.setattr(wire, "MAX_BYTES", len(data) - 1)
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(InputError, match="at most"):
        wire.from_bytes(data, Request, "request")


@pytest.mark.parametrize("depth", [40, 100_000])
def test_a_message_that_is_too_deep_is_refused(depth: int) -> None:
    data = b'{"kind":"Proofs","statement":' + b"[" * depth + b"]" * depth + b"}"
    with pytest.raises(InputError):
        wire.from_bytes(data, Message, "message")


@pytest.mark.parametrize(
    "message",
    [
        Agree("run-1", "gradient", 0, ("a", "b", "c")),
        Unmask("run-1", "gradient", 0, (), {"a": b"", "b": b"", "c": b""}),
        Unmasked({"a": b"", "b": b"", "c": b""}, {}),
        Witness("run-1", (), ("a", "b", "c"), ()),
        Witness("run-1", (), (), (b"", b"", b"")),
        Finished(b"", ("a", "b", "c")),
        Cosigned(("a", "b", "c")),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_list_that_is_too_long_is_refused(message: Message, monkeypatch: pytest.MonkeyPatch) -> None:
    data = wire.to_bytes(message)
    assert wire.from_bytes(data, type(message), "message") == message
    monkeypatch.setattr(wire, "MAX_ITEMS", 2)
    with pytest.raises(InputError, match="at most 2 items, got 3"):
        wire.from_bytes(data, type(message), "message")


def test_what_has_no_canonical_writing_is_not_written() -> None:
    for message in (Refusal("\ud800"), Proofs(3.5), Advertise("run-1", object())):  # type: ignore[arg-type]
        with pytest.raises(InputError):
            wire.to_bytes(message)


def test_an_error_names_the_place_and_not_the_content() -> None:
    document = {**json.loads(wire.to_bytes(SAMPLE)), "index": "canary"}
    with pytest.raises(InputError) as error:
        wire.from_bytes(canonical.to_bytes(document), Request, "request")
    assert re.match("request, index", str(error.value))
    assert "canary" not in str(error.value)
