"""A project whose ledger is in PostgreSQL: the verbs work as on SQLite, and an auditor needs no server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import ON_POSTGRESQL, ROOT, START, behind, predicate_for, sha256
from postgresql_server import Server
from sqlalchemy import text

from expunge.compliance.certificate import build_statement, load_or_create_signing_key, sign, write_certificate
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import Pseudonymizer

pytestmark = ON_POSTGRESQL


def test_requests_go_in_and_are_read_back(postgresql: Server, new_house: Callable[..., Any]) -> None:
    where = postgresql.new_database()
    house = new_house("on-postgresql")
    house.environment["EXPUNGE_LEDGER_URL"] = where  # its own copy of the environment
    add = ("request", "add", "--record", "digit-001e2cc7e29d", "--id", "q1", "-c", house.scenario, "--json")
    added = house.run(*add).json()
    assert added["created"] and added["status"] == "received" and not house.run(*add).json()["created"]
    listed = house.run("request", "list", "--json").json()
    assert [one["id"] for one in listed] == ["q1"] and "q1" in house.run("request", "list").out
    shown = house.run("request", "show", "q1", "--json").json()
    assert [event["kind"] for event in shown["events"]] == ["request.received"] and len(shown["records"]) == 1
    status = house.run("status", "--json").json()
    assert (status["open"], status["late"]) == (1, 0) and status["chain"].startswith("intact")
    assert house.run("request", "show", "q9", code=3).err.count("\n") <= 2
    assert not house.has_ledger  # nothing fell back to a file
    with behind(where) as connection:
        assert connection.execute(text("SELECT id FROM request")).scalars().all() == ["q1"]
    house.environment["EXPUNGE_LEDGER_URL"] = where.replace("/ledger_", "/nowhere_")
    assert "nowhere_" in house.run("request", "list", code=1).err


def test_an_export_of_the_chain_verifies_where_nothing_of_ours_is(
    postgresql: Server, pseudonymizer: Pseudonymizer, tmp_path: Path
) -> None:
    model, where = b"model bytes", postgresql.new_database()
    state = tmp_path / "state"
    with Ledger.open(where, pseudonymizer) as ledger:
        ledger.add_request("q1", "ada@example.org", ["rec-1"], "gdpr", START)
        ledger.admit("q1")
        for status in ("planned", "unlearning", "verified", "promoted", "purged"):
            ledger.move("q1", status, "run-1")
        ledger.mark_erased("q1", "run-1")
        statement = build_statement(
            [{"name": "model", "digest": {"sha256": sha256(model)}}], predicate_for(ledger, "q1", model, b"report")
        )
        key = load_or_create_signing_key(state / "keys" / "certificate.pem")
        digest = write_certificate(state / "certificates" / "q1.json", sign(statement, key))
        ledger.add_certificate("q1", "certificates/q1.json", digest, "run-1")
        ledger.move("q1", "closed", "run-1")
        ledger.export_chain(state / "chain.jsonl")
        assert ledger.verify_rows() == []
    shutil.copytree(ROOT / "expunge" / "compliance" / "verify", tmp_path / "alone" / "verify")

    def verify() -> Any:
        return subprocess.run(
            [sys.executable, "verify", state / "certificates" / "q1.json", "--ledger", state / "chain.jsonl"],
            cwd=tmp_path / "alone", env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    good = verify()
    assert good.returncode == 0 and "unbroken chain" in good.stdout, good.stdout + good.stderr
    lines = (state / "chain.jsonl").read_text().splitlines()
    changed = {**json.loads(lines[3]), "kind": "request.moved2"}
    lines[3] = json.dumps(changed, sort_keys=True, separators=(",", ":"))
    (state / "chain.jsonl").write_text("\n".join(lines) + "\n")
    assert verify().returncode == 5
