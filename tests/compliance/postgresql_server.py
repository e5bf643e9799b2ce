"""Where does a test get a real PostgreSQL from? Debian's package, started here, in a folder of its own that is gone
afterwards.

PostgreSQL refuses to run as root: then it runs as the user `postgres`, whom the package makes. It listens on a Unix
socket alone, in a folder that nobody else can enter.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

REQUIRED = "EXPUNGE_REQUIRE_POSTGRESQL"  # set by .ci/run: there, no server is a failure and not a skip


class NoServer(Exception):
    """Why no server can be started here."""


@dataclass(frozen=True)
class Server:
    """A running server; every database on it is one ledger."""

    folder: Path
    numbers: Iterator[int]

    def url(self, database: str) -> URL:
        where = {"host": str(self.folder / "socket")}
        return URL.create("postgresql+psycopg", "postgres", database=database, query=where)

    def new_database(self) -> str:
        """URL of an empty database."""
        name = f"ledger_{next(self.numbers)}"
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name).render_as_string(hide_password=False)


def find_programs() -> Path:
    """The folder of `initdb` and `postgres`, the newest version of Debian's first. Raises NoServer."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("postgres")
    for program in (*reversed(debian), *([Path(on_path).resolve()] if on_path else [])):
        if (program.parent / "initdb").is_file():
            return program.parent
    raise NoServer("PostgreSQL is not installed: apt-get install postgresql")


def _identity() -> dict[str, Any]:
    """Whom the server runs as: whoever runs the tests, but for root the user `postgres`."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError as error:
        raise NoServer("PostgreSQL does not run as root, and there is no user postgres") from error
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def running_server() -> Iterator[Server]:
    """A server of its own; stopped and removed at the end. Raises NoServer."""
    programs, identity = find_programs(), _identity()
    folder = Path(tempfile.mkdtemp(prefix="expunge-pg-"))
    try:
        (folder / "socket").mkdir()
        for path in (folder, folder / "socket"):
            os.chown(path, identity.get("user", -1), identity.get("group", -1))
        quiet: dict[str, Any] = {"cwd": folder, "stdin": subprocess.DEVNULL, **identity}
        made = subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"],
            capture_output=True, text=True, check=False, **quiet,
        )  # fmt: skip
        if made.returncode:
            raise NoServer(f"initdb failed: {made.stderr.strip()}")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", "-k", folder / "socket", "-c", "listen_addresses="],
                stdout=log, stderr=log, **quiet,
            )  # fmt: skip
        try:
            _wait(folder, process)
            yield Server(folder, count(1))
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: nothing here is worth a checkpoint
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(folder: Path, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    ready = folder / "data" / "postmaster.pid"
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        # its last line says "ready" once connections are taken
        if ready.is_file() and ready.read_text().rstrip().endswith("ready"):
            return
        time.sleep(0.05)
    raise NoServer(f"the server did not start: {(folder / 'log').read_text().strip()[-500:]}")
