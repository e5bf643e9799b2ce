"""How much unlearning do records of a given privacy loss need? Measured on pilot forget sets, before any request.

Each pilot set is forgotten in every candidate way and compared with oracles of its own. What is kept is small: per
set the share of its loss that may have been spent before the rewind point (METHOD section 6), and the steps that
fine-tuning needed, if it got there at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.evaluation.confidence import phi
from expunge.evaluation.inputs import PlantedSet
from expunge.evaluation.planted import planted_standing
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.verdict import SEEN_NEEDED
from expunge.privacy.scores import PrivacyLosses
from expunge.training import StackedJob, Trajectory, predict, train_stacked
from expunge.training.randomness import derived_seed
from expunge.training.stacked import Start, stacked_states
from expunge.unlearning.gate_trial import GateTrial
from expunge.unlearning.methods import METHODS, Procedure
from expunge.unlearning.pilot_energies import PilotReference
from expunge.unlearning.pilots import PilotCandidate, PilotSet, Way
from expunge.unlearning.plan import Document, MethodName
from expunge.unlearning.predictor import BudgetPredictor, fit_predictor
from expunge.unlearning.rewind_starts import one_path
from expunge.unlearning.share_curve import share_before
from expunge.unlearning.unrolling import Tensors, pushed, without


class CalibrationSettings(Document):
    """Sizes of the calibration run; configs/ sets them.

    Attributes:
        bins: edges of the difficulty bins in percent from the hardest; one pilot set from each, and one from all.
        set_size: records per pilot set. oracles: oracles per pilot set. runs: unlearned models per candidate.
        rewind_shares: rewind points as shares of training. strengths: of unrolled rewinds to each of them.
        fine_tune_shares: fine-tuning steps as shares of training.
        folds, repeats: cross-fitting of difficulty.
    """

    bins: tuple[float, ...] = (0, 5, 15, 40, 100)
    set_size: int = 40
    oracles: int = 10
    runs: int = 2
    rewind_shares: tuple[float, ...] = (0.35, 0.5, 0.6, 0.7, 0.8, 0.9)
    strengths: tuple[float, ...] = (0.3, 0.6, 0.9)
    fine_tune_shares: tuple[float, ...] = (0.25, 0.5)
    folds: int = 4
    repeats: int = 2


TUNED: tuple[MethodName, ...] = ("fine_tune", "noisy_fine_tune")
FEWEST_FOR_A_RANK = 19
SIZES = (1, 2, 3, 5, 8, 12, 20, 30, 40)


@dataclass(frozen=True)
class PlantedOutputs:
    """The hardest pilot set, which the original certainly remembers: outputs that show what the checks can see.

    original [m, classes]; oracles [R, m, classes] and held_back [H, m, classes] left it out; targets [m].
    """

    record_ids: tuple[str, ...]
    targets: NDArray[np.int64]
    original: NDArray[np.float32]
    oracles: NDArray[np.float32]
    held_back: NDArray[np.float32]


def pilot_sets(losses: PrivacyLosses, settings: CalibrationSettings, seed: int) -> dict[str, tuple[str, ...]]:
    """One random set from each bin of difficulty and one from all other records, by name; no two share a record."""
    order = np.argsort(-losses.total, kind="stable")
    n = len(order)
    rng = np.random.default_rng(derived_seed(seed, "pilots"))
    sets, used = {}, np.empty(0, dtype=np.int64)
    spans = [*zip(settings.bins[:-1], settings.bins[1:], strict=True), (0.0, 100.0)]
    for number, (low, high) in enumerate(spans):
        span = order[int(n * low / 100) : max(int(n * high / 100), int(n * low / 100) + 1)]
        free = span[~np.isin(span, used)]
        rows = rng.choice(free, size=min(settings.set_size, len(free)), replace=False)
        used = np.concatenate([used, rows])
        name = "random" if number == len(spans) - 1 else f"hardest {low:g} to {high:g} %"
        sets[name] = tuple(losses.record_ids[i] for i in sorted(rows))
    return sets


def _refuse_too_few(sets: Mapping[str, Sequence[str]]) -> None:
    """Raises UsageError for a pilot set without records: none are left where the sets before took them all."""
    empty = [name for name, ids in sets.items() if not ids]
    if empty:
        raise UsageError(
            f"There are too few records for the pilot set {empty[0]!r}.",
            "Make calibration.set_size smaller, or give calibration.bins fewer edges.",
        )


def calibrate(
    trajectory: Trajectory,
    table: RecordTable,
    losses: PrivacyLosses,
    settings: CalibrationSettings,
    *,
    target: float,
    planted_oracles: int,
    planted_held_back: int,
    level: float = 0.05,
    seed: int,
    device: str = "cpu",
    report: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> tuple[BudgetPredictor, PlantedOutputs]:
    """Run the pilots and fit the predictor. `table` must hold the training records of the trajectory.

    Args:
        target: excess that counts as forgotten. planted_oracles, planted_held_back: oracles for the hardest set.
        level: of one gating test.
        report: called with (what is running, steps done, steps in all).
    """
    procedure = Procedure.of(trajectory, device)
    rows = table.rows(trajectory.record_ids)
    sets = pilot_sets(losses, settings, seed)
    names = list(sets)
    _refuse_too_few(sets)
    forget = {name: table.rows(ids) for name, ids in sets.items()}
    retain = {name: np.setdiff1d(rows, forget[name]) for name in names}
    original = predict(procedure.spec, trajectory.state(trajectory.final).model_state(), table, device)

    counts = dict.fromkeys(names, settings.oracles)
    counts[names[0]] = max(settings.oracles, planted_oracles + planted_held_back)
    jobs = [
        StackedJob(derived_seed(seed, f"pilot-oracle:{name}", i), retain[name])
        for name in names
        for i in range(counts[name])
    ]
    logits = train_stacked(
        procedure.spec, table, procedure.config, jobs, procedure.sampling_rate, device=device,
        progress=lambda d, t: report("oracles of the pilot sets", d, t),
    ).logits(table)  # fmt: skip
    ends = np.cumsum([counts[name] for name in names])
    oracles = dict(zip(names, np.split(logits, ends[:-1]), strict=True))

    targets = table.targets
    references = {name: _reference(name, forget, oracles, targets, settings.oracles) for name in names}
    hardest = names[0]
    trial = None
    if counts[hardest] >= FEWEST_FOR_A_RANK:
        apart = [name for name in names if not np.intersect1d(forget[name], forget[hardest]).size]
        trial = GateTrial(
            oracles[hardest], np.concatenate([oracles[name] for name in apart]), targets, forget[hardest],
            np.setdiff1d(rows, np.concatenate(list(forget.values()))), seed,
        )  # fmt: skip
    measured: dict[str, list[PilotCandidate]] = {name: [] for name in names}
    ways = candidate_ways(trajectory, settings)
    points = sorted({way.amount for way in ways if way.strength is not None})
    pushes = {name: pushed(trajectory, table.select(sets[name]), points, device) if points else {} for name in names}
    for way in ways:
        runs = _unlearn_all(trajectory, procedure, table, way, retain, pushes, settings.runs, seed, report)
        steps = way.steps(procedure.config.steps)
        for name in names:
            influence, excess = references[name].left(phi(runs[name][:, forget[name]], targets[forget[name]]))
            measured[name].append(
                PilotCandidate(
                    method=way.method,
                    amount=way.amount,
                    strength=way.strength,
                    steps=steps,
                    cost=METHODS[way.method].cost(procedure, steps, len(forget[name])),
                    share_spent=share_before(losses, sets[name], way.amount) if way.goes_back else None,
                    excess=excess,
                    influence=influence,
                    gate_p=trial.p_value(runs[name]) if trial is not None and name == hardest else None,
                )
            )
    pilots = [
        PilotSet(
            name=name,
            size=len(forget[name]),
            mean_loss=float(np.mean(losses.select(sets[name]).total)),
            energy=references[name].energy,
            candidates=tuple(measured[name]),
        )
        for name in names
    ]
    own = oracles[hardest][:, forget[hardest]]
    planted = PlantedOutputs(
        record_ids=sets[hardest],
        targets=table.targets[forget[hardest]],
        original=original[forget[hardest]],
        oracles=own[: len(own) - planted_held_back],
        held_back=own[len(own) - planted_held_back :],
    )
    spent = len(jobs) + settings.runs * sum(candidate.cost for pilot in measured.values() for candidate in pilot)
    visible = _visible_size(planted, level)
    fitted = fit_predictor(pilots, target, procedure.config.steps, spent, visible)
    of = {"model": trajectory.run["model"], "data_fingerprint": trajectory.run["data_fingerprint"]}
    return fitted.model_copy(update=of), planted


def candidate_ways(trajectory: Trajectory, settings: CalibrationSettings) -> list[Way]:
    """Every way that pilots try: only what the checkpoints that still exist allow."""
    total = Procedure.of(trajectory).config.steps
    kept = [c.step for c in trajectory.kept if 0 < c.step < total]
    points = (
        sorted({min(kept, key=lambda s: abs(s - share * total)) for share in settings.rewind_shares}) if kept else []
    )
    tuned = [max(1, round(share * total)) for share in settings.fine_tune_shares]
    ways = [Way("rewind", point) for point in points]
    if one_path(trajectory, max(points, default=0) - 1):
        ways += [Way("unrolled_rewind", point, strength) for point in points for strength in settings.strengths]
    return ways + [Way(name, steps) for name in TUNED for steps in tuned]


def _unlearn_all(
    trajectory: Trajectory,
    procedure: Procedure,
    table: RecordTable,
    way: Way,
    retain: dict[str, NDArray[np.int64]],
    pushes: Mapping[str, Mapping[int, Tensors]],
    runs: int,
    seed: int,
    report: Callable[[str, int, int], None],
) -> dict[str, NDArray[np.float32]]:
    """Every pilot set forgotten `runs` times in one stack: logits [runs, n, classes] by set."""
    continuation = METHODS[way.method].continuation(trajectory, way.amount, seed)
    start: Start | None = continuation.start
    if way.strength is not None:
        assert continuation.start is not None
        step, state = continuation.start
        taken = [without(state, pushes[name][way.amount], way.strength) for name in retain]
        start = (step, stacked_states(procedure.spec, [own for own in taken for _ in range(runs)]))
    label = "" if way.strength is None else f":{way.strength:g}"
    jobs = [
        StackedJob(derived_seed(seed, f"pilot:{way.method}:{way.amount}{label}:{name}", i), rows)
        for name, rows in retain.items()
        for i in range(runs)
    ]
    logits = train_stacked(
        procedure.spec, table, continuation.config, jobs, procedure.sampling_rate,
        start=start, device=procedure.device,
        progress=lambda d, t: report(f"{way.method} {way.amount}", d, t),
    ).logits(table)  # fmt: skip
    return dict(zip(retain, np.split(logits, len(retain)), strict=True))


def _visible_size(planted: PlantedOutputs, level: float) -> int | None:
    """Fewest records, of SIZES, on which the original fails against oracles in most subsets of the planted set."""
    settings = EvaluationSettings(level=level)
    known = PlantedSet(
        planted.targets,
        planted.original.astype(np.float64),
        planted.oracles.astype(np.float64),
        planted.held_back.astype(np.float64),
    )
    for size in SIZES:
        if size <= len(planted.targets) and planted_standing(known, size, settings).seen >= SEEN_NEEDED:
            return size
    return None


def _reference(
    name: str,
    forget: Mapping[str, NDArray[np.int64]],
    oracles: Mapping[str, NDArray[np.float32]],
    targets: NDArray[np.int64],
    most: int,
) -> PilotReference:
    """What a pilot set's energies are measured with: its own oracles, and those of the sets apart from it.

    Oracles of a set that shares records with it are left out; without any other, the set's own half would be all there
    is, so a calibration needs two sets apart. At most `most` of each: what leaving out the hardest set, which has more
    oracles, does to all confidences would be taken for what training remembers of an easy one.
    """
    rows = forget[name]
    y = targets[rows]
    own = phi(oracles[name][:, rows], y)
    apart = [other for other in forget if other != name and not np.intersect1d(rows, forget[other]).size]
    if not apart:
        raise UsageError(
            f"Every other pilot set shares records with {name!r}.", "Give calibration.bins more edges, or smaller sets."
        )
    return PilotReference.of(own, phi(np.concatenate([oracles[other][:most, rows] for other in apart]), y))
