"""The front door around an application that answers whatever it likes."""

import json

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient

from serving.front_door import FrontDoor
from tests.serving.conftest import CANARY, assert_problem, assert_scim_error


@pytest.fixture
def behind(place, monkeypatch):
    """`behind(answer)`: what a source system and an application get when the service inside answers so."""
    for name, value in place.environment().items():
        monkeypatch.setenv(name, value)

    def asked(answer, method="GET", path="/scim/v2/Users", role="provisioning", **more):
        headers = {"Authorization": f"Bearer {place.token(role)}"}
        return TestClient(FrontDoor(answer)).request(method, path, headers=headers, **more)

    return asked


def error(media_type):
    return Response(json.dumps({"detail": CANARY}), 404, media_type=media_type)


@pytest.mark.parametrize(
    ("path", "media_type", "passes"),
    [("/scim/v2/Users", "application/scim+json", True), ("/scim/v2/Me", "application/scim+json; charset=utf-8", True),
     ("/scim/v2/Users", "application/problem+json", False), ("/scim/v2/Users", "application/json", False),
     ("/scim/v2/Users", "application/scim+jsonp", False), ("/scim/v2/Users", "text/html", False),
     ("/scim/v2/Users", None, False), ("/xapi/about", "application/problem+json", True),
     ("/xapi/about", "application/json", False), ("/xapi/about", "application/scim+json", False)],
)  # fmt: skip
def test_an_error_leaves_as_its_standard_has_it_or_as_a_problem(behind, path, media_type, passes):
    role = "learning_system" if path.startswith("/xapi") else "provisioning"
    answer = behind(error(media_type), path=path, role=role)
    assert answer.status_code == 404
    assert (answer.text == json.dumps({"detail": CANARY})) == passes
    if not passes and role == "provisioning":
        assert_scim_error(answer, 404)
    elif not passes:
        assert_problem(answer, 404, "not-found")


@pytest.mark.parametrize("path", ["/v1/privacy/certificate", "/problems/not-found"])
def test_what_is_not_a_source_systems_does_not_answer_in_scims_way(behind, path):
    assert_problem(behind(error("application/scim+json"), path=path, role="employee"), 404, "not-found")


def test_nothing_that_came_with_a_get_or_delete_gets_in(behind):
    async def echo(scope, receive, send):
        await Response((await receive())["body"], 200)(scope, receive, send)

    assert behind(echo, "POST", json={"a": 1}).content == b'{"a":1}'
    for method in ("GET", "DELETE"):
        assert behind(echo, method, content=CANARY).content == b""


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_whatever_writes_is_read_whole_and_within_its_bounds(behind, method):
    answer = Response("in")
    assert behind(answer, method, content=b" " * 2**20).status_code == 415
    assert behind(answer, method).text == "in"
    assert_scim_error(behind(answer, method, content=b" " * (2**20 + 1)), 413)


def test_a_failure_below_scims_path_is_told_as_scim_has_it_and_tells_nothing(behind):
    async def fails(scope, receive, send):
        raise RuntimeError(CANARY)

    assert_scim_error(behind(fails), 500)
