"""What is measured of one data set for scenario `rank-sgd`: sets, runs, shadows, and how stable the rankings are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from expunge.reproduction.forget_curves import forget_curves, units
from expunge.reproduction.originals import label_matched, train_originals
from expunge.reproduction.rank_sgd.hardness import Unlearned
from expunge.reproduction.rank_sgd.sets import PRIVACY_LOSS, SCORES, difficulty_scores, hardest, joint_score
from expunge.reproduction.rank_sgd.shadow_aucs import Shadows, forget_by_shadows
from expunge.reproduction.rank_sgd.stability import Stability, between_models, over_checkpoints, over_noise
from expunge.reproduction.work import Work
from expunge.reproduction.world import Rows, World
from expunge.training.config import Strict
from expunge.training.schedule import Spacing

Array = NDArray[np.float64]
MATCHED, RANDOM = "label-matched random", "random"
NULLS = (MATCHED, RANDOM)
SETS = (*SCORES, *NULLS)
# At which the rankings by fewer checkpoints and the sets are made.
R0 = 1.0


class Options(Strict):
    """Sizes of this scenario.

    Attributes:
        share, fewest: a forget set is this share of the training records, and at least so many.
        early: share of training after which EL2N and GraNd look.
        oracles: of each run. looks: at the runs, in trainings, the first 0, the last the cap.
        costs: of the looks, those at which figures are given; areas go from 0 to the last, as does the attack.
        margin: of influence and excess. most_censored: share of a set's runs beyond which times are not compared.
        shadows: models for U-LiRA. r0s: assumed medians of ||g||/s. fewer: numbers of checkpoints to rank by.
    """

    share: float = Field(default=0.01, gt=0, lt=1)
    fewest: int = Field(default=20, ge=2)
    early: float = Field(default=0.1, ge=0, lt=1)
    oracles: int = Field(default=4, ge=3)
    looks: tuple[float, ...]
    costs: tuple[float, ...] = (0.25, 0.5, 1.0)
    margin: float = Field(default=0.1, gt=0)
    most_censored: float = Field(default=0.3, ge=0, le=1)
    shadows: int = Field(default=64, ge=8)
    r0s: tuple[float, ...] = (0.3, 1.0, 3.0)
    fewer: tuple[int, ...] = (5, 9, 18, 35)

    @model_validator(mode="after")
    def _costs_are_looks(self) -> Options:
        if not self.costs or any(cost not in self.looks or cost <= 0 for cost in self.costs):
            raise ValueError(f"costs {self.costs} must be among looks {self.looks}, and above 0")
        if list(self.costs) != sorted(set(self.costs)):
            raise ValueError(f"costs {self.costs} must increase")
        return self

    def size(self, records: int) -> int:
        """Records of a forget set."""
        return max(self.fewest, round(self.share * records))

    @property
    def shadow_units(self) -> int:
        """Work of one shadow: its training and its fine-tuning, in trainings."""
        return round(1 + self.costs[-1])

    def units(self, world: World, originals: int) -> int:
        """Work of one world, in models trained."""
        looks = self.steps(world.training.steps)
        return units(world, originals, len(SETS), looks, self.oracles) + self.shadows * self.shadow_units

    def steps(self, training: int) -> Rows:
        """The looks in steps of a training of so many."""
        return np.round(np.array(self.looks) * training).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of one world: sets and runs by name of `SCORES` and `NULLS`, shadows, stability of rankings."""

    world: World
    options: Options
    originals: int
    sets: dict[str, Rows]
    unlearned: dict[str, Unlearned]
    shadows: Shadows
    noise: dict[tuple[float, float], Stability]
    checkpoints: dict[tuple[Spacing, int], Stability]
    recorded: int
    models: dict[str, Stability]

    @property
    def until(self) -> float:
        """The cost at which areas end, in trainings."""
        return self.options.costs[-1]


def measured(world: World, work: Work, count: int, options: Options) -> Measured:
    """Train `count` originals, choose the sets, and unlearn, retrain and attack them."""
    originals = train_originals(world, work, count)
    scores = difficulty_scores(world, work, originals, options.early)
    size = options.size(len(world.train))
    sets = forget_sets(world, scores, size)
    looks = options.steps(world.training.steps)
    curves = forget_curves(world, work, "sets", originals, list(sets.values()), looks, options.oracles)
    union = np.unique(np.concatenate(list(sets.values())))
    return Measured(
        world=world,
        options=options,
        originals=count,
        sets=sets,
        unlearned={name: Unlearned.of(own, world.training.steps) for name, own in zip(sets, curves, strict=True)},
        shadows=forget_by_shadows(world, work, union, options.costs, options.shadows, options.shadow_units),
        noise=over_noise(originals, options.r0s, size),
        checkpoints=over_checkpoints(originals, options.fewer, R0, size),
        recorded=len(originals[0].norms.steps),
        models={name: between_models(values, size) for name, values in scores.items()},
    )


def forget_sets(world: World, scores: dict[str, Array], size: int) -> dict[str, Rows]:
    """Each score's hardest records, and two nulls: random ones, and random ones with the labels of the first set."""
    sets = {name: hardest(joint_score(name, values), size) for name, values in scores.items()}
    sets[MATCHED] = label_matched(world, sets[PRIVACY_LOSS], world.seed_of("label-matched"))
    rng = np.random.default_rng(world.seed_of("random set"))
    sets[RANDOM] = np.sort(rng.choice(len(world.train), size, replace=False))
    return sets
