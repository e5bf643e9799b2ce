"""What did a scoring cost, and what did its shortcuts change? Figures that are shown and kept, never record ids."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from expunge.models import build_model
from expunge.privacy.composition import compose
from expunge.privacy.fewer_checkpoints import rank_loss
from expunge.privacy.kernel_choice import KernelChoice
from expunge.privacy.part_scoring import Tally, column
from expunge.privacy.plain_pass import PlainRatio, ratio_to_plain_pass
from expunge.privacy.rank_correlation import spearman
from expunge.privacy.scorer import GradientNormScorer
from expunge.privacy.scores import GradientNorms
from expunge.privacy.scoring_parts import LOSS, ScoringParts
from expunge.privacy.shards import Blocks
from expunge.privacy.trajectory_scores import counted_norms, noise_scales

_FEWEST = 100  # records on which `rank_loss` says anything


def scoring_report(
    parts: ScoringParts, kept: Blocks, norms: GradientNorms, tally: Tally, order: float, r0: float
) -> dict[str, Any]:
    """JSON values.

    records, checkpoints {scored, of}, precision, device; gradients, seconds and records_per_second of what was
    computed now (None where nothing was), shards {blocks, reused}; plain_pass {median, pairs, records} (None where no
    checkpoint is left); passes {one_pass, definition} in checkpoints, and definition_because; kernels by layer;
    kernel_table: its SHA-256; rank_loss (fewer checkpoints) and precision_error (bfloat16), measured on a sample.

    Args:
        norms: the joined table. tally: of all that was scored. order, r0: as `trajectory_losses`.
    """
    ways = [how for _, how in sorted(tally.how.items())]
    slow = [how for how in ways if not how.one_pass]
    options = parts.options
    plain = _plain_ratio(parts)
    return {
        "records": len(norms),
        "checkpoints": {"scored": len(norms.steps), "of": len(parts.trajectory.checkpoints)},
        "precision": options.precision,
        "device": options.device,
        "gradients": tally.gradients,
        "seconds": round(tally.seconds, 3),
        "records_per_second": round(tally.gradients / tally.seconds, 1) if tally.seconds > 0 else None,
        "shards": {"blocks": tally.blocks, "reused": tally.reused},
        "plain_pass": asdict(plain) if plain else None,
        "passes": {"one_pass": len(ways) - len(slow), "definition": len(slow)},
        "definition_because": slow[0].reason if slow else "",
        "kernels": dict(next((how.kernels for how in ways if how.one_pass), {})),
        "kernel_table": KernelChoice(options.kernels).digest(),
        "rank_loss": _rank_loss(parts, kept, norms, order, r0) if parts.fewer else None,
        "precision_error": _precision_error(parts, kept, norms, order, r0) if options.low_precision else None,
    }


def _plain_ratio(parts: ScoringParts) -> PlainRatio | None:
    """Measured at the first checkpoint, on the batch that is scored at once."""
    if not parts.scored:
        return None
    options, records = parts.options, parts.records
    model = build_model(parts.trajectory.model_spec).to(options.device)
    scorer = GradientNormScorer(
        model, LOSS, kernels=options.kernels, low_precision=options.low_precision, chunk=options.batch
    )
    scorer.load(parts.trajectory.state(parts.scored[0]).model_state())
    first = slice(0, options.batch)
    return ratio_to_plain_pass(
        scorer, torch.from_numpy(records.features[first]), torch.from_numpy(records.targets[first])
    )


def _precision_error(
    parts: ScoringParts, kept: Blocks, norms: GradientNorms, order: float, r0: float
) -> dict[str, Any]:
    """The sample's norms in bfloat16 beside float32: relative error, and Spearman between the losses they give."""
    low = norms.norms[parts.sample]
    full = low.copy()
    for checkpoint in parts.scored:
        full[:, norms.steps.index(checkpoint.step)] = column(parts, parts.at(checkpoint.step)[1], kept)
    now = [norms.steps.index(c.step) for c in parts.scored]
    at = full[:, now] > 0
    error = np.abs(low[:, now] - full[:, now])[at] / full[:, now][at]
    trajectory, steps = parts.trajectory, norms.steps
    q = [c.q for c in trajectory.checkpoints if c.step in steps]
    totals = [
        compose(counted_norms(table, trajectory), s, q, steps, trajectory.total_steps, order).total
        for table in (low, full)
        for s in [noise_scales(norms, trajectory, steps, r0)]
    ]
    return {
        "records": len(low),
        "median": float(np.median(error)) if error.size else 0.0,
        "largest": float(error.max()) if error.size else 0.0,
        "spearman": _number(spearman(*totals)),
    }


def _rank_loss(parts: ScoringParts, kept: Blocks, norms: GradientNorms, order: float, r0: float) -> dict[str, Any]:
    """What leaving out checkpoints does to the ranking, on a sample that was scored at all that are left."""
    trajectory, scored = parts.trajectory, set(norms.steps)
    checkpoints = [c for c in trajectory.checkpoints if not c.destroyed or c.step in scored]
    left_out = [c for c in checkpoints if c.step not in scored]
    if len(parts.sample) < _FEWEST:
        return {"words": f"What fewer checkpoints lose was not measured: {len(norms)} records are too few."}
    table = np.empty((len(parts.sample), len(checkpoints)), dtype=np.float32)
    for i, checkpoint in enumerate(checkpoints):
        if checkpoint in left_out:
            table[:, i] = column(parts, parts.at(checkpoint.step)[0], kept)
        else:
            table[:, i] = norms.norms[parts.sample, norms.steps.index(checkpoint.step)]
    steps = tuple(c.step for c in checkpoints)
    lost = rank_loss(
        counted_norms(table, trajectory),
        [i for i, step in enumerate(steps) if step in scored],
        noise_scales(norms, trajectory, steps, r0),
        [c.q for c in checkpoints],
        steps,
        trajectory.total_steps,
        order,
    )
    return {
        "kept": lost.kept,
        "available": lost.available,
        "records": lost.records,
        "spearman": _number(lost.spearman),
        "spearman_interval": [_number(lost.low), _number(lost.high)],
        "tops": [asdict(top) for top in lost.tops],
        "words": lost.words,
    }


def _number(value: Any) -> float | None:
    """A JSON number; None where it is not one (a constant ranking has no correlation)."""
    return float(value) if np.isfinite(value) else None
