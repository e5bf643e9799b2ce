"""Does one changed byte make `expunge verify` fail, with exit code 5 and the name of what changed?"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("demo")
HARD, EASY = "demo-hard-contributor", "demo-easy-person"


def _model_file(demo: Any) -> Path:
    promoted = [a for a in demo.house.artifacts("model") if demo.version in str(a["facts"].get("model_version"))]
    return Path(promoted[0]["uri"] / "model.safetensors")


@pytest.mark.parametrize("request_id", [HARD, EASY])
def test_both_certificates_verify(demo: Any, request_id: str) -> None:
    verified = demo.house.run("verify", demo.certificate(request_id), named=False)
    assert "VERIFIED" in verified.out and "FAILED" not in verified.out
    found = demo.house.run("verify", demo.certificate(request_id), "--json", named=False).json()
    assert found["ok"] and all(check["status"] == "passed" for check in found["checks"])


def test_a_changed_certificate(demo: Any, changed: Any) -> None:
    with changed(demo.certificate(HARD)) as path:
        refused = demo.house.run("verify", path, code=5)
        assert str(path) in refused.out and "NOT VERIFIED" in refused.out
        assert demo.house.run("verify", path, "--json", code=5).json()["ok"] is False
    demo.house.run("verify", demo.certificate(HARD))


def test_a_changed_model(demo: Any, changed: Any) -> None:
    with changed(_model_file(demo)) as path:
        refused = demo.house.run("verify", demo.certificate(EASY), code=5)
        assert str(path) in refused.out
        named = demo.house.run("verify", demo.certificate(EASY), "--model", path, code=5)
        assert str(path) in named.out
    demo.house.run("verify", demo.certificate(EASY), "--model", _model_file(demo))


def test_a_changed_report(demo: Any, changed: Any) -> None:
    with changed(demo.house.state / "reports" / f"{demo.version}.html") as path:
        assert str(path) in demo.house.run("verify", demo.certificate(HARD), code=5).out


def test_a_certificate_of_another_project_s_making(demo: Any, tmp_path: Path) -> None:
    alone = tmp_path / "somewhere.json"
    alone.write_bytes(demo.certificate(HARD).read_bytes())
    key = demo.house.state / "keys" / "certificate.pub.pem"
    verified = demo.house.run("verify", alone, "--key", key)
    assert "VERIFIED" in verified.out and "not checked" in verified.out.lower()


def test_everything_at_once(demo: Any) -> None:
    verified = demo.house.run("verify", "--all")
    assert verified.out.endswith("VERIFIED: the ledger and 2 certificates\n") and verified.out.count("PASSED") == 3
    found = demo.house.run("verify", "--all", "--json").json()
    assert found["ok"] and len(found["certificates"]) == 2 and found["ledger"]["ok"]
    for wrong in (["--all", "x"], [], ["--anchor", "x", demo.certificate(HARD)], ["--all", "--model", "x"]):
        demo.house.run("verify", *wrong, code=2)


def test_a_head_kept_elsewhere(demo: Any, tmp_path: Path) -> None:
    anchor, state = tmp_path / "heads.jsonl", demo.house.state
    head = demo.house.run("ledger", "head", "--json").json()
    assert (head["seq"], head["hash"]) == demo.house.head()
    assert str(head["seq"]) in demo.house.run("ledger", "anchor", anchor).out
    demo.house.run("ledger", "export", tmp_path / "chain.jsonl")
    demo.house.run("verify", demo.certificate(HARD), "--ledger", tmp_path / "chain.jsonl")
    assert "heads that were written down" in demo.house.run("verify", "--all", "--anchor", anchor).out
    cut = tmp_path / "project"
    for part in ("keys", "certificates", "reports", "ledger.db"):
        source, target = state / part, cut / ".expunge" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        _ = shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
    (cut / ".expunge" / "stores").symlink_to(state / "stores")
    command = ("--project", cut, "verify", "--all", "--anchor", anchor)
    demo.house.run(*command, named=False)
    with closing(sqlite3.connect(cut / ".expunge" / "ledger.db")) as ledger:
        for (name,) in ledger.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            ledger.execute(f"drop trigger {name}")
        ledger.execute("delete from event where seq > (select max(seq) - 1 from event)")
        ledger.commit()
    refused = demo.house.run(*command, named=False, code=5)
    assert "its end was cut off" in refused.out and "without an event" in refused.out


def test_an_unknown_certificate(demo: Any) -> None:
    refused = demo.house.run("verify", "nowhere.certificate.json", code=3)
    assert "nowhere.certificate.json" in refused.out
    assert demo.house.run("verify", "nowhere.certificate.json", "--json", code=3).json()["exit_code"] == 3
