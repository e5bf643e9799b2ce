"""What do the candidates say of a group before it is forgotten? Set-level, mean and classic losses, of one original.

All are in nats and at the same order a, from the same checkpoints and by the same widths (METHOD sections 3 and 5). The
first three differ only in how the gradients of a set are put together: ||SUM g||^2, SUM ||g||^2, (SUM ||g||)^2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from expunge.privacy.composition import compose
from expunge.privacy.set_bounds import lower_bound
from expunge.privacy.set_gradients import trajectory_grams
from expunge.privacy.set_loss import SetLoss, set_level_loss
from expunge.privacy.set_loss_step import set_step_loss
from expunge.privacy.step_widths import checkpoint_widths
from expunge.reproduction.group.sets import GroupSet
from expunge.reproduction.originals import Original
from expunge.reproduction.work import Part
from expunge.reproduction.world import World

Array = npt.NDArray[np.float64]

# name -> what it is. `set-level` is what plans show: exact at full batch, the leading order in q below it.
PREDICTORS: dict[str, str] = {
    "set-level": "set-level loss, norm of the sum of gradients (leading order in q; exact at full batch)",
    "worst subset": "set-level loss at q < 1, rigorous lower bound: the leading order or the worst subset of the set",
    "mean": "mean of the records' losses",
    "mean, leading order": "the set-level formula without the products of different records' gradients",
    "aligned": "the set-level formula with the norms summed, as if all gradients pointed the same way",
    "classic": "group privacy: 3^c times the largest record's loss at order 2^c a (Mironov 2017, Proposition 2)",
}


def set_predictors(world: World, original: Original, sets: Sequence[GroupSet]) -> Part:
    """Every predictor of every set, [sets] each, by the names of PREDICTORS, from one original's trajectory."""
    found: dict[str, list[float]] = {name: [] for name in PREDICTORS}
    for own in sets:
        for name, value in _of_set(original, own, _grams(world, original, own)).items():
            found[name].append(value)
    return {name: np.array(values) for name, values in found.items()}


def _grams(world: World, original: Original, own: GroupSet) -> Array:
    """Gram matrices of a set's gradients at all checkpoints, [c, m, m]."""
    ids = [world.train.record_ids[row] for row in own.rows]
    return trajectory_grams(original.trajectory, world.train, ids, device=world.device)


def _of_set(original: Original, own: GroupSet, grams: Array) -> dict[str, float]:
    losses, order = original.losses, original.losses.order
    s, q, steps, total = noise(original)
    squares = np.diagonal(grams, axis1=1, axis2=2)
    sums = {
        "set-level": np.sqrt(grams.sum(axis=(1, 2)).clip(min=0)),
        "mean, leading order": np.sqrt(squares.sum(axis=1)),
        "aligned": np.sqrt(squares).sum(axis=1),
    }
    found = {name: _value(set_level_loss(norms, s, q, steps, total, order)) for name, norms in sums.items()}
    found["mean"] = float(losses.total[own.rows].mean())
    found["worst subset"] = float(checkpoint_widths(steps, total) @ _lower(grams, s, q, order))
    found["classic"] = classic_bound(original, own)
    return found


def noise(original: Original) -> tuple[Array, Array, tuple[int, ...], int]:
    """s [c], q [c], steps [c] and T of an original's scores."""
    settings, steps = original.losses.settings, original.losses.steps
    s = np.broadcast_to(np.asarray(settings["s"], dtype=np.float64), len(steps))
    q = np.broadcast_to(np.asarray(settings["q"], dtype=np.float64), len(steps))
    return s, q, steps, int(settings["total_steps"])


def _value(loss: SetLoss) -> float:
    assert loss.value is not None  # the leading order always has one
    return loss.value


def _lower(grams: Array, s: Array, q: Array, order: float) -> Array:
    """At each checkpoint, [c]; at full batch the loss itself."""
    whole = math.floor(order)
    return np.array([
        order / 2 * max(0.0, float(gram.sum())) / scale**2 if rate >= 1
        else lower_bound(gram / scale**2, (), rate, whole) / (whole - 1)
        for gram, scale, rate in zip(grams, s.tolist(), q.tolist(), strict=True)
    ])  # fmt: skip


def classic_bound(original: Original, own: GroupSet) -> float:
    """3^c max_x P(x, 2^c a), with 2^c >= m: what group privacy makes of the records' losses; nats at order a.

    Source: Mironov 2017 (arXiv 1702.07476), Proposition 2: where a mechanism is (b, e)-RDP and b >= 2^(c+1), groups of
    2^c have (b / 2^c, 3^c e). It speaks of a loss that holds for every record of every data set; the largest of the
    set's own records at the model at hand stands for it here, which is less.
    """
    s, q, steps, total = noise(original)
    exponent = doublings(len(own.rows))
    at = original.losses.order * 2**exponent
    largest = compose(original.norms.norms[own.rows], s, q, steps, total, at).total.max()
    return float(3.0**exponent * largest)


def doublings(size: int) -> int:
    """c, the smallest with 2^c >= `size`."""
    return math.ceil(math.log2(size))


def estimator_check(world: World, original: Original, own: GroupSet, checkpoints: int, draws: int) -> Part:
    """The set-level loss at some checkpoints of one original by every way there is, [used checkpoints] each, nats.

    leading, lower, upper (rigorous bounds), sampled (NaN: not estimated), effective (sample size of importance
    sampling, NaN where nothing was drawn), error (standard error of `sampled`).
    """
    s, q, steps, _ = noise(original)
    used = np.unique(np.linspace(0, len(steps) - 1, min(checkpoints, len(steps))).round().astype(int))
    grams = _grams(world, original, own)[used]
    order = int(original.losses.order)
    leading = order / 2 * q[used] ** 2 * grams.sum(axis=(1, 2)).clip(min=0) / s[used] ** 2
    found = [
        set_step_loss(
            gram, float(s[c]), float(q[c]), order, draws=draws, seed=(world.seed_of("draws", own.name), int(c))
        )
        for gram, c in zip(grams, used, strict=True)
    ]
    return {
        "leading": leading,
        "simple": _lower(grams, s[used], q[used], order),
        "sampled": np.array([math.nan if loss.value is None else loss.value for loss in found]),
        "error": np.array([loss.standard_error for loss in found]),
        "lower": np.array([loss.lower for loss in found]),
        "upper": np.array([loss.upper for loss in found]),
        "effective": np.array([loss.effective_sample_size or math.nan for loss in found]),
    }
