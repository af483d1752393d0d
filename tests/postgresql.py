"""PostgreSQL databases for tests: each made for one test or module, and dropped afterwards."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

SERVER = "postgresql+psycopg://root@127.0.0.1:5432"


@contextmanager
def own_database() -> Iterator[str]:
    """The URL of an empty database."""
    name = f"kith_test_{uuid.uuid4().hex[:12]}"
    server = sa.create_engine(f"{SERVER}/postgres?connect_timeout=2", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield f"{SERVER}/{name}"
    finally:
        with server.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()


@contextmanager
def own_database_or_skip() -> Iterator[str]:
    """The same, for tests that are left out where there is no server."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with ExitStack() as stack:
        try:
            url = stack.enter_context(own_database())
        except SQLAlchemyError as error:
            pytest.skip(f"no PostgreSQL at 127.0.0.1:5432 that root may use: {type(error).__name__}")
        yield url
