"""`kith serve` says before it starts whose release it will serve; `kith token` makes tokens and takes them back."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from privacy.errors import InputError
from serving import launch
from serving.commands import app
from serving.revocation import FILE

WARNING = "warning: keys: self-asserted - the release is of one piece, whoever made it; pin keys with --keys\n"


@pytest.mark.parametrize(("more", "said"), [([], WARNING), (["--keys", "keys.json"], "")])
def test_serving_without_pinned_keys_is_warned_of_once(monkeypatch, more, said):
    started = []
    monkeypatch.setattr(launch, "serve", lambda *_, **named: started.append(named["pinned"]))
    done = CliRunner().invoke(app, ["serve", "release", *more])
    assert done.exit_code == 0
    assert len(started) == 1
    assert (done.stderr, done.stdout) == (said, "")


def test_records_folders_are_handed_on(monkeypatch):
    started = []
    monkeypatch.setattr(launch, "serve", lambda *_, **named: started.append(list(named["records"])))
    for more in ([], ["--records", "north", "--records", "south"]):
        assert CliRunner().invoke(app, ["serve", "release", *more]).exit_code == 0
    assert started == [[], [Path("north"), Path("south")]]


def made(state):
    """A token and its id, as `kith token` prints them."""
    asked = ["token", "--role", "provisioning", "--subject", "idp", "--site", "north", "--state", str(state)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0
    return done.stdout.strip(), done.stderr.strip().removeprefix("id: ")


@pytest.mark.parametrize("given", ["token", "id", "standard input"])
def test_a_token_is_taken_back_by_itself_or_its_id(tmp_path, given):
    token, id = made(tmp_path)
    text = {"token": token, "id": id, "standard input": "-"}[given]
    done = CliRunner().invoke(app, ["token", "--revoke", text, "--state", str(tmp_path)], input=f"{token}\n")
    assert (done.exit_code, done.stdout) == (0, f"revoked {id}\n")
    assert (tmp_path / FILE).read_text() == f"{id}\n"


def test_a_token_for_nobody_is_not_made(tmp_path):
    done = CliRunner().invoke(app, ["token", "--state", str(tmp_path)])
    assert isinstance(done.exception, InputError)
