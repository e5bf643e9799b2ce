"""Is every kernel exact for every convolution, in both memory formats, whichever the cost model would choose?"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from expunge.privacy import convolution_kernels as kernels
from expunge.privacy.convolution_kernels import Geometry
from expunge.privacy.space_sums import sum_of_centred_products, sum_over_space

Kernel = Callable[[Tensor, Tensor, Geometry], Tensor]

KERNELS: dict[str, Kernel] = {
    "grouped": kernels.grouped,
    "windows": lambda a, g, shape: kernels.windows(a, g, shape, a.dtype),
    "window rows": lambda a, g, shape: kernels.window_rows(a, g, shape, a.dtype),
    "pixel Gram": lambda a, g, shape: kernels.pixel_gram(a, g, shape, a.dtype)[0],
    "window Gram": lambda a, g, shape: kernels.window_gram(a, g, shape, a.dtype)[0],
}


def by_autograd(a: Tensor, g: Tensor, shape: Geometry) -> Tensor:
    """One example after another."""
    found = []
    for x, slope in zip(a, g, strict=True):
        weight = a.new_zeros(g.shape[1], a.shape[1] // shape.groups, *shape.kernel, requires_grad=True)
        out = F.conv2d(x[None], weight, None, shape.stride, shape.padding, shape.dilation, shape.groups)
        found.append(torch.autograd.grad(out, weight, slope[None])[0].square().sum())
    return torch.stack(found)


def one_or_two(low: int, high: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Tensor, Tensor, Geometry]:
    kernel, stride = draw(one_or_two(1, 4)), draw(one_or_two(1, 3))
    padding, dilation = draw(one_or_two(0, 3)), draw(one_or_two(1, 2))
    n, channels, filters = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(1, 5))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    size = [draw(st.integers(max(1, r - 2 * p), 9)) for r, p in zip(reach, padding, strict=True)]
    torch.manual_seed(draw(st.integers(0, 1000)))
    a = torch.randn(n, channels, *size, dtype=torch.float64)
    shape = Geometry(kernel, stride, padding, dilation, 1)
    out = F.conv2d(a, torch.zeros(filters, channels, *kernel, dtype=torch.float64), None, stride, padding, dilation)
    return a, torch.randn_like(out), shape


@pytest.mark.parametrize("name", KERNELS)
@settings(max_examples=60, deadline=None)
@given(case=cases(), channels_last=st.booleans())
def test_agrees_with_autograd(name: str, case: tuple[Tensor, Tensor, Geometry], channels_last: bool) -> None:
    a, g, shape = case
    if name == "window rows" and shape.stride[0] != 1:
        return
    expected = by_autograd(a, g, shape)
    if channels_last:
        a, g = (values.to(memory_format=torch.channels_last) for values in (a, g))
    torch.testing.assert_close(KERNELS[name](a, g, shape), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("size", [(2, 1), (1, 2), (1, 1), (3, 1)])
@pytest.mark.parametrize("n", [1, 2])
def test_axes_of_length_one_in_channels_last_layout(n: int, size: tuple[int, int]) -> None:
    """Their strides are ambiguous; torch's fallback for float64 refused some of them."""
    torch.manual_seed(0)
    shape = Geometry((2, 1), (1, 1), (1, 0), (1, 1), 1)
    a, g = (torch.randn(n, 1, rows, size[1], dtype=torch.float64) for rows in (size[0], size[0] + 1))
    last = (values.to(memory_format=torch.channels_last) for values in (a, g))
    torch.testing.assert_close(KERNELS["grouped"](*last, shape), by_autograd(a, g, shape), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_many_examples_are_worked_on_in_parts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    a, g = (torch.randn(11, channels, 6, 6, dtype=torch.float64) for channels in (3, 4))
    shape = Geometry((3, 3), (1, 1), (1, 1), (1, 1), 1)
    whole = KERNELS[name](a, g, shape)
    for limit in ("_GRADIENT_CELLS", "_WINDOW_CELLS"):
        monkeypatch.setattr(kernels, limit, 1)
    torch.testing.assert_close(KERNELS[name](a, g, shape), whole, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(whole, by_autograd(a, g, shape), rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("groups", [2, 6])
def test_grouped_and_depthwise(groups: int) -> None:
    torch.manual_seed(0)
    a, g = torch.randn(4, 6, 5, 7, dtype=torch.float64), torch.randn(4, 12, 5, 7, dtype=torch.float64)
    shape = Geometry((3, 3), (1, 1), (1, 1), (1, 1), groups)
    torch.testing.assert_close(kernels.grouped(a, g, shape), by_autograd(a, g, shape), rtol=1e-10, atol=0.0)


def test_bfloat16_products_are_near_and_not_equal() -> None:
    torch.manual_seed(0)
    a, g = (torch.randn(8, 64, 8, 8).to(memory_format=torch.channels_last) for _ in range(2))
    shape = Geometry((3, 3), (1, 1), (1, 1), (1, 1), 1)
    exact = kernels.windows(a, g, shape, torch.float32)
    found = {
        "windows": kernels.windows(a, g, shape, torch.bfloat16),
        "window rows": kernels.window_rows(a, g, shape, torch.bfloat16),
        "pixel Gram": kernels.pixel_gram(a, g, shape, torch.bfloat16)[0],
        "window Gram": kernels.window_gram(a, g, shape, torch.bfloat16)[0],
    }
    for name, rough in found.items():
        error = (rough / exact - 1).abs().max()
        assert 1e-7 < error < 1e-2, name


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5), st.integers(1, 7), st.lists(st.integers(1, 6), max_size=3), st.booleans(), st.integers(0, 100)
)
def test_sums_over_space(n: int, channels: int, space: list[int], channels_last: bool, seed: int) -> None:
    torch.manual_seed(seed)
    first, second = (torch.randn(n, channels, *space, dtype=torch.float64) for _ in range(2))
    centre = torch.randn(n, channels, dtype=torch.float64)
    centred = second - centre.view(n, channels, *[1] * len(space))
    expected = torch.einsum("nc...->nc", first), torch.einsum("nc...,nc...->nc", first, centred)
    if channels_last and len(space) == 2:
        first, second = (values.to(memory_format=torch.channels_last) for values in (first, second))
    torch.testing.assert_close(sum_over_space(first), expected[0], rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(sum_of_centred_products(first, second, centre), expected[1], rtol=1e-11, atol=1e-12)
