"""The models that ship: an MLP, a small CNN with GroupNorm, torchvision's ResNet-18 and ViT for 32x32 images."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

from torch import Tensor, nn

from expunge.errors import UsageError


def mlp(in_shape: tuple[int, ...], classes: int, hidden: tuple[int, ...] = (64,)) -> nn.Module:
    """Flatten, then Linear and ReLU for each hidden width, then Linear to [n, classes]."""
    widths = [math.prod(in_shape), *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def small_cnn(in_shape: tuple[int, ...], classes: int, width: int = 16, groups: int = 4) -> nn.Module:
    """Two 3x3 convolutions with GroupNorm and stride 2, average pooling, Linear to [n, classes]."""
    return nn.Sequential(
        AsImage(in_shape),
        nn.Conv2d(_channels(in_shape), width, 3, stride=2, padding=1),
        nn.GroupNorm(groups, width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.GroupNorm(groups, 2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, classes),
    )


def resnet18(in_shape: tuple[int, ...], classes: int, norm: str = "group", groups: int = 8) -> nn.Module:
    """torchvision's ResNet-18 (He et al. 2016) with a 3x3 stem and no max-pooling, as usual for 32x32 images.

    `norm` is "group" (the default: each record's gradient is independent of the batch) or "batch" (scored, but
    labelled heuristic: METHOD section 2).
    """
    from torchvision.models import resnet18 as torchvision_resnet18

    if norm not in ("group", "batch"):
        raise UsageError(f"resnet18: norm is {norm!r}.", "Choose group or batch.")
    layer = partial(nn.GroupNorm, groups) if norm == "group" else nn.BatchNorm2d
    net = torchvision_resnet18(weights=None, num_classes=classes, norm_layer=layer)
    net.conv1 = nn.Conv2d(_channels(in_shape), 64, 3, stride=1, padding=1, bias=False)
    net.maxpool = nn.Identity()
    # In-place ReLUs and torch.func do not go together; the result is the same.
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return nn.Sequential(AsImage(in_shape), net)


def vit_small(
    in_shape: tuple[int, ...], classes: int, patch: int = 4, width: int = 384, depth: int = 6, heads: int = 6
) -> nn.Module:
    """torchvision's vision transformer (Dosovitskiy et al. 2021) for small square images: LayerNorm, no dropout.

    `depth` blocks of `heads` heads on tokens of `width`, hidden layers 4 x as wide, one token per patch x patch
    pixels and a class token: 10.7 million weights as it stands. Raises UsageError for images that no whole number of
    patches covers, or a width that the heads do not divide.
    """
    from torchvision.models import VisionTransformer

    channels, height, side = _image_shape(in_shape)
    if height != side or patch < 1 or side % patch:
        raise UsageError(
            f"vit_small: patches of {patch} x {patch} pixels do not cover images of {height} x {side}.",
            "It takes square images: choose a patch that divides their side.",
        )
    if heads < 1 or width % heads:
        raise UsageError(f"vit_small: {heads} heads do not divide a width of {width}.", "Choose a multiple.")
    net = VisionTransformer(
        image_size=side, patch_size=patch, num_layers=depth, num_heads=heads, hidden_dim=width, mlp_dim=4 * width,
        num_classes=classes,
    )  # fmt: skip
    if channels != 3:
        net.conv_proj = nn.Conv2d(channels, width, patch, stride=patch)
        nn.init.trunc_normal_(net.conv_proj.weight, std=math.sqrt(1 / (channels * patch**2)))  # as torchvision's own
        nn.init.zeros_(net.conv_proj.bias)
    # torchvision starts the last layer at 0, and with it the gradients of all others: step 0 could not be scored.
    nn.init.normal_(net.heads.head.weight, std=0.05)
    return nn.Sequential(AsImage(in_shape), net)


class AsImage(nn.Module):
    """[n, ...] to [n, channels, height, width]: a flat square vector or [h, w] gains its missing dimensions."""

    def __init__(self, in_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.image = _image_shape(in_shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.image)


def _image_shape(in_shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(in_shape) == 3:
        return (in_shape[0], in_shape[1], in_shape[2])
    if len(in_shape) == 2:
        return (1, in_shape[0], in_shape[1])
    side = math.isqrt(in_shape[0]) if len(in_shape) == 1 else 0
    if side * side == math.prod(in_shape) and side > 1:
        return (1, side, side)
    raise UsageError(f"Records of shape {in_shape} are no images.", "Use the mlp, or reshape in your loader.")


def _channels(in_shape: tuple[int, ...]) -> int:
    return _image_shape(in_shape)[0]
