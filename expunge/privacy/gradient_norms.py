"""How large is each record's gradient? The L2 norm over all trainable parameters, one number per example.

Exact for every model: one forward and one backward pass (`one_pass`) where every use of a parameter is understood, one
gradient per example (`functional_pass`) elsewhere. Which one is decided by a trial that is checked (`norm_ways`).
METHOD section 1: g(x) is the gradient of the loss of the single record x, unclipped, in eval mode (section 2).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from expunge.errors import ExpungeError, UsageError
from expunge.privacy.batches import Inputs, count, map_tensors, rows, tensors
from expunge.privacy.losses import Loss, find_loss
from expunge.privacy.norm_ways import Way, try_one_pass
from expunge.privacy.parameter_uses import Ambiguous, NotCovered
from expunge.privacy.pass_sizes import examples_at_once
from expunge.privacy.settled_ways import Settled, recall, remember

_MOST_AT_ONCE = 4096


class NormsNotFinite(ExpungeError):
    """Gradient norms are NaN or infinite; `rows` says of which examples."""

    def __init__(self, rows: tuple[int, ...]) -> None:
        super().__init__(
            f"The loss or gradient of {len(rows)} record(s) is NaN or infinite; the first is at row {rows[0]}.",
            "Look at these records and at the weights; lower the learning rate if training was diverging.",
        )
        self.rows = rows


def per_example_gradient_norms(
    model: nn.Module,
    inputs: Inputs,
    targets: Any,
    *,
    loss: str | Loss | nn.Module = "cross_entropy",
    chunk: int | None = None,
) -> Tensor:
    """L2 norm of each example's loss gradient over all parameters with requires_grad.

    The model runs in eval mode (every submodule's mode is restored), under its own dtype and device. Its .grad fields,
    buffers, hooks and the random state are left as they were, also when an exception is raised.

    Args:
        model: maps inputs [n, ...] to what the loss takes.
        inputs: [n, ...], of the model's dtype and device; or a tuple or dict of such tensors, the model's arguments.
        targets: what the loss takes, [n, ...]; class numbers int64 [n] for cross-entropy.
        loss: a name of `losses.NAMED`, a callable (outputs, targets) -> [n], or a loss module of torch (`find_loss`).
        chunk: most examples per pass; fewer are taken where inputs or the model are large.

    Returns:
        Norms [n], in the dtype and on the device of the parameters.

    Raises:
        UsageError: no trainable parameter; inputs, targets, outputs and loss that do not fit together; a BatchNorm
            layer that uses the batch's statistics, which makes examples depend on each other; chunk < 1.
        NormsNotFinite: a NaN or infinite loss or gradient, naming the rows.
    """
    model = getattr(model, "_orig_mod", model)  # the module inside a torch.compile wrapper
    refuse(model, inputs, targets, chunk)
    dtype, device = next((p.dtype, p.device) for p in model.parameters() if p.requires_grad)
    if count(inputs) == 0:
        return torch.zeros(0, dtype=dtype, device=device)
    passes = Passes(Way(model, find_loss(loss)), chunk)
    if (settled := recall(model, loss, inputs)) is not None:
        passes.go_on_as(settled)
    with quiet_evaluation(model):
        inputs, targets = map_tensors(inputs, plain), map_tensors(targets, plain)
        norms = passes.norms(inputs, targets).to(dtype=dtype, device=device)
    if passes.fast:
        remember(model, loss, inputs, passes.settled)
    if not norms.isfinite().all():
        raise NormsNotFinite(tuple(torch.nonzero(~norms.isfinite()).flatten().tolist()))
    return norms


class Passes:
    """Norms batch by batch. The one pass is tried on the first, and kept if it is right; `reason` says why not."""

    def __init__(self, way: Way, most: int | None = None) -> None:
        self.way, self.most = way, most or _MOST_AT_ONCE
        self.fast: bool | None = None
        self.reason = ""
        self.at_once = 0  # not known yet

    @property
    def settled(self) -> Settled:
        """What later passes of the same kind need not find out again."""
        return Settled(self.way.channels_last, self.at_once)

    def go_on_as(self, settled: Settled) -> None:
        """The one pass was found right in an earlier call."""
        self.fast, self.way.channels_last, self.at_once = True, settled.channels_last, settled.at_once

    def weights_changed(self) -> None:
        """Try again: what was right for other weights proves nothing for these."""
        self.fast = None

    def norms(self, inputs: Any, targets: Any) -> Tensor:
        """Norms float64 [n], n >= 1. The model is in eval mode."""
        self.at_once = self.at_once or examples_at_once(self.way.model, inputs)
        n, size = count(inputs), min(self.most, self.at_once)
        done: list[Tensor] = []
        at = 0
        while at < n and self.fast is not False:
            # a last batch of one could not show that examples interact, nor vouch for the pass
            some = slice(at, n if self.fast is None and n - at <= size + 1 else at + size)
            try:
                done.append(self._pass(rows(inputs, some), rows(targets, some)))
            except Ambiguous:  # another axis is as long: any other size will do
                size = min(size, n - at) - 1
                if size < 1:
                    self.fast, self.reason = False, "no size of the batch tells its axis from the others"
                continue
            except NotCovered as error:  # another batch may take another path through the model
                self.fast, self.reason = False, str(error)
                break
            at += len(done[-1])
        if at < n:
            done.append(self.way.definition(rows(inputs, slice(at, n)), rows(targets, slice(at, n)), self.most))
        return torch.cat(done)

    def _pass(self, inputs: Any, targets: Any) -> Tensor:
        if self.fast:
            return self.way.one_pass(inputs, targets)
        verdict = try_one_pass(self.way, inputs, targets)
        if verdict.norms is None:
            raise NotCovered(verdict.reason)
        self.fast = True
        return verdict.norms


def refuse(model: nn.Module, inputs: Any, targets: Any, chunk: int | None) -> None:
    """Raises UsageError for what no pass can make sense of."""
    if not isinstance(model, nn.Module):
        raise UsageError(f"model must be a torch.nn.Module; got {type(model).__name__}.")
    if chunk is not None and chunk < 1:
        raise UsageError(f"chunk must be 1 or more; got {chunk}.")
    if not any(p.requires_grad for p in model.parameters()):
        raise UsageError("The model has no trainable parameter.", "Set requires_grad on what was trained.")
    given = [*tensors(inputs), *tensors(targets)]
    if not given or not all(isinstance(value, Tensor) for value in given):
        raise UsageError("inputs and targets must be tensors with one row per example.")
    if any(value.ndim == 0 for value in given) or len({len(value) for value in given}) > 1:
        shapes = [tuple(value.shape) for value in given]
        raise UsageError(f"inputs and targets {shapes} must be [n, ...] and [n, ...], n the same.")
    for name, layer in model.named_modules():
        if isinstance(layer, _BatchNorm) and (layer.running_mean is None or layer.running_var is None):
            raise UsageError(
                f"{name or 'The model'} ({type(layer).__name__}) has no running statistics, so it normalises by the "
                "batch even in eval mode and a record has no gradient of its own.",
                "Use GroupNorm, or track_running_stats=True.",
            )


def plain(values: Tensor) -> Tensor:
    """Without history, and usable by autograd even where made under inference_mode."""
    return values.clone() if values.is_inference() else values.detach()


@contextlib.contextmanager
def quiet_evaluation(model: nn.Module) -> Iterator[None]:
    """Eval mode with gradients on, all of it undone afterwards.

    Flags are set one by one, not through eval(), which models override.
    """
    modes = [(layer, layer.training) for layer in model.modules()]
    try:
        for layer, _ in modes:
            layer.training = False
        with _unfused_attention(), recurrent_backward(model), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for layer, training in modes:
            layer.training = training


@contextlib.contextmanager
def recurrent_backward(model: nn.Module) -> Iterator[None]:
    """cuDNN's recurrent layers have no backward pass in eval mode: on a GPU they go without cuDNN meanwhile."""
    recurrent = any(isinstance(layer, nn.RNNBase) for layer in model.modules())
    if not (recurrent and any(p.is_cuda for p in model.parameters())):
        yield
        return
    with torch.backends.cudnn.flags(enabled=False):
        yield


_switch = threading.Lock()
_inside = 0
_fused_before = True


@contextlib.contextmanager
def _unfused_attention() -> Iterator[None]:
    """The fused attention kernel of eval mode has no derivative. The switch is the process's: the last one resets."""
    global _inside, _fused_before
    with _switch:
        if _inside == 0:
            _fused_before = torch.backends.mha.get_fastpath_enabled()
            torch.backends.mha.set_fastpath_enabled(False)
        _inside += 1
    try:
        yield
    finally:
        with _switch:
            _inside -= 1
            if _inside == 0:
                torch.backends.mha.set_fastpath_enabled(_fused_before)
