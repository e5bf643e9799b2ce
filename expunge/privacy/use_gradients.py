"""What is each example's gradient by one use of a parameter, and how large is it?

One class for each kind of use. All get g, the derivative of the summed losses by the output of the use, with the batch
first, and can give the squared norms float64 [n] by the kernels that are exact for them, or the gradients themselves,
[m, entries of the parameter], for the examples `rows`: what a parameter that is used in several ways needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from expunge.privacy import convolution_kernels as convolutions
from expunge.privacy import kernel_costs as costs
from expunge.privacy.kernel_choice import Kernel
from expunge.privacy.norm_kernels import outer_gram, outer_materialised, squared_norms

_WIDE, _LONG = 64, 128  # channels and positions from which bfloat16 products are worth it


class UseGradient(Protocol):
    """The gradient of one use."""

    def key(self, g: Tensor) -> str:
        """Kind and shapes, without the batch: equal keys cost the same."""

    def kernels(self, g: Tensor) -> Mapping[str, Kernel]:
        """The exact kernels for the squared norms."""

    def gradients(self, g: Tensor, rows: slice) -> Tensor:
        """The gradients themselves, [m, entries]."""


@dataclass
class Outer:
    """A matrix product: a [n, t, inputs] and g [n, t, outputs]. The weight is [outputs, inputs], or its transpose."""

    a: Tensor
    transposed: bool = False
    low_precision: bool = False

    def factors(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """(l, r) with the weight's gradient SUM_t l_t r_t^T."""
        left, right = (self.a, g) if self.transposed else (g, self.a)
        low = self.low_precision and left.shape[1] >= _LONG and min(left.shape[2], right.shape[2]) >= _WIDE
        return (left.bfloat16(), right.bfloat16()) if low else (left, right)

    def key(self, g: Tensor) -> str:
        return f"product {self.a.shape[1]} x {self.a.shape[2]} x {g.shape[2]} {_dtype(self.a, self.low_precision)}"

    def kernels(self, g: Tensor) -> Mapping[str, Kernel]:
        return outer_kernels(*self.factors(g))

    def gradients(self, g: Tensor, rows: slice) -> Tensor:
        left, right = (self.a, g) if self.transposed else (g, self.a)
        return (left[rows].mT @ right[rows]).flatten(1)


def outer_kernels(left: Tensor, right: Tensor) -> Mapping[str, Kernel]:
    """The kernels for ||SUM_t l_t r_t^T||^2; left [n, t, i], right [n, t, j]."""
    t, i, j = left.shape[1], left.shape[2], right.shape[2]
    if t == 1:  # one outer product: its norm is the product of the norms, nothing can cancel
        return {"product of norms": Kernel(0.0, lambda: squared_norms(left) * squared_norms(right))}

    def by_gram() -> Tensor:
        return repaired(*outer_gram(left, right), lambda lost: outer_materialised(left[lost], right[lost]))

    return {
        "materialised": Kernel(costs.materialised(t, i, j), lambda: outer_materialised(left, right)),
        "Gram": Kernel(costs.gram(t, i, j), by_gram),
    }


@dataclass
class Convolution:
    """A convolution: a [n, channels, *space], g [n, filters, *space]."""

    a: Tensor
    shape: convolutions.Geometry
    low_precision: bool = False

    def key(self, g: Tensor) -> str:
        space = "x".join(map(str, self.a.shape[2:]))
        return f"convolution {self.a.shape[1]} on {space} to {g.shape[1]}, {self.shape}, " + _dtype(
            self.a, self.low_precision
        )

    def kernels(self, g: Tensor) -> Mapping[str, Kernel]:
        a, shape = self.a, self.shape
        wide = min(a.shape[1], g.shape[1]) >= _WIDE  # narrower ones spend more on the change than they save
        dtype = torch.bfloat16 if self.low_precision and wide else a.dtype
        found = {"grouped": Kernel(costs.grouped(a, g, shape), lambda: convolutions.grouped(a, g, shape))}
        if shape.groups > 1 or len(shape.kernel) != 2:
            return found

        def rest(lost: Tensor) -> Tensor:
            return convolutions.grouped(a[lost], g[lost], shape)

        found["windows"] = Kernel(costs.windows(a, g, shape), lambda: convolutions.windows(a, g, shape, dtype))
        if shape.stride[0] == 1 and shape.kernel[0] > 1:
            found["window rows"] = Kernel(
                costs.window_rows(a, g, shape), lambda: convolutions.window_rows(a, g, shape, dtype)
            )
        found["pixel Gram"] = Kernel(
            costs.pixel_gram(a, g, shape), lambda: repaired(*convolutions.pixel_gram(a, g, shape, dtype), rest)
        )
        found["window Gram"] = Kernel(
            costs.window_gram(a, g, shape), lambda: repaired(*convolutions.window_gram(a, g, shape, dtype), rest)
        )
        return found

    def gradients(self, g: Tensor, rows: slice) -> Tensor:
        return convolutions.weight_gradients(self.a[rows], g[rows], self.shape).flatten(1)


@dataclass
class Direct:
    """Small parameters (biases, scales): `small(g)` gives every example's gradient, [n, entries]."""

    small: Callable[[Tensor], Tensor]

    def key(self, g: Tensor) -> str:
        return "direct"

    def kernels(self, g: Tensor) -> Mapping[str, Kernel]:
        return {"direct": Kernel(0.0, lambda: squared_norms(self.small(g)))}

    def gradients(self, g: Tensor, rows: slice) -> Tensor:
        return self.small(g)[rows].flatten(1)


@dataclass
class Lookup:
    """An embedding: words int [n, t], g [n, t, width]; a word used twice by an example gets the sum of both slopes."""

    words: Tensor
    entries: int
    padding: int | None

    def key(self, g: Tensor) -> str:
        return "lookup"

    def kernels(self, g: Tensor) -> Mapping[str, Kernel]:
        return {"lookup": Kernel(0.0, lambda: self._norms(g))}

    def _norms(self, g: Tensor) -> Tensor:
        n, width = len(g), g.shape[-1]
        example = torch.arange(n, device=g.device)[:, None].expand_as(self.words)
        cells, cell = torch.unique((example * self.entries + self.words).flatten(), return_inverse=True)
        sums = g.new_zeros(len(cells), width).index_add_(0, cell, self._counted(g).reshape(-1, width))
        norms = g.new_zeros(n, dtype=torch.float64)
        return norms.index_add_(0, cells // self.entries, squared_norms(sums))

    def gradients(self, g: Tensor, rows: slice) -> Tensor:
        words, slopes = self.words[rows], self._counted(g)[rows]
        built = g.new_zeros(len(words), self.entries, g.shape[-1])
        return built.scatter_add_(1, words[..., None].expand_as(slopes), slopes).flatten(1)

    def _counted(self, g: Tensor) -> Tensor:
        return g if self.padding is None else g.masked_fill((self.words == self.padding)[..., None], 0)


def repaired(squared: Tensor, lost: Tensor, other: Callable[[Tensor], Tensor]) -> Tensor:
    """`squared`, with the examples marked in `lost` computed the other way."""
    if lost.any():
        squared[lost] = other(lost)
    return squared


def _dtype(a: Tensor, low: bool) -> str:
    return "bfloat16" if low else str(a.dtype).removeprefix("torch.")
