"""Does the scorer give any number of batches their norms, at any checkpoint, in the memory of one batch?"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gradient_cases import oracle
from small_run import WideSequences
from torch import Tensor, nn

from expunge.errors import UsageError
from expunge.privacy import GradientNormScorer, NormsNotFinite, per_example_gradient_norms
from expunge.privacy.plain_pass import ratio_to_plain_pass


def small_cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    )


def records(n: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, 6, 6, generator=source), torch.randint(0, 3, (n,), generator=source)


def batches(x: Tensor, y: Tensor, *sizes: int) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(x.split(list(sizes)), y.split(list(sizes)), strict=True)


def test_a_stream_of_batches_has_the_norms_of_autograd() -> None:
    model, (x, y) = small_cnn(), records(50)
    got = list(GradientNormScorer(model).norms(batches(x, y, 7, 1, 0, 30, 12)))
    assert [len(part) for part in got] == [7, 1, 0, 30, 12]
    torch.testing.assert_close(torch.cat(got).double(), oracle(model, x, y), rtol=2e-5, atol=0)


def test_batches_are_scored_only_when_they_are_asked_for() -> None:
    model, (x, y) = small_cnn(), records(40)
    drawn = []

    def loader() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches(x, y, 20, 20):
            drawn.append(len(batch[0]))
            yield batch

    stream = GradientNormScorer(model).norms(loader())
    assert drawn == []
    next(stream)
    assert drawn == [20]


def test_other_weights_are_other_norms_and_training_goes_on_undisturbed() -> None:
    model, (x, y) = small_cnn(), records(20)
    scorer = GradientNormScorer(model)
    other = {name: value + 0.1 for name, value in model.state_dict().items()}
    before = torch.cat(list(scorer.norms([(x, y)])))
    scorer.load(other)
    after = torch.cat(list(scorer.norms([(x, y)])))
    moved = small_cnn()
    moved.load_state_dict(other)
    torch.testing.assert_close(after, per_example_gradient_norms(moved, x, y))
    assert (after - before).abs().max() > 1e-3
    assert model.training and all(p.grad is None and p.requires_grad for p in model.parameters())


def changed(state: dict[str, Any], **changes: Tensor | None) -> dict[str, Any]:
    made = {**state, **{name.replace("_", "."): value for name, value in changes.items()}}
    return {name: value for name, value in made.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"1_bias": torch.zeros(5), "4_weight": torch.zeros(3, 7)}, r"'1.bias' has shape \(5,\).*\(4,\)"),
        ({"4_weight": None, "4_bias": None}, "has no tensor '4.weight'"),
        ({"5_weight": torch.zeros(2)}, "'5.weight' is none of the model's"),
    ],
)
def test_a_checkpoint_of_another_architecture_names_the_first_tensor(changes: dict[str, Any], words: str) -> None:
    model = small_cnn()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scorer = GradientNormScorer(model)
    with pytest.raises(UsageError, match=words):
        scorer.load(changed({name: value + 1 for name, value in before.items()}, **changes))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_shared_tensor_goes_by_any_name_and_buffers_that_are_not_saved_may_be_left_out() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight
            self.register_buffer("scale", torch.ones(4), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(torch.tanh(self.first(x)) * self.scale)

    model = Tied()
    scorer = GradientNormScorer(model)
    weight = torch.full((4, 4), 0.5)
    once = {"second.weight": weight, "first.bias": torch.ones(4), "second.bias": torch.zeros(4)}
    scorer.load(once)
    assert torch.equal(model.first.weight, weight) and torch.equal(model.first.bias, torch.ones(4))
    scorer.load({**model.state_dict(), "scale": torch.full((4,), 2.0)})
    assert torch.equal(model.scale, torch.full((4,), 2.0))


def test_how_it_was_scored_is_known() -> None:
    model, (x, y) = small_cnn(), records(20)
    scorer = GradientNormScorer(model)
    assert scorer.how.one_pass is None
    list(scorer.norms([(x, y)]))
    how = scorer.how
    assert how.one_pass and how.reason == "" and set(how.kernels) == {name for name, _ in model.named_parameters()}

    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(36, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.flatten(1) - x.flatten(1).mean(0))

    mixing = Mixing()
    scorer = GradientNormScorer(mixing)
    (norms,) = scorer.norms([(x, y)])
    how = scorer.how
    assert how.one_pass is False and "interact" in how.reason and how.kernels == {}
    assert torch.equal(norms, per_example_gradient_norms(mixing, x, y))


def test_a_tuned_table_overrules_the_cost_model_and_gives_the_same_norms() -> None:
    model, (x, y) = small_cnn(), records(20)
    from expunge.privacy.kernel_choice import KernelChoice

    timed = KernelChoice(timing=True)
    list(GradientNormScorer(model, kernels=timed).norms([(x, y)]))
    assert timed.timed
    (tuned,) = GradientNormScorer(model, kernels=timed.timed).norms([(x, y)])
    torch.testing.assert_close(tuned, per_example_gradient_norms(model, x, y), rtol=2e-5, atol=0)


def test_bfloat16_is_close_and_not_the_same() -> None:
    torch.manual_seed(0)
    model = WideSequences()
    x, y = torch.randn(8, 128, 64), torch.randint(0, 3, (8,))
    (full,), (low,) = (GradientNormScorer(model, low_precision=low).norms([(x, y)]) for low in (False, True))
    error = (low - full).abs() / full
    assert 0 < error.max() < 0.05


def test_norms_that_are_not_finite_are_counted_from_the_start_of_the_stream() -> None:
    model, (x, y) = small_cnn(), records(30)
    x[17], x[29] = torch.inf, torch.nan
    stream = GradientNormScorer(model).norms(batches(x, y, 10, 20))
    next(stream)
    with pytest.raises(NormsNotFinite) as raised:
        next(stream)
    assert raised.value.rows == (17, 29)


@pytest.mark.parametrize(
    ("loss", "target", "words"),
    [
        (lambda outputs, targets: nn.functional.cross_entropy(outputs, targets), 0, "one number for the whole batch"),
        ("cross_entropy", 3, "outside 0..2"),
        ("cross_entropi", 0, "Did you mean 'cross_entropy'"),
    ],
)
def test_unusable_input_is_refused_in_words(loss: Any, target: int, words: str) -> None:
    model, (x, y) = small_cnn(), records(10)
    y[4] = target
    with pytest.raises(UsageError, match=words):
        list(GradientNormScorer(model, loss).norms([(x, y)]))


def test_a_model_without_trainable_parameters_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="no trainable parameter"):
        GradientNormScorer(small_cnn().requires_grad_(False))


def test_the_cost_is_measured_in_pairs_and_the_batch_cut_to_what_the_time_allows() -> None:
    scorer, (x, y) = GradientNormScorer(small_cnn()), records(600)
    whole = ratio_to_plain_pass(scorer, x, y, seconds=30, pairs=4)
    assert whole.records == 600 and whole.pairs == 4 and 0 < whole.median < 100
    cut = ratio_to_plain_pass(scorer, x, y, seconds=1e-6)
    assert cut.records == 32 and cut.pairs == 3


STATM = Path("/proc/self/statm")


@pytest.mark.skipif(not STATM.exists(), reason="reads Linux's /proc")
def test_memory_does_not_grow_with_the_number_of_batches() -> None:
    model = small_cnn()

    def loader(count: int) -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(count):
            yield records(256, seed=i)

    def resident_mib() -> float:
        return int(STATM.read_text().split()[1]) * 4096 / 2**20

    scorer = GradientNormScorer(model)
    sizes = []
    for number, _ in enumerate(scorer.norms(loader(300))):
        if number in (100, 299):
            sizes.append(resident_mib())
    assert sizes[1] - sizes[0] < 8  # the records of 200 batches are 7 MiB, their activations 450


def test_no_tensor_of_a_batch_is_left_to_the_garbage_collector() -> None:
    """It would hold a batch's activations until Python happens to collect: hundreds of MiB in a long scoring."""
    scorer, batch = GradientNormScorer(small_cnn()), records(20)
    list(scorer.norms([batch]))
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        list(scorer.norms([batch]))
        gc.collect()
        assert not [left for left in gc.garbage if isinstance(left, Tensor)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
