"""Is the one pass right for this model? Tried on a batch and compared with the definition, never assumed.

The recorder refuses what it does not know; what no structure can show is that an axis as long as the batch is not the
batch, or that examples interact. So the pass is run on a batch and compared with the definition on two of its
examples: that with the largest norm (zero against zero shows nothing) and the median one. These are alone in the
definition's batch, so interaction shows as well, and is then settled in favour of the definition. In float32 the two
may differ by rounding alone (a record with a loss of 1e-7 has few digits), so a disagreement is looked at again in
float64.
"""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from expunge.privacy.batches import map_tensors, rows
from expunge.privacy.functional_pass import VMAP_FAILURES, norms_by_loop, norms_by_vmap
from expunge.privacy.kernel_choice import KernelChoice
from expunge.privacy.losses import Loss
from expunge.privacy.one_pass import norms_in_one_pass
from expunge.privacy.parameter_uses import Ambiguous, NotCovered

# Largest relative difference between the pass and the definition that rounding explains
_AGREEMENT = {torch.float64: 1e-9, torch.float32: 2e-5}
_AGREEMENT_LOW_PRECISION = 5e-2
_SECOND_OPINION_EXAMPLES = 8


@dataclass
class Verdict:
    """The norms of the batch that was tried, or None with the reason why the one pass is not to be used."""

    norms: Tensor | None
    reason: str = ""


@dataclass
class Way:
    """What the passes are made of: model and loss, which kernels, in which precision."""

    model: nn.Module
    loss: Loss
    choice: KernelChoice = field(default_factory=KernelChoice)
    low_precision: bool = False
    channels_last: bool = True

    def one_pass(self, inputs: Any, targets: Any) -> Tensor:
        """Norms [n], float64. Raises as `norms_in_one_pass`."""
        if self.channels_last:
            try:
                return self._pass(inputs, targets)
            except RuntimeError:  # a view that this memory format does not allow; any other error comes again
                self.channels_last = False
        return self._pass(inputs, targets)

    def _pass(self, inputs: Any, targets: Any) -> Tensor:
        return norms_in_one_pass(
            self.model, self.loss, inputs, targets, self.choice, self.low_precision, self.channels_last
        )

    def definition(self, inputs: Any, targets: Any, most: int) -> Tensor:
        """Norms [n], float64, of each example alone."""
        try:
            return norms_by_vmap(self.model, self.loss, inputs, targets, most)
        except VMAP_FAILURES:
            return norms_by_loop(self.model, self.loss, inputs, targets)


def try_one_pass(way: Way, inputs: Any, targets: Any) -> Verdict:
    """The norms of this batch by the one pass, if it is right for the model. One example settles nothing.

    Raises:
        Ambiguous: try a batch of another size.
    """
    try:
        fast = way.one_pass(inputs, targets)
    except NotCovered as error:
        return Verdict(None, str(error))
    usable = torch.where(fast.isfinite(), fast, torch.zeros_like(fast))
    if len(fast) < 2 or not usable.max() > 0:
        return Verdict(None, "one example, or no gradient, cannot vouch for it")
    order = usable.argsort(descending=True)
    picked = torch.stack([order[0], order[len(order) // 2]])
    dtype = next(p.dtype for p in way.model.parameters() if p.requires_grad)
    tolerance = _AGREEMENT_LOW_PRECISION if way.low_precision else _AGREEMENT.get(dtype, _AGREEMENT_LOW_PRECISION)
    if _agree(way, fast, inputs, targets, picked, tolerance):
        return Verdict(fast)
    if dtype != torch.float64:
        near = torch.cat([picked, order[torch.isin(order, picked, invert=True)]])[:_SECOND_OPINION_EXAMPLES]
        if _agree_in_float64(way, rows(inputs, near), rows(targets, near)):
            return Verdict(fast)
    return Verdict(None, "examples interact, or the batch is not the first axis of every layer")


def _agree(way: Way, fast: Tensor, inputs: Any, targets: Any, picked: Tensor, tolerance: float) -> bool:
    # one after the other: two examples are not worth vectorising, nor the second that torch takes to get ready for it
    exact = norms_by_loop(way.model, way.loss, rows(inputs, picked), rows(targets, picked))
    return torch.allclose(fast[picked], exact.to(fast.device), rtol=tolerance, atol=0.0)


def _agree_in_float64(way: Way, inputs: Any, targets: Any) -> bool:
    """The comparison on a float64 copy; False where the model or the device does not take float64."""
    with contextlib.suppress(NotCovered, Ambiguous, *VMAP_FAILURES):
        wide = Way(copy.deepcopy(way.model).double(), way.loss)
        inputs = map_tensors(inputs, lambda value: value.double() if value.is_floating_point() else value)
        fast = wide.one_pass(inputs, targets)
        return _agree(wide, fast, inputs, targets, torch.arange(2, device=fast.device), 1e-7)
    return False
