"""Score a trajectory: gradient norms of every training record at every checkpoint, and the privacy losses they give."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from expunge.data import RecordTable
from expunge.errors import ExpungeError, UsageError
from expunge.models import build_model
from expunge.privacy.gradient_norms import per_example_gradient_norms
from expunge.privacy.implicit import assumed_noise_scale, rank_stability
from expunge.privacy.scores import GradientNorms, PrivacyLosses, privacy_losses
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
        previous: norms of an earlier trajectory; a destroyed prefix that a rewind kept as tombstones takes its columns
            from there (norms are all that later scoring needs).
        progress: called with (checkpoints done, checkpoints in all).

    Raises IntegrityError for a checkpoint that is missing or changed, UsageError when the prefix's norms are gone,
    ExpungeError naming the records where a norm is not finite.
    """
    records = table.select(trajectory.record_ids)
    model = build_model(trajectory.model_spec).to(device)
    x = torch.from_numpy(records.features)
    y = torch.from_numpy(records.targets)
    columns = []
    for done, checkpoint in enumerate(trajectory.checkpoints):
        if checkpoint.destroyed:
            columns.append(_previous_column(previous, checkpoint.step, records))
            continue
        model.load_state_dict(trajectory.state(checkpoint).model_state())
        parts = [
            per_example_gradient_norms(model, a.to(device), b.to(device)).cpu()
            for a, b in zip(x.split(batch), y.split(batch), strict=True)
        ]
        column = torch.cat(parts).numpy().astype(np.float32)
        bad = np.flatnonzero(~np.isfinite(column))
        if len(bad):
            ids = ", ".join(records.record_ids[i] for i in bad[:3])
            raise ExpungeError(
                f"Gradient norms of {len(bad)} record(s) are not finite at step {checkpoint.step}, such as {ids}.",
                "Look at these records and at the checkpoint; lower the learning rate if training was diverging.",
            )
        columns.append(column)
        if progress is not None:
            progress(done + 1, len(trajectory.checkpoints))
    return GradientNorms(
        np.stack(columns, axis=1),
        records.record_ids,
        tuple(c.step for c in trajectory.checkpoints),
        {"loss": "cross_entropy", "mode": "eval", "dtype": "float32", "device": device},
    )


def trajectory_losses(norms: GradientNorms, trajectory: Trajectory, order: float, r0: float) -> PrivacyLosses:
    """Privacy losses by plain composition; for plain SGD under an assumed noise, with its rank stability recorded.

    Args:
        order: Renyi order a > 1. r0: `implicit` only: the median of ||g||/s that the assumed s is chosen for.
    """
    checkpoints = trajectory.checkpoints
    if tuple(c.step for c in checkpoints) != norms.steps:
        raise UsageError("Norms and trajectory have different checkpoints.", "Score the trajectory again.")
    reasons = tuple(trajectory.run.get("heuristic", ()))
    q = [c.q for c in checkpoints]
    s: list[float]
    extra = {}
    if any(c.s is None for c in checkpoints):
        assumed = float(assumed_noise_scale(norms.norms, r0))
        s = [assumed] * len(checkpoints)
        stability = rank_stability(norms.norms, norms.steps, trajectory.total_steps, q[0], order)
        extra = {"assumed_r0": r0, "rank_stability": {str(k): float(v) for k, v in stability.items()}}
    else:
        s = [float(c.s or 0.0) for c in checkpoints]
    made = privacy_losses(
        GradientNorms(norms.norms, norms.record_ids, norms.steps, {**norms.settings, **extra}),
        [c.lr for c in checkpoints], s, q, trajectory.total_steps, order,
        "heuristic" if reasons else "score", reasons,
    )  # fmt: skip
    return made


def _previous_column(previous: GradientNorms | None, step: int, records: RecordTable) -> np.ndarray:
    if previous is None or step not in previous.steps:
        raise UsageError(
            f"The checkpoint at step {step} was destroyed and its gradient norms are not at hand.",
            "Retrain to get a trajectory that can be scored.",
        )
    column: np.ndarray = previous.select(records.record_ids).norms[:, previous.steps.index(step)]
    return column
