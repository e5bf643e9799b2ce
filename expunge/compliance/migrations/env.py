"""Alembic's entry: runs the revisions on the connection that `migrations.upgrade` hands over.

No ini file, no URL, no offline mode.
"""

from __future__ import annotations

from alembic import context

from expunge.compliance.models import metadata
from expunge.errors import UsageError


def run() -> None:
    """Run what is missing inside the caller's transaction, so that a crash leaves the old tables or the new ones."""
    connection = context.config.attributes.get("connection")
    if connection is None or context.is_offline_mode():
        raise UsageError("The ledger's migrations need a connection.", "Open the ledger: it upgrades itself.")
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


run()
