"""Where a test had no power, what would give it some is said; where it could tell, nothing is."""

from __future__ import annotations

from typing import Any

import pytest
import samples

from expunge.evaluation.evidence import CheckResult, Control, OracleRecord, Power
from expunge.reporting.advice import what_to_do

HELD = Control(expected="pass", verdict="pass", passes=5, of=5)
FAILS = Control(expected="fail", verdict="fail")
GOOD = {"original": FAILS, "oracle": HELD}


def check(**fields: Any) -> CheckResult:
    fields = {"name": "influence", "title": "x", "verdict": "no power", "words": "no power", "statistic": 0.1, **fields}
    return CheckResult(**fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"verdict": "pass", "details": {"to_do": "x"}}, ""),
        ({"words": "no power: `expunge evaluate --shadows 64` trains them"}, ""),
        ({"details": {"to_do": "ask its author"}}, "ask its author"),
        ({"details": {"models_needed": 96}}, "train about 96 shadow models (`expunge evaluate --shadows 96`)"),
        ({"statistic": None, "details": {"records": 4, "records_needed": 20}}, "until they name 20 records"),
        ({"details": {"level": 0.01}}, "train 99 oracles (evaluation.verdict_oracles=99; there were 20)"),
        ({"controls": {"oracle": Control(expected="pass", verdict="no power", of=0)}}, "evaluation.held_back"),
        ({"controls": {"oracle": Control(expected="pass", verdict="fail", of=5)}}, "do not trust this test here"),
        ({"controls": {"constant": Control(expected="fail", verdict="pass")}}, "hold out more records"),
        ({"controls": GOOD}, "evaluation.half_kept=10"),
        ({"controls": {"original": Control(expected="fail", verdict="pass"), "oracle": HELD}}, "`expunge calibrate`"),
        (
            {"name": "rmia", "controls": {"original": Control(expected="fail", verdict="pass"), "oracle": HELD}},
            "does not see that the original remembers",
        ),
        (
            {"controls": GOOD, "power": Power(not_pass_given_half=0.3, models=10), "details": {"records_needed": 90}},
            "answer about 90 such records together, or train more oracles",
        ),
        ({"controls": {"original": FAILS.model_copy(update={"verdict": "pass", "note": "planted"}), "oracle": HELD}},
         "only a retrained model"),
        ({}, ""),
    ],
)  # fmt: skip
def test_advice_follows_from_what_is_missing(fields: dict[str, Any], words: str) -> None:
    evidence = samples.evidence().model_copy(update={"oracles": OracleRecord(count=20), "checks": []})
    said = what_to_do(check(**fields), evidence)
    assert words in said if words else said == ""
    assert not said.endswith(".")


def test_real_evidence_without_power_gets_advice() -> None:
    small = samples.evidence("small")
    blind = [c for c in small.checks if c.verdict == "no power" and c.name != "utility"]
    assert blind and all(what_to_do(c, small) for c in blind)
