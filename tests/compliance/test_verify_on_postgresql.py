"""Does `expunge verify` check a ledger that is in PostgreSQL: its chain by an export, its rows and triggers there?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from conftest import START, predicate_for, sha256

from expunge.compliance.certificate import build_statement, load_or_create_signing_key, sign, write_certificate
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import load_or_create_key

pytest.importorskip("postgresql_server", reason="the server of the ledger's own tests")
pytestmark = pytest.mark.xdist_group("postgresql")

MODEL, REPORT = b"model bytes", b"<html>"


def test_everything_and_one_certificate(request: pytest.FixtureRequest, new_house: Callable[..., Any]) -> None:
    from conftest import behind
    from sqlalchemy import text

    where = request.getfixturevalue("postgresql").new_database()
    house = new_house("verified-on-postgresql")
    house.environment["EXPUNGE_LEDGER_URL"] = where
    for name, content in (("models/model.safetensors", MODEL), ("reports/q1.html", REPORT)):
        (house.state / name).parent.mkdir(parents=True)
        (house.state / name).write_bytes(content)
    with Ledger.open(where, load_or_create_key(house.state / "keys" / "pseudonym.key"), clock=lambda: START) as ledger:
        ledger.add_request("q1", "ada@example.org", ["r1"], "gdpr", START)
        ledger.admit("q1")
        predicate = predicate_for(ledger, "q1", MODEL, REPORT)
        statement = build_statement([{"name": "model", "digest": {"sha256": sha256(MODEL)}}], predicate)
        path = house.state / "certificates" / "q1.certificate.json"
        key = load_or_create_signing_key(house.state / "keys" / "certificate.pem")
        ledger.add_certificate("q1", "certificates/q1.certificate.json", write_certificate(path, sign(statement, key)))
    whole = house.run("verify", "--all")
    assert (
        "VERIFIED: the ledger and 1 certificate" in whole.out and "every row is as its last event left it" in whole.out
    )
    # a file that is gone must have a tombstone, as on SQLite
    model = house.state / "models/model.safetensors"
    model.unlink()
    assert "no tombstone says that it was destroyed" in house.run("verify", "--all", code=5).out
    with Ledger.open(where, load_or_create_key(house.state / "keys" / "pseudonym.key"), clock=lambda: START) as ledger:
        gone = {"kind": "model", "name": "model 1", "status": "destroyed", "method": "file_deleted"}
        ledger.add_tombstones([{**gone, "content_hash": sha256(MODEL)}])
    assert "by the ledger's tombstones" in house.run("verify", "--all", "--json").out
    model.write_bytes(MODEL)
    report = house.state / "reports/q1.html"
    report.unlink()
    assert f"{report} is missing" in house.run("verify", "--all", code=5).words
    report.write_bytes(REPORT)
    alone = house.run("verify", path)
    assert "its rows are not in this export" in alone.out and not house.has_ledger
    anchor = house.root / "heads.jsonl"
    house.run("ledger", "anchor", anchor)
    house.run("verify", "--all", "--anchor", anchor)

    with behind(where) as connection:
        connection.execute(text("UPDATE request SET due_at = '2099-01-01'"))
    assert "request/q1" in house.run("verify", "--all", code=5).out
    with behind(where) as connection:
        connection.execute(text(f"UPDATE request SET due_at = '{predicate['request']['due_at']}'"))
    house.run("verify", "--all")
    with behind(where) as connection:
        connection.execute(text("ALTER TABLE event DISABLE TRIGGER event_no_change"))
    assert "event_no_change" in house.run("verify", "--all", code=5).out
    with behind(where) as connection:
        connection.execute(text("UPDATE event SET at = '2020' WHERE seq = 2"))
    assert "event 2" in house.run("verify", "--all", code=5).out
    assert "event 2" in house.run("verify", path, code=5).out
