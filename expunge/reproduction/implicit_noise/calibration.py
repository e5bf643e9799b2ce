"""Which known noise parts runs as far as their arithmetic did?

Runs with Gaussian noise of many sizes beside one without, all in float64, whose own rounding is far below what is
injected, and as one stack of models that see the same batches. Members of one draw have the same noise, scaled, so that
the curve over sizes is smooth where training is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from expunge.models import build_model
from expunge.reproduction.implicit_noise.runs import looks_of
from expunge.reproduction.world import World
from expunge.training import NoiseConfig, Trajectory
from expunge.training.gradients import summed_loss
from expunge.training.randomness import derived_seed, generator
from expunge.training.sampler import batch_rows
from expunge.training.schedule import learning_rate
from expunge.training.state import TrainingState, apply_update

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Injected:
    """What runs with noise did.

    Attributes:
        divergence: root mean square over coordinates of the distance from the run without noise, [members, looks].
        accuracy: held-out, of the last weights, [members]; of the run without noise: `noiseless`.
    """

    divergence: Array
    accuracy: Array
    noiseless: float


def inject(
    world: World,
    trajectory: Trajectory,
    scales: Sequence[float],
    seeds: Sequence[int],
    *,
    kick: bool = False,
    smooth: bool = False,
) -> Injected:
    """Train from the trajectory's start, on its batches, with Gaussian noise on the SUM of each batch's gradients.

    Args:
        scales: s of each member, [members]. seeds: of each member's noise.
        kick: noise in the first step only. smooth: with SiLU in place of every ReLU, to see what ReLU's kinks do.
    """
    config = trajectory.config
    noisy = config.model_copy(update={"noise": NoiseConfig(convention="mean_gradient", sigma=1.0)})
    model = _without_kinks(build_model(world.spec, derived_seed(config.seed, "init")), smooth).double()
    members = 1 + len(scales)
    single = TrainingState.of(model)
    state = TrainingState(*({k: _copies(v, members) for k, v in part.items()} for part in _parts(single)))
    x, y = torch.from_numpy(world.train.features), torch.from_numpy(world.train.targets)
    x = x.double() if x.is_floating_point() else x
    loss = summed_loss(model, single.buffers)
    sigmas = torch.tensor([0.0, *scales], dtype=torch.float64) / config.batch_size
    looks, divergence = looks_of(trajectory), []
    for step in range(config.steps):
        rows = batch_rows(config, config.seed, step, len(y), world.sampling_rate)
        sums = _gradient_sums(loss, state, x[rows], y[rows])
        scale = sigmas if step == 0 or not kick else torch.zeros_like(sigmas)
        noise = _draw(single.params, [0, *seeds], scale, step)
        apply_update(state, sums, noise, noisy, learning_rate(config, step))
        if step + 1 in looks:
            divergence.append(_distances(state))
    accuracy = _accuracies(model, state, world)
    return Injected(np.stack(divergence, axis=1), accuracy[1:], float(accuracy[0]))


def converted(divergence: Array, scales: Array, curve: Array) -> tuple[Array, Array]:
    """log10 s at each look of a run that diverged so far, and how much the look says, [looks] each.

    Between injected sizes log s is interpolated on log divergence; below the smallest they are taken as proportional,
    as they are where training is smooth, and above the largest the largest is all that can be said. What a look says
    is the squared slope of log divergence over log s there, 1 at most, for the error of log s is that of log divergence
    over the slope: where any noise parts runs equally far, nothing.

    Args:
        divergence: [looks], above 0. scales: s injected, [k], increasing. curve: divergences at them, [k, looks].
    """
    sizes = np.log10(scales)
    result, weight = np.empty(len(divergence)), np.empty(len(divergence))
    for look, at in enumerate(np.log10(divergence)):
        # More noise never means a smaller distance, except by chance.
        heights = np.maximum.accumulate(np.log10(curve[:, look]))
        slopes = np.diff(heights) / np.diff(sizes)
        place = int(np.searchsorted(heights, at, side="right"))
        result[look] = np.interp(at, heights, sizes) if place else sizes[0] + at - heights[0]
        weight[look] = np.clip(slopes[place - 1], 0.0, 1.0) ** 2 if 0 < place < len(sizes) else float(place == 0)
    return result, weight


def equivalent(divergence: Array, scales: Array, curve: Array) -> float:
    """log10 of the s whose runs diverge like this one: the weighted median over the looks; -inf where it never did.

    Where no look says anything it is the plain median.
    """
    parted = divergence > 0
    if not parted.any():
        return -np.inf
    found, weight = converted(divergence[parted], scales, curve[:, parted])
    weight = weight if weight.any() else np.ones_like(weight)
    order = np.argsort(found)
    share = np.cumsum(weight[order]) / weight.sum()
    return float(found[order][np.searchsorted(share, 0.5)])


def growth(divergence: Array, looks: Array) -> float:
    """Rate per step at which the logarithm of a kick's distance grows, by least squares."""
    return float(np.polyfit(looks, np.log(divergence), 1)[0])


def excess_over_proportion(scales: Array, divergence: Array) -> float:
    """By how many decades the distance over s exceeds that of the smallest s, at most; 0: always in proportion."""
    share = np.log10(divergence / scales)
    return float((share - share[np.argmin(scales)]).max())


def _parts(state: TrainingState) -> tuple[dict[str, Tensor], ...]:
    return state.params, {}, state.momentum


def _copies(tensor: Tensor, members: int) -> Tensor:
    return tensor.expand(members, *tensor.shape).clone()


def _gradient_sums(loss, state: TrainingState, x: Tensor, y: Tensor) -> dict[str, Tensor]:  # type: ignore[no-untyped-def]
    if not len(y):
        return {name: torch.zeros_like(weight) for name, weight in state.params.items()}
    leaves = {name: weight.detach().requires_grad_(True) for name, weight in state.params.items()}
    ones = torch.ones(len(y), dtype=torch.float64)
    losses = vmap(loss, in_dims=(0, None, None, None))(leaves, x, y, ones)
    return dict(zip(leaves, torch.autograd.grad(losses.sum(), list(leaves.values())), strict=True))


def _draw(params: dict[str, Tensor], seeds: Sequence[int], scale: Tensor, step: int) -> dict[str, Tensor]:
    """Noise of each member, [members, ...] by name; equal seeds draw the same."""
    names = sorted(params)
    sizes = [params[name].numel() for name in names]
    drawn: dict[int, Tensor] = {}
    for seed in {seed for seed, size in zip(seeds, scale.tolist(), strict=True) if size > 0}:
        drawn[seed] = torch.randn(sum(sizes), generator=generator(seed, "noise", step), dtype=torch.float64)
    nothing = torch.zeros(sum(sizes), dtype=torch.float64)
    whole = torch.stack([drawn.get(seed, nothing) for seed in seeds]) * scale[:, None]
    parts = whole.split(sizes, dim=1)
    return {name: part.view(len(seeds), *params[name].shape) for name, part in zip(names, parts, strict=True)}


def _distances(state: TrainingState) -> Array:
    weights = torch.cat([weight.flatten(1) for weight in state.params.values()], dim=1)
    distances: Array = (weights[1:] - weights[:1]).square().mean(dim=1).sqrt().numpy()
    return distances


def _accuracies(model: nn.Module, state: TrainingState, world: World) -> Array:
    x, y = torch.from_numpy(world.held_out.features), torch.from_numpy(world.held_out.targets)
    x = x.double() if x.is_floating_point() else x
    model.eval()
    with torch.no_grad():
        members = range(len(next(iter(state.params.values()))))
        outputs = [functional_call(model, {k: v[m] for k, v in state.params.items()}, (x,)) for m in members]
    return np.array([float((logits.argmax(dim=1) == y).double().mean()) for logits in outputs])


def _without_kinks(model: nn.Module, smooth: bool) -> nn.Module:
    for name, part in model.named_children():
        if smooth and isinstance(part, nn.ReLU):
            setattr(model, name, nn.SiLU())
        else:
            _without_kinks(part, smooth)
    return model
