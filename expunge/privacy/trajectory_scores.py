"""Score a trajectory: gradient norms of every training record at every checkpoint, and the privacy losses they give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from expunge.data import RecordTable
from expunge.errors import ExpungeError, UsageError
from expunge.models import build_model
from expunge.privacy.gradient_norms import NormsNotFinite, per_example_gradient_norms
from expunge.privacy.implicit import assumed_noise_scale, rank_stability
from expunge.privacy.record_index import first_few
from expunge.privacy.scores import GradientNorms, PrivacyLosses, privacy_losses, spliced
from expunge.training import Trajectory


def score_trajectory(
    trajectory: Trajectory,
    table: RecordTable,
    previous: GradientNorms | None = None,
    *,
    batch: int = 512,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> GradientNorms:
    """Norms float32 [records, checkpoints] of the trajectory's own records, read from `table`.

    Args:
        previous: norms of an earlier trajectory; the destroyed prefix that a rewind kept as tombstones takes its
            columns from there (norms are all that later scoring needs).
        batch: most records per pass.
        progress: called with (checkpoints done, checkpoints to score).

    Raises IntegrityError for a checkpoint that is missing or changed, UsageError when the prefix's norms are gone,
    NotFoundError for a record that `table` or `previous` lacks, ExpungeError naming the records where a norm is not
    finite.
    """
    records = table.select(trajectory.record_ids)
    destroyed = [c.step for c in trajectory.checkpoints if c.destroyed]
    missing = sorted(set(destroyed) - set(previous.steps if previous is not None else ()))
    if missing:
        raise UsageError(
            f"The checkpoint at step {missing[0]} was destroyed and its gradient norms are not at hand.",
            "Retrain to get a trajectory that can be scored.",
        )
    model = build_model(trajectory.model_spec).to(device)
    x = torch.from_numpy(records.features).to(device)
    y = torch.from_numpy(records.targets).to(device)
    columns = np.empty((len(records), len(trajectory.kept)), dtype=np.float32)
    for i, checkpoint in enumerate(trajectory.kept):
        model.load_state_dict(trajectory.state(checkpoint).model_state())
        try:
            columns[:, i] = per_example_gradient_norms(model, x, y, chunk=batch).cpu().numpy()
        except NormsNotFinite as error:
            ids = first_few([records.record_ids[row] for row in error.rows])
            raise ExpungeError(
                f"Gradient norms are not finite at step {checkpoint.step}: {ids}.", error.hint
            ) from error
        if progress is not None:
            progress(i + 1, len(trajectory.kept))
    made = GradientNorms(
        columns,
        records.record_ids,
        tuple(c.step for c in trajectory.kept),
        {"loss": "cross_entropy", "mode": "eval", "dtype": "float32", "device": device},
    )
    if previous is None or not destroyed:
        return made
    return spliced(previous, made, destroyed[-1] + 1)


def trajectory_losses(norms: GradientNorms, trajectory: Trajectory, order: float, r0: float) -> PrivacyLosses:
    """Privacy losses by plain composition; for plain SGD under an assumed noise, with its rank stability recorded.

    Where training clipped (`dp_sgd`), norms above the clip count as the clip, as they did in the batch's sum.

    Args:
        order: Renyi order a > 1. r0: `implicit` only: the median of ||g||/s that the assumed s is chosen for.

    Raises UsageError where norms and trajectory have different checkpoints.
    """
    checkpoints = trajectory.checkpoints
    if tuple(c.step for c in checkpoints) != norms.steps:
        raise UsageError("Norms and trajectory have different checkpoints.", "Score the trajectory again.")
    reasons = tuple(trajectory.run.get("heuristic", ()))
    q = [c.q for c in checkpoints]
    clip = trajectory.config.noise.clip
    extra: dict[str, Any] = {} if clip is None else {"clip": clip}
    counted = norms.norms if clip is None else np.minimum(norms.norms, np.float32(clip))
    s = [c.s for c in checkpoints if c.s is not None]
    if len(s) < len(checkpoints):
        s = [assumed_noise_scale(norms.norms, r0)] * len(checkpoints)
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
