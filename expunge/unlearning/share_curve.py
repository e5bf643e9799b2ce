"""How much of a set's privacy loss had been spent before a step of the training? At one step, and as a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.privacy.scores import PrivacyLosses
from expunge.privacy.step_widths import checkpoint_widths
from expunge.unlearning.plan import LossCurve

MOST_REQUESTS = 12
_DIGITS = 4


def share_before(losses: PrivacyLosses, record_ids: Sequence[str], step: int) -> float:
    """Share in 0..1 of the set's cumulative loss spent by the checkpoints before `step` (METHOD section 6).

    Where fewer checkpoints were scored than there are, the curve is read off at `step` itself: a scored checkpoint
    then stands for many steps on either side of it, and counting those before alone would miss half of a gap.
    """
    return float(shares_before(losses, record_ids, [step])[0])


def shares_before(losses: PrivacyLosses, record_ids: Sequence[str], steps: Sequence[int]) -> NDArray[np.float64]:
    """`share_before` at several steps, [len(steps)]."""
    share = losses.share_spent(record_ids)
    if "checkpoints" in losses.settings:
        return _between(losses, share, steps)
    earlier = np.searchsorted(np.asarray(losses.steps), np.asarray(steps), side="left")
    result: NDArray[np.float64] = np.append(0.0, share)[earlier]
    return result


def loss_curve(losses: PrivacyLosses, record_ids: Sequence[str], total_steps: int) -> LossCurve:
    """The curve of a set and that of all records, read off at every scored checkpoint and at the end of the run."""
    steps = (*losses.steps, total_steps)
    return LossCurve(
        steps=steps,
        forget=_curve(losses, record_ids, steps),
        everyone=_curve(losses, losses.record_ids, steps),
    )


def request_curves(
    losses: PrivacyLosses, requests: Mapping[str, Sequence[str]], total_steps: int
) -> dict[str, tuple[float, ...]]:
    """The curve of each request's own records over the same steps, for the 12 largest of several requests."""
    largest = sorted((name for name, ids in requests.items() if ids), key=lambda name: -len(requests[name]))
    if len(largest) < 2:
        return {}
    steps = (*losses.steps, total_steps)
    return {name: _curve(losses, requests[name], steps) for name in largest[:MOST_REQUESTS]}


def _curve(losses: PrivacyLosses, record_ids: Sequence[str], steps: Sequence[int]) -> tuple[float, ...]:
    return tuple(round(float(share), _DIGITS) for share in shares_before(losses, record_ids, steps))


def _between(losses: PrivacyLosses, share: NDArray[np.float64], steps: Sequence[int]) -> NDArray[np.float64]:
    """Straight lines between the steps up to which the checkpoints stand for the run (METHOD section 3)."""
    until = np.cumsum(checkpoint_widths(losses.steps, losses.settings["total_steps"]))
    return np.interp(np.asarray(steps, dtype=float), np.append(0.0, until), np.append(0.0, share))
