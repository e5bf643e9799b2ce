"""How is the norm of a sum of outer products found without, or with, building it?

A weight's gradient for one example is SUM_t l_t r_t^T over positions t (l and r: the slopes at the layer's outputs and
its inputs, in some order). Its squared norm is found in one of two exact ways, whichever needs less work:
    materialised   build each example's matrix and take its norm
    Gram           SUM_{t,u} <l_t, l_u> <r_t, r_u>, without building it (Goodfellow 2015, arXiv 1510.01799, for one
                   position; Li et al. 2022, arXiv 2110.05679, section 4, for sequences)
The Gram form loses digits where positions cancel. It says for which examples, and these are materialised instead.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Entries built at once: measured fastest on 2 cores, where they stay in the cache and malloc keeps the pages.
_CELLS_AT_ONCE = 1 << 20
_BLOCK = 1024

# SUM_t |l_t|^2 |r_t|^2 over the squared norm, up to which rounding of the Gram form stays below the tolerance: the
# errors of its entries are at most unit roundoff times |l_t||l_u||r_t||r_u|, of either sign.
_LOW = (torch.bfloat16, torch.float16)
_CANCELLATION_LIMIT = {torch.float64: 1e5, torch.float32: 32.0}


def squared_norms(values: Tensor) -> Tensor:
    """Sum of squares over everything but the first axis: [n, ...] to float64 [n].

    Blocks are summed in the tensor's precision and then together in float64: a long float32 sum loses digits, a
    float64 one of float32 values is sixty times slower.
    """
    flat = values.reshape(len(values), -1)
    if flat.dtype in _LOW:
        flat = flat.float()
    entries = flat.shape[1]
    whole = entries // _BLOCK * _BLOCK
    if entries <= _BLOCK:
        return torch.linalg.vector_norm(flat, dim=1).double().square()
    blocks = flat if whole == entries else flat[:, :whole]
    total = torch.linalg.vector_norm(blocks.unflatten(1, (-1, _BLOCK)), dim=2).double().square().sum(1)
    if whole < entries:
        total += torch.linalg.vector_norm(flat[:, whole:], dim=1).double().square()
    return total


def in_chunks(kernel: Callable[[slice], Tensor], n: int, cells: int, cells_at_once: int = _CELLS_AT_ONCE) -> Tensor:
    """The results [n] of a kernel that builds `cells` entries an example, over slices of the examples."""
    chunk = max(2, cells_at_once // max(1, cells))  # at least two: one for each core
    parts = [kernel(slice(i, min(i + chunk, n))) for i in range(0, n, chunk)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


def outer_materialised(left: Tensor, right: Tensor) -> Tensor:
    """||SUM_t l_t r_t^T||^2, float64 [n]; left [n, t, i], right [n, t, j]."""
    return in_chunks(lambda rows: squared_norms(left[rows].mT @ right[rows]), len(left), left.shape[2] * right.shape[2])


def outer_gram(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """As `outer_materialised`, and a mask [n] of the examples for which rounding may have eaten the result."""
    n, t = left.shape[:2]
    masks = []

    def kernel(rows: slice) -> Tensor:
        result, lost = gram_product(left[rows] @ left[rows].mT, right[rows] @ right[rows].mT)
        masks.append(lost)
        return result

    squared = in_chunks(kernel, n, t * t)
    return squared, torch.cat(masks)


def gram_product(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """SUM_{t,u} of the product of two Gram matrices [m, t, t]: float64 [m], and the mask of those that cancel.

    The first is overwritten. In a lower precision than float32 nothing is masked: its error is measured instead.
    """
    limit = _CANCELLATION_LIMIT.get(first.dtype)
    if second.dtype in _LOW:
        limit, first, second = None, first.float(), second.float()
    product = first.mul_(second)
    own = product.diagonal(dim1=1, dim2=2).sum(1, dtype=torch.float64)
    squared = product.sum(2).sum(1, dtype=torch.float64).clamp_min(0)
    return squared, own > limit * squared if limit is not None else torch.zeros_like(own, dtype=torch.bool)
