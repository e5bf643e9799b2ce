"""The pool: who left out what, how it is read, and what becomes of it when records are erased."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from expunge.data import RecordTable, load_records
from expunge.errors import NotFoundError, UsageError
from expunge.models import ModelSpec
from expunge.training import TrainingConfig, train
from expunge.unlearning.methods import Procedure
from expunge.unlearning.reference_pool import ReferencePool, left_out_blocks, train_pool


@pytest.fixture(scope="module")
def table() -> RecordTable:
    whole = load_records("digits")
    return whole.select(whole.record_ids[:260])


@pytest.fixture(scope="module")
def procedure() -> Procedure:
    config = TrainingConfig.model_validate(
        {"steps": 80, "batch_size": 40, "learning_rate": 0.4, "checkpoints": 4,
         "noise": {"convention": "mean_gradient", "sigma": 0.01}}
    )  # fmt: skip
    return Procedure(ModelSpec("mlp", (64,), 10, options={"hidden": [16]}), config, 40 / 200)


@pytest.fixture(scope="module")
def pool(procedure: Procedure, table: RecordTable) -> ReferencePool:
    return train_pool(procedure, table, table.record_ids[:200], models=12, seed=5)


@pytest.mark.parametrize(("subjects", "models", "share"), [(100, 64, 0.5), (101, 7, 0.5), (37, 10, 0.25), (40, 9, 0.7)])
def test_everyone_is_out_equally_often(subjects: int, models: int, share: float) -> None:
    out = left_out_blocks(subjects, models, share, 1)
    assert (out.sum(axis=1) == round(share * subjects)).all()
    assert np.ptp(out.sum(axis=0)) <= 1
    assert not np.array_equal(out, left_out_blocks(subjects, models, share, 2))
    assert len({own.tobytes() for own in out}) == models


def test_two_subjects_are_out_together_no_more_than_by_chance() -> None:
    out = left_out_blocks(60, 400, 0.5, 3)
    together = np.corrcoef(out.T)[np.triu_indices(60, 1)]
    assert abs(together.mean() + 1 / 59) < 0.005 and np.abs(together).max() < 0.3


def test_a_persons_records_are_out_together_and_held_out_ones_always(pool: ReferencePool, table: RecordTable) -> None:
    assert pool.logits.shape == (12, 260, 10) and pool.logits.dtype == np.float32
    assert not pool.trained[:, 200:].any()
    owners = np.array(table.subject_ids[:200])
    assert len(set(owners)) < 200
    for owner in set(owners):
        own = pool.trained[:, :200][:, owners == owner]
        assert (own == own[:, :1]).all()
    counts = (~pool.trained[:, :200]).sum(axis=0)
    assert np.ptp(counts) <= 1
    assert pool.share_left_out == pytest.approx(0.5, abs=0.03)


def test_a_pool_model_is_one_trained_on_its_records(
    pool: ReferencePool, procedure: Procedure, table: RecordTable, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from expunge.training import predict

    own = table.select([r for r, inside in zip(table.record_ids, pool.trained[3], strict=True) if inside])
    config = procedure.config.model_copy(update={"seed": pool.seeds[3]})
    alone = train(procedure.spec, own, config, tmp_path_factory.mktemp("alone"), sampling_rate=procedure.sampling_rate)
    expected = predict(procedure.spec, alone.state(alone.final).model_state(), table)
    np.testing.assert_allclose(pool.logits[3], expected, rtol=1e-3, atol=1e-3)


def test_models_are_surer_of_what_they_trained_on(pool: ReferencePool, table: RecordTable) -> None:
    own = pool.logits[:, np.arange(260), table.targets] - pool.logits.mean(axis=2)
    inside = np.ma.masked_array(own, ~pool.trained).mean(axis=0)[:200]
    outside = np.ma.masked_array(own, pool.trained).mean(axis=0)[:200]
    assert float((inside - outside).mean()) > 0.1


def test_outputs_follow_the_evaluations_order(pool: ReferencePool, table: RecordTable) -> None:
    wanted = [table.record_ids[i] for i in (250, 3, 199)]
    outputs = pool.outputs_for(wanted)
    np.testing.assert_array_equal(outputs.logits, pool.logits[:, [250, 3, 199]].astype(np.float64))
    np.testing.assert_array_equal(outputs.trained, pool.trained[:, [250, 3, 199]])
    np.testing.assert_array_equal(outputs.targets, table.targets[[250, 3, 199]])
    assert outputs.share_left_out == pool.share_left_out
    with pytest.raises(NotFoundError, match="'digit-nobody'"):
        pool.outputs_for([*wanted, "digit-nobody"])


def test_what_saw_a_record_is_its_descendant(pool: ReferencePool, table: RecordTable) -> None:
    first, second, held_out = (table.record_ids[i] for i in (0, 1, 220))
    assert pool.saw([first]) == tuple(np.flatnonzero(pool.trained[:, 0]))
    assert set(pool.saw([first, second])) == set(pool.saw([first])) | set(pool.saw([second]))
    assert pool.saw([held_out]) == ()
    with pytest.raises(NotFoundError, match="nobody"):
        pool.saw(["nobody"])


def test_erased_records_leave_no_column(pool: ReferencePool, table: RecordTable) -> None:
    gone = [table.record_ids[i] for i in (0, 210)]
    rest = pool.without([*gone, "never there"])
    assert len(rest) == 12 and len(rest.record_ids) == 258 and not set(gone) & set(rest.record_ids)
    np.testing.assert_array_equal(rest.logits, np.delete(pool.logits, [0, 210], axis=1))
    np.testing.assert_array_equal(rest.trained, np.delete(pool.trained, [0, 210], axis=1))
    with pytest.raises(NotFoundError):
        rest.outputs_for(gone[:1])


def test_a_pool_that_cannot_be_is_refused(pool: ReferencePool, procedure: Procedure, table: RecordTable) -> None:
    for models, share in ((1, 0.5), (3, 0.1), (3, 0.9), (4, 0.0), (4, 1.0)):
        with pytest.raises(UsageError, match="all or none"):
            left_out_blocks(20, models, share, 0)
    with pytest.raises(UsageError, match="do not go with"):
        replace(pool, seeds=pool.seeds[:-1])
    with pytest.raises(UsageError, match="twice"):
        replace(pool, record_ids=(*pool.record_ids[:-1], pool.record_ids[0]))
    with pytest.raises(NotFoundError, match="nobody"):
        train_pool(procedure, table, ["nobody"], models=4, seed=0)
    with pytest.raises(UsageError, match=r"fewer than a batch \(40\).*evaluation\.pool_models=0"):
        train_pool(procedure, table, table.record_ids[:60], models=8, seed=0)


def test_a_pool_costs_what_its_models_saw(pool: ReferencePool) -> None:
    assert pool.cost == pytest.approx(pool.trained[:, :200].sum() / 200)
