"""Do files of requests enter whole or not at all, and do the verbs on the way to the answer say what they changed?

Nothing here trains: the data are a table of six records, and neither ZenML nor torch's time is spent where no data are
read.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("requests")

UUID = "a7551968-d5d6-44b2-9831-815ac9017798"
NOW = "2026-03-10T12:00:00+00:00"
ROWS = [("r-1", "ada"), ("r-2", "ada"), ("r-3", "bob"), ("r-4", "eve"), ("r-5", "eve"), ("r-6", "zoe")]


def new_project(new_house: Callable[..., Any], name: str) -> Any:
    house = new_house(name)
    table = house.root / "people.csv"
    table.write_text("id,who,y,a\n" + "".join(f"{r},{s},{n % 2},{n}\n" for n, (r, s) in enumerate(ROWS)))
    options = {"path": "people.csv", "id": "id", "subject": "who", "target": "y"}
    (house.root / "expunge.yaml").write_text(
        json.dumps(
            {
                "data": {"name": "tabular", "options": options},
                "model": {"name": "mlp", "registered_as": "m"},
                "training": {
                    "steps": 10, "batch_size": 2, "learning_rate": 0.1, "checkpoints": 2, "seed": 0,
                    "noise": {"convention": "mean_gradient", "sigma": 0.02},
                },
                "compliance": {"timezone": "Europe/Berlin", "regulation": "ccpa"},
            }
        )
    )  # fmt: skip
    house.environment["EXPUNGE_SIMULATED_NOW"] = NOW
    return house


@pytest.fixture(scope="module")
def house(new_house: Callable[..., Any]) -> Any:
    """A project into which three files were imported at once, one of them malformed."""
    made = new_project(new_house, "requests")
    files = {
        "portal.csv": "request_id,subject_id,record_ids,regulation,received_at\n"
        "q-whole,ada,,gdpr,2026-03-02T10:00:00+01:00\n"
        "q-some,,r-3;r-99,,2026-03-09T10:00:00Z\n"
        "q-none,nobody,,gdpr,\n"
        "q-again,ada,r-2,gdpr,2026-03-05T10:00:00Z\n",
        "doubt.jsonl": '{"request_id": "q-doubt", "subject_id": "zoe", "record_ids": ["r-4"]}\n'
        '{"request_id": "q-hold", "subject_id": "zoe", "regulation": "gdpr", "received_at": "2026-03-03T10:00:00Z"}\n',
        "wrong.json": json.dumps(
            {
                "subject_request_id": UUID, "subject_request_type": "erasure", "regulation": "gdpr",
                "submitted_time": "2026-03-02T10:00:00",
                "subject_identities": [
                    {"identity_type": "email", "identity_value": "0a4f", "identity_format": "sha256"}
                ],
            }
        ),
    }  # fmt: skip
    for name, content in files.items():
        (made.root / name).write_text(content)
    answer = made.run("request", "import", *(made.root / name for name in files), "--json", code=2)
    object.__setattr__(made, "answer", answer)
    return made


def test_each_file_enters_whole_or_not_at_all(house: Any) -> None:
    receipt = house.answer.json()
    rows = {row["request"]: row for row in receipt["requests"]}
    assert {name: row["answer"] for name, row in rows.items()} == {
        "q-whole": "created", "q-some": "created", "q-none": "not found", "q-again": "duplicate",
        "q-doubt": "ambiguous", "q-hold": "created",
    }  # fmt: skip
    assert rows["q-whole"]["due_at"] == "2026-04-02" and "Europe/Berlin" in rows["q-whole"]["due_rule"]
    assert rows["q-whole"]["expected_completion_time"] == "2026-04-02T21:59:59Z"
    assert rows["q-some"]["unknown_records"] == 1 and "CCPA" in rows["q-some"]["due_rule"]
    assert rows["q-again"]["duplicate_of"] == "q-whole" and rows["q-none"]["request_status"] == "completed"
    (refused,) = receipt["refused_files"]
    assert [fault["field"] for fault in refused["faults"]] == ["submitted_time", "identity_format"]
    assert "wrong.json: 2 faults; nothing of it was taken in" in house.answer.err and "0a4f" not in house.answer.err
    assert house.ledger("select count(*) from request where id = ?", UUID) == [(0,)]


def test_the_same_file_again_changes_nothing(house: Any) -> None:
    before = house.head()
    again = house.run("request", "import", house.root / "portal.csv")
    assert "4 request(s): 4 already there" in again.out and house.head() == before


def test_a_changed_request_keeps_its_whole_file_out(house: Any) -> None:
    before = house.head()
    file = house.root / "changed.csv"
    file.write_text("request_id,subject_id,regulation\nq-new,eve,gdpr\nq-whole,eve,gdpr\n")
    refused = house.run("request", "import", file, code=2)
    assert "q-whole is on the ledger with another content" in refused.err and house.head() == before
    missing = house.run("request", "import", house.root / "nowhere.csv", code=3)
    assert "nowhere.csv" in missing.err
    assert "--identity 'email'" in house.run("request", "import", file, "--identity", "email", code=2).err


def test_an_ambiguous_request_is_confirmed_for_one_person(house: Any) -> None:
    waiting = house.run("request", "confirm", "q-doubt", code=2)
    assert "fits more than one person" in waiting.err and "--subject" in waiting.err
    assert "does not fit" in house.run("request", "confirm", "q-doubt", "--subject", "ada", code=2).err
    done = house.run("request", "confirm", "q-doubt", "--subject", "eve", "--json").json()
    assert done["status"] == "accepted" and done["changed"]["identity_confirmed_at"]
    assert house.asked("q-doubt", ["r-4", "r-5", "r-6"]) == {"r-4"}


def test_hold_confirm_and_extend_print_the_deadline_and_its_rule(house: Any) -> None:
    held = house.run("request", "hold", "q-hold", "--at", "2026-03-05T09:00:00+01:00").words
    assert "identity_unverified" in held and "the clock stands still until it is confirmed" in held
    assert "proof of identity" in house.run("request", "list").out
    confirmed = house.run("request", "confirm", "q-hold").words
    assert "due at: 2026-04-03 -> 2026-04-08" in confirmed and "paused 5 days (Art. 12(6))" in confirmed
    longer = house.run("request", "extend", "q-hold", "--reason", "many requests at once").words
    assert "extended to: - -> 2026-06-08" in longer and "3 months from 2026-03-03" in longer
    before = house.head()
    assert "already extended" in house.run("request", "extend", "q-hold", "--reason", "again", code=2).err
    assert "still to come" in house.run(
        "request", "extend", "q-hold", "--reason", "x", "--notice-at", "2026-03-11T00:00:00Z", code=2).err  # fmt: skip
    assert "cannot become identity_unverified" in house.run("request", "hold", "q-hold", code=2).err
    assert house.head() == before
    events = [json.dumps(row) for row in house.ledger("select payload from event where request_id = 'q-hold'")]
    assert not any("many requests" in event for event in events)  # free text stays out of the chain


def test_acknowledge_refuse_cancel_and_the_numbers(house: Any) -> None:
    assert "acknowledge by 2026-03-23" in house.run("request", "list").words
    assert "acknowledged at" in house.run("request", "acknowledge", "q-some").words
    wrong = house.run("request", "refuse", "q-some", "--ground", " ", code=2)
    assert "needs its ground" in wrong.err
    assert "17(3)(x)" in house.run("request", "refuse", "q-whole", "--ground", "17(3)(x)", code=2).err
    refused = house.run("request", "refuse", "q-whole", "--ground", "e").words
    assert "refusal ground: - -> 17(3)(e)" in refused and "remedies" in refused
    assert house.status("q-again") == "received"  # owed an answer again
    assert "cancelled" in house.run("request", "cancel", "q-again").out
    stuck = house.run("request", "cancel", "q-whole", code=2)
    assert "is refused and cannot become cancelled" in stuck.err and "last state" in stuck.err
    counts = house.run("statistics", "--format", "json", "--until", "2026-03-10").json()
    numbers = {name: counts[name] for name in ("received", "refused", "not_found", "duplicate", "cancelled", "open")}
    assert numbers == {"received": 6, "refused": 1, "not_found": 1, "duplicate": 0, "cancelled": 1, "open": 3}
    assert counts["by_regulation"]["ccpa"]["received"] == 2 and counts["median_days"] == 4
    lines = house.run("statistics", "--format", "csv", "--since", "2026-03-03").out.splitlines()
    assert lines[0].startswith("regulation,received,done,refused") and lines[1].startswith("all,5,")
    assert "not a day" in house.run("statistics", "--since", "March", code=2).err


def test_the_opendsr_status_goes_back_to_the_controller(house: Any) -> None:
    one = house.run("request", "export", "q-none").json()
    assert one["request_status"] == "completed" and one["extensions"]["expunge"]["outcome"] == "not_found"
    everything = house.run("request", "export").json()
    assert len(everything) == 6 and not {"ada", "nobody"} & set(json.dumps(everything).split('"'))


LIGHT = (
    ("request", "list"), ("request", "show", "q-some"), ("request", "export"), ("request", "hold", "q-some"),
    ("request", "import", "{root}/wrong.json"), ("statistics",), ("keys", "list"),
)  # fmt: skip
RUN = """
import json, sys
from cli.main import main
project, verbs = sys.argv[1], json.loads(sys.argv[2])
for verb in verbs:
    sys.argv = ["expunge", "--project", project, *verb]
    try:
        main()
    except SystemExit:
        pass
    heavy = {"torch", "zenml", "dvc", "pandas", "sklearn"} & set(sys.modules)
    assert not heavy, (verb, heavy)
"""


def test_verbs_that_read_no_data_load_nothing_heavy(house: Any) -> None:
    verbs = [[part.format(root=house.root) for part in verb] for verb in LIGHT]
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(house.root), json.dumps(verbs)],
        capture_output=True, text=True, timeout=120, env=house.environment, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
