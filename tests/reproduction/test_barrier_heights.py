"""Heights of known lines, and which records and models they are taken of."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from barrier_cases import tiny_world

from expunge.errors import UsageError
from expunge.reproduction.barriers import forget_sets
from expunge.reproduction.barriers.heights import FIGURES, Lines, figures, measure_heights
from expunge.reproduction.barriers.models import COUPLINGS, Options, look_steps, rewind_step, train_models
from expunge.reproduction.config import checked_options
from expunge.reproduction.originals import label_matched, mean_rank, train_originals
from expunge.reproduction.work import Work
from expunge.training import StackedJob, train_stacked
from expunge.training.sampler import batch_rows

T = np.linspace(0.0, 1.0, 25)


def read(losses: np.ndarray) -> dict[str, float]:
    return dict(zip(FIGURES, figures(losses).tolist(), strict=True))


def test_a_hill_between_like_ends_is_a_barrier_and_a_rise() -> None:
    assert read(1.0 + T * (1 - T)) == pytest.approx({"height": 0.25, "coarse": 0.25, "rise": 0.25})


def test_a_slope_between_unlike_ends_is_a_rise_and_no_barrier() -> None:
    """Straight or convex: half the difference of the ends is all the rise there is."""
    for line in (2.0 * T, 2.0 * T**3):
        assert read(line) == pytest.approx({"height": 0.0, "coarse": 0.0, "rise": 1.0})


def test_every_second_point_misses_a_narrow_peak() -> None:
    peak = np.zeros(25)
    peak[7] = 1.0
    assert read(peak) == pytest.approx({"height": 1.0, "coarse": 0.0, "rise": 1.0})


def test_unknown_losses_are_unknown_heights() -> None:
    both = figures(np.stack([np.full(25, np.nan), T * (1 - T)]))
    assert np.isnan(both[0]).all() and both[1, 0] == pytest.approx(0.25)


def test_a_reordered_copy_is_no_neighbour_until_it_is_aligned() -> None:
    world = tiny_world(steps=150, learning_rate=0.5)
    (state,) = train_stacked(
        world.spec, world.train, world.training, [StackedJob(1, np.arange(300))], world.sampling_rate
    ).states()
    order = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    moved = {
        "1.weight": state["1.weight"][order], "1.bias": state["1.bias"][order],
        "3.weight": state["3.weight"][:, order], "3.bias": state["3.bias"],
    }  # fmt: skip
    line = Lines(world.spec, [world.train, world.held_out], 25)
    found = line.joined([(state, moved)])
    assert (np.abs(found[:, 0, 0]) > 0.05).all()
    np.testing.assert_allclose(found[:, 1], 0.0, atol=1e-6)
    np.testing.assert_allclose(line.joined([(state, state)]), 0.0, atol=1e-6)
    assert (line.joined([]) == 0).all()


@pytest.fixture(scope="module")
def options() -> Options:
    return Options(sets=4, forget=30, hardest=1, nulls=1, oracles=2, looks=(0.5, 1.0), points=5, evaluated=100)


def test_sets_run_from_the_easiest_to_the_hardest_and_the_null_has_the_labels_of_the_hardest(
    tmp_path: Path, options: Options
) -> None:
    world = tiny_world(steps=60)
    originals = train_originals(world, Work(tmp_path, "tiny", {}), 2)
    options = options.model_copy(update={"forget": 20})
    *blocks, null = forget_sets(world, originals, options)
    ranks = mean_rank(originals)
    assert [len(rows) for rows in (*blocks, null)] == [20] * 5
    assert len(np.unique(np.concatenate(blocks))) == 80 and not np.intersect1d(null, blocks[-1]).size
    assert set(blocks[0]) == set(np.argsort(ranks, kind="stable")[:20])
    assert all(ranks[low].max() <= ranks[high].min() for low, high in pairwise(blocks))
    assert ranks[blocks[-1]].min() >= np.delete(ranks, blocks[-1]).max()
    assert sorted(world.train.targets[null]) == sorted(world.train.targets[blocks[-1]])


def test_a_set_of_most_of_a_label_has_no_label_matched_null() -> None:
    world = tiny_world()
    with pytest.raises(UsageError, match="label 3"):
        label_matched(world, np.flatnonzero(world.train.targets == 3)[1:], 0)


def test_couplings_share_what_they_say(tmp_path: Path, options: Options) -> None:
    """Records that no batch of the original held are no loss: its oracle of the same draws is the original itself."""
    world = tiny_world(batch_size=10)
    (original,) = train_originals(world, Work(tmp_path, "tiny", {}), 1)
    config = original.trajectory.config
    drawn = np.unique(
        np.concatenate([batch_rows(config, config.seed, t, 300, world.sampling_rate).numpy() for t in range(12)])
    )
    never = np.setdiff1d(np.arange(300), drawn)
    assert 40 < len(never) < 280
    first = original.trajectory.state(original.trajectory.at(0)).model_state()
    models = train_models(world, original, [never, drawn[:30]], options)
    by_set = [dict(zip(COUPLINGS, per_set, strict=True)) for per_set in models.oracles]

    def apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
        return max(float((a[name] - b[name]).abs().max()) for name in a)

    assert apart(models.original, by_set[0]["same draws"][0]) < 1e-5
    assert apart(models.original, by_set[1]["same draws"][0]) > 1e-3
    for chosen in by_set:
        assert len(chosen["same draws"]) == 1 and len(chosen["own seed"]) == len(chosen["shared start"]) == 2
        assert apart(*chosen["shared start"]) > 1e-3
        moved = [apart(first, oracle) for oracle in (*chosen["shared start"], *chosen["own seed"])]
        assert max(moved[:2]) < min(moved[2:])
    assert len(models.unlearned) == len(models.trained_on) == 2 and len(models.rewound) == 2


def test_heights_of_an_original(tmp_path: Path, options: Options) -> None:
    world = tiny_world()
    (original,) = train_originals(world, Work(tmp_path, "tiny", {}), 1)
    sets = [np.arange(30 * k, 30 * k + 30) for k in range(3)]
    part = measure_heights(world, original, sets, options)
    assert {key: value.shape for key, value in part.items()} == {
        "before": (3, 3, 2, 2, 3), "baseline": (3, 3, 2, 2, 3), "rewound": (2, 3, 2, 2, 3),
        "looks": (2, 2, 3, 2, 2, 3), "trained_on": (2, 2, 3, 2, 2, 3), "ends": (3, 4, 2),
    }  # fmt: skip
    assert np.isnan(part["ends"][0, 1:3]).all() and np.isfinite(part["ends"][1:]).all()
    assert all(np.isfinite(value).all() and (value >= 0).all() for key, value in part.items() if key != "ends")
    assert (part["baseline"][:, COUPLINGS.index("same draws")] == 0).all()


def test_looks_and_the_rewind_are_shares_of_training(tmp_path: Path, options: Options) -> None:
    world = tiny_world()
    (original,) = train_originals(world, Work(tmp_path, "tiny", {}), 1)
    assert look_steps(world, options) == [6, 12]
    assert [rewind_step(original, share) for share in (0.0, 0.3, 0.6)] == [0, 4, 7]


@pytest.mark.parametrize(
    ("given", "word"),
    [({"points": 24}, "odd"), ({"hardest": 9}, "hardest"), ({"looks": [0.0, 1.0]}, "looks"), ({"set": 3}, "set")],
)
def test_options_that_do_not_go_together_are_refused(given: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        checked_options(Options, given, "barriers")
