"""Is rounding error what the analysis takes it for: Gaussian, of one size in all directions, with mean zero?

Also how large the spread is that sampling the batch makes, which is no noise of the mechanism.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from expunge.models import build_model
from expunge.reproduction.implicit_noise.arithmetic import PLAIN, Arithmetic
from expunge.reproduction.implicit_noise.runs import Array, Runner, flat
from expunge.reproduction.work import Part
from expunge.reproduction.world import World
from expunge.training import Trajectory
from expunge.training.gradients import gradient_sum
from expunge.training.randomness import derived_seed

# A record counts as seen through where so much of its squared gradient lies in coordinates without any error.
SEEN_THROUGH = 1e-6
MEASURES = ("dimension", "untouched", "seen through", "kurtosis", "along", "mean")


@dataclass(frozen=True)
class Character:
    """How the errors of many batches at the same weights lie.

    Attributes:
        dimension: over how many coordinates they spread, as a share of all: 1/mean cos^2 between errors of two
            batches, over P. 1 for isotropic noise, 1/P where all point the same way.
        untouched: share of coordinates that no batch's error touched.
        seen_through: share of records with a part of their gradient in such coordinates.
        kurtosis: excess over a Gaussian's, of the coordinates in units of each error's root mean square.
        along: mean square of the error along a record's gradient, over its mean square per coordinate; 1: isotropic.
        mean: squared length of the mean error over the mean squared length, unbiased; 0: it has mean zero.
    """

    dimension: float
    untouched: float
    seen_through: float
    kurtosis: float
    along: float
    mean: float


def character(errors: Array, gradients: Array) -> Character:
    """Of errors [batches, P], none of them all zeros, next to gradients [records, P] of single records."""
    count, width = errors.shape
    lengths = np.linalg.norm(errors, axis=1)
    unit = errors / lengths[:, None]
    cosines = unit @ unit.T
    pairs = ~np.eye(count, dtype=bool)
    touched = (errors != 0).any(axis=0)
    energy = (gradients**2).sum(axis=1)
    hidden = (gradients[:, ~touched] ** 2).sum(axis=1)
    directions = gradients[energy > 0] / np.sqrt(energy[energy > 0])[:, None]
    gram = errors @ errors.T
    return Character(
        dimension=min(1.0, 1.0 / max(float((cosines[pairs] ** 2).mean()) * width, 1.0)),
        untouched=float(1 - touched.mean()),
        seen_through=float((hidden > SEEN_THROUGH * energy).mean()),
        kurtosis=float((unit**4).sum(axis=1).mean() * width - 3.0),
        along=float(((unit @ directions.T) ** 2).mean() * width),
        mean=float(gram[pairs].mean() / np.diag(gram).mean()),
    )


def measure_character(
    world: World,
    trajectory: Trajectory,
    ways: Mapping[str, Arithmetic],
    wanted: Sequence[str],
    points: int,
    batches: int,
    records: int,
    seed: int,
) -> Part:
    """`Character` of the errors that ways make, at some checkpoints.

    Args:
        points: checkpoints, spread over the run. batches: drawn anew at each. records: drawn at random for `along`.

    Returns measures [w, points, 6] in the order of MEASURES, NaN where a way makes no error; batch_s [points]: root
    mean square over coordinates of the deviation between batches of the sum of gradients.
    """
    config = trajectory.config
    at = np.unique(np.linspace(0, len(trajectory.checkpoints) - 1, points).round().astype(int))
    chosen = np.random.default_rng(seed).choice(len(world.train), min(records, len(world.train)), replace=False)
    measures = np.full((len(wanted), len(at), len(MEASURES)), np.nan)
    spread = np.empty(len(at))
    runners = {name: Runner(world, ways[name]) for name in (PLAIN, *wanted)}
    for place, index in enumerate(at):
        checkpoint = trajectory.checkpoints[index]
        start = trajectory.state(checkpoint)
        configs = [config.model_copy(update={"seed": derived_seed(seed, "batch", b)}) for b in range(batches)]
        exact = np.stack([runners[PLAIN].one_step(own, start, checkpoint.step)[1] for own in configs])
        spread[place] = np.sqrt(exact.var(axis=0, ddof=1).mean())
        single = _single_gradients(world, trajectory, checkpoint.step, chosen)
        for row, name in enumerate(wanted):
            sums = np.stack([runners[name].one_step(own, start, checkpoint.step)[1] for own in configs])
            errors = sums - exact
            errors = errors[(errors != 0).any(axis=1)]
            if len(errors) > 1:
                found = character(errors, single)
                measures[row, place] = [getattr(found, name.replace(" ", "_")) for name in MEASURES]
    return {"measures": measures, "batch_s": spread}


def _single_gradients(world: World, trajectory: Trajectory, step: int, rows: NDArray[np.int64]) -> Array:
    """Gradients of single records at a checkpoint, [records, P]."""
    model = build_model(world.spec)
    state = trajectory.state(trajectory.at(step))
    x, y = torch.from_numpy(world.train.features), torch.from_numpy(world.train.targets)
    return np.stack([flat(gradient_sum(model, state, x[row : row + 1], y[row : row + 1], None)[0]) for row in rows])
