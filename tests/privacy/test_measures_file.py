from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy import canonical
from privacy.errors import InputError, KithError, VerificationFailed
from privacy.measures_file import (
    ABOUT,
    CONFIDENCE,
    FORMAT,
    Answer,
    Figure,
    Marks,
    Measures,
    NoisySum,
    check_measures,
    groups_of,
    measures_of,
)
from privacy.plan import SECURE_SUM, GaussianSum, Plan, SiteBound

WEIGHTS = struct.pack("<3d", 0.5, -1.25, 3.0)
SCALE = Marks("-1.5", "0.75", "0.1")
WHOLE = 2**20


def plan_of(*measures: str) -> Plan:
    cells = {"evaluation": 16, "head-count": 1}
    return Plan(
        use_case="retention",
        features="0" * 64,
        trust="local",
        delta="0.00001",
        clip="2",
        sites=(SiteBound("North", 100), SiteBound("South", 50)),
        events=(
            GaussianSum("second-moments", times=1, coordinates=6, grid=32, sensitivity=2**33, noise=2**40),
            GaussianSum("gradient", times=12, coordinates=3, grid=28, sensitivity=2**29, noise=2**35),
            *(GaussianSum(name, 1, cells[name], grid=20, sensitivity=WHOLE, noise=17 * WHOLE) for name in measures),
        ),
        replies_at_least=1,
    )


PLAN = plan_of("evaluation", "head-count")
SUMS = {
    "evaluation": (
        NoisySum(("North",), tuple(n * WHOLE + n for n in range(16))),
        NoisySum(("South",), tuple(-n * WHOLE for n in range(16))),
    ),
    "head-count": (NoisySum(("North",), (90 * WHOLE + 7,)), NoisySum(("South",), (-3,))),
}
FIGURES = (
    Figure("evaluation", "group", "all", "auc", "0.7000", "0.6000", "0.8000", None),
    Figure("evaluation", "site/North", "all", "auc", None, "0.1000", "1.0000", "too wide"),
    Figure("evaluation", "site/South", "all", "auc", None, None, None, "too few people"),
    Figure("head-count", "site/North", "all", "people", "90.0", "60.0", "100.0", None),
)
GOOD = Measures(PLAN.digest, SCALE, SUMS, FIGURES)


def bytes_of(document: Any) -> bytes:
    return canonical.to_bytes(document)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def signed(measures: Measures, weights: bytes = WEIGHTS) -> dict[tuple[str, str], Answer]:
    """What receipts say if these sums left the sites; under a secure sum, masked values."""
    scored = weights + struct.pack("<3d", -1.5, 0.75, 0.1)
    return {
        (site, event): Answer(
            sha256(b"" if event == "head-count" else scored),
            sha256(struct.pack(f"<{len(one.values)}q", *one.values) if len(one.sites) == 1 else site.encode()),
        )
        for event, sums in measures.sums.items()
        for one in sums
        for site in one.sites
    }


def test_measures_that_were_signed_are_accepted() -> None:
    assert check_measures(bytes_of(GOOD.to_document()), PLAN, signed(GOOD), WEIGHTS) == GOOD


def test_heads_alone_need_no_scale() -> None:
    plan = plan_of("head-count")
    found = Measures(plan.digest, None, {"head-count": SUMS["head-count"]}, FIGURES[3:])
    assert check_measures(bytes_of(found.to_document()), plan, signed(found), WEIGHTS) == found


def test_the_measures_of_a_plan_are_its_events_beyond_the_models() -> None:
    assert [event.name for event in measures_of(PLAN)] == ["evaluation", "head-count"]
    assert measures_of(plan_of()) == ()


def test_the_file_says_on_whom_it_was_measured_and_what_that_means() -> None:
    document = GOOD.to_document()
    assert (document["format"], document["confidence"]) == (FORMAT, CONFIDENCE)
    said = " ".join(document["about"])
    assert "the people whose records trained the model, not on others" in said
    assert "bounds that difference and does not remove it" in said


def change(path: tuple[Any, ...], value: Any) -> Callable[[dict[str, Any]], None]:
    def apply(document: dict[str, Any]) -> None:
        place: Any = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return apply


EAST = {"sites": ["East"], "values": [0] * 16}
FORGED = {
    "two sites as one sum": lambda document: document["sums"]["head-count"].__setitem__(
        slice(None), [{"sites": ["North", "South"], "values": [0]}]
    ),
    "sites in another order": lambda document: document["sums"]["evaluation"].reverse(),
    "another plan": change(("plan",), "1" * 64),
    "a sum": change(("sums", "evaluation", 0, "values", 3), 0),
    "a sum by one step": change(("sums", "head-count", 1, "values", 0), -4),
    "a sum too short": change(("sums", "evaluation", 0, "values"), [1] * 15),
    "a site left out": lambda document: document["sums"]["evaluation"].pop(),
    "a site added": lambda document: document["sums"]["evaluation"].insert(0, EAST),
    "a measure left out": lambda document: document["sums"].pop("head-count"),
    "a measure added": change(("sums", "fairness-sex"), [EAST]),
    "another centre": change(("scale", "centre"), "-1.4"),
    "another spread": change(("scale", "spread"), "0.5"),
    "another threshold": change(("scale", "threshold"), "0.0"),
    "no scale": change(("scale",), None),
    "a figure twice": lambda document: document["figures"].append(dict(document["figures"][0])),
    "a figure of another site": change(("figures", 0, "scope"), "site/East"),
    "a figure of no measure": change(("figures", 0, "event"), "gradient"),
    "a figure of another name": change(("figures", 0, "name"), "accuracy"),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_what_the_sites_did_not_sign_or_the_plan_does_not_hold_is_refused(
    forge: Callable[[dict[str, Any]], None],
) -> None:
    document = GOOD.to_document()
    forge(document)
    with pytest.raises(VerificationFailed, match=r"measures\.json.*: expected"):
        check_measures(bytes_of(document), PLAN, signed(GOOD), WEIGHTS)


def test_a_measure_without_a_receipt_is_refused() -> None:
    answers = signed(GOOD)
    del answers["South", "head-count"]
    with pytest.raises(VerificationFailed, match="head-count: expected sums over exactly the sites with a receipt"):
        check_measures(bytes_of(GOOD.to_document()), PLAN, answers, WEIGHTS)


def test_a_site_may_be_absent_from_a_measure_and_then_has_no_figures_of_it() -> None:
    sums = {**SUMS, "head-count": SUMS["head-count"][1:]}
    figures = FIGURES[:3]
    found = Measures(PLAN.digest, SCALE, sums, figures)
    assert check_measures(bytes_of(found.to_document()), PLAN, signed(found), WEIGHTS) == found
    told = Measures(PLAN.digest, SCALE, sums, FIGURES)
    with pytest.raises(VerificationFailed, match="known ones"):
        check_measures(bytes_of(told.to_document()), PLAN, signed(found), WEIGHTS)


# Under a secure sum

SHARED = replace(
    PLAN,
    trust=SECURE_SUM,
    sites=tuple(SiteBound(name, 100) for name in ("East", "North", "South", "West")),
    replies_at_least=3,
    colluding=1,
)
THREE = ("East", "North", "South")
TOGETHER = Measures(
    SHARED.digest,
    SCALE,
    {"evaluation": (NoisySum(THREE, tuple(range(16))),), "head-count": (NoisySum(THREE, (9,)),)},
    FIGURES[:1],
)


def test_sites_have_a_sum_each_or_one_together() -> None:
    assert groups_of(PLAN, ("South", "North")) == [("North",), ("South",)]
    assert groups_of(SHARED, reversed(THREE)) == [THREE]


def test_under_a_secure_sum_the_sites_with_receipts_have_one_sum() -> None:
    assert check_measures(bytes_of(TOGETHER.to_document()), SHARED, signed(TOGETHER), WEIGHTS) == TOGETHER


def test_under_a_secure_sum_the_sum_itself_is_the_coordinator_s_word() -> None:
    document = TOGETHER.to_document()
    document["sums"]["head-count"][0]["values"] = [8]
    told = check_measures(bytes_of(document), SHARED, signed(TOGETHER), WEIGHTS)
    assert told.sums["head-count"][0].values == (8,), "no receipt says otherwise"


FORGED_TOGETHER = {
    "a site that has no receipt": change(("sums", "evaluation", 0, "sites"), ["East", "North", "South", "West"]),
    "a site left out": change(("sums", "evaluation", 0, "sites"), ["East", "North"]),
    "a site twice": change(("sums", "evaluation", 0, "sites"), ["East", "East", "North", "South"]),
    "a single site's sum": lambda document: document["sums"]["head-count"].append({"sites": ["West"], "values": [1]}),
    "a sum too short": change(("sums", "evaluation", 0, "values"), [1] * 15),
    "a figure of a site": change(("figures", 0, "scope"), "site/East"),
    "another scale": change(("scale", "centre"), "-1.4"),
}


@pytest.mark.parametrize("forge", FORGED_TOGETHER.values(), ids=FORGED_TOGETHER.keys())
def test_what_receipts_of_a_secure_sum_do_tell_is_held_against_it(forge: Callable[[dict[str, Any]], None]) -> None:
    document = TOGETHER.to_document()
    forge(document)
    with pytest.raises(VerificationFailed, match=r"measures\.json.*: expected"):
        check_measures(bytes_of(document), SHARED, signed(TOGETHER), WEIGHTS)


# The writing


def test_a_measure_of_other_weights_than_the_released_is_refused() -> None:
    with pytest.raises(VerificationFailed, match="at the released weights"):
        check_measures(bytes_of(GOOD.to_document()), PLAN, signed(GOOD), struct.pack("<3d", 0.5, -1.25, 3.0001))


MALFORMED = {
    "a field more": change(("note",), "good"),
    "a field less": lambda document: document.pop("confidence"),
    "another format": change(("format",), "urn:kith:measures:v1"),
    "kinder words": change(("about", 0), "Measured on people that the model had not seen."),
    "another confidence": change(("confidence",), "0.5"),
    "a text for a sum": change(("sums", "head-count", 1, "values"), ["3"]),
    "a truth value for a sum": change(("sums", "head-count", 1, "values"), [True]),
    "sums without sites": change(("sums", "head-count"), [1, 2]),
    "sums by site": change(("sums", "head-count"), {"North": [1], "South": [2]}),
    "sites that are a text": change(("sums", "head-count", 0, "sites"), "North"),
    "a sum with a word more": change(("sums", "head-count", 0, "noise"), "1"),
    "sums that are a list": change(("sums",), []),
    "a scale of words": change(("scale", "centre"), "low"),
    "a scale written longer": change(("scale", "centre"), "-1.50"),
    "a scale of a number more": change(("scale", "width"), "1.0"),
    "a value outside its interval": change(("figures", 0, "value"), "0.9"),
    "an interval the wrong way round": change(("figures", 0, "low"), "0.95"),
    "a value that is no number": change(("figures", 0, "value"), "good"),
    "no value and no reason": change(("figures", 1, "why"), None),
    "a value and a reason": change(("figures", 0, "why"), "too few people"),
    "half an interval": change(("figures", 2, "low"), "0.1"),
    "bounds the wrong way round": change(("figures", 1, "high"), "0.05"),
    "a bound that is no number": change(("figures", 1, "high"), "one"),
    "figures without a list": change(("figures",), {}),
}


@pytest.mark.parametrize("spoil", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_file_is_refused(spoil: Callable[[dict[str, Any]], None]) -> None:
    document = GOOD.to_document()
    spoil(document)
    with pytest.raises(InputError):
        check_measures(bytes_of(document), PLAN, signed(GOOD), WEIGHTS)


def test_another_writing_of_the_same_content_is_refused() -> None:
    with pytest.raises(InputError, match="canonical JSON"):
        Measures.from_bytes(bytes_of(GOOD.to_document()) + b"\n")


@given(st.integers(0, 10**6), st.integers(0, 255))
def test_any_byte_changed_is_refused_or_is_the_readings_alone(place: int, byte: int) -> None:
    """Sums, scale, plan and words are bound; a figure's own digits are the coordinator's arithmetic (rule 4)."""
    data = bytearray(bytes_of(GOOD.to_document()))
    place %= len(data)
    if data[place] == byte:
        return
    data[place] = byte
    try:
        found = check_measures(bytes(data), PLAN, signed(GOOD), WEIGHTS)
    except KithError:
        return
    assert (found.plan, found.scale, found.sums) == (GOOD.plan, GOOD.scale, GOOD.sums)


@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_a_scale_is_written_without_loss(number: float) -> None:
    text = repr(number)
    if abs(number) > 1e300 or 0 < abs(number) < 1e-300:
        return
    assert struct.unpack("<d", Marks(text, "1.0", "0.0").state(b"")[:8])[0] == number or math.isnan(number)


def test_what_is_said_about_measures_fits_its_place() -> None:
    assert all(sentence.endswith(".") and len(sentence) < 400 for sentence in ABOUT)
