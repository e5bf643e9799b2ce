"""A real ledger, in a file and on a real PostgreSQL, a clock that the test sets, and a small certificate that holds
together.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from postgresql_server import REQUIRED, NoServer, Server, running_server
from sqlalchemy import Connection, create_engine

from expunge.compliance.certificate import (
    build_statement,
    load_or_create_signing_key,
    public_key_path,
    sign,
    write_certificate,
)
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import KEY_VARIABLE, Pseudonymizer, load_or_create_key

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **more: float) -> datetime:
        self.now += timedelta(**more)
        return self.now


@dataclass(frozen=True)
class Case:
    """A state folder with one closed request and its certificate."""

    state: Path
    certificate: Path
    model: Path
    report: Path
    ledger: Path
    public_key: Path
    statement: dict[str, Any]


@pytest.fixture(autouse=True)
def _no_key_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pseudonymizer() -> Pseudonymizer:
    return Pseudonymizer(bytes(range(32)))


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A server of this session's own; tests that use it carry `ON_POSTGRESQL`, so that one worker starts one."""
    try:
        with running_server() as server:
            yield server
    except NoServer as reason:
        if os.environ.get(REQUIRED):
            pytest.fail(f"{REQUIRED} is set, and {reason}")
        pytest.skip(str(reason))


ON_POSTGRESQL = pytest.mark.xdist_group("postgresql")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=ON_POSTGRESQL)])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    """Place of a ledger that is not there yet: a file, then a database of the server."""
    if request.param == "sqlite":
        return tmp_path / "ledger.db"
    server: Server = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.fixture
def ledger(where: str | Path, pseudonymizer: Pseudonymizer, clock: Clock) -> Iterator[Ledger]:
    with Ledger.open(where, pseudonymizer, clock=clock) as opened:
        yield opened


@contextmanager
def behind(where: str | Path) -> Iterator[Connection]:
    """A connection to the database behind the ledger's back; what it changes is committed."""
    engine = create_engine(where if isinstance(where, str) else f"sqlite:///{where}")
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@pytest.fixture
def add(ledger: Ledger) -> Callable[..., Any]:
    """Add a GDPR request received at START; returns the request."""

    def _add(request_id: str, *record_ids: str, **more: Any) -> Any:
        more = {"regulation": "gdpr", "received_at": START, "subject_identity": None, **more}
        return ledger.add_request(request_id, record_ids=list(record_ids), **more).request

    return _add


def run_python(code: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start a process that can import the library."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes: list[subprocess.Popen[str]], seconds: float = 60) -> list[str]:
    """Standard output of each process; fails with its standard error unless all exit with 0."""
    outputs = [process.communicate(timeout=seconds) for process in processes]
    for process, (_, error) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, error
    return [output for output, _ in outputs]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def predicate_for(ledger: Ledger, request_id: str, model: bytes, report: bytes, **more: Any) -> dict[str, Any]:
    """A small predicate that is true of the ledger."""
    request = ledger.get_request(request_id)
    records = [record.record_pseudonym for record in ledger.request_records(request_id)]
    head = ledger.head()
    return {
        "issued_at": START,
        "request": {
            "id": request.id,
            "regulation": request.regulation,
            "received_at": request.received_at,
            "due_at": request.deadline.isoformat(),
            "subject_pseudonym": request.subject_pseudonym,
        },
        "scope": {"record_pseudonyms": records, "count": len(records)},
        "evidence": [{"name": "mia", "statistic": 0.51, "interval": [0.48, 0.54], "verdict": "passed"}],
        "evidence_level": "pool",
        "verdict": {"passed": True, "words": "No test tells the model from one that never saw the records."},
        "guarantee": "empirical",
        "model": {"name": "digits", "version": "2", "sha256": sha256(model), "path": "models/model.safetensors"},
        "artifacts": [{"kind": "checkpoint", "name": "step 3", "action": "destroyed", "method": "unlink"}],
        "limits": ["The tests have limited power."],
        "ledger": {"head_hash": head.hash, "seq": head.seq, "ledger_id": ledger.ledger_id},
        "report": {"path": "reports/q1.html", "sha256": sha256(report)},
        **more,
    }


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """One request, erased, certified and closed."""
    state = tmp_path / "state"
    model, report = b"model bytes", b"<html>report</html>"
    for name, content in (("models/model.safetensors", model), ("reports/q1.html", report)):
        (state / name).parent.mkdir(parents=True)
        (state / name).write_bytes(content)
    key = load_or_create_signing_key(state / "keys" / "certificate.pem")
    with Ledger.open(state / "ledger.db", load_or_create_key(state / "keys" / "pseudonym.key")) as ledger:
        ledger.add_request("q1", "ada@example.org", ["rec-1", "rec-2"], "gdpr", START)
        ledger.admit("q1")
        ledger.add_run("run-1", method="rewind")
        for status in ("planned", "unlearning", "verified", "promoted", "purged"):
            ledger.move("q1", status, "run-1")
        ledger.mark_erased("q1", "run-1")
        ledger.add_tombstones(
            [{"kind": "checkpoint", "name": "step 3", "status": "destroyed", "method": "unlink", "run_id": "run-1"}]
        )
        predicate = predicate_for(ledger, "q1", model, report)
        subjects = [{"name": "model.safetensors", "digest": {"sha256": sha256(model)}}]
        statement = build_statement(subjects, predicate)
        path = state / "certificates" / "q1.json"
        digest = write_certificate(path, sign(statement, key))
        ledger.add_certificate("q1", "certificates/q1.json", digest, "run-1")
        ledger.move("q1", "closed", "run-1")
    return Case(
        state=state,
        certificate=path,
        model=state / "models/model.safetensors",
        report=state / "reports/q1.html",
        ledger=state / "ledger.db",
        public_key=public_key_path(state / "keys" / "certificate.pem"),
        statement=statement,
    )
