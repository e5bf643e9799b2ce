"""What is planned for a forget set, at what price, and what is refused or falls back with its reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planned import SMALL, known, left_of, plan

from expunge.errors import UsageError
from expunge.privacy.forget_sets import build_forget_set
from expunge.unlearning.calibration import pilot_sets
from expunge.unlearning.candidates import PlanningSettings
from expunge.unlearning.forgetting import forget
from expunge.unlearning.planner import make_plan
from expunge.unlearning.predictor import BudgetPredictor


def test_pilots_are_drawn_from_the_bins_they_name(world: dict[str, Any]) -> None:
    sets = pilot_sets(world["losses"], SMALL, 1)
    assert sets == pilot_sets(world["losses"], SMALL, 1)
    assert (world["losses"].percentile(sets["hardest 0 to 20 %"]) >= 79).all()
    assert not set(sets["hardest 0 to 20 %"]) & set(sets["hardest 20 to 100 %"])


def test_a_plan_names_no_record(world: dict[str, Any]) -> None:
    text = plan(world).model_dump_json()
    assert not any(record_id in text for record_id in world["table"].record_ids)


@pytest.mark.parametrize(
    ("given", "words"),
    [({"predictor": None}, "no calibration"), ({"retrain_because": "the gate refused"}, "the gate refused")],
)
def test_retraining_is_planned_where_nothing_else_can_be(world: dict[str, Any], given: Any, words: str) -> None:
    made = plan(world, **given)
    assert made.method == "retrain" and words in made.reason and made.predicted_cost == 1


def test_too_few_records_to_show_anything_are_retrained(world: dict[str, Any]) -> None:
    assert plan(world, predictor=known(world, visible_size=16)).method == "retrain"
    assert plan(world, predictor=known(world, visible_size=15)).method != "retrain"


@pytest.mark.parametrize("method", ["rewind", "unrolled_rewind", "keep"])
def test_a_method_that_is_asked_for_is_taken(world: dict[str, Any], method: str) -> None:
    made = plan(world, settings=PlanningSettings(method=method))
    assert made.method == method and "was asked for" in made.reason
    assert (made.strength is not None) == (method == "unrolled_rewind")


def test_the_cheapest_way_that_is_predicted_to_be_enough(world: dict[str, Any]) -> None:
    made = plan(world, predictor=known(world))
    assert (made.method, made.strength) == ("unrolled_rewind", 0.5)
    steps = [c.step for c in world["trajectory"].kept if 0 < c.step < 60]
    assert made.rewind_step == max(s for s in steps if left_of(s) / 2 <= 0.1)
    assert made.predicted_left == pytest.approx(left_of(made.rewind_step) / 2, abs=1e-6)
    stricter = plan(world, predictor=known(world), settings=PlanningSettings(target=0.03))
    assert stricter.rewind_step < made.rewind_step and stricter.predicted_cost > made.predicted_cost
    never = plan(world, predictor=known(world), settings=PlanningSettings(target=1e-3))
    assert never.method == "retrain" and "nothing cheaper is predicted to meet" in never.reason
    assert {c.method for c in made.alternatives} == {"keep", "rewind", "unrolled_rewind", "retrain"}


def test_what_pilots_that_easy_did_not_hold_is_only_proved(world: dict[str, Any], tmp_path: Path) -> None:
    whole = known(world, energy=0.0).model_dump()
    nothing = BudgetPredictor.model_validate({**whole, "pilots": whole["pilots"][:6]})
    allowed = PlanningSettings(keep=True)
    easiest = build_forget_set("easiest", world["losses"], size=12)
    made = plan(world, predictor=nothing, forget=easiest, settings=allowed)
    assert (made.method, made.predicted_cost, made.budget_steps) == ("keep", 0.0, 0) and "only the proof" in made.reason
    assert any("next request on it needs a retraining" in words for words in made.warnings)
    assert plan(world, predictor=nothing, forget=easiest).method != "keep"  # unless it is asked for
    hidden = {"hard": list(world["hard"].record_ids[:1]), "easy": list(easiest.record_ids)}
    mixed = build_forget_set("records", world["losses"], record_ids=[*hidden["hard"], *hidden["easy"]])
    assert float(np.mean(world["losses"].select(mixed.record_ids).total)) <= nothing.nothing_below
    both = make_plan(
        mixed, hidden, world["losses"], world["trajectory"], nothing, allowed, model_version="m 1"
    )  # fmt: skip
    assert both.method != "keep"
    harder = build_forget_set("hardest", world["losses"], size=2)
    assert float(np.mean(world["losses"].select(harder.record_ids).total)) > nothing.nothing_below
    assert plan(world, predictor=nothing, forget=harder, settings=allowed).method != "keep"
    ids = world["hard"].record_ids
    run, new = forget(
        plan(world, settings=PlanningSettings(method="keep")), world["trajectory"], world["table"],
        world["table"].without(ids), ids, tmp_path, look_oracles=6, level=0.05, seed=3, facts={},
    )  # fmt: skip
    assert new.final.sha256 == world["trajectory"].final.sha256 and not new.kept
    assert (run.steps_spent, run.cost["unlearning"], run.guarantee, run.looks) == (0, 0.0, "empirical", ())


def requests_plan(world: dict[str, Any], requests: dict[str, Any], **settings: Any) -> Any:
    ids = [record for own in requests.values() for record in own]
    forget_set = build_forget_set("records", world["losses"], record_ids=ids)
    return make_plan(
        forget_set, requests, world["losses"], world["trajectory"], known(world, slope=0.02),
        PlanningSettings(**settings), model_version="m 1",
    )  # fmt: skip


def test_a_request_that_sets_everyones_bill_is_named(world: dict[str, Any]) -> None:
    losses = world["losses"]
    ids = [losses.record_ids[k] for k in np.argsort(-losses.total, kind="stable")]
    middle = ids[len(ids) // 2 :]
    made = requests_plan(world, {"hard": ids[:6], "usual": middle[:6]})
    alone = requests_plan(world, {"usual": middle[:6]})
    bills = [words for words in made.warnings if "raises the cost" in words]
    assert made.predicted_cost - alone.predicted_cost >= 0.1
    assert [w.split(" raises")[0] for w in bills] == ["request hard"]
    for others in (
        requests_plan(world, {"a": middle[:3], "b": middle[3:6]}),
        requests_plan(world, {"hard": ids[:6], "usual": middle[:6]}, method="retrain"),
    ):
        assert not any("raises the cost" in words for words in others.warnings)


def test_one_run_for_all_is_priced_against_a_run_for_each(world: dict[str, Any]) -> None:
    losses = world["losses"]
    ids = [losses.record_ids[k] for k in np.argsort(-losses.total, kind="stable")]
    middle = ids[len(ids) // 2 :]
    parts = {name: middle[6 * k : 6 * k + 6] for k, name in enumerate("abc")}
    together = requests_plan(world, parts)
    apart = [requests_plan(world, {name: own}) for name, own in parts.items()]
    assert together.one_by_one_cost == pytest.approx(sum(one.predicted_cost for one in apart), abs=0.05)
    assert together.predicted_cost < together.one_by_one_cost and apart[0].one_by_one_cost is None
    unseen = make_plan(
        build_forget_set("records", losses, record_ids=middle[:18]), parts, losses, world["trajectory"],
        known(world, visible_size=7), PlanningSettings(), model_version="m 1",
    )  # fmt: skip
    assert unseen.one_by_one_cost == 3.0  # each by itself too small to be seen


def test_records_far_out_of_the_training_range_are_named(world: dict[str, Any]) -> None:
    losses = world["losses"]
    planted = replace(losses, total=np.where(np.arange(len(losses.total)) == 5, losses.total.max() * 1e6, losses.total))
    odd = {**world, "losses": planted}
    made = requests_plan(odd, {"odd": [losses.record_ids[5]], "usual": list(losses.record_ids[7:9])})
    assert [words for words in made.warnings if "planted" in words] == [
        w for w in made.warnings if w.startswith("request odd: 1 of 1 records")
    ]
    assert not any("planted" in words for words in requests_plan(world, {"a": losses.record_ids[:9]}).warnings)


def test_a_cap_a_target_and_lost_checkpoints_give_their_reason(world: dict[str, Any]) -> None:
    ids = list(world["losses"].record_ids[:15])
    free = requests_plan(world, {"a": ids})
    assert free.method == "unrolled_rewind"
    capped = requests_plan(world, {"a": ids}, max_cost=0.9 * free.predicted_cost)
    assert capped.method == "retrain" and "over the cap" in capped.reason and "over the cap" in capped.warnings[0]
    trajectory = world["trajectory"]
    first = trajectory.checkpoints[1].step
    lost = {"all": lambda step: True, "early": lambda step: step <= first}
    cut = {
        name: replace(trajectory, checkpoints=tuple(replace(c, destroyed=gone(c.step)) for c in trajectory.checkpoints))
        for name, gone in lost.items()
    }
    left = requests_plan({**world, "trajectory": cut["all"]}, {"a": ids})
    assert left.method == "retrain" and "earlier deletions destroyed them" in left.reason
    # What the records moved before a destroyed checkpoint is not known, but a later one can still be gone back to.
    partly = requests_plan({**world, "trajectory": cut["early"]}, {"a": ids}, target=0.2)
    assert "unrolled_rewind" not in {partly.method, *(c.method for c in partly.alternatives)}
    assert partly.method == "rewind"
    with pytest.raises(UsageError, match=r"'unrolled_rewind' is not possible here.*Use retrain"):
        requests_plan({**world, "trajectory": cut["all"]}, {"a": ids}, method="unrolled_rewind")


def test_a_calibration_is_read_at_the_target_and_only_for_what_it_was_made(world: dict[str, Any]) -> None:
    assert world["predictor"].at(0.1) is world["predictor"] and world["predictor"].at(0.2).target == 0.2
    assert world["predictor"].at(0.3).data_fingerprint == world["predictor"].data_fingerprint
    for update, what in (({"data_fingerprint": "other"}, "data set"), ({"model": {"name": "cnn"}}, "architecture")):
        with pytest.raises(UsageError, match=f"calibration is of another {what}.*expunge calibrate"):
            plan(world, predictor=world["predictor"].model_copy(update=update))
    told = known(world)
    free, tight = (
        plan(world, predictor=told, settings=PlanningSettings(target=0.3, max_cost=cap)) for cap in (1.0, 0.6)
    )
    assert len(free.attempts) == len(free.strengths) == 2 and free.attempts[0] > free.attempts[1]
    assert tight.attempts == free.attempts[:1] and tight.budget_steps < free.budget_steps < 60
    few = build_forget_set("hardest", world["losses"], size=3)
    assert any(
        "extrapolated: 3 records, the pilots had 12" in words
        for words in plan(world, predictor=told, forget=few).warnings
    )


def test_a_set_far_larger_than_the_pilots_is_not_unrolled(world: dict[str, Any]) -> None:
    large = build_forget_set("random", world["losses"], size=25, seed=1)
    made = plan(world, predictor=known(world), forget=large)
    assert made.method != "unrolled_rewind"
    words = {c.why for c in made.alternatives if c.method == "unrolled_rewind"}
    assert words and all("far larger than any pilot" in why for why in words)
    assert plan(
        world, predictor=known(world), forget=build_forget_set("random", world["losses"], size=24, seed=1)
    ).strength


def test_a_set_that_is_nearly_everything_is_refused(world: dict[str, Any]) -> None:
    most = build_forget_set("hardest", world["losses"], size=290)
    with pytest.raises(UsageError, match="leaves 10 of 300"):
        plan(world, forget=most)
