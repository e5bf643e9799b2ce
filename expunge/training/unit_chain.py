"""Is a model a plain chain of layers, and which entries of which tensors belong to each hidden unit?

The model is traced by torch.fx and walked from its output back to its first layer with weights. Whatever is not
understood is refused with a reason, never guessed.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from expunge.models import ModelSpec

ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Hardtanh, nn.Hardswish, nn.Identity, nn.Dropout,
)  # fmt: skip
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Dropout2d)
FUNCTIONS = {F.relu, F.gelu, F.silu, F.leaky_relu, F.elu, F.dropout, torch.relu, torch.tanh, torch.sigmoid}
POOL_FUNCTIONS = {F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d}
METHODS = {"relu", "tanh", "sigmoid", "contiguous"}


class NotAChain(Exception):
    """The model's units cannot be reordered by what is understood here; the message says why."""


@dataclass(frozen=True)
class Use:
    """An axis of a tensor that holds `block` neighbouring entries for each unit."""

    name: str
    axis: int
    block: int = 1


@dataclass(eq=False)
class Hidden:
    """A hidden layer: its units, the groups that must stay together (1: any order), and the tensors it runs through."""

    name: str
    units: int
    groups: int = 1
    uses: list[Use] = field(default_factory=list)


def unit_chain(spec: ModelSpec, model: nn.Module) -> list[Hidden]:
    """The hidden layers of a chain of Linear, Conv2d, activations, norms, pools and Flatten, first to last.

    LayerNorm over all features, BatchNorm and GroupNorm are understood; GroupNorm restricts the order to its groups.
    While torch.fx traces, it replaces how every module of the process is called: no other thread may run one then.

    Raises:
        NotAChain: skip connections, attention, recurrence, token inputs, shared weights, grouped convolutions,
            GroupNorms of different groupings on one layer, or any other layer.
    """
    if spec.integer_inputs:
        raise NotAChain("its inputs are tokens")
    shared = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    if len(shared) != len(list(model.parameters())):
        raise NotAChain("some of its layers share weights")
    nodes = _trace(spec, model)
    walk = _Walk(model)
    for node in nodes:
        walk.take(node)
    covered = {name for name in model.state_dict() if name.rpartition(".")[0] in walk.seen}
    left = sorted(set(model.state_dict()) - covered)
    if left:
        raise NotAChain(f"tensor {left[0]!r} lies outside its chain of layers")
    # What follows the last weighted layer are the outputs, whose order is the classes'.
    return walk.hidden[:-1]


def _trace(spec: ModelSpec, model: nn.Module) -> list[fx.Node]:
    """The nodes from the first to the last layer with weights, each with its output shape in `node.meta`."""
    try:
        graph = fx.symbolic_trace(model)
        with torch.no_grad():
            _Shapes(graph).run(torch.zeros(2, *spec.in_shape))
    except Exception as error:
        raise NotAChain(f"it cannot be traced ({type(error).__name__})") from error
    owned = {name for name, module in model.named_modules() if list(module.parameters())}
    output = next(node for node in graph.graph.nodes if node.op == "output")
    chain: list[fx.Node] = []
    node = output.args[0]
    while isinstance(node, fx.Node) and not _without_weights(node, owned):
        inputs = node.all_input_nodes
        if len(inputs) != 1:
            what = "a tensor of its own outside any layer" if node.op == "get_attr" else "more than one input"
            raise NotAChain(f"{node.name} has {what}: a skip connection, attention or the like")
        if chain or _holds_weights(node, owned):  # what follows the last weights treats classes, not units
            chain.append(node)
        node = inputs[0]
    if not isinstance(node, fx.Node):
        raise NotAChain("it gives more than one output")
    return chain[::-1]


def _holds_weights(node: fx.Node, owned: set[str]) -> bool:
    return node.op == "get_attr" or (node.op == "call_module" and node.target in owned)


def _without_weights(node: fx.Node, owned: set[str]) -> bool:
    """Whether nothing up to this node holds weights: whatever it does to the records, it does to any model's."""
    waiting, seen = [node], set()
    while waiting:
        at = waiting.pop()
        if _holds_weights(at, owned):
            return False
        if at not in seen:
            seen.add(at)
            waiting += at.all_input_nodes
    return True


class _Shapes(fx.Interpreter):
    """Runs a graph once and notes every tensor's shape."""

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        if isinstance(result, Tensor):
            node.meta["shape"] = tuple(result.shape)
        return result


class _Walk:
    """Goes along the chain and writes down which tensors the current hidden layer runs through."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.hidden: list[Hidden] = []
        self.seen: set[str] = set()
        self.block = 1

    def take(self, node: fx.Node) -> None:
        before = node.all_input_nodes[0].meta.get("shape", ())
        if node.op == "call_module":
            name = str(node.target)
            if name in self.seen:
                raise NotAChain(f"layer {name!r} is used twice")
            self.seen.add(name)
            self._layer(name, self.model.get_submodule(name), before, node.meta.get("shape", ()))
        elif not self._plain(node, before):
            raise NotAChain(f"{node.name} is not understood")

    def _layer(self, name: str, layer: nn.Module, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        kind = type(layer)
        if kind is nn.Linear and len(before) == 2:
            self._weighted(name, layer, after[1])
        elif kind is nn.Conv2d and len(before) == 4:
            if layer.groups != 1:
                raise NotAChain(f"convolution {name!r} has groups")
            self._weighted(name, layer, after[1])
        elif kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm):
            self._norm(name, layer, before)
        elif kind is nn.Flatten and layer.start_dim == 1 and layer.end_dim == -1:
            self._flatten(before)
        elif kind not in ELEMENTWISE and not (kind in POOLS and len(before) == 4):
            raise NotAChain(f"layer {name!r} ({kind.__name__}) is not understood")

    def _weighted(self, name: str, layer: nn.Module, units: int) -> None:
        if self.hidden:
            self.hidden[-1].uses.append(Use(f"{name}.weight", 1, self.block))
        hidden = Hidden(name, units, uses=[Use(f"{name}.weight", 0)])
        if layer.bias is not None:
            hidden.uses.append(Use(f"{name}.bias", 0))
        self.hidden.append(hidden)
        self.block = 1

    def _norm(self, name: str, layer: nn.Module, before: tuple[int, ...]) -> None:
        if not self.hidden:
            return  # it normalises the records themselves, in their own order
        hidden = self.hidden[-1]
        if isinstance(layer, nn.LayerNorm) and tuple(layer.normalized_shape) != before[1:]:
            raise NotAChain(f"layer {name!r} normalises some of the axes only")
        if isinstance(layer, nn.GroupNorm) and layer.num_groups not in (1, before[1]):
            if self.block != 1 or hidden.groups not in (1, layer.num_groups):
                raise NotAChain(f"the groups of {name!r} do not go with what comes before")
            hidden.groups = layer.num_groups
        for tensor, value in layer.state_dict().items():
            if value.ndim:
                hidden.uses.append(Use(f"{name}.{tensor}", 0, self.block))

    def _flatten(self, before: tuple[int, ...]) -> None:
        for width in before[2:]:
            self.block *= width

    def _plain(self, node: fx.Node, before: tuple[int, ...]) -> bool:
        """A function or method that treats every unit alike; a call that is none of them is refused."""
        after = node.meta.get("shape")
        if node.op == "call_method":
            if node.target == "flatten" and after == (before[0], _product(before[1:])):
                self._flatten(before)
                return True
            return node.target in METHODS
        if node.target is torch.flatten and after == (before[0], _product(before[1:])):
            self._flatten(before)
            return True
        if node.target in POOL_FUNCTIONS:
            return len(before) == 4
        if node.target in (operator.mul, operator.add, operator.truediv, operator.sub):
            return all(isinstance(a, fx.Node | int | float) for a in node.args)
        return node.op == "call_function" and node.target in FUNCTIONS


def _product(sizes: tuple[int, ...]) -> int:
    result = 1
    for size in sizes:
        result *= size
    return result
