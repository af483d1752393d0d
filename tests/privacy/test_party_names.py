"""Names in a key list that a person could take for another are refused."""

from __future__ import annotations

import pytest

from privacy.errors import InputError
from privacy.party_names import check_name, check_parties, site_of, site_party


@pytest.mark.parametrize(
    "name",
    [
        "North",
        "South & West",
        "Süd-Ost (2)",
        "Zürich, Werk 7",
        "Αθήνα",
        "Москва",
        "北京",
        "東京タワー",
        "Seoul 서울",
        "القاهرة",
        "דרום",
    ],
    ids=ascii,
)
def test_plain_names_of_any_one_script_are_fine(name: str) -> None:
    check_parties(["coordinator", site_party(name)], "list")
    check_name(name, "group")
    assert site_of(site_party(name)) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("N\N{CYRILLIC SMALL LETTER O}rth", "one script", id="a Cyrillic o among Latin"),
        pytest.param("\N{GREEK CAPITAL LETTER NU}orth", "one script", id="a Greek N among Latin"),
        pytest.param("Mu\u0308nchen", "NFKC", id="decomposed"),
        pytest.param("\uff2e\uff4f\uff52\uff54\uff48", "NFKC", id="full width"),
        pytest.param("\U0001d40d\U0001d428\U0001d42b\U0001d42d\U0001d421", "NFKC", id="mathematical letters"),
        pytest.param("O\ufb03ce", "NFKC", id="ligature"),
        pytest.param("North\u200b", "shows", id="zero width space"),
        pytest.param("Nor\u200dth", "shows", id="zero width joiner"),
        pytest.param("\u202eNorth", "shows", id="right-to-left override"),
        pytest.param("North\ufe0f", "shows", id="variation selector"),
        pytest.param("North\u115f", "shows", id="Hangul filler"),
        pytest.param("North\u034f", "shows", id="combining grapheme joiner"),
        pytest.param("Nor\u00adth", "shows", id="soft hyphen"),
        pytest.param("North ", "shows", id="space at the end"),
        pytest.param("South  West", "shows", id="two spaces"),
        pytest.param("South\u3000West", "NFKC", id="ideographic space"),
        pytest.param("North\n", "shows", id="newline"),
        pytest.param("North\x1b[31m", "shows", id="terminal escape"),
        pytest.param("North\ue000", "shows", id="private use"),
        pytest.param("Plant \N{BENGALI DIGIT FOUR}", "digits", id="digits of another script"),
        pytest.param("", "1 to 200", id="empty"),
        pytest.param("x" * 201, "1 to 200", id="too long"),
    ],
)
def test_names_that_hide_something_are_refused(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        check_parties([site_party(name)], "list")
    with pytest.raises(InputError, match=reason):
        check_name(name, "group")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("North", "NORTH", id="case"),
        pytest.param("CCCP", "СССР", id="Cyrillic capitals"),
        pytest.param("Oxoce", "Охосе", id="Cyrillic"),
        pytest.param("TOKYO", "ΤΟΚΥΟ", id="Greek capitals"),
        pytest.param("Straße", "STRASSE", id="sharp s"),
        pytest.param("Kayip", "Kayıp", id="dotless i"),
    ],
)
def test_two_names_that_are_printed_alike_are_refused_in_one_list(one: str, other: str) -> None:
    check_parties([site_party(one)], "list")
    check_parties([site_party(other)], "list")
    with pytest.raises(InputError, match="differ to the eye"):
        check_parties([site_party(one), site_party(other)], "list")


@pytest.mark.parametrize("party", ["", "boss", "Coordinator", "site", "Site/North", "root/1"])
def test_other_parties_than_the_coordinator_and_sites_are_refused(party: str) -> None:
    with pytest.raises(InputError, match="coordinator or site"):
        check_parties([party], "list")


def test_a_refusal_shows_code_points_and_not_the_look_alike() -> None:
    with pytest.raises(InputError, match=r"N\\u043erth"):
        check_parties(["site/Nоrth"], "list")
