"""What are the per-example gradient norms of a model made of known layers? One forward and one backward for the batch.

Forward hooks keep each layer's input and the graph edge of its output; one torch.autograd.grad of the summed losses
with respect to those edges (never the weights) gives what the rules of `layer_rules` need. Edges, not tensors, because
a later in-place operation (ReLU(inplace=True)) replaces a tensor's history but not the edge taken before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.func import functional_call

from expunge.privacy.layer_rules import Rule, find_rule
from expunge.privacy.per_example_loss import losses


class NotCovered(Exception):
    """The fast rules do not apply to this model or batch; the message says why. Never leaves expunge.privacy."""


@dataclass
class _Call:
    """What one layer did in this forward pass."""

    count: int = 0
    problem: str = ""
    inputs: Tensor | None = None
    version: int = 0
    edge: GradientEdge | None = None


def covered_layers(model: nn.Module) -> dict[nn.Module, Rule]:
    """The layers owning trainable parameters, and their rules.

    Raises:
        NotCovered: a layer without a rule, a shared parameter, or hooks that could change what a layer returns.
    """
    owners: dict[int, str] = {}
    rules: dict[nn.Module, Rule] = {}
    for name, layer in model.named_modules():
        own = {key: p for key, p in layer._parameters.items() if p is not None and p.requires_grad}
        if not own:
            continue
        for key, parameter in own.items():
            if id(parameter) in owners:
                raise NotCovered(f"{name}.{key} is shared with {owners[id(parameter)]}")
            owners[id(parameter)] = f"{name}.{key}"
        rule = find_rule(layer)
        if rule is None:
            raise NotCovered(f"{name or 'the model'} ({type(layer).__name__}) has no rule")
        if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
            raise NotCovered(f"{name} has hooks")
        rules[layer] = rule
    return rules


def norms_by_rules(model: nn.Module, rules: dict[nn.Module, Rule], inputs: Tensor, targets: Tensor) -> Tensor:
    """Norms [n], float64, by the fast rules. Hooks are removed whatever happens.

    Raises:
        NotCovered: a layer was called other than once, or not with the batch as its first axis, or its input was
            overwritten, or autograd could not follow.
    """
    n = len(inputs)
    calls = {layer: _Call() for layer in rules}
    handles = [layer.register_forward_hook(_recorder(calls[layer], n)) for layer in rules]
    try:
        # copies of the buffers: a model that counts its calls must not notice this one
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        outputs = functional_call(model, buffers, (inputs,)) if buffers else model(inputs)
        values = losses(outputs, targets)
    finally:
        for handle in handles:
            handle.remove()
    for layer, call in calls.items():
        if call.problem or call.count != 1 or call.inputs is None:
            raise NotCovered(f"{type(layer).__name__}: {call.problem or f'called {call.count} times'}")
        if call.inputs._version != call.version:
            raise NotCovered(f"the input of a {type(layer).__name__} was overwritten")
    reached = [(layer, call) for layer, call in calls.items() if call.edge is not None]
    total = torch.zeros(n, dtype=torch.float64, device=values.device)
    if not reached or not values.requires_grad:
        return total
    edges = [call.edge for _, call in reached if call.edge is not None]
    try:
        slopes = torch.autograd.grad(values.sum(), edges, allow_unused=True)
    except RuntimeError as error:
        raise NotCovered(str(error)) from error
    for (layer, call), slope in zip(reached, slopes, strict=True):
        if slope is None or call.inputs is None:  # the loss does not depend on this layer
            continue
        total += rules[layer](layer, call.inputs, slope)
    return total.sqrt()


def _recorder(call: _Call, n: int) -> Any:
    def record(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        call.count += 1
        if call.count > 1:
            return
        if len(args) != 1 or not isinstance(args[0], Tensor) or not isinstance(output, Tensor):
            call.problem = "called with other than one tensor"
        elif args[0].ndim < 1 or output.ndim < 2 or args[0].shape[0] != n or output.shape[0] != n:
            call.problem = f"the first axis is not the batch of {n}"
        elif isinstance(layer, nn.Conv2d) and args[0].ndim != 4:
            call.problem = "input without a batch axis"
        else:
            call.inputs = args[0].detach()
            call.version = call.inputs._version
            # no edge: computed under no_grad, so no gradient reaches these parameters
            call.edge = get_gradient_edge(output) if output.requires_grad else None

    return record
