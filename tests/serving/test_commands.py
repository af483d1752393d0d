"""`kith serve` says before it starts whose release it will serve."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving import launch
from serving.commands import app

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
