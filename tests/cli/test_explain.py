"""`expunge explain`: one paragraph from the ledger and the certificate, at once, for a request in any state."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import load_or_create_key

HARD, EASY = "demo-hard-contributor", "demo-easy-person"
RUN = """
import sys
from cli.main import main
sys.argv = ["expunge", *sys.argv[1:]]
main()
print("LOADED", sorted(name for name in sys.modules if "." not in name))
"""


@pytest.fixture(scope="module")
def asked(new_house: Callable[..., Any]) -> Any:
    """A project with a ledger and nothing else."""
    house = new_house("asked")
    key = house.state / "keys" / "pseudonym.key"
    key.parent.mkdir(parents=True)
    with Ledger.open(house.state / "ledger.db", load_or_create_key(key)) as ledger:
        now = datetime.now(UTC)
        ledger.add_request("open", "ada", ["r-1", "r-2"], "gdpr", now)
        ledger.add_request("late", "bob", ["r-3"], "ccpa", datetime(2026, 1, 5, tzinfo=UTC))
        ledger.add_request("again", "ada", ["r-1"], "gdpr", now)
        ledger.add_request("unknown", "eve", ["r-9"], "gdpr", now, known_record_pseudonyms=[])
        ledger.add_request("no", "joe", ["r-4"], "gdpr", now)
        ledger.move("no", "refused", refusal_ground="e")
    return house


@pytest.mark.parametrize(
    ("request_id", "words"),
    [
        ("open", "that 2 records be forgotten. It waits for the next run"),
        ("late", "days late"),
        ("again", "It asks for what request open asks for already"),
        ("unknown", "None of what it names was found"),
        ("no", "It was refused (Art. 17(3)(e), legal claims)"),
    ],
)
def test_every_state_is_told_from_the_ledger_alone(asked: Any, request_id: str, words: str) -> None:
    told = asked.run("explain", request_id)
    assert words in told.out and told.out.count("\n") == 1
    found = asked.run("explain", request_id, "--json").json()
    assert set(found) == {"request", "words"}
    assert found["request"]["id"] == request_id and found["words"] == told.out.strip()


def test_a_request_that_is_not_there(asked: Any) -> None:
    refused = asked.run("explain", "nobody", code=3)
    assert "no request 'nobody'" in refused.err and "expunge request list" in refused.err and not refused.out


def test_nothing_heavy_is_loaded(asked: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, "--project", str(asked.root), "explain", "open"],
        capture_output=True, text=True, check=True, timeout=60, env=asked.environment,
    )  # fmt: skip
    loaded = set(re.findall(r"'(\w+)'", done.stdout.partition("LOADED ")[2]))
    assert not loaded & {"zenml", "dvc", "torch", "pandas", "sklearn", "numpy", "evidently"}
    assert not (asked.state / "zenml").exists()


@pytest.mark.xdist_group("demo")
@pytest.mark.parametrize("request_id", [HARD, EASY])
def test_an_answered_request(demo: Any, request_id: str) -> None:
    said = demo.house.run("explain", request_id).out
    count = len(demo.erased[request_id])
    assert f"that {count} record{'' if count == 1 else 's'} be forgotten" in said
    assert "together with those of 1 other request" in said and "It took" in said and "before its deadline" in said
    assert f"Version {demo.version} of the model digits-mlp was put into use in place of 1." in said
    assert "a search afterwards found nothing left" in said and "copies of the data elsewhere" in said
    assert not demo.gone & set(re.findall(r"[\w-]+", said)), "no record is named"


@pytest.mark.xdist_group("demo")
def test_a_certificate_that_was_changed_is_not_believed(demo: Any, changed: Any) -> None:
    with changed(demo.certificate(EASY)):
        refused = demo.house.run("explain", EASY, code=5)
    assert "is not the one that was issued" in refused.err and "expunge verify" in refused.err


@pytest.mark.xdist_group("demo")
def test_the_report_draws_the_loss_curve_and_names_evidentlys_page(demo: Any) -> None:
    page = (demo.house.state / "reports" / f"{demo.version}.html").read_text()
    assert "share of privacy loss" in page and "accuracy, %" in page and len(page) < 400_000
    linked = re.findall(r'href="([^"]+)"', page)
    assert len(linked) == 1 and (demo.house.state / "reports" / linked[0]).is_file()
