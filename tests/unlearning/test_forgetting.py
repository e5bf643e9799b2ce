"""From a plan to a model that forgot, small but whole, and the models that judge it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planned import plan

from expunge.errors import NotFoundError, UsageError
from expunge.training import predict
from expunge.unlearning.candidates import PlanningSettings
from expunge.unlearning.costs import break_even_runs, run_costs
from expunge.unlearning.forgetting import forget
from expunge.unlearning.judging import evaluation_inputs, judged_by
from expunge.unlearning.methods import METHODS, Procedure
from expunge.unlearning.plan import UnlearningRun
from expunge.unlearning.references import train_references


@pytest.mark.parametrize("method", ["rewind", "fine_tune", "noisy_fine_tune", "l1_sparse", "retrain"])
def test_every_method_forgets_without_seeing_the_records(world: dict[str, Any], tmp_path: Path, method: str) -> None:
    """The forgotten rows of the table are NaN: had any been trained on, the loss would be too."""
    table, hard = world["table"], world["hard"].record_ids
    retain = table.without(hard)
    made = plan(world, settings=PlanningSettings(method=method))
    run, new = forget(
        made, world["trajectory"], table, retain, hard, tmp_path, look_oracles=6, level=0.05, seed=3,
        facts={"parent": world["trajectory"].digest},
    )  # fmt: skip
    assert not set(new.record_ids) & set(hard) and new.run["parent"] == world["trajectory"].digest
    assert new.checkpoints[0].q == world["trajectory"].checkpoints[0].q
    assert run.guarantee == ("exact" if method == "retrain" else "empirical")
    assert run.steps_spent <= made.budget_steps
    assert Procedure.of(new).config == world["trajectory"].config
    if method == "rewind":
        start = run.rewind_step
        assert all(c.destroyed == (c.step <= start) for c in new.checkpoints)
        files = {p.name for p in new.directory.iterdir()}
        assert all(c.file in files for c in new.kept)
    again, same = forget(
        made, world["trajectory"], table, retain, hard, tmp_path / "again", look_oracles=6, level=0.05, seed=3,
        facts={"parent": world["trajectory"].digest},
    )  # fmt: skip
    assert same.final.sha256 == new.final.sha256 and again.stop_reason == run.stop_reason


@pytest.mark.parametrize("method", ["neggrad_plus", "scrub"])
def test_a_baseline_runs_when_asked_for_and_says_what_it_is(world: dict[str, Any], tmp_path: Path, method: str) -> None:
    table, hard = world["table"], world["hard"].record_ids
    made = plan(world, settings=PlanningSettings(method=method))
    assert made.method == method and "a baseline to compare with" in made.reason
    assert method not in {c.method for c in plan(world).alternatives}
    run, new = forget(
        made, world["trajectory"], table, table.without(hard), hard, tmp_path, look_oracles=6, level=0.05, seed=3,
        facts={},
    )  # fmt: skip
    assert run.guarantee == "empirical" and new.run["method"] == method
    assert run.cost["unlearning"] > run.steps_spent / made.retrain_steps  # what it reads besides the retain batches


def test_a_destroyed_checkpoint_is_no_start(world: dict[str, Any], tmp_path: Path) -> None:
    hard = world["hard"].record_ids
    made = plan(world, settings=PlanningSettings(method="rewind"))
    _, new = forget(
        made, world["trajectory"], world["table"], world["table"].without(hard), hard, tmp_path, look_oracles=6,
        level=0.05, seed=3, facts={},
    )  # fmt: skip
    gone = next(c for c in new.checkpoints if c.destroyed)
    with pytest.raises(NotFoundError, match=f"step {gone.step}"):
        METHODS["rewind"].continuation(new, gone.step, 0)


def test_no_two_purposes_share_a_model(world: dict[str, Any]) -> None:
    counts = {"look": 2, "verdict": 2, "held_back": 2, "half_kept": 2}
    table = world["table"]
    made = train_references(
        Procedure.of(world["trajectory"]), table, table.record_ids, world["hard"].record_ids, counts, seed=4
    )
    seeds = [s for own in made.seeds.values() for s in own]
    assert len(set(seeds)) == 8
    stacked = np.concatenate([made.look, made.verdict, made.held_back, made.half_kept])
    assert len({m.tobytes() for m in stacked}) == 8


def test_no_counts_train_nothing(world: dict[str, Any]) -> None:
    table = world["table"]
    made = train_references(Procedure.of(world["trajectory"]), table, table.record_ids, world["hard"].record_ids, {}, 4)
    assert made.verdict.shape == made.held_back.shape == made.half_kept.shape == (0, 300, 10)
    assert not any(made.seeds.values()) and not any(made.states.values())


def test_weights_are_kept_where_they_are_asked_for(world: dict[str, Any]) -> None:
    table, procedure = world["table"], Procedure.of(world["trajectory"])
    counts = {"verdict": 3, "half_kept": 2}
    made = train_references(
        procedure, table, table.record_ids, world["hard"].record_ids, counts, 4, keep={"verdict": 2, "half_kept": 1}
    )
    assert {purpose: len(states) for purpose, states in made.states.items() if states} == {"verdict": 2, "half_kept": 1}
    for states, logits in ((made.states["verdict"], made.verdict), (made.states["half_kept"], made.half_kept)):
        for state, own in zip(states, logits, strict=False):
            np.testing.assert_allclose(predict(procedure.spec, state, table), own, rtol=1e-5, atol=1e-5)


def test_other_judges_take_the_places_of_the_first(world: dict[str, Any]) -> None:
    table, procedure, hard = world["table"], Procedure.of(world["trajectory"]), world["hard"].record_ids
    training, state = table.record_ids[:250], world["trajectory"].state(world["trajectory"].final).model_state()
    hard = [r for r in hard if r in set(training)]
    none = train_references(procedure, table, training, hard, {}, 1)
    other = train_references(procedure, table, training, hard, {"verdict": 3, "held_back": 2, "half_kept": 2}, 2)
    first = evaluation_inputs(
        procedure, table, training_ids=training, forget_ids=hard, requests={}, original=state, unlearned=state,
        references=none, look_ids=("seed 5",), cross_fitted=np.zeros((1, 300, 10), dtype=np.float32), planted=None,
    )  # fmt: skip
    assert len(first.oracles) == 0
    audited = judged_by(first, other, table.record_ids)
    assert (len(audited.oracles), len(audited.held_back), len(audited.half_kept)) == (3, 2, 2)
    assert audited.oracle_ids == tuple(f"seed {s}" for s in other.seeds["verdict"])
    assert audited.look_ids == ("seed 5",) and audited.unlearned is first.unlearned
    with pytest.raises(UsageError, match="other records"):
        judged_by(first, other, table.record_ids[::-1])


def test_the_amount_of_a_run_repeats_it() -> None:
    given: dict[str, Any] = {"stop_reason": "", "looks": (), "seeds": {}, "cost": {}, "guarantee": "empirical"}
    rewound = UnlearningRun(method="rewind", rewind_step=30, steps_spent=50, **given)
    tuned = UnlearningRun(method="fine_tune", rewind_step=None, steps_spent=12, **given)
    retrained = UnlearningRun(method="retrain", rewind_step=None, steps_spent=60, **given)
    assert (rewound.amount, tuned.amount, retrained.amount) == (30, 12, 0)


def test_costs_add_up_and_say_when_they_never_pay() -> None:
    given: dict[str, Any] = {
        "judges": 10,
        "cross_fitted": 2,
        "scored_checkpoints": 5,
        "records": 100,
        "calibration": 30.0,
    }
    costs = run_costs(0.5, look_oracles=0, examples_per_retraining=1000, **given)
    assert costs["everything"] == pytest.approx(0.5 + 10 + 2 + 0.5 + 30)
    assert break_even_runs(costs) == pytest.approx(30.5 / 0.5)
    assert break_even_runs(run_costs(0.5, look_oracles=20, examples_per_retraining=1000, **given)) is None
