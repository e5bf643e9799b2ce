"""The MODEL claim on weaker evidence: a model's place among pool models, which were trained once and on less data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.attacks import match
from expunge.evaluation.evidence import CheckResult, Control, Details, Power, RoleValue, plain
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.pool_distance import FEWEST_OUT, FOLDS, PoolDistances, PoolPlace
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.verdict import Judgement, PlantedStanding, judge, oracles_needed

Array = NDArray[np.float64]
Index = NDArray[np.int64]
NAME = "pool_influence"
TITLE = "Distance to pool models that left the records out"
SHIFT_LEVEL = 0.5  # of the level: the control is one more test, and one in forty honest runs may lose its verdict to it
MOST_MISSING = 0.1
LEAST_HELD_OUT = 20


class _Pool:
    """Phi of the pool and of the roles, and the distances on any rows of the records."""

    def __init__(self, inputs: EvaluationInputs, settings: EvaluationSettings) -> None:
        assert inputs.pool is not None
        self.inputs, self.components = inputs, settings.control_components
        self.phi, self.out = inputs.pool.phi, ~inputs.pool.trained
        self.share_left_out = inputs.pool.share_left_out

    def distances(self, rows: Index, held_out: Index, out_of: Index | None = None) -> PoolDistances:
        """On some rows; ``out_of``: rows whose pattern of models without them is used instead of their own."""
        original = self.inputs.phi["original"]
        out = self.out[:, rows if out_of is None else out_of]
        return PoolDistances(
            self.phi[:, rows], out, self.phi[:, held_out], original[rows], original[held_out], self.components
        )


def pool_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Place of the unlearned model among the pool's models, each judged on the forget records that it left out.

    ``pool_distance`` says how the pool's smaller data is corrected for. Controls: the original fails on the forget
    records, and passes on matched held-out records (the shift is gone); pool models pass by construction, held-back
    oracles in their place where there are any. Power: half-kept models, or else pool models with the original's memory
    on half of the records. Where the original passes, the retain records that are hardest for the pool stand for a
    planted set.
    """
    if inputs.pool is None:
        return _without("needs the outputs of a reference pool: models that each left out random blocks of the records")
    if not inputs.temperatures:
        inputs = inputs.calibrated()
    pool = _Pool(inputs, settings)
    enough = pool.out.sum(axis=0) >= FEWEST_OUT
    rows, held_out = inputs.forget[enough[inputs.forget]], inputs.held_out
    missing = inputs.forget.size - rows.size
    if missing > MOST_MISSING * inputs.forget.size:
        return _without(f"{missing} of {inputs.forget.size} records are out of fewer than {FEWEST_OUT} pool models")
    if held_out.size < LEAST_HELD_OUT:
        return _without(f"{held_out.size} held-out records, {LEAST_HELD_OUT} needed to see what less data does")
    if int(pool.out[:, rows].any(axis=1).sum()) < max(FOLDS, oracles_needed(settings.level)):
        count, needed = int(pool.out[:, rows].any(axis=1).sum()), max(FOLDS, oracles_needed(settings.level))
        return _without(f"{count} pool models left out any of the records, level {settings.level:.3g} needs {needed}")
    distances = pool.distances(rows, held_out)

    def place(role: str, k: int | None = None) -> PoolPlace:
        values = inputs.phi[role] if k is None else inputs.phi[role][k]
        return distances.place(values[rows], values[held_out])

    unlearned, original = place("unlearned"), place("original")
    held_back = [place("held_back", k).standing for k in range(len(inputs.held_back))]
    half_kept = [place("half_kept", k).standing for k in range(len(inputs.half_kept))]
    seen = original.standing.fails(settings.level)
    judgement = judge(
        unlearned.standing,
        original.standing,
        held_back or distances.own_standings,
        half_kept or distances.halves(settings.seed),
        oracles=distances.count,
        settings=settings,
        planted=None if seen else _planted(pool, enough, settings),
    )
    judgement = _with_the_shift(judgement, pool, rows, settings)
    if bool((np.ptp(inputs.unlearned, axis=0) == 0).all()):
        judgement = replace(judgement, verdict="fail", reason="the same output for every record")
    low, middle, high = (float(v) for v in np.quantile(distances.own_scores, [0.05, 0.5, 0.95]))
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
            "correction": _correction(inputs, distances, held_out),
            "looks_unlearned": plain(unlearned.looks | {"score": unlearned.score}),
            "looks_original": plain(original.looks | {"score": original.score}),
            "share_left": unlearned.share,
            "pool_scores": distances.own_scores.tolist(),
            "pool_scores_5_50_95": [low, middle, high],
            "pool_models": distances.count,
            "share_left_out": pool.share_left_out,
            "records": rows.size,
            "records_in_too_many_pool_models": missing,
            "fewest_pool_models_without_a_record": int(pool.out[:, rows].sum(axis=0).min()),
            "level": settings.level,
            "negligible": False,
            "reason": judgement.reason,
        },
    )


def _with_the_shift(judgement: Judgement, pool: _Pool, rows: Index, settings: EvaluationSettings) -> Judgement:
    """The control for the pool's smaller data: the original, on held-out records like the forget records, must pass."""
    inputs = pool.inputs
    held_out = inputs.held_out
    most = max(1, held_out.size // 2)
    if rows.size > most:
        rows = np.sort(np.random.default_rng(settings.seed).choice(rows, most, replace=False))
    matching = match(rows, held_out, inputs.targets, inputs.difficulty)
    rest = np.setdiff1d(held_out, matching.others)
    if rest.size < LEAST_HELD_OUT:
        return judgement
    original = inputs.phi["original"]
    found = pool.distances(matching.others, rest, out_of=matching.members).place(
        original[matching.others], original[rest]
    )
    passes = not found.standing.fails(SHIFT_LEVEL * settings.level)
    control = Control(
        expected="pass",
        verdict="pass" if passes else "fail",
        statistic=found.score,
        p_value=found.p_value,
        note=f"the original on {len(matching.others)} held-out records like the forget records: what less data does "
        f"{'is taken out' if passes else 'is not taken out'}",
    )
    controls = judgement.controls | {"held_out": control}
    if passes:
        return replace(judgement, controls=controls)
    reason = "the original differs from the pool on records that neither saw: the pool's smaller data is to be seen"
    return Judgement("no power", False, controls, judgement.power, reason)


def _planted(pool: _Pool, enough: NDArray[np.bool_], settings: EvaluationSettings) -> PlantedStanding | None:
    """The original on as many retain records as there are to forget, those that are hardest for models without them."""
    inputs = pool.inputs
    retain = inputs.retain[enough[inputs.retain]]
    if retain.size < inputs.forget.size:
        return None
    out = pool.out[:, retain]
    mean = np.where(out, pool.phi[:, retain], 0.0).sum(axis=0) / out.sum(axis=0)
    rows = np.sort(retain[np.argsort(mean, kind="stable")[: inputs.forget.size]])
    distances = pool.distances(rows, inputs.held_out)
    original = inputs.phi["original"]
    standing = distances.place(original[rows], original[inputs.held_out]).standing
    return PlantedStanding(standing, distances.own_standings, float(standing.fails(settings.level)))


def _correction(inputs: EvaluationInputs, distances: PoolDistances, held_out: Index) -> Details:
    lines = {role: list(distances.line(inputs.phi[role][held_out])) for role in ("original", "unlearned")}
    return {
        "temperatures": plain({role: np.exp(np.log(t).mean()) for role, t in inputs.temperatures.items() if len(t)}),
        "held_out_line_intercept_and_slope": plain(lines),
        "words": "pool models saw less data: every model's own line over held-out records, the pool's principal "
        "components there, the part of the original's displacement that held-out records share and the model's own "
        "held-out spread are taken out",
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
