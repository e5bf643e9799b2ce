"""Score a trajectory: gradient norms of every training record at every checkpoint, and the privacy losses they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.privacy.implicit import assumed_noise_scale, rank_stability
from expunge.privacy.kernel_choice import KernelChoice
from expunge.privacy.part_scoring import column, score_parts
from expunge.privacy.scores import GradientNorms, PrivacyLosses, privacy_losses, spliced
from expunge.privacy.scoring_parts import LOSS, ScoringOptions, ScoringParts
from expunge.privacy.shards import Blocks, BlocksInMemory
from expunge.training import Trajectory

FEWER = "checkpoints"  # in GradientNorms.settings: {"scored": 9, "of": 35}, where checkpoints were left out


def score_trajectory(
    trajectory: Trajectory,
    table: RecordTable,
    previous: GradientNorms | None = None,
    *,
    options: ScoringOptions = ScoringOptions(),
    kept: Blocks | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> GradientNorms:
    """Norms float32 [records, checkpoints] of the trajectory's own records, read from `table`.

    Args:
        previous: norms of an earlier trajectory; the destroyed prefix that a rewind kept as tombstones takes its
            columns from there (norms are all that later scoring needs).
        kept: where finished blocks are kept, for a restart: a `ShardFolder`; default: in memory.
        progress: called with (records times checkpoints done, in all).

    Raises IntegrityError for a checkpoint that is missing or changed, UsageError when the prefix's norms are gone or a
    checkpoint is of another architecture, NotFoundError for a record that `table` or `previous` lacks, ExpungeError
    naming the records where a norm is not finite.
    """
    parts = ScoringParts(trajectory, table, previous, options)
    blocks = kept if kept is not None else BlocksInMemory()
    score_parts(parts, blocks, progress=progress)
    return joined(parts, blocks)


def joined(parts: ScoringParts, kept: Blocks) -> GradientNorms:
    """The table of norms from blocks that are all there."""
    options, trajectory = parts.options, parts.trajectory
    norms = np.empty((len(parts.records), len(parts.scored)), dtype=np.float32)
    for i, checkpoint in enumerate(parts.scored):
        norms[:, i] = column(parts, parts.at(checkpoint.step)[0], kept)
    steps = tuple(c.step for c in parts.scored)
    settings: dict[str, Any] = {
        "loss": LOSS, "mode": "eval", "dtype": options.precision, "device": options.device,
        "kernels": KernelChoice(options.kernels).digest(),
    }  # fmt: skip
    scored = len(steps) + len(parts.known)
    if scored < len(trajectory.checkpoints):
        settings[FEWER] = {"scored": scored, "of": len(trajectory.checkpoints)}
    made = GradientNorms(norms, parts.records.record_ids, steps, settings)
    if not parts.known or parts.previous is None:
        return made
    earlier = {name: parts.previous.settings.get(name) for name in ("dtype", "device", "kernels")}
    both = spliced(replace(parts.previous, settings={}), made, parts.known[-1] + 1)
    return replace(both, settings=settings | {"from_before": {"through_step": parts.known[-1], **earlier}})


def trajectory_losses(norms: GradientNorms, trajectory: Trajectory, order: float, r0: float) -> PrivacyLosses:
    """Privacy losses by plain composition; for plain SGD under an assumed noise, with its rank stability recorded.

    Where training clipped (`dp_sgd`), norms above the clip count as the clip, as they did in the batch's sum.

    Args:
        norms: at all checkpoints of the trajectory, or at fewer where their settings say so.
        order: Renyi order a > 1. r0: `implicit` only: the median of ||g||/s that the assumed s is chosen for.

    Raises UsageError where norms and trajectory have different checkpoints.
    """
    checkpoints = [c for c in trajectory.checkpoints if c.step in norms.steps]
    left_out = len(checkpoints) < len(trajectory.checkpoints)
    if tuple(c.step for c in checkpoints) != norms.steps or (left_out and FEWER not in norms.settings):
        raise UsageError("Norms and trajectory have different checkpoints.", "Score the trajectory again.")
    reasons = tuple(trajectory.run.get("heuristic", ()))
    q = [c.q for c in checkpoints]
    clip = trajectory.config.noise.clip
    extra: dict[str, Any] = {} if clip is None else {"clip": clip}
    counted = counted_norms(norms.norms, trajectory)
    s = noise_scales(norms, trajectory, norms.steps, r0)
    if any(c.s is None for c in checkpoints):
        stability = rank_stability(norms.norms, norms.steps, trajectory.total_steps, q, order)
        extra = {"assumed_r0": r0, "rank_stability": stability}
    return privacy_losses(
        replace(norms, norms=counted, settings={**norms.settings, **extra}),
        [c.lr for c in checkpoints],
        s,
        q,
        trajectory.total_steps,
        order,
        "heuristic" if reasons else "score",
        reasons,
    )


def counted_norms(norms: npt.NDArray[np.float32], trajectory: Trajectory) -> npt.NDArray[np.float32]:
    """Norms as they counted in training: no more than the clip, where it clipped."""
    clip = trajectory.config.noise.clip
    return norms if clip is None else np.minimum(norms, np.float32(clip))


def noise_scales(norms: GradientNorms, trajectory: Trajectory, steps: Sequence[int], r0: float) -> list[float]:
    """Noise on the batch sum at each of these steps; where it is only assumed, the scale that `norms` give."""
    s = [c.s for c in trajectory.checkpoints if c.step in steps]
    known = [value for value in s if value is not None]
    return known if len(known) == len(s) else [assumed_noise_scale(norms.norms, r0)] * len(s)
