"""Does each shipped scenario run in its quick form, whole, by the command, and is there a document of them all?"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from made_up_files import clothes, people, write_idx, write_wheel

from expunge.reproduction.registry import SCENARIOS

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("quick forms")]


@pytest.fixture(scope="module")
def house(new_house: Callable[..., Any]) -> Any:
    """A project whose folder data/ holds made-up clothes and people in the real files' formats."""
    made = new_house("quick")
    write_idx(made.root / "data", *clothes(6000), zipped=True)
    write_wheel(people(8000), made.root / "data" / "nannyml-0.13.1-py3-none-any.whl")
    return made


@pytest.fixture(scope="module")
def ran(house: Any) -> dict[str, Any]:
    return {name: house.run("reproduce", name, "--quick", "--json").json() for name in SCENARIOS}


@pytest.mark.parametrize("name", SCENARIOS)
def test_it_measures_all_that_its_rules_ask_for_and_claims_nothing(ran: dict[str, Any], name: str) -> None:
    own = ran[name]
    assert own["quick"] and {c["verdict"] for c in own["conclusions"]} == {"undecided"}
    assert own["findings"]["words"] and own["findings"]["figures"] and own["findings"]["tables"]
    assert any(c["value"] is not None for c in own["conclusions"])


def test_there_is_a_document_of_all_of_them(house: Any, ran: dict[str, Any]) -> None:
    written = house.root / "results.md"
    assert house.run("reproduce", "--write", written, "--quick", "--json").json()["scenarios"] == list(ran)
    text = written.read_text()
    assert text.count("Decides nothing: a quick run is too small for a claim.") == len(SCENARIOS)
    assert f"Not run in full yet: {', '.join(SCENARIOS)}." in text
    linked = [line.partition("](")[2].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert linked and all((house.root / name).is_file() for name in linked)


def test_one_data_set_again_agrees_with_what_was_written(house: Any, ran: dict[str, Any]) -> None:
    stated = house.root / "results" / "rank-sgd.json"
    again = ("reproduce", "rank-sgd", "--quick", "--only", "digits", "--compare", stated)
    assert "agree with those stated" in house.run(*again).err
    changed = json.loads(stated.read_text())
    name, own = next((k, e) for k, e in changed["findings"]["estimates"].items() if k.startswith("digits: left"))
    own["value"] += 100 * (1 + own["standard_error"])
    stated.write_text(json.dumps(changed))
    refused = house.run(*again, code=1)
    assert "1 of" in refused.err and name in refused.err
