"""Runs the migrations on the engine that `serving.database.migrate` hands over."""

from alembic import context

from serving.database import Base

with context.config.attributes["engine"].connect() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
