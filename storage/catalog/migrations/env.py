"""Run by Alembic for every migration. There is no alembic.ini: `storage.catalog.migrate` hands over the connection.

The caller has begun the one transaction in which everything happens; nothing here commits.
"""

from __future__ import annotations

from alembic import context

from storage.catalog.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by making a new one
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
