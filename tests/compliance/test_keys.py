"""After a key is rotated, is what was named and signed under the old one still matched and verified?"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Case
from filelock import FileLock

from adapters.requests import records_of
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import KEY_VARIABLE, load_or_create_key, rotate_key


@pytest.fixture
def house(new_house: Callable[..., Any], case: Case) -> Any:
    """A project with an erased request (rec-1, rec-2 of ada@example.org), its certificate, and a table of three."""
    made = new_house("keys", data={"name": "tabular", "options": {"path": "people.csv", "id": "id", "target": "y"}})
    made.scenario.rename(made.root / "expunge.yaml")
    (made.root / "people.csv").write_text("id,y,a\nrec-1,0,1\nrec-2,1,2\nrec-3,0,3\n")
    (made.root / "again.csv").write_text("request_id,record_ids\nq-a,rec-1\nq-b,rec-3\n")
    shutil.copytree(case.state, made.state)
    return made


def events(house: Any) -> list[dict[str, Any]]:
    rows = house.ledger("select payload from event where kind = 'key.rotated' order by seq")
    return [json.loads(row[0]) for row in rows]


def answers(house: Any) -> dict[str, str]:
    imported = house.run("request", "import", house.root / "again.csv", "--json").json()
    return {row["request"]: row["answer"] for row in imported["requests"]}


def test_after_both_rotations_everything_old_still_counts(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {key["of"]: key["id"] for key in house.run("keys", "list", "--json").json()}
    for of in ("pseudonym", "certificate"):
        done = house.run("keys", "rotate", of, "--json").json()
        assert done["before"] == before[of] != done["after"]
    held = {(key["of"], key["current"]): key["id"] for key in house.run("keys", "list", "--json").json()}
    assert held["pseudonym", False] == before["pseudonym"] and held["certificate", False] == before["certificate"]
    assert [(e["of"], e["before"], e["after"]) for e in events(house)] == [
        (of, before[of], held[of, True]) for of in ("pseudonym", "certificate")
    ]
    keys = (house.state / "keys" / "pseudonym.key").read_text().split()
    assert len(keys) == 2 and not house.holding(keys, house.state / "ledger.db")
    assert not any(key.encode() in (house.state / "ledger.db").read_bytes() for key in keys)

    house.run("verify", house.state / "certificates" / "q1.json", named=False)
    assert answers(house) == {"q-a": "erased already", "q-b": "created"}
    with Ledger.open(house.state / "ledger.db", load_or_create_key(house.state / "keys" / "pseudonym.key")) as ledger:
        assert ledger.quarantined_among(["rec-1", "rec-2", "rec-3"]) == {"rec-1", "rec-2"}
        assert ledger.audit_record("rec-1")["known"] and ledger.audit_subject("ada@example.org")["known"]
        assert ledger.verify_chain().ok and ledger.verify_rows() == []
    monkeypatch.setenv("EXPUNGE_PROJECT", str(house.root))
    assert records_of(["q1"], ["rec-1", "rec-2", "rec-3"]) == {"q1": ("rec-1", "rec-2")}  # what a run would forget


@pytest.mark.slow
def test_no_training_sees_what_was_erased_under_a_retired_key(house: Any) -> None:
    table = [f"rec-{number},{number % 2},{number}" for number in range(1, 121)]
    (house.root / "people.csv").write_text("\n".join(["id,y,a", *table]) + "\n")
    house.run("keys", "rotate", "pseudonym")
    house.run("train", "--set", "training.batch_size=16", "--set", "training.learning_rate=0.01")
    assert not {"rec-1", "rec-2"} & set(house.trained_ids()) and len(house.trained_ids()) > 60
    assert house.run("audit", "record", "rec-1", "--json").json()["known"]
    assert [one["id"] for one in house.run("audit", "subject", "ada@example.org", "--json").json()["requests"]] == [
        "q1"
    ]


def test_without_the_retired_keys_nothing_old_is_known(house: Any) -> None:
    """What the test above sees is the work of the retired keys."""
    house.run("keys", "rotate", "pseudonym")
    house.run("keys", "rotate", "certificate")
    key = house.state / "keys" / "pseudonym.key"
    key.write_text(key.read_text().split()[0] + "\n")
    assert answers(house)["q-a"] == "created"
    retired = [path for path in key.parent.glob("certificate.*.pub.pem") if path.name != "certificate.pub.pem"]
    assert len(retired) == 1
    retired[0].unlink()
    assert "not signed by" in house.run("verify", house.state / "certificates" / "q1.json", code=5, named=False).out


def test_keys_that_cannot_be_trusted_are_refused(house: Any) -> None:
    key = house.state / "keys" / "pseudonym.key"
    current = key.read_text().strip()
    (house.state / "locks").mkdir()
    with FileLock(house.state / "locks" / "deletion.lock"):
        assert "Rotate the key when that is done" in house.run("keys", "rotate", "pseudonym", code=1).err
    key.chmod(0o644)
    for verb in (("keys", "rotate", "pseudonym"), ("request", "list")):
        assert "chmod 600" in house.run(*verb, code=2).err
    house.environment[KEY_VARIABLE] = current  # the file is not looked at
    assert house.run("keys", "list", "--json").json()[0]["kept"] == KEY_VARIABLE
    assert f"The key comes from {KEY_VARIABLE}" in house.run("keys", "rotate", "pseudonym", code=2).err
    house.environment[KEY_VARIABLE] = "ab" * 32 + "," + current  # as the message says: the new one in front
    assert answers(house)["q-a"] == "erased already"
    house.environment[KEY_VARIABLE] = "not a key"
    assert "64 hex digits" in house.run("request", "list", code=2).err
    assert events(house) == [] and key.read_text().strip() == current


def test_a_rotation_that_a_crash_kept_from_the_ledger_is_noted_by_the_next(house: Any) -> None:
    key = house.state / "keys" / "pseudonym.key"
    lost = rotate_key(key).key_id  # the file is replaced, and then the process dies
    house.run("keys", "rotate", "pseudonym")
    noted = events(house)
    assert [one["after"] for one in noted] == [lost, load_or_create_key(key).key_id]
    assert noted[1]["before"] == lost
