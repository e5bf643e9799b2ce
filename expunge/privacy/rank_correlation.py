"""Do two numbers per record put the records into the same order? Spearman's rank correlation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata


def spearman(left: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Correlation of the ranks, ties sharing theirs; NaN where one side is constant (SciPy's warns there)."""
    a, b = (ranks - ranks.mean() for ranks in (rankdata(left), rankdata(right)))
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else float("nan")
