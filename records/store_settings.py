"""`records.toml`: the settings of a site's records folder.

```toml
site = "Alder"
database = "sqlite:///records.sqlite"     # or: database_from = "NAME", an environment variable that holds the URL
vault = "sqlite:///vault.sqlite"          # or: vault_from = "NAME"
[scim]
mapping = "scim.toml"                     # in this folder, or the name of a packaged mapping
[xapi]
mapping = "xapi"
```
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tomli_w
from sqlalchemy.engine import URL

from privacy.databases import FROM_ENVIRONMENT, address
from privacy.errors import InputError
from privacy.secret_files import write_new
from records.toml_section import load_toml

FILE: Final = "records.toml"
DATABASE: Final = "sqlite:///records.sqlite"
VAULT: Final = "sqlite:///vault.sqlite"
MAX_SITE: Final = 200
_MAX_FILE: Final = 64 * 2**10
_MAX_TEXT: Final = 1_000
_KEYS: Final = frozenset({"site", "database", "database_from", "vault", "vault_from", "scim", "xapi"})
_POSTGRESQL_PORT: Final = 5432
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What `records.toml` says.

    Attributes:
        site: whose people it is about.
        database: SQLAlchemy URL, relative to the folder, or "env:NAME".
        vault: likewise.
        scim_mapping: for `load_mapping`: a file, or the name of a packaged mapping; None if the site has none.
        xapi_mapping: likewise.
    """

    site: str
    database: str = DATABASE
    vault: str = VAULT
    scim_mapping: Path | str | None = None
    xapi_mapping: Path | str | None = None

    def database_url(self, folder: Path) -> URL:
        """Where the database is."""
        return address(self.database, folder)

    def vault_url(self, folder: Path) -> URL:
        """Where the vault is.

        Raises:
            InputError: if that is the store's own database.
        """
        url = address(self.vault, folder)
        if _place(url) == _place(self.database_url(folder)):
            raise InputError("vault: expected another database than the store's, got the same")
        return url


def settings_for(site: str, database: str | None, vault: str | None) -> StoreSettings:
    """Settings of a new store, checked.

    Raises:
        InputError: if the site's name is not printable text of 1 to `MAX_SITE` characters.
    """
    return StoreSettings(_site(site), database=database or DATABASE, vault=vault or VAULT)


def read_settings(folder: Path) -> StoreSettings:
    """The settings in a folder.

    Raises:
        InputError: if there are none, or they say anything that is not known.
    """
    path = folder / FILE
    said = _toml(path)
    if unknown := sorted(set(said) - _KEYS):
        raise InputError(f"{path}: expected {', '.join(sorted(_KEYS))}, got {unknown[0]!r:.60}")
    return StoreSettings(
        site=_site(said.get("site"), str(path)),
        database=_database(said, "database", DATABASE, path),
        vault=_database(said, "vault", VAULT, path),
        scim_mapping=_mapping(said, "scim", path),
        xapi_mapping=_mapping(said, "xapi", path),
    )


def write_settings(folder: Path, settings: StoreSettings) -> None:
    """The file that `read_settings` reads.

    Raises:
        InputError: if there is one already.
    """
    said = {"site": settings.site}
    for key, named in (("database", settings.database), ("vault", settings.vault)):
        hidden = named.startswith(FROM_ENVIRONMENT)
        said[f"{key}_from" if hidden else key] = named.removeprefix(FROM_ENVIRONMENT)
    write_new(folder / FILE, tomli_w.dumps(said))


def _toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE + 1).decode("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected the settings of a store, got {type(error).__name__}") from None
    if len(text) > _MAX_FILE:
        raise InputError(f"{path}: expected at most {_MAX_FILE} characters, got more")
    return load_toml(text, str(path))


def _site(site: Any, where: str = "site") -> str:
    if not isinstance(site, str) or not 1 <= len(site) <= MAX_SITE or site != site.strip() or not site.isprintable():
        raise InputError(f"{where}: expected a site's name of 1 to {MAX_SITE} printable characters, got otherwise")
    return site


def _database(said: dict[str, Any], key: str, otherwise: str, path: Path) -> str:
    """A URL as it stands, or "env:NAME"."""
    if key in said and f"{key}_from" in said:
        raise InputError(f"{path}: expected {key} or {key}_from, got both")
    if variable := said.get(f"{key}_from"):
        if not isinstance(variable, str) or not _VARIABLE.fullmatch(variable):
            raise InputError(f"{path}: expected the name of an environment variable as {key}_from, got otherwise")
        return FROM_ENVIRONMENT + variable
    return _text(said.get(key, otherwise), key, path)


def _mapping(said: dict[str, Any], kind: str, path: Path) -> Path | str | None:
    table = said.get(kind)
    if table is None:
        return None
    if not isinstance(table, dict) or set(table) != {"mapping"}:
        raise InputError(f"{path}: expected [{kind}] with a mapping, got otherwise")
    named = _text(table["mapping"], f"{kind}.mapping", path)
    return path.parent / named if named.endswith(".toml") else named


def _text(value: Any, key: str, path: Path) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _MAX_TEXT:
        raise InputError(f"{path}: expected text of 1 to {_MAX_TEXT} characters as {key}, got otherwise")
    return value


def _place(url: URL) -> tuple[object, ...]:
    return (url.get_backend_name(), url.host, url.port or _POSTGRESQL_PORT, url.database)
