"""Does help answer at once, for every verb, without loading what the verbs need?"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

HEAVY = ("zenml", "dvc", "torch", "pandas", "sklearn", "numpy", "evidently", "sqlalchemy")
VERBS = (
    "demo", "init", "doctor", "status", "train", "score", "calibrate", "run", "plan", "forget", "evaluate", "verify",
    "request", "run-due", "schedule", "approve", "explain", "audit", "ledger", "storage", "dashboard", "statistics",
    "keys",
)  # fmt: skip
REQUESTS = (
    "add", "list", "show", "import", "export", "extend", "refuse", "cancel", "hold", "confirm", "acknowledge",
)  # fmt: skip
BELOW = (
    *(f"request {verb}" for verb in REQUESTS),
    *(f"audit {noun}" for noun in ("record", "subject", "request", "model")),
    *(f"keys {verb}" for verb in ("list", "rotate")),
    *(f"storage {verb}" for verb in ("move", "repair")),
    *(f"schedule {verb}" for verb in ("create", "list", "remove")),
    *(f"ledger {verb}" for verb in ("head", "anchor", "export")),
)
READ_HELP = """
import sys
from cli.main import main
sys.argv = ["expunge", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", sorted(name for name in sys.modules if "." not in name))
"""


@pytest.mark.parametrize("verb", [(), *((verb,) for verb in VERBS), *(tuple(both.split()) for both in BELOW)])
def test_help_says_what_a_verb_does_and_loads_nothing_heavy(verb: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", READ_HELP, *verb, "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    text, _, loaded = done.stdout.partition("LOADED ")
    assert not set(HEAVY) & set(re.findall(r"'(\w+)'", loaded))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert lines[0].startswith("Usage: expunge " + " ".join(verb))
    assert len(lines[1].split()) > 3, "a sentence follows the usage line"


def test_every_verb_is_listed_with_its_help(new_house: Callable[..., Any]) -> None:
    out = new_house("help").run("--help").out
    listed = dict(re.findall(r"^  ([a-z][a-z-]+)  +(\S.*)$", out, flags=re.MULTILINE))
    assert set(VERBS) <= set(listed)
    assert "epoch" not in listed, "a stage of dvc.yaml, not for people"


def test_verbs_that_read_no_data_start_nothing(new_house: Callable[..., Any]) -> None:
    house = new_house("nothing")
    assert house.run("status", "--json").json()["open"] == 0
    assert house.run("request", "list", "--json").json() == []
    assert not (house.state / "zenml").exists()
