"""Where can a run be killed? At every change below the project folder, and round every commit of a database.

Nothing of the product is touched: Python's audit hook tells of files and folders before they change, and SQLAlchemy of
statements and commits. A write is torn by the kernel itself: a limit on file sizes lets the first bytes through and
kills the process at the next one (SIGXFSZ).
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fault_harness.house import House

BEFORE, AFTER, TORN = "before", "after", "torn"


@dataclass(frozen=True)
class Kill:
    """Kill at the occurrence-th time that a point with this label is reached.

    how: `before` it happens; `after`, for a commit; `torn`, after so many bytes of the file that is written next.
    """

    label: str
    occurrence: int = 1
    how: str = BEFORE
    limit: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def words(self) -> str:
        torn = f" at {self.limit} bytes" if self.how == TORN else ""
        return f"{self.how}{torn} {self.label} #{self.occurrence}"


_FILE_EVENTS: dict[str, tuple[str, int]] = {
    "os.remove": ("remove", 0),
    "os.rename": ("rename", 1),
    "os.link": ("link", 1),
    "os.symlink": ("link", 1),
    "os.mkdir": ("mkdir", 0),
    "os.rmdir": ("rmdir", 0),
    "os.chmod": ("chmod", 0),
    "os.truncate": ("truncate", 0),
    "shutil.rmtree": ("rmtree", 0),
}
"""Audit event -> what we call it, and which argument is the path that changes."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_PLACES: tuple[tuple[str, str], ...] = (
    (r"ledger\.db", "ledger file"),
    (r"stores/default_zen_store", "zenml database"),
    (r"stores/[^/]+/logs", "zenml logs"),
    (r"stores/[^/]+/[^/]+/([^/]+)/", "artifact {0}"),
    (r"stores", "artifact store"),
    (r"dvc/\.dvc/cache", "dvc cache"),
    (r"dvc/\.dvc/tmp", "dvc locks"),
    (r"dvc/trajectories", "dvc workspace"),
    (r"dvc-site-cache", "dvc site cache"),
    (r"dvc-remote", "dvc remote"),
    (r"dvc", "dvc root"),
    (r"work/([a-z]+)", "work {0}"),
    (r"(certificates|reports|keys|locks|zenml|epoch|kernels|active)", "{0}"),
)


def place_of(path: str) -> str:
    """What kind of thing lies at this path below the state folder."""
    for pattern, name in _PLACES:
        if found := re.match(pattern, path):
            return name.format(*found.groups())
    return "elsewhere"


class Recorder:
    """Counts the points of this process; kills it at one of them, or writes all of them down at the end."""

    def __init__(self, house: House, kills: Sequence[Kill] = ()) -> None:
        self.root = str(house.state.resolve()) + "/"
        self.kills = {(k.label, k.occurrence): k for k in kills}
        self.seen: Counter[str] = Counter()
        self.labels: list[str] = []
        self.stage = "start"
        self.changes: dict[int, list[str]] = {}
        self.busy = False

    def arm(self) -> None:
        """Watch from now on; for the rest of this process's life."""
        self._watch_steps()
        self._watch_databases()
        sys.addaudithook(self._audit)

    def write_census(self, path: Path) -> None:
        """Every label in the order in which it was reached."""
        self.busy = True
        path.write_text(json.dumps(self.labels))

    def reached(self, what: str, act: Callable[[], None] | None = None) -> Kill | None:
        """A point was reached. Kills the process, or returns the kill that is to be done around it."""
        label = f"{self.stage} | {what}"
        self.seen[label] += 1
        self.labels.append(label)
        kill = self.kills.get((label, self.seen[label]))
        if kill is None:
            return None
        if kill.how == BEFORE:
            die()
        if kill.how == TORN:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (kill.limit, kill.limit))
        return kill

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int) or not _is_write(mode, flags):
                return
            what = "write"
        elif event in _FILE_EVENTS:
            what, index = _FILE_EVENTS[event]
            path = arguments[index]
        else:
            return
        if self.busy or not isinstance(path, str | bytes | os.PathLike):
            return
        full = os.path.abspath(os.fsdecode(path))  # noqa: PTH100 (no look-ups inside the hook)
        if not full.startswith(self.root):
            return
        self.busy = True
        try:
            self.reached(f"{what} | {place_of(full.removeprefix(self.root))}")
        finally:
            self.busy = False

    def _watch_steps(self) -> None:
        from zenml.orchestrators.step_runner import StepRunner

        run, recorder = StepRunner.run, self

        def run_named(runner: Any, pipeline_run: Any, step_run: Any, *rest: Any, **more: Any) -> Any:
            recorder.stage = step_run.name.removesuffix("_2")
            try:
                return run(runner, pipeline_run, step_run, *rest, **more)
            finally:
                recorder.stage = f"after {recorder.stage}"

        StepRunner.run = run_named

    def _watch_databases(self) -> None:
        from sqlalchemy import Engine, event
        from sqlalchemy.engine.default import DefaultDialect

        commit, recorder = DefaultDialect.do_commit, self

        @event.listens_for(Engine, "before_cursor_execute")
        def _statement(connection: Any, _cursor: Any, text: str, values: Any, _context: Any, many: bool) -> None:
            verb, _, rest = text.strip().partition(" ")
            if verb.upper() not in ("INSERT", "UPDATE", "DELETE"):
                return
            table = re.sub(r"^(INTO|FROM)\s+", "", rest.strip(), flags=re.IGNORECASE).split()[0].strip('"`(')
            database = str(connection.engine.url.database or "")
            name = "zenml" if database.endswith("zenml.db") else "ledger"
            what = table
            if name == "ledger" and table == "event" and verb.upper() == "INSERT":
                what = _event_words(values[0] if many else values)
            changes = recorder.changes.setdefault(id(_raw(connection.connection)), [])
            changes.append(f"{name}:{what}")

        def do_commit(dialect: Any, connection: Any) -> None:
            changes = recorder.changes.pop(id(_raw(connection)), [])
            if not changes:
                commit(dialect, connection)
                return
            kill = recorder.reached(f"commit | {_commit_words(changes)}")
            recorder.busy = True
            try:
                commit(dialect, connection)
            finally:
                recorder.busy = False
            if kill is not None and kill.how == AFTER:
                die()

        DefaultDialect.do_commit = do_commit  # type: ignore[method-assign]


def die() -> None:
    """What a power cut or the kernel's out-of-memory killer does to a process."""
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def _raw(connection: Any) -> Any:
    return getattr(connection, "dbapi_connection", connection)


def _is_write(mode: str | None, flags: int) -> bool:
    return any(c in mode for c in "wxa+") if isinstance(mode, str) else bool(flags & _WRITES)


def _event_words(values: Any) -> str:
    """The kind of a ledger event; of a move, from where to where."""
    row = values if isinstance(values, dict) else dict(enumerate(values))
    texts = [v for v in row.values() if isinstance(v, str)]
    kind = next((t for t in texts if re.fullmatch(r"[a-z]+\.[a-z]+", t)), "event")
    payload = next((json.loads(t) for t in texts if t.startswith("{")), {})
    if "to" in payload:
        return f"{payload['from']} to {payload['to']}"
    if kind == "run.updated":
        return f"run is {payload['status']}"
    return kind


def _commit_words(changes: list[str]) -> str:
    """The events of a ledger's transaction; the first table that changes in one of ZenML's."""
    names = [c.partition(":")[2] for c in changes if c.startswith("ledger:")]
    if not names:
        return changes[0].replace(":", " ")
    tables = {"request", "request_record", "erased_record", "deletion_run", "tombstone", "certificate", "meta", "event"}
    events = [name for name in names if name not in tables]
    return "ledger " + (" + ".join(events) or names[0])
