"""The Flower app that a fleet runs: the messenger as it stands, and a line that names the coordinator's installed code.

It is small on purpose: Flower ships it to every site, where it runs with the rights of the SuperNode's apps. A site can
read all of it in a minute, and compare it with `federation/messenger.py` of the version that it has looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import tomli_w
from flwr.app import UserConfig
from flwr.cli.build import build_fab_from_files

from federation import messenger
from privacy.atomic_files import new_file

MESSENGER: Final = "kith_app/messenger.py"
NAME: Final = "kith"
VERSION: Final = "1.0.0"
SERVER: Final = '''"""The coordinator's ServerApp is code that the coordinator has installed."""

from federation.server_app import app

__all__ = ["app"]
'''


def bundle(config: UserConfig) -> Mapping[str, bytes]:
    """The files of the app, whose runs are told what `config` has, of the same types."""
    project = {
        "project": {"name": NAME, "version": VERSION, "description": "Carries sealed bytes", "license": "Apache-2.0"},
        "tool": {
            "flwr": {
                "app": {
                    "publisher": "kith",
                    "components": {"serverapp": "kith_app.server:app", "clientapp": "kith_app.messenger:app"},
                    "config": {name: type(value)() for name, value in config.items()},
                }
            }
        },
    }
    return {
        "pyproject.toml": tomli_w.dumps(project).encode("utf-8"),
        "kith_app/__init__.py": b"",
        MESSENGER: Path(messenger.__file__).read_bytes(),
        "kith_app/server.py": SERVER.encode("utf-8"),
    }


def write_bundle(folder: Path, files: Mapping[str, bytes]) -> None:
    """The app as a folder, for a site's people to read and for Flower's own `flwr run`.

    Raises:
        InputError: if it is there already.
    """
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        new_file(folder / name, content, 0o644)


def packed(files: Mapping[str, bytes]) -> bytes:
    """The app as Flower ships it (a FAB)."""
    return build_fab_from_files(files)[0]
