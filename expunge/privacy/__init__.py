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
        log_mean_exp_runs,
    )
    from expunge.privacy.divergences import sampled_gaussian_divergence
    from expunge.privacy.forget_sets import ForgetSet, build_forget_set
    from expunge.privacy.gradient_norms import clip_factors, per_example_gradient_norms
    from expunge.privacy.implicit import assumed_noise_scale, rank_stability
    from expunge.privacy.scores import (
        GradientNorms,
        PrivacyLosses,
        flat_distribution_warning,
        privacy_losses,
    )
    from expunge.privacy.set_loss import SetLoss, set_level_loss

_HOME = {
    "CumulativeLoss": "composition",
    "checkpoint_widths": "composition",
    "compose": "composition",
    "compose_runs": "composition",
    "composition_orders": "composition",
    "discounted_loss": "composition",
    "log_mean_exp_runs": "composition",
    "sampled_gaussian_divergence": "divergences",
    "ForgetSet": "forget_sets",
    "build_forget_set": "forget_sets",
    "clip_factors": "gradient_norms",
    "per_example_gradient_norms": "gradient_norms",
    "assumed_noise_scale": "implicit",
    "rank_stability": "implicit",
    "GradientNorms": "scores",
    "PrivacyLosses": "scores",
    "flat_distribution_warning": "scores",
    "privacy_losses": "scores",
    "SetLoss": "set_loss",
    "set_level_loss": "set_loss",
}

__all__ = [
    "CumulativeLoss",
    "checkpoint_widths",
    "compose",
    "compose_runs",
    "composition_orders",
    "discounted_loss",
    "log_mean_exp_runs",
    "sampled_gaussian_divergence",
    "ForgetSet",
    "build_forget_set",
    "clip_factors",
    "per_example_gradient_norms",
    "assumed_noise_scale",
    "rank_stability",
    "GradientNorms",
    "PrivacyLosses",
    "flat_distribution_warning",
    "privacy_losses",
    "SetLoss",
    "set_level_loss",
]


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
