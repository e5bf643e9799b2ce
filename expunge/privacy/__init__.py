"""Per-example gradient norms, Renyi divergences, composition, set-level loss and forget sets.

Names are resolved on first use, so that reading a table of losses does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from expunge.privacy.composition import (
        CumulativeLoss,
        compose,
        compose_orders,
        compose_runs,
        composition_orders,
        discounted_loss,
    )
    from expunge.privacy.difficulty import BASELINES, find_baseline
    from expunge.privacy.divergences import sampled_gaussian_divergence
    from expunge.privacy.fewer_checkpoints import RankLoss, fewer_columns, rank_loss
    from expunge.privacy.forget_sets import ForgetSet, build_forget_set
    from expunge.privacy.gradient_norms import NormsNotFinite, per_example_gradient_norms
    from expunge.privacy.implicit import assumed_noise_scale, rank_stability
    from expunge.privacy.logits_along import trajectory_logits
    from expunge.privacy.scorer import GradientNormScorer
    from expunge.privacy.scores import (
        GradientNorms,
        PrivacyLosses,
        flat_distribution_warning,
        privacy_losses,
        spliced,
    )
    from expunge.privacy.scoring_parts import ScoringOptions
    from expunge.privacy.set_gradients import gradient_gram, sum_norm, trajectory_grams, trajectory_sum_norms
    from expunge.privacy.set_loss import SetLoss, set_level_loss, set_loss_from_grams
    from expunge.privacy.set_loss_step import set_step_loss
    from expunge.privacy.shards import ShardFolder
    from expunge.privacy.step_widths import checkpoint_widths
    from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses

_HOME = {
    "CumulativeLoss": "composition",
    "checkpoint_widths": "step_widths",
    "compose": "composition",
    "compose_orders": "composition",
    "compose_runs": "composition",
    "composition_orders": "composition",
    "discounted_loss": "composition",
    "BASELINES": "difficulty",
    "find_baseline": "difficulty",
    "sampled_gaussian_divergence": "divergences",
    "RankLoss": "fewer_checkpoints",
    "fewer_columns": "fewer_checkpoints",
    "rank_loss": "fewer_checkpoints",
    "ForgetSet": "forget_sets",
    "build_forget_set": "forget_sets",
    "NormsNotFinite": "gradient_norms",
    "per_example_gradient_norms": "gradient_norms",
    "assumed_noise_scale": "implicit",
    "rank_stability": "implicit",
    "GradientNormScorer": "scorer",
    "GradientNorms": "scores",
    "PrivacyLosses": "scores",
    "flat_distribution_warning": "scores",
    "privacy_losses": "scores",
    "spliced": "scores",
    "gradient_gram": "set_gradients",
    "sum_norm": "set_gradients",
    "trajectory_grams": "set_gradients",
    "trajectory_sum_norms": "set_gradients",
    "ScoringOptions": "scoring_parts",
    "SetLoss": "set_loss",
    "set_level_loss": "set_loss",
    "set_loss_from_grams": "set_loss",
    "set_step_loss": "set_loss_step",
    "ShardFolder": "shards",
    "score_trajectory": "trajectory_scores",
    "trajectory_logits": "logits_along",
    "trajectory_losses": "trajectory_scores",
}

__all__ = [
    "CumulativeLoss",
    "checkpoint_widths",
    "compose",
    "compose_orders",
    "compose_runs",
    "composition_orders",
    "discounted_loss",
    "BASELINES",
    "find_baseline",
    "sampled_gaussian_divergence",
    "RankLoss",
    "fewer_columns",
    "rank_loss",
    "ForgetSet",
    "build_forget_set",
    "NormsNotFinite",
    "per_example_gradient_norms",
    "assumed_noise_scale",
    "rank_stability",
    "GradientNormScorer",
    "GradientNorms",
    "PrivacyLosses",
    "flat_distribution_warning",
    "privacy_losses",
    "spliced",
    "gradient_gram",
    "sum_norm",
    "trajectory_grams",
    "trajectory_sum_norms",
    "ScoringOptions",
    "SetLoss",
    "set_level_loss",
    "set_loss_from_grams",
    "set_step_loss",
    "ShardFolder",
    "score_trajectory",
    "trajectory_logits",
    "trajectory_losses",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
