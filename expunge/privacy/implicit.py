"""What if training added no noise? A noise scale that is only assumed, and a check that the ranking survives another.

METHOD section 4. Nothing computed from an assumed noise is a guarantee: it is a score, and no epsilon is printed for
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError
from expunge.privacy.composition import as_array, compose
from expunge.privacy.rank_correlation import spearman


def assumed_noise_scale(norms: Any, r0: float = 1.0) -> float:
    """The s for which the median of ||g||/s over records and checkpoints is r0 (METHOD section 4, chosen here).

    Args:
        norms: gradient norms, any shape, array or tensor.
        r0: the median ratio wanted, above 0.

    Raises:
        UsageError: r0 <= 0; norms empty or not finite; a median of 0, which no scale can bring to r0.
    """
    if not r0 > 0:
        raise UsageError(f"r0 must be above 0; got {r0!r}.")
    values = as_array(norms)
    if values.size == 0 or not np.all(np.isfinite(values)):
        raise UsageError("The gradient norms are empty or not all finite.", "Check where training diverged.")
    median = float(np.median(values))
    if median <= 0:
        raise UsageError(
            "The median gradient norm is 0, so no noise scale can be derived from it.",
            "More than half of the norms vanish: score earlier checkpoints, or set s yourself.",
        )
    return median / r0


def rank_stability(
    norms: Any,
    steps: Sequence[int] | npt.ArrayLike,
    total_steps: int,
    q: float | npt.ArrayLike,
    order: float,
    r0s: Sequence[float] = (0.3, 1.0, 3.0),
) -> dict[str, float]:
    """Spearman correlations between the rankings at different assumed noise scales, keyed "0.3 vs 1".

    Near 1: the ranking does not hang on the assumption. NaN where a ranking is constant. Arguments as in `compose`.

    Raises:
        UsageError: as `assumed_noise_scale` and `compose`; fewer than two values of r0.
    """
    if len(r0s) < 2:
        raise UsageError("rank_stability compares at least two values of r0.")
    values = as_array(norms)
    totals = {}
    for r0 in r0s:
        totals[r0] = compose(values, assumed_noise_scale(values, r0), q, steps, total_steps, order).total
    return {f"{a:g} vs {b:g}": spearman(totals[a], totals[b]) for a, b in combinations(r0s, 2)}
