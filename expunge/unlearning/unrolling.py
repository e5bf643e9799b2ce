"""What did some records' own gradients move in the weights, up to a checkpoint? To first order, from the trajectory.

Unrolling SGD (Thudi et al. 2022, arXiv 2109.13398, section 4) expands training to first order: a record's part of the
weights is the sum of its own updates. They take the gradient at the initial weights for all of them; here it is taken
at the stored checkpoints, and Poisson sampling makes the expected update of a step eta_t q / b times the gradient.
What first order leaves out is how the other records answered: more so, the longer ago the push (METHOD section 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from expunge.data import RecordTable
from expunge.errors import NotFoundError, UsageError
from expunge.models import build_model
from expunge.privacy.gradient_norms import quiet_evaluation
from expunge.training import Checkpoint, TrainingConfig, Trajectory
from expunge.training.gradients import gradient_sum
from expunge.training.state import TrainingState

Tensors = dict[str, Tensor]
_CHUNK = 1024


class Pushes:
    """Adds up, node by node, by how much records moved the weights: the trapezoid rule over the steps.

    Momentum spreads an update over later steps: as a whole it is 1 / (1 - mu) times as large, and so is the decay that
    shrinks what was moved before, which goes through the same buffer.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.total: Tensors = {}
        self._last: tuple[int, float, Tensors] | None = None

    def add(self, step: int, lr: float, q: float, gradient: Mapping[str, Tensor]) -> Tensors:
        """`gradient` is the records' summed gradient at w_step; returns what they moved before that step."""
        rate = lr * q / (self.config.batch_size * (1 - self.config.momentum))
        now = {name: rate * value for name, value in gradient.items()}
        if self._last is None:
            if step != 0:
                raise UsageError(f"The first checkpoint is of step {step}: what was moved before it is not known.")
            self.total = {name: torch.zeros_like(value) for name, value in now.items()}
        else:
            before, old_lr, then = self._last
            gap = step - before
            kept = (1 - old_lr * self.config.weight_decay / (1 - self.config.momentum)) ** gap
            self.total = {
                name: kept * self.total[name] + gap / 2 * (kept * then[name] + value) for name, value in now.items()
            }
        self._last = (step, lr, now)
        return self.total


def needed_checkpoints(trajectory: Trajectory, step: int) -> tuple[Checkpoint, ...]:
    """Those whose gradients say what was moved before `step`: from initialisation to it.

    Raises NotFoundError where one of them was destroyed: what the records moved then cannot be told any more.
    """
    wanted = [c for c in trajectory.checkpoints if c.step <= step]
    gone = [c.step for c in wanted if c.destroyed]
    if gone or not wanted or wanted[0].step != 0:
        raise NotFoundError(
            f"What the records moved before step {step} cannot be told: checkpoints before it are gone.",
            "Rewind without it, or retrain.",
        )
    return tuple(wanted)


def pushed(
    trajectory: Trajectory, forget: RecordTable, points: Sequence[int], device: str = "cpu"
) -> dict[int, Tensors]:
    """What `forget` moved in the weights before each of `points`, parameter by parameter: w_c + this is without it.

    Args:
        points: steps of checkpoints. One pass over the forget records per checkpoint up to the last of them.

    Raises NotFoundError for a checkpoint that is gone, IntegrityError for one whose bytes changed.
    """
    model = build_model(trajectory.model_spec).to(device)
    x, y = torch.from_numpy(forget.features).to(device), torch.from_numpy(forget.targets).to(device)
    pushes, found = Pushes(trajectory.config), {}
    for checkpoint in needed_checkpoints(trajectory, max(points)):
        state = trajectory.state(checkpoint)
        on_device = TrainingState.from_tensors({k: v.to(device) for k, v in state.tensors().items()})
        gradient = summed_gradient(model, on_device, x, y, trajectory.config)
        total = pushes.add(checkpoint.step, checkpoint.lr, checkpoint.q, gradient)
        if checkpoint.step in points:
            # Kept aside: a calibration holds those of every pilot set at every point.
            found[checkpoint.step] = {name: value.cpu() for name, value in total.items()}
    missing = sorted(set(points) - set(found))
    if missing:
        raise NotFoundError(f"The trajectory holds no checkpoint at step {missing[0]}.")
    return found


def summed_gradient(
    model: torch.nn.Module, state: TrainingState, x: Tensor, y: Tensor, config: TrainingConfig
) -> Tensors:
    """The records' summed gradient at one state, as training takes it (clipped where it clips), in eval mode."""
    total: Tensors = {}
    clip = config.noise.clip
    # Clipping takes a gradient for every record of a chunk: no more at once than training does.
    chunk = _CHUNK if clip is None else config.batch_size
    for part_x, part_y in zip(x.split(chunk), y.split(chunk), strict=True):
        with quiet_evaluation(model):
            sums, _ = gradient_sum(model, state, part_x, part_y, clip)
        total = {name: total[name] + value if total else value for name, value in sums.items()}
    return total


def without(state: TrainingState, push: Mapping[str, Tensor], strength: float) -> TrainingState:
    """`state` with `strength` times the push taken back; buffers and momentum stay as they are."""
    made = TrainingState.from_tensors(state.tensors())
    for name, value in push.items():
        made.params[name] = made.params[name] + strength * value.to(made.params[name])
    return made
