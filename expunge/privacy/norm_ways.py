"""Which way of computing gradient norms is right for this model? Tried and compared with the definition, never assumed.

Structure alone cannot show that a weight is also used outside its layer (`x @ self.fc.weight`), that an axis as long as
the batch is not the batch, or that examples interact. So the fast rules are run on a batch and compared with the
definition on two of its examples: that with the largest norm (zero against zero shows nothing) and the median one.
These are alone in the definition's batch, so interaction shows as well, and is then settled in favour of the
definition. In float32 the two may differ by rounding alone (a record with a loss of 1e-7 has few digits), so a
disagreement is looked at again in float64. "Rules" is trusted until the weights change (a gate that is zero at first
hides what it gates); the other ways are exact. A path through the model taken only by some later input can escape this;
that is the limit.
"""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass
from types import FunctionType
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from expunge.privacy.functional_pass import VMAP_FAILURES, fixed, norms_by_loop, norms_by_vmap, trainable
from expunge.privacy.hooked_pass import NotCovered, covered_layers, norms_by_rules
from expunge.privacy.per_example_loss import Loss, LossFunction

Way = Literal["rules", "vmap", "loop"]

# Largest relative difference between rules and definition that rounding explains
_AGREEMENT = {torch.float64: 1e-9, torch.float32: 2e-5}
_AGREEMENT_LOW_PRECISION = 5e-2
_SECOND_OPINION_EXAMPLES = 8


@dataclass
class Choice:
    """A way, whether it may be remembered, and the norms of the trial batch where the trial gave them."""

    way: Way
    sure: bool
    norms: Tensor | None = None


class Decisions:
    """Ways remembered per model. Weak, so a model that goes away takes its decisions with it."""

    def __init__(self) -> None:
        self._of: WeakKeyDictionary[nn.Module, dict[object, tuple[Way, object]]] = WeakKeyDictionary()

    def recall(self, model: nn.Module, key: object) -> Way | None:
        """The way remembered, unless it is "rules" and the weights have changed since."""
        way, weights = self._of.get(model, {}).get(key, (None, None))
        return None if way == "rules" and weights != _weights(model) else way

    def remember(self, model: nn.Module, key: object, way: Way) -> None:
        """Keeps the decision; key None is a case that must not be remembered."""
        if key is not None:
            self._of.setdefault(model, {})[key] = (way, _weights(model))

    def of(self, model: nn.Module) -> set[Way]:
        """Every way remembered for this model."""
        return {way for way, _ in self._of.get(model, {}).values()}


def choose(model: nn.Module, inputs: Tensor, targets: Tensor, loss: LossFunction) -> Choice:
    """Tries the rules on this batch and compares. One example, or zero gradients only, settle nothing: not sure."""
    try:
        fast = norms_by_rules(model, covered_layers(model), inputs, targets, loss)
    except NotCovered:
        _check_loss_on_a_batch(model, inputs[:3], targets[:3], loss)
        return Choice("vmap", sure=True)
    usable = torch.where(fast.isfinite(), fast, torch.zeros_like(fast))
    if len(fast) < 2 or not usable.max() > 0:
        return Choice("vmap", sure=False)
    order = usable.argsort(descending=True)
    picked = torch.stack([order[0], order[len(order) // 2]])
    dtype = next(p.dtype for p in model.parameters() if p.requires_grad)
    tolerance = _AGREEMENT.get(dtype, _AGREEMENT_LOW_PRECISION)
    if _agree(model, fast, inputs, targets, picked, loss, tolerance):
        return Choice("rules", sure=True, norms=fast)
    if dtype != torch.float64:
        near = torch.cat([picked, order[torch.isin(order, picked, invert=True)]])[:_SECOND_OPINION_EXAMPLES]
        if _agree_in_float64(model, inputs[near], targets[near], loss):
            return Choice("rules", sure=True, norms=fast)
    return Choice("vmap", sure=True)


def decision_key(model: nn.Module, inputs: Tensor, loss: Loss) -> object:
    """What a decision depends on: layers, which parameters train and are shared, input, loss. None: do not remember.

    A loss that may hold state is one to check every time; a function without closure is named by its code.
    """
    if isinstance(loss, str):
        name: object = loss
    elif isinstance(loss, FunctionType) and loss.__closure__ is None:
        name = loss.__code__
    else:
        return None
    layers = tuple((path, type(layer)) for path, layer in model.named_modules())
    first: dict[int, int] = {}
    named = model.named_parameters(remove_duplicate=False)
    parameters = tuple((path, p.requires_grad, first.setdefault(id(p), len(first))) for path, p in named)
    return layers, parameters, inputs.shape[1:], inputs.dtype, inputs.device, name


def _weights(model: nn.Module) -> object:
    """Changes whenever a parameter is written to or replaced, as far as torch counts it."""
    return tuple((p.data_ptr(), -1 if p.is_inference() else p._version) for p in model.parameters())


def _agree(
    model: nn.Module,
    fast: Tensor,
    inputs: Tensor,
    targets: Tensor,
    picked: Tensor,
    loss: LossFunction,
    tolerance: float,
) -> bool:
    try:
        exact = norms_by_vmap(model, inputs[picked], targets[picked], loss, None)
    except VMAP_FAILURES:
        exact = norms_by_loop(model, inputs[picked], targets[picked], loss)
    return torch.allclose(fast[picked], exact.to(fast.device), rtol=tolerance, atol=0.0)


def _agree_in_float64(model: nn.Module, inputs: Tensor, targets: Tensor, loss: LossFunction) -> bool:
    """The comparison on a float64 copy; False where the model or the device does not take float64."""
    with contextlib.suppress(NotCovered, *VMAP_FAILURES):
        wide = copy.deepcopy(model).double()
        inputs = inputs.double() if inputs.is_floating_point() else inputs
        targets = targets.double() if targets.is_floating_point() else targets
        fast = norms_by_rules(wide, covered_layers(wide), inputs, targets, loss)
        first_two = torch.arange(2, device=fast.device)
        return _agree(wide, fast, inputs, targets, first_two, loss, 1e-7)
    return False


def _check_loss_on_a_batch(model: nn.Module, inputs: Tensor, targets: Tensor, loss: LossFunction) -> None:
    """Raises UsageError for a loss that is not per example: in batches of one, [:1] and a mean look right."""
    with torch.no_grad(), contextlib.suppress(*VMAP_FAILURES):  # a model may want batches of one
        loss(functional_call(model, fixed(model) | trainable(model), (inputs,)), targets)
