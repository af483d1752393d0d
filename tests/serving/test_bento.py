"""A Bento builds without a network, holds our code and nothing of a site or a run, and refuses like the service."""

import os
import subprocess
import sys

import pytest

from serving.launch import ROOT

PACKAGES = {"privacy", "records", "models", "serving"}


@pytest.fixture(scope="module")
def bento(tmp_path_factory):
    home = tmp_path_factory.mktemp("bentoml")
    # A proxy that nobody listens on: whatever reaches for the network fails.
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **nowhere, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", "build", "--version", "test", "--output", "tag"]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert built.returncode == 0, built.stderr[-2000:]
    return home / "bentos" / "kith" / "test"


def test_it_holds_our_packages_code_and_declarations_and_nothing_else(bento):
    held = [path.relative_to(bento / "src") for path in (bento / "src").rglob("*") if path.is_file()]
    assert {path.parts[0] for path in held if len(path.parts) > 1} == PACKAGES
    assert {path.suffix for path in held if len(path.parts) > 1} == {".py", ".toml", ".yaml"}
    assert {
        "serving/service.py",
        "models/use_cases/retention.toml",
        "records/registry.yaml",
        "records/mappings/scim.toml",
        "records/mappings/xapi.toml",
    } <= set(map(str, held))
    assert any(path.parts[:3] == ("serving", "migrations", "versions") for path in held)


def test_it_asks_for_the_locked_packages(bento):
    asked = (bento / "env" / "python" / "requirements.txt").read_text()
    assert "bentoml==" in asked
    assert all("==" in line for line in asked.splitlines() if line and not line.lstrip().startswith(("#", "-")))


def test_it_refuses_to_start_without_a_release(bento, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KITH_")}
    command = [sys.executable, "-m", "bentoml", "serve", str(bento)]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment | {"BENTOML_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    assert "kith: environment: expected KITH_RELEASES to be set" in ended.stderr
