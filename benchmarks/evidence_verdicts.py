"""What the evaluation suite says of every mutant of a case."""

from __future__ import annotations

from typing import Any

import numpy as np
from evidence_models import SAME_RUN
from numpy.typing import NDArray

from expunge.data import RecordTable
from expunge.evaluation import EvaluationInputs, EvaluationSettings, decide, run_checks
from expunge.evaluation.evidence import Evidence
from expunge.evaluation.influence import model_influence

GATING = ("influence", "mia_loss", "drift")
# Truth by construction: what never saw the records is good, whatever its temperature; all else is not.
GOOD = ("oracle seed 0", "oracle seed 1", SAME_RUN, "oracle at temperature 2", "oracle at temperature 0.5")
BAD = (
    "original", "original at temperature 2", "original at temperature 0.5", "half", "tenth", "constant output",
    "over-forgotten", "label noise", "fine-tuned",
)  # fmt: skip
TEMPERATURES = (2.0, 0.5)


def inputs_of(case: dict[str, NDArray], table: RecordTable) -> tuple[EvaluationInputs, dict[str, NDArray]]:
    """The judges of a case before the model they judge, and the mutants' logits [n, K] by kind."""
    names, logits = case["names"].tolist(), case["logits"].astype(np.float64)
    by_name = dict(zip(names, logits, strict=True))
    n_forget, n_retain, n_held = case["sizes"].tolist()
    rows = case["rows"]

    def stack(purpose: str) -> NDArray:
        return np.stack([by_name[name] for name in names if name.startswith(f"{purpose} ")])

    oracles = np.stack([by_name[name] for name in names if name.startswith("oracle ") and "seed" not in name])
    mutants = {name: by_name[name] for name in (*GOOD[:3], *BAD) if name in by_name}
    for name in ("original", "oracle"):
        of = by_name["original"] if name == "original" else by_name["oracle seed 0"]
        mutants |= {f"{name} at temperature {t:g}": of / t for t in TEMPERATURES}
    mutants["constant output"] = np.tile(by_name["original"].mean(axis=0), (len(rows), 1))
    inputs = EvaluationInputs(
        record_ids=tuple(table.record_ids[row] for row in rows),
        targets=table.targets[rows],
        forget=np.arange(n_forget),
        retain=np.arange(n_forget, n_forget + n_retain),
        held_out=np.arange(n_forget + n_retain, n_forget + n_retain + n_held),
        original=by_name["original"],
        unlearned=by_name["oracle seed 0"],
        oracles=oracles,
        held_back=stack("held back"),
        half_kept=stack("half kept"),
        difficulty=case["difficulty"],
    )
    return inputs.calibrated(), mutants


def judge_case(case: dict[str, NDArray], table: RecordTable) -> dict[str, Any]:
    """Verdict, p-values and checks of every mutant of one case, and the terms of its influence and excess."""
    inputs, mutants = inputs_of(case, table)
    settings = EvaluationSettings(gating=GATING)
    oracles, original = inputs.forget_phi("oracles"), inputs.forget_phi("original")
    rows, terms = {}, {}
    for name, logits in mutants.items():
        judged = inputs.judging(logits)
        evidence = run_checks(judged, (*GATING, "utility"), GATING, settings)
        rows[name] = _row(evidence, settings)
        own = model_influence(judged.forget_phi("unlearned"), oracles, original)
        terms[name] = {"cross": own.cross, "unlearned": own.energy_unlearned, "original": own.energy}
    return {"mutants": rows, "terms": terms}


def verdict_of(evidence: Evidence, settings: EvaluationSettings) -> str:
    """What the gate makes of the evidence: pass, fail, or no power where nothing fails and it does not pass."""
    decision = decide(evidence, guarantee="empirical", retrained=False, erased_ids_in_training=0, settings=settings)
    failed = any(check.verdict == "fail" for check in evidence.checks if check.gating or check.name == "utility")
    return "pass" if decision.passed else "fail" if failed else "no power"


def _row(evidence: Evidence, settings: EvaluationSettings) -> dict[str, Any]:
    return {
        "verdict": verdict_of(evidence, settings),
        "checks": {check.name: check.verdict for check in evidence.checks},
        "p": {check.name: check.p_value for check in evidence.checks if check.gating},
        "power": {check.name: check.power.not_pass_given_half for check in evidence.checks if check.gating},
    }
