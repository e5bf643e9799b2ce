"""What the noisy trainer promises: the same bytes again, also after a kill; the declared noise and checkpoints."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from training_cases import NOISE, config_of, some_digits, spec_of

from expunge.data import RecordTable
from expunge.errors import IntegrityError, UsageError
from expunge.models import build_model
from expunge.training import StackedJob, TrainingConfig, TrainingDiverged, Trajectory, train, train_stacked
from expunge.training.noise import sum_noise_deviation
from expunge.training.randomness import derived_seed

PLAIN: dict[str, object] = {"steps": 40, "batch_size": 24, "learning_rate": 0.2, "checkpoints": 7}


@pytest.fixture(scope="module")
def table() -> RecordTable:
    return some_digits()


def config(**given: object) -> TrainingConfig:
    return config_of(PLAIN, **given)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("step_*"))}


@pytest.mark.parametrize("noise", NOISE)
def test_same_seed_same_bytes_and_another_seed_others(table: RecordTable, tmp_path: Path, noise: str) -> None:
    wanted = config(noise=NOISE[noise])
    first = train(spec_of(table), table, wanted, tmp_path / "a")
    again = train(spec_of(table), table, wanted, tmp_path / "b")
    other = train(spec_of(table), table, wanted.model_copy(update={"seed": 1}), tmp_path / "c")
    assert first.manifest() == again.manifest() and digests(tmp_path / "a") == digests(tmp_path / "b")
    assert first.final.sha256 != other.final.sha256


def test_thirty_five_checkpoints_at_both_ends_with_their_numbers(table: RecordTable, tmp_path: Path) -> None:
    made = train(spec_of(table), table, config(steps=100, checkpoints=35), tmp_path)
    steps = [c.step for c in made.checkpoints]
    assert len(steps) == 35 and steps[0] == 0 and steps[-1] == 99 and made.final.step == 100
    assert all(c.q == 24 / 240 and c.lr == 0.2 and c.s == pytest.approx(24 * 0.02) for c in made.checkpoints)
    assert Trajectory.from_manifest(made.manifest()) == made.at_directory(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        ("langevin", 24 * 0.01 * (2 / 0.2) ** 0.5),
        ("weights", 24 * 0.001 / 0.2),
        ("dp_sgd", 0.5),
        ("mean_gradient", 24 * 0.02),
    ],
)
def test_the_noise_added_is_the_s_that_is_recorded(
    table: RecordTable, tmp_path: Path, noise: str, expected: float
) -> None:
    """One step with noise minus one without, in units of the batch sum; dp_sgd against itself with tiny noise."""
    noisy = config(noise=NOISE[noise], steps=2, checkpoints=2)
    quiet_noise = {**NOISE[noise], "noise_multiplier": 1e-9} if noise == "dp_sgd" else NOISE["implicit"]
    quiet = config(noise=quiet_noise, steps=2, checkpoints=2)
    spec = spec_of(table, hidden=[64])
    after = [train(spec, table, c, tmp_path / str(i)) for i, c in enumerate((noisy, quiet))]
    states = [run.state(run.at(1)).params for run in after]
    difference = torch.cat([(states[0][name] - states[1][name]).flatten() for name in states[0]])
    assert sum_noise_deviation(noisy.noise, 24, 0.2) == pytest.approx(expected)
    assert float(difference.std()) / 0.2 * 24 == pytest.approx(expected, rel=0.05)


def test_a_cosine_schedule_that_ends_at_zero_is_no_division_by_zero(table: RecordTable, tmp_path: Path) -> None:
    made = train(spec_of(table), table, config(noise=NOISE["langevin"], schedule={"kind": "cosine"}), tmp_path)
    assert made.final.s is not None and np.isfinite(made.final.s)


@pytest.mark.parametrize("kept", [1, 3, 6])
def test_what_is_left_of_a_run_is_gone_on_from(table: RecordTable, tmp_path: Path, kept: int) -> None:
    whole = train(spec_of(table), table, config(), tmp_path / "whole")
    train(spec_of(table), table, config(), tmp_path / "cut")
    files = sorted((tmp_path / "cut").glob("step_*"))
    for file in files[kept:]:
        file.unlink()
    files[kept - 1].write_bytes(files[kept - 1].read_bytes()[:-7])  # half written: not to be trusted
    resumed = train(spec_of(table), table, config(), tmp_path / "cut")
    assert resumed.manifest() == whole.manifest() and digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_a_killed_run_ends_with_the_same_bytes(table: RecordTable, tmp_path: Path) -> None:
    whole = train(spec_of(table), table, config(steps=400, checkpoints=20), tmp_path / "whole")
    script = f"""
        from pathlib import Path
        from expunge.data import load_records
        from expunge.models import ModelSpec
        from expunge.training import TrainingConfig, train
        import os, signal
        whole = load_records("digits")
        table = whole.select(whole.record_ids[:240])
        spec = ModelSpec("mlp", tuple(table.features.shape[1:]), table.classes, options={{"hidden": [8]}})
        config = TrainingConfig.model_validate({config(steps=400, checkpoints=20).model_dump()!r})
        def die(done, total):
            if done == 187:
                os.kill(os.getpid(), signal.SIGKILL)
        train(spec, table, config, Path({str(tmp_path / "killed")!r}), progress=die)
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert 0 < len(list((tmp_path / "killed").glob("step_*"))) < 21
    resumed = train(spec_of(table), table, config(steps=400, checkpoints=20), tmp_path / "killed")
    assert resumed.final.sha256 == whole.final.sha256 and digests(tmp_path / "killed") == digests(tmp_path / "whole")


def test_another_run_does_not_go_on_from_what_lies_there(table: RecordTable, tmp_path: Path) -> None:
    train(spec_of(table), table, config(seed=5), tmp_path / "a")
    fresh = train(spec_of(table), table, config(), tmp_path / "b")
    assert train(spec_of(table), table, config(), tmp_path / "a").manifest() == fresh.manifest()


def test_plain_momentum_and_decay_are_those_of_torch(table: RecordTable, tmp_path: Path) -> None:
    wanted = config(
        noise=NOISE["implicit"], batch_size=240, momentum=0.9, weight_decay=0.01, steps=12, batches="shuffled"
    )
    made = train(spec_of(table), table, wanted, tmp_path)
    model = build_model(spec_of(table), derived_seed(0, "init"))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, weight_decay=0.01)
    x, y = torch.from_numpy(table.features), torch.from_numpy(table.targets)
    for _ in range(12):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    state = made.state(made.final).params
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(state[name], parameter.detach(), rtol=1e-4, atol=1e-5)


def test_a_batch_is_divided_by_the_expected_size_also_when_it_is_empty(table: RecordTable, tmp_path: Path) -> None:
    """q = 1/240 leaves many batches empty; only noise moves the weights then, and nothing is divided by zero."""
    made = train(spec_of(table), table, config(batch_size=1, steps=30), tmp_path)
    assert all(torch.isfinite(t).all() for t in made.state(made.final).params.values())


def test_a_loss_that_is_not_a_number_records_nothing(table: RecordTable, tmp_path: Path) -> None:
    with pytest.raises(TrainingDiverged, match="step"):
        train(spec_of(table), table, config(learning_rate=1e30, noise=NOISE["implicit"]), tmp_path)


def test_bad_configurations_are_refused_before_any_work(table: RecordTable, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch_size"):
        train(spec_of(table), table, config(batch_size=241), tmp_path)
    with pytest.raises(UsageError, match="dp_sgd"):
        train(spec_of(table, "resnet18", norm="batch"), table, config(noise=NOISE["dp_sgd"]), tmp_path)
    assert not list(tmp_path.rglob("step_*"))


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_checkpoint_is_named(table: RecordTable, tmp_path: Path, damage: str) -> None:
    made = train(spec_of(table), table, config(), tmp_path)
    victim = tmp_path / made.checkpoints[2].file
    if damage == "missing":
        victim.unlink()
    else:
        raw = bytearray(victim.read_bytes())
        raw[-3] ^= 1
        victim.write_bytes(raw)
    with pytest.raises(IntegrityError, match=victim.name) as error:
        made.verify()
    assert error.value.exit_code == 5


@pytest.mark.parametrize("noise", ["mean_gradient", "dp_sgd"])
def test_a_stacked_model_is_the_one_trained_alone(table: RecordTable, tmp_path: Path, noise: str) -> None:
    wanted = config(noise=NOISE[noise])
    rows = np.arange(0, 240, 2)
    seeds = [3, 4]
    stack = train_stacked(spec_of(table), table, wanted, [StackedJob(s, rows) for s in seeds], 0.1)
    half = table.select([table.record_ids[i] for i in rows])
    for seed, state in zip(seeds, stack.states(), strict=True):
        alone = train(
            spec_of(table), half, wanted.model_copy(update={"seed": seed}), tmp_path / str(seed), sampling_rate=0.1
        )
        for name, tensor in alone.state(alone.final).params.items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-5)


def test_a_sequel_keeps_its_prefix_as_tombstones(table: RecordTable, tmp_path: Path) -> None:
    old = train(spec_of(table), table, config(), tmp_path / "old")
    at = old.checkpoints[3]
    new = train(
        spec_of(table), table, config(seed=9), tmp_path / "new", start=(at.step, old.state(at)), sampling_rate=0.1
    )
    sequel = new.following(old, at.step + 1)
    assert [c.destroyed for c in sequel.checkpoints] == [c.step <= at.step for c in sequel.checkpoints]
    assert all(c.step > at.step for c in sequel.kept) and sequel.digest != new.digest
