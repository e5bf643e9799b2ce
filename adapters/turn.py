"""Who may answer requests now? One process a ledger: a file lock here, and a session lock in a shared PostgreSQL.

Both end with the process that holds them, by SIGKILL too: the kernel drops the file lock, the server the lock of a
session whose connection is gone. A machine that vanished from the network is noticed by keep-alive, within two minutes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator

from filelock import FileLock, Timeout
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from adapters.ledger import URL_VARIABLE
from adapters.project import current_project
from expunge.compliance.database import open_engine
from expunge.errors import ExpungeError

POLL_SECONDS = 2.0
_LOCK = 0x6578_7075_6E67_66  # the ledger's write lock is one less


class AtWork(ExpungeError):
    """Another process is answering requests, and the caller does not want to wait."""

    exit_code = 0


@contextlib.contextmanager
def turn(wait: bool = True, say: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Hold the right to answer requests. Without `wait` raises AtWork at once when another process holds it."""
    with contextlib.ExitStack() as held:
        _here(held, wait, say)
        url = os.environ.get(URL_VARIABLE, "")
        if url.startswith("postgresql"):
            _shared(held, url, wait, say)
        yield


def _here(held: contextlib.ExitStack, wait: bool, say: Callable[[str], None]) -> None:
    lock = FileLock(current_project().lock("deletion"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise AtWork("Another process is answering requests in this project.", "It does this one's work.") from None
        say("Another process is answering requests in this project: waiting for it.")
        lock.acquire()
    held.callback(lock.release)


def _shared(held: contextlib.ExitStack, url: str, wait: bool, say: Callable[[str], None]) -> None:
    engine = open_engine(url)
    held.callback(engine.dispose)
    try:
        connection = held.enter_context(engine.connect().execution_options(isolation_level="AUTOCOMMIT"))
        for name, value in (
            ("application_name", f"expunge run-due on {socket.gethostname()[:30]}, process {os.getpid()}"),
            ("idle_session_timeout", "0"),
            ("tcp_keepalives_idle", "60"),
            ("tcp_keepalives_interval", "10"),
            ("tcp_keepalives_count", "6"),
        ):
            connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value})
        told = False
        while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}).scalar():
            who = _holder(connection)
            if not wait:
                raise AtWork(f"{who} is answering requests of this ledger.", "It does this one's work.")
            if not told:
                say(f"{who} is answering requests of this ledger: waiting for it.")
                told = True
            time.sleep(POLL_SECONDS)
    except SQLAlchemyError as error:
        raise ExpungeError(
            f"The ledger's database cannot be locked: {type(error).__name__}.", "See `expunge doctor`; then try again."
        ) from error


def _holder(connection: Connection) -> str:
    query = text(
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype ="
        " 'advisory' AND l.granted AND l.classid = :high AND l.objid = :low AND a.datname = current_database()"
    )
    high, low = _LOCK >> 32, _LOCK & 0xFFFFFFFF
    return str(connection.execute(query, {"high": high, "low": low}).scalar() or "Another process")
