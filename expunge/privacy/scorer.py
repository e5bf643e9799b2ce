"""How are the gradient norms of any number of records found, at any number of checkpoints of one model?

Batch by batch: what is kept between batches does not grow with their number. Each batch's norms are those of
`per_example_gradient_norms`; whether the one pass is right for the weights is tried on their first batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from expunge.errors import UsageError
from expunge.privacy.batches import Inputs, count, map_tensors
from expunge.privacy.gradient_norms import NormsNotFinite, Passes, plain, quiet_evaluation, refuse
from expunge.privacy.kernel_choice import KernelChoice
from expunge.privacy.losses import Loss, find_loss
from expunge.privacy.norm_ways import Way


@dataclass(frozen=True)
class HowScored:
    """one_pass: whether one forward and one backward pass gave the norms; None before the first batch.

    `reason` says why not. `kernels`: the kernel that was chosen for each layer, empty without the one pass.
    """

    one_pass: bool | None = None
    reason: str = ""
    kernels: Mapping[str, str] = field(default_factory=dict)


class GradientNormScorer:
    """Norms of one model's records, from an iterable of batches; peak memory is that of one batch.

    Args:
        model: maps inputs [n, ...] to what the loss takes. Its weights are those of the last `load`, or its own.
        loss: a name of `losses.NAMED`, a callable (outputs, targets) -> [n], or a loss module of torch.
        kernels: kernel names by layer key, as `expunge doctor --tune` keeps them; layers without one go by the cost
            model.
        low_precision: multiply matrices in bfloat16 where a kernel can; norms are then approximate.
        chunk: most records per pass; fewer are taken where records or the model are large.

    Raises:
        UsageError: an unknown loss; a model without a trainable parameter.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str | Loss | nn.Module = "cross_entropy",
        *,
        kernels: Mapping[str, str] | KernelChoice | None = None,
        low_precision: bool = False,
        chunk: int | None = None,
    ) -> None:
        self.model: nn.Module = getattr(model, "_orig_mod", model)  # the module inside a torch.compile wrapper
        self.loss, self.chunk = find_loss(loss), chunk
        self.choice = kernels if isinstance(kernels, KernelChoice) else KernelChoice(dict(kernels or {}))
        refuse(self.model, torch.zeros(0), torch.zeros(0), chunk)
        self._passes = Passes(Way(self.model, self.loss, self.choice, low_precision), chunk)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take another checkpoint's parameters and buffers, by name.

        Raises UsageError naming the first tensor that is missing, of another shape or not the model's; the model's
        own weights are then as they were.
        """
        take_weights(self.model, weights)
        self._passes.weights_changed()

    def norms(self, batches: Iterable[tuple[Inputs, Any]]) -> Iterator[Tensor]:
        """Norms [n] of each batch, in the dtype of the parameters, on their device; computed as they are asked for.

        Args:
            batches: (inputs, targets) as `per_example_gradient_norms` takes them, on any device; sizes may differ.

        Raises:
            UsageError: as `per_example_gradient_norms`.
            NormsNotFinite: a NaN or infinite loss or gradient; rows are counted from the start of the stream.
        """
        done = 0
        for inputs, targets in batches:
            norms = self._one_batch(inputs, targets)
            bad = torch.nonzero(~norms.isfinite()).flatten()
            if len(bad):
                raise NormsNotFinite(tuple((bad + done).tolist()))
            done += len(norms)
            yield norms

    @property
    def how(self) -> HowScored:
        """What these weights' batches were found to need so far."""
        passes = self._passes
        return HowScored(passes.fast, passes.reason, dict(self.choice.chosen) if passes.fast else {})

    def go_on_as(self, how: HowScored) -> None:
        """Score these weights' next batches in a way that was settled before, as a restarted run does."""
        self._passes.fast, self._passes.reason = how.one_pass, how.reason

    def _one_batch(self, inputs: Inputs, targets: Any) -> Tensor:
        refuse(self.model, inputs, targets, self.chunk)
        parameter = next(p for p in self.model.parameters() if p.requires_grad)
        if count(inputs) == 0:
            return torch.zeros(0, dtype=parameter.dtype, device=parameter.device)
        inputs, targets = (
            map_tensors(values, lambda value: plain(value).to(parameter.device)) for values in (inputs, targets)
        )
        with quiet_evaluation(self.model):
            return self._passes.norms(inputs, targets).to(dtype=parameter.dtype, device=parameter.device)


def take_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy parameters and buffers into a model, all or none of them.

    A shared tensor may go by any of its names, and buffers that are not saved may be there or not.

    Raises:
        UsageError: naming the first tensor that is missing, of another shape or not the model's.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    own: dict[str, Tensor] = parameters | dict(model.named_buffers(remove_duplicate=False))
    saved = parameters.keys() | model.state_dict().keys()
    given = {id(own[name]) for name in weights if name in own}
    for name, tensor in own.items():
        if name in weights and weights[name].shape != tensor.shape:
            found = tuple(weights[name].shape)
            raise UsageError(
                f"The checkpoint's tensor {name!r} has shape {found}, and the model's {tuple(tensor.shape)}.", _OTHER
            )
        if name in saved and id(tensor) not in given:
            raise UsageError(f"The checkpoint has no tensor {name!r}, which the model needs.", _OTHER)
    for name in weights:
        if name not in own:
            raise UsageError(f"The checkpoint's tensor {name!r} is none of the model's.", _OTHER)
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)


_OTHER = "These weights belong to another architecture: score them with the model that they were trained with."
