"""The real thing: a release that federation trained, served to people of one of its sites."""

import math

import httpx
import pytest

from federation.embedded import run_embedded
from models.features import NumberFeature
from serving import launch
from serving.verified_model import load_verified
from tests.serving.conftest import Caller, Place, free_port, request
from tests.small_group import settings, small_group


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("group")
    group = small_group(folder)
    return run_embedded(group.group, group.folders, settings(), folder / "run")


def likely_and_unlikely(release, site):
    """Two made-up people at the ends of what the site's scorer can say."""
    model = load_verified(release).release
    scorer = model.scorers[site]
    people = [{}, {}]
    for feature in model.space.features:
        numeric = isinstance(feature, NumberFeature)
        choices = [feature.low, feature.high] if numeric else list(feature.values)
        ranked = sorted(choices, key=lambda value, column=feature.column: scorer.score({column: value}))
        people[0][feature.column], people[1][feature.column] = ranked[-1], ranked[0]
    return people


def test_a_trained_release_is_served_explained_and_decided(trained, tmp_path):
    site = sorted(load_verified(trained).release.scorers)[1]
    place = Place(trained, tmp_path)
    scores = []
    with launch.started([trained], port=free_port(), state=tmp_path) as url, httpx.Client(base_url=url) as http:
        application = Caller(http, place.token("application", "portal", site=site))
        reviewer = Caller(http, place.token("reviewer", "ann", site=site))
        for person in likely_and_unlikely(trained, site):
            made = application.post("/v1/recommend", request(person, site=site)).json()
            explanation = reviewer.post("/v1/explain", {"id": made["id"]}).json()
            points = [term["points"] for term in explanation["terms"]]
            assert abs(math.fsum([explanation["intercept"], *points]) - explanation["score"]) <= 1e-9
            assert {term["column"] for term in explanation["terms"]} == set(person)
            if made["status"] == "proposed":
                assert reviewer.decide(made["id"]).json()["status"] == "approved"
            scores.append(explanation["score"])
    assert scores[0] > scores[1]
