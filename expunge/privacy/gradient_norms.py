"""How large is each record's gradient? The L2 norm over all trainable parameters, one number per example.

Exact for every model: known layers go through the fast rules of `layer_rules`, anything else through one gradient per
example (`functional_pass`). Which of the two is decided on every call, by a trial that is checked, in `norm_ways`.
METHOD section 1: g(x) is the gradient of the loss of the single record x, unclipped, in eval mode (section 2).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from expunge.errors import ExpungeError, UsageError
from expunge.privacy.functional_pass import VMAP_FAILURES, norms_by_loop, norms_by_vmap
from expunge.privacy.hooked_pass import NotCovered, covered_layers, norms_by_rules
from expunge.privacy.norm_ways import choose

_INPUT_CELLS = 1 << 19  # input entries per fast pass: bounds the activations kept (about 170 CIFAR images)
_MOST_AT_ONCE = 1024


class NormsNotFinite(ExpungeError):
    """Gradient norms are NaN or infinite; `rows` says of which examples."""

    def __init__(self, rows: tuple[int, ...]) -> None:
        super().__init__(
            f"The loss or gradient of {len(rows)} record(s) is NaN or infinite; the first is at row {rows[0]}.",
            "Look at these records and at the weights; lower the learning rate if training was diverging.",
        )
        self.rows = rows


def per_example_gradient_norms(
    model: nn.Module, inputs: Tensor, targets: Tensor, *, chunk: int | None = None
) -> Tensor:
    """L2 norm of each example's cross-entropy gradient over all parameters with requires_grad.

    The model runs in eval mode (every submodule's mode is restored), under its own dtype and device. Its .grad fields,
    buffers, hooks and the random state are left as they were, also when an exception is raised.

    Args:
        model: maps inputs [n, ...] to logits [n, classes].
        inputs: [n, ...], of the model's dtype and device; targets: class numbers int64 [n].
        chunk: most examples per pass; fewer are taken where inputs or the model are large.

    Returns:
        Norms [n], in the dtype and on the device of the parameters.

    Raises:
        UsageError: no trainable parameter; inputs, targets and outputs that do not fit together; a BatchNorm layer
            without running statistics, which makes examples depend on each other; chunk < 1.
        NormsNotFinite: a NaN or infinite loss or gradient, naming the rows.
    """
    model = getattr(model, "_orig_mod", model)  # the module inside a torch.compile wrapper
    _refuse(model, inputs, targets, chunk)
    dtype, device = next((p.dtype, p.device) for p in model.parameters() if p.requires_grad)
    if len(inputs) == 0:
        return torch.zeros(0, dtype=dtype, device=device)
    with _quiet_evaluation(model):
        norms = _norms(model, _plain(inputs), _plain(targets), chunk or _MOST_AT_ONCE).to(dtype=dtype, device=device)
    if not norms.isfinite().all():
        raise NormsNotFinite(tuple(torch.nonzero(~norms.isfinite()).flatten().tolist()))
    return norms


def _norms(model: nn.Module, inputs: Tensor, targets: Tensor, most: int) -> Tensor:
    """Tries the ways on the first examples, goes the fastest right one; falls back where it stops being possible."""
    size = min(most, max(8, _INPUT_CELLS // max(1, inputs[0].numel())))
    trial = max(2, size)  # one example cannot show that examples interact
    first = choose(model, inputs[:trial], targets[:trial])
    if first is not None:
        done = [first]
        try:
            rules = covered_layers(model)
            for i in range(len(first), len(inputs), size):
                done.append(norms_by_rules(model, rules, inputs[i : i + size], targets[i : i + size]))
            return torch.cat(done)
        except NotCovered:  # another batch may take another path through the model
            pass
    try:
        return norms_by_vmap(model, inputs, targets, most)
    except VMAP_FAILURES:
        return norms_by_loop(model, inputs, targets)


def _refuse(model: nn.Module, inputs: Tensor, targets: Tensor, chunk: int | None) -> None:
    if not isinstance(model, nn.Module):
        raise UsageError(f"model must be a torch.nn.Module; got {type(model).__name__}.")
    if chunk is not None and chunk < 1:
        raise UsageError(f"chunk must be 1 or more; got {chunk}.")
    if not any(p.requires_grad for p in model.parameters()):
        raise UsageError("The model has no trainable parameter.", "Set requires_grad on what was trained.")
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        raise UsageError("inputs and targets must be tensors with one row per example.")
    if inputs.ndim == 0 or targets.ndim != 1 or len(inputs) != len(targets):
        raise UsageError(
            f"inputs {tuple(inputs.shape)} and targets {tuple(targets.shape)} must be [n, ...] and [n], n the same."
        )
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm) and (layer.running_mean is None or layer.running_var is None):
            raise UsageError(
                f"{name or 'The model'} ({type(layer).__name__}) has no running statistics, so it normalises by the "
                "batch even in eval mode and a record has no gradient of its own.",
                "Use GroupNorm, or track_running_stats=True.",
            )


def _plain(values: Tensor) -> Tensor:
    """Without history, and usable by autograd even where made under inference_mode."""
    return values.clone() if values.is_inference() else values.detach()


@contextlib.contextmanager
def _quiet_evaluation(model: nn.Module) -> Iterator[None]:
    """Eval mode with gradients on, all of it undone afterwards.

    Flags are set one by one, not through eval(), which models override. The fused attention kernel of eval mode has no
    derivative, hence the switch.
    """
    modes = [(layer, layer.training) for layer in model.modules()]
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        for layer, _ in modes:
            layer.training = False
        torch.backends.mha.set_fastpath_enabled(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for layer, training in modes:
            layer.training = training
