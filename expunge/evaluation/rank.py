"""The MODEL claim: is this one model like models that never saw the records? Its distance, ranked among theirs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from expunge.errors import UsageError
from expunge.evaluation.confidence import phi as logit_confidence
from expunge.evaluation.evidence import CheckResult, Rank, RoleValue
from expunge.evaluation.influence import model_influence
from expunge.evaluation.influence_estimate import floored_variance
from expunge.evaluation.inputs import EvaluationInputs, PlantedSet
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.verdict import Judgement, PlantedStanding, Standing, judge, rank_p

Array = NDArray[np.float64]
SUBSETS = 50


class OracleReference:
    """The oracles' law on one forget set, from phi [R, m]: mean, floored variance, leave-one-out deviations.

    The distance of a model is the root mean over records of (phi - mean)^2 / v; an oracle's own distance uses the mean
    and the variance of the others only (METHOD section 7; the floor, a share of the median variance, is chosen here).

    Raises:
        UsageError: fewer than three oracles.
    """

    def __init__(self, oracles: Array, variance_floor: float = 0.5) -> None:
        count = len(oracles)
        if oracles.ndim != 2 or count < 3:
            raise UsageError(f"{count} oracles have no spread to judge by.", "Give phi [R, m] of at least three.")
        self.count = count
        self.oracles = oracles
        self.mean = oracles.mean(axis=0)
        self.variance, self.floor = floored_variance(oracles, variance_floor)
        centred = oracles - self.mean
        squares = (centred**2).sum(axis=0)
        self.others_mean = (count * self.mean - oracles) / (count - 1)
        rest = (squares - centred**2 * count / (count - 1)) / (count - 2)
        self.others_variance = np.maximum(rest, self.floor)
        self.own_deviations = (oracles - self.others_mean) ** 2 / self.others_variance

    def deviations(self, values: Array) -> Array:
        """Squared deviation of each record in units of the oracles' variance: phi [..., m] -> [..., m]."""
        result: Array = (values - self.mean) ** 2 / self.variance
        return result

    def distance(self, values: Array) -> float:
        """Distance of one model from phi [m], in standard deviations of an oracle."""
        return float(np.sqrt(self.deviations(values).mean()))

    def own_distances(self, columns: NDArray[np.int64] | None = None) -> Array:
        """The oracles' leave-one-out distances [R], on all records or on some."""
        own = self.own_deviations if columns is None else self.own_deviations[:, columns]
        result: Array = np.sqrt(own.mean(axis=1))
        return result

    def rank(self, values: Array, columns: NDArray[np.int64] | None = None) -> Rank:
        """Place of one model (phi [m]) among the oracles, on all records or on some."""
        deviations = self.deviations(values)
        distance = float(np.sqrt((deviations if columns is None else deviations[columns]).mean()))
        place, p_value = rank_p(distance, self.own_distances(columns))
        return Rank(position=place, of=self.count + 1, p_value=p_value, distance=distance)

    def standing(self, values: Array, columns: NDArray[np.int64] | None = None) -> Standing:
        """The same as a ``Standing``."""
        rank = self.rank(values, columns)
        return Standing(rank.distance, rank.p_value)

    def distance_interval(self, values: Array, confidence: float = 0.90) -> tuple[float, float]:
        """Interval of one model's distance by the jackknife over oracles (the model itself is held fixed)."""
        each = np.sqrt(((values - self.others_mean) ** 2 / self.others_variance).mean(axis=1))
        error = np.sqrt((self.count - 1) / self.count * ((each - each.mean()) ** 2).sum())
        half = float(t.ppf(0.5 + confidence / 2, self.count - 1) * error)
        distance = self.distance(values)
        return max(0.0, distance - half), distance + half


def planted_standing(planted: PlantedSet, size: int, settings: EvaluationSettings) -> PlantedStanding:
    """How the original and the held-back oracles stand on planted subsets of ``size`` records.

    A planted set larger than the size is judged on up to 50 random subsets of it, since a check that sees 64 records
    need not see one; a smaller one is taken whole.
    """
    reference = OracleReference(logit_confidence(planted.oracles, planted.targets), settings.variance_floor)
    original = logit_confidence(planted.original, planted.targets)
    held_back = logit_confidence(planted.held_back, planted.targets)
    m = len(planted.targets)
    rng = np.random.default_rng(settings.seed)
    if size >= m:
        subsets = [np.arange(m)]
    elif size == 1:
        subsets = [np.array([column]) for column in rng.permutation(m)[:SUBSETS]]
    else:
        subsets = [rng.choice(m, size=size, replace=False) for _ in range(SUBSETS)]
    standings = [reference.standing(original, columns) for columns in subsets]
    middle = sorted(standings, key=lambda standing: standing.p_value)[len(standings) // 2]
    return PlantedStanding(
        original=middle,
        held_back=[reference.standing(model, subsets[0]) for model in held_back],
        seen=sum(standing.fails(settings.level) for standing in standings) / len(standings),
    )


def influence_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Rank of the unlearned model's distance, with the original, held-back oracles and half-kept models beside it."""
    reference = OracleReference(inputs.forget_phi("oracles"), settings.variance_floor)
    values = {role: inputs.forget_phi(role) for role in ("unlearned", "original")}
    ranks = {role: reference.rank(value) for role, value in values.items()}
    held_back = [reference.rank(model) for model in inputs.forget_phi("held_back")]
    half_kept = [reference.rank(model) for model in inputs.forget_phi("half_kept")]
    own = reference.own_distances()
    judgement = judge(
        _standing(ranks["unlearned"]),
        _standing(ranks["original"]),
        [_standing(rank) for rank in held_back],
        [_standing(rank) for rank in half_kept],
        oracles=reference.count,
        settings=settings,
        planted=planted_standing(inputs.planted, inputs.forget.size, settings) if inputs.planted else None,
    )
    constant = bool((np.ptp(inputs.unlearned, axis=0) == 0).all())
    if constant:
        judgement = Judgement("fail", False, judgement.controls, judgement.power, "the same output for every record")
    share = model_influence(values["unlearned"], reference.oracles, values["original"], settings=settings)
    interval = reference.distance_interval(values["unlearned"])
    low, middle, high = np.quantile(own, [0.05, 0.5, 0.95])
    return CheckResult(
        name="influence",
        title="Distance to models that never saw the records",
        statistic=ranks["unlearned"].distance,
        interval=interval,
        p_value=ranks["unlearned"].p_value,
        values={
            "original": _role(ranks["original"], reference.distance_interval(values["original"])),
            "unlearned": _role(ranks["unlearned"], interval),
            "oracle": RoleValue(value=middle, interval=(low, high), note="median and 5 to 95 % of the oracles' own"),
        },
        controls=judgement.controls,
        power=judgement.power,
        verdict=judgement.verdict,
        little_remembered=judgement.little_remembered,
        words=_words(judgement, ranks["unlearned"], ranks["original"], share.direction if not constant else "constant"),
        details={
            "oracle_distances": own.tolist(),
            "held_back": [rank.model_dump() for rank in held_back],
            "half_kept": [rank.model_dump() for rank in half_kept],
            "level": settings.level,
            "negligible": False,
            "records": inputs.forget.size,
            "indicative": inputs.indicative,
            "reason": judgement.reason,
            "records_needed": _records_needed(reference, inputs.forget_phi("half_kept")),
            "single_run_note": "the distance of one model; the oracles' spread stands for its own",
        },
    )


def _standing(rank: Rank) -> Standing:
    return Standing(rank.distance, rank.p_value)


def _role(rank: Rank, interval: tuple[float, float]) -> RoleValue:
    return RoleValue(
        value=rank.distance,
        interval=interval,
        p_value=rank.p_value,
        note=f"rank {rank.position} of {rank.of}, 1 is farthest",
    )


def _records_needed(reference: OracleReference, half_kept: Array) -> int | None:
    """Rough number of such records with which half forgotten would be seen 80 % of the time at 5 % (one-sided).

    The squared distance's spread over oracles shrinks like 1/sqrt(m) for unrelated records; 2.49 = z_.95 + z_.80.
    """
    if not len(half_kept):
        return None
    own = reference.own_deviations.mean(axis=1)
    gap = float(reference.deviations(half_kept).mean() - own.mean())
    if gap <= 0:
        return None
    records = reference.oracles.shape[1]
    return max(1, int(np.ceil(records * (2.49 * own.std(ddof=1) / gap) ** 2)))


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
