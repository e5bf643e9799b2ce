"""Are the fast rules right for this model? Tried on a batch and compared with the definition, never assumed.

Structure alone cannot show that a weight is also used outside its layer (`x @ self.fc.weight`), that an axis as long as
the batch is not the batch, or that examples interact. So the rules are run on a batch and compared with the definition
on two of its examples: that with the largest norm (zero against zero shows nothing) and the median one. These are alone
in the definition's batch, so interaction shows as well, and is then settled in favour of the definition. In float32 the
two may differ by rounding alone (a record with a loss of 1e-7 has few digits), so a disagreement is looked at again in
float64. A path through the model taken only by some later input can escape this; that is the limit.
"""

from __future__ import annotations

import contextlib
import copy

import torch
from torch import Tensor, nn

from expunge.privacy.functional_pass import VMAP_FAILURES, norms_by_loop, norms_by_vmap
from expunge.privacy.hooked_pass import NotCovered, covered_layers, norms_by_rules

# Largest relative difference between rules and definition that rounding explains
_AGREEMENT = {torch.float64: 1e-9, torch.float32: 2e-5}
_AGREEMENT_LOW_PRECISION = 5e-2
_SECOND_OPINION_EXAMPLES = 8


def choose(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor | None:
    """The norms of this batch [n] by the fast rules if these are right for the model, else None.

    One example, or zero gradients only, settle nothing: None.
    """
    try:
        fast = norms_by_rules(model, covered_layers(model), inputs, targets)
    except NotCovered:
        return None
    usable = torch.where(fast.isfinite(), fast, torch.zeros_like(fast))
    if len(fast) < 2 or not usable.max() > 0:
        return None
    order = usable.argsort(descending=True)
    picked = torch.stack([order[0], order[len(order) // 2]])
    dtype = next(p.dtype for p in model.parameters() if p.requires_grad)
    if _agree(model, fast, inputs, targets, picked, _AGREEMENT.get(dtype, _AGREEMENT_LOW_PRECISION)):
        return fast
    if dtype != torch.float64:
        near = torch.cat([picked, order[torch.isin(order, picked, invert=True)]])[:_SECOND_OPINION_EXAMPLES]
        if _agree_in_float64(model, inputs[near], targets[near]):
            return fast
    return None


def _agree(model: nn.Module, fast: Tensor, inputs: Tensor, targets: Tensor, picked: Tensor, tolerance: float) -> bool:
    try:
        exact = norms_by_vmap(model, inputs[picked], targets[picked], len(picked))
    except VMAP_FAILURES:
        exact = norms_by_loop(model, inputs[picked], targets[picked])
    return torch.allclose(fast[picked], exact.to(fast.device), rtol=tolerance, atol=0.0)


def _agree_in_float64(model: nn.Module, inputs: Tensor, targets: Tensor) -> bool:
    """The comparison on a float64 copy; False where the model or the device does not take float64."""
    with contextlib.suppress(NotCovered, *VMAP_FAILURES):
        wide = copy.deepcopy(model).double()
        inputs = inputs.double() if inputs.is_floating_point() else inputs
        fast = norms_by_rules(wide, covered_layers(wide), inputs, targets)
        return _agree(wide, fast, inputs, targets, torch.arange(2, device=fast.device), 1e-7)
    return False
