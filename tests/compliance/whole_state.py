"""A state folder with requests in many states, for tests that change something behind the ledger's back."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from conftest import START, predicate_for, sha256

from expunge.compliance.certificate import build_statement, load_or_create_signing_key, sign, write_certificate
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import load_or_create_key
from expunge.compliance.verify import Everything, verify_everything
from expunge.compliance.verify.command import describe_all

MODEL, REPORT = b"model bytes", b"<html>report</html>"
RUN = "run-1"


@dataclass(frozen=True)
class Whole:
    """A state folder with requests in many states, an interim certificate that a final one replaced, tombstones."""

    state: Path

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.db"

    def certificate(self, request_id: str) -> Path:
        return self.state / "certificates" / f"{request_id}.certificate.json"

    def check(self, anchor: Path | None = None) -> Everything:
        return verify_everything(self.state, anchor=anchor)

    def words(self, anchor: Path | None = None) -> str:
        return describe_all(self.check(anchor))


def open_ledger(state: Path) -> Ledger:
    return Ledger.open(state / "ledger.db", load_or_create_key(state / "keys" / "pseudonym.key"), clock=lambda: START)


def certify(ledger: Ledger, state: Path, request_id: str, interim: bool = False) -> None:
    predicate = predicate_for(ledger, request_id, MODEL, REPORT, interim=interim)
    statement = build_statement([{"name": "model", "digest": {"sha256": sha256(MODEL)}}], predicate)
    path = f"certificates/{request_id}.certificate.json"
    key = load_or_create_signing_key(state / "keys" / "certificate.pem")
    ledger.add_certificate(request_id, path, write_certificate(state / path, sign(statement, key)), RUN, interim)


def make_state(folder: Path) -> Path:
    """Make it below a folder, once for many tests: they work on copies."""
    state = folder / "state"
    for name, content in (("models/model.safetensors", MODEL), ("reports/q1.html", REPORT)):
        (state / name).parent.mkdir(parents=True)
        (state / name).write_bytes(content)
    with open_ledger(state) as ledger:
        for request_id, records in (("q1", ["r1", "r2"]), ("q2", ["r3"]), ("q3", ["r4"]), ("q4", ["r5"])):
            ledger.add_request(request_id, f"{request_id}@example.org", records, "gdpr", START)
        ledger.add_request("again", "q4@example.org", ["r5"], "gdpr", START)
        ledger.refuse("q3", "e")
        ledger.extend("q2", "many requests", START + timedelta(days=3))
        for request_id in ("q1", "q2", "q4"):
            ledger.admit(request_id)
        ledger.add_run(RUN, model_version_before="model 1", details={"requests": ["q1", "q2"]})
        for status in ("planned", "unlearning", "verified", "promoted", "purged"):
            for request_id in ("q1", "q2"):
                ledger.move(request_id, status, RUN)
        ledger.add_tombstones(
            [
                {"kind": "model", "name": "1", "status": "destroyed", "method": "unlink", "content_hash": "a" * 64},
                {"kind": "plan", "name": "2", "status": "kept", "reason": "numbers", "run_id": RUN},
            ]
        )
        for request_id in ("q1", "q2"):
            ledger.mark_erased(request_id, RUN)
        certify(ledger, state, "q2", interim=True)
        for request_id in ("q1", "q2"):
            certify(ledger, state, request_id)
            ledger.move(request_id, "closed", RUN)
        ledger.update_run(RUN, status="closed", finished_at=START, stop_reason="done", fallback_reason="none")
    return state


@contextmanager
def behind_its_back(ledger: Path) -> Iterator[sqlite3.Connection]:
    """A connection that no trigger and no constraint stops; the triggers are there again afterwards."""
    with closing(sqlite3.connect(ledger)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        triggers = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        yield connection
        for _, create in triggers:
            connection.execute(create)
        connection.commit()


def rows_of(ledger: Path, table: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(ledger)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f'SELECT rowid AS _row, * FROM "{table}" ORDER BY rowid')]


def answer_one_more(whole: Whole, interim: bool = False) -> None:
    """Take request q4 through a run of its own, up to its certificate."""
    with open_ledger(whole.state) as ledger:
        for status in ("planned", "unlearning", "verified", "promoted", "purged"):
            ledger.move("q4", status, "run-2")
        certify(ledger, whole.state, "q4", interim)


def flipped(path: Path, index: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[index] ^= 1
    path.write_bytes(content)
