"""What Alembic runs around the migrations: they join the transaction that the caller has begun."""

from __future__ import annotations

from alembic import context

from facerec.metastore.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
