"""A stack is its models trained alone, up to rounding; it can start anywhere, stop anywhere and go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_cases import NOISE, config_of, some_digits, spec_of

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.models import ModelSpec, build_model
from expunge.training import StackedJob, StackedModels, TrainingConfig, TrainingDiverged, predict, train, train_stacked
from expunge.training.randomness import derived_seed
from expunge.training.sampler import batch_rows
from expunge.training.stacked_draws import StackedDraws
from expunge.training.state import TrainingState
from expunge.training.trainer import draw_noise

PLAIN: dict[str, object] = {"steps": 25, "batch_size": 20, "learning_rate": 0.2, "checkpoints": 3}


@pytest.fixture(scope="module")
def table() -> RecordTable:
    return some_digits()


def config(**given: object) -> TrainingConfig:
    return config_of(PLAIN, **given)


def jobs_of(table: RecordTable, count: int = 3) -> list[StackedJob]:
    """Models of unequal numbers of records, out of order."""
    return [StackedJob(7 + k, np.random.default_rng(k).permutation(len(table))[: 120 + 30 * k]) for k in range(count)]


def assert_alone(
    stack: StackedModels, spec: ModelSpec, table: RecordTable, wanted: TrainingConfig, jobs: list[StackedJob], q: float,
    folder: Path,
) -> None:  # fmt: skip
    for k, job in enumerate(jobs):
        ids = sorted(table.record_ids[i] for i in job.rows)
        own = wanted.model_copy(update={"seed": job.seed})
        alone = train(spec, table.select(ids), own, folder / str(k), sampling_rate=q)
        expected = alone.state(alone.final).tensors()
        assert set(expected) == set(stack.state.tensors())
        for name, tensor in expected.items():
            torch.testing.assert_close(stack.state.tensors()[name][k], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "given",
    [
        *({"noise": noise} for noise in NOISE.values()),
        {"momentum": 0.9},
        {"weight_decay": 0.05},
        {"momentum": 0.9, "weight_decay": 0.05, "noise": NOISE["langevin"]},
        {"batches": "shuffled"},
        {"schedule": {"kind": "cosine", "warmup": 4}},
        {"batch_size": 1},
    ],
    ids=str,
)
def test_every_model_is_the_one_trained_alone(table: RecordTable, tmp_path: Path, given: dict[str, Any]) -> None:
    """With batches of one expected record some are empty."""
    wanted = config(**given)
    jobs = [StackedJob(job.seed, np.sort(job.rows)) for job in jobs_of(table)]
    q = wanted.batch_size / 150
    stack = train_stacked(spec_of(table), table, wanted, jobs, q, together=True)
    assert_alone(stack, spec_of(table), table, wanted, jobs, q, tmp_path)


def test_full_batches_are_retrained_without_some_records(table: RecordTable, tmp_path: Path) -> None:
    """b and q stay the original's (METHOD section 1), though fewer than b records are left."""
    wanted = config(batch_size=len(table), steps=5, noise=NOISE["implicit"])
    jobs = [StackedJob(1, np.arange(len(table) - 40)), StackedJob(1, np.arange(len(table)))]
    stack = train_stacked(spec_of(table), table, wanted, jobs, 1.0)
    assert_alone(stack, spec_of(table), table, wanted, jobs, 1.0, tmp_path)
    with pytest.raises(UsageError, match="batch_size"):
        train_stacked(spec_of(table), table, wanted, [StackedJob(1, np.arange(100))], 1.0)


@pytest.mark.parametrize("together", [True, False])
def test_convolutions_give_the_same_either_way(table: RecordTable, tmp_path: Path, together: bool) -> None:
    spec, wanted = spec_of(table, "small_cnn", width=4), config(steps=6, momentum=0.5)
    jobs = [StackedJob(job.seed, np.sort(job.rows)) for job in jobs_of(table, 2)]
    stack = train_stacked(spec, table, wanted, jobs, 0.1, together=together)
    assert_alone(stack, spec, table, wanted, jobs, 0.1, tmp_path)


@pytest.mark.parametrize(("name", "stacked"), [("mlp", True), ("small_cnn", False)])
def test_layers_decide_what_is_stacked(
    table: RecordTable, monkeypatch: pytest.MonkeyPatch, name: str, stacked: bool
) -> None:
    spec = spec_of(table) if name == "mlp" else spec_of(table, name, width=4)

    def refuse(*_: object) -> None:
        raise AssertionError("trained alone")

    monkeypatch.setattr("expunge.training.stacked.train_step", refuse)
    if stacked:
        train_stacked(spec, table, config(), jobs_of(table), 0.1)
    else:
        with pytest.raises(AssertionError, match="trained alone"):
            train_stacked(spec, table, config(), jobs_of(table), 0.1)


def test_batch_normalisation_trains_one_by_one(table: RecordTable) -> None:
    """Each model keeps statistics of its own."""
    spec = spec_of(table, "resnet18", norm="batch")
    small = table.select(table.record_ids[:40])
    stack = train_stacked(
        spec, small, config(steps=2, batch_size=8, checkpoints=2), [StackedJob(k, np.arange(40)) for k in range(2)], 0.2
    )
    means = stack.state.buffers["1.bn1.running_mean"]
    assert means.shape[0] == 2 and not torch.equal(means[0], means[1])


@pytest.mark.parametrize("batches", ["poisson", "shuffled"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_stack_draws_what_each_model_draws_alone(table: RecordTable, batches: str, threads: int) -> None:
    wanted, jobs = config(batches=batches), jobs_of(table)
    params = TrainingState.of(build_model(spec_of(table))).params
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        width = sum(p.numel() for p in params.values())
        with StackedDraws(wanted, [j.seed for j in jobs], [j.rows for j in jobs], 0.1, width) as draws:
            for step in (0, 11, 3):
                index, weight = draws.batches(step)
                noise = draws.noise(step)
                for k, job in enumerate(jobs):
                    alone = job.rows[batch_rows(wanted, job.seed, step, len(job.rows), 0.1)]
                    np.testing.assert_array_equal(index[k][weight[k] > 0], alone)
                    assert set(index[k].tolist()) <= set(job.rows.tolist())  # padding too
                    named = draw_noise(params, wanted.model_copy(update={"seed": job.seed}), step)
                    assert torch.equal(noise[k], torch.cat([named[name].flatten() for name in sorted(named)]))
    finally:
        torch.set_num_threads(before)


def test_no_model_touches_a_record_that_is_not_its_own(table: RecordTable) -> None:
    """Their features are NaN: had any been read, also as padding of weight 0, the loss would be NaN."""
    features = table.features.copy()
    features[:100] = np.nan
    poisoned = replace(table, features=features)
    jobs = [StackedJob(k, np.arange(100 + 20 * k, 240)) for k in range(3)]
    stack = train_stacked(spec_of(table), poisoned, config(batch_size=4), jobs, 0.03)
    assert all(bool(torch.isfinite(p).all()) for p in stack.state.params.values())


@pytest.mark.parametrize("batches", ["poisson", "shuffled"])
@pytest.mark.parametrize("together", [True, False])
def test_absent_records_are_drawn_and_left_out(table: RecordTable, batches: str, together: bool) -> None:
    """With no records absent it is the same run; with some, every step takes the same batch without them."""
    spec, wanted, everyone = spec_of(table), config(batches=batches, steps=4), np.arange(len(table))
    absent = np.arange(0, 80)
    jobs = [StackedJob(5, everyone), StackedJob(5, everyone, absent[:0]), StackedJob(5, everyone, absent)]
    stack = train_stacked(spec, table, wanted, jobs, 0.1, together=together)
    weights = stack.state.params["1.weight"]
    assert torch.equal(weights[0], weights[1])
    with StackedDraws(wanted, [5, 5], [everyone, everyone], 0.1, 0, [None, torch.from_numpy(absent)]) as draws:
        for step in range(4):
            index, weight = draws.batches(step)
            whole, without = (index[k][weight[k] > 0].tolist() for k in (0, 1))
            assert without == [row for row in whole if row >= 80] and len(without) < len(whole)
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("together", [True, False])
def test_absent_records_are_never_read(table: RecordTable, together: bool) -> None:
    features = table.features.copy()
    features[:100] = np.nan
    job = StackedJob(1, np.arange(240), np.arange(100))
    stack = train_stacked(
        spec_of(table), replace(table, features=features), config(), [job, job], 0.1, together=together
    )
    assert all(bool(torch.isfinite(p).all()) for p in stack.state.params.values())


def test_stacked_or_alone_the_absent_are_the_same(table: RecordTable) -> None:
    jobs = [StackedJob(k, np.arange(240), np.arange(0, 240, 3)) for k in range(2)]
    stacks = [train_stacked(spec_of(table), table, config(), jobs, 0.1, together=t) for t in (True, False)]
    for name, tensor in stacks[0].state.params.items():
        torch.testing.assert_close(tensor, stacks[1].state.params[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("given", [{}, {"momentum": 0.9, "noise": NOISE["weights"]}], ids=str)
@pytest.mark.parametrize("stop", [0, 10, 25])
def test_stopping_and_going_on_is_going_through(table: RecordTable, given: dict[str, Any], stop: int) -> None:
    spec, wanted, jobs = spec_of(table), config(**given), jobs_of(table)
    through = train_stacked(spec, table, wanted, jobs, 0.1)
    at = train_stacked(spec, table, wanted, jobs, 0.1, until=stop)
    kept = {name: tensor.clone() for name, tensor in at.state.tensors().items()}
    after = train_stacked(spec, table, wanted, jobs, 0.1, start=(stop, at), at_once=2)
    for name, tensor in through.state.tensors().items():
        torch.testing.assert_close(after.state.tensors()[name], tensor, rtol=1e-5, atol=1e-6)
    assert all(torch.equal(at.state.tensors()[name], tensor) for name, tensor in kept.items())  # untouched


def test_each_job_goes_on_from_its_own_model(table: RecordTable) -> None:
    """And on other records: what a shadow model does when it forgets."""
    spec, wanted, jobs = spec_of(table), config(), jobs_of(table)
    at = train_stacked(spec, table, wanted, jobs, 0.1, until=12)
    others = [StackedJob(job.seed, job.rows[:100]) for job in jobs]
    stack = train_stacked(spec, table, wanted, others, 0.1, start=(12, at), at_once=2)
    for k, job in enumerate(others):
        own = TrainingState.from_tensors({name: tensor[k] for name, tensor in at.state.tensors().items()})
        alone = train_stacked(spec, table, wanted, [job], 0.1, start=(12, own))
        for name, tensor in alone.state.params.items():
            torch.testing.assert_close(stack.state.params[name][k], tensor[0], rtol=1e-4, atol=1e-5)


def test_progress_ends_at_its_total(table: RecordTable) -> None:
    seen: list[tuple[int, int]] = []
    jobs = jobs_of(table)
    train_stacked(spec_of(table), table, config(), jobs, 0.1, until=10, at_once=2, progress=lambda *a: seen.append(a))
    assert seen[-1] == (20, 20) and seen == sorted(seen)


def test_logits_are_those_of_each_model_alone(table: RecordTable) -> None:
    for spec in (spec_of(table), spec_of(table, "small_cnn", width=4)):
        models = train_stacked(spec, table, config(), jobs_of(table), 0.1, until=2)
        logits = models.logits(table, chunk=100)
        assert logits.shape == (3, 240, 10) and logits.dtype == np.float32
        for own, state in zip(logits, models.states(), strict=True):
            np.testing.assert_allclose(own, predict(spec, state, table), rtol=1e-5, atol=1e-6)


def test_what_does_not_fit_is_refused(table: RecordTable) -> None:
    spec, jobs = spec_of(table), jobs_of(table)
    at = train_stacked(spec, table, config(), jobs, 0.1, until=2)
    with pytest.raises(UsageError, match="3 models to start from, but 2 jobs"):
        train_stacked(spec, table, config(), jobs[:2], 0.1, start=(2, at))
    with pytest.raises(UsageError, match="from step 2 to step 1"):
        train_stacked(spec, table, config(), jobs, 0.1, start=(2, at), until=1)
    with pytest.raises(UsageError, match="to step 26 of 25"):
        train_stacked(spec, table, config(), jobs, 0.1, until=26)
    with pytest.raises(UsageError, match="batch_size"):
        train_stacked(spec, table, config(batch_size=140), jobs, 140 / 120)
    with pytest.raises(TrainingDiverged):
        train_stacked(spec, table, config(learning_rate=1e30, steps=40), jobs, 0.1)


def test_an_original_at_full_batch_has_oracles(table: RecordTable, tmp_path: Path) -> None:
    """They have fewer records than the original's batch, all of them in every batch, and divide by its size."""
    full = config(batch_size=240, steps=4)
    jobs = [StackedJob(3, np.arange(200))]
    stack = train_stacked(spec_of(table), table, full, jobs, 1.0)
    assert_alone(stack, spec_of(table), table, full, jobs, 1.0, tmp_path)
    half = train_stacked(spec_of(table), table, config(batch_size=120, steps=4), jobs, 1.0)
    assert any((a != b).any() for a, b in zip(stack.state.params.values(), half.state.params.values(), strict=True))


def test_two_seeds_are_two_models(table: RecordTable) -> None:
    rows = np.arange(240)
    made = train_stacked(
        spec_of(table), table, config(), [StackedJob(derived_seed(1, "a", k), rows) for k in (0, 1)], 0.1
    )
    assert not torch.equal(*made.state.params["1.weight"])
