"""What is the norm of each example's gradient by a convolution's weight? Five exact ways.

grouped      all examples' weight gradients at once, as the weight gradient of one convolution whose groups are the
             examples: what vmap makes of it, in chunks that stay in the cache
windows      the windows of the inputs copied out, then one product an example; reads both memory formats
window rows  the same with one product for each row of the kernel: copies a third as much where the kernel is 3 wide
pixel Gram   the Gram matrix of the windows as a sum of shifted Gram matrices of the pixels, times that of the slopes:
             as many additions as the kernel has taps instead of as many multiplications; wins for wide layers on small
             images
window Gram  the Gram matrix of the copied windows: for strides that leave few positions

Inputs a [n, channels, *space] and slopes g [n, filters, *space] may be contiguous or channels-last. `dtype` is what the
products multiply, bfloat16 where norms may be approximate; it is changed while a part is in the cache.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from expunge.privacy.norm_kernels import gram_product, in_chunks, squared_norms

_GRADIENT_CELLS = 1 << 19
_WINDOW_CELLS = 1 << 19
_SHORT_RUN = 16  # neighbours in memory; where windows have fewer, their planes are copied instead


@dataclass(frozen=True)
class Geometry:
    """A convolution; the padding is that of both sides of each axis."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def weight_gradients(a: Tensor, g: Tensor, shape: Geometry) -> Tensor:
    """Each example's weight gradient, [n, filters, channels / groups, *kernel]; a [n, channels, ...]."""
    n, channels, filters = len(a), a.shape[1], g.shape[1]
    like = a.new_empty(1).expand(n * filters, channels // shape.groups, *shape.kernel)
    gradients = torch.ops.aten.convolution_backward(
        _plain(g.reshape(1, n * filters, *g.shape[2:])),
        _plain(a.reshape(1, n * channels, *a.shape[2:])),
        like,
        None,
        shape.stride,
        shape.padding,
        shape.dilation,
        False,
        [0] * len(shape.kernel),
        n * shape.groups,
        [False, True, False],
    )[1]
    return gradients.view(n, filters, channels // shape.groups, *shape.kernel)


def _plain(x: Tensor) -> Tensor:
    """Plain strides: where axes have length one torch takes others for channels-last, and its fallback then fails."""
    plain = torch.empty(x.shape, device="meta").stride()
    return x if x.stride() == plain else x.clone(memory_format=torch.contiguous_format)


def grouped(a: Tensor, g: Tensor, shape: Geometry) -> Tensor:
    """Squared norms, float64 [n]."""
    cells = g.shape[1] * (a.shape[1] // shape.groups) * math.prod(shape.kernel)
    return in_chunks(
        lambda rows: squared_norms(weight_gradients(a[rows], g[rows], shape)), len(a), cells, _GRADIENT_CELLS
    )


def windows(a: Tensor, g: Tensor, shape: Geometry, dtype: torch.dtype) -> Tensor:
    """Squared norms, float64 [n]. Two space axes, one group."""
    slopes, copies = _positions(g).mT, _Windows(a, g, shape, dtype)

    def kernel(rows: slice) -> Tensor:
        gradients = a.new_empty(rows.stop - rows.start, g.shape[1], copies.width, dtype=dtype)
        parts = (values.split(copies.at_once) for values in (copies.pixels[rows], slopes[rows], gradients))
        for pixels, slope, into in zip(*parts, strict=True):
            torch.bmm(slope.to(dtype), copies(pixels), out=into)
        return squared_norms(gradients)

    return in_chunks(kernel, len(a), g.shape[1] * copies.width)


def window_rows(a: Tensor, g: Tensor, shape: Geometry, dtype: torch.dtype) -> Tensor:
    """As `windows`; the stride between rows must be 1."""
    high, wide = g.shape[2:]
    taps, gap = shape.kernel[0], shape.dilation[0] * wide
    strips = replace(shape, kernel=(1, shape.kernel[1]))
    slopes, copies = _positions(g).mT, _Windows(a, g, strips, dtype, high + (taps - 1) * shape.dilation[0])

    def kernel(rows: slice) -> Tensor:
        m = rows.stop - rows.start
        gradients = a.new_empty(taps, m, g.shape[1], copies.width, dtype=dtype)
        parts = (values.split(copies.at_once) for values in (copies.pixels[rows], slopes[rows]))
        by_tap = zip(*(values.split(copies.at_once) for values in gradients), strict=True)
        for pixels, slope, into in zip(*parts, by_tap, strict=True):
            strip, slope = copies(pixels), slope.to(dtype)
            for i in range(taps):
                torch.bmm(slope, strip[:, i * gap : i * gap + high * wide], out=into[i])
        return squared_norms(gradients.flatten(0, 1)).view(taps, m).sum(0)

    return in_chunks(kernel, len(a), taps * g.shape[1] * copies.width)


def window_gram(a: Tensor, g: Tensor, shape: Geometry, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Squared norms, float64 [n], and a mask of the examples that cancel. Two space axes, one group."""
    slopes, copies = _positions(g), _Windows(a, g, shape, dtype)
    masks = []

    def kernel(rows: slice) -> Tensor:
        grams = a.new_empty(rows.stop - rows.start, slopes.shape[1], slopes.shape[1], dtype=dtype)
        for pixels, into in zip(copies.pixels[rows].split(copies.at_once), grams.split(copies.at_once), strict=True):
            patches = copies(pixels)
            torch.bmm(patches, patches.mT, out=into)
        result, lost = gram_product(grams, _gram(slopes[rows], dtype))
        masks.append(lost)
        return result

    squared = in_chunks(kernel, len(a), slopes.shape[1] ** 2)
    return squared, torch.cat(masks)


def pixel_gram(a: Tensor, g: Tensor, shape: Geometry, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """As `window_gram`."""
    high, wide = a.shape[2:]
    rows_out, columns_out = g.shape[2:]
    by_row = [_overlap(i, rows_out, high, 0, shape) for i in range(shape.kernel[0])]
    by_column = [_overlap(j, columns_out, wide, 1, shape) for j in range(shape.kernel[1])]
    taps = [(vertical, horizontal) for vertical in by_row if vertical for horizontal in by_column if horizontal]
    masks = []

    def kernel(rows: slice) -> Tensor:
        gram = _gram(_positions(a[rows]), dtype).to(a.dtype).view(-1, high, wide, high, wide)
        patches = gram.new_zeros(len(gram), rows_out, columns_out, rows_out, columns_out)
        for (out_i, in_i), (out_j, in_j) in taps:
            patches[:, out_i, out_j, out_i, out_j] += gram[:, in_i, in_j, in_i, in_j]
        positions = rows_out * columns_out
        result, lost = gram_product(patches.view(-1, positions, positions), _gram(_positions(g[rows]), dtype))
        masks.append(lost)
        return result

    squared = in_chunks(kernel, len(a), max((high * wide) ** 2, (rows_out * columns_out) ** 2))
    return squared, torch.cat(masks)


def _overlap(tap: int, out: int, size: int, axis: int, shape: Geometry) -> tuple[slice, slice] | None:
    """Which outputs see an input that is no padding through a tap, and which inputs these are; None if none do."""
    offset, stride = tap * shape.dilation[axis] - shape.padding[axis], shape.stride[axis]
    first = max(0, -(offset // stride))  # the first output whose input, offset + stride * output, is at 0 or later
    last = min(out - 1, (size - 1 - offset) // stride)
    if last < first:
        return None
    start = offset + stride * first
    return slice(first, last + 1), slice(start, offset + stride * last + 1, stride)


def copied_in_planes(channels: int, shape: Geometry) -> bool:
    """Whether windows have so few neighbours in memory that planes of single channels are copied instead."""
    return channels * shape.kernel[1] * shape.stride[1] < _SHORT_RUN


class _Windows:
    """The windows of the inputs, [m, positions, taps * channels], copied out for `at_once` examples at a time.

    `pixels` are the inputs, with the channels innermost where there are enough of them to be copied in one go;
    `rows_out`: how many rows of windows, where not the slopes'.
    """

    def __init__(self, a: Tensor, g: Tensor, shape: Geometry, dtype: torch.dtype, rows_out: int | None = None) -> None:
        rows, columns = shape.padding
        n, channels, high, wide = a.shape
        self.dtype = dtype
        out = (g.shape[2] if rows_out is None else rows_out, g.shape[3])
        self.width = channels * math.prod(shape.kernel)
        self.at_once = max(2, _WINDOW_CELLS // (self.width * math.prod(out)))
        self.single = shape.kernel == (1, 1) and not rows and not columns  # a window is a pixel
        self.planes = not self.single and copied_in_planes(channels, shape)
        if self.single:
            self.pixels = a.permute(0, 2, 3, 1)[:, :: shape.stride[0], :: shape.stride[1]]
            return
        m, size = min(n, self.at_once), (high + 2 * rows, wide + 2 * columns)
        if self.planes:
            self.pixels = a
            padded = a.new_zeros(m, channels, *size, dtype=dtype)
            self.inside = padded[:, :, rows : rows + high, columns : columns + wide]
            by_example, by_channel, by_row, by_column = padded.stride()
        else:
            self.pixels = a.permute(0, 2, 3, 1)
            padded = a.new_zeros(m, *size, channels, dtype=dtype)
            self.inside = padded[:, rows : rows + high, columns : columns + wide]
            by_example, by_row, by_column, by_channel = padded.stride()
        strides = (by_row * shape.stride[0], by_column * shape.stride[1])
        steps = (by_row * shape.dilation[0], by_column * shape.dilation[1])
        if self.planes:
            sizes, by = (m, channels, *shape.kernel, *out), (by_example, by_channel, *steps, *strides)
        else:
            sizes, by = (m, *out, *shape.kernel, channels), (by_example, *strides, *steps, by_channel)
        self.windows = padded.as_strided(sizes, by)

    def __call__(self, pixels: Tensor) -> Tensor:
        if self.single:
            return pixels.flatten(1, 2).to(self.dtype)
        m = len(pixels)
        windows, inside = self.windows, self.inside
        if m < len(windows):
            windows, inside = windows[:m], inside[:m]
        inside.copy_(pixels)
        return windows.reshape(m, self.width, -1).mT if self.planes else windows.reshape(m, -1, self.width)


def _gram(values: Tensor, dtype: torch.dtype) -> Tensor:
    """[m, positions, channels] to [m, positions, positions]."""
    values = values.to(dtype)
    return values @ values.mT


def _positions(values: Tensor) -> Tensor:
    """[m, channels, *space] to [m, positions, channels]: a view in both memory formats."""
    return values.flatten(2).mT
