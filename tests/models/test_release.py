from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from models.optimiser import Fit
from models.release import CARD, WEIGHTS, Release, card_document, parse_release, read_release, weights_bytes
from models.use_case import load_use_case
from privacy import canonical
from privacy.errors import InputError
from tests.models.spaces import category, number, space_of
from tests.models.test_scorer import scorer_of

SPACE = space_of(number("hours"), category("job", "a", "b"))
SITES = ("Nørd & Søn", "South/West")
VALUES: dict[str, Any] = {"hours": 3.0, "job": "b"}


def fit_of(sites: tuple[str, ...] = SITES) -> Fit:
    shared = scorer_of(SPACE, 0)
    personal = {
        name: replace(shared, weights=scorer_of(SPACE, n + 1).weights, variances=scorer_of(SPACE, n + 1).variances)
        for n, name in enumerate(sites)
    }
    return Fit(shared, personal, 0.2, 1.0)


FIT = fit_of()
DOCUMENT = card_document(FIT, SPACE, load_use_case("retention"), SITES)
BYTES = canonical.to_bytes(DOCUMENT)


def same(one: Release, fit: Fit) -> bool:
    scorers = {"": fit.shared, **fit.personal}
    return one.scorers.keys() == scorers.keys() and all(
        np.array_equal(getattr(one.scorers[name], field), getattr(scorer, field))
        for name, scorer in scorers.items()
        for field in ("weights", "variances", "basis", "typical")
    )


def test_a_model_is_read_back_as_written() -> None:
    release = parse_release(BYTES, weights_bytes(FIT))
    assert same(release, FIT)
    assert release.space == SPACE
    assert release.use_case == load_use_case("retention")
    for name, scorer in FIT.personal.items():
        assert release.scorers[name].score(VALUES) == scorer.score(VALUES)
        assert release.scorers[name].deviation(VALUES) == scorer.deviation(VALUES)


def test_the_same_fit_gives_the_same_bytes() -> None:
    assert weights_bytes(FIT) == weights_bytes(fit_of())
    assert weights_bytes(FIT) != weights_bytes(replace(FIT, shared=scorer_of(SPACE, 9)))


@pytest.mark.parametrize(
    "sites", [("A", "A.variance"), ("weights", "basis"), ("typical", "variances"), ("A", "A/B"), ("A", "variances/A")]
)
def test_no_name_of_a_site_makes_its_weights_anothers(sites: tuple[str, ...]) -> None:
    fit = fit_of(sites)
    card = canonical.to_bytes(card_document(fit, SPACE, load_use_case("retention"), sites))
    assert same(parse_release(card, weights_bytes(fit)), fit)


def test_a_release_is_read_from_its_directory(tmp_path: Path) -> None:
    (tmp_path / CARD).write_bytes(BYTES)
    (tmp_path / WEIGHTS).write_bytes(weights_bytes(FIT))
    assert same(read_release(tmp_path), FIT)


@pytest.mark.parametrize("missing", [CARD, WEIGHTS])
def test_a_release_that_lacks_a_file_is_refused(tmp_path: Path, missing: str) -> None:
    (tmp_path / CARD).write_bytes(BYTES)
    (tmp_path / WEIGHTS).write_bytes(weights_bytes(FIT))
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match="release: expected readable"):
        read_release(tmp_path)


def test_the_card_tells_what_the_model_is_for_and_not_for_in_public_figures() -> None:
    assert DOCUMENT["prohibited_for"] == ["pay", "promotion", "discipline", "termination"]
    assert DOCUMENT["sites"] == list(SITES)
    assert DOCUMENT["features"] == SPACE.to_document()
    assert json.loads(BYTES) == DOCUMENT


def card_with(**changes: Any) -> bytes:
    return canonical.to_bytes({**DOCUMENT, **changes})


@pytest.mark.parametrize(
    "card",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b"{}", id="an empty card"),
        pytest.param(BYTES[:-1], id="half a card"),
        pytest.param(BYTES.replace(b'"width":26', b'"width":26.0'), id="a fraction"),
        pytest.param(card_with(use_case="promotion"), id="an undeclared use case"),
        pytest.param(card_with(use_case=None), id="no use case"),
        pytest.param(card_with(use_case=["retention"]), id="a list of use cases"),
        pytest.param(card_with(sites=[*SITES, "East"]), id="a site without weights"),
        pytest.param(card_with(sites=5), id="sites are a number"),
        pytest.param(card_with(features=None), id="no features"),
        pytest.param(card_with(features=space_of(number("hours")).to_document()), id="another space"),
    ],
)
def test_a_card_that_does_not_belong_to_the_weights_is_refused(card: bytes) -> None:
    assert card != BYTES
    with pytest.raises(InputError):
        parse_release(card, weights_bytes(FIT))


def weights_with(**changes: np.ndarray) -> bytes:
    return save({**load(weights_bytes(FIT)), **changes})


D = SPACE.width


@pytest.mark.parametrize(
    "weights",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(weights_bytes(FIT)[:-1], id="a byte short"),
        pytest.param(b"\xff" * 100, id="no safetensors"),
        pytest.param(save({"weights": np.zeros(D)}), id="tensors missing"),
        pytest.param(weights_with(weights=np.zeros(D + 1)), id="shared too long"),
        pytest.param(weights_with(weights=np.zeros((D, 1))), id="shared a matrix"),
        pytest.param(weights_with(weights=np.zeros(D, dtype=np.float32)), id="shared float32"),
        pytest.param(weights_with(weights=np.full(D, np.nan)), id="shared NaN"),
        pytest.param(weights_with(variances=np.full(D, -1.0)), id="variances below 0"),
        pytest.param(weights_with(basis=np.zeros((D, D + 1))), id="basis not square"),
        pytest.param(weights_with(typical=np.full(D, np.inf)), id="typical infinite"),
        pytest.param(weights_with(**{"weights/South/West": np.zeros(1)}), id="a site's weights too short"),
    ],
)
def test_weights_of_a_wrong_shape_or_kind_are_refused(weights: bytes) -> None:
    with pytest.raises(InputError):
        parse_release(BYTES, weights)
