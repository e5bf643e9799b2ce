"""Every number of a training run, checked before any work."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

NoiseConvention = Literal["langevin", "mean_gradient", "dp_sgd", "weights", "implicit"]
Spacing = Literal["even", "log"]


class Strict(BaseModel):
    """Base of every configuration: unknown keys are errors, values cannot change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoiseConfig(Strict):
    """A noise convention of METHOD section 1 and its one number (two for dp_sgd)."""

    convention: NoiseConvention = "mean_gradient"
    sigma: float | None = Field(default=None, gt=0, description="langevin and mean_gradient")
    tau: float | None = Field(default=None, gt=0, description="weights")
    noise_multiplier: float | None = Field(default=None, gt=0, description="dp_sgd: z")
    clip: float | None = Field(default=None, gt=0, description="dp_sgd: C")

    @model_validator(mode="after")
    def _has_its_numbers(self) -> Self:
        wanted = {
            "langevin": {"sigma"}, "mean_gradient": {"sigma"}, "weights": {"tau"},
            "dp_sgd": {"noise_multiplier", "clip"}, "implicit": set(),
        }[self.convention]  # fmt: skip
        given = {k for k in ("sigma", "tau", "noise_multiplier", "clip") if getattr(self, k) is not None}
        if wanted != given:
            need = " and ".join(sorted(wanted)) or "no number"
            raise ValueError(f"noise convention {self.convention!r} takes {need}, got {sorted(given) or 'none'}")
        return self


class ScheduleConfig(Strict):
    """Learning rate as a pure function of the step."""

    kind: Literal["constant", "cosine", "step"] = "constant"
    warmup: int = Field(default=0, ge=0, description="steps of linear warm-up")
    floor: float = Field(default=0.0, ge=0, le=1, description="cosine: final rate as a share of the first")
    milestones: tuple[float, ...] = Field(default=(), description="step: shares of training at which to decay")
    factor: float = Field(default=0.1, gt=0, le=1, description="step: what each milestone multiplies by")


class TrainingConfig(Strict):
    """One training run. `steps` is T, `batch_size` the expected b; the sampling rate is q = b/n."""

    steps: int = Field(gt=1)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    schedule: ScheduleConfig = ScheduleConfig()
    momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    noise: NoiseConfig
    batches: Literal["poisson", "shuffled"] = "poisson"
    checkpoints: int = Field(default=35, ge=2)
    spacing: Spacing = Field(default="even", description="of the checkpoints over the steps")
    seed: int = Field(default=0, ge=0)

    def heuristic_reasons(self, batch_statistics: bool) -> tuple[str, ...]:
        """Why privacy losses of this run are a heuristic and not those of the analysed mechanism (sections 1, 2)."""
        reasons = []
        if self.noise.convention == "implicit":
            reasons.append("plain SGD: the noise is only assumed")
        if self.batches == "shuffled":
            reasons.append("shuffled batches: the divergence is that of Poisson sampling")
        if self.momentum and self.noise.convention in ("langevin", "weights"):
            reasons.append("momentum with noise added to the weights")
        if batch_statistics:
            reasons.append("BatchNorm: a record's gradient depends on the rest of its batch")
        return tuple(reasons)
