"""The ways to forget behind one protocol: fine-tune, noisy fine-tune, rewind, retrain.

Each is a continuation of training on the retain set: from the last weights, from an earlier checkpoint, or from a
fresh initialisation. The original's b and q are kept (METHOD section 1). Each writes a new trajectory.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.models import ModelSpec
from expunge.training import NoiseConfig, ScheduleConfig, TrainingConfig, Trajectory, train
from expunge.training.schedule import learning_rate
from expunge.training.state import TrainingState
from expunge.training.trainer import Progress


@dataclass(frozen=True)
class Procedure:
    """How the model was made and how its like is made again: what retraining repeats, and on which device.

    Raises:
        UsageError: a device that this torch, or this machine, does not have.
    """

    spec: ModelSpec
    config: TrainingConfig
    sampling_rate: float
    device: str = "cpu"

    def __post_init__(self) -> None:
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise UsageError(
                f"Device {self.device!r} cannot be used here: {str(error).splitlines()[0].rstrip('.')}.",
                "Set device: cpu, or install torch for it.",
            ) from error

    @classmethod
    def of(cls, trajectory: Trajectory, device: str = "cpu") -> Procedure:
        """The procedure behind a trajectory; for an unlearned model that of its original."""
        base = trajectory.run.get("base_config", trajectory.run["config"])
        return cls(
            trajectory.model_spec,
            TrainingConfig.model_validate(base),
            float(trajectory.run["sampling_rate"]),
            device,
        )


@dataclass(frozen=True)
class Continuation:
    """A method made concrete: the training configuration and where it starts (None: from initialisation)."""

    config: TrainingConfig
    start: tuple[int, TrainingState] | None

    @property
    def steps(self) -> int:
        return self.config.steps - (self.start[0] if self.start else 0)


class Method(Protocol):
    """`amount` is the checkpoint to restart from (rewind), the steps to add (fine-tuning), nothing (retrain)."""

    name: str
    guarantee: Literal["exact", "empirical"]

    def continuation(self, trajectory: Trajectory, amount: int, seed: int) -> Continuation: ...


class Rewind:
    """Restart from an earlier checkpoint and finish the original schedule on the retain set.

    "Rewind-to-delete" (Mu and Klabjan 2024, arXiv 2409.09778) with the point chosen from privacy loss.
    """

    name = "rewind"
    guarantee: Literal["exact", "empirical"] = "empirical"

    def continuation(self, trajectory: Trajectory, amount: int, seed: int) -> Continuation:
        config = Procedure.of(trajectory).config.model_copy(update={"seed": seed})
        if amount >= config.steps:
            raise UsageError(f"Cannot rewind to step {amount}: training has {config.steps} steps.")
        return Continuation(config, (amount, trajectory.state(trajectory.at(amount))))


class NoisyFineTune:
    """Go on from the last weights on the retain set, with the training's own noise, at its last learning rate."""

    name = "noisy_fine_tune"
    guarantee: Literal["exact", "empirical"] = "empirical"
    noisy = True

    def continuation(self, trajectory: Trajectory, amount: int, seed: int) -> Continuation:
        if amount < 1:
            raise UsageError(f"Fine-tuning takes at least one step, not {amount}.")
        base, last = Procedure.of(trajectory).config, trajectory.final
        config = base.model_copy(
            update={
                "seed": seed,
                "steps": last.step + amount,
                "schedule": ScheduleConfig(),
                "learning_rate": learning_rate(base, base.steps - 1),
                "noise": base.noise if self.noisy else NoiseConfig(convention="implicit"),
            }
        )
        return Continuation(config, (last.step, trajectory.state(last)))


class FineTune(NoisyFineTune):
    """Go on from the last weights on the retain set, without noise."""

    name = "fine_tune"
    noisy = False


class Retrain:
    """Train again from initialisation on the retain set: exact by construction."""

    name = "retrain"
    guarantee: Literal["exact", "empirical"] = "exact"

    def continuation(self, trajectory: Trajectory, amount: int, seed: int) -> Continuation:
        return Continuation(Procedure.of(trajectory).config.model_copy(update={"seed": seed}), None)


METHODS: dict[str, Method] = {m.name: m for m in (FineTune(), NoisyFineTune(), Rewind(), Retrain())}


def apply(
    method: Method,
    trajectory: Trajectory,
    retain: RecordTable,
    amount: int,
    seed: int,
    directory: Path,
    facts: Mapping[str, Any],
    progress: Progress | None = None,
    looks: Collection[int] = (),
    stop: Callable[[int, TrainingState], bool] | None = None,
    device: str = "cpu",
) -> Trajectory:
    """Run one method and return the new trajectory, whose header names its parent and the procedure it stands for.

    `looks` and `stop` end a run early: see `expunge.training.train`.

    Raises NotFoundError when the checkpoint is gone, IntegrityError when its bytes are not those recorded, UsageError
    for a device that is not there.
    """
    procedure = Procedure.of(trajectory, device)
    continuation = method.continuation(trajectory, amount, seed)
    return train(
        procedure.spec,
        retain,
        continuation.config,
        directory,
        start=continuation.start,
        sampling_rate=procedure.sampling_rate,
        facts={
            **facts,
            "base_config": procedure.config.model_dump(mode="json"),
            "method": method.name,
            "amount": amount,
        },
        device=procedure.device,
        progress=progress,
        looks=looks,
        stop=stop,
    )
