"""Does an audit tell the story of a request that no model was changed for, and of what nobody asked about?"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import load_or_create_key

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)

# One process for many audits: each pays ZenML's start otherwise.
AUDITS = """
import contextlib, io, json, sys
from cli.main import main
said = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["expunge", *arguments]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    said.append([code, out.getvalue(), err.getvalue()])
sys.__stdout__.write("SAID" + json.dumps(said))
"""


@pytest.fixture(scope="module")
def told(new_house: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What audits of a project without a model say: by request id (text, JSON, page), and of what is not there."""
    house = new_house("answered")
    key = house.state / "keys" / "pseudonym.key"
    key.parent.mkdir(parents=True)
    with Ledger.open(house.state / "ledger.db", load_or_create_key(key), clock=lambda: NOW) as ledger:
        ledger.add_request("asked", "ada", ["r-1"], "gdpr", NOW)
        ledger.add_request("again", "ada", ["r-1"], "gdpr", NOW)
        ledger.add_request("unknown", "eve", ["r-9"], "gdpr", NOW, known_record_pseudonyms=[])
        ledger.add_request("no", "joe", ["r-4"], "gdpr", NOW)
        ledger.refuse("no", "e")
        ledger.add_request("withdrawn", "kim", ["r-5"], "ccpa", NOW)
        ledger.cancel("withdrawn")
    folder = tmp_path_factory.mktemp("pages")
    names = ("asked", "again", "unknown", "no", "withdrawn")
    calls: list[list[str]] = []
    for name in names:
        page = str(folder / f"{name}.html")
        calls += [["audit", "request", name, "--page", page], ["audit", "request", name, "--json"]]
    calls += [
        ["audit", "record", "r-4"],
        ["audit", "subject", "ada", "--page", str(folder / "ada.html")],
        ["audit", "record", "r-77"],
        ["audit", "model", "production"],
        ["audit", "request", "no", "--publish"],
        ["audit", "request", "no", "--page", str(folder / "no-folder" / "x.html")],
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AUDITS, json.dumps([["--project", str(house.root), *c] for c in calls])],
        capture_output=True, text=True, check=True, timeout=300, env=house.environment,
    )  # fmt: skip
    answers = json.loads(done.stdout.partition("SAID")[2])
    return {
        "requests": {name: answers[2 * i : 2 * i + 2] for i, name in enumerate(names)},
        "others": answers[2 * len(names) :],
        "pages": folder,
        "house": house,
    }


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("asked", "asked: received, received 2026-03-02"),
        ("again", "again: duplicate, received 2026-03-02 09:30, repeats asked"),
        ("unknown", "unknown: not_found"),
        ("no", "no: refused, received 2026-03-02 09:30, on the ground 17(3)(e)"),
        ("withdrawn", "withdrawn: cancelled"),
    ],
)
def test_an_answer_without_work_is_told_as_text_json_and_page(told: Any, name: str, words: str) -> None:
    (code, text, _), (json_code, described, _) = told["requests"][name]
    assert (code, json_code) == (0, 0)
    assert words in text and "What happened" in text and "request.received" in text
    found = json.loads(described)
    assert [r["id"] for r in found["requests"]] == [name] and found["runs"] == [] and found["model_versions"] == []
    assert [r["id"] for r in found["originals"]] == (["asked"] if name == "again" else [])
    page = (told["pages"] / f"{name}.html").read_text()
    assert "<svg" in page and name in page and "request.received" in page
    assert not re.search(r"<script|javascript:|src=", page)
    assert all(raw not in page for raw in ("r-1", "r-4", "r-5", "r-9", "ada", "joe"))


def test_records_people_and_what_is_not_there(told: Any) -> None:
    (code, record, _), (_, subject, _), unknown, no_model, published, no_folder = told["others"]
    assert code == 0 and "no model version any more" in record and "no: refused" in record
    assert "asked: received" in subject and "again: duplicate" in subject
    page = (told["pages"] / "ada.html").read_text()
    assert "repeated by" in page and "ada" not in page
    assert unknown[0] == 3 and "r-77" in unknown[2]
    assert no_model[0] == 3 and "production" in no_model[2]
    assert published[0] == 0 and "Published as run audit-" in published[1]
    assert no_folder[0] == 2 and "no folder" in no_folder[2]


def test_what_is_published_of_it_is_drawn_too(told: Any) -> None:
    (made,) = told["house"].artifacts("lineage")
    page = next(Path(made["uri"]).rglob("*.html")).read_text()
    assert "17(3)(e)" in page and "request.moved" in page
