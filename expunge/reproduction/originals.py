"""Which models are to forget? Independent originals of one world, each with its trajectory and its privacy losses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.confidence import phi
from expunge.privacy.forget_sets import build_forget_set
from expunge.privacy.scores import GradientNorms, PrivacyLosses
from expunge.privacy.scoring_parts import ScoringOptions
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.reproduction.work import Part, Work
from expunge.reproduction.world import Rows, World
from expunge.training import Trajectory, predict, train

Array = NDArray[np.float64]
ORDER = 8.0
# Median of ||g||/s that is assumed for plain SGD (METHOD section 4).
R0 = 1.0


@dataclass(frozen=True)
class Original:
    """One trained model: trajectory (on disk while the scenario runs), norms and losses of `world.train`, in order."""

    number: int
    trajectory: Trajectory
    norms: GradientNorms
    losses: PrivacyLosses

    @property
    def loss(self) -> Array:
        """Privacy loss of every training record, [n], nats."""
        return self.losses.total


def train_originals(world: World, work: Work, count: int, order: float = ORDER, r0: float = R0) -> tuple[Original, ...]:
    """Train `count` originals, seeds of their own, and score them. A finished one is only loaded."""
    return tuple(_original(world, work, k, order, r0) for k in range(count))


def _original(world: World, work: Work, number: int, order: float, r0: float) -> Original:
    config = world.training.model_copy(update={"seed": world.seed_of("original", number)})
    name = f"{world.name}-original-{number}"
    trajectory = train(world.spec, world.train, config, work.place(name), device=world.device)

    def norms_part() -> Part:
        made = score_trajectory(trajectory, world.train, options=ScoringOptions(device=world.device))
        return {"norms": made.select(world.train.record_ids).norms, "steps": np.array(made.steps)}

    part = work.get(f"{name}-norms", norms_part)
    norms = GradientNorms(part["norms"], world.train.record_ids, tuple(part["steps"].tolist()))
    losses = trajectory_losses(norms, trajectory, order, r0)
    return Original(number, trajectory, norms, losses)


def final_phi(world: World, original: Original) -> Array:
    """phi of every training record under the original's last weights, [n]."""
    state = original.trajectory.state(original.trajectory.final).model_state()
    return phi(predict(world.spec, state, world.train, world.device), world.train.targets)


def mean_rank(originals: tuple[Original, ...]) -> Array:
    """Mean over originals of each record's rank by privacy loss, [n]; 0 the easiest.

    Forget sets drawn by it are the same for all originals, so that they differ between sets by the records alone.
    """
    ranks: Array = np.mean([np.argsort(np.argsort(own.loss)) for own in originals], axis=0)
    return ranks


def label_matched(world: World, forget: Rows, seed: int, exclude: Rows | None = None) -> Rows:
    """As many records of each label at random, none of the set or of `exclude`: the null of METHOD section 9.

    Raises:
        UsageError: too few other records with some label.
    """
    ids = world.train.record_ids
    labels = dict(zip(ids, world.train.targets.tolist(), strict=True))
    reference = [ids[row] for row in forget]
    left_out = [] if exclude is None else [ids[row] for row in np.setdiff1d(exclude, forget)]
    found = build_forget_set(
        "label_matched", ids, reference=reference, labels=labels, exclude=left_out, seed=seed % 2**32
    )
    return np.sort(world.train.rows(found.record_ids))
