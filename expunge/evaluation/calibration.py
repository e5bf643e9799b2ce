"""Is the model as sure of itself as models that never saw the records? Its temperature beside theirs; reported only.

Every other check compares models at their own best temperature (``EvaluationInputs.calibrated``), so that a temperature
neither hides what is remembered nor makes an honest model fail. What was taken out is shown here.
"""

from __future__ import annotations

import numpy as np

from expunge.evaluation.evidence import CheckResult, Power, RoleValue, Verdict
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.verdict import Standing, held_back_control, oracles_needed, rank_p

NAME = "calibration"
TITLE = "Temperature that fits held-out records best"


def calibration_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Rank of |ln temperature - oracles' mean| among the oracles' own; fail: softer or sharper than all but a few."""
    found = inputs.temperatures or inputs.calibrated().temperatures
    own = np.log(found["oracles"])
    needed = oracles_needed(settings.level)
    if len(own) < needed:
        note = f"{len(own)} oracles, a verdict at level {settings.level:.3g} needs {needed}"
        return CheckResult(
            name=NAME, title=TITLE, verdict="no power", power=Power(note=note), words=f"no power: {note}"
        )
    count, mean = len(own), float(own.mean())
    spread = np.abs(own - mean) * count / (count - 1)

    def standing(temperature: float) -> Standing:
        return Standing(temperature, rank_p(abs(float(np.log(temperature)) - mean), spread)[1])

    unlearned = standing(float(found["unlearned"][0]))
    held_back = [standing(float(value)) for value in found["held_back"]]
    verdict: Verdict = "fail" if unlearned.fails(settings.level) else "pass"
    low, high = (float(value) for value in np.exp(np.quantile(own, [0.05, 0.95])))
    oracle = float(np.exp(mean))
    figures = f"temperature {unlearned.statistic:.2f}, oracles {oracle:.2f} [{low:.2f}, {high:.2f}]"
    like = (
        "as sure of its answers as a retrained model"
        if verdict == "pass"
        else "surer or less sure than a retrained one"
    )
    return CheckResult(
        name=NAME,
        title=TITLE,
        statistic=unlearned.statistic,
        p_value=unlearned.p_value,
        values={
            "original": RoleValue(value=float(found["original"][0])),
            "unlearned": RoleValue(value=unlearned.statistic, p_value=unlearned.p_value),
            "oracle": RoleValue(value=oracle, interval=(low, high), note="geometric mean and 5 to 95 % of the oracles"),
        },
        controls={"oracle": held_back_control(held_back, settings.level)} if held_back else {},
        power=Power(note="says nothing of memory: the other checks are blind to it on purpose"),
        verdict=verdict,
        words=f"{like} ({figures}); taken out before models are compared",
        details={"level": settings.level},
    )
