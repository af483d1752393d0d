"""Real processes: a running service, and releases that must not be served."""

import math
import os
import shutil
import signal
import subprocess
import sys
import time

import httpx
import pytest

from privacy.errors import Refused
from serving import launch
from serving.identity import token_keys
from serving.revocation import FILE
from serving.settings import Settings
from tests.serving.conftest import CANARY, FEATURES, Caller, Place, free_port
from tests.serving.signed_release import SITE, roots_of_another


@pytest.fixture
def tampered(release, tmp_path):
    """The release with one bit of its weights changed."""
    path = tmp_path / "tampered"
    shutil.copytree(release, path)
    weights = path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-3] ^= 1
    weights.write_bytes(data)
    return path


def bentoml_serve(release, state, **changes):
    """`bentoml serve` as anybody might start it; its output and how it ended."""
    settings = Settings((release,), None, f"sqlite:///{state / 'kith.db'}", token_keys(state))
    environment = {**os.environ, **settings.to_environment(), "BENTOML_HOME": str(state / "bentoml")} | changes
    command = [sys.executable, "-m", "bentoml", "serve", launch.SERVICE, "--port", str(free_port())]
    process = subprocess.Popen(
        command, cwd=launch.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        output, errors = process.communicate(timeout=40)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def test_a_running_service_recommends_explains_and_decides_and_logs_no_value(release, tmp_path):
    place = Place(release, tmp_path)
    with launch.started([release], port=free_port(), state=tmp_path) as url, httpx.Client(base_url=url) as http:
        application = Caller(http, place.token("application", f"portal-{CANARY}"))
        reviewer = Caller(http, place.token("reviewer", "ann"))

        made = application.recommend(employee=CANARY).json()
        explanation = reviewer.post("/v1/explain", {"id": made["id"]}).json()
        terms = [term["points"] for term in explanation["terms"]]
        assert abs(math.fsum([explanation["intercept"], *terms]) - explanation["score"]) <= 1e-9
        item = reviewer.get(made["decision"])
        decided = reviewer.decide(made["id"], etag=item.headers["etag"], reason=f"{CANARY} said so in our talk")
        assert decided.json()["status"] == "approved"

        refused = [
            application.post("/v1/recommend", {"site": SITE, CANARY: CANARY}),
            application.recommend({"tenure_years": CANARY}),
            application.recommend(FEATURES | {CANARY: 1}),
            application.post(f"/v1/{CANARY}", {}),
            reviewer.get(f"/v1/decisions?status={CANARY}"),
            reviewer.post(f"/v1/decisions/{made['id']}/decide", {"reason": CANARY}),
            http.post("/v1/recommend", content=b"\x80\x04." + CANARY.encode(),
                      headers=application.headers | {"Content-Type": "application/vnd.bentoml+pickle"}),
            http.get("/v1/decisions", headers={"Authorization": f"Bearer {CANARY}"}),
        ]  # fmt: skip
        assert all(400 <= answer.status_code < 500 for answer in refused)
        assert not any(CANARY in answer.text for answer in refused)
    for written in (tmp_path / "service.log").read_text(), str(list(tmp_path.iterdir())):
        assert CANARY not in written
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/readyz")


def test_a_tampered_release_does_not_start_and_says_which_check_failed(tampered, tmp_path):
    service = launch.started([tampered], port=free_port(), state=tmp_path / "state")
    with pytest.raises(Refused, match=r"fails check 4 \(digests\): model.safetensors"), service:
        pytest.fail("it started")


def test_bentoml_serve_refuses_a_tampered_release_with_one_line(tampered, tmp_path):
    ended = bentoml_serve(tampered, tmp_path)
    assert ended.returncode != 0
    assert [line for line in ended.stderr.splitlines() if line.startswith("kith: release")]
    assert "Traceback" not in ended.stderr + ended.stdout
    assert not (tmp_path / "kith.db").exists()


def test_bentoml_serve_refuses_a_release_by_other_than_the_pinned_keys(release, tmp_path):
    ended = bentoml_serve(release, tmp_path, KITH_KEYS=str(roots_of_another(release, tmp_path / "pinned.json")))
    assert ended.returncode != 0
    assert "check 2 (keys)" in ended.stderr


@pytest.mark.parametrize("variable", ["KITH_RELEASES", "KITH_DATABASE", "KITH_TOKEN_KEYS"])
def test_bentoml_serve_names_a_setting_that_is_missing(release, tmp_path, variable):
    ended = bentoml_serve(release, tmp_path, **{variable: ""})
    assert ended.returncode == 2
    assert f"kith: environment: expected {variable} to be set" in ended.stderr


def test_bentoml_serve_refuses_a_folder_without_records(release, tmp_path):
    ended = bentoml_serve(release, tmp_path, KITH_RECORDS=str(tmp_path / "nothing"))
    assert ended.returncode == 2
    assert f"kith: {tmp_path / 'nothing'}" in ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout


def test_bentoml_serve_refuses_a_malformed_file_of_revoked_tokens_with_one_line(release, tmp_path):
    (tmp_path / FILE).write_text("not an id\n")
    ended = bentoml_serve(release, tmp_path)
    assert ended.returncode == 2
    [said] = [line for line in ended.stderr.splitlines() if line.startswith("kith: ")]
    assert said.startswith("kith: revoked tokens: expected a file with one token id a line")
    assert "Traceback" not in ended.stderr + ended.stdout


def test_a_worker_that_finds_the_release_changed_ends_the_whole_service(release, tmp_path):
    path = tmp_path / "release"
    shutil.copytree(release, path)
    # Every python of the service reads this at its start; only the worker's changes the release.
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(
        "import sys, pathlib\n"
        "if '_bentoml_impl.worker.service' in sys.orig_argv:\n"
        f"    pathlib.Path({str(path / 'card.json')!r}).write_bytes(b'{{}}')\n"
    )
    search = os.pathsep.join(filter(None, [str(tmp_path / "hook"), os.environ.get("PYTHONPATH")]))
    ended = bentoml_serve(path, tmp_path / "state", PYTHONPATH=search)
    assert "check 4 (digests): card.json" in ended.stderr + ended.stdout
    assert ended.returncode != 0


def test_kith_serve_becomes_the_service_and_ends_on_sigterm(release, tmp_path):
    port = free_port()
    code = f"from pathlib import Path; from serving import launch; launch.serve([Path({str(release)!r})], port={port})"
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(launch.ROOT)!r}); {code}"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline and process.poll() is None:
            try:
                assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            pytest.fail(f"not ready, status {process.poll()}")
        assert (tmp_path / "runs" / "serving" / "kith.db").exists()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
