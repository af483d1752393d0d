"""Recommendations from a site's records: read at the moment of the request, under the legal basis of that moment."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from privacy.errors import InputError
from records.access import erase
from records.facts import Fact
from serving.problems import Problem
from serving.site_records import check_usable, open_all
from serving.verified_model import load_verified
from tests.serving import small_records
from tests.serving.conftest import assert_problem
from tests.serving.signed_release import OTHER_SITE, SITE
from tests.serving.small_records import months_since, person, pulse, say, subject_of, take_in


@pytest.fixture
def application(recorded_as):
    return recorded_as("application", "portal")


@pytest.fixture
def evidence(recorded_as):
    """What a recommendation was made from, as a reviewer is shown it."""
    reviewer = recorded_as("reviewer", "ann")
    return lambda answer: reviewer.get(answer.json()["decision"]).json()["evidence"]


def ask(application, employee, features=None, site=SITE, **headers):
    body = {"use_case": "retention", "site": site, "employee": employee}
    return application.post("/v1/recommend", body if features is None else body | {"features": features}, **headers)


def test_a_recommendation_is_made_from_the_records(application, evidence, somebody):
    answer = ask(application, somebody)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] in ("proposed", "abstained")
    found = evidence(answer)
    assert found["tenure_years"] == pytest.approx(months_since("2020-01") / 12, abs=0.1)
    assert found["months_since_promotion"] == pytest.approx(months_since("2023-01"), abs=1)
    assert {name: found[name] for name in ("commute_minutes", "pay_against_market", "work_mode", "job_level")} == {
        "commute_minutes": 25.0, "pay_against_market": 98.0, "work_mode": "remote", "job_level": "senior",
    }  # fmt: skip
    assert {name for name, value in found.items() if value is None} == {"overtime_hours", "pulse", "training_days"}


def test_what_changed_in_the_records_is_in_the_next_recommendation(application, evidence, records, somebody):
    before = evidence(ask(application, somebody))
    today = datetime.now(UTC).date().isoformat()
    take_in(records, "hris", [Fact("person", somebody, "", today, {"commute_minutes": 90.0}, 0)])
    after = evidence(ask(application, somebody))
    assert (before["commute_minutes"], after["commute_minutes"]) == (25.0, 90.0)
    assert after["work_mode"] == "remote"


def test_what_rests_on_consent_is_read_only_while_it_is_given(application, evidence, records, somebody):
    pulse(records, somebody, 4.0)
    assert evidence(ask(application, somebody))["pulse"] is None
    say(records, somebody, "given")
    assert evidence(ask(application, somebody))["pulse"] == "4"


@pytest.mark.parametrize("features", [{}, {"work_mode": "remote"}], ids=["none", "one"])
def test_features_from_the_caller_are_refused_where_there_are_records(application, somebody, features):
    answer = ask(application, somebody, features)
    assert_problem(answer, 422, "invalid-request")
    assert answer.json()["errors"] == [{"field": "features", "expected": "extra_forbidden"}]


def test_features_from_the_caller_are_needed_where_there_are_no_records(recorded_as):
    application = recorded_as("application", "portal", site=OTHER_SITE)
    answer = ask(application, "p-17", site=OTHER_SITE)
    assert_problem(answer, 422, "invalid-request")
    assert answer.json()["errors"] == [{"field": "features", "expected": "missing"}]
    assert ask(application, "p-17", {"tenure_years": 3.0}, site=OTHER_SITE).status_code == 200


@pytest.mark.parametrize("state", ["objected", "withdrawn"])
def test_the_request_after_an_objection_is_refused(application, records, somebody, state):
    assert ask(application, somebody).status_code == 200
    say(records, somebody, state)
    assert_problem(ask(application, somebody), 403, "consent-missing")


def test_the_request_after_an_erasure_is_refused(application, records, somebody):
    assert ask(application, somebody).status_code == 200
    with small_records.opened(records) as store:
        erase(store, somebody, datetime.now(UTC))
    assert_problem(ask(application, somebody), 403, "consent-missing")


def test_an_answer_from_before_the_objection_is_not_repeated_after_it(application, records, somebody):
    assert ask(application, somebody, Idempotency_Key=somebody).status_code == 200
    assert ask(application, somebody, Idempotency_Key=somebody).status_code == 200
    say(records, somebody, "objected")
    assert_problem(ask(application, somebody, Idempotency_Key=somebody), 403, "consent-missing")


def test_the_same_key_gives_the_same_answer_though_the_records_changed(application, records, somebody):
    first = ask(application, somebody, Idempotency_Key=somebody).json()
    today = datetime.now(UTC).date().isoformat()
    take_in(records, "hris", [Fact("person", somebody, "", today, {"commute_minutes": 90.0}, 0)])
    assert ask(application, somebody, Idempotency_Key=somebody).json() == first


def test_a_refusal_does_not_tell_objection_erasure_and_ignorance_apart(application, records, number):
    people = {name: person(records, f"{number}-{name}") for name in ("objected", "withdrawn", "erased", "ended")}
    say(records, people["objected"], "objected")
    say(records, people["withdrawn"], "withdrawn")
    with small_records.opened(records) as store:
        erase(store, people["erased"], datetime.now(UTC))
    left = {"end_month": "2024-06", "exit_type": "voluntary"}
    take_in(records, "hris", [Fact("person", people["ended"], "", "2024-06-30", left, 0)])
    people["never told"] = person(records, f"{number}-never", told=False)
    people["unknown"] = subject_of(records, f"{number}-unknown")
    people["no pseudonym"] = "somebody"
    answers = {name: ask(application, subject) for name, subject in people.items()}
    for answer in answers.values():
        assert_problem(answer, 403, "consent-missing")
    told = [{key: value for key, value in answer.json().items() if key != "instance"} for answer in answers.values()]
    assert all(each == told[0] for each in told)
    of_each = {"date", "x-bentoml-request-id"}
    headers = [{k: v for k, v in answer.headers.items() if k not in of_each} for answer in answers.values()]
    assert all(each == headers[0] for each in headers)


# --- what was recommended before -----------------------------------------------------------------------------------


@pytest.fixture
def reviewer(recorded_as):
    return recorded_as("reviewer", "ann")


def explain(caller, id):
    return caller.post("/v1/explain", {"id": id})


def without_instance(answer):
    return {key: value for key, value in answer.json().items() if key != "instance"}


def erased(records, subject):
    with small_records.opened(records) as store:
        erase(store, subject, datetime.now(UTC))


def left(records, subject):
    gone = {"end_month": "2024-06", "exit_type": "voluntary"}
    take_in(records, "hris", [Fact("person", subject, "", "2024-06-30", gone, 0)])


NO_LONGER = {
    "objected": lambda records, subject: say(records, subject, "objected"),
    "withdrawn": lambda records, subject: say(records, subject, "withdrawn"),
    "erased": erased,
    "left": left,
}


def pending(application, records, number):
    """Somebody new with an item that awaits a decision, made from their records."""
    subject = person(records, number)
    answer = ask(application, subject)
    assert answer.json()["status"] == "proposed", answer.text
    return subject, answer.json()["id"]


def test_an_objection_or_erasure_stops_a_pending_action_and_hides_it_in_the_same_words(
    application, reviewer, records, number
):
    told = []
    for name, happens in NO_LONGER.items():
        subject, id = pending(application, records, f"{number}-{name}")
        assert reviewer.get(f"/v1/decisions/{id}").is_success
        happens(records, subject)
        for answer in reviewer.decide(id), reviewer.get(f"/v1/decisions/{id}"), explain(reviewer, id):
            assert_problem(answer, 403, "consent-missing")
            told.append(without_instance(answer))
    assert all(each == told[0] for each in told)


def test_after_an_objection_an_auditor_still_sees_what_was_recommended(application, recorded_as, records, number):
    subject, id = pending(application, records, number)
    say(records, subject, "objected")
    auditor = recorded_as("auditor", "eve")
    item = auditor.get(f"/v1/decisions/{id}").json()
    assert (item["status"], item["decisions"], item["evidence"]["commute_minutes"]) == ("proposed", [], 25.0)
    assert explain(auditor, id).status_code == 200


def test_an_approved_action_is_not_explained_to_the_application_after_an_objection(
    application, reviewer, records, number
):
    subject, id = pending(application, records, number)
    assert reviewer.decide(id).json()["status"] == "approved"
    assert explain(application, id).status_code == 200
    say(records, subject, "objected")
    assert_problem(explain(application, id), 403, "consent-missing")


def test_what_was_recommended_without_records_is_decided_on_where_there_are_none(recorded_as):
    known = {
        "tenure_years": 6.0, "commute_minutes": 25.0, "pay_against_market": 98.0, "months_since_promotion": 40.0,
        "work_mode": "remote", "job_level": "senior", "job_family": "engineering", "manager_changes": 0.0,
    }  # fmt: skip
    made = ask(recorded_as("application", "portal", site=OTHER_SITE), "p-17", known, site=OTHER_SITE)
    assert made.json()["status"] == "proposed"
    assert recorded_as("reviewer", "ann", site=OTHER_SITE).decide(made.json()["id"]).json()["status"] == "approved"


@pytest.mark.parametrize("purpose", ["retention", "not-registered"])
def test_somebody_the_records_do_not_know_may_not_be_decided_on(records, purpose):
    with small_records.opened(records) as store, pytest.raises(Problem) as refused:
        check_usable({SITE: store}, SITE, purpose, "p-17")
    assert refused.value.name == "consent-missing"


def test_another_sites_token_does_not_reach_the_records(recorded_as, somebody):
    stranger = recorded_as("application", "portal", site=OTHER_SITE)
    assert_problem(ask(stranger, somebody), 403, "forbidden")
    own = ask(stranger, somebody, {"tenure_years": 3.0}, site=OTHER_SITE)
    assert own.status_code == 200
    item = recorded_as("reviewer", "ann", site=OTHER_SITE).get(own.json()["decision"])
    assert item.json()["evidence"] == {"tenure_years": 3.0}


def test_records_without_a_model_recommend_nothing(recorded_as):
    site = small_records.ELSEWHERE
    assert_problem(ask(recorded_as("application", "portal", site=site), "0" * 32, site=site), 422, "unknown-use-case")


# --- what is not served --------------------------------------------------------------------------------------------


@pytest.fixture
def model(registered_release):
    return load_verified(registered_release)


def test_two_folders_of_one_site_are_refused(model, tmp_path):
    folders = [small_records.make(tmp_path / name, SITE) for name in ("one", "two")]
    with pytest.raises(InputError, match="one of each site"):
        open_all(folders, {"retention": model})


def test_a_folder_without_records_is_refused(model, tmp_path):
    with pytest.raises(InputError):
        open_all([tmp_path], {"retention": model})


@pytest.mark.parametrize(("site", "served"), [(SITE, False), (small_records.ELSEWHERE, True)])
def test_a_model_of_the_site_that_reads_what_is_not_registered_is_refused(model, tmp_path, site, served):
    first, *others = model.release.space.features
    space = replace(model.release.space, features=(replace(first, column="horoscope"), *others))
    changed = replace(model, release=replace(model.release, space=space))
    folder = small_records.make(tmp_path / "records", site)
    if served:
        open_all([folder], {"retention": changed})[site].close()
    else:
        with pytest.raises(InputError, match="expected columns that the registry serves for it, got 'horoscope'"):
            open_all([folder], {"retention": changed})


def test_a_purpose_that_is_not_registered_is_refused(model, tmp_path):
    use_case = replace(model.release.use_case, name="horoscopes")
    changed = replace(model, release=replace(model.release, use_case=use_case))
    with pytest.raises(InputError, match="horoscopes"):
        open_all([small_records.make(tmp_path / "records", SITE)], {"horoscopes": changed})
