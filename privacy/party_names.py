"""Names of parties in a key list: so plain that no two of them look alike to the people who sign the list.

Rules, checked for every name:
    1. `coordinator`, or `site/` and the site's name of 1 to 200 characters.
    2. The name is in Unicode's NFKC form (UAX 15): composed, and without full-width, superscript or ligature twins.
    3. Nothing invisible: no controls, no format or private characters, no space but single inner U+0020.
    4. Letters of one script, or the mixtures of Chinese, Japanese and Korean with Latin (UTS 39 section 5.2, "highly
       restrictive"); digits are ASCII's.
    5. Two names of one list differ also after case folding and with Cyrillic and Greek letters read as the Latin ones
       that they are printed like (the usual part of UTS 39's confusables.txt).

The standard library does not know a character's script. The first word of a letter's Unicode name stands for it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from itertools import chain
from typing import Final

from privacy.errors import InputError

COORDINATOR: Final = "coordinator"
MAX_NAME: Final = 200
_SITE: Final = "site/"
_MIXTURES: Final = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
INVISIBLE: Final = frozenset(
    chain(
        (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        range(0x180B, 0x1810),
        range(0xFE00, 0xFE10),
        range(0xE0100, 0xE01F0),
    )
)  # printable to Python, but drawn as nothing (Default_Ignorable_Code_Point, and the blank Braille pattern)
_PRINTED_ALIKE: Final = str.maketrans(
    "авекмнорстухізјѕԁһӏԛԝ" + "αβεζηικμνορτυχ" + "ı",
    "abekmhopctyxi3jsdhlqw" + "abezhikmnoptyx" + "i",
)


def site_party(site: str) -> str:
    """The party that a site is."""
    return _SITE + site


def site_of(party: str) -> str | None:
    """The site's name, or None for the coordinator."""
    return party.removeprefix(_SITE) if party.startswith(_SITE) else None


def check_name(name: str, where: str) -> None:
    """Return if this is a plain name (rules 1 to 4), of a group for one.

    Raises:
        InputError: if it is not.
    """
    if fault := _fault(name):
        raise InputError(f"{where}: expected {fault}, got {ascii(name)[:80]}")


def check_parties(parties: Iterable[str], where: str) -> None:
    """Return if these are names of parties, no two of them alike.

    Raises:
        InputError: if one breaks rules 1 to 4, or two rule 5.
    """
    drawn: dict[str, str] = {}
    for party in set(parties):
        name = site_of(party)
        if name is None and party != COORDINATOR:  # rule 1
            raise InputError(f"{where}: expected coordinator or site/<name>, got {ascii(party)[:80]}")
        check_name(party if name is None else name, where)
        shape = party.casefold().translate(_PRINTED_ALIKE)
        if drawn.setdefault(shape, party) != party:  # rule 5
            raise InputError(f"{where}: expected names that differ to the eye, got {ascii(party)[:80]} twice")


def _fault(name: str) -> str:
    """What was expected of a name that breaks a rule; "" if it breaks none."""
    if not 1 <= len(name) <= MAX_NAME:
        return f"a name of 1 to {MAX_NAME} characters"  # rule 1
    if not unicodedata.is_normalized("NFKC", name):
        return "a name in NFKC"  # rule 2
    spaces = name != name.strip() or "  " in name
    if spaces or not name.isprintable() or any(ord(one) in INVISIBLE for one in name):
        return "a name that shows every character"  # rule 3
    if any(unicodedata.category(one)[0] == "N" and not one.isascii() for one in name):
        return "digits 0 to 9"  # rule 4
    scripts = {_script(one) for one in name if one.isalpha()}
    if len(scripts) > 1 and not any(scripts <= mixture for mixture in _MIXTURES):
        return "letters of one script"  # rule 4
    return ""


def _script(letter: str) -> str:
    word = unicodedata.name(letter, "").replace("-", " ").split(" ")[0]
    return "CJK" if word == "IDEOGRAPHIC" else word
