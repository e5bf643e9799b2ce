"""How many steps of the run does each checkpoint stand for?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError

Floats = npt.NDArray[np.float64]


def checkpoint_widths(steps: Sequence[int] | npt.ArrayLike, total_steps: int) -> Floats:
    """How many steps each checkpoint stands for, [c]; they sum to total_steps.

    The trapezoid rule over [0, T-1] times T/(T-1) (METHOD section 3). Before the first and after the last checkpoint
    the nearest one is used. A single checkpoint stands for all T steps; where every step was stored, nothing is
    interpolated and each stands for itself (both chosen here).

    Args:
        steps: strictly increasing integers in [0, T-1].
        total_steps: T >= 1.

    Raises:
        UsageError: steps empty, unordered, repeated or outside the run.
    """
    at = checked_steps(steps, total_steps)
    if len(at) == total_steps:
        return np.ones(total_steps)
    if len(at) == 1:
        return np.array([float(total_steps)])
    gaps = np.diff(at)
    widths = np.zeros(len(at))
    widths[:-1] += gaps / 2
    widths[1:] += gaps / 2
    widths[0] += at[0]
    widths[-1] += total_steps - 1 - at[-1]
    return widths * (total_steps / (total_steps - 1))


def checked_steps(steps: Any, total_steps: int) -> npt.NDArray[np.int64]:
    """The steps [c], or UsageError where they are empty, unordered, repeated or outside the run."""
    array = np.asarray(steps)
    if array.ndim != 1 or array.size == 0 or np.any(array != array.astype(np.int64)):
        raise UsageError("steps must be a non-empty list of whole numbers.")
    if np.any(np.diff(array) <= 0) or array[0] < 0 or array[-1] >= total_steps:
        raise UsageError(
            f"steps must increase within 0 to {total_steps - 1}; got {array[0]} to {array[-1]}.",
            "Step t is the state before update t; the final weights are not a scored checkpoint.",
        )
    return array.astype(np.int64)
