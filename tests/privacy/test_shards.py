"""Does a scoring that is killed anywhere go on from there, with the same bytes, whoever computes which part?"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_run import SPEC, small_run, small_table

from expunge.data import RecordTable
from expunge.errors import ExpungeError, UsageError
from expunge.models import MODELS, ModelSpec
from expunge.privacy import ScoringOptions, ShardFolder, score_trajectory
from expunge.privacy.part_scoring import score_parts
from expunge.privacy.scorer import HowScored
from expunge.privacy.scoring_parts import ScoringParts
from expunge.privacy.scoring_shards import share_out
from expunge.privacy.shards import Block
from expunge.privacy.trajectory_scores import joined
from expunge.training import Trajectory, train

OPTIONS = ScoringOptions(batch=8, block=16)
BLOCKS = 15  # five checkpoints of 40 records


@pytest.fixture(scope="module")
def table() -> RecordTable:
    return small_table()


@pytest.fixture(scope="module")
def trained(table: RecordTable, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    return small_run(table, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def parts(trained: Trajectory, table: RecordTable) -> ScoringParts:
    return ScoringParts(trained, table, None, OPTIONS)


@pytest.fixture(scope="module")
def uninterrupted(trained: Trajectory, table: RecordTable) -> bytes:
    return score_trajectory(trained, table, options=OPTIONS).norms.tobytes()


class Killed(Exception):
    pass


def killed_after(blocks: int) -> Callable[[int, int], None]:
    left = [blocks]

    def report(done: int, total: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise Killed

    return report


@pytest.mark.parametrize("blocks", [1, 4, 14])
def test_a_killed_scoring_goes_on_where_it_was(
    parts: ScoringParts, uninterrupted: bytes, tmp_path: Path, blocks: int
) -> None:
    kept = ShardFolder(tmp_path / "shards", parts.key)
    with pytest.raises(Killed):
        score_parts(parts, kept, progress=killed_after(blocks))
    tally = score_parts(parts, kept)
    assert (tally.blocks, tally.reused) == (BLOCKS, blocks)
    assert joined(parts, kept).norms.tobytes() == uninterrupted
    again = score_parts(parts, kept)
    assert (again.reused, again.gradients, again.seconds) == (BLOCKS, 0, 0.0)


@pytest.mark.parametrize("left", [0, 10, 70, -1])
def test_a_torn_shard_counts_as_absent(parts: ScoringParts, uninterrupted: bytes, tmp_path: Path, left: int) -> None:
    kept = ShardFolder(tmp_path, parts.key)
    score_parts(parts, kept)
    files = sorted(tmp_path.iterdir())
    assert len(files) == BLOCKS and all(path.suffix == ".shard" for path in files)
    files[0].write_bytes(files[0].read_bytes()[:left])
    changed = bytearray(files[7].read_bytes())
    changed[-3] ^= 1
    files[7].write_bytes(changed)
    assert score_parts(parts, kept).reused == BLOCKS - 2
    assert joined(parts, kept).norms.tobytes() == uninterrupted


def test_only_the_block_that_was_asked_for_is_given(tmp_path: Path) -> None:
    block = Block(np.arange(5, dtype=np.float32), HowScored(True, "", {"0.weight": "direct"}))
    ShardFolder(tmp_path, "a key").put("one", block)
    found = ShardFolder(tmp_path, "a key").get("one", 5)
    assert found is not None and found.how == block.how
    np.testing.assert_array_equal(found.norms, block.norms)
    assert ShardFolder(tmp_path, "another").get("one", 5) is None
    assert ShardFolder(tmp_path, "a key").get("one", 4) is None
    assert ShardFolder(tmp_path, "a key").get("two", 5) is None
    (tmp_path / "one.shard").rename(tmp_path / "two.shard")
    assert ShardFolder(tmp_path, "a key").get("two", 5) is None


def test_the_bytes_are_those_of_any_split_and_any_number_of_workers(
    parts: ScoringParts, uninterrupted: bytes, tmp_path: Path
) -> None:
    steps = parts.worked_on()
    for count in (1, 2, 5):
        shards = share_out(steps, len(parts.records), "folder", per_shard=-(-len(steps) // count)).shards
        order = random.Random(count).sample(shards, len(shards))
        kept = ShardFolder(tmp_path / str(count), parts.key)
        with ThreadPoolExecutor(count) as workers:
            list(workers.map(lambda shard: score_parts(parts, kept, shard.steps), order))  # noqa: B023
        assert joined(parts, kept).norms.tobytes() == uninterrupted
        assert not list(kept.folder.glob("*.partial"))


class Choosy(torch.nn.Module):
    """Takes a way that the one pass refuses where a batch holds a record of its own kind."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = x - x.mean(0) if len(x) > 1 and bool((x > 50).any()) else x
        out: torch.Tensor = self.layer(mixed)
        return out


def test_the_way_is_that_of_the_first_block_also_after_a_restart(
    table: RecordTable, trained: Trajectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a restarted run would try again on other records, find otherwise, and round otherwise."""
    monkeypatch.setitem(MODELS, "choosy", lambda **_: Choosy())
    spec = ModelSpec("choosy", (6,), 3)
    run = train(spec, table, trained.config, tmp_path / "run")
    features = table.features.copy()
    features[3] = 99.0  # in the first block alone
    changed = replace(table, features=features)
    parts = ScoringParts(run, changed, None, OPTIONS)
    whole = ShardFolder(tmp_path / "whole", parts.key)
    assert {how.one_pass for how in score_parts(parts, whole).how.values()} == {False}
    kept = ShardFolder(tmp_path / "killed", parts.key)
    with pytest.raises(Killed):
        score_parts(parts, kept, progress=killed_after(1))
    score_parts(parts, kept)
    assert joined(parts, kept).norms.tobytes() == joined(parts, whole).norms.tobytes()
    ways = [path.read_bytes().split(b"\n")[1] for path in sorted(kept.folder.iterdir())]
    assert ways == [path.read_bytes().split(b"\n")[1] for path in sorted(whole.folder.iterdir())]


def test_the_key_says_what_the_numbers_depend_on(table: RecordTable, trained: Trajectory) -> None:
    def key(**changes: Any) -> str:
        return ScoringParts(trained, changes.pop("table", table), None, replace(OPTIONS, **changes)).key

    features = table.features.copy()
    features[3, 2] += 1
    keys = {key(), key(batch=4), key(block=8), key(kernels={"x": "y"}), key(table=replace(table, features=features))}
    other = replace(trained, run={**trained.run, "model": replace(SPEC, options={"hidden": [8, 8]}).to_dict()})
    keys.add(ScoringParts(other, table, None, OPTIONS).key)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        keys.add(key())
    finally:
        torch.set_num_threads(threads)
    assert len(keys) == 7
    assert key() == ScoringParts(trained, small_table(), None, OPTIONS).key


def test_shards_hold_no_record_id(parts: ScoringParts, tmp_path: Path) -> None:
    score_parts(parts, ShardFolder(tmp_path, parts.key))
    everything = b"".join(path.read_bytes() + path.name.encode() for path in tmp_path.iterdir())
    assert not [record for record in parts.records.record_ids if record.encode() in everything]


def test_a_disk_that_refuses_is_named(parts: ScoringParts, tmp_path: Path) -> None:
    (tmp_path / "shards").write_text("a file")
    with pytest.raises(ExpungeError, match=r"cannot be written to .*shards"):
        score_parts(parts, ShardFolder(tmp_path / "shards", parts.key))


def test_a_checkpoint_of_another_architecture_is_refused(trained: Trajectory, table: RecordTable) -> None:
    other = replace(trained, run={**trained.run, "model": replace(SPEC, options={"hidden": [9]}).to_dict()})
    with pytest.raises(UsageError, match=r"'1.weight' has shape \(8, 6\), and the model's \(9, 6\)"):
        score_trajectory(other, table)


def test_records_that_cannot_be_scored_are_refused_before_any_work(trained: Trajectory, table: RecordTable) -> None:
    with pytest.raises(UsageError, match="no record to score"):
        score_trajectory(replace(trained, record_ids=()), table)
    targets = table.targets.copy()
    targets[5] = 3
    with pytest.raises(UsageError, match=r"1 record\(s\) are outside 0..2.*'r05'"):
        score_trajectory(trained, replace(table, targets=targets))
    with pytest.raises(UsageError, match="make no trajectory"):
        ScoringOptions(checkpoints=1)


@pytest.mark.parametrize(
    ("steps", "records", "per_shard", "workers", "expected"),
    [
        (35, 1437, None, 1, [35]),
        (35, 60_000, None, 1, [7, 7, 7, 7, 7]),
        (35, 1437, None, 4, [9, 9, 8, 9]),
        (35, 60_000, 10, 1, [9, 9, 8, 9]),
        (3, 10**7, None, 2, [1, 1, 1]),
        (0, 100, None, 3, [0]),
    ],
)
def test_checkpoints_are_shared_out_evenly(
    steps: int, records: int, per_shard: int | None, workers: int, expected: list[int]
) -> None:
    shards = share_out(range(steps), records, "folder", per_shard, workers).shards
    assert [len(shard.steps) for shard in shards] == expected
    assert [step for shard in shards for step in shard.steps] == list(range(steps))
