"""What does each kernel cost an example? Nanoseconds on two cores, from shapes alone.

The constants were fitted to `benchmarks/gradient_norms.py --kernels` on a machine with AVX-512. They need not be right,
only put the kernels in the right order; where they do not, `expunge doctor --tune` measures instead.
"""

from __future__ import annotations

import math

from torch import Tensor

from expunge.privacy.convolution_kernels import Geometry, copied_in_planes

_PRODUCT = 0.0065  # one multiplication in a batched product
_GRAM_PRODUCT = 0.009  # ... whose result is a Gram matrix
_CONVOLUTION = 0.0075  # ... in a convolution whose groups are the examples
_GROUPED_WEIGHT = 0.65  # one entry of such a convolution's result
_ENTRY = 0.35  # writing an entry and summing its square
_COPIED_ENTRY = 0.15  # one entry of a copied window
_COPIED_RUN = 3.5  # one run of neighbours in memory, which is copied at a time
_COPIED_IN_PLANES = 0.7  # one entry where runs are too short and planes are copied
_ADDITION = 0.27  # one shifted addition
_NARROW = 32  # products narrower than this cost as much as this
_CHANNELS_LAST_ENTRY = 0.3  # bringing one entry back to the contiguous format


def materialised(t: int, i: int, j: int) -> float:
    """SUM_t l_t r_t^T built, i x j."""
    return _PRODUCT * t * i * j + _ENTRY * i * j


def gram(t: int, i: int, j: int) -> float:
    """Two Gram matrices t x t."""
    return _GRAM_PRODUCT * t * t * (i + j) + 2 * _ENTRY * t * t


def grouped(a: Tensor, g: Tensor, shape: Geometry) -> float:
    taps, positions = math.prod(shape.kernel), math.prod(g.shape[2:])
    channels = a.shape[1] // shape.groups
    weights = g.shape[1] * channels * taps
    done = g.shape[1] * max(channels, 16) * taps * positions
    copied = a[0].numel() * (not a.is_contiguous()) + g[0].numel() * (not g.is_contiguous())
    return _CONVOLUTION * done + _GROUPED_WEIGHT * weights + _CHANNELS_LAST_ENTRY * copied


def windows(a: Tensor, g: Tensor, shape: Geometry) -> float:
    width, positions, filters = a.shape[1] * math.prod(shape.kernel), math.prod(g.shape[2:]), g.shape[1]
    copied = 0.0 if math.prod(shape.kernel) == 1 and set(shape.stride) == {1} else _copies(a, shape, width * positions)
    return _PRODUCT * filters * positions * max(width, _NARROW) + _ENTRY * filters * width + copied


def window_rows(a: Tensor, g: Tensor, shape: Geometry) -> float:
    rows, width, filters = shape.kernel[0], a.shape[1] * shape.kernel[1], g.shape[1]
    positions = math.prod(g.shape[2:])
    strips = (g.shape[2] + (rows - 1) * shape.dilation[0]) * g.shape[3] * width
    products = _PRODUCT * rows * filters * positions * max(width, _NARROW)
    return products + _ENTRY * rows * filters * width + _copies(a, shape, strips)


def pixel_gram(a: Tensor, g: Tensor, shape: Geometry) -> float:
    pixels, squares = math.prod(a.shape[2:]), math.prod(g.shape[2:]) ** 2
    return (
        _PRODUCT * (pixels**2 * a.shape[1] + squares * g.shape[1])
        + _ADDITION * math.prod(shape.kernel) * squares
        + _ENTRY * (pixels**2 + squares)
    )


def window_gram(a: Tensor, g: Tensor, shape: Geometry) -> float:
    width, positions = a.shape[1] * math.prod(shape.kernel), math.prod(g.shape[2:])
    product = _GRAM_PRODUCT * positions**2 * (width + g.shape[1])
    return product + 2 * _ENTRY * positions**2 + _copies(a, shape, width * positions)


def _copies(a: Tensor, shape: Geometry, entries: int) -> float:
    if copied_in_planes(a.shape[1], shape):
        return entries * _COPIED_IN_PLANES
    run = a.shape[1] * (shape.kernel[1] if shape.dilation[1] == 1 else 1)
    return entries * (_COPIED_ENTRY + _COPIED_RUN / run)
