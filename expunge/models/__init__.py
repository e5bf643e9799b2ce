"""Model factories."""

from expunge.models.registry import MODELS, ModelSpec, build_model, uses_batch_statistics

__all__ = ["MODELS", "ModelSpec", "build_model", "uses_batch_statistics"]
