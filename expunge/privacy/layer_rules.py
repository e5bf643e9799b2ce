"""How large is each example's gradient in one layer? A registry of exact rules, one per layer type.

A rule gets the layer, its input a (batch first) and g, the derivative of the summed losses by its output, and returns
the squared L2 norm of each example's gradient over the layer's trainable parameters, shape [n], in float64: squares of
small float32 gradients would underflow. Weight gradients are sums over positions t of outer products g_t a_t^T. Their
norm is found in one of two ways, whichever needs less work on these shapes:
    materialised   build each example's matrix and take its norm
    Gram           SUM_{t,u} <a_t, a_u> <g_t, g_u>, without building it (Goodfellow 2015, arXiv 1510.01799, for one
                   position; Li et al. 2022, arXiv 2110.05679, section 4, for sequences)
The Gram form squares the condition number, so it runs in float64, and examples whose positions cancel are materialised.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Rule = Callable[[nn.Module, Tensor, Tensor], Tensor]
Accepts = Callable[[nn.Module], bool]

_RULES: dict[type[nn.Module], tuple[Rule, Accepts]] = {}

_CELLS_PER_CHUNK = 1 << 24  # elements built at once by a materialised norm: 64 MB of float32
_FLOAT64_COST = 2.0  # a multiplication in float64 against one in float32
# Gram: relative error about 1e-16 x this factor, so results stay within 1e-11
_CANCELLATION_LIMIT = 1e4


def rule_for(layer_type: type[nn.Module], accepts: Accepts = lambda layer: True) -> Callable[[Rule], Rule]:
    """Registers a rule for exactly this type; `accepts` says whether a layer's options are covered.

    Raises:
        ValueError: the type has a rule already (a second one would silently win).
    """

    def register(rule: Rule) -> Rule:
        if layer_type in _RULES:
            raise ValueError(f"{layer_type.__name__} already has a gradient-norm rule.")
        _RULES[layer_type] = (rule, accepts)
        return rule

    return register


def find_rule(layer: nn.Module) -> Rule | None:
    """The rule for this layer, or None. Subclasses and replaced forwards have none: they may do anything."""
    rule, accepts = _RULES.get(type(layer), (None, None))
    if rule is None or accepts is None or "forward" in vars(layer) or not accepts(layer):
        return None
    if set(layer._parameters) - {"weight", "bias"}:
        return None
    return rule


def _trains(layer: nn.Module, name: str) -> bool:
    parameter = layer._parameters.get(name)
    return parameter is not None and parameter.requires_grad


def squared_norms(values: Tensor) -> Tensor:
    """Sum of squares over everything but the first axis, [n], accumulated in float64."""
    flat = values.reshape(len(values), -1)
    return torch.linalg.vector_norm(flat, dim=1, dtype=torch.float64).square()


@rule_for(nn.Linear)
def _linear(layer: nn.Module, a: Tensor, g: Tensor) -> Tensor:
    """a [n, ..., inputs], g [n, ..., outputs]."""
    a, g = a.flatten(1, -2) if a.ndim > 2 else a[:, None], g.flatten(1, -2) if g.ndim > 2 else g[:, None]
    total = a.new_zeros(len(a), dtype=torch.float64)
    if _trains(layer, "weight"):
        total += outer_product_norms(a, g)
    if _trains(layer, "bias"):
        total += squared_norms(g.sum(1))
    return total


def _plain_convolution(layer: nn.Module) -> bool:
    return getattr(layer, "padding_mode", None) == "zeros"


@rule_for(nn.Conv2d, _plain_convolution)
def _conv2d(layer: nn.Module, a: Tensor, g: Tensor) -> Tensor:
    """a [n, channels, height, width], g [n, filters, rows, columns]; each group is a Linear over unfolded patches."""
    assert isinstance(layer, nn.Conv2d)
    total = a.new_zeros(len(a), dtype=torch.float64)
    if _trains(layer, "bias"):
        total += squared_norms(g.sum((2, 3)))
    if _trains(layer, "weight"):
        left, right, top, bottom = _padding(layer)
        positions = g.shape[2] * g.shape[3]
        patch = a.shape[1] * layer.kernel_size[0] * layer.kernel_size[1]
        chunk = max(1, _CELLS_PER_CHUNK // (patch * positions))
        for start in range(0, len(a), chunk):
            part = F.pad(a[start : start + chunk], (left, right, top, bottom))
            patches = F.unfold(part, layer.kernel_size, layer.dilation, 0, layer.stride)
            # [n, channels * kernel, positions]: channels are outermost, so groups are contiguous
            rows = patches.unflatten(1, (layer.groups, -1)).flatten(0, 1).transpose(1, 2)
            slopes = g[start : start + chunk].flatten(2).unflatten(1, (layer.groups, -1))
            norms = outer_product_norms(rows, slopes.flatten(0, 1).transpose(1, 2))
            total[start : start + chunk] += norms.view(-1, layer.groups).sum(1)
    return total


def _padding(layer: nn.Conv2d) -> tuple[int, int, int, int]:
    """Zeros added on the left, right, top and bottom; "same" puts the odd one at the end, as the layer does."""
    if layer.padding == "same":
        extra = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        (top, bottom), (left, right) = ((e // 2, e - e // 2) for e in extra)
        return left, right, top, bottom
    if layer.padding == "valid":
        return 0, 0, 0, 0
    vertical, horizontal = (int(p) for p in layer.padding)
    return horizontal, horizontal, vertical, vertical


@rule_for(nn.GroupNorm)
def _group_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Tensor:
    """a and g [n, channels, ...]."""
    assert isinstance(layer, nn.GroupNorm)
    return _per_channel(layer, F.group_norm(a, layer.num_groups, None, None, layer.eps), g)


def _tracks_statistics(layer: nn.Module) -> bool:
    return getattr(layer, "running_mean", None) is not None


@rule_for(nn.BatchNorm1d, _tracks_statistics)
@rule_for(nn.BatchNorm2d, _tracks_statistics)
def _batch_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Tensor:
    """a and g [n, channels, ...]; in eval mode this is a fixed affine map, so examples do not interact."""
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
    normal = F.batch_norm(a, layer.running_mean, layer.running_var, None, None, False, 0.0, layer.eps)
    return _per_channel(layer, normal, g)


def _per_channel(layer: nn.Module, normal: Tensor, g: Tensor) -> Tensor:
    """Scale and shift per channel (axis 1): sums over the positions of g * normalised input, and of g."""
    total = g.new_zeros(len(g), dtype=torch.float64)
    if _trains(layer, "weight"):
        total += squared_norms((g * normal).flatten(2).sum(2) if g.ndim > 2 else g * normal)
    if _trains(layer, "bias"):
        total += squared_norms(g.flatten(2).sum(2) if g.ndim > 2 else g)
    return total


@rule_for(nn.LayerNorm)
def _layer_norm(layer: nn.Module, a: Tensor, g: Tensor) -> Tensor:
    """a and g [n, ..., *normalized_shape]."""
    assert isinstance(layer, nn.LayerNorm)
    shape = list(layer.normalized_shape)
    total = g.new_zeros(len(g), dtype=torch.float64)
    between = tuple(range(1, g.ndim - len(shape)))
    if _trains(layer, "weight"):
        scaled = g * F.layer_norm(a, shape, None, None, layer.eps)
        total += squared_norms(scaled.sum(between) if between else scaled)
    if _trains(layer, "bias"):
        total += squared_norms(g.sum(between) if between else g)
    return total


def _plain_embedding(layer: nn.Module) -> bool:
    assert isinstance(layer, nn.Embedding)
    return layer.max_norm is None and not layer.scale_grad_by_freq and not layer.sparse


@rule_for(nn.Embedding, _plain_embedding)
def _embedding(layer: nn.Module, a: Tensor, g: Tensor) -> Tensor:
    """a [n, ...] of indices, g [n, ..., width]; a word used twice by an example gets the sum of both slopes."""
    assert isinstance(layer, nn.Embedding)
    n, width = len(a), g.shape[-1]
    words, slopes = a.reshape(n, -1), g.reshape(n, -1, width)
    example = torch.arange(n, device=a.device)[:, None].expand_as(words)
    if layer.padding_idx is not None:
        slopes = slopes.masked_fill((words == layer.padding_idx)[..., None], 0)
    key = (example * layer.num_embeddings + words).reshape(-1)
    cells, cell = torch.unique(key, return_inverse=True)
    sums = slopes.new_zeros(len(cells), width).index_add_(0, cell, slopes.reshape(-1, width))
    total = g.new_zeros(n, dtype=torch.float64)
    return total.index_add_(0, cells // layer.num_embeddings, squared_norms(sums))


def outer_product_norms(a: Tensor, g: Tensor) -> Tensor:
    """||SUM_t g_t a_t^T||^2 for each example; a [n, t, inputs], g [n, t, outputs]; returns float64 [n]."""
    positions, inputs, outputs = a.shape[1], a.shape[2], g.shape[2]
    if positions == 1:  # one outer product: its norm is the product of the norms, nothing can cancel
        return squared_norms(a) * squared_norms(g)
    gram_cost = _FLOAT64_COST * positions**2 * (inputs + outputs)
    if gram_cost >= positions * inputs * outputs:
        return _materialised(a, g)
    result, cancelled = _gram(a, g)
    if cancelled.any():
        result[cancelled] = _materialised(a[cancelled], g[cancelled])
    return result


def _materialised(a: Tensor, g: Tensor) -> Tensor:
    chunk = max(1, _CELLS_PER_CHUNK // (a.shape[2] * g.shape[2]))
    parts = [squared_norms(g[i : i + chunk].transpose(1, 2) @ a[i : i + chunk]) for i in range(0, len(a), chunk)]
    return torch.cat(parts) if parts else a.new_zeros(0, dtype=torch.float64)


def _gram(a: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The squared norms and a mask of the examples for which rounding may have eaten them."""
    results, masks = [], []
    widest = max(a.shape[1], a.shape[2], g.shape[2])
    chunk = max(1, _CELLS_PER_CHUNK // (a.shape[1] * widest))
    for i in range(0, len(a), chunk):
        wide_a, wide_g = a[i : i + chunk].double(), g[i : i + chunk].double()
        product = (wide_a @ wide_a.transpose(1, 2)) * (wide_g @ wide_g.transpose(1, 2))
        squared = product.sum((1, 2))
        # the largest the sum could be, were all outer products aligned
        aligned = product.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt().sum(1).square()
        results.append(squared.clamp_min(0))
        masks.append(~(aligned <= _CANCELLATION_LIMIT * squared))
    return torch.cat(results), torch.cat(masks)
