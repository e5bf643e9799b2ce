"""Barriers between real models: paths to anchors, the alignment applied to every model, and samples that are stated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from expunge.data import load_records
from expunge.errors import UsageError
from expunge.evaluation.loss_paths import barrier_height
from expunge.models import MODELS, ModelSpec, build_model
from expunge.training import StackedJob, TrainingConfig, train_stacked
from expunge.training.alignment import align
from expunge.training.interpolation import loss_along
from expunge.unlearning.barriers import measure_barriers
from expunge.unlearning.methods import Procedure

CONFIG = TrainingConfig.model_validate(
    {"steps": 120, "batch_size": 30, "learning_rate": 0.5, "checkpoints": 2, "noise": {"convention": "implicit"}}
)


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    whole = load_records("digits")
    table = whole.select(whole.record_ids[:250])
    spec = ModelSpec("mlp", (64,), 10, options={"hidden": [12]})
    forget, retain = table.select(table.record_ids[:50]), table.select(table.record_ids[50:])
    jobs = [StackedJob(0, np.arange(250)), *(StackedJob(s, np.arange(50, 250)) for s in range(1, 7))]
    original, *oracles = train_stacked(spec, table, CONFIG, jobs, 0.12).states()
    return {"procedure": Procedure(spec, CONFIG, 0.12), "original": original, "oracles": oracles, "retain": retain,
            "forget": forget}  # fmt: skip


def measure(world: dict[str, Any], **given: Any) -> Any:
    world = {"unlearned": world["original"], "seed": 3, **world, **given}
    return measure_barriers(
        **{k: world[k] for k in ("procedure", "original", "unlearned", "oracles", "retain", "forget")},
        **{k: v for k, v in world.items() if k in ("pairs", "seed", "anchors", "held_back", "half_kept", "points",
                                                   "most_records", "progress")},
    )  # fmt: skip


def test_every_model_is_joined_to_the_same_anchors_and_aligned_to_them(world: dict[str, Any]) -> None:
    calls: list[tuple[int, int]] = []
    made = measure(world, pairs=3, half_kept=world["oracles"][:1], progress=lambda *at: calls.append(at))
    assert made.aligned is not None and made.not_aligned == ""
    retain = made.plain["retain"]
    assert retain.baseline.shape == (3, 2, 25) and retain.held_back.shape == retain.half_kept.shape == (1, 2, 25)
    assert calls[-1] == (14, 14)
    # All paths to one anchor end in the same loss; the oracles are dealt out without repetition.
    every = np.concatenate([retain.baseline, retain.held_back, retain.original[None]])
    assert np.ptp(every[..., -1], axis=0).max() < 1e-9
    starts = {round(float(v), 9) for v in [*retain.baseline[:, 0, 0], retain.held_back[0, 0, 0], *every[0, :, -1]]}
    assert len(starts) == 6
    # Alignment changes no end, and brings the oracles' barriers down.
    aligned = made.aligned["retain"]
    np.testing.assert_allclose(aligned.baseline[..., [0, -1]], retain.baseline[..., [0, -1]], rtol=1e-5)
    assert aligned.heights("baseline").mean() < 0.7 * retain.heights("baseline").mean()
    # One number by hand: the original to the anchor that its path ends in.
    spec, oracles = world["procedure"].spec, world["oracles"]
    ends = [loss_along(spec, o, o, [world["retain"]], 3)[0, 0] for o in oracles]
    anchor = oracles[int(np.argmin(np.abs(np.array(ends) - retain.original[0, -1])))]
    moved = align(spec, anchor, world["original"]).state
    assert moved is not None
    by_hand = loss_along(spec, moved, anchor, [world["retain"], world["forget"]])
    np.testing.assert_allclose(aligned.original[0], by_hand[0], rtol=1e-6)
    np.testing.assert_allclose(made.aligned["forget"].original[0], by_hand[1], rtol=1e-6)


def test_it_repeats_and_a_model_of_the_anchors_own_basin_has_no_barrier(world: dict[str, Any]) -> None:
    first, again = measure(world, pairs=2, anchors=1), measure(world, pairs=2, anchors=1)
    np.testing.assert_array_equal(first.plain["forget"].baseline, again.plain["forget"].baseline)
    other = measure(world, pairs=2, anchors=1, seed=4)
    assert not np.array_equal(first.plain["forget"].baseline, other.plain["forget"].baseline)
    for oracle in world["oracles"]:  # the anchor itself as the unlearned model: the only one without a barrier
        made = measure(world, pairs=1, anchors=1, unlearned=oracle).plain["retain"]
        same = bool(made.unlearned[0, 0] == made.unlearned[0, -1])
        assert (barrier_height(made.unlearned)[0] < 1e-6) == same


def test_samples_are_stated_and_few_oracles_are_enough_or_refused(world: dict[str, Any]) -> None:
    made = measure(world, pairs=6, most_records=40)
    assert made.records == {"retain": 40, "forget": 40} and made.of == {"retain": 200, "forget": 50}
    assert made.plain["retain"].baseline.shape[:2] == (4, 1)  # 6 oracles: one anchor, one held back
    small = measure(world, oracles=world["oracles"][:3])
    assert small.plain["retain"].baseline.shape[:2] == (1, 1) and len(small.plain["retain"].held_back) == 1
    with pytest.raises(UsageError, match="between 2 oracles"):
        measure(world, oracles=world["oracles"][:2])


class Skipping(nn.Module):
    """A residual network of one block."""

    def __init__(self, in_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.enter, self.block, self.leave = nn.Linear(in_shape[0], 8), nn.Linear(8, 8), nn.Linear(8, classes)

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        return self.leave(h + self.block(h).relu())


def test_an_architecture_that_cannot_be_aligned_has_plain_paths_and_the_reason(
    world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "skipping", Skipping)
    spec = ModelSpec("skipping", (64,), 10)
    original, *oracles = (dict(build_model(spec, s).state_dict()) for s in range(4))
    procedure = Procedure(spec, CONFIG, 0.12)
    made = measure_barriers(procedure, original, original, oracles, world["retain"], world["forget"], points=3)
    assert made.aligned is None and "more than one input" in made.not_aligned
    assert made.judged is made.plain and made.plain["forget"].baseline.shape == (1, 1, 3)
