"""Are attention, recurrent layers, adapters and torchvision's models exact, and in one pass?"""

from __future__ import annotations

import copy
import resource
from collections.abc import Callable

import pytest
import torch
from gradient_cases import assert_matches, oracle
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from expunge.errors import UsageError
from expunge.models.factories import vit_small
from expunge.privacy import per_example_gradient_norms
from expunge.privacy.losses import cross_entropy, find_loss
from expunge.privacy.norm_ways import Way

pytestmark = pytest.mark.filterwarnings("ignore:enable_nested_tensor")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def labels(n: int = 6) -> Tensor:
    return torch.randint(0, 5, (n,))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], packed: bool, **options: object) -> None:
        super().__init__()
        self.words, self.packed = nn.Embedding(11, 4, padding_idx=0), packed
        self.layer = kind(4, 6, batch_first=True, **options)
        self.head = nn.Linear(12 if options.get("bidirectional") else 6, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens)
        if not self.packed:
            return self.head(self.layer(x)[0][:, -1])
        lengths = (tokens != 0).sum(1)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        out, _ = nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)
        return self.head(out.sum(1))


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}])
def test_recurrent_layers_packed_or_not(kind: type[nn.RNNBase], packed: bool, options: dict[str, object]) -> None:
    tokens = torch.randint(1, 11, (6, 9))
    for i in range(6):
        tokens[i, 3 + i :] = 0
    assert_matches(Recurrent(kind, packed, **options), tokens[torch.randperm(6)], labels())


@pytest.mark.parametrize("cell", [nn.GRUCell, nn.LSTMCell, nn.RNNCell])
def test_cells_unrolled_by_hand(cell: type[nn.Module]) -> None:
    class Unrolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = cell(4, 6), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            h = x.new_zeros(len(x), 6)
            c = h.clone()
            for t in range(x.shape[1]):
                if isinstance(self.cell, nn.LSTMCell):
                    h, c = self.cell(x[:, t], (h, c))
                else:
                    h = self.cell(x[:, t], h)
            return self.head(h)

    assert_matches(Unrolled(), torch.randn(6, 3, 4, dtype=torch.float64), labels())


class Encoder(nn.Module):
    def __init__(self, batch_first: bool, **options: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first, **options)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 5)
        self.positions_first = not batch_first

    def forward(self, x: Tensor) -> Tensor:
        if self.positions_first:
            return self.head(self.body(x.transpose(0, 1)).mean(0))
        return self.head(self.body(x).mean(1))


@pytest.mark.parametrize("positions", [1, 6, 7])  # 6: as long as the batch
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_transformer_encoder(positions: int, batch_first: bool, norm_first: bool) -> None:
    x = torch.randn(6, positions, 8, dtype=torch.float64)
    assert_matches(Encoder(batch_first, norm_first=norm_first), x, labels())


def test_cross_attention_with_learned_queries_and_bias_of_keys() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.queries = nn.Parameter(torch.randn(1, 3, 8))
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)
            self.head = nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.attention(self.queries.expand(len(x), -1, -1), x, x)[0].mean(1))

    assert_matches(Pooled(), torch.randn(6, 7, 8, dtype=torch.float64), labels())


def test_low_rank_adapters_on_a_frozen_body() -> None:
    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = nn.Linear(7, 9).requires_grad_(False)
            self.down, self.up = nn.Parameter(torch.randn(7, 2)), nn.Parameter(torch.randn(9, 2))
            self.scale, self.head = nn.Parameter(torch.tensor(0.5)), nn.Linear(9, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.tanh(self.base(x) + (x @ self.down @ self.up.T) * self.scale))

    assert_matches(Adapted(), torch.randn(6, 7, dtype=torch.float64), labels())


@pytest.mark.parametrize("layer", [nn.PReLU(), nn.PReLU(4), nn.InstanceNorm2d(4, affine=True), nn.BatchNorm2d(4)])
def test_small_layers_and_residual_in_place_addition(layer: nn.Module) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.layer, self.head = nn.Conv2d(3, 4, 3, padding=1), layer, nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x)
            out = self.layer(h)
            out += h
            return self.head(F.relu(out, inplace=True).mean((2, 3)))

    assert_matches(Residual(), torch.randn(6, 3, 5, 5, dtype=torch.float64), labels())


@pytest.mark.parametrize("options", [{"stride": 2, "padding": 1}, {"dilation": 2, "padding": "same"}, {"groups": 2}])
def test_convolution_of_sequences(options: dict[str, object]) -> None:
    body = nn.Conv1d(4, 6, 3, **options)  # type: ignore[arg-type]
    model = nn.Sequential(body, nn.ReLU(inplace=True), nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(12, 5))
    assert_matches(model, torch.randn(6, 4, 9, dtype=torch.float64), labels())


VISION: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: models.resnet18(num_classes=5),
    "mobilenet_v3_small": lambda: models.mobilenet_v3_small(num_classes=5),
    "shufflenet": lambda: models.shufflenet_v2_x0_5(num_classes=5),
    "densenet": lambda: models.DenseNet(8, (2, 2), 16, num_classes=5),
    "vit": lambda: models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=5
    ),
    "vit_small": lambda: vit_small((3, 32, 32), 5, patch=8, width=24, depth=2, heads=3),
}


@pytest.mark.parametrize("name", VISION)
def test_models_of_torchvision_unmodified(name: str) -> None:
    model = VISION[name]()
    nn.init.normal_([p for p in model.parameters() if p.ndim == 2][-1], std=0.1)  # the last layer of vit starts at 0
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 2.0)
    assert_matches(model, torch.randn(4, 3, 32, 32, dtype=torch.float64), labels(4))


def loss_oracle(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    norms = []
    for i in range(len(x)):
        model.zero_grad()
        loss(model(x[i : i + 1]), y[i : i + 1]).backward()
        norms.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm())
    model.zero_grad()
    return torch.stack(norms)


WEIGHT = torch.tensor([0.5, 1, 2, 3, 4], dtype=torch.float64)
LOSSES = {
    "class weights and smoothing": (
        nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1),
        lambda out, y: F.cross_entropy(out, y, WEIGHT, label_smoothing=0.1, reduction="sum"),
        lambda: labels(),
    ),
    "soft labels": ("cross_entropy", F.cross_entropy, lambda: torch.rand(6, 5, dtype=torch.float64).softmax(1)),
    "multi-label": (
        "binary_cross_entropy",
        lambda out, y: F.binary_cross_entropy_with_logits(out, y, reduction="sum"),
        lambda: torch.randint(0, 2, (6, 5)).double(),
    ),
    "squared error": (
        "squared_error",
        lambda out, y: F.mse_loss(out, y, reduction="sum"),
        lambda: torch.randn(6, 5, dtype=torch.float64),
    ),
    "module": (
        nn.MSELoss(),
        lambda out, y: F.mse_loss(out, y, reduction="sum"),
        lambda: torch.randn(6, 5, dtype=torch.float64),
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_any_loss(name: str) -> None:
    loss, single, make = LOSSES[name]
    model = nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 5)).double()
    x, y = torch.randn(6, 7, dtype=torch.float64), make()
    got = per_example_gradient_norms(model, x, y, loss=loss)  # type: ignore[arg-type]
    torch.testing.assert_close(got, loss_oracle(model, single, x, y), rtol=1e-10, atol=0.0)


def test_sequence_loss_and_nested_outputs_and_named_inputs() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 5)

        def forward(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
            return {"logits": self.head(self.body(x)[0]) * mask[..., None]}

    model = Tagger().double()
    x, mask = torch.randn(6, 7, 4, dtype=torch.float64), torch.rand(6, 7).double()
    y = torch.randint(0, 5, (6, 7))
    y[:, -2:] = -100

    def loss(outputs: dict[str, Tensor], targets: Tensor) -> Tensor:
        return find_loss("sequence_cross_entropy")(outputs["logits"], targets)

    got = per_example_gradient_norms(model, {"x": x, "mask": mask}, y, loss=loss)
    for i in range(6):
        model.zero_grad()
        F.cross_entropy(model(x[i : i + 1], mask[i : i + 1])["logits"][0], y[i], reduction="sum").backward()
        expected = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
        torch.testing.assert_close(got[i], expected, rtol=1e-10, atol=0.0)


def test_a_loss_of_one_number_for_the_batch_and_an_unknown_loss_are_refused() -> None:
    model, x, y = nn.Linear(7, 5), torch.randn(6, 7), labels()
    with pytest.raises(UsageError, match="one number for the whole batch"):
        per_example_gradient_norms(model, x, y, loss=F.cross_entropy)
    with pytest.raises(UsageError, match="no loss 'crossentropy'"):
        per_example_gradient_norms(model, x, y, loss="crossentropy")


def test_batch_statistics_used_by_a_function_are_refused() -> None:
    class Normalises(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(7, 5)

        def forward(self, x: Tensor) -> Tensor:
            return F.batch_norm(self.head(x), None, None, training=True)

    with pytest.raises(UsageError, match="normalises by the batch"):
        per_example_gradient_norms(Normalises(), torch.randn(6, 7), labels())


def test_memory_does_not_grow_over_batches() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(inplace=True), nn.Flatten(), nn.LayerNorm(4096)
    )
    model.append(nn.Linear(4096, 5))
    way = Way(model.eval(), cross_entropy)
    x, y = torch.randn(32, 3, 16, 16), labels(32)
    for _ in range(20):
        way.one_pass(x, y)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):  # one leaked activation of 0.5 MB a batch would add 150 MB
        way.one_pass(x, y)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000


def test_the_oracle_here_sees_a_difference_of_one_entry() -> None:
    model, x, y = nn.Linear(7, 5), torch.randn(6, 7), labels()
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.weight[0, 0] += 1e-3
    assert not torch.allclose(oracle(model, x, y), oracle(changed, x, y), rtol=1e-7, atol=0.0)
