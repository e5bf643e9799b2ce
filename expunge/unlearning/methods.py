"""The ways to forget behind one class: tuning, rewinding, retraining, L1-sparse; NegGrad+ and SCRUB to compare.

Each is a continuation of training on the retain set: from the last weights, from an earlier checkpoint, or from a
fresh initialisation. The original's b and q are kept (METHOD section 1). Each writes a new trajectory. NegGrad+ and
SCRUB are what the field compares with, and are labelled as baselines. They, and an unrolled rewind, read the records
to forget.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.models import ModelSpec, build_model, uses_batch_statistics
from expunge.training import NoiseConfig, ScheduleConfig, TrainingConfig, Trajectory, predict, train
from expunge.training.schedule import learning_rate, scored_steps
from expunge.training.state import TrainingState
from expunge.training.trainer import Objective, Progress
from expunge.unlearning import objectives, unrolling
from expunge.unlearning.objectives import ForgetBatches, L1Penalty


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


@dataclass(frozen=True)
class Given:
    """What a method's objective is made from: the procedure, the run to come, and the records on both sides."""

    procedure: Procedure
    made: Continuation
    retain: RecordTable
    forget: RecordTable | None

    @property
    def start(self) -> tuple[int, TrainingState]:
        """Where the run goes on from: methods with an objective do not begin at initialisation."""
        assert self.made.start is not None
        return self.made.start

    def forgotten(self, name: str) -> RecordTable:
        """The records to forget, for a method that reads them. Raises UsageError where it cannot."""
        if self.forget is None:
            raise UsageError(f"{name} reads the records to forget, and none were given.", "Give them, or rewind.")
        one_left = len(self.forget) % self.made.config.batch_size == 1
        if one_left and uses_batch_statistics(build_model(self.procedure.spec)):
            raise UsageError(
                f"{name} would see a batch of one record to forget, of which BatchNorm has no statistics.",
                "Rewind, or use a model without batch statistics (model.options.norm=group).",
            )
        return self.forget

    def batches(self, name: str) -> ForgetBatches:
        """The same in batches. Raises UsageError as `forgotten`."""
        records, device = self.forgotten(name), self.procedure.device
        x, y = torch.from_numpy(records.features), torch.from_numpy(records.targets)
        return ForgetBatches(x.to(device), y.to(device), self.made.config)

    def answers(self, records: RecordTable) -> torch.Tensor:
        """Logits [n, K] of the model that the run starts from, in eval mode."""
        procedure = self.procedure
        logits = predict(procedure.spec, self.start[1].model_state(), records, procedure.device)
        return torch.from_numpy(logits).to(procedure.device)


class Method(ABC):
    """`amount` is the checkpoint to restart from (rewind), the steps to add (fine-tuning), nothing (retrain).

    baseline: a published method to compare with, never chosen by a plan of its own accord.
    """

    name: str
    guarantee: Literal["exact", "empirical"] = "empirical"
    baseline: bool = False

    numbers: tuple[str, ...] = ()

    @property
    def parameters(self) -> dict[str, float]:
        """The method's own `numbers`, for the run's header."""
        return {name: getattr(self, name) for name in self.numbers}

    @abstractmethod
    def continuation(self, trajectory: Trajectory, amount: int, seed: int) -> Continuation:
        """Raises UsageError for an amount that is not possible."""

    def prepared(
        self, made: Continuation, trajectory: Trajectory, forget: RecordTable | None, device: str
    ) -> Continuation:
        """The continuation with its start changed by a method that changes it. Raises UsageError when it lacks data."""
        return made

    def objective(self, given: Given) -> Objective | None:
        """What is descended instead of the training loss; None for that. Raises UsageError when it lacks something."""
        return None

    def cost(self, procedure: Procedure, steps: int, forget_records: int) -> float:
        """Of `steps`, in retrainings: records through forward and backward."""
        return steps / procedure.config.steps


class Rewind(Method):
    """Restart from an earlier checkpoint and finish the original schedule on the retain set.

    "Rewind-to-delete" (Mu and Klabjan 2024, arXiv 2409.09778) with the point chosen from privacy loss.
    """

    name = "rewind"

    def continuation(self, trajectory: Trajectory, amount: int, seed: int) -> Continuation:
        config = Procedure.of(trajectory).config.model_copy(update={"seed": seed})
        if amount >= config.steps:
            raise UsageError(f"Cannot rewind to step {amount}: training has {config.steps} steps.")
        return Continuation(config, (amount, trajectory.state(trajectory.at(amount))))


class UnrolledRewind(Rewind):
    """Rewind, take back what the records themselves had moved in the weights by then, and finish the schedule.

    To first order (``unrolling``); `strength` below 1 allows for what first order leaves out: the other records had
    answered part of the push. What is left of either is trained away. Chosen here; calibration says which strength.
    """

    name = "unrolled_rewind"
    numbers = ("strength",)

    def __init__(self, strength: float = 0.5) -> None:
        self.strength = strength

    def prepared(
        self, made: Continuation, trajectory: Trajectory, forget: RecordTable | None, device: str
    ) -> Continuation:
        if forget is None:
            raise UsageError(f"{self.name} reads the records to forget, and none were given.", "Give them, or rewind.")
        assert made.start is not None
        step, state = made.start
        push = unrolling.pushed(trajectory, forget, (step,), device)[step]
        return Continuation(made.config, (step, unrolling.without(state, push, self.strength)))

    def cost(self, procedure: Procedure, steps: int, forget_records: int) -> float:
        """Counts the forget records once for every checkpoint up to the one it goes back to."""
        passes = sum(step <= procedure.config.steps - steps for step in scored_steps(procedure.config))
        read = passes * forget_records / (procedure.config.batch_size * procedure.config.steps)
        return super().cost(procedure, steps, forget_records) + read


class Keep(Method):
    """Change nothing: for records of which nothing measurable was remembered, the proof is all there is to do."""

    name = "keep"

    def continuation(self, trajectory: Trajectory, amount: int, seed: int) -> Continuation:
        last = trajectory.final
        config = Procedure.of(trajectory).config.model_copy(update={"seed": seed, "steps": last.step})
        return Continuation(config, (last.step, trajectory.state(last)))


class NoisyFineTune(Method):
    """Go on from the last weights on the retain set, with the training's own noise, at its last learning rate."""

    name = "noisy_fine_tune"
    rate_share = 1.0  # of the training's last learning rate
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
                "learning_rate": self.rate_share * learning_rate(base, base.steps - 1),
                "noise": base.noise if self.noisy else NoiseConfig(convention="implicit"),
            }
        )
        return Continuation(config, (last.step, trajectory.state(last)))


class FineTune(NoisyFineTune):
    """Go on from the last weights on the retain set, without noise."""

    name = "fine_tune"
    noisy = False


class Retrain(Method):
    """Train again from initialisation on the retain set: exact by construction."""

    name = "retrain"
    guarantee = "exact"

    def continuation(self, trajectory: Trajectory, amount: int, seed: int) -> Continuation:
        return Continuation(Procedure.of(trajectory).config.model_copy(update={"seed": seed}), None)


class L1Sparse(FineTune):
    """Fine-tune with an L1 penalty that falls linearly to zero (Jia et al. 2023, arXiv 2304.04934)."""

    name = "l1_sparse"
    numbers = ("strength",)
    strength = 5e-4  # theirs

    def objective(self, given: Given) -> Objective:
        return L1Penalty(given.made.config, given.start[0], given.made.steps, self.strength)


class NegGradPlus(FineTune):
    """Down the retain loss and up the forget loss at once (Kurmanji et al. 2023, arXiv 2302.09880)."""

    name = "neggrad_plus"
    baseline = True
    numbers = ("beta",)
    beta = 0.95  # theirs where they do not tune it

    def objective(self, given: Given) -> Objective:
        return objectives.NegGradPlus(given.batches(self.name), given.start[0], self.beta)

    def cost(self, procedure: Procedure, steps: int, forget_records: int) -> float:
        batch = procedure.config.batch_size
        return super().cost(procedure, steps, forget_records) * (1 + min(batch, forget_records) / batch)


class Scrub(FineTune):
    """A student that leaves its teacher on the forget records alone (Kurmanji et al. 2023, arXiv 2302.09880).

    alpha, gamma, temperature and the share of epochs that maximise are those of the authors' small experiments.
    """

    name = "scrub"
    baseline = True
    numbers = ("alpha", "gamma", "temperature", "max_share")
    alpha, gamma, temperature, max_share = 0.5, 1.0, 2.0, 0.3

    def objective(self, given: Given) -> Objective:
        teacher, teacher_forget = (given.answers(own) for own in (given.retain, given.forgotten(self.name)))
        return objectives.Scrub(
            given.batches(self.name), teacher, teacher_forget, given.start[0], given.made.steps,
            round(1 / given.procedure.sampling_rate), self.alpha, self.gamma, self.temperature, self.max_share,
        )  # fmt: skip

    def cost(self, procedure: Procedure, steps: int, forget_records: int) -> float:
        """Counts the teacher's answers, a forward pass over all records, as a third of a pass with its backward."""
        teacher = 1 / (3 * procedure.sampling_rate * procedure.config.steps)
        return super().cost(procedure, steps, forget_records) + teacher


METHODS: dict[str, Method] = {
    m.name: m
    for m in (
        FineTune(), NoisyFineTune(), L1Sparse(), Rewind(), UnrolledRewind(), Keep(), Retrain(), NegGradPlus(), Scrub()
    )
}  # fmt: skip
# Those whose every step descends the training loss: they can be trained in stacks.
PLAIN = tuple(name for name, method in METHODS.items() if type(method).objective is Method.objective)


def method_of(name: str, strength: float | None = None) -> Method:
    """The method of a plan: its name, and the strength of an unrolled rewind."""
    return UnrolledRewind(strength) if name == UnrolledRewind.name and strength is not None else METHODS[name]


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
    forget: RecordTable | None = None,
) -> Trajectory:
    """Run one method and return the new trajectory, whose header names its parent and the procedure it stands for.

    `forget` is read by baselines and by an unrolled rewind. `looks` and `stop` end a run early: see
    `expunge.training.train`.

    Raises NotFoundError when the checkpoint is gone, IntegrityError when its bytes are not those recorded, UsageError
    for a device that is not there.
    """
    procedure = Procedure.of(trajectory, device)
    continuation = method.prepared(method.continuation(trajectory, amount, seed), trajectory, forget, procedure.device)
    objective = method.objective(Given(procedure, continuation, retain, forget))
    return train(
        procedure.spec,
        retain,
        continuation.config,
        directory,
        start=continuation.start,
        sampling_rate=procedure.sampling_rate,
        facts={
            **facts,
            **method.parameters,
            "base_config": procedure.config.model_dump(mode="json"),
            "method": method.name,
            "amount": amount,
        },
        device=procedure.device,
        progress=progress,
        looks=looks,
        stop=stop,
        objective=objective,
    )
