"""A ledger as a command names it: a site's folder, a SQLite file, or a database.

A site's folder is known by its `site.toml`, whose `ledger` says where the ledger is, `ledger.sqlite` beside it if it
says nothing. A database is "env:NAME" for a URL in an environment variable, or a URL without a password.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from privacy.errors import InputError

if TYPE_CHECKING:
    from privacy.ledger import Ledger

LEDGER: Final = "A site's folder, a ledger file, or a database."
Place = Annotated[str, typer.Argument(metavar="LEDGER", help=LEDGER)]
"""The argument of a command that names a ledger."""
SITE_FILE: Final = "site.toml"
LEDGER_FILE: Final = "ledger.sqlite"
KEY_FILE: Final = "key.pem"
MARKS_FILE: Final = "marks.key"
MAX_FILE: Final = 1 << 16
MAX_NAMED: Final = 4_096


@contextmanager
def opened(named: str) -> Iterator[Ledger]:
    """The ledger that `named` names, closed at the end.

    Raises:
        InputError: if it is not there, or not a ledger.
    """
    from privacy.ledger import Ledger

    ledger = Ledger.open(place_of(named))
    try:
        yield ledger
    finally:
        ledger.close()


def place_of(named: str) -> Path | str:
    """Where the ledger is: a file's path, or a database as `privacy.databases.address` takes it.

    Raises:
        InputError: if a folder is named that is no site's.
    """
    from privacy.databases import FROM_ENVIRONMENT  # brings SQLAlchemy, which no other command should wait for

    if not 1 <= len(named) <= MAX_NAMED or "\0" in named:
        raise InputError("ledger: expected a site's folder, a file or a database, got otherwise")
    if named.startswith(FROM_ENVIRONMENT) or "://" in named:
        return named
    path = Path(named)
    return _of_site(path) if path.is_dir() else path


def beside(folder: Path, named: str) -> Path | str:
    """The ledger that the file of the site in `folder` names, as `place_of` gives it; a path is relative to the folder.

    Raises:
        InputError: if it names no database.
    """
    if not named:
        return folder / LEDGER_FILE
    from privacy.databases import address

    url = address(named, folder)
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else named


def signing_key(named: str, key: str | None) -> str:
    """The URI of the key that signs for the ledger: the one given, or that of the site's folder.

    Raises:
        InputError: if none is given and `named` is no folder.
    """
    if key is None and not Path(named).is_dir():
        raise InputError("--key: expected the URI of the site's key (file:PATH), got none; a site's folder has its own")
    return key or f"file:{Path(named) / KEY_FILE}"


def _of_site(folder: Path) -> Path | str:
    path = folder / SITE_FILE
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        ledger = tomllib.loads(data.decode("utf-8")).get("ledger", "") if len(data) <= MAX_FILE else None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a site's file, got {type(error).__name__}") from None
    if not isinstance(ledger, str) or len(ledger) > MAX_NAMED:
        raise InputError(f"{path}, ledger: expected a database, got otherwise")
    return beside(folder, ledger)
