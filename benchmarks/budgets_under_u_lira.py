"""Do adaptive budgets expose records? The planner's budgets against one budget for all, under U-LiRA. METHOD claim.

    python benchmarks/budgets_under_u_lira.py digits --json docs/budgets_under_u_lira.json     resumable
    python benchmarks/budgets_under_u_lira.py --report docs/budgets_under_u_lira.json          the tables

Hayes et al. 2024 (arXiv 2403.01218) found that rules that stop early for some records fail under an attack of its own
for every record, and that retained records can become more exposed. Here the planner chooses a way to forget for each
of eight sets, and the same total cost is spent evenly instead. Every arm of a set has the same shadows: same records,
same seeds of training.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from budgets_summary import ARMS, Shadows, as_markdown, summary
from cached_parts import CachedParts
from evidence_worlds import World
from numpy.typing import NDArray
from pareto_quality import CAUTION, TARGET
from pareto_runs import FLOOR, ORDER, SIZES, Setting, setting, workspace
from world_options import work_through, world_parser

from expunge.evaluation.confidence import phi
from expunge.privacy.scores import PrivacyLosses
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.reproduction.adaptive.planner import KEEP, RETRAIN, chosen
from expunge.training import train
from expunge.training.randomness import derived_seed
from expunge.unlearning.calibration import CalibrationSettings, calibrate
from expunge.unlearning.methods import METHODS, Procedure
from expunge.unlearning.pilots import Way
from expunge.unlearning.predictor import BudgetPredictor
from expunge.unlearning.shadow_models import train_shadows

SHADOWS = 64
# Percent from the hardest. Fine-tuning leaves too much to be chosen (docs/adaptive.md): one pilot of it.
BINS = (0, 1.5, 3, 5, 8, 12, 17, 25, 35, 50, 70, 100)
TUNED_SHARES = (0.25,)
PLANTED_ORACLES, PLANTED_HELD_BACK = 40, 10
# The hardest records are a set of their own; one more is drawn from each of these spans, and one from all the rest.
HARDEST = 1.5
SPANS = ((1.5, 3.5), (3.5, 7), (7, 12), (12, 20), (20, 40), (40, 100))


@dataclass(frozen=True)
class Audited:
    """A forget set, and as many records to retain; `matched` [kept]: those as hard as a record of the forget set."""

    name: str
    forget: tuple[str, ...]
    kept: tuple[str, ...]
    matched: tuple[bool, ...]


def audited_sets(losses: PrivacyLosses, size: int, seed: int) -> list[Audited]:
    """Eight disjoint forget sets, hardest first, the random one last; each with its records to retain.

    For every second record to forget, in order of the loss, the retained record nearest in rank is audited; as many
    more are drawn from all others.
    """
    order = np.argsort(-losses.total, kind="stable")
    n, rng = len(order), np.random.default_rng(derived_seed(seed, "audited sets"))
    drawn = {f"hardest {HARDEST:g} %": np.arange(size)}
    for low, high in SPANS:
        span = np.arange(max(int(n * low / 100), size), int(n * high / 100))
        drawn[f"{low:g} to {high:g} %"] = np.sort(rng.choice(span, size, replace=False))
    rest = np.setdiff1d(np.arange(n), np.concatenate(list(drawn.values())))
    drawn["random"] = np.sort(rng.choice(rest, size, replace=False))
    found = []
    for name, places in drawn.items():
        free = np.setdiff1d(np.arange(n), places)
        near: list[int] = []
        for place in places[::2]:
            left = np.setdiff1d(free, near)
            near.append(int(left[np.abs(left - place).argmin()]))
        others = rng.choice(np.setdiff1d(free, near), size - len(near), replace=False)
        ids = [tuple(losses.record_ids[order[place]] for place in own) for own in (places, [*near, *others])]
        found.append(Audited(name, *ids, (True,) * len(near) + (False,) * len(others)))
    return found


@dataclass(frozen=True)
class Budgets:
    """Which way each set is forgotten in each arm, and what it costs in retrainings."""

    procedure: Procedure
    size: int

    def cost(self, way: Way) -> float:
        return METHODS[way.method].cost(self.procedure, way.steps(self.procedure.config.steps), self.size)

    def planned(self, predictor: BudgetPredictor, losses: list[float]) -> dict[str, list[Way]]:
        """Ways by arm [sets]: the two uniform arms spend the planner's mean cost on every set."""
        own = [chosen(predictor, loss, CAUTION) for loss in losses]
        mean = float(np.mean([self.cost(way) for way in own]))
        unrolled = self._at_cost("unrolled_rewind", mean)
        unrolled = unrolled._replace(strength=best_strength(predictor, unrolled.amount))
        uniform = {"unrolled rewind": unrolled, "rewind": self._at_cost("rewind", mean)}
        same = {"uniform " + name: [way] * len(own) for name, way in uniform.items()}
        found = {"planner": own, **same, "retrain": [RETRAIN] * len(own), "none": [KEEP] * len(own)}
        return {arm: found[arm] for arm in ARMS}

    def _at_cost(self, method: Any, cost: float) -> Way:
        ways = [Way(method, step) for step in range(1, self.procedure.config.steps)]
        return min(ways, key=lambda way: abs(self.cost(way) - cost))


def best_strength(predictor: BudgetPredictor, amount: int) -> float:
    """With which least should be left on average of the pilots that were remembered, at the tried point nearest.

    Every pilot counts alike, as every set does in the attack.
    """
    ways = [way for way in predictor.ways if way.strength is not None]
    nearest = min((way.amount for way in ways), key=lambda tried: abs(tried - amount))

    def left(way: Way) -> float:
        told = [predictor.expected(way, pilot.mean_loss, CAUTION) for pilot in predictor.measurable]
        return sum(one.value for one in told if one is not None)

    best = min((way for way in ways if way.amount == nearest), key=left).strength
    assert best is not None
    return best


def cached_parts(folder: Path, world: World, seed: int) -> CachedParts:
    depends = {"seed": seed, "sizes": SIZES[world.name], "shadows": SHADOWS, "bins": BINS,
               "tuned": TUNED_SHARES, "planted": [PLANTED_ORACLES, PLANTED_HELD_BACK], "target": TARGET,
               "hardest": HARDEST, "spans": SPANS, "losses": [ORDER, FLOOR]}  # fmt: skip
    return CachedParts(folder, "budgets", world, depends)


def calibration(given: Setting, folder: Path) -> tuple[BudgetPredictor, PrivacyLosses]:
    """The shipped calibration of one original, and the losses of its records."""
    size = given.world.forget
    config = given.world.config.model_copy(update={"seed": derived_seed(given.seed, "original", 0)})
    trajectory = train(given.world.spec(given.table), given.train, config, folder / "original")
    losses = trajectory_losses(score_trajectory(trajectory, given.train), trajectory, ORDER, FLOOR)
    settings = CalibrationSettings(bins=BINS, set_size=size, fine_tune_shares=TUNED_SHARES)
    predictor, _ = calibrate(
        trajectory, given.train, losses, settings, target=TARGET, planted_oracles=PLANTED_ORACLES,
        planted_held_back=PLANTED_HELD_BACK, seed=derived_seed(given.seed, "calibration"),
    )  # fmt: skip
    return predictor, losses


def _plan(given: Setting) -> str:
    """What the arms are made from: predictor and audited sets with their mean losses, as JSON."""
    with workspace() as folder:
        predictor, losses = calibration(given, Path(folder))
    sets = audited_sets(losses, given.world.forget, given.seed)
    return json.dumps(
        {
            "predictor": predictor.model_dump(mode="json"),
            "sets": [{field.name: getattr(own, field.name) for field in fields(own)} for own in sets],
            "losses": [float(losses.select(own.forget).total.mean()) for own in sets],
        }
    )


def run(world: World, cache: Path, seed: int) -> dict[str, Any]:
    """Figures of all arms on one data set."""
    parts, given = cached_parts(cache, world, seed), setting(world, cache, seed)
    plan = json.loads(parts.text("plan.json", lambda: _plan(given)))
    predictor = BudgetPredictor.model_validate(plan["predictor"])
    sets = [Audited(**{key: v if key == "name" else tuple(v) for key, v in own.items()}) for own in plan["sets"]]
    procedure = Procedure(given.world.spec(given.table), given.world.config, given.world.sampling_rate)
    budgets = Budgets(procedure, given.world.forget)
    ways = budgets.planned(predictor, plan["losses"])

    def shadows(number: int, way: Way) -> Shadows:
        """The same seed for every way: the arms differ in how they forget alone."""

        def make() -> dict[str, NDArray[Any]]:
            own = sets[number]
            made = train_shadows(
                procedure, given.train, given.train.record_ids, own.forget, own.kept, way.method, way.amount,
                models=SHADOWS, seed=derived_seed(seed, "shadows", number), strength=way.strength,
            )  # fmt: skip
            return {"phi": phi(made.logits, made.targets), "trained": made.trained}

        label = "" if way.strength is None else f"-{way.strength:g}"
        stored = parts.get(f"{number}-{way.method}-{way.amount}{label}", make)
        return Shadows(stored["phi"], stored["trained"])

    outputs = {arm: [shadows(number, way) for number, way in enumerate(own)] for arm, own in ways.items()}
    matched = np.array([own.matched for own in sets])
    return {
        "shadows": SHADOWS,
        "records": given.world.forget,
        "trained_on": given.world.train,
        "pilots": len(predictor.pilots),
        "measurable_pilots": len(predictor.measurable),
        "calibration_cost": predictor.cost,
        "nothing_below": predictor.nothing_below,
        "sets": [{"name": own.name, "mean_loss": loss} for own, loss in zip(sets, plan["losses"], strict=True)],
        "ways": {arm: [way._asdict() for way in own] for arm, own in ways.items()},
        "costs": {arm: [budgets.cost(way) for way in own] for arm, own in ways.items()},
        **summary(outputs, matched, derived_seed(seed, "judging")),
    }


def main() -> None:
    options = world_parser(__doc__, ".expunge/budgets", 9000).parse_args()
    work_through(options, lambda world: run(world, options.cache, options.seed), as_markdown)


if __name__ == "__main__":
    main()
