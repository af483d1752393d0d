"""Alembic migrations: one tree for the store, one for the vault."""
