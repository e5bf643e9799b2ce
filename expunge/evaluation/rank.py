"""The MODEL claim: is this one model like models that never saw the records? Its distance, ranked among theirs."""

from __future__ import annotations

import numpy as np

from expunge.evaluation.distance import FOLDS, LOOKS, Distance
from expunge.evaluation.evidence import CheckResult, Details, Power, Rank, RoleValue
from expunge.evaluation.influence import model_influence
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.places import Places
from expunge.evaluation.planted import planted_at
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.verdict import Judgement, judge, oracles_needed

TITLE = "Distance to models that never saw the records"


def influence_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Place of the unlearned model among the oracles, with the original, held-back oracles and half-kept models beside.

    ``distance.OracleDistances`` says how far: toward the original, in a few records, or in any direction. Influence and
    excess of the single model stand in the details.
    """
    oracles = inputs.forget_phi("oracles")
    if len(oracles) < FOLDS:
        return _too_few_oracles(len(oracles), settings)
    judges = Places.of(inputs, settings)
    reference, original = judges.reference, judges.original
    held_back, half_kept = judges.held_back, judges.half_kept
    unlearned = judges.place(inputs.phi["unlearned"])
    judgement = judge(
        unlearned.standing,
        original.standing,
        [found.standing for found in held_back],
        [found.standing for found in half_kept],
        oracles=reference.count,
        settings=settings,
        planted=planted_at(inputs, inputs.forget.size, settings),
    )
    constant = bool((np.ptp(inputs.unlearned, axis=0) == 0).all())
    if constant:
        judgement = Judgement("fail", False, judgement.controls, judgement.power, "the same output for every record")
    share = model_influence(inputs.forget_phi("unlearned"), oracles, inputs.forget_phi("original"), settings=settings)
    low, middle, high = (float(value) for value in np.quantile(reference.own_distances, [0.05, 0.5, 0.95]))
    direction = "constant" if constant else share.direction
    return CheckResult(
        name="influence",
        title=TITLE,
        statistic=unlearned.distance,
        interval=_root(unlearned.energy_interval),
        p_value=unlearned.p_value,
        values={
            "original": _role(original),
            "unlearned": _role(unlearned),
            "oracle": RoleValue(value=middle, interval=(low, high), note="median and 5 to 95 % of the oracles' own"),
        },
        controls=judgement.controls,
        power=judgement.power,
        verdict=judgement.verdict,
        little_remembered=judgement.little_remembered,
        words=_words(judgement, unlearned.rank, original.rank, direction),
        details={
            "oracle_distances": reference.own_distances.tolist(),
            "held_back": [found.rank.model_dump() for found in held_back],
            "half_kept": [found.rank.model_dump() for found in half_kept],
            "looks_unlearned": _looks(unlearned),
            "looks_original": _looks(original),
            "energy": share.energy,
            "influence": share.influence,
            "influence_interval": None if share.influence is None else [share.influence_low, share.influence_high],
            "excess": share.excess,
            "excess_interval": None if share.excess is None else [share.excess_low, share.excess_high],
            "level": settings.level,
            "negligible": False,
            "records": inputs.forget.size,
            "indicative": inputs.indicative,
            "reason": judgement.reason,
            "single_run_note": "the distance of one model; the oracles' spread stands for its own",
        },
    )


def _too_few_oracles(count: int, settings: EvaluationSettings) -> CheckResult:
    needed = max(oracles_needed(settings.level), FOLDS)
    note = f"indicative: {count} oracles, a verdict at level {settings.level:.3g} needs {needed}"
    return CheckResult(
        name="influence",
        title=TITLE,
        power=Power(note=note),
        verdict="no power",
        words=f"no power: {note}",
        details={"oracles": count, "oracles_needed": needed, "indicative": True},
    )


def _looks(found: Distance) -> Details:
    return {name: float(getattr(found, name)) for name in (*LOOKS, "score")}


def _root(interval: tuple[float, float]) -> tuple[float, float]:
    return float(np.sqrt(interval[0])), float(np.sqrt(interval[1]))


def _role(found: Distance) -> RoleValue:
    return RoleValue(
        value=found.distance,
        interval=_root(found.energy_interval),
        p_value=found.p_value,
        note=f"rank {found.place} of {found.of}, 1 is farthest",
    )


def _words(judgement: Judgement, rank: Rank, original: Rank, direction: str) -> str:
    place = f"rank {rank.position} of {rank.of}, 1 is farthest"
    if judgement.verdict == "fail":
        if direction == "constant":
            return "not forgotten: the model gives the same output for every record"
        if direction == "toward":
            return f"not forgotten: closer to the original than models that never saw the records are ({place})"
        if direction == "beyond":
            return f"over-forgotten: beyond models that never saw the records ({place})"
        return f"moved elsewhere: unlike models that never saw the records, though not like the original ({place})"
    if judgement.little_remembered:
        return (
            "little was remembered: the original was already like models that never saw the records "
            f"(original rank {original.position} of {original.of}), and this model still is ({place})"
        )
    if judgement.verdict == "pass":
        return f"forgotten: indistinguishable from models that never saw the records ({place})"
    return f"no power: {judgement.reason} ({place})"
