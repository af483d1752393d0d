from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import canonical
from privacy.errors import InputError
from privacy.plan import (
    DISCRETE,
    FLOAT64,
    LOCAL,
    MAX_STEPS,
    MECHANISMS,
    SECURE_SUM,
    GaussianSum,
    Plan,
    SiteBound,
    decimal,
    written,
)

MOMENTS = GaussianSum("second-moments", 1, 6, 20, 2**21, 2**23)
GRADIENT = GaussianSum("gradient", 12, 3, 24, 2**25, 2**28)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
STEPS = st.integers(1, MAX_STEPS)
EVENTS = st.builds(
    GaussianSum,
    name=NAMES,
    times=st.integers(1, 1000),
    coordinates=st.integers(1, 10**7),
    grid=st.integers(0, 60),
    sensitivity=STEPS,
    noise=STEPS,
    rate=st.sampled_from(["1", "0.5", "0.01", "0.000000000001", "0.999999999999"]),
)
SITES = st.lists(NAMES, min_size=1, max_size=5, unique=True).flatmap(
    lambda names: st.tuples(*(st.builds(SiteBound, st.just(n), st.integers(1, 10**9)) for n in sorted(names)))
)
WORDS: dict[str, Any] = {
    "use_case": NAMES,
    "features": st.binary(min_size=32, max_size=32).map(bytes.hex),
    "delta": st.sampled_from(["0.00001", "1E-7", "0.5", "1e-12"]),
    "clip": st.sampled_from(["1", "2.645751", "0.000001"]),
}
LOCAL_PLANS = st.builds(
    Plan,
    **WORDS,
    trust=st.just(LOCAL),
    sites=SITES,
    events=st.lists(EVENTS, min_size=1, max_size=4, unique_by=lambda event: event.name).map(tuple),
    replies_at_least=st.just(1),
    mechanism=st.sampled_from(MECHANISMS),
)


@st.composite
def secure_plans(draw: st.DrawFn) -> Plan:
    """Plans of secure sums that hold."""
    count = draw(st.integers(3, 40))
    replies = draw(st.integers(count // 2 + 1 + (count % 2), count))
    shared = replace(GRADIENT, noise=draw(st.integers(1, 2**40)))
    return Plan(
        **{name: draw(values) for name, values in WORDS.items()},
        trust=SECURE_SUM,
        sites=tuple(SiteBound(f"{n:02}", draw(st.integers(1, 10**6))) for n in range(count)),
        events=(replace(MOMENTS, noise=draw(st.integers(1, 2**40))), shared),
        replies_at_least=replies,
        colluding=draw(st.integers(1, 2 * replies - count - 1)),
    )


PLANS = LOCAL_PLANS | secure_plans()
PLAN = Plan(
    use_case="retention",
    features="ab" * 32,
    trust="local",
    delta="0.00001",
    clip="2",
    sites=(SiteBound("North", 100), SiteBound("South", 2000)),
    events=(MOMENTS, GRADIENT),
    replies_at_least=1,
)
SHARED = replace(
    PLAN,
    trust=SECURE_SUM,
    sites=tuple(SiteBound(name, 100) for name in ("East", "North", "South", "West")),
    replies_at_least=3,
    colluding=1,
)


def written_with(**changes: Any) -> bytes:
    """The plan's canonical bytes with some fields changed, whatever they are."""
    return canonical.to_bytes({**json.loads(PLAN.to_bytes()), **changes})


@given(PLANS)
@settings(max_examples=60)
def test_a_plan_is_read_back_as_written(plan: Plan) -> None:
    again = Plan.from_bytes(plan.to_bytes())
    assert again == plan
    assert again.digest == plan.digest


@given(PLANS, PLANS)
@settings(max_examples=40)
def test_two_plans_have_one_digest_only_if_they_are_equal(one: Plan, other: Plan) -> None:
    assert (one.digest == other.digest) == (one == other)


@pytest.mark.parametrize(
    "changed",
    [
        replace(PLAN, use_case="training"),
        replace(PLAN, features="cd" * 32),
        SHARED,
        replace(PLAN, replies_at_least=2),
        replace(PLAN, delta="0.000010"),
        replace(PLAN, clip="2.0"),
        replace(PLAN, sites=PLAN.sites[:1]),
        replace(PLAN, sites=(SiteBound("North", 101), PLAN.sites[1])),
        replace(PLAN, events=(GRADIENT, MOMENTS)),
        replace(PLAN, mechanism=FLOAT64),
        replace(PLAN, events=(MOMENTS, replace(GRADIENT, rate="0.5"))),
        *(
            replace(PLAN, events=(MOMENTS, replace(GRADIENT, **{field: getattr(GRADIENT, field) + 1})))
            for field in ("times", "coordinates", "grid", "sensitivity", "noise")
        ),
    ],
    ids=str,
)
def test_every_field_enters_the_digest(changed: Plan) -> None:
    assert changed.digest != PLAN.digest


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unit", "record"),
        ("unit", "Employee"),
        ("neighbours", "replace-one"),
        ("mechanism", "laplace"),
        ("mechanism", "gaussian"),
        ("mechanism", None),
        ("mechanism", ["discrete-gaussian-on-grid"]),
        ("replies_at_least", 0),
        ("replies_at_least", 3),
        ("replies_at_least", True),
        ("replies_at_least", "1"),
        ("colluding", 1),
        ("colluding", None),
        ("trust", "none"),
        ("trust", None),
        ("delta", "0"),
        ("delta", "1"),
        ("delta", "-0.1"),
        ("delta", "NaN"),
        ("delta", "Infinity"),
        ("delta", "1e-5x"),
        ("delta", ""),
        ("delta", "0." + "0" * 70 + "1"),
        ("delta", "1e-999"),
        ("clip", "0"),
        ("clip", "-1"),
        ("clip", "inf"),
        ("sites", ()),
        ("sites", (SiteBound("South", 1), SiteBound("North", 1))),
        ("sites", (SiteBound("North", 1), SiteBound("North", 2))),
        ("events", ()),
        ("events", (GRADIENT, replace(GRADIENT, noise=1))),
    ],
)
def test_a_plan_that_does_not_say_exactly_what_would_run_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=f"plan {field}"):
        replace(PLAN, **{field: value})


@pytest.mark.parametrize("field", ["times", "coordinates", "grid", "sensitivity", "noise"])
@pytest.mark.parametrize("value", [-1, 0.5, 1.0, True, "1", None, 2**53, Fraction(1)])
def test_an_event_of_anything_but_bounded_whole_numbers_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field):
        replace(GRADIENT, **{field: value})


@pytest.mark.parametrize("field", ["times", "coordinates", "sensitivity", "noise"])
def test_an_event_without_releases_length_sensitivity_or_noise_is_refused(field: str) -> None:
    with pytest.raises(InputError, match=field):
        replace(GRADIENT, **{field: 0})


@pytest.mark.parametrize(
    "rate",
    [
        *("0", "0.0", "1.0", "1.5", "2", "-0.5", "0.50", ".5", "5e-1", " 0.5", "0.5\n", "NaN", "", "1/2", "0,5", "٠.٥"),
        *("0.0000000000001", 1, 0.5, None, True, Fraction(1, 2), Decimal("0.5")),
    ],
    ids=ascii,
)
def test_a_rate_that_is_no_plain_decimal_up_to_one_is_refused(rate: Any) -> None:
    with pytest.raises(InputError, match="rate: expected"):
        replace(GRADIENT, rate=rate)


def test_everybody_takes_part_and_noise_is_exact_unless_a_plan_says_otherwise() -> None:
    assert (GRADIENT.rate, PLAN.mechanism) == ("1", DISCRETE)
    assert not GRADIENT.sampled
    assert not PLAN.sampled
    rarely = replace(GRADIENT, rate="0.01")
    assert rarely.sampled
    assert replace(PLAN, events=(MOMENTS, rarely)).sampled


def test_sampling_takes_nothing_off_what_is_charged() -> None:
    rarely = replace(PLAN, events=tuple(replace(event, rate="0.001") for event in PLAN.events))
    assert rarely.mu_squared == PLAN.mu_squared


@pytest.mark.parametrize("people", [0, -5, 1.5, True, "10", 10**9 + 1])
def test_a_head_count_bound_that_is_none_is_refused(people: Any) -> None:
    with pytest.raises(InputError, match="people_at_most"):
        SiteBound("North", people)


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_a_site_without_a_usable_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="plan site name"):
        SiteBound(name, 1)


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_an_event_without_a_usable_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="plan event name"):
        replace(GRADIENT, name=name)


SITE = {"name": "North", "people_at_most": 100}
EVENT = {"name": "gradient", "times": 1, "coordinates": 1, "grid": 0, "sensitivity": 1, "noise": 3, "rate": "1"}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(written_with(epsilon="1"), id="unknown field"),
        pytest.param(written_with(sites=[{**SITE, "people": 3}]), id="unknown field of a site"),
        pytest.param(written_with(events=[{**EVENT, "mu2": "0"}]), id="a cost typed in"),
        pytest.param(canonical.to_bytes({"use_case": "retention"}), id="missing fields"),
        pytest.param(written_with(sites=[{"name": "North"}]), id="missing field of a site"),
        pytest.param(written_with(sites=5), id="sites are a number"),
        pytest.param(written_with(sites="North"), id="sites are a text"),
        pytest.param(written_with(sites=[["North", 100]]), id="a site is a list"),
        pytest.param(written_with(sites={"name": "North"}), id="sites are an object"),
        pytest.param(written_with(events=None), id="events are null"),
        pytest.param(written_with(events=[{**EVENT, "name": 5}]), id="an event's name is a number"),
        pytest.param(written_with(events=[{**EVENT, "name": ["gradient"]}]), id="an event's name is a list"),
        pytest.param(written_with(events=[{**EVENT, "times": True}]), id="an event happens true times"),
        pytest.param(written_with(events=[{**EVENT, "rate": 1}]), id="a rate is a number"),
        pytest.param(written_with(events=[{k: v for k, v in EVENT.items() if k != "rate"}]), id="no rate"),
        pytest.param(written_with(sites=[{**SITE, "name": ["North"]}]), id="a site's name is a list"),
        pytest.param(written_with(delta=1), id="delta is a number"),
        pytest.param(written_with(clip=None), id="clip is null"),
        pytest.param(written_with(use_case=None), id="use case is null"),
        pytest.param(written_with(use_case=5), id="use case is a number"),
        pytest.param(written_with(use_case=["retention"]), id="use case is a list"),
        pytest.param(written_with(features=None), id="features are null"),
        pytest.param(written_with(features={"a": 1}), id="features are an object"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"1", id="a number"),
        pytest.param(PLAN.to_bytes() + b"\n", id="a line's end"),
        pytest.param(b" " + PLAN.to_bytes(), id="a space"),
        pytest.param(json.dumps(json.loads(PLAN.to_bytes())).encode(), id="another writing"),
        pytest.param(PLAN.to_bytes().replace(b"North", b"N\\u006frth"), id="an escape"),
        pytest.param(PLAN.to_bytes().replace(b'"clip"', b'"clip":"2","clip"'), id="duplicate key"),
        pytest.param(PLAN.to_bytes().replace(b'"people_at_most":100', b'"people_at_most":100.0'), id="fraction"),
        pytest.param(PLAN.to_bytes().replace(b'"people_at_most":100', b'"people_at_most":1e2'), id="exponent"),
    ],
)
def test_bytes_that_are_not_exactly_a_plan_are_refused(data: bytes) -> None:
    assert data != PLAN.to_bytes()
    with pytest.raises(InputError):
        Plan.from_bytes(data)


@given(st.integers(0, len(PLAN.to_bytes()) - 1), st.integers(0, 255))
@settings(max_examples=150)
def test_one_changed_byte_is_refused_or_another_plan(position: int, value: int) -> None:
    data = bytearray(PLAN.to_bytes())
    if data[position] == value:
        return
    data[position] = value
    try:
        plan = Plan.from_bytes(bytes(data))
    except InputError:
        return
    assert plan.digest != PLAN.digest
    assert plan.to_bytes() == bytes(data)


@given(st.lists(EVENTS, min_size=1, max_size=5, unique_by=lambda event: event.name))
def test_costs_compose_exactly(events: list[GaussianSum]) -> None:
    plan = replace(PLAN, events=tuple(events))
    expected = sum(e.times * Fraction(e.sensitivity) ** 2 / Fraction(e.noise) ** 2 for e in events)
    assert plan.mu_squared == expected
    assert isinstance(plan.mu_squared, Fraction)


def test_twelve_rounds_cost_twelve_times_one() -> None:
    assert GRADIENT.mu_squared == 12 * GRADIENT.mu_squared_once == Fraction(12, 64)
    assert PLAN.mu_squared == Fraction(1, 16) + Fraction(12, 64)


@given(STEPS, STEPS, st.integers(1, 1000))
def test_a_written_cost_is_never_below_the_true_one(sensitivity: int, noise: int, times: int) -> None:
    exact = times * Fraction(sensitivity, noise) ** 2
    text = written(exact)
    assert exact <= Fraction(Decimal(text)) <= exact * (1 + Fraction(1, 10**17))
    assert len(Decimal(text).as_tuple().digits) <= 18


def test_a_cost_with_an_exact_writing_is_written_exactly() -> None:
    assert written(Fraction(3, 8)) == "0.375"
    assert Decimal(written(Fraction(1, 3))) == Decimal("0.333333333333333334")


def test_an_event_is_found_by_name_or_refused() -> None:
    assert PLAN.event("gradient") is GRADIENT
    with pytest.raises(InputError, match="second-moments, gradient"):
        PLAN.event("metrics")


@pytest.mark.parametrize("text", ["", "x", "NaN", "-Infinity", "sNaN", "1e500", "1" * 65, "1e99999999999999999999"])
def test_texts_that_are_no_finite_number_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="here: expected a decimal number"):
        decimal(text, "here")


@pytest.mark.parametrize("value", [1, 1.5, None, b"1", ["1"]])
def test_a_number_that_is_not_a_text_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="here: expected a decimal number"):
        decimal(value, "here")


@pytest.mark.parametrize("text", [" 1", "1_0", "\u0661", "\u09ea", "+1", ".5", "1e9999", "NaN", ""])
def test_a_number_is_written_in_plain_digits(text: str) -> None:
    with pytest.raises(InputError, match="decimal number"):
        decimal(text, "here")


def test_a_plan_of_more_events_than_anybody_needs_is_refused() -> None:
    with pytest.raises(InputError, match="1 to 64"):
        replace(PLAN, events=tuple(replace(MOMENTS, name=f"e{n}") for n in range(65)))


# Secure sums


def many(people: int) -> tuple[SiteBound, ...]:
    """Nine sites, each of so many people at most."""
    return tuple(SiteBound(f"{n}", people) for n in range(9))


@given(secure_plans())
def test_nobody_learns_another_sum_by_lying_about_who_dropped_out(plan: Plan) -> None:
    """Two sets of honest sites, each with all the colluding ones large enough to unmask, have a site in common."""
    honest = len(plan.sites) - plan.colluding
    assert 2 * (plan.replies_at_least - plan.colluding) > honest


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"sites": SHARED.sites[:2], "replies_at_least": 2}, "sites: .* at least 3", id="two sites"),
        pytest.param({"colluding": 0}, "colluding", id="nobody colludes"),
        pytest.param({"colluding": 2}, "colluding", id="2t = n + c"),
        pytest.param({"replies_at_least": 2}, "colluding", id="half of the sites reply"),
        pytest.param({"replies_at_least": 5}, "replies_at_least", id="more replies than sites"),
        pytest.param({"replies_at_least": 4, "colluding": 4}, "colluding", id="everybody colludes"),
        pytest.param({"mechanism": FLOAT64}, "mechanism", id="floating-point noise"),
        pytest.param({"events": ()}, "events", id="no events"),
        pytest.param(
            {"sites": many(10**9), "replies_at_least": 7, "events": (replace(GRADIENT, sensitivity=2**40),)},
            "events",
            id="people beyond 2**62 steps",
        ),
        pytest.param(
            {"sites": many(1), "replies_at_least": 7, "events": (replace(GRADIENT, noise=2**53 - 1),)},
            "events",
            id="noise beyond 2**62 steps",
        ),
    ],
)
def test_a_secure_sum_that_would_not_hold_is_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=f"plan {told}"):
        replace(SHARED, **changes)


def test_a_local_plan_shares_no_noise() -> None:
    assert PLAN.noise_shares == 1
    assert PLAN.at_site(GRADIENT) is GRADIENT


def test_honest_sites_of_the_fewest_that_reply_share_the_noise() -> None:
    assert SHARED.noise_shares == 2
    assert SHARED.at_site(GRADIENT) == replace(GRADIENT, noise=189_812_532)  # 2**28 / sqrt(2), rounded up


@given(secure_plans())
def test_shares_of_noise_make_up_the_whole_and_hardly_more(plan: Plan) -> None:
    assert plan.noise_shares == plan.replies_at_least - plan.colluding >= 1
    for event in plan.events:
        share = plan.at_site(event).noise
        assert plan.noise_shares * share**2 >= event.noise**2 > plan.noise_shares * (share - 1) ** 2
        assert replace(plan.at_site(event), noise=event.noise) == event, "nothing but the noise is another"


def test_the_cost_of_a_secure_sum_is_that_of_the_whole_noise() -> None:
    assert SHARED.mu_squared == PLAN.mu_squared
