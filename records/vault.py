"""The vault: protected traits, in another database, under other keys, for the auditor alone.

Rules
1. Who writes can not read: traits are sealed to the auditor's public key as they come, and the store has no other.
2. A person goes by an audit key, an HMAC of the subject under `vault.key`: without that key nobody can tell whose.
3. Neither order, time nor length tells it either: rows are written in the order of their audit keys, `recorded_at`
   is cut to the month, and traits are padded before they are sealed.
4. A sealed text belongs to one site, audit key and source, and opens nowhere else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select
from sqlalchemy.engine import URL

from privacy import canonical
from privacy.databases import reading, writing
from privacy.errors import InputError, VerificationFailed
from privacy.pseudonyms import Pseudonyms
from privacy.sealing import open_sealed, seal_to
from privacy.secret_files import read_public, read_secret
from records import databases
from records.facts import Trait
from records.schema import protected, vault_metadata
from records.store import AUDITOR_PUBLIC, VAULT_KEY, Store, instant

if TYPE_CHECKING:
    import pandas as pd

PADDED_BYTES: Final = 512
"""Traits are padded to a multiple of this before they are sealed."""
MAX_BYTES: Final = 16 * 2**10
BLOCK: Final = 10_000
"""People that are put in order and written together."""
_FRAME: Final = frozenset({"audit_key", "source"})


def open_vault(store: Store) -> Vault:
    """The vault that belongs to a store.

    Raises:
        InputError: if a key is unusable, or its database is missing or of another schema.
    """
    vault = Vault(
        store.vault_url,
        Pseudonyms(read_secret(store.folder / VAULT_KEY), store.site),
        read_public(store.folder / AUDITOR_PUBLIC),
        store.site,
    )
    try:
        databases.require(vault._engine, databases.VAULT)
    except InputError:
        vault.close()
        raise
    return vault


class Vault:
    """Where protected traits go in, and come out for the auditor alone."""

    def __init__(self, url: URL, keys: Pseudonyms, auditor: bytes, site: str) -> None:
        """Prepare connections; `open_vault` is the way in."""
        self._engine = databases.create_engine_for(url)
        self._keys = keys
        self._auditor = auditor
        self._site = site

    def audit_key(self, subject: str) -> str:
        """Under which the vault knows a subject of the store (rule 2)."""
        return self._keys.index("audit", subject)

    def put(self, traits: Iterable[Trait], source: str, now: datetime) -> int:
        """Write people's traits, in place of what the same source said of them before; all or none.

        A person who comes twice counts as said last. Gives the number of traits that came.

        Raises:
            InputError: if one person's traits are larger than `MAX_BYTES`, or no text.
        """
        month = instant(now)[:7] + "-01T00:00:00Z"  # rule 3
        coming = iter(traits)
        count = 0
        with writing(self._engine) as connection:
            while block := list(itertools.islice(coming, BLOCK)):
                self._write({self.audit_key(trait.subject): trait for trait in block}, source, month, connection)
                count += len(block)
        return count

    def forget(self, subject: str) -> bool:
        """Delete what is held of a person, and give whether there was any; `purge` takes it from the files.

        Raises:
            KithError: if the database does not answer.
        """
        with writing(self._engine) as connection:
            mine = delete(protected).where(protected.c.audit_key == self.audit_key(subject))
            return connection.execute(mine).rowcount > 0

    def expire(self, before: datetime) -> int:
        """Delete what was recorded in months before this one, without a trace, and give the number of rows."""
        with writing(self._engine) as connection:
            month = instant(before)[:7]
            gone = connection.execute(delete(protected).where(protected.c.recorded_at < month)).rowcount
        self.purge()
        return int(gone)

    def purge(self) -> None:
        """After deletions: leave none of the deleted bytes in the vault's files.

        Raises:
            KithError: if readers or writers do not make way for it.
        """
        databases.purge(self._engine, vault_metadata)

    def holds(self, subject: str) -> bool:
        """Whether anything is held of a person."""
        named = select(protected.c.number).where(protected.c.audit_key == self.audit_key(subject)).limit(1)
        with reading(self._engine) as connection:
            return connection.execute(named).first() is not None

    def read(self, auditor_private: bytes) -> pd.DataFrame:
        """Everything, for the auditor: columns audit_key, source and the traits, a row for each person and source.

        Raises:
            InputError: if this is no key.
            VerificationFailed: if it is not the auditor's, or a row was changed or moved.
        """
        import pandas as pd

        with reading(self._engine) as connection:
            rows = list(self._opened(connection, auditor_private))
        traits = sorted({name for row in rows for name in row} - _FRAME)
        return pd.DataFrame(rows, columns=["audit_key", "source", *traits])

    def close(self) -> None:
        """Close idle connections."""
        self._engine.dispose()

    def _write(self, traits: dict[str, Trait], source: str, month: str, connection: Connection) -> None:
        rows = [
            {
                "audit_key": key,
                "source": source,
                "recorded_at": month,
                "sealed": seal_to(self._auditor, _padded(traits[key]), self._about(key, source)),  # rule 1
            }
            for key in sorted(traits)  # rule 3
        ]
        before = delete(protected).where(protected.c.audit_key == bindparam("key"), protected.c.source == source)
        connection.execute(before, [{"key": row["audit_key"]} for row in rows])
        connection.execute(insert(protected), rows)

    def _opened(self, connection: Connection, private: bytes) -> Iterator[dict[str, Any]]:
        columns = (protected.c.audit_key, protected.c.source, protected.c.sealed)
        for key, source, sealed in connection.execute(select(*columns).order_by(*columns[:2])):
            traits = canonical.from_bytes(open_sealed(private, sealed, self._about(key, source)), "vault")
            if not isinstance(traits, dict):
                raise VerificationFailed("vault: expected traits by name, got something else")
            yield traits | {"audit_key": key, "source": source}

    def _about(self, key: str, source: str) -> str:
        """What a sealed text belongs to (rule 4)."""
        return canonical.to_bytes(["protected", self._site, key, source]).decode()


def _padded(trait: Trait) -> bytes:
    """Traits as JSON, with white space after it up to the next multiple of `PADDED_BYTES` (rule 3)."""
    if _FRAME & set(trait.values) or not all(isinstance(value, str) for value in trait.values.values()):
        raise InputError("vault: expected traits as texts under names of their own, got otherwise")
    plain = canonical.to_bytes(dict(trait.values))
    if len(plain) > MAX_BYTES:
        raise InputError(f"vault: expected at most {MAX_BYTES} bytes of one person's traits, got {len(plain)}")
    return plain.ljust(-(-len(plain) // PADDED_BYTES) * PADDED_BYTES)
