"""What the unlearning methods of the literature descend instead of the training loss: L1-sparse, NegGrad+, SCRUB.

Every objective returns the SUM that the update divides by the fixed b (METHOD section 1), so that a mean over another
number of records is multiplied by b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from expunge.training import TrainingConfig
from expunge.training.gradients import Tensors, gradient_sum
from expunge.training.randomness import generator
from expunge.training.state import TrainingState


@dataclass(frozen=True)
class L1Penalty:
    """Training loss plus strength * (1 - progress) * ||w||_1 (Jia et al. 2023, arXiv 2304.04934, linear decay).

    first, steps: where the run begins and how long it is, which is what progress is counted by.
    """

    config: TrainingConfig
    first: int
    steps: int
    strength: float

    def __call__(
        self, model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, rows: Tensor, step: int
    ) -> tuple[Tensors, Tensor]:
        sums, loss = gradient_sum(model, state, x[rows], y[rows], self.config.noise.clip)
        weight = self.config.batch_size * self.strength * (1 - (step - self.first) / self.steps)
        return {name: sums[name] + weight * state.params[name].sign() for name in sums}, loss


@dataclass(frozen=True, eq=False)
class ForgetBatches:
    """The records to forget [m, ...], [m], in batches of at most b, drawn from the run's seed."""

    x: Tensor
    y: Tensor
    config: TrainingConfig

    @property
    def size(self) -> int:
        return min(self.config.batch_size, len(self.y))

    @property
    def epoch(self) -> int:
        """Batches that hold every record once."""
        return math.ceil(len(self.y) / self.size)

    def rows(self, number: int) -> Tensor:
        """Batch ``number`` of the run, int64 [at most size], on the device of the records."""
        epoch, place = divmod(number, self.epoch)
        order = torch.randperm(len(self.y), generator=generator(self.config.seed, "forget epoch", epoch))
        return order[place * self.size : (place + 1) * self.size].to(self.y.device)


@dataclass(frozen=True, eq=False)
class NegGradPlus:
    """beta * mean retain loss - (1 - beta) * mean forget loss (Kurmanji et al. 2023, arXiv 2302.09880, section 3).

    first: where the run begins; a batch of both a step.
    """

    forget: ForgetBatches
    first: int
    beta: float

    def __call__(
        self, model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, rows: Tensor, step: int
    ) -> tuple[Tensors, Tensor]:
        config, chosen = self.forget.config, self.forget.rows(step - self.first)
        down, loss = gradient_sum(model, state, x[rows], y[rows], config.noise.clip)
        up, _ = gradient_sum(model, state, self.forget.x[chosen], self.forget.y[chosen], config.noise.clip)
        scale = (1 - self.beta) * config.batch_size / len(chosen)
        return {name: self.beta * down[name] - scale * up[name] for name in down}, loss


@dataclass(frozen=True, eq=False)
class Scrub:
    """SCRUB (Kurmanji et al. 2023, section 4 and algorithm 1): a student leaves its teacher on the forget records.

    Epochs over the forget set that maximise the divergence from the teacher alternate with epochs over the retain set
    that minimise gamma * cross-entropy + alpha * divergence; after ``max_share`` of the run only the latter follow.
    The divergence is T^2 KL(teacher || student) at temperature T, as in the authors' code. At the very first step the
    student is its teacher and the slope of their divergence zero: a forget set of one batch is left from the second
    cycle on.

    teacher, teacher_forget: the original's logits [n, K] on the retain and [m, K] on the forget records, in eval mode.
    first, steps: where the run begins and how long it is; epoch: steps of one epoch over the retain set.
    """

    forget: ForgetBatches
    teacher: Tensor
    teacher_forget: Tensor
    first: int
    steps: int
    epoch: int
    alpha: float
    gamma: float
    temperature: float
    max_share: float

    def maximises(self, step: int) -> int | None:
        """The number of the forget batch whose divergence this step maximises; None where it minimises."""
        up = self.forget.epoch
        cycle, place = divmod(step - self.first, up + self.epoch)
        early = cycle == 0 or cycle * (up + self.epoch) < self.max_share * self.steps
        return cycle * up + place if place < up and early else None

    def __call__(
        self, model: nn.Module, state: TrainingState, x: Tensor, y: Tensor, rows: Tensor, step: int
    ) -> tuple[Tensors, Tensor]:
        leaves = {name: weight.detach().requires_grad_(True) for name, weight in state.params.items()}

        def logits(inputs: Tensor) -> Tensor:
            outputs: Tensor = functional_call(model, {**leaves, **state.buffers}, (inputs,))
            return outputs

        number = self.maximises(step)
        if number is not None:
            chosen = self.forget.rows(number)
            apart = self._divergence(logits(self.forget.x[chosen]), self.teacher_forget[chosen])
            loss = -apart * self.forget.config.batch_size / len(chosen)
        else:
            student = logits(x[rows])
            loss = self.gamma * F.cross_entropy(student, y[rows], reduction="sum")
            loss = loss + self.alpha * self._divergence(student, self.teacher[rows])
        grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        found = zip(leaves.items(), grads, strict=True)
        return {name: torch.zeros_like(w) if g is None else g for (name, w), g in found}, loss.detach()

    def _divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Summed over records."""
        t = self.temperature
        log_q, p = F.log_softmax(student / t, dim=1), F.softmax(teacher / t, dim=1)
        return t**2 * F.kl_div(log_q, p, reduction="sum")
