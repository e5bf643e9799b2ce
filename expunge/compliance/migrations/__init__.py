"""How does a ledger file get its tables? Alembic revisions, run by `upgrade` inside the caller's transaction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

HEAD = "0002"
"""The newest revision. A test holds it to what Alembic finds."""


def upgrade(connection: Connection) -> None:
    """Bring the tables behind `connection` to HEAD. The caller holds the write lock and commits.

    Raises IntegrityError if the ledger names a revision that never was.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    from expunge.errors import IntegrityError

    config = Config()
    # the options of Alembic are interpolated: a percent sign in a folder's name must be doubled
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise IntegrityError(
            f"The ledger's table alembic_version was changed: {error}.", "Restore the ledger from a backup."
        ) from error
