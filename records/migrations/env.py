"""Runs the migrations of one tree on the engine that `records.databases.migrate` hands over."""

from alembic import context

given = context.config.attributes
with given["engine"].connect() as connection:
    context.configure(connection=connection, version_table=given["version_table"], transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
