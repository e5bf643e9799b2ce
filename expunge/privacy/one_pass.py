"""What are the per-example gradient norms, by one forward and one backward pass over the batch?

The uses of every parameter are recorded in the forward pass (`parameter_uses`), and turned into norms as the slopes
come by in the backward pass. Where a record's gradient is so small that squares may underflow, the pass is run again
with the slopes rescaled at the model's outputs, where an example's gradient enters as a factor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.rnn import RNNBase
from torch.nn.utils.rnn import PackedSequence

import expunge.privacy.expression_handlers
import expunge.privacy.layer_handlers
import expunge.privacy.normalisation_handlers
import expunge.privacy.recurrent_layers  # noqa: F401  they register their handlers
from expunge.privacy.batches import call, count
from expunge.privacy.kernel_choice import KernelChoice
from expunge.privacy.losses import Loss, losses
from expunge.privacy.parameter_uses import UseRecorder

_LEAST = 1e-24  # squared norms below this may have lost entries to underflow in float32


def norms_in_one_pass(
    model: nn.Module,
    loss: Loss,
    inputs: Any,
    targets: Any,
    choice: KernelChoice | None = None,
    low_precision: bool = False,
    channels_last: bool = False,
) -> Tensor:
    """Norms [n], float64. Hooks are removed whatever happens.

    `channels_last`: convolutions work in that memory format, as the fastest plain pass does. What a model does with
    their outputs must not depend on it (a `view` across channels raises RuntimeError).

    Raises:
        NotCovered: the model does something that no handler knows.
        Ambiguous: another axis is as long as the batch.
        UsageError: outputs and targets do not fit, or the loss is not one number per record.
    """
    squared = _Pass(model, loss, inputs, targets, choice or KernelChoice(), low_precision, channels_last)
    found = squared(None)
    if float(found.min()) < _LEAST:
        found = squared(found)
    return found.sqrt()


@dataclass
class _Pass:
    """One forward and one backward pass over a batch."""

    model: nn.Module
    loss: Loss
    inputs: Any
    targets: Any
    choice: KernelChoice
    low_precision: bool
    channels_last: bool

    def __call__(self, unscaled: Tensor | None) -> Tensor:
        """Squared norms [n], float64; rescaled, where `unscaled` ones are given and some are too small for a reason."""
        n = count(self.inputs)
        recorder = UseRecorder(self.model, n, self.choice, self.low_precision, self.channels_last)
        recurrent = [layer for layer in self.model.modules() if isinstance(layer, RNNBase)]
        handles = [layer.register_forward_pre_hook(_note_order(recorder)) for layer in recurrent]
        try:
            # copies of the buffers: a model that counts its calls must not notice this one
            buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
            with recorder:
                outputs = call(self.model, self.inputs, buffers)
                values = losses(self.loss, outputs, self.targets, n)
            if unscaled is None:
                return recorder.norms(values, torch.ones_like(values))
            scale = _output_slopes(outputs, values)
            if not ((unscaled < _LEAST) & (scale > 0)).any():
                return unscaled
            scale = torch.where((scale > 0) & scale.isfinite(), scale, torch.ones_like(scale))
            return recorder.norms(values, (1 / scale).to(values.dtype)) * scale.square()
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
    return size.to(torch.float64)


def _note_order(recorder: UseRecorder) -> Any:
    """Packed sequences come sorted by length: which example is each row?"""

    def note(layer: nn.Module, args: tuple[Any, ...]) -> None:
        packed = args[0] if args and isinstance(args[0], PackedSequence) else None
        recorder.packed_order = None if packed is None else packed.sorted_indices

    return note
