"""What is the norm of each example's gradient by a convolution's weight? Three exact ways.

grouped      all examples' weight gradients at once, as the weight gradient of one convolution whose groups are the
             examples: what vmap makes of it, in chunks that stay in the cache
pixel Gram   the Gram matrix of the patches as a sum of shifted Gram matrices of the pixels, times that of the
             slopes: as many additions as the kernel has taps instead of as many multiplications; wins for wide
             layers on small images
patch Gram   the Gram matrix of the unfolded patches: for strides that leave few positions
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.privacy.norm_kernels import gram_product, in_chunks, squared_norms

_CELLS_AT_ONCE = 1 << 19


@dataclass(frozen=True)
class Geometry:
    """A convolution without its padding: the inputs [n, channels, *space] are padded already."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def weight_gradients(a: Tensor, g: Tensor, shape: Geometry) -> Tensor:
    """Each example's weight gradient, [n, filters, channels / groups, *kernel]; a [n, channels, ...]."""
    n, channels, filters = len(a), a.shape[1], g.shape[1]
    zeros = [0] * len(shape.kernel)
    like = a.new_empty(1).expand(n * filters, channels // shape.groups, *shape.kernel)
    gradients = torch.ops.aten.convolution_backward(
        g.reshape(1, n * filters, *g.shape[2:]),
        a.reshape(1, n * channels, *a.shape[2:]),
        like,
        None,
        shape.stride,
        zeros,
        shape.dilation,
        False,
        zeros,
        n * shape.groups,
        [False, True, False],
    )[1]
    return gradients.view(n, filters, channels // shape.groups, *shape.kernel)


def grouped(a: Tensor, g: Tensor, shape: Geometry) -> Tensor:
    """Squared norms, float64 [n]."""
    cells = g.shape[1] * (a.shape[1] // shape.groups) * _product(shape.kernel)
    return in_chunks(
        lambda rows: squared_norms(weight_gradients(a[rows], g[rows], shape)), len(a), cells, _CELLS_AT_ONCE
    )


def unfolded(a: Tensor, g: Tensor, shape: Geometry) -> Tensor:
    """Squared norms, float64 [n]. Two space axes, one group."""

    def kernel(rows: slice) -> Tensor:
        patches = F.unfold(a[rows], shape.kernel, shape.dilation, 0, shape.stride)
        return squared_norms(g[rows].flatten(2) @ patches.mT)

    cells = a.shape[1] * _product(shape.kernel) * _product(g.shape[2:])
    return in_chunks(kernel, len(a), cells, _CELLS_AT_ONCE)


def pixel_gram(a: Tensor, g: Tensor, shape: Geometry) -> tuple[Tensor, Tensor]:
    """Squared norms, float64 [n], and a mask of the examples that cancel. Two space axes, one group."""
    high, wide = a.shape[2:]
    rows_out, columns_out = g.shape[2:]
    rows_by, columns_by = shape.stride
    masks = []

    def kernel(rows: slice) -> Tensor:
        pixels, slopes = a[rows].flatten(2), g[rows].flatten(2)
        gram = (pixels.mT @ pixels).view(-1, high, wide, high, wide)
        patches: Tensor | None = None
        for i in range(0, shape.kernel[0] * shape.dilation[0], shape.dilation[0]):
            vertical = slice(i, i + (rows_out - 1) * rows_by + 1, rows_by)
            for j in range(0, shape.kernel[1] * shape.dilation[1], shape.dilation[1]):
                horizontal = slice(j, j + (columns_out - 1) * columns_by + 1, columns_by)
                shifted = gram[:, vertical, horizontal, vertical, horizontal]
                patches = shifted.clone() if patches is None else patches.add_(shifted)
        assert patches is not None
        positions = rows_out * columns_out
        result, lost = gram_product(patches.reshape(-1, positions, positions), slopes.mT @ slopes)
        masks.append(lost)
        return result

    squared = in_chunks(kernel, len(a), (high * wide) ** 2)
    return squared, torch.cat(masks)


def patch_gram(a: Tensor, g: Tensor, shape: Geometry) -> tuple[Tensor, Tensor]:
    """As `pixel_gram`."""
    masks = []
    positions = _product(g.shape[2:])

    def kernel(rows: slice) -> Tensor:
        patches, slopes = F.unfold(a[rows], shape.kernel, shape.dilation, 0, shape.stride), g[rows].flatten(2)
        result, lost = gram_product(patches.mT @ patches, slopes.mT @ slopes)
        masks.append(lost)
        return result

    squared = in_chunks(kernel, len(a), positions * max(positions, a.shape[1] * _product(shape.kernel)))
    return squared, torch.cat(masks)


def _product(sizes: tuple[int, ...] | torch.Size) -> int:
    return int(torch.Size(sizes).numel())
