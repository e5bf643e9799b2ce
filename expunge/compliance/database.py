"""How is a ledger database opened, locked and brought up to date?

Every write transaction takes the one write lock first (BEGIN IMMEDIATE in SQLite, an advisory lock in PostgreSQL), so
that events are appended one after another and an upgrade runs once. Every read sees one state of the ledger (one
snapshot; REPEATABLE READ in PostgreSQL). SQLite keeps its rollback journal (no WAL): the ledger is one file that an
auditor can copy, and a commit is on the disk when it returns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from expunge.compliance import migrations
from expunge.errors import ExpungeError, IntegrityError, UsageError

BUSY_SECONDS = 60
_WRITE = "expunge_write"
_POSTGRESQL_LOCK = 0x6578_7075_6E67_65  # "expunge"


def open_engine(where: str | os.PathLike[str], busy_seconds: float = BUSY_SECONDS) -> Engine:
    """Engine of a ledger at a path (SQLite, made with mode 0600) or a database URL.

    Raises UsageError for an unusable one.
    """
    url = _url(where)
    if url.get_backend_name() == "sqlite":
        return _sqlite(url, busy_seconds)
    try:
        engine = create_engine(url, pool_pre_ping=True)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"The driver for {url.render_as_string(hide_password=True)} is not installed ({error.name}).",
            'For PostgreSQL: pip install -e ".[postgres]", with a URL that starts with postgresql://.',
        ) from error
    wait = int(busy_seconds * 1000)
    event.listen(engine, "begin", lambda connection: _begin_postgresql(connection, wait))
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the ledger and changes nothing."""
    options: dict[str, Any] = {}
    if engine.dialect.name == "postgresql":
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with (
        _named_errors(engine),
        engine.connect().execution_options(**options) as connection,
        connection.begin() as transaction,
    ):
        yield connection
        transaction.rollback()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds the write lock from its start; committed at the end, rolled back on any error."""
    with _named_errors(engine), engine.execution_options(**{_WRITE: True}).begin() as connection:
        yield connection


def needs_upgrade(engine: Engine) -> bool:
    """Whether the tables are missing or older than the program.

    Raises UsageError if they are newer, IntegrityError if they do not say how old they are.
    """
    with reading(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return True
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found is None:
        raise IntegrityError("The ledger's table alembic_version is empty.", "Restore the ledger from a backup.")
    if found > migrations.HEAD:
        raise UsageError(
            f"The ledger was written by a newer Expunge (revision {found}; this one knows {migrations.HEAD}).",
            "Update the program.",
        )
    return found != migrations.HEAD


def _url(where: str | os.PathLike[str]) -> URL:
    if isinstance(where, str) and "://" in where:
        try:
            url = make_url(where)
        except ArgumentError as error:
            raise UsageError(f"The ledger's URL cannot be read: {error}.", "Example: sqlite:///ledger.db.") from error
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise UsageError(
                f"A ledger cannot be kept in {url.get_backend_name()}.", "Use a file path, sqlite:/// or postgresql://."
            )
        return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url
    return URL.create("sqlite", database=str(Path(where).absolute()))


def _sqlite(url: URL, busy_seconds: float) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise UsageError("A ledger must be a file.", "Give its path, for example .expunge/ledger.db.")
    path = Path(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # made here, so that it never exists with wider permissions; SQLite gives its journal the same ones
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise UsageError(
            f"The ledger {path} cannot be opened: {error.strerror or error}.", "Check the path."
        ) from error
    # no pool: a connection that is never kept cannot be carried into a forked process
    engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": busy_seconds})
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA secure_delete = ON")  # what a rollback or a release removes is overwritten


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _begin_postgresql(connection: Connection, wait_ms: int) -> None:
    if connection.get_execution_options().get(_WRITE, False):
        # READ COMMITTED, so that what is read after the lock is what the last writer left; the lock's own statement
        # would fix an older snapshot
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {wait_ms}")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_POSTGRESQL_LOCK})")


@contextmanager
def _named_errors(engine: Engine) -> Iterator[None]:
    """Give the database's own errors a name, a place and a remedy; nothing was committed when one is raised."""
    try:
        yield
    except OperationalError as error:
        where = engine.url.render_as_string(hide_password=True)
        reason = str(error.orig).strip()
        if "locked" in reason or "lock timeout" in reason:
            raise ExpungeError(
                f"The ledger {where} stayed locked by another process.", "Nothing was changed; try again."
            ) from error
        if "full" in reason or "No space left" in reason:
            raise ExpungeError(
                f"No space is left for the ledger {where}.", "Nothing was changed; free space."
            ) from error
        if "Could not decode" in reason or "already exists" in reason:
            raise IntegrityError(f"The ledger {where} is damaged: {reason}.", "Restore it from a backup.") from error
        raise ExpungeError(f"The ledger {where} cannot be used: {reason}.", "Nothing was changed.") from error
    except DBAPIError as error:
        if isinstance(error, DatabaseError) and any(
            sign in str(error.orig) for sign in ("not a database", "malformed", "append-only")
        ):
            raise IntegrityError(
                f"The ledger {engine.url.render_as_string(hide_password=True)} is damaged: {error.orig}.",
                "Restore it from a backup; then run the replay guard over every record table.",
            ) from error
        raise
