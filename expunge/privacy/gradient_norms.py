"""How large is each record's gradient? The L2 norm over all trainable parameters, one number per example.

Exact for every model: known layers go through the fast rules of `layer_rules`, anything else through one gradient per
example (`functional_pass`). Which of the two is decided per model, and checked, in `norm_ways`.
METHOD section 1: g(x) is the gradient of the loss of the single record x, unclipped, in eval mode (section 2).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from expunge.errors import UsageError
from expunge.privacy.functional_pass import VMAP_FAILURES, norms_by_loop, norms_by_vmap
from expunge.privacy.hooked_pass import NotCovered, covered_layers, norms_by_rules
from expunge.privacy.norm_ways import Decisions, choose, decision_key
from expunge.privacy.per_example_loss import Loss, LossFunction, resolve_loss

DECISIONS = Decisions()

_INPUT_CELLS = 1 << 19  # input entries per fast pass: bounds the activations kept (about 170 CIFAR images)
_MOST_AT_ONCE = 1024


def per_example_gradient_norms(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss = "cross_entropy", *, chunk: int | None = None
) -> Tensor:
    """L2 norm of each example's gradient over all parameters with requires_grad.

    The model runs in eval mode (every submodule's mode is restored), under its own dtype and device. Its .grad fields,
    buffers, hooks and the random state are left as they were, also when an exception is raised. A norm that is not
    finite is returned as it is: only the caller knows which record and checkpoint to name.

    Args:
        model: maps inputs [n, ...] to outputs [n, ...].
        inputs: [n, ...]; targets: [n, ...].
        loss: "cross_entropy", "binary" (logits), "mse", or a callable (outputs, targets) -> losses [n].
        chunk: examples per pass; by default chosen from the sizes of the input and of the model.

    Returns:
        Norms [n], in the dtype and on the device of the parameters.

    Raises:
        UsageError: no trainable parameter; inputs and targets of different length; a loss that is unknown or not per
            example; a BatchNorm layer without running statistics, which makes examples depend on each other; chunk < 1.
    """
    model = getattr(model, "_orig_mod", model)  # the module inside a torch.compile wrapper
    _refuse(model, inputs, targets, chunk)
    per_example = resolve_loss(loss)
    dtype, device = next((p.dtype, p.device) for p in model.parameters() if p.requires_grad)
    if len(inputs) == 0:
        return torch.zeros(0, dtype=dtype, device=device)
    with _quiet_evaluation(model):
        inputs, targets = _plain(inputs), _plain(targets)
        norms = _norms(model, inputs, targets, per_example, loss, chunk)
    return norms.to(dtype=dtype, device=device)


def clip_factors(norms: Tensor, bound: float) -> Tensor:
    """min(1, C/norm) for each example: what DP-SGD multiplies its gradient by (Abadi et al. 2016, algorithm 1).

    Args:
        norms: [n]; 0 gives 1, inf gives 0, NaN stays NaN.
        bound: C > 0, in the units of the norms.

    Raises:
        UsageError: bound is not a positive number.
    """
    if not bound > 0:
        raise UsageError(f"bound must be above 0; got {bound!r}.")
    return (bound / norms).clamp(max=1.0)


def _norms(
    model: nn.Module, inputs: Tensor, targets: Tensor, per_example: LossFunction, loss: Loss, chunk: int | None
) -> Tensor:
    """Chooses a way for this model (or remembers it) and goes it; falls back where it stops being possible."""
    key = decision_key(model, inputs, loss)
    size = chunk or max(8, min(_MOST_AT_ONCE, _INPUT_CELLS // max(1, inputs[0].numel())))
    way = DECISIONS.recall(model, key)
    done: list[Tensor] = []
    if way is None:
        trial = max(2, size)  # one example cannot show that examples interact
        choice = choose(model, inputs[:trial], targets[:trial], per_example)
        way = choice.way
        done = [choice.norms] if choice.norms is not None else []
        if choice.sure:
            DECISIONS.remember(model, key, way)
    if way == "rules":
        try:
            rules = covered_layers(model)
            for i in range(sum(map(len, done)), len(inputs), size):
                done.append(norms_by_rules(model, rules, inputs[i : i + size], targets[i : i + size], per_example))
            return torch.cat(done)
        except NotCovered:  # another batch may take another path through the model
            way = "vmap"
    if way == "vmap":
        try:
            return norms_by_vmap(model, inputs, targets, per_example, chunk)
        except torch.OutOfMemoryError:
            pass  # may well fit another time
        except VMAP_FAILURES:
            DECISIONS.remember(model, key, "loop")
    return norms_by_loop(model, inputs, targets, per_example)


def _refuse(model: nn.Module, inputs: Tensor, targets: Tensor, chunk: int | None) -> None:
    if not isinstance(model, nn.Module):
        raise UsageError(f"model must be a torch.nn.Module; got {type(model).__name__}.")
    if chunk is not None and chunk < 1:
        raise UsageError(f"chunk must be 1 or more; got {chunk}.")
    if any(is_lazy(p) for p in model.parameters()):
        raise UsageError("The model has lazy parameters without a shape.", "Run it once on a batch first.")
    if not any(p.requires_grad for p in model.parameters()):
        raise UsageError("The model has no trainable parameter.", "Set requires_grad on what was trained.")
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        raise UsageError("inputs and targets must be tensors with one row per example.")
    if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets):
        raise UsageError(
            f"inputs {tuple(inputs.shape)} and targets {tuple(targets.shape)} must have the same first axis."
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
