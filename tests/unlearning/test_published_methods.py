"""L1-sparse, NegGrad+ and SCRUB descend what their papers say, resume to the same bytes, and say what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from expunge.data import RecordTable, load_records
from expunge.errors import UsageError
from expunge.evaluation.confidence import phi
from expunge.models import ModelSpec, build_model
from expunge.training import TrainingConfig, Trajectory, predict, train
from expunge.training.sampler import batch_rows
from expunge.unlearning.methods import (
    METHODS,
    PLAIN,
    FineTune,
    Given,
    L1Sparse,
    Method,
    NegGradPlus,
    Procedure,
    Scrub,
    apply,
)
from expunge.unlearning.objectives import ForgetBatches

SPEC = ModelSpec("mlp", (64,), 10, options={"hidden": [6]})
CONFIG = TrainingConfig.model_validate(
    {"steps": 60, "batch_size": 30, "learning_rate": 0.3, "checkpoints": 6,
     "noise": {"convention": "mean_gradient", "sigma": 0.01}}
)  # fmt: skip
BATCH, FORGET, STEPS, SEED = 30, 12, 40, 7


@pytest.fixture(scope="module")
def table() -> RecordTable:
    whole = load_records("digits")
    return whole.select(whole.record_ids[:240])


@pytest.fixture(scope="module")
def original(table: RecordTable, tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    return train(SPEC, table, CONFIG, tmp_path_factory.mktemp("original"))


@pytest.fixture(scope="module")
def parts(table: RecordTable) -> tuple[RecordTable, RecordTable]:
    """The records to retain and to forget."""
    ids = table.record_ids
    return table.select(ids[FORGET:]), table.select(ids[:FORGET])


def run(method: Method, original: Trajectory, parts: Any, folder: Path, steps: int = STEPS, **given: Any) -> Trajectory:
    return apply(method, original, parts[0], steps, SEED, folder, {}, forget=parts[1], **given)


def final(trajectory: Trajectory) -> dict[str, torch.Tensor]:
    return trajectory.state(trajectory.final).model_state()


class NoPenalty(L1Sparse):
    strength = 0.0


class StrongPenalty(L1Sparse):
    strength = 1e-2


class NoAscent(NegGradPlus):
    beta = 1.0


@pytest.mark.parametrize("method", [NoPenalty(), NoAscent()])
def test_with_its_own_term_switched_off_it_is_fine_tuning(
    method: Method, original: Trajectory, parts: Any, tmp_path: Path
) -> None:
    plain = run(FineTune(), original, parts, tmp_path / "plain")
    same = run(method, original, parts, tmp_path / "same")
    assert same.final.sha256 == plain.final.sha256


def reference(name: str, original: Trajectory, parts: Any, steps: int) -> dict[str, torch.Tensor]:
    """The papers' formulas in float64 on an ordinary module with torch.optim.SGD, on the batches of the run."""
    retain, forget = parts
    model, teacher = (build_model(SPEC).double() for _ in range(2))
    for each in (model, teacher):
        each.load_state_dict({k: v.double() for k, v in final(original).items()})
    optimiser = torch.optim.SGD(model.parameters(), lr=CONFIG.learning_rate)
    made = METHODS[name].continuation(original, steps, SEED)
    assert made.start is not None
    first, q = made.start[0], Procedure.of(original).sampling_rate
    x, y = torch.from_numpy(retain.features).double(), torch.from_numpy(retain.targets)
    fx, fy = torch.from_numpy(forget.features).double(), torch.from_numpy(forget.targets)

    def apart(inputs: torch.Tensor) -> torch.Tensor:
        """4 KL(teacher || student) of temperature 2, summed."""
        with torch.no_grad():
            p = F.softmax(teacher(inputs) / 2, dim=1)
        return 4 * (p * (p.log() - F.log_softmax(model(inputs) / 2, dim=1))).sum()

    for k in range(steps):
        rows = batch_rows(made.config, SEED, first + k, len(y), q)
        loss = F.cross_entropy(model(x[rows]), y[rows], reduction="sum") / BATCH
        if name == "l1_sparse":
            loss = loss + 5e-4 * (1 - k / steps) * sum(w.abs().sum() for w in model.parameters())
        elif name == "neggrad_plus":  # all records to forget fit in one batch
            loss = 0.95 * loss - 0.05 * F.cross_entropy(model(fx), fy)
        elif k % (1 + 8) == 0 and (k == 0 or k < 0.3 * steps):  # one step over the forget set, then eight over the rest
            loss = -apart(fx) / FORGET
        else:
            loss = loss + 0.5 * apart(x[rows]) / BATCH
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return dict(model.state_dict())


@pytest.mark.parametrize("name", ["l1_sparse", "neggrad_plus", "scrub"])
@pytest.mark.parametrize("steps", [1, STEPS])
def test_it_descends_what_its_paper_says(
    name: str, steps: int, original: Trajectory, parts: Any, tmp_path: Path
) -> None:
    found = final(run(METHODS[name], original, parts, tmp_path, steps))
    for key, expected in reference(name, original, parts, steps).items():
        np.testing.assert_allclose(found[key].double(), expected, rtol=2e-3, atol=2e-5)


def test_what_each_does_to_the_model(original: Trajectory, parts: Any, tmp_path: Path) -> None:
    retain, forget = parts
    methods = {"plain": FineTune(), "sparse": StrongPenalty(), "neggrad": METHODS["neggrad_plus"], "scrub": Scrub()}
    states = {name: final(run(method, original, parts, tmp_path / name, 60)) for name, method in methods.items()}
    size = {name: float(sum(w.abs().sum() for w in state.values())) for name, state in states.items()}
    assert size["sparse"] < 0.9 * size["plain"]
    seen = {name: phi(predict(SPEC, state, forget), forget.targets).mean() for name, state in states.items()}
    kept = {name: phi(predict(SPEC, state, retain), retain.targets).mean() for name, state in states.items()}
    assert seen["neggrad"] < seen["plain"] - 0.3 and seen["scrub"] < seen["plain"] - 0.3
    assert kept["neggrad"] - kept["plain"] > seen["neggrad"] - seen["plain"]


def test_scrub_ascends_in_the_first_share_of_its_epochs(original: Trajectory, parts: Any) -> None:
    made = Scrub().continuation(original, 90, SEED)
    objective = Scrub().objective(Given(Procedure.of(original), made, *parts))
    assert made.start is not None
    ascends = [objective.maximises(made.start[0] + k) for k in range(90)]
    assert {k: number for k, number in enumerate(ascends) if number is not None} == {0: 0, 9: 1, 18: 2}  # 1 + 8 a cycle


def test_an_epoch_over_the_forget_set_holds_every_record_once(parts: Any) -> None:
    x, y = torch.arange(70.0), torch.arange(70)
    batches = ForgetBatches(x, y, CONFIG)
    assert (batches.size, batches.epoch) == (30, 3)
    epochs = [torch.cat([batches.rows(3 * k + j) for j in range(3)]).tolist() for k in range(2)]
    assert all(sorted(rows) == list(range(70)) for rows in epochs) and epochs[0] != epochs[1]


class Unused(torch.nn.Module):
    """A model with a parameter that its answers do not depend on."""

    def __init__(self, in_shape: Any, classes: int) -> None:
        super().__init__()
        self.head, self.idle = torch.nn.Linear(in_shape[0], classes), torch.nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(x)
        return out


class Normalised(torch.nn.Sequential):
    def __init__(self, in_shape: Any, classes: int) -> None:
        super().__init__(torch.nn.BatchNorm1d(in_shape[0]), torch.nn.Linear(in_shape[0], classes))


def test_models_with_idle_parameters_and_batch_statistics(
    table: RecordTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    ids = table.record_ids
    for name, forget in (("Unused", 12), ("Normalised", 12), ("Normalised", 1)):
        spec = ModelSpec(f"test_published_methods:{name}", (64,), 10, options={})
        made = train(spec, table, CONFIG, tmp_path / f"{name}{forget}")
        both = table.select(ids[forget:]), table.select(ids[:forget])
        for method in ("scrub", "neggrad_plus"):
            folder = tmp_path / f"{name}{forget}{method}"
            if forget == 1:
                with pytest.raises(UsageError, match=r"batch of one record.*BatchNorm"):
                    run(METHODS[method], made, both, folder)
            else:
                assert run(METHODS[method], made, both, folder).final.step == 100


class Killed(Exception):
    """Stands for a process that ends in the middle of a run."""


@pytest.mark.parametrize("name", ["l1_sparse", "neggrad_plus", "scrub"])
def test_a_killed_run_resumes_to_the_same_bytes(name: str, original: Trajectory, parts: Any, tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        if done == 0.75 * total:
            raise Killed

    whole = run(METHODS[name], original, parts, tmp_path / "whole", 60)
    with pytest.raises(Killed):
        run(METHODS[name], original, parts, tmp_path / "killed", 60, progress=kill)
    steps_again: list[int] = []
    again = run(METHODS[name], original, parts, tmp_path / "killed", 60, progress=lambda d, t: steps_again.append(d))
    assert again.final.sha256 == whole.final.sha256 and len(steps_again) < 60


def test_labels_costs_and_refusals(original: Trajectory, parts: Any, tmp_path: Path) -> None:
    assert {name for name, method in METHODS.items() if method.baseline} == {"neggrad_plus", "scrub"}
    assert {name for name, method in METHODS.items() if method.guarantee == "exact"} == {"retrain"}
    assert set(METHODS) - set(PLAIN) == {"l1_sparse", "neggrad_plus", "scrub"}
    procedure = Procedure.of(original)
    assert METHODS["fine_tune"].cost(procedure, 30, FORGET) == 0.5
    assert METHODS["neggrad_plus"].cost(procedure, 30, FORGET) == pytest.approx(0.5 * (1 + 12 / 30))
    assert METHODS["neggrad_plus"].cost(procedure, 30, 500) == pytest.approx(1.0)
    assert METHODS["scrub"].cost(procedure, 30, FORGET) == pytest.approx(0.5 + 240 / 3 / (30 * 60))
    for name in ("neggrad_plus", "scrub"):
        with pytest.raises(UsageError, match=f"{name} reads the records to forget"):
            apply(METHODS[name], original, parts[0], STEPS, SEED, tmp_path, {})
