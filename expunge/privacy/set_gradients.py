"""How do a forget set's gradients add up? The norm of their sum, or all their inner products, at one model or a run's.

METHOD sections 2 and 5: gradients of the single records' losses in eval mode, over all trainable parameters. The norm
of the sum takes one ordinary backward pass; the Gram matrix takes a gradient per record, held in chunks.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from expunge.data import RecordTable
from expunge.errors import ExpungeError, UsageError
from expunge.models import build_model
from expunge.privacy.batches import Inputs, call, count, map_tensors, rows
from expunge.privacy.functional_pass import VMAP_FAILURES
from expunge.privacy.gradient_norms import NormsNotFinite, per_example_gradient_norms, plain, quiet_evaluation, refuse
from expunge.privacy.losses import Loss, find_loss, losses
from expunge.training import Trajectory

Floats = npt.NDArray[np.float64]

_GRADIENT_CELLS = 1 << 25  # gradient entries in one of the two chunks held: 128 MB of float32
_MOST_AT_ONCE = 256


def sum_norm(
    model: nn.Module,
    inputs: Inputs,
    targets: Any,
    loss: str | Loss | nn.Module = "cross_entropy",
    *,
    weights: npt.ArrayLike | None = None,
    chunk: int = 128,
) -> float:
    """|| SUM_x weight_x grad loss(x) || over all parameters with requires_grad, in eval mode.

    Args:
        model, inputs, targets, loss: those of `per_example_gradient_norms`; the model is left as it was.
        weights: one factor per record, [n]: min(1, clip/||g||) where training clipped. Default 1.
        chunk: records per backward pass; the passes' gradients are added up in float64.

    Raises:
        UsageError: as `per_example_gradient_norms`; weights of another shape.
        ExpungeError: a sum that is NaN or infinite.
    """
    model = getattr(model, "_orig_mod", model)  # the module inside a torch.compile wrapper
    refuse(model, inputs, targets, chunk)
    measure, n = find_loss(loss), count(inputs)
    factors = torch.ones(n) if weights is None else torch.as_tensor(np.asarray(weights, dtype=np.float64))
    if factors.shape != (n,):
        raise UsageError(f"weights must have one value per record, [{n}]; got {tuple(factors.shape)}.")
    with quiet_evaluation(model):
        inputs, targets = map_tensors(inputs, plain), map_tensors(targets, plain)
        parameters, rest = _parameters(model)
        total = [torch.zeros(p.shape, dtype=torch.float64, device=p.device) for p in parameters.values()]
        for start in range(0, n, chunk):
            some = slice(start, min(start + chunk, n))
            outputs = _outputs(model, rows(inputs, some), rest, parameters)
            values = losses(measure, outputs, rows(targets, some), some.stop - start)
            slopes = _slopes((values * factors[some].to(values)).sum(), parameters)
            for sum_so_far, slope in zip(total, slopes, strict=True):
                sum_so_far += slope
        norm = float(torch.stack([part.square().sum() for part in total]).sum().sqrt())
    if not np.isfinite(norm):
        raise ExpungeError(
            "The sum of the set's gradients is NaN or infinite.", "Look at these records and at the weights."
        )
    return norm


def gradient_gram(
    model: nn.Module,
    inputs: Inputs,
    targets: Any,
    loss: str | Loss | nn.Module = "cross_entropy",
    *,
    chunk: int | None = None,
) -> Floats:
    """Inner products of the records' gradients <g_l, g_m>, float64 [n, n], in eval mode; for sets of some hundreds.

    Two chunks of gradients are held at a time and multiplied in float64, so a set that needs k chunks costs about k/2
    times the gradients of one that fits into one.

    Args:
        model, inputs, targets, loss: those of `per_example_gradient_norms`; the model is left as it was.
        chunk: records per chunk; by default as many as 128 MB of gradients hold, at most 256.

    Raises:
        UsageError: as `per_example_gradient_norms`.
        NormsNotFinite: a NaN or infinite gradient, naming the rows.
    """
    model = getattr(model, "_orig_mod", model)  # the module inside a torch.compile wrapper
    refuse(model, inputs, targets, chunk)
    measure, n = find_loss(loss), count(inputs)
    gram = np.zeros((n, n))
    with quiet_evaluation(model):
        inputs, targets = map_tensors(inputs, plain), map_tensors(targets, plain)
        parameters, _ = _parameters(model)
        size = sum(p.numel() for p in parameters.values())
        at_once = chunk or max(1, min(_MOST_AT_ONCE, _GRADIENT_CELLS // size))
        parts = [slice(start, min(start + at_once, n)) for start in range(0, n, at_once)]
        for i, left in enumerate(parts):
            first = _per_record(model, measure, rows(inputs, left), rows(targets, left))
            for right in parts[i:]:
                second = first
                if right != left:
                    second = _per_record(model, measure, rows(inputs, right), rows(targets, right))
                products = [one.double() @ other.double().T for one, other in zip(first, second, strict=True)]
                gram[left, right] = torch.stack(products).sum(0).cpu().numpy()
    gram = np.triu(gram) + np.triu(gram, 1).T
    wrong = ~np.isfinite(np.diag(gram))
    if wrong.any():
        raise NormsNotFinite(tuple(np.flatnonzero(wrong).tolist()))
    return gram


def trajectory_sum_norms(
    trajectory: Trajectory,
    table: RecordTable,
    record_ids: Sequence[str],
    loss: str | Loss | nn.Module = "cross_entropy",
    *,
    device: str = "cpu",
) -> Floats:
    """`sum_norm` of the records at every kept checkpoint, [c], clipped where training clipped (METHOD section 1).

    Raises:
        IntegrityError: a checkpoint that is missing or changed. NotFoundError: unknown ids. Others as `sum_norm`.
    """
    clip = trajectory.config.noise.clip

    def at(model: nn.Module, x: Tensor, y: Tensor) -> float:
        weights = None
        if clip is not None:
            norms = per_example_gradient_norms(model, x, y, loss=loss).double().cpu().numpy()
            weights = _clipping(norms, clip)
        return sum_norm(model, x, y, loss, weights=weights)

    return np.array(_along(trajectory, table, record_ids, device, at))


def trajectory_grams(
    trajectory: Trajectory,
    table: RecordTable,
    record_ids: Sequence[str],
    loss: str | Loss | nn.Module = "cross_entropy",
    *,
    device: str = "cpu",
) -> Floats:
    """`gradient_gram` of the records at every kept checkpoint, [c, m, m], clipped where training clipped.

    Raises:
        As `trajectory_sum_norms` and `gradient_gram`.
    """
    clip = trajectory.config.noise.clip

    def at(model: nn.Module, x: Tensor, y: Tensor) -> Floats:
        gram = gradient_gram(model, x, y, loss)
        if clip is None:
            return gram
        factors = _clipping(np.sqrt(np.diag(gram)), clip)
        return gram * factors[:, None] * factors

    return np.array(_along(trajectory, table, record_ids, device, at))


def _along(
    trajectory: Trajectory,
    table: RecordTable,
    record_ids: Sequence[str],
    device: str,
    at: Callable[[nn.Module, Tensor, Tensor], Any],
) -> list[Any]:
    records = table.select(record_ids)
    if not len(records):
        raise UsageError("The set is empty.", "Name at least one record.")
    model = build_model(trajectory.model_spec).to(device)
    x, y = torch.from_numpy(records.features).to(device), torch.from_numpy(records.targets).to(device)
    found = []
    for checkpoint in trajectory.kept:
        model.load_state_dict(trajectory.state(checkpoint).model_state())
        found.append(at(model, x, y))
    return found


def _clipping(norms: Floats, clip: float) -> Floats:
    """min(1, clip/||g||), 1 for a gradient of zero."""
    return np.minimum(1.0, clip / np.maximum(norms, np.finfo(np.float64).tiny))


def _parameters(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Copies of the trainable parameters, and the others with copies of the buffers: nothing is written to."""
    trained = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    fixed = {name: p.detach() for name, p in model.named_parameters() if not p.requires_grad}
    return trained, fixed | {name: buffer.clone() for name, buffer in model.named_buffers()}


def _outputs(model: nn.Module, inputs: Any, rest: dict[str, Tensor], parameters: dict[str, Tensor]) -> Any:
    for value in parameters.values():
        value.requires_grad_()
    return call(model, inputs, {**rest, **parameters})


def _slopes(value: Tensor, parameters: dict[str, Tensor]) -> list[Tensor]:
    """Gradients of `value`, zeros for a parameter that it does not use."""
    leaves = list(parameters.values())
    if not value.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    found = torch.autograd.grad(value, leaves, allow_unused=True)
    pairs = zip(leaves, found, strict=True)
    return [torch.zeros_like(leaf) if slope is None else slope.to_dense() for leaf, slope in pairs]


def _per_record(model: nn.Module, loss: Loss, inputs: Any, targets: Any) -> list[Tensor]:
    """Gradients of each record alone, one [n, size] for each parameter."""
    parameters, rest = _parameters(model)

    def one_loss(values: dict[str, Tensor], x: Any, y: Any) -> Tensor:
        outputs = call(model, map_tensors(x, lambda value: value[None]), {**rest, **values})
        return losses(loss, outputs, map_tensors(y, lambda value: value[None]), 1).squeeze(0)

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*performance drop.*")  # slower, not wrong
            every = vmap(grad(one_loss), in_dims=(None, 0, 0), randomness="error")(parameters, inputs, targets)
        return [slope.detach().flatten(1) for slope in every.values()]
    except VMAP_FAILURES:  # a model that cannot be vectorised; an error of the caller's own is raised again here
        single = []
        for i in range(count(inputs)):
            only = slice(i, i + 1)
            values = losses(loss, _outputs(model, rows(inputs, only), rest, parameters), rows(targets, only), 1)
            single.append(_slopes(values.squeeze(0), parameters))
        return [torch.stack(slopes).flatten(1) for slopes in zip(*single, strict=True)]
