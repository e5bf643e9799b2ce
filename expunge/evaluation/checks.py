"""Which checks there are, and running them: one protocol, a registry by name, Holm's correction, one Evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from expunge.errors import UsageError, nearest
from expunge.evaluation import (
    barrier,
    calibration,
    forgetting_quality,
    gus,
    klom,
    matched,
    pool_influence,
    rmia,
    u_lira,
)
from expunge.evaluation.drift import drift_check
from expunge.evaluation.evidence import (
    CheckResult,
    Claim,
    Evidence,
    FailureSignature,
    Level,
    OracleRecord,
)
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.membership import FOREST, confidence_check, forest_check, loss_check
from expunge.evaluation.rank import influence_check
from expunge.evaluation.requests import request_evidence
from expunge.evaluation.settings import MAX_GATING, EvaluationSettings
from expunge.evaluation.share import share_check
from expunge.evaluation.utility import utility_check, utility_table
from expunge.evaluation.verdict import TOLERANCE, holm

GUARD = "utility"  # decides with the gating checks, and shares their level
USUAL: dict[Level, tuple[str, ...]] = {
    "oracle": (
        "influence", "influence_share", "mia_loss", "mia_confidence", "rmia", "utility", "drift", "calibration",
        "loss_barrier",
    ),
    "pool": ("pool_influence", "matched", "utility"),
    "oracle-free": ("matched", "utility"),
}  # fmt: skip
LEVEL_WORDS: dict[str, str] = {
    "oracle": "against models retrained without the records",
    "pool": "against a pool of models that left out random blocks of records and saw less data, corrected for on "
    "held-out records: weaker evidence than retrained models",
    "oracle-free": "against matched held-out records, without a retrained model: the weakest evidence",
}


@runtime_checkable
class Check(Protocol):
    """A named statistic with controls and a verdict; ``run`` judges at ``settings.level`` and knows no other check."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    def run(self, inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult: ...


@dataclass(frozen=True)
class FunctionCheck:
    """A check made of one function."""

    name: str
    title: str
    function: Callable[[EvaluationInputs, EvaluationSettings], CheckResult]

    def run(self, inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
        return self.function(inputs, settings)


CHECKS: dict[str, Check] = {}


def register_check(check: Check, *, replace: bool = False) -> Check:
    """Makes a check known by its name.

    Raises:
        UsageError: the name is taken and ``replace`` was not asked for.
    """
    if check.name in CHECKS and not replace:
        raise UsageError(f"A check named {check.name!r} exists.", "Choose another name, or say replace=True.")
    CHECKS[check.name] = check
    return check


for _check in (
    FunctionCheck("influence", "Distance to models that never saw the records", influence_check),
    FunctionCheck("influence_share", "Share of the original's influence that is left", share_check),
    FunctionCheck("mia_loss", "Membership inference on the loss", loss_check),
    FunctionCheck("mia_confidence", "Membership inference on the confidence", confidence_check),
    FunctionCheck("utility", "Held-out accuracy against retrained models", utility_check),
    FunctionCheck("drift", "Prediction drift from a retrained model", drift_check),
    FunctionCheck(FOREST.name, FOREST.title, forest_check),
    FunctionCheck(calibration.NAME, calibration.TITLE, calibration.calibration_check),
    FunctionCheck(rmia.NAME, rmia.TITLE, rmia.rmia_check),
    FunctionCheck(u_lira.NAME, u_lira.TITLE, u_lira.u_lira_check),
    FunctionCheck(klom.NAME, klom.TITLE, klom.klom_check),
    FunctionCheck(forgetting_quality.NAME, forgetting_quality.TITLE, forgetting_quality.forgetting_quality_check),
    FunctionCheck(barrier.NAME, barrier.TITLE, barrier.barrier_check),
    FunctionCheck(gus.NAME, gus.TITLE, gus.gus_check),
    FunctionCheck(pool_influence.NAME, pool_influence.TITLE, pool_influence.pool_check),
    FunctionCheck(matched.NAME, matched.TITLE, matched.matched_check),
):
    register_check(_check)


def usual_checks(inputs: EvaluationInputs, level: Level) -> tuple[str, ...]:
    """The checks of a level that these outputs have something for, without those that take long."""
    lacking = {"rmia": inputs.pool is None, "loss_barrier": inputs.barriers is None}
    return tuple(name for name in USUAL[level] if not lacking.get(name, False))


def run_checks(
    inputs: EvaluationInputs,
    names: Sequence[str] | None = None,
    gating: Sequence[str] | None = None,
    settings: EvaluationSettings | None = None,
    *,
    level: Level = "oracle",
    claim: Claim = "MODEL",
    warnings: Sequence[FailureSignature] = (),
) -> Evidence:
    """Every named check (default: all) on one model; ``gating`` decide, at most three.

    ``gating`` is by default what the settings name for this level (``gating_at``); below level ``oracle`` these run
    even where ``names`` does not list them.

    Power belongs to the verdict, and the verdict is that of all gating checks together: a check that would see half
    forgotten too seldom by itself does not take the verdict's power away where together they see it (docs/adr/0008).

    A gating check is run at level / k, the strictest step of Holm's procedure over k gating checks, so its controls
    and its power are shown at the level it may be held to; a later step that rejects turns its verdict into fail.
    With fewer oracles than k / level - 1 it says "no power" and how many are needed.

    Raises:
        UsageError: an unknown name, a gating check that is not run, more than three of them, inputs without the
            oracles or the pool that the level claims.
    """
    settings = settings or EvaluationSettings()
    _refuse_missing(inputs, level)
    inputs = inputs.calibrated()
    deciding = list(settings.gating_at(level) if gating is None else gating)
    own = deciding if gating is None and level != "oracle" else []
    chosen = list(CHECKS) if names is None else list(dict.fromkeys([*names, *own]))
    for name in [*chosen, *deciding]:
        if name not in CHECKS:
            raise UsageError(f"There is no check {name!r}.", nearest(name, list(CHECKS)))
    absent = [name for name in deciding if name not in chosen]
    if absent:
        raise UsageError(
            f"The gating check {absent[0]!r} is not among the checks to run.", "Add it, or let it not gate."
        )
    if len(set(deciding)) != len(deciding) or len(deciding) > MAX_GATING:
        raise UsageError(f"{len(deciding)} gating checks.", f"Name at most {MAX_GATING}, each once.")
    strict = settings.at_level(settings.level / max(1, len(deciding)))
    results = [
        CHECKS[name]
        .run(inputs, strict if name in deciding or name == GUARD else settings)
        .model_copy(update={"gating": name in deciding})
        for name in chosen
    ]
    results = _after_holm(results, settings.level)
    joint = _joint_power(results)
    results = [_with_joint_power(result, joint, settings) for result in results]
    return Evidence(
        level=level,
        claim=claim,
        checks=results,
        requests=request_evidence(inputs, strict),
        oracles=OracleRecord(
            count=_compared_with(inputs, level),
            verdict=list(inputs.oracle_ids),
            look=list(inputs.look_ids),
            held_back=list(inputs.held_back_ids),
            half_kept=list(inputs.half_kept_ids),
        ),
        joint_power=joint,
        utility=utility_table(inputs),
        warnings=list(warnings),
        words=_words(results, level, inputs),
    )


def _refuse_missing(inputs: EvaluationInputs, level: Level) -> None:
    if level == "oracle" and not len(inputs.oracles):
        raise UsageError(
            "Evidence at level oracle needs oracles.", "Retrain some, or ask for level pool or oracle-free."
        )
    if level == "pool" and inputs.pool is None:
        raise UsageError("Evidence at level pool needs a reference pool.", "Train one, or ask for level oracle-free.")


def _compared_with(inputs: EvaluationInputs, level: Level) -> int:
    """Models that the verdict compares with."""
    return len(inputs.pool) if level == "pool" and inputs.pool is not None else len(inputs.oracles)


def _after_holm(results: list[CheckResult], level: float) -> list[CheckResult]:
    rows = {row.name: row for row in holm([result for result in results if result.gating], level)}
    after = []
    for result in results:
        row = rows.get(result.name)
        if row and row.rejected and result.sound and result.verdict != "fail":
            words = f"unlike models that never saw the records (p {row.p_value:.3f} at Holm's level {row.level:.3f})"
            update = {"verdict": "fail", "little_remembered": False, "words": words}
            after.append(result.model_copy(update=update))
        else:
            after.append(result)
    return after


def _joint_power(results: list[CheckResult]) -> float | None:
    """Share of half-kept models that at least one gating check fails, each at its own strict level."""
    seen = [result.power.seen for result in results if result.gating and result.sound]
    if not seen or not seen[0] or any(len(one) != len(seen[0]) for one in seen):
        return None
    return sum(any(outcomes) for outcomes in zip(*seen, strict=True)) / len(seen[0])


def _with_joint_power(result: CheckResult, joint: float | None, settings: EvaluationSettings) -> CheckResult:
    """A gating check whose only lack is its own power, where the gating checks together have it."""
    lacking = result.gating and result.verdict == "no power" and result.power.too_low and result.sound
    if not lacking or joint is None or joint < settings.power_needed - TOLERANCE:
        return result
    words = (
        f"sees no difference; half forgotten it sees in {result.power.not_pass_given_half:.0%} of models by itself, "
        f"the deciding checks together in {joint:.0%}"
    )
    return result.model_copy(update={"verdict": "pass", "words": words})


def _words(results: list[CheckResult], level: Level, inputs: EvaluationInputs) -> str:
    deciding = [result for result in results if result.gating]
    verdicts = "; ".join(f"{result.title}: {result.words}" for result in deciding) or "no gating check was run"
    if level == "oracle-free":
        return f"{verdicts}. Judged {LEVEL_WORDS[level]}."
    indicative = ", indicative only" if level == "oracle" and inputs.indicative else ""
    return f"{verdicts}. Judged {LEVEL_WORDS[level]} ({_compared_with(inputs, level)} of them{indicative})."
