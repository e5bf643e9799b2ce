"""How much of a set's privacy loss had been spent before a checkpoint?"""

from __future__ import annotations

from collections.abc import Sequence

from expunge.privacy.scores import PrivacyLosses


def share_before(losses: PrivacyLosses, record_ids: Sequence[str], step: int) -> float:
    """Share in 0..1 of the set's cumulative loss spent by the checkpoints before `step` (METHOD section 6)."""
    earlier = sum(s < step for s in losses.steps)
    return float(losses.share_spent(record_ids)[earlier - 1]) if earlier else 0.0
