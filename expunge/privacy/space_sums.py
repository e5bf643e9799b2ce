"""What are the sums over space, an example and channel each, that gradients of scales and shifts are made of?"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_CELLS_AT_ONCE = 1 << 18  # products held at a time: they are still in the cache when they are summed


def sum_over_space(values: Tensor) -> Tensor:
    """[n, channels, *space] to [n, channels]; either memory format."""
    if values.ndim == 2:
        return values
    if not _channels_last(values):
        return values.flatten(2).sum(2)
    n, channels, _, wide = values.shape  # channels alone are too short a row to be summed fast
    return _rows(values).sum(1).view(n, wide, channels).sum(1)


def sum_of_centred_products(slopes: Tensor, values: Tensor, centre: Tensor) -> Tensor:
    """SUM over space of slopes * (values - centre), both [n, channels, *space], to [n, channels].

    `centre` [n, channels] or [channels] is taken off before summing: the difference of two sums would lose as many
    digits as the centre is larger than the spread.
    """
    n, channels = slopes.shape[:2]
    centre = centre.expand(n, channels)
    if slopes.ndim == 2:
        return slopes * (values - centre)
    rows = _channels_last(slopes) and _channels_last(values)
    left, right = (_rows(v) if rows else v.flatten(2) for v in (slopes, values))
    centre = centre.repeat(1, slopes.shape[3])[:, None] if rows else centre[..., None]
    at_once = max(2, _CELLS_AT_ONCE // left[0].numel())
    products = left.new_empty(min(n, at_once), *left.shape[1:])
    sums = left.new_empty(n, left.shape[2] if rows else channels)
    for a, b, c, into in zip(*(v.split(at_once) for v in (left, right, centre, sums)), strict=True):
        product = torch.sub(b, c, out=products[: len(a)]).mul_(a)
        torch.sum(product, 1 if rows else 2, out=into)
    return sums.view(n, -1, channels).sum(1) if rows else sums


def join_folded(examples: Callable[[Tensor], Tensor], sums: Tensor) -> Tensor:
    """[rows, channels] to [n, channels]: rows that are folded into the batch add up."""
    joined = examples(sums)
    return joined if joined.ndim == 2 else joined.sum(1)


def _channels_last(values: Tensor) -> bool:
    return values.ndim == 4 and values.shape[1] > 1 and values.is_contiguous(memory_format=torch.channels_last)


def _rows(values: Tensor) -> Tensor:
    """[n, channels, high, wide] in channels-last to [n, high, wide * channels], a view."""
    return values.permute(0, 2, 3, 1).flatten(2)
