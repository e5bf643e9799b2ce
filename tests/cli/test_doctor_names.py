"""In a finished project: does `expunge doctor` name whatever was changed, and does the model version say what it is?"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("demo")
HARD, EASY = "demo-hard-contributor", "demo-easy-person"

# One process for many looks: each change is taken back before the next. A change is SQL of the ledger or a file.
LOOKS = """
import json, sqlite3, sys
from pathlib import Path
from adapters import bootstrap
from adapters.project import Project
project = Project(Path(sys.argv[1]))
bootstrap.start(project)
from adapters.health import check_health


def look():
    return [[c.name, c.exit_code, c.words] for c in check_health(project) if not c.ok]


said = {"untouched": look()}
for name, (path, statement) in json.loads(sys.argv[2]).items():
    path = Path(path)
    before, mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o600)
    if statement:
        with sqlite3.connect(path) as ledger:
            for (trigger,) in ledger.execute("select name from sqlite_master where type = 'trigger'").fetchall():
                ledger.execute(f"drop trigger {trigger}")
            ledger.execute(statement)
        ledger.close()
    else:
        middle = len(before) // 2
        path.write_bytes(before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])
    said[name] = look()
    path.write_bytes(before)
    path.chmod(mode)
said["untouched again"] = look()
sys.__stdout__.write("SAID" + json.dumps(said))
"""


def _file(demo: Any, artifact: str, name: str) -> Path:
    """A file of the artifact that belongs to the model that serves."""
    (serving,) = demo.house.versions("production")
    own = [a for a in demo.house.artifacts(artifact) if a["facts"].get("model_version") == f"digits-mlp {serving}"]
    return Path(own[-1]["uri"] / name)


@pytest.fixture(scope="module")
def said(demo: Any) -> tuple[dict[str, Any], dict[str, tuple[Path, str]]]:
    house = demo.house
    stored = json.loads(_file(demo, "trajectory", "dvc.json").read_text())["files"]
    ledger = house.state / "ledger.db"
    changes: dict[str, tuple[Path, str]] = {
        "checkpoint": (house.cached(min(stored.values())), ""),
        "norms": (_file(demo, "gradient_norms", "norms.parquet"), ""),
        "losses": (_file(demo, "privacy_losses", "losses.parquet"), ""),
        "model": (_file(demo, "model", "model.safetensors"), ""),
        "plan": (_file(demo, "unlearning_plan", "document.json"), ""),
        "report": (house.state / "reports" / f"{demo.version}.html", ""),
        "certificate": (demo.certificate(EASY), ""),
        "public key": (house.state / "keys" / "certificate.pub.pem", ""),
        "row": (ledger, f"update request set due_at = '2099-01-01' where id = '{HARD}'"),
        "event": (ledger, "update event set at = '2020' where seq = 3"),
        "end": (ledger, "delete from event where seq > 2"),
        "issue": (ledger, f"delete from certificate where request_id = '{EASY}'"),
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOOKS, str(house.root),
         json.dumps({name: [str(path), statement] for name, (path, statement) in changes.items()})],
        capture_output=True, text=True, timeout=300, env=house.environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.partition("SAID")[2]), changes


NAMED = {
    "row": f"request/{HARD}", "event": "event 3", "end": "event", "issue": f"certificate/{EASY}",
    "checkpoint": "Checkpoint",
}  # fmt: skip


def test_an_untouched_project_passes(said: Any) -> None:
    assert said[0]["untouched"] == [] and said[0]["untouched again"] == []


@pytest.mark.parametrize(
    "change",
    ["checkpoint", "norms", "losses", "model", "plan", "report", "certificate", "public key", "row", "event", "end",
     "issue"],
)  # fmt: skip
def test_what_was_changed_is_named(said: Any, change: str) -> None:
    told, changes = said
    assert told[change] and 5 in {code for _, code, _ in told[change]}, told[change]
    wanted = NAMED.get(change, str(changes[change][0]))
    assert any(wanted in words for _, _, words in told[change]), (wanted, told[change])


def test_a_cut_off_end_is_known_from_the_model_version(said: Any) -> None:
    assert any(name == "model versions" and "was cut off" in words for name, _, words in said[0]["issue"])


def test_the_model_version_says_whom_it_answers_how_it_was_judged_and_where_its_report_is(demo: Any) -> None:
    rows = demo.house.zenml(
        "select m.key, m.value from run_metadata m join run_metadata_resource r on r.run_metadata_id = m.id"
        " join model_version v on v.id = r.resource_id where v.name = ? and r.resource_type = 'model_version'",
        demo.version,
    )
    facts = {key: json.loads(value) for key, value in rows}
    assert set(facts["requests"]) == {HARD, EASY}
    assert facts["verdicts"]["influence"] in ("pass", "no power", "fail")
    assert set(facts["p_values"]) <= set(facts["verdicts"]) and facts["evidence_level"] == "oracle"
    assert facts["gate"] and facts["guarantee"] in ("exact", "empirical") and facts["cost"]["unlearning"] > 0
    report = demo.house.state / facts["report"]["path"]
    assert hashlib.sha256(report.read_bytes()).hexdigest() == facts["report"]["sha256"]
    for request_id in (HARD, EASY):
        digest = hashlib.sha256(demo.certificate(request_id).read_bytes()).hexdigest()
        assert facts["certificates"][request_id] == digest
    assert not demo.gone & set(json.dumps(facts).replace('"', " ").split()), "no record is named"


def test_the_certificate_says_everything(demo: Any) -> None:
    found = demo.house.run("verify", demo.certificate(HARD), "--json").json()
    assert found["ok"]
    import base64

    payload = base64.b64decode(json.loads(demo.certificate(HARD).read_bytes())["payload"])
    predicate = json.loads(payload)["predicate"]
    for part in ("plan", "spent", "run", "evidence", "drift", "artifacts", "limits", "report", "details"):
        assert predicate[part], part
    assert predicate["plan"]["request"]["records"] == predicate["scope"]["count"] == len(demo.erased[HARD])
    assert predicate["guarantee_words"] and predicate["request"]["due_rule"].startswith("GDPR Art. 12(3)")
    assert all(check["details"]["power"] is not None and "controls" in check for check in predicate["evidence"])
    assert EASY.encode() not in payload, "a certificate goes to one person"
    assert not any(record.encode() in payload for record in demo.gone)
