"""What do fewer checkpoints and bfloat16 change, is it measured, and does what reads the scores still work?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_run import N, T, WideSequences, small_config, small_run, small_table

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.models import MODELS, ModelSpec
from expunge.privacy import GradientNorms, ScoringOptions, ShardFolder, compose, score_trajectory, trajectory_losses
from expunge.privacy.fewer_checkpoints import rank_loss
from expunge.privacy.part_scoring import score_parts
from expunge.privacy.scoring_parts import ScoringParts, chosen_steps
from expunge.privacy.scoring_report import scoring_report
from expunge.privacy.shards import BlocksInMemory
from expunge.privacy.trajectory_scores import joined
from expunge.training import Trajectory, train
from expunge.unlearning.share_curve import share_before

RECORDS = 120  # `rank_loss` wants a hundred


@pytest.fixture(scope="module")
def table() -> RecordTable:
    return small_table(RECORDS)


@pytest.fixture(scope="module")
def trained(table: RecordTable, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    return small_run(table, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def whole(trained: Trajectory, table: RecordTable) -> GradientNorms:
    return score_trajectory(trained, table)


def test_the_chosen_checkpoints_are_evenly_spaced_with_both_ends(trained: Trajectory) -> None:
    assert chosen_steps(trained, None) == chosen_steps(trained, 5) == chosen_steps(trained, 99) == (0, 6, 12, 17, 23)
    assert chosen_steps(trained, 3) == (0, 12, 23) and chosen_steps(trained, 2) == (0, 23)


def test_fewer_checkpoints_are_the_same_columns_and_say_so(
    trained: Trajectory, table: RecordTable, whole: GradientNorms
) -> None:
    fewer = score_trajectory(trained, table, options=ScoringOptions(checkpoints=3))
    assert fewer.steps == (0, 12, 23) and fewer.settings["checkpoints"] == {"scored": 3, "of": 5}
    np.testing.assert_array_equal(fewer.norms, whole.norms[:, [0, 2, 4]])
    losses = trajectory_losses(fewer, trained, 8, 1.0)
    expected = compose(fewer.norms, [c.s for c in trained.checkpoints][::2], 8 / RECORDS, fewer.steps, T, 8)  # type: ignore[arg-type]
    np.testing.assert_array_equal(losses.total, expected.total)
    assert "checkpoints" not in whole.settings
    with pytest.raises(UsageError, match="different checkpoints"):
        trajectory_losses(replace(fewer, settings={}), trained, 8, 1.0)


@pytest.mark.parametrize("sample", [100, RECORDS])
def test_what_fewer_checkpoints_lose_is_measured_on_a_sample(
    trained: Trajectory, table: RecordTable, whole: GradientNorms, tmp_path: Path, sample: int
) -> None:
    options = ScoringOptions(checkpoints=3, sample=sample)
    parts = ScoringParts(trained, table, None, options)
    kept = ShardFolder(tmp_path, parts.key)
    tally = score_parts(parts, kept)
    assert tally.gradients == parts.work() == 3 * RECORDS + 2 * sample
    report = scoring_report(parts, kept, joined(parts, kept), tally, 8, 1.0)
    s = [c.s for c in trained.checkpoints]
    rows = np.sort(np.random.default_rng(0).choice(RECORDS, sample, replace=False))
    expected = rank_loss(whole.norms[rows], [0, 2, 4], s, 8 / RECORDS, whole.steps, T, 8)  # type: ignore[arg-type]
    assert report["rank_loss"]["spearman"] == pytest.approx(expected.spearman, rel=1e-3)
    assert report["rank_loss"]["words"].startswith("Scoring 3 of 5 checkpoints")
    assert report["rank_loss"]["tops"][0]["lost"] == expected.tops[0].lost
    assert report["precision_error"] is None and report["checkpoints"] == {"scored": 3, "of": 5}


def test_too_few_records_to_measure_it_are_said_to_be_too_few(tmp_path: Path) -> None:
    few = small_table()
    run = small_run(few, tmp_path)
    parts, kept = ScoringParts(run, few, None, ScoringOptions(checkpoints=3)), BlocksInMemory()
    report = scoring_report(parts, kept, joined(parts, _filled(parts, kept)), score_parts(parts, kept), 8, 1.0)
    assert report["rank_loss"] == {"words": "What fewer checkpoints lose was not measured: 40 records are too few."}


def _filled(parts: ScoringParts, kept: BlocksInMemory) -> BlocksInMemory:
    score_parts(parts, kept)
    return kept


def test_what_bfloat16_changes_is_measured_on_a_sample(
    table: RecordTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "wide", lambda **_: WideSequences())
    features = np.random.default_rng(1).normal(size=(RECORDS, 128, 64)).astype(np.float32)
    sequences = replace(table, features=features)
    run = train(ModelSpec("wide", (128, 64), 3), sequences, small_config(steps=3, checkpoints=2), tmp_path)
    parts = ScoringParts(run, sequences, None, ScoringOptions(low_precision=True, sample=100))
    kept = BlocksInMemory()
    tally = score_parts(parts, kept)
    norms, exact = joined(parts, kept), score_trajectory(run, sequences)
    assert norms.settings["dtype"] == "bfloat16" and norms.norms.dtype == np.float32
    error = np.abs(norms.norms - exact.norms) / exact.norms
    measured = scoring_report(parts, kept, norms, tally, 8, 1.0)["precision_error"]
    assert measured["records"] == 100
    assert 0 < measured["median"] <= measured["largest"] <= error.max() * 1.001 < 0.05
    assert 0.9 < measured["spearman"] <= 1


def test_the_share_spent_grows_evenly_where_checkpoints_were_left_out(trained: Trajectory) -> None:
    """Norms that never change: the share spent before a step is the share of the steps before it."""
    norms = GradientNorms(
        np.ones((4, 3), dtype=np.float32), ("a", "b", "c", "d"), (0, 12, 23), {"checkpoints": {"scored": 3, "of": 5}}
    )
    fewer = trajectory_losses(norms, trained, 8, 1.0)
    for step in range(T + 1):
        assert share_before(fewer, ["a", "c"], step) == pytest.approx(step / T, abs=1e-6)
    everywhere = replace(fewer, settings={k: v for k, v in fewer.settings.items() if k != "checkpoints"})
    assert share_before(everywhere, ["a"], 12) < 0.3, "the rule for a run that was scored at all checkpoints"


def test_after_a_rewind_of_what_was_scored_at_fewer(
    trained: Trajectory, table: RecordTable, whole: GradientNorms
) -> None:
    """The checkpoints before the rewind point that nobody scored are gone for good: what is left is used."""
    old = score_trajectory(trained, table, options=ScoringOptions(checkpoints=3))
    retain = table.without(["r05"])
    rewound = replace(
        trained,
        record_ids=retain.record_ids,
        checkpoints=tuple(replace(c, destroyed=c.step <= 12) for c in trained.checkpoints),
    )
    got = score_trajectory(rewound, table, old)
    assert got.steps == (0, 12, 17, 23) and got.settings["checkpoints"] == {"scored": 4, "of": 5}
    np.testing.assert_array_equal(got.norms[:, :2], old.select(retain.record_ids).norms[:, :2])
    assert len(trajectory_losses(got, rewound, 8, 1.0)) == RECORDS - 1
    fewer = score_trajectory(rewound, table, whole, options=ScoringOptions(checkpoints=3))
    assert fewer.steps == (0, 6, 12, 23), "norms that are at hand cost nothing"
    with pytest.raises(UsageError, match="step 6 was destroyed"):
        score_trajectory(rewound, table, GradientNorms(old.norms, old.record_ids, old.steps))


assert N < 100 <= RECORDS
