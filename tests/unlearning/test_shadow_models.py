"""Shadows: which records each saw, what it unlearned, and what an attacker with them sees where the truth is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from expunge.data import RecordTable, load_records
from expunge.errors import NotFoundError, UsageError
from expunge.evaluation.shadows import ShadowOutputs
from expunge.models import ModelSpec
from expunge.training import StackedJob, TrainingConfig, train, train_stacked
from expunge.training.randomness import derived_seed
from expunge.training.schedule import scored_steps
from expunge.training.stacked import StackedModels
from expunge.unlearning import shadow_models
from expunge.unlearning.methods import METHODS, Procedure, method_of
from expunge.unlearning.shadow_models import audited_records, balanced_halves, train_shadows
from expunge.unlearning.unrolling import pushed


@pytest.fixture(scope="module")
def table() -> RecordTable:
    """260 digits, 200 of them for training; the labels of the first 40 are wrong, so that they must be memorised."""
    whole = load_records("digits")
    chosen = whole.select(whole.record_ids[:260])
    targets = chosen.targets.copy()
    targets[:40] = (targets[:40] + 1 + np.arange(40) % 9) % 10
    return replace(chosen, targets=targets)


@pytest.fixture(scope="module")
def procedure(table: RecordTable) -> Procedure:
    config = TrainingConfig.model_validate(
        {"steps": 150, "batch_size": 40, "learning_rate": 0.5, "checkpoints": 4,
         "noise": {"convention": "mean_gradient", "sigma": 0.01}}
    )  # fmt: skip
    return Procedure(ModelSpec("mlp", (64,), 10, options={"hidden": [32]}), config, 40 / 200)


def shadows(procedure: Procedure, table: RecordTable, method: str, amount: int, **given: Any) -> ShadowOutputs:
    """The first 20 records are forgotten, the next 20 retained; all 40 have wrong labels."""
    ids = table.record_ids
    options = {"models": 24, "seed": 3, **given}
    return train_shadows(procedure, table, ids[:200], ids[:20], ids[20:40], method, amount, **options)


def auc(outputs: ShadowOutputs, logits: NDArray[np.float64], chosen: NDArray[np.bool_]) -> float:
    """Mean over records of the AUC of the margin of the label, models that trained on it against those that did not."""
    own = logits[:, np.arange(logits.shape[1]), outputs.targets]
    others = np.where(np.eye(logits.shape[2], dtype=bool)[outputs.targets], -np.inf, logits).max(axis=2)
    margin = own - others
    return float(np.mean([roc_auc_score(outputs.trained[:, i], margin[:, i]) for i in np.flatnonzero(chosen)]))


class Calls:
    """Every call of `train_stacked` by the shadows: its jobs, its configuration and steps, and what it started from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.jobs: list[list[StackedJob]] = []
        self.configs: list[TrainingConfig] = []
        self.steps: list[tuple[int, int]] = []
        self.starts: list[StackedModels | None] = []

        def spy(spec: Any, table: Any, config: TrainingConfig, jobs: Any, q: float, **given: Any) -> StackedModels:
            assert q == 40 / 200
            first, models = given.get("start") or (0, None)
            until = given.get("until")
            self.jobs.append(list(jobs))
            self.configs.append(config)
            self.steps.append((first, config.steps if until is None else until))
            self.starts.append(models)
            return train_stacked(spec, table, config, jobs, q, **given)

        monkeypatch.setattr(shadow_models, "train_stacked", spy)


def test_every_record_is_in_half_of_the_models_drawn_anew() -> None:
    for models in (2, 7, 64):
        halves = balanced_halves(models, 50, 1)
        assert halves.shape == (models, 50) and (halves.sum(axis=0) == models // 2).all()
    columns = {tuple(c) for c in balanced_halves(64, 50, 1).T}
    assert len(columns) == 50
    assert not np.array_equal(balanced_halves(64, 50, 1), balanced_halves(64, 50, 2))


def test_retrained_shadows_remember_what_they_kept_alone(procedure: Procedure, table: RecordTable) -> None:
    made = shadows(procedure, table, "retrain", 0, with_before=True)
    assert made.before is not None
    assert abs(auc(made, made.logits, made.forget) - 0.5) < 0.1  # 20 records, 12 against 12 models
    assert auc(made, made.logits, ~made.forget) > 0.9
    assert auc(made, made.before, made.forget) > 0.9 and auc(made, made.before, ~made.forget) > 0.9


def test_a_single_step_of_fine_tuning_forgets_little(procedure: Procedure, table: RecordTable) -> None:
    made = shadows(procedure, table, "fine_tune", 1)
    assert made.before is None
    assert auc(made, made.logits, made.forget) > 0.9


def test_rewinding_further_forgets_more(procedure: Procedure, table: RecordTable) -> None:
    left = [auc(made, made.logits, made.forget) for made in (shadows(procedure, table, "rewind", c) for c in (0, 149))]
    assert abs(left[0] - 0.5) < 0.1 and left[1] > 0.9


@pytest.mark.parametrize(
    ("method", "amount"), [("rewind", 50), ("fine_tune", 5), ("noisy_fine_tune", 5), ("retrain", 0)]
)
@pytest.mark.parametrize("with_before", [True, False])
def test_each_stage_trains_on_the_right_records_from_the_right_step(
    procedure: Procedure, table: RecordTable, monkeypatch: pytest.MonkeyPatch, method: str, amount: int,
    with_before: bool,
) -> None:  # fmt: skip
    calls = Calls(monkeypatch)
    made = shadows(procedure, table, method, amount, models=4, with_before=with_before)
    base = set(range(40, 200))
    learned = [base | set(np.flatnonzero(own).tolist()) for own in made.trained]
    kept = [records - set(range(20)) for records in learned]
    start = {"rewind": 50, "retrain": 0}.get(method, 150)
    stages = [(learned, 0, start)] + [(learned, start, 150)] * with_before
    stages.append((kept, start, {"rewind": 150, "retrain": 150}.get(method, 155)))
    seen = [[set(job.rows.tolist()) for job in jobs] for jobs in calls.jobs]
    assert [(records, *steps) for records, steps in zip(seen, calls.steps, strict=True)] == stages
    assert calls.configs[-1].noise.convention == ("implicit" if method == "fine_tune" else "mean_gradient")


@pytest.mark.parametrize(
    ("method", "amount"),
    [("rewind", 50), ("unrolled_rewind", 50), ("fine_tune", 5), ("noisy_fine_tune", 5), ("retrain", 0)],
)
def test_the_configuration_is_that_of_a_real_deletion(
    procedure: Procedure, table: RecordTable, tmp_path: Any, method: str, amount: int
) -> None:
    raw = {**procedure.config.model_dump(), "schedule": {"kind": "cosine"}, "momentum": 0.5, "steps": 60}
    own = replace(procedure, config=TrainingConfig.model_validate({**raw, "checkpoints": 60}))
    trajectory = train(own.spec, table.select(table.record_ids[:200]), own.config, tmp_path)
    real = METHODS[method].continuation(trajectory, amount, own.config.seed)
    ours = shadow_models._continuation(own, method, amount)
    assert ours.config == real.config
    assert (ours.start and ours.start[0]) == (real.start and real.start[0])


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"momentum": 0.5, "weight_decay": 0.01, "schedule": {"kind": "cosine"}, "learning_rate": 0.3},
        {"noise": {"convention": "dp_sgd", "clip": 1.0, "noise_multiplier": 0.05}, "steps": 60},
    ],
)
def test_an_unrolled_shadow_takes_back_what_its_own_half_had_moved(
    procedure: Procedure, table: RecordTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, changed: dict[str, Any]
) -> None:
    config = TrainingConfig.model_validate({**procedure.config.model_dump(), **changed})
    own = replace(procedure, config=config)
    at, strength = scored_steps(config)[2], 0.7
    calls = Calls(monkeypatch)
    made = shadows(own, table, "unrolled_rewind", at, models=4, strength=strength)
    start = calls.starts[-1]
    assert start is not None and calls.steps[-1] == (at, config.steps)
    for k, mask in enumerate(made.trained[:, :20]):
        job = calls.jobs[0][k]
        assert job.seed == derived_seed(3, "shadow", k)
        single = config.model_copy(update={"seed": job.seed})
        records, half, other = (
            table.select([table.record_ids[row] for row in rows])
            for rows in (job.rows, np.flatnonzero(mask), np.flatnonzero(~mask))
        )
        trajectory = train(own.spec, records, single, tmp_path / f"{k}", sampling_rate=own.sampling_rate)
        state = trajectory.state(trajectory.at(at)).params
        push, foreign = (pushed(trajectory, own_part, (at,))[at] for own_part in (half, other))
        for name, value in state.items():
            wrong = start.state.params[name][k] - value - strength * push[name]
            assert wrong.norm() < 1e-5 * push[name].norm()
            assert (push[name] - foreign[name]).norm() > 0.1 * push[name].norm()


@pytest.mark.parametrize("with_before", [True, False])
def test_an_unrolled_rewind_trains_on_the_right_records_and_goes_on_untouched_before(
    procedure: Procedure, table: RecordTable, monkeypatch: pytest.MonkeyPatch, with_before: bool
) -> None:
    calls = Calls(monkeypatch)
    made = shadows(procedure, table, "unrolled_rewind", 60, models=4, strength=0.6, with_before=with_before)
    learning = len(calls.steps) - 1 - with_before
    # In parts from checkpoint to checkpoint, without a gap, up to the step to go back to.
    assert calls.steps[0][0] == 0 and calls.steps[learning - 1][1] == 60
    assert all(a[1] == b[0] for a, b in pairwise(calls.steps[:learning]))
    assert calls.steps[learning:] == [(60, 150)] * (1 + with_before)
    base = set(range(40, 200))
    learned = [base | set(np.flatnonzero(own).tolist()) for own in made.trained]
    kept = [records - set(range(20)) for records in learned]
    retain_side = set(range(20, 40))
    for number, jobs in enumerate(calls.jobs):
        own = [set(job.rows.tolist()) for job in jobs]
        assert own == (kept if number == len(calls.jobs) - 1 else learned)
        assert [records & retain_side for records in own] == [records & retain_side for records in learned]
    # The same jobs as a plain rewind's, which forgets the same records from the same step.
    plain = Calls(monkeypatch)
    shadows(procedure, table, "rewind", 60, models=4)
    for ours, theirs in zip((calls.jobs[0], calls.jobs[-1]), (plain.jobs[0], plain.jobs[-1]), strict=True):
        assert [job.seed for job in ours] == [job.seed for job in theirs]
        assert all(np.array_equal(a.rows, b.rows) for a, b in zip(ours, theirs, strict=True))
    assert calls.configs[-1] == plain.configs[-1]
    # Before unlearning nothing was taken back.
    before = calls.starts[-2] if with_before else None
    if before is not None and plain.starts[-1] is not None:
        for name, value in plain.starts[-1].state.params.items():
            np.testing.assert_allclose(before.state.params[name].numpy(), value.numpy(), rtol=1e-4, atol=1e-5)


def test_without_strength_an_unrolled_rewind_is_a_rewind(procedure: Procedure, table: RecordTable) -> None:
    for amount, strength in ((140, 0.0), (0, 1.0)):  # at initialisation nothing was moved yet
        plain = shadows(procedure, table, "rewind", amount, models=4)
        unrolled = shadows(procedure, table, "unrolled_rewind", amount, models=4, strength=strength)
        np.testing.assert_allclose(unrolled.logits, plain.logits, rtol=1e-4, atol=1e-4)


def test_an_unrolled_rewind_has_a_usual_strength(procedure: Procedure, table: RecordTable) -> None:
    plain = shadows(procedure, table, "rewind", 140, models=4)
    default = shadows(procedure, table, "unrolled_rewind", 140, models=4)
    usual = getattr(method_of("unrolled_rewind"), "strength", None)
    named = shadows(procedure, table, "unrolled_rewind", 140, models=4, strength=usual)
    np.testing.assert_array_equal(default.logits, named.logits)
    assert np.abs(default.logits - plain.logits).max() > 0.1


def test_taking_back_forgets_more_than_the_same_rewind(procedure: Procedure, table: RecordTable) -> None:
    left = {
        method: auc(made, made.logits, made.forget)
        for method, strength in (("rewind", None), ("unrolled_rewind", 0.6))
        for made in [shadows(procedure, table, method, 120, strength=strength)]
    }
    assert left["unrolled_rewind"] < left["rewind"] - 0.03


def test_columns_are_in_the_order_asked_for(procedure: Procedure, table: RecordTable) -> None:
    ids = table.record_ids
    made = train_shadows(
        procedure, table, ids[:200], [ids[9], ids[2]], [ids[30], ids[5]], "fine_tune", 1, models=4, seed=0
    )
    assert made.targets.tolist() == [int(table.targets[i]) for i in (9, 2, 30, 5)]
    assert made.forget.tolist() == [True, True, False, False]
    assert (made.trained.sum(axis=0) == 2).all() and made.logits.dtype == np.float64


def test_the_same_seed_gives_the_same_and_progress_ends(procedure: Procedure, table: RecordTable) -> None:
    seen: list[tuple[int, int]] = []
    first = shadows(procedure, table, "rewind", 140, models=4, with_before=True, progress=lambda *a: seen.append(a))
    again = shadows(procedure, table, "rewind", 140, models=4)
    np.testing.assert_allclose(first.logits, again.logits, rtol=1e-5, atol=1e-5)
    assert seen[-1] == (160, 160) and all(a[0] <= b[0] for a, b in pairwise(seen))


def test_what_cannot_be_audited_is_refused(procedure: Procedure, table: RecordTable) -> None:
    ids = table.record_ids

    def ask(
        forget: Any = ids[:2], retain: Any = ids[2:4], method: str = "rewind", amount: int = 5, models: int = 4
    ) -> Any:
        return train_shadows(procedure, table, ids[:200], forget, retain, method, amount, models=models, seed=0)

    for given, words in [
        ({"forget": ()}, "no records to forget"),
        ({"retain": ids[1:3]}, "audited twice"),
        ({"retain": ids[210:212]}, "was not trained on"),
        ({"method": "rewnd"}, "rewind"),
        ({"amount": 150}, "Cannot rewind to step 150"),
        ({"amount": -1}, "Cannot rewind to step -1"),
        ({"method": "unrolled_rewind", "amount": 150}, "Cannot rewind to step 150"),
        ({"method": "unrolled_rewind", "amount": -1}, "Cannot rewind to step -1"),
        ({"method": "fine_tune", "amount": 0}, "at least one step"),
        ({"models": 1}, "1 shadow models"),
    ]:
        with pytest.raises(UsageError, match=words):
            ask(**given)
    with pytest.raises(NotFoundError, match="nobody"):
        train_shadows(procedure, table, [*ids, "nobody"], ids[:2], ["nobody"], "rewind", 5, models=4, seed=0)


def test_as_many_records_are_kept_as_forgotten() -> None:
    ids = [f"record-{i:03d}" for i in range(300)]
    forget, kept = audited_records(ids, ids[:30], 1)
    assert forget == tuple(ids[:30]) and len(kept) == 30 and not set(kept) & set(ids[:30])
    assert audited_records(ids, ids[:30], 1) == (forget, kept) != audited_records(ids, ids[:30], 2)
    some, others = audited_records(ids, ids[:250], 1, most=40)
    assert len(some) == len(others) == 40 and set(some) < set(ids[:250]) and set(others) <= set(ids[250:])
    few, rest = audited_records(ids, ids[:290], 1)
    assert len(few) == 200 and rest == tuple(ids[290:])
