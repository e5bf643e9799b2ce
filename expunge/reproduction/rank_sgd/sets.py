"""Which records does each score call the hardest to forget? The scores of METHOD section 8, and a forget set of each.

Every score is measured on the same originals and speaks of the same records. A set is shared by all originals, so that
sets differ by their score alone. Scores see the originals whose forgetting is measured, as a user's would: all alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from expunge.privacy.difficulty import average_gradient_norm, c_proxy, el2n, final_gradient_norm, grand
from expunge.privacy.logits_along import trajectory_logits
from expunge.reproduction.originals import Original
from expunge.reproduction.work import Part, Work
from expunge.reproduction.world import Rows, World

Array = NDArray[np.float64]
PRIVACY_LOSS = "privacy loss"
AVERAGE_NORM, FINAL_NORM = "average gradient norm", "final gradient norm"
C_PROXY, EL2N, GRAND = "C-Proxy", "EL2N", "GraNd"
PROXIES = (AVERAGE_NORM, C_PROXY, EL2N, GRAND, FINAL_NORM)
SCORES = (PRIVACY_LOSS, *PROXIES)
# Their sources define these as averages over seeds; the others speak of one model, and are averaged by rank.
_AVERAGED = (EL2N, GRAND)


def difficulty_scores(
    world: World, work: Work, originals: Sequence[Original], early: float, units: int = 0
) -> dict[str, Array]:
    """Scores of every training record by each original alone, [originals, n], larger for harder, by name of `SCORES`.

    Args:
        early: share of training after which EL2N and GraNd look: the nearest checkpoint.
        units: what reading one original's checkpoints counts of the work expected.
    """
    found: dict[str, list[Array]] = {name: [] for name in SCORES}
    for original in originals:
        own = original_scores(world, work, original, early, units)
        for name in SCORES:
            found[name].append(own[name])
    return {name: np.stack(values) for name, values in found.items()}


def original_scores(world: World, work: Work, original: Original, early: float, units: int = 0) -> dict[str, Array]:
    """The scores [n] of one original, by name of `SCORES`."""
    norms = original.norms.norms
    column = early_column(original.norms.steps, world.training.steps, early)

    def part() -> Part:
        logits = trajectory_logits(original.trajectory, world.train, world.device)
        targets = world.train.targets
        return {"c_proxy": c_proxy(logits, targets), "el2n": el2n(logits[column : column + 1], targets)}

    by_logits = work.get(f"{world.name}-original-{original.number}-logits", part, units)
    return {
        PRIVACY_LOSS: original.loss,
        AVERAGE_NORM: average_gradient_norm(norms),
        C_PROXY: by_logits["c_proxy"],
        EL2N: by_logits["el2n"],
        GRAND: grand(norms[:, column][None]),
        FINAL_NORM: final_gradient_norm(norms),
    }


def early_column(steps: Sequence[int], total: int, early: float) -> int:
    """The checkpoint nearest to the share `early` of training, as a column."""
    return int(np.argmin(np.abs(np.asarray(steps) - early * total)))


def joint_score(name: str, values: Array) -> Array:
    """One number per record from those of all originals: [originals, n] -> [n], larger for harder."""
    if name in _AVERAGED:
        return np.asarray(values.mean(axis=0))
    return np.asarray(rankdata(values, axis=1).mean(axis=0))


def hardest(score: Array, size: int) -> Rows:
    """Rows of the `size` largest of the scores [n], sorted; ties go to the earlier row."""
    return np.sort(np.argsort(-score, kind="stable")[:size]).astype(np.int64)


def overlap(left: Rows, right: Rows) -> float:
    """Share of the records of `left` that are in `right`."""
    return len(np.intersect1d(left, right)) / len(left)
