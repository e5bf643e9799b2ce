"""The MODEL claim on weaker evidence: a model's place among pool models, which were trained once and on less data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.evidence import CheckResult, Control, Details, Power, RoleValue, plain
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.matched import shows_memory
from expunge.evaluation.pool_distance import FEWEST_OUT, FOLDS, PoolDistances, PoolPlace
from expunge.evaluation.pool_residuals import PoolRows
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.shadows import PoolOutputs
from expunge.evaluation.verdict import Judgement, PlantedStanding, judge, oracles_needed

Array = NDArray[np.float64]
Index = NDArray[np.int64]
NAME = "pool_influence"
TITLE = "Distance to pool models that left the records out"
SHIFT_LEVEL = 0.5  # of the level: the control is one more test, and one in forty honest runs may lose its verdict to it
LITTLE = 0.2  # smallest p-value of an original that may be called one of the pool, and not merely not told apart
MOST_MISSING = 0.1


class _Pool:
    """Phi of the pool, and the distances on any rows of the records."""

    def __init__(self, inputs: EvaluationInputs, pool: PoolOutputs, settings: EvaluationSettings) -> None:
        self.inputs, self.settings, self.share_left_out = inputs, settings, pool.share_left_out
        self.phi, self.out = pool.phi, ~pool.trained

    def rows(self, judged: Index, pattern: Index, held_out: Index) -> PoolRows:
        inputs = self.inputs
        return PoolRows.of(judged, pattern, held_out, inputs.targets, inputs.difficulty, self.settings.seed)

    def distances(self, rows: PoolRows) -> PoolDistances:
        original = self.inputs.phi["original"]
        return PoolDistances(self.phi, self.out, original, rows, self.settings.control_components)


def pool_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Place of the unlearned model among the pool's models, each judged on the forget records that it left out.

    ``pool_distance`` says how the pool's smaller data is corrected for. Controls: the original fails on the forget
    records and passes on held-out records like them (the shift is gone); pool models pass by
    construction, held-back oracles in their place where there are any. Power: half-kept models, or else pool models
    with the original's memory on half of the records. Where the original is like the pool, and like matched held-out
    records too, the retain records that are hardest for the pool stand for a planted set.
    """
    if inputs.pool is None:
        return _without("needs the outputs of a reference pool: models that each left out random blocks of the records")
    inputs = inputs.calibrated()
    assert inputs.pool is not None
    pool = _Pool(inputs, inputs.pool, settings)
    enough = pool.out.sum(axis=0) >= FEWEST_OUT
    forget = inputs.forget[enough[inputs.forget]]
    missing = inputs.forget.size - forget.size
    count, needed = int(pool.out[:, forget].any(axis=1).sum()), max(FOLDS, oracles_needed(settings.level))
    if missing > MOST_MISSING * inputs.forget.size:
        return _without(f"{missing} of {inputs.forget.size} records are out of fewer than {FEWEST_OUT} pool models")
    if count < needed:
        return _without(f"{count} pool models left out any of the records, level {settings.level:.3g} needs {needed}")
    rows = pool.rows(forget, forget, inputs.held_out)
    if not rows.enough:
        return _without(f"{inputs.held_out.size} held-out records are too few to see what less data does")
    distances = pool.distances(rows)

    def place(role: str, k: int | None = None) -> PoolPlace:
        return distances.place(inputs.phi[role] if k is None else inputs.phi[role][k])

    unlearned, original = place("unlearned"), place("original")
    little = original.p_value >= LITTLE and shows_memory(inputs, settings) is False
    held_back = [place("held_back", k).standing for k in range(len(inputs.held_back))]
    half_kept = [place("half_kept", k).standing for k in range(len(inputs.half_kept))]
    judgement = judge(
        unlearned.standing,
        original.standing,
        held_back or distances.own_standings,
        half_kept or distances.halves(settings.seed),
        oracles=distances.count,
        settings=settings,
        planted=_planted(pool, enough, forget.size) if little else None,
    )
    judgement = _with_the_shift(judgement, pool, rows)
    if bool((np.ptp(inputs.unlearned, axis=0) == 0).all()):
        judgement = replace(judgement, verdict="fail", reason="the same output for every record")
    low, middle, high = (float(v) for v in np.quantile(distances.own_nearer, [0.05, 0.5, 0.95]))
    return CheckResult(
        name=NAME,
        title=TITLE,
        statistic=unlearned.distance,
        interval=unlearned.distance_interval,
        p_value=unlearned.p_value,
        values={
            "original": _role(original),
            "unlearned": _role(unlearned),
            "oracle": RoleValue(note=f"no oracle: {distances.count} pool models stand for it"),
        },
        controls=judgement.controls,
        power=_power_words(judgement.power, bool(half_kept), bool(held_back)),
        verdict=judgement.verdict,
        little_remembered=judgement.little_remembered,
        words=_words(judgement, unlearned),
        details={
            "correction": _correction(inputs, distances),
            "looks_unlearned": plain(unlearned.looks | {"share_nearer": unlearned.nearer}),
            "looks_original": plain(original.looks | {"share_nearer": original.nearer}),
            "share_left": unlearned.share,
            "pool_shares_nearer": distances.own_nearer.tolist(),
            "pool_shares_nearer_5_50_95": [low, middle, high],
            "pool_models": distances.count,
            "share_left_out": pool.share_left_out,
            "records": forget.size,
            "mirror_records": rows.mirror.size,
            "records_in_too_many_pool_models": missing,
            "fewest_pool_models_without_a_record": int(pool.out[:, forget].sum(axis=0).min()),
            "level": settings.level,
            "negligible": False,
            "reason": judgement.reason,
        },
    )


def _with_the_shift(judgement: Judgement, pool: _Pool, rows: PoolRows) -> Judgement:
    """The control for the pool's smaller data: on held-out records like the forget ones the original is like the pool.

    A random half of the mirror is judged as the forget records are; the other held-out records mirror it.
    """
    half = np.random.default_rng(pool.settings.seed).permutation(rows.mirror.size)[: rows.mirror.size // 2]
    judged = rows.mirror[half]
    again = pool.rows(judged, rows.mirror_pattern[half], np.setdiff1d(rows.held_out, judged))
    if not again.enough:
        return judgement
    found = pool.distances(again).place(pool.inputs.phi["original"])
    passes = not found.standing.fails(SHIFT_LEVEL * pool.settings.level)
    control = Control(
        expected="pass",
        verdict="pass" if passes else "fail",
        statistic=found.nearer,
        p_value=found.p_value,
        note=f"the original on {judged.size} held-out records like the forget records, which it never saw: "
        f"what less data does is {'' if passes else 'not '}taken out",
    )
    controls = judgement.controls | {"held_out": control}
    if passes:
        return replace(judgement, controls=controls)
    reason = "the original differs from the pool on records that neither saw: the pool's smaller data is to be seen"
    return Judgement("no power", False, controls, judgement.power, reason)


def _planted(pool: _Pool, enough: NDArray[np.bool_], forget: int) -> PlantedStanding | None:
    """The original on as many retain records as there are to forget, those that are hardest for models without them."""
    inputs = pool.inputs
    retain = inputs.retain[
        enough[inputs.retain] & np.isin(inputs.targets[inputs.retain], inputs.targets[inputs.held_out])
    ]
    if retain.size < forget:
        return None
    out = pool.out[:, retain]
    mean = np.where(out, pool.phi[:, retain], 0.0).sum(axis=0) / out.sum(axis=0)
    hardest = np.sort(retain[np.argsort(mean, kind="stable")[:forget]])
    rows = pool.rows(hardest, hardest, inputs.held_out)
    if not rows.enough:
        return None
    distances = pool.distances(rows)
    standing = distances.place(inputs.phi["original"]).standing
    return PlantedStanding(standing, distances.own_standings, float(standing.fails(pool.settings.level)))


def _correction(inputs: EvaluationInputs, distances: PoolDistances) -> Details:
    return {
        "temperatures": plain({role: np.exp(np.log(t).mean()) for role, t in inputs.temperatures.items() if len(t)}),
        "held_out_line_intercept_and_slope": plain(
            {role: list(distances.line(inputs.phi[role])) for role in ("original", "unlearned")}
        ),
        "words": "pool models saw less data: every model's own line over held-out records, the pool's principal "
        "components there, and, from held-out records like the forget records, the level, the part of the original's "
        "displacement that is no memory and the model's own spread are taken out",
    }


def _without(note: str) -> CheckResult:
    return CheckResult(name=NAME, title=TITLE, power=Power(note=note), verdict="no power", words=f"no power: {note}")


def _power_words(power: Power, half_kept: bool, held_back: bool) -> Power:
    passing = "held-back oracles" if held_back else "pool models among themselves (by construction)"
    half = "half-kept models" if half_kept else (
        "pool models given the original's memory on a random half of the records, less what held-out records explain: "
        "a lower bound"
    )  # fmt: skip
    note = f"{power.note}; " if power.note else ""
    return power.model_copy(update={"note": f"{note}pass: {passing}; half forgotten: {half}"})


def _role(found: PoolPlace) -> RoleValue:
    return RoleValue(
        value=found.distance,
        interval=found.distance_interval,
        p_value=found.p_value,
        note=f"rank {found.place} of {found.of}, 1 is farthest",
    )


def _words(judgement: Judgement, unlearned: PoolPlace) -> str:
    place = f"rank {unlearned.place} of {unlearned.of}, 1 is farthest"
    if judgement.verdict == "no power":
        return f"no power: {judgement.reason} ({place})"
    if judgement.verdict == "pass":
        like = "like pool models that left the records out, which saw less data"
        if judgement.little_remembered:
            return f"little was remembered: the original is already {like}, and this model still is ({place})"
        return f"probably forgotten: {like} ({place})"
    if "same output" in judgement.reason:
        return "not forgotten: the model gives the same output for every record"
    if unlearned.largest == "likelihood" and unlearned.share > 0:
        return f"not forgotten: some records are as the original has them ({place})"
    if unlearned.largest == "energy":
        return f"moved elsewhere: unlike pool models that left the records out, though not like the original ({place})"
    if unlearned.share > 0:
        return f"not forgotten: closer to the original than pool models that left the records out are ({place})"
    return f"over-forgotten: beyond pool models that left the records out ({place})"
