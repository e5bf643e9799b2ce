"""The MODEL claim: is this one model like models that never saw the records? Its distance, ranked among theirs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from expunge.errors import UsageError
from expunge.evaluation.confidence import phi as logit_confidence
from expunge.evaluation.distance import FOLDS, LOOKS, Distance, OracleDistances, OracleFits, direction_of
from expunge.evaluation.evidence import CheckResult, Details, Power, Rank, RoleValue
from expunge.evaluation.influence import model_influence
from expunge.evaluation.influence_estimate import floored_variance
from expunge.evaluation.inputs import EvaluationInputs, PlantedSet
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.verdict import Judgement, PlantedStanding, Standing, judge, oracles_needed, rank_p

Array = NDArray[np.float64]
SUBSETS = 50
# A line drawn from fewer half-kept models is noisier than the original's own.
FEWEST_HALF_KEPT = 4
TITLE = "Distance to models that never saw the records"


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


class _Judges:
    """The reference and its controls: what does not change with the model that is judged."""

    def __init__(self, inputs: EvaluationInputs, settings: EvaluationSettings) -> None:
        self._forget, self._rows = inputs.forget, inputs.held_out
        fits = OracleFits(*self._parts(inputs.phi["oracles"]), settings.control_components)
        halves = fits.residuals(*self._parts(inputs.phi["half_kept"]))
        of_original = fits.residuals(*self._parts(inputs.phi["original"][None]))[:, 0]
        few = halves.shape[1] < FEWEST_HALF_KEPT
        self.reference = OracleDistances(fits, of_original if few else direction_of(halves))
        self.original = self.reference.place_alone(*self._parts(inputs.phi["original"]))
        # Where the original is among the oracles there is no line to look along, but the accident of some runs.
        self._along = self.original.standing.fails(settings.level)
        self.held_back = [self.place(self.reference, phi) for phi in inputs.phi["held_back"]]
        self.half_kept = []
        for k, phi in enumerate(inputs.phi["half_kept"]):
            others = np.delete(halves, k, axis=1)
            reference = self.reference if few else OracleDistances(fits, direction_of(others))
            self.half_kept.append(self.place(reference, phi))

    def _parts(self, phi: Array) -> tuple[Array, Array]:
        return phi[..., self._forget], phi[..., self._rows]

    def place(self, reference: OracleDistances, phi: Array) -> Distance:
        """One model, phi [n]."""
        return (reference.place if self._along else reference.place_alone)(*self._parts(phi))


def influence_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Place of the unlearned model among the oracles, with the original, held-back oracles and half-kept models beside.

    ``distance.OracleDistances`` says how far: toward the original, in a few records, or in any direction. Influence and
    excess of the single model stand in the details.
    """
    oracles = inputs.forget_phi("oracles")
    if len(oracles) < FOLDS:
        return _too_few_oracles(len(oracles), settings)
    judges = inputs.remember("judges of the distance", lambda: _Judges(inputs, settings), settings)
    reference, original = judges.reference, judges.original
    held_back, half_kept = judges.held_back, judges.half_kept
    unlearned = judges.place(judges.reference, inputs.phi["unlearned"])
    judgement = judge(
        unlearned.standing,
        original.standing,
        [found.standing for found in held_back],
        [found.standing for found in half_kept],
        oracles=reference.count,
        settings=settings,
        planted=planted_standing(inputs.planted, inputs.forget.size, settings) if inputs.planted else None,
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
        words=_words(judgement, _rank(unlearned), _rank(original), direction),
        details={
            "oracle_distances": reference.own_distances.tolist(),
            "held_back": [_rank(found).model_dump() for found in held_back],
            "half_kept": [_rank(found).model_dump() for found in half_kept],
            "looks_unlearned": _looks(unlearned),
            "looks_original": _looks(original),
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


def _rank(found: Distance) -> Rank:
    return Rank(position=found.place, of=found.of, p_value=found.p_value, distance=found.distance)


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
