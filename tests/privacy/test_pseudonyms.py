from __future__ import annotations

import hashlib
import hmac
import itertools
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import InputError
from privacy.pseudonyms import MAX_TEXT, Pseudonyms

KEY = bytes(range(32))
ALDER = Pseudonyms(KEY, "Alder")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def test_golden_values() -> None:
    """Subjects in databases depend on these: they never change."""
    assert ALDER.person("000017") == "faab5d5b6229879882d6521e550ed755"
    assert ALDER.candidate("000017") == "07129aebd03e7f8a6eb14cb97a141f24"
    assert ALDER.item("course-1", "2") == "8652670a3c4fbbe7dbad365524882b9c"
    assert ALDER.mark(ALDER.person("000017")) == "7177cd553d23bc0855ef94f77f58d6bc"
    assert ALDER.index("scim.userName", "ada@example.org") == "b25a9a1b183517cecc9b455479e0ff1a"
    assert ALDER.digest(b"body") == "4cb9c10878a576ab37fc94aa5a27ceba"


def test_a_subject_is_the_hmac_that_the_description_says() -> None:
    parts = [b"kith.pseudonym.v1", b"Alder", b"person", b"000017"]
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert ALDER.person("000017") == hmac.new(KEY, message, hashlib.sha256).hexdigest()[:32]


def test_white_space_and_unicode_form_do_not_make_another_person() -> None:
    assert ALDER.person(" 000017\t\n") == ALDER.person("000017")
    assert ALDER.person("A\u030a-1") == ALDER.person("\u00c5-1")
    assert ALDER.person("17") != ALDER.person("000017")


def test_every_meaning_has_its_own_domain() -> None:
    same = "x"
    made = [
        ALDER.person(same),
        ALDER.candidate(same),
        ALDER.item(same),
        ALDER.mark(same),
        ALDER.index(same, same),
        ALDER.index("person", same),
        ALDER.digest(same.encode()),
    ]
    assert len(set(made)) == len(made)


def test_another_site_or_key_knows_the_same_person_by_another_name() -> None:
    others = [Pseudonyms(KEY, "Birch"), Pseudonyms(bytes(32), "Alder")]
    assert len({one.person("17") for one in (ALDER, *others)}) == 3


@given(st.lists(TEXT, min_size=1, max_size=4), st.lists(TEXT, min_size=1, max_size=4))
def test_parts_do_not_run_into_each_other(one: list[str], other: list[str]) -> None:
    assert (ALDER.item(*one) == ALDER.item(*other)) == (one == other)


@given(TEXT)
def test_a_split_of_one_text_is_another_item(text: str) -> None:
    splits = [(text[:cut], text[cut:]) for cut in range(len(text) + 1)]
    items = [ALDER.item(*split) for split in splits] + [ALDER.item(text)]
    assert len(set(items)) == len(items)


@given(TEXT.filter(str.strip))
def test_a_pseudonym_is_32_lower_case_hexadecimal_digits(text: str) -> None:
    for made in (ALDER.person(text), ALDER.item(text), ALDER.mark(text), ALDER.index("kind", text)):
        assert re.fullmatch("[0-9a-f]{32}", made)


def test_many_people_have_as_many_subjects() -> None:
    numbers = ["".join(digits) for digits in itertools.product("0123456789", repeat=4)]
    assert len({ALDER.person(number) for number in numbers}) == 10_000


@pytest.mark.parametrize("make", [ALDER.person, ALDER.candidate])
@pytest.mark.parametrize("number", ["", " \t", "\ud800", "1" * (MAX_TEXT + 1), None, 17])
def test_what_is_no_number_is_refused_without_quoting_it(make: Callable[[str], str], number: str) -> None:
    with pytest.raises(InputError) as refused:
        make(number)
    assert "1111" not in str(refused.value)


@pytest.mark.parametrize("text", ["canary-4711\ud800", None, 17, b"x"])
def test_what_is_no_text_is_refused_everywhere(text: str) -> None:
    for make in (ALDER.item, ALDER.mark, lambda text: ALDER.index("kind", text)):
        with pytest.raises(InputError) as refused:
            make(text)
        assert "canary" not in str(refused.value)


@pytest.mark.parametrize(("key", "site"), [(b"", "Alder"), (bytes(31), "Alder"), (bytes(33), "Alder"), (KEY, " ")])
def test_a_short_key_or_a_nameless_site_is_refused(key: bytes, site: str) -> None:
    with pytest.raises(InputError):
        Pseudonyms(key, site)


def test_the_key_is_not_shown() -> None:
    assert KEY.hex() not in repr(ALDER)
    assert repr(KEY) not in repr(ALDER)
