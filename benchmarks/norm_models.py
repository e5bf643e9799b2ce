"""The models that per-example gradient norms are timed on, and what peers need changed to accept them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.models.factories import mlp, resnet18, small_cnn, vit_small

CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A model, its batch, and the ratio to a plain pass that is the goal. `words`: vocabulary of integer inputs."""

    title: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    goal: float
    words: int = 0

    def build(self, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
        """The model in eval mode, inputs and targets."""
        torch.manual_seed(seed)
        model = self.make().eval()
        inputs = torch.randint(0, self.words, self.shape) if self.words else torch.randn(self.shape)
        return model, inputs, torch.randint(0, CLASSES, (self.shape[0],))


class Block(nn.Module):
    """A residual block of He et al. 2016 with GroupNorm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.GroupNorm(4, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.GroupNorm(4, outputs)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.short = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.GroupNorm(4, outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.short(x))


def residual(blocks: int, width: int = 16) -> nn.Module:
    """ResNet-8 (1 block a stage) or ResNet-20 (3) for 32 x 32 images."""
    layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.GroupNorm(4, width), nn.ReLU()]
    inputs = width
    for stage in range(3):
        for block in range(blocks):
            outputs = width << stage
            layers.append(Block(inputs, outputs, 2 if block == 0 and stage > 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, CLASSES))


class Recurrent(nn.Module):
    """Embedding, one recurrent layer, Linear on its last state."""

    def __init__(self, kind: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.words, self.layer, self.head = nn.Embedding(1000, 64), kind(64, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, tokens: Tensor) -> Tensor:
        states: Tensor = self.layer(self.words(tokens))[0]
        return self.head(states[:, -1])  # type: ignore[no-any-return]


def textbook_cnn() -> nn.Module:
    """Two 3 x 3 convolutions with max-pooling and a hidden layer, no normalisation: every peer takes it."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, CLASSES)),
    )


CASES: dict[str, Case] = {
    "mlp": Case("MLP 784-512-256-10", lambda: mlp((784,), CLASSES, (512, 256)), (512, 784), 1.0),
    "mlp-tiny": Case("MLP 64-64-10 (digits)", lambda: mlp((64,), CLASSES, (64,)), (1024, 64), 1.0),
    "cnn": Case("CNN 28x28 (shipped)", lambda: small_cnn((784,), CLASSES), (512, 784), 1.25),
    "cnn-pool": Case("CNN 28x28 (textbook)", textbook_cnn, (256, 1, 28, 28), 1.25),
    "resnet8": Case("ResNet-8, GroupNorm", lambda: residual(1), (128, 3, 32, 32), 1.15),
    "resnet20": Case("ResNet-20, GroupNorm", lambda: residual(3), (128, 3, 32, 32), 1.15),
    "resnet18": Case("ResNet-18, GroupNorm", lambda: resnet18((3, 32, 32), CLASSES), (32, 3, 32, 32), 1.0),
    "resnet18-bn": Case("ResNet-18, BatchNorm", lambda: resnet18((3, 32, 32), CLASSES, "batch"), (32, 3, 32, 32), 1.0),
    "vit": Case("ViT-small", lambda: vit_small((3, 32, 32), CLASSES), (32, 3, 32, 32), 0.9),
    "gru": Case("GRU, 50 steps", lambda: Recurrent(nn.GRU), (128, 50), 2.5, words=1000),
    "lstm": Case("LSTM, 50 steps", lambda: Recurrent(nn.LSTM), (128, 50), 2.5, words=1000),
}
