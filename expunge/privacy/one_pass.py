"""What are the per-example gradient norms, by one forward and one backward pass over the batch?

The uses of every parameter are recorded in the forward pass (`parameter_uses`), and turned into norms as the slopes
come by in the backward pass. Slopes are rescaled at the model's outputs, where an example's gradient enters as a
factor, so that the squares of a record's tiny gradient do not underflow.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.rnn import RNNBase
from torch.nn.utils.rnn import PackedSequence

import expunge.privacy.layer_handlers
import expunge.privacy.recurrent_layers  # noqa: F401  both register their handlers
from expunge.privacy.batches import call, count
from expunge.privacy.kernel_choice import KernelChoice
from expunge.privacy.losses import Loss, losses
from expunge.privacy.parameter_uses import UseRecorder


def norms_in_one_pass(
    model: nn.Module,
    loss: Loss,
    inputs: Any,
    targets: Any,
    choice: KernelChoice | None = None,
    low_precision: bool = False,
) -> Tensor:
    """Norms [n], float64. Hooks are removed whatever happens.

    Raises:
        NotCovered: the model does something that no handler knows.
        Ambiguous: another axis is as long as the batch.
        UsageError: outputs and targets do not fit, or the loss is not one number per record.
    """
    n = count(inputs)
    recorder = UseRecorder(model, n, choice or KernelChoice(), low_precision)
    handles = [
        layer.register_forward_pre_hook(_note_order(recorder))
        for layer in model.modules()
        if isinstance(layer, RNNBase)
    ]
    try:
        # copies of the buffers: a model that counts its calls must not notice this one
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        with recorder:
            outputs = call(model, inputs, buffers)
            values = losses(loss, outputs, targets, n)
        scale = _output_slopes(outputs, values)
        return recorder.norms(values, (1 / scale).to(values.dtype)).sqrt() * scale
    finally:
        for handle in handles:
            handle.remove()
        recorder.close()


def _output_slopes(outputs: Any, values: Tensor) -> Tensor:
    """For each example the size of the loss's derivative by the outputs, float64 [n]; 1 where it cannot be told."""
    n = len(values)
    one = torch.ones(n, dtype=torch.float64, device=values.device)
    if not isinstance(outputs, Tensor) or outputs.ndim == 0 or len(outputs) != n or not outputs.requires_grad:
        return one
    slopes = torch.autograd.grad(values.sum(), outputs, retain_graph=True, allow_unused=True)[0]
    if slopes is None:
        return one
    size = torch.linalg.vector_norm(slopes.flatten(1), dim=1, dtype=torch.float64) if slopes.ndim > 1 else slopes.abs()
    size = size.to(torch.float64)
    return torch.where((size > 0) & size.isfinite(), size, one)


def _note_order(recorder: UseRecorder) -> Any:
    """Packed sequences come sorted by length: which example is each row?"""

    def note(layer: nn.Module, args: tuple[Any, ...]) -> None:
        packed = args[0] if args and isinstance(args[0], PackedSequence) else None
        recorder.packed_order = None if packed is None else packed.sorted_indices

    return note
