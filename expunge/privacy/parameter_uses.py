"""How does a model use its trainable parameters? Every use in a forward pass, seen where torch's functions are called.

A torch function mode sees each call of F.linear, torch.conv2d, x + p, ... with the parameters it gets, whatever module
makes the call: unmodified models, functional code, adapters, attention. Handlers know for each function what an
example's gradient is, and watch its output; in the backward pass the slopes arrive one layer after another, are turned
into squared norms at once and let go, so weight gradients are never formed and slopes not kept.

A use that no handler knows, or that no function call shows (custom autograd functions, compiled code: found by counting
the edges of autograd's graph), is not guessed at: NotCovered, and the definition takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

from expunge.privacy.kernel_choice import KernelChoice
from expunge.privacy.norm_kernels import in_chunks, squared_norms
from expunge.privacy.use_gradients import Convolution, Outer, UseGradient, outer_kernels

Handler = Callable[..., Any]
Examples = Callable[[Tensor], Tensor]  # brings slopes to [n, ...]
HANDLERS: dict[Callable[..., Any], Handler] = {}
GUARDS: dict[Callable[..., Any], Handler] = {}


class NotCovered(Exception):
    """The fast pass does not apply to this model or batch; the message says why. Never leaves expunge.privacy."""


class Ambiguous(Exception):
    """Two axes are as long as the batch: try a batch of another size. Never leaves expunge.privacy."""


def handles(*functions: Callable[..., Any]) -> Callable[[Handler], Handler]:
    """Registers handler(recorder, function, *args, **kwargs) for torch functions that get a trainable parameter.

    Raises:
        ValueError: a function has a handler already (a second one would silently win).
    """

    def register(handler: Handler) -> Handler:
        for function in functions:
            if function in HANDLERS:
                raise ValueError(f"{function.__name__} already has a handler.")
            HANDLERS[function] = handler
        return handler

    return register


@dataclass(eq=False)
class Leaf:
    """A trainable parameter, or a part or view of one. Its gradient is that of its uses, or that of its parts."""

    name: str
    tensor: Tensor
    uses: list[Use] = field(default_factory=list)
    parts: dict[Any, tuple[Tensor, ...]] = field(default_factory=dict)
    edges: int = 0

    def check(self) -> None:
        """Raises NotCovered where uses and parts would overlap."""
        if len(self.parts) + bool(self.uses) > 1:
            raise NotCovered(f"{self.name} is used both whole and in parts")


@dataclass(eq=False)
class Use:
    """One use; `examples` brings the slopes to [n, ...], `order` says which example each row is (None: in order)."""

    leaf: Leaf
    gradient: UseGradient
    examples: Callable[[Tensor], Tensor]
    order: Tensor | None
    slopes: Tensor | None = None


class UseRecorder(TorchFunctionMode):
    """Records the uses of one forward pass over n examples, then sums squared norms in the backward pass."""

    def __init__(
        self, model: nn.Module, n: int, choice: KernelChoice, low_precision: bool, channels_last: bool
    ) -> None:
        super().__init__()
        self.n, self.choice = n, choice
        self.low_precision, self.channels_last = low_precision, channels_last
        self.order: Tensor | None = None
        self.packed_order: Tensor | None = None
        self.positions_first = False
        self._listening = False
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self._leaves = {id(p): Leaf(name, p) for name, p in named}
        self._roots = list(self._leaves.values())
        self._first: list[GradientEdge] = []
        self._watched: list[list[Use]] = []
        self._device = named[0][1].device
        self.total = torch.zeros(n, dtype=torch.float64, device=self._device)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in GUARDS:
            GUARDS[func](*args, **kwargs)
        used = self.leaf_among(args) or self.leaf_among(kwargs.values())
        if used is None or not torch.is_grad_enabled():
            return func(*args, **kwargs)
        handler = HANDLERS.get(func)
        if handler is not None:
            try:
                return handler(self, func, *args, **kwargs)
            except TypeError as error:  # arguments in a form the handler does not know
                raise NotCovered(f"{used.name}: {error}") from error
        result = func(*args, **kwargs)
        if _needs_gradient(result):
            raise NotCovered(f"{used.name} is used by {getattr(func, '__name__', func)}")
        return result

    def leaf(self, value: Any) -> Leaf | None:
        """The tracked parameter or part that this is, or None."""
        found = self._leaves.get(id(value))
        return found if found is not None and found.tensor is value else None

    def leaf_among(self, values: Iterable[Any]) -> Leaf | None:
        """The first tracked one among the arguments of a call, lists of tensors included."""
        for value in values:
            if isinstance(value, Tensor):
                if (found := self.leaf(value)) is not None:
                    return found
            elif isinstance(value, list | tuple) and (found := self.leaf_among(value)) is not None:
                return found
        return None

    def derive(self, whole: Leaf, key: Any, make: Callable[[], Any]) -> Any:
        """Views of a parameter that share no entry: each is a leaf of its own. The same call gives the same ones."""
        if key not in whole.parts:
            made = make()
            views = (made,) if isinstance(made, Tensor) else tuple(made)
            whole.parts[key] = views
            whole.edges += len(views)
            for i, view in enumerate(views):
                self._leaves[id(view)] = Leaf(f"{whole.name}[{i}]" if len(views) > 1 else whole.name, view)
            whole.check()
        views = whole.parts[key]
        return views[0] if len(views) == 1 else views

    def batch_axis(self, values: Tensor, features: int) -> int:
        """0 or 1: which axis of `values` the batch is, alone or folded with others; the last `features` axes are not.

        Raises:
            Ambiguous: the batch could be the first axis or the second.
            NotCovered: it is neither.
        """
        n, leading = self.n, values.shape[: values.ndim - features]
        if not leading:
            raise NotCovered("a layer got an input without a batch axis")
        second = len(leading) > 1 and leading[1] == n
        if self.positions_first and second:
            return 1
        if leading[0] == n and second and n > 1:
            raise Ambiguous(n)
        if leading[0] != n and second:
            return 1
        if leading[0] % n:
            raise NotCovered(f"an input of shape {tuple(values.shape)} has no axis of the batch of {n}")
        return 0

    def layout(self, values: Tensor, features: int) -> Callable[[Tensor], Tensor]:
        """How tensors with the leading axes of `values` are brought to [n, ...]. Raises as `batch_axis`."""
        n = self.n
        if self.batch_axis(values, features) == 1:
            return lambda t: t.transpose(0, 1)
        if values.shape[0] == n:
            return lambda t: t
        if self.positions_first:
            return lambda t: t.unflatten(0, (-1, n)).transpose(0, 1)
        return lambda t: t.unflatten(0, (n, -1))

    def use(self, leaf: Leaf | None, gradient: UseGradient, examples: Callable[[Tensor], Tensor]) -> list[Use]:
        """Notes a use of a leaf; [] for what is not tracked."""
        if leaf is None:
            return []
        if isinstance(gradient, Outer | Convolution):
            gradient.low_precision = self.low_precision
        use = Use(leaf, gradient, examples, self.order)
        leaf.uses.append(use)
        leaf.check()
        return [use]

    def watch(self, output: Tensor, uses: list[Use], read: Tensor | None) -> None:
        """Waits for the slopes at `output`. `read`: the input the gradients are made of, if any."""
        if not uses or not output.requires_grad:
            return
        self._watched.append(uses)
        for use in uses:
            use.leaf.edges += 1
        if read is None or not read.requires_grad:  # nothing before it needs gradients: backward may stop here
            self._first.append(get_gradient_edge(output))
        # same storage and version, without the graph
        kept = [] if read is None else [(read.detach(), read._version)]

        def arrived(slopes: Tensor) -> None:
            if kept and kept[0][0]._version != kept[0][1]:
                raise NotCovered(f"the input of {uses[0].leaf.name} was overwritten")
            kept.clear()
            self.arrived(uses, slopes)

        output.register_hook(arrived)

    def watch_own(self, anchor: Tensor) -> None:
        """Backward must come as far as this leaf; the operation it went into reports its slopes to `arrived` itself."""
        self._first.append(get_gradient_edge(anchor))

    @torch.no_grad()
    def arrived(self, uses: list[Use], slopes: Tensor) -> None:
        """The slopes at an output: squared norms at once, or kept where the parameter has other uses."""
        if not self._listening:  # somebody else's backward pass
            return
        for use in uses:
            g = use.examples(slopes.detach())
            if len(use.leaf.uses) > 1:
                use.slopes = g
            else:
                squared = self.choice.run(use.leaf.name, use.gradient.key(g), use.gradient.kernels(g))
                self._add(squared, use.order)
                use.leaf.uses.clear()
        uses.clear()  # lets go of the inputs, as autograd does

    def norms(self, values: Tensor, weights: Tensor) -> Tensor:
        """Squared norms, float64 [n], of the gradients of values * weights. Runs the backward pass.

        Raises:
            NotCovered: a use that no function call showed, or autograd could not follow.
        """
        if not self._first or not values.requires_grad:
            self._count_edges(values)
            return self.total
        self._count_edges(values)
        self._listening = True
        try:
            torch.autograd.grad(values, self._first, grad_outputs=weights, allow_unused=True)
        except RuntimeError as error:
            raise NotCovered(str(error)) from error
        for leaf in self._leaves.values():
            arrived = [use for use in leaf.uses if use.slopes is not None]
            if arrived:
                self._add_several(leaf, arrived)
        return self.total

    def close(self) -> None:
        """Lets go of the graph. Its hooks hold the uses, uses may hold the graph, and Python cannot see that cycle."""
        for uses in self._watched:
            uses.clear()
        self._watched.clear()
        self._first.clear()
        self._leaves.clear()
        self._roots.clear()

    @torch.no_grad()
    def _add_several(self, leaf: Leaf, uses: list[Use]) -> None:
        """One gradient is the sum over the uses: products are positions of one longer product, else it is built."""
        order = uses[0].order
        if any(use.order is not order for use in uses):
            raise NotCovered(f"{leaf.name} is used with records in different orders")
        slopes = [use.slopes for use in uses if use.slopes is not None]
        pairs = list(zip((use.gradient for use in uses), slopes, strict=True))
        products = [gradient.factors(g) for gradient, g in pairs if isinstance(gradient, Outer)]
        if len(products) == len(uses):
            left, right = (torch.cat([pair[side] for pair in products], 1) for side in (0, 1))
            key = f"product {left.shape[1]} x {left.shape[2]} x {right.shape[2]} {left.dtype}"
            self._add(self.choice.run(leaf.name, key, outer_kernels(left, right)), order)
            return

        def build(rows: slice) -> Tensor:
            summed = sum(gradient.gradients(g, rows) for gradient, g in pairs)
            assert isinstance(summed, Tensor)
            return squared_norms(summed)

        self.choice.chosen[leaf.name] = f"sum of {len(uses)} uses"
        self._add(in_chunks(build, self.n, leaf.tensor.numel()), order)

    def _add(self, squared: Tensor, order: Tensor | None) -> None:
        if order is None:
            self.total += squared
        else:
            self.total.index_add_(0, order, squared.to(self.total.dtype))

    def _count_edges(self, values: Tensor) -> None:
        """Each edge into a parameter must belong to a use on record."""
        if values.grad_fn is None:
            return
        counts = dict.fromkeys((id(leaf.tensor) for leaf in self._roots), 0)
        seen, waiting = {values.grad_fn}, [values.grad_fn]
        while waiting:
            for node, _ in waiting.pop().next_functions:
                if node is None:
                    continue
                parameter = getattr(node, "variable", None)
                if parameter is not None and id(parameter) in counts:
                    counts[id(parameter)] += 1
                elif node not in seen:
                    seen.add(node)
                    waiting.append(node)
        for leaf in self._roots:
            if counts[id(leaf.tensor)] > leaf.edges:
                raise NotCovered(f"{leaf.name} is used in a way that no function call shows")


def _needs_gradient(result: Any) -> bool:
    if isinstance(result, Tensor):
        return result.requires_grad
    return isinstance(result, list | tuple) and any(_needs_gradient(part) for part in result)
