"""How much of a set's privacy loss had been spent before a checkpoint?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from expunge.privacy.scores import PrivacyLosses
from expunge.privacy.step_widths import checkpoint_widths


def share_before(losses: PrivacyLosses, record_ids: Sequence[str], step: int) -> float:
    """Share in 0..1 of the set's cumulative loss spent by the checkpoints before `step` (METHOD section 6).

    Where fewer checkpoints were scored than there are, the curve is read off at `step` itself: a scored checkpoint
    then stands for many steps on either side of it, and counting those before alone would miss half of a gap.
    """
    share = losses.share_spent(record_ids)
    if "checkpoints" in losses.settings:
        return _between(losses, share, step)
    earlier = sum(s < step for s in losses.steps)
    return float(share[earlier - 1]) if earlier else 0.0


def _between(losses: PrivacyLosses, share: NDArray[np.float64], step: int) -> float:
    """Straight lines between the steps up to which the checkpoints stand for the run (METHOD section 3)."""
    until = np.cumsum(checkpoint_widths(losses.steps, losses.settings["total_steps"]))
    return float(np.interp(step, np.append(0.0, until), np.append(0.0, share)))
