"""A site's records folder: one database about its people, and the keys that the database must not hold.

| file | what |
|---|---|
| `records.toml` | the settings: site, databases, time zone, mappings of the HTTP connectors |
| `records.sqlite` | the database, unless the settings name a PostgreSQL one |
| `pseudonym.key` | turns employee numbers into subjects |
| `sealing.key` | seals what the store must be able to give back but not to show |
| `vault.key` | turns subjects into audit keys (`records.vault`) |
| `auditor.public` | to which protected traits are sealed |
| `auditor.key` | its private half, made here for a trial: it belongs to the auditor alone |
| `log.anchor` | the log's last entry, kept outside the database (`records.log`) |

Rules
1. A folder opens only the database that was created with it: same site, same pseudonym key, same schema.
2. A transaction that writes counts the revision up, and no other one writes meanwhile.
3. `erasing` is empty when a transaction ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select, update
from sqlalchemy.engine import URL

from privacy import canonical
from privacy.databases import reading, writing
from privacy.errors import InputError, KithError
from privacy.pseudonyms import Pseudonyms
from privacy.sealing import Sealer, create_sealing_pair
from privacy.secret_files import create_secret, read_secret
from records import databases, log
from records.schema import consent_event, erasing, log_entry, metadata, revision
from records.store_settings import FILE, StoreSettings, read_settings, settings_for, write_settings

PSEUDONYM_KEY: Final = "pseudonym.key"
SEALING_KEY: Final = "sealing.key"
VAULT_KEY: Final = "vault.key"
AUDITOR_KEY: Final = "auditor.key"
AUDITOR_PUBLIC: Final = "auditor.public"
ANCHOR: Final = "log.anchor"
_FILES: Final = (FILE, PSEUDONYM_KEY, SEALING_KEY, VAULT_KEY, AUDITOR_KEY, AUDITOR_PUBLIC, ANCHOR)
_LOGGED: Final = "kith_logged"


def create_store(folder: Path, site: str, database: str | None = None, vault: str | None = None) -> Store:
    """A new records folder with its databases and keys.

    Args:
        folder: made if it is not there (mode 0700).
        site: whose people it is about.
        database: SQLAlchemy URL, or "env:NAME" for one in an environment variable; None for a SQLite file in the
            folder.
        vault: likewise, for the vault; another database.

    Raises:
        InputError: if the folder holds a store already, the site has no proper name, or a database is unusable or
            holds another store.
    """
    folder = Path(folder).absolute()
    settings = settings_for(site, database, vault)
    _make(folder)
    try:
        databases.create(settings.vault_url(folder), databases.VAULT)
        databases.create(settings.database_url(folder), databases.STORE)
        for name in (PSEUDONYM_KEY, SEALING_KEY, VAULT_KEY):
            create_secret(folder / name)
        create_sealing_pair(folder / AUDITOR_KEY, folder / AUDITOR_PUBLIC)
        log.create_anchor(folder / ANCHOR)
        write_settings(folder, settings)
        store = Store(folder, settings)
        store._claim(datetime.now(UTC))  # last: after it nothing can fail
    except BaseException:
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        raise
    return store


def open_store(folder: Path) -> Store:
    """The store in a records folder.

    Raises:
        InputError: if there is none, a key or a setting is unusable, or the database is another one's (rule 1).
    """
    folder = Path(folder).absolute()
    store = Store(folder, read_settings(folder))
    try:
        store._recognise()
    except BaseException:
        store.close()
        raise
    return store


class Store:
    """One site's records.

    Attributes:
        folder: where the settings and keys are.
        site: whose people it is about.
        settings: what `records.toml` says.
        pseudonyms: turns employee numbers into subjects.
        sealer: seals what the store must be able to give back.
    """

    def __init__(self, folder: Path, settings: StoreSettings) -> None:
        """Read the keys and prepare connections; `create_store` and `open_store` are the ways in.

        Raises:
            InputError: if a key or the database's URL is unusable.
        """
        self.folder = folder
        self.settings = settings
        self.site = settings.site
        self.pseudonyms = Pseudonyms(read_secret(folder / PSEUDONYM_KEY), settings.site)
        self.sealer = Sealer(read_secret(folder / SEALING_KEY))
        self._engine = databases.create_engine_for(settings.database_url(folder))

    @property
    def vault_url(self) -> URL:
        """Where the vault is."""
        return self.settings.vault_url(self.folder)

    def reading(self) -> contextlib.AbstractContextManager[Connection]:
        """A connection that sees one state and may not write."""
        return reading(self._engine)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection whose transaction commits at the end, or leaves no trace if an exception (or `Undo`) passes.

        Writers take turns from their first statement on, so what one has read still holds when it writes (rule 2). One
        waits for another, a long ingest say, for up to `databases.BUSY_SECONDS` (on PostgreSQL, however long it takes).

        Raises:
            KithError: if the database does not answer, is locked for too long, or an erasure was left open.
        """
        logged: log.Head | None = None
        with writing(self._engine) as connection:
            connection.execute(update(revision).values(count=revision.c.count + 1))  # rule 2
            connection.info.pop(_LOGGED, None)
            yield connection
            if connection.execute(select(erasing).limit(1)).first() is not None:  # rule 3
                raise KithError("records: expected the erasure to be closed in its transaction, got it open")
            logged = connection.info.pop(_LOGGED, None)
        if logged is not None:
            with contextlib.suppress(OSError, InputError):  # an older anchor holds all entries up to its own
                log.raise_anchor(self.folder / ANCHOR, logged)

    def revision(self) -> int:
        """How many transactions have written: a reader who knows this number has read everything."""
        with self.reading() as connection:
            return int(connection.execute(select(revision.c.count)).scalar_one())

    def log(self, connection: Connection, document: Mapping[str, Any], now: datetime, said: int = 0) -> str:
        """Append to the log inside a writing transaction, and give the entry's digest.

        Args:
            connection: of `writing()`.
            document: JSON of texts, whole numbers, booleans, lists and objects: counts and digests, no person's value.
            now: aware.
            said: `digest_of` the consent events that the transaction added, less that of those it deleted.

        Raises:
            InputError: if the document is anything else or too large.
        """
        intact = log.holds(connection, log.read_anchor(self.folder / ANCHOR))
        head = log.append(connection, document, instant(now), said)
        if intact:  # else the anchor stays, and with it the proof that something was removed
            connection.info[_LOGGED] = head
        return head.digest

    def digest_of(self, receipts: Iterable[str]) -> int:
        """The sum of keyed digests of consent events: of any two sets together, in any order, the sum of theirs."""
        return sum(int(self.pseudonyms.index("receipt", receipt), 16) for receipt in receipts)

    def check_log(self, connection: Connection) -> int:
        """The length of the log, if nothing in it was changed, removed or moved, nor a consent event without it.

        Raises:
            VerificationFailed: if something was.
            InputError: if its anchor is missing.
        """
        receipts = connection.scalars(select(consent_event.c.receipt).execution_options(yield_per=10_000))
        return log.check(connection, log.read_anchor(self.folder / ANCHOR), self.digest_of(receipts))

    def purge(self) -> None:
        """After deletions, outside any transaction: leave none of the deleted bytes in the database's files.

        Raises:
            KithError: if readers or writers do not make way for it.
        """
        databases.purge(self._engine, metadata)

    def close(self) -> None:
        """Close idle connections."""
        self._engine.dispose()

    def _claim(self, now: datetime) -> None:
        """Make an empty database this folder's (rule 1)."""
        with self.writing() as connection:
            if log.head(connection) != log.EMPTY:
                raise InputError("database: expected an empty one, got one that holds a store")
            self.log(connection, {"event": "created", "site": self.site, "key": self._key_mark()}, now)

    def _recognise(self) -> None:
        """Check that the database is the one that was created with this folder (rule 1)."""
        databases.require(self._engine, databases.STORE)
        with self.reading() as connection:
            first = connection.execute(select(log_entry.c.document).where(log_entry.c.number == 1)).scalar()
        created = canonical.from_bytes(first.encode(), "log") if first else {}
        if created.get("site") != self.site:
            raise InputError(f"{self.folder / FILE}: expected the site whose database this is, got {self.site!r:.120}")
        if created.get("key") != self._key_mark():
            raise InputError(f"{self.folder / PSEUDONYM_KEY}: expected the key of this database, got another")

    def _key_mark(self) -> str:
        return self.pseudonyms.index("store", self.site)


def instant(moment: datetime) -> str:
    """An aware time as the store writes it: UTC, to the second, YYYY-MM-DDTHH:MM:SSZ.

    Raises:
        InputError: if it has no time zone, or lies outside the years 1 to 9999 in UTC.
    """
    if moment.tzinfo is None:
        raise InputError("time: expected one with a time zone, got one without")
    try:
        return moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    except OverflowError:
        raise InputError("time: expected one within the years 1 to 9999, got one outside") from None


def day(moment: date) -> str:
    """A day as the store writes it, YYYY-MM-DD; of a time its own day, in its own time zone."""
    return (moment.date() if isinstance(moment, datetime) else moment).isoformat()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = [name for name in _FILES if (folder / name).exists()]
    except OSError as error:
        raise InputError(f"{folder}: expected a folder that can be written, got {error.strerror}") from None
    if taken:
        raise InputError(f"{folder}: expected a folder without records, got one with {taken[0]}")
