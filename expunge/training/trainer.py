"""Train one model with noise and leave its trajectory; the same seed gives the same bytes, also after a kill."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from expunge.data import RecordTable
from expunge.errors import ExpungeError, UsageError
from expunge.models import ModelSpec, build_model, uses_batch_statistics
from expunge.training.config import TrainingConfig
from expunge.training.gradients import gradient_sum
from expunge.training.noise import sum_noise_deviation
from expunge.training.randomness import derived_seed, generator
from expunge.training.sampler import batch_rows
from expunge.training.schedule import learning_rate, scored_steps
from expunge.training.state import TrainingState, apply_update
from expunge.training.trajectory import Checkpoint, Trajectory, write_state

Progress = Callable[[int, int], None]
# (model, state, x, y, rows of the batch, step) -> (what a step descends, a SUM over the batch; the loss)
Objective = Callable[[torch.nn.Module, TrainingState, Tensor, Tensor, Tensor, int], tuple[dict[str, Tensor], Tensor]]


class TrainingDiverged(ExpungeError):
    """The loss became NaN or infinite."""


def train(
    spec: ModelSpec,
    table: RecordTable,
    config: TrainingConfig,
    directory: Path,
    *,
    start: tuple[int, TrainingState] | None = None,
    sampling_rate: float | None = None,
    facts: Mapping[str, Any] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    looks: Collection[int] = (),
    stop: Callable[[int, TrainingState], bool] | None = None,
    objective: Objective | None = None,
) -> Trajectory:
    """Run steps start..T on `table` and write the scored checkpoints and w_T below `directory`.

    Files of an interrupted run of the same inputs that lie in `directory` are used: the run goes on after the last
    whole one and gives the same bytes as an uninterrupted run.

    Args:
        start: (step, state) to continue from, as a rewind or fine-tuning does; default: initialisation at step 0.
        sampling_rate: q of the original run (METHOD section 1); default b/n.
        facts: further entries for the run header (code revision, parent).
        progress: called with (steps done, steps in all).
        looks, stop: at these steps `stop(step, state)` is asked whether the run ends there.
        objective: what a step descends instead of the training loss; `facts` must say which, for a killed run to go on.

    Raises TrainingDiverged for a NaN loss, UsageError for an unusable config; nothing is recorded then.
    """
    q = sampling_rate if sampling_rate is not None else config.batch_size / len(table)
    check_config(config, len(table), q)
    model = build_model(spec, derived_seed(config.seed, "init")).to(device)
    batch_statistics = uses_batch_statistics(model)
    if batch_statistics and config.noise.convention == "dp_sgd":
        raise UsageError(
            "dp_sgd clips each record's gradient, and with BatchNorm a record has no gradient of its own.",
            "Use model.options.norm=group.",
        )
    header = {
        "config": config.model_dump(mode="json"), "model": spec.to_dict(), "sampling_rate": q,
        "data_fingerprint": table.fingerprint, "data_name": table.name, "records": len(table),
        "start_step": start[0] if start else 0, "device": device, "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "heuristic": list(config.heuristic_reasons(batch_statistics)), **(facts or {}),
    }  # fmt: skip
    step, state = start if start is not None else (0, TrainingState.of(model))
    state = _to(state, device)
    first = step
    files = _Files(directory, header, start)
    wanted = [t for t in scored_steps(config) if t >= first]
    if first not in wanted:
        wanted.insert(0, first)
    resumed = files.resume([*wanted, config.steps])
    if resumed is not None:
        step, state = resumed[0], _to(resumed[1], device)

    x, y = torch.from_numpy(table.features).to(device), torch.from_numpy(table.targets).to(device)
    while step < config.steps:
        if step in wanted:
            files.keep(step, state)
        train_step(model, state, x, y, config, step, q, objective)
        step += 1
        if progress is not None:
            progress(step - first, config.steps - first)
        if stop is not None and step in looks and stop(step, state):
            break
    files.keep(step, state)

    def checkpoint(t: int) -> Checkpoint:
        lr = learning_rate(config, min(t, config.steps - 1))  # w_T takes no step: it has the last one's
        sha256, size = files.written[t]
        return Checkpoint(
            t, lr, sum_noise_deviation(config.noise, config.batch_size, lr), q, sha256, files.name(t), size
        )

    return Trajectory(
        run=header,
        record_ids=table.record_ids,
        checkpoints=tuple(checkpoint(t) for t in wanted if t < step),
        final=checkpoint(step),
        directory=directory,
    )


def train_step(
    model: torch.nn.Module,
    state: TrainingState,
    x: Tensor,
    y: Tensor,
    config: TrainingConfig,
    step: int,
    q: float,
    objective: Objective | None = None,
    absent: Tensor | None = None,
) -> None:
    """One update of `state` in place. Raises TrainingDiverged when the loss is not finite.

    absent: rows int64 that are drawn like the others and then left out of the batch.
    """
    rows = batch_rows(config, config.seed, step, len(y), q)
    rows = (rows if absent is None else rows[~torch.isin(rows, absent)]).to(x.device)
    if len(rows):
        # Dropout and its like draw from torch's global generator: it is set for this step and put back after.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derived_seed(config.seed, "model", step))
            if objective is None:
                sums, loss = gradient_sum(model, state, x[rows], y[rows], config.noise.clip)
            else:
                sums, loss = objective(model, state, x, y, rows, step)
        refuse_divergence(loss, step)
    else:
        sums = {k: torch.zeros_like(v) for k, v in state.params.items()}
    apply_update(state, sums, draw_noise(state.params, config, step), config, learning_rate(config, step))


def draw_noise(params: Mapping[str, Tensor], config: TrainingConfig, step: int) -> dict[str, Tensor]:
    """Standard normal noise for every parameter of one model; empty for `implicit`."""
    if config.noise.convention == "implicit":
        return {}
    source = generator(config.seed, "noise", step)
    # By name: a state read from a file has its tensors in any order.
    named = sorted(params.items())
    flat = torch.randn(sum(p.numel() for _, p in named), generator=source)
    parts = flat.split([p.numel() for _, p in named])
    return {name: part.view(p.shape).to(p) for (name, p), part in zip(named, parts, strict=True)}


def refuse_divergence(loss: Tensor, step: int) -> None:
    """Raise TrainingDiverged when any loss is NaN or infinite."""
    if not bool(torch.isfinite(loss).all()):
        raise TrainingDiverged(
            f"The training loss became NaN or infinite at step {step}; no model was recorded.",
            "Lower training.learning_rate or the noise, or scale the features.",
        )


def check_config(config: TrainingConfig, records: int, q: float) -> None:
    """Raise UsageError for a batch size beyond the data.

    Retraining keeps b and q (METHOD section 1), so without some records a full batch is larger than what is left; with
    more than half of the b/q records gone, the batch size is taken for a mistake.
    """
    short = config.batch_size > records and 2 * q * records < config.batch_size
    if short or not 0 < q <= 1:
        raise UsageError(
            f"training.batch_size is {config.batch_size}, but there are {records} training records.",
            "Choose a batch size of at most the number of records.",
        )


def _to(state: TrainingState, device: str) -> TrainingState:
    return TrainingState.from_tensors({k: v.to(device) for k, v in state.tensors().items()})


class _Files:
    """Checkpoint files of one run; a run with other inputs starts from nothing."""

    def __init__(self, directory: Path, header: Mapping[str, Any], start: tuple[int, TrainingState] | None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.written: dict[int, tuple[str, int]] = {}
        origin = hashlib.sha256()
        if start is not None:
            for name, tensor in sorted(start[1].tensors().items()):
                origin.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
        self.key = json.dumps({"header": header, "origin": origin.hexdigest()}, sort_keys=True, default=str)
        self.progress_file = directory / "run.key"

    def name(self, step: int) -> str:
        return f"step_{step:07d}.safetensors"

    def keep(self, step: int, state: TrainingState) -> None:
        if step not in self.written:
            self.written[step] = write_state(self.directory / self.name(step), state)

    def resume(self, steps: list[int]) -> tuple[int, TrainingState] | None:
        """Latest whole checkpoint of the same run, or None; leftovers of another run are removed."""
        same = self.progress_file.is_file() and self.progress_file.read_text() == self.key
        if not same:
            for old in self.directory.glob("step_*"):
                old.unlink()
            self.progress_file.write_text(self.key)
            return None
        last: tuple[int, TrainingState] | None = None
        for step in steps:
            path = self.directory / self.name(step)
            if not path.is_file():
                break
            raw = path.read_bytes()
            try:
                state = TrainingState.from_tensors(load_safetensors(raw))
            except (SafetensorError, KeyError):
                break
            self.written[step] = (hashlib.sha256(raw).hexdigest(), len(raw))
            last = (step, state)
        return last
