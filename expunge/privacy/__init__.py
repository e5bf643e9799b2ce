"""Per-example gradient norms, Renyi divergences, composition, set-level loss and forget sets.

Names are resolved on first use, so that reading a table of losses does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from expunge.privacy.composition import (
        CumulativeLoss,
        checkpoint_widths,
        compose,
        compose_runs,
        composition_orders,
        discounted_loss,
    )
    from expunge.privacy.divergences import sampled_gaussian_divergence
    from expunge.privacy.forget_sets import ForgetSet, build_forget_set
    from expunge.privacy.gradient_norms import NormsNotFinite, per_example_gradient_norms
    from expunge.privacy.implicit import assumed_noise_scale, rank_stability
    from expunge.privacy.scores import (
        GradientNorms,
        PrivacyLosses,
        flat_distribution_warning,
        privacy_losses,
        spliced,
    )
    from expunge.privacy.set_loss import SetLoss, set_level_loss
    from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses

_HOME = {
    "CumulativeLoss": "composition",
    "checkpoint_widths": "composition",
    "compose": "composition",
    "compose_runs": "composition",
    "composition_orders": "composition",
    "discounted_loss": "composition",
    "sampled_gaussian_divergence": "divergences",
    "ForgetSet": "forget_sets",
    "build_forget_set": "forget_sets",
    "NormsNotFinite": "gradient_norms",
    "per_example_gradient_norms": "gradient_norms",
    "assumed_noise_scale": "implicit",
    "rank_stability": "implicit",
    "GradientNorms": "scores",
    "PrivacyLosses": "scores",
    "flat_distribution_warning": "scores",
    "privacy_losses": "scores",
    "spliced": "scores",
    "SetLoss": "set_loss",
    "set_level_loss": "set_loss",
    "score_trajectory": "trajectory_scores",
    "trajectory_losses": "trajectory_scores",
}

__all__ = [
    "CumulativeLoss",
    "checkpoint_widths",
    "compose",
    "compose_runs",
    "composition_orders",
    "discounted_loss",
    "sampled_gaussian_divergence",
    "ForgetSet",
    "build_forget_set",
    "NormsNotFinite",
    "per_example_gradient_norms",
    "assumed_noise_scale",
    "rank_stability",
    "GradientNorms",
    "PrivacyLosses",
    "flat_distribution_warning",
    "privacy_losses",
    "spliced",
    "SetLoss",
    "set_level_loss",
    "score_trajectory",
    "trajectory_losses",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
