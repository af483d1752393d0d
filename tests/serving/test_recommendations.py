"""Stakes decide the path, and what is stored is what is told."""

import json
import math
import threading
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from models.explanation import explain
from serving import recommendations
from serving.database import Recommendation, Store, migrate
from serving.identity import Identity, Role
from serving.problems import Problem
from serving.recommendations import Desk, ExplainRequest, RecommendRequest
from serving.verified_model import load_verified
from tests.serving.conftest import FEATURES, request
from tests.serving.signed_release import OTHER_SITE, SITE

APPLICATION = Identity("portal", frozenset({Role.APPLICATION}), SITE)
REVIEWER = Identity("ann", frozenset({Role.REVIEWER}), SITE)


@pytest.fixture
def desk_for(release, tmp_path):
    """A desk whose one use case is changed as asked."""
    model = load_verified(release)
    url = f"sqlite:///{tmp_path / 'kith.db'}"
    migrate(url)
    store = Store(url)

    def make(**changes):
        use_case = replace(model.release.use_case, **changes)
        changed = replace(model, release=replace(model.release, use_case=use_case))
        return Desk({"retention": changed}, store)

    yield make
    store.close()


def ask(desk, **changes):
    return recommendations.recommend(desk, APPLICATION, RecommendRequest(**(request() | changes)))


def stored(desk, id):
    with desk.store.reading() as session:
        return session.query(Recommendation).filter_by(id=id).one()


@pytest.mark.parametrize(
    ("stakes", "status", "needed"), [("low", "ready", 0), ("medium", "proposed", 1), ("high", "proposed", 2)]
)
def test_stakes_decide_the_path(desk_for, stakes, status, needed):
    desk = desk_for(stakes=stakes)
    answer = ask(desk)
    assert (answer.status, stored(desk, answer.id).decisions_needed) == (status, needed)
    assert (answer.actions is not None) == (stakes == "low")


def test_an_application_gets_the_explanation_of_what_needed_no_decision(desk_for):
    desk = desk_for(stakes="low")
    id = ask(desk).id
    assert recommendations.explanation_of(desk, APPLICATION, ExplainRequest(id=id)).id == id


def test_each_site_is_scored_by_its_own_scorer(desk_for):
    desk = desk_for()
    other = Identity("portal", frozenset({Role.APPLICATION}), OTHER_SITE)
    here = stored(desk, ask(desk).id)
    there = stored(desk, recommendations.recommend(desk, other, RecommendRequest(**request(site=OTHER_SITE))).id)
    for row, site in ((here, SITE), (there, OTHER_SITE)):
        release = desk.models["retention"].release
        expected = explain(release.scorers[site], FEATURES, release.use_case)
        assert json.loads(row.explanation)["score"] == expected.score
    assert json.loads(here.explanation)["score"] != json.loads(there.explanation)["score"]


def test_what_is_told_is_what_was_computed_bit_for_bit(desk_for):
    desk = desk_for()
    release = desk.models["retention"].release
    expected = explain(release.scorers[SITE], FEATURES, release.use_case)
    told = recommendations.explanation_of(desk, REVIEWER, ExplainRequest(id=ask(desk).id))
    assert (told.score, told.intercept, told.interval) == (expected.score, expected.intercept, expected.interval)
    assert [(t.column, t.points) for t in told.terms] == [(t.column, t.points) for t in expected.terms]
    assert told.intercept + math.fsum(t.points for t in told.terms) == pytest.approx(told.score, abs=1e-9)


def test_the_group_itself_is_no_site_to_ask_for(desk_for):
    anywhere = Identity("portal", frozenset({Role.APPLICATION}), "")
    with pytest.raises(Problem) as refused:
        recommendations.recommend(desk_for(), anywhere, RecommendRequest.model_construct(**request(site="")))
    assert refused.value.name == "unknown-use-case"


def test_a_use_case_that_is_not_visible_to_a_role_is_not_explained_to_it(desk_for):
    desk = desk_for(visible_to=("hr_partner",))
    id = ask(desk).id
    with pytest.raises(Problem) as refused:
        recommendations.explanation_of(desk, REVIEWER, ExplainRequest(id=id))
    assert refused.value.name == "forbidden"
    partner = Identity("pat", frozenset({Role.HR_PARTNER}), SITE)
    auditor = Identity("eve", frozenset({Role.AUDITOR}), SITE)
    for allowed in (partner, auditor):
        assert recommendations.explanation_of(desk, allowed, ExplainRequest(id=id)).id == id


def test_terms_that_do_not_sum_to_the_score_are_never_stored(desk_for, monkeypatch):
    desk = desk_for()
    monkeypatch.setattr(
        recommendations, "explain", lambda *given: replace(explain(*given), score=explain(*given).score + 1e-6)
    )
    with pytest.raises(ArithmeticError):
        ask(desk)
    with desk.store.reading() as session:
        assert session.query(Recommendation).count() == 0


def test_a_failed_write_answers_nothing(desk_for, monkeypatch):
    desk = desk_for()
    monkeypatch.setattr(recommendations.database, "now", lambda: None)
    with pytest.raises(IntegrityError):
        ask(desk)


def test_the_same_key_at_the_same_time_gives_one_recommendation(desk_for):
    desk, together, ids = desk_for(), threading.Barrier(4), []

    def attempt():
        together.wait()
        ids.append(recommendations.recommend(desk, APPLICATION, RecommendRequest(**request()), "once").id)

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1
