"""Does the unlearned model lie in the oracles' basin? Loss barriers on straight lines between models.

B = max_t [ L((1-t) w1 + t w2) - ((1-t) L(w1) + t L(w2)) ] (METHOD section 7; Frankle et al. 2020, arXiv 1912.05671).
A barrier above the oracles' own is a failure signature. The converse says little: an original is often as near to the
oracles as they are to each other, and then nothing about forgetting follows from being near them too.

Every model is joined to the same few anchors (oracles that do nothing else), and its height is the mean over them. So
a true oracle's height is exchangeable with those it is ranked among, which heights of pairs that share models are not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.evidence import CheckResult, FailureSignature, RoleValue
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.loss_paths import BarrierPaths
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.signatures import loss_barrier
from expunge.evaluation.verdict import Judgement, Standing, judge, oracles_needed, rank_p

Array = NDArray[np.float64]
NAME = "loss_barrier"
TITLE = "Loss barrier on the line to models that never saw the records"


def barrier_warning(paths: BarrierPaths | None) -> FailureSignature | None:
    """The failure signature: the unlearned model's barrier on the retain loss lies above every oracle's."""
    if paths is None:
        return None
    retain = paths.judged["retain"]
    return loss_barrier(float(retain.heights("unlearned")), retain.heights("baseline"))


def barrier_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Rank of the unlearned model's barrier on the retain loss among the oracles' own, one-sided: high is bad.

    The original must fail and held-back oracles must pass. Where the original does not fail, a barrier as low as the
    oracles' own cannot tell a model that forgot from one that did not, and the verdict is "no power".
    """
    paths = inputs.barriers
    if paths is None:
        note = "no power: no losses along paths to oracles were measured (the weights of oracles are needed)"
        return CheckResult(name=NAME, title=TITLE, verdict="no power", words=note, details={"reason": "not measured"})
    retain = paths.judged["retain"]
    baseline = retain.heights("baseline")

    def standing(height: float) -> Standing:
        return Standing(height, rank_p(height, baseline)[1])

    heights = {role: float(retain.heights(role)) for role in ("original", "unlearned")}
    judgement = judge(
        standing(heights["unlearned"]),
        standing(heights["original"]),
        [standing(float(height)) for height in retain.heights("held_back")],
        [standing(float(height)) for height in retain.heights("half_kept")],
        oracles=len(baseline),
        settings=settings,
    )
    return CheckResult(
        name=NAME,
        title=TITLE,
        statistic=heights["unlearned"],
        p_value=standing(heights["unlearned"]).p_value,
        values={role: _role(height, baseline) for role, height in heights.items()} | {"oracle": _oracles(baseline)},
        controls=judgement.controls,
        power=judgement.power,
        verdict=judgement.verdict,
        words=_words(judgement, heights, baseline, paths, settings),
        details={
            "retain": _figures(paths, "retain"),
            "forget": _figures(paths, "forget"),
            "judged": "plain" if paths.aligned is None else "aligned",
            "not_aligned": paths.not_aligned or None,
            "records": dict(paths.records),
            "records_of": dict(paths.of),
            "anchors": retain.unlearned.shape[0],
            "points": retain.unlearned.shape[1],
            "pairs": len(baseline),
            "pairs_needed": oracles_needed(settings.level),
            "level": settings.level,
            "negligible": False,
            "reason": judgement.reason,
        },
    )


def _role(height: float, baseline: Array) -> RoleValue:
    place, p_value = rank_p(height, baseline)
    return RoleValue(value=height, p_value=p_value, note=f"rank {place} of {len(baseline) + 1}, 1 is highest")


def _oracles(baseline: Array) -> RoleValue:
    span = (float(baseline.min()), float(baseline.max()))
    return RoleValue(value=float(np.median(baseline)), interval=span, note="median, lowest and highest of the oracles'")


def _figures(paths: BarrierPaths, group: str) -> dict[str, Any]:
    """Heights and mean loss curves of one group, as they are and aligned."""
    kinds = {"plain": paths.plain[group]} | ({} if paths.aligned is None else {"aligned": paths.aligned[group]})
    figures: dict[str, Any] = {}
    for kind, losses in kinds.items():
        baseline = losses.heights("baseline")
        heights = {role: float(losses.heights(role)) for role in ("original", "unlearned")}
        figures[kind] = {
            "heights": heights | {"oracles": baseline.tolist(), "held_back": losses.heights("held_back").tolist()},
            "p_values": {role: rank_p(height, baseline)[1] for role, height in heights.items()},
            "curves": {
                "original": losses.original.mean(axis=0).tolist(),
                "unlearned": losses.unlearned.mean(axis=0).tolist(),
                "oracles": losses.baseline.mean(axis=(0, 1)).tolist(),
            },
        }
    return figures


def _words(
    judgement: Judgement, heights: dict[str, float], baseline: Array, paths: BarrierPaths, settings: EvaluationSettings
) -> str:
    kind = "hidden units aligned" if paths.aligned is not None else f"not aligned: {paths.not_aligned}"
    place, _ = rank_p(heights["unlearned"], baseline)
    figures = (
        f"barrier {heights['unlearned']:.3g} nats on the retain loss, between oracles {np.median(baseline):.3g}, at"
        f" most {baseline.max():.3g}, original {heights['original']:.3g}; rank {place} of {len(baseline) + 1}, 1 is"
        f" highest; {kind}"
    )
    needed = oracles_needed(settings.level)
    if len(baseline) < needed:
        few = f"{len(baseline)} oracle pair{'s' if len(baseline) > 1 else ''}, a verdict at level {settings.level:.3g}"
        return f"no power: {few} needs {needed} ({figures})"
    if judgement.verdict == "fail":
        return f"in another basin than models that never saw the records ({figures})"
    if judgement.verdict == "pass":
        return f"in the basin of models that never saw the records, where the original is not ({figures})"
    if judgement.controls["oracle"].holds and not judgement.controls["original"].holds:
        reason = "the original's barrier is no higher than the oracles' own, so a low one says nothing about forgetting"
        return f"no power: {reason} ({figures})"
    return f"no power: {judgement.reason} ({figures})"
