"""The plots of the erasure report show what they are given, leave out what is not there, and survive nonsense."""

from __future__ import annotations

import re
from typing import Any

import pytest
import samples
from samples import erasure
from test_pages import checked

from expunge.evaluation.evidence import CheckResult, RoleValue
from expunge.reporting.attack_plots import named_plot, roc_plot
from expunge.reporting.cost_plots import left_plot, loss_plot, plan_against_spent, steps_table
from expunge.reporting.drift_parts import drift_section
from expunge.reporting.erasure_report import erasure_report
from expunge.reporting.model_plots import accuracy_bars, barrier_plot, drift_plot
from expunge.reporting.page import link, page


def text_of(part: str) -> str:
    return checked(page("T", [part]))


def check(name: str = "x", **fields: Any) -> CheckResult:
    return CheckResult(**{"name": name, "title": name, "verdict": "pass", "words": "w", **fields})


def test_what_was_planned_stands_beside_what_was_spent() -> None:
    plan, run = samples.plan(), samples.run()
    text = text_of(plan_against_spent(plan, run) + steps_table(plan, run))
    assert "planned: 30% [21%, 48%]" in text and "spent: 78%" in text and "one retraining: 100%" in text
    assert "predicted, between 210 and 480 21.0% to 48.0%" in text
    exact = samples.plan(predicted_interval=(300, 300))
    assert "between" not in text_of(steps_table(exact, run)) and "Whisker" not in plan_against_spent(exact, run)
    second = samples.run(cost={"unlearning": 1.0, "earlier attempts": 0.3})
    assert "an attempt that failed: 30%" in text_of(plan_against_spent(plan, second))


def test_the_loss_curve_marks_where_the_run_restarted() -> None:
    plan = samples.plan()
    text = text_of(loss_plot(plan, samples.run()))
    assert "restart at step 520" in text and "planned: 700" in text and "thin: 3 single requests" in text
    assert "undoes what was spent after it: 37% of the loss" in text and "and leaves 63%" in text
    assert "restart at step 700" in text_of(loss_plot(plan)) and "planned" not in text_of(loss_plot(plan))
    again = samples.run(method="retrain", rewind_step=None)
    assert "restarts at step 0" in text_of(loss_plot(plan, again))
    tuned = samples.run(method="fine_tune", rewind_step=None)
    assert "restarts at no checkpoint" in text_of(loss_plot(plan, tuned))
    assert loss_plot(samples.plan(loss_curve=None), samples.run()) == "", "a plan of before it was recorded"


def test_accuracy_stands_as_bars_with_whiskers() -> None:
    utility = samples.evidence().utility
    bars = accuracy_bars(utility)
    assert bars.count("<rect") == 9 and bars.count('class="whisker"') == 27
    some = {"forget_accuracy_original": RoleValue(note="none"), "retain_accuracy_oracle": RoleValue(value=1.0)}
    assert text_of(accuracy_bars(some)).count("–") >= 1 and accuracy_bars({}) == ""


def test_the_roc_is_drawn_where_it_was_recorded() -> None:
    drawn = roc_plot(samples.rich().check("mia_loss"))
    assert drawn.count("<polyline") == 4 and "band-grey" in drawn and "fewer than 10 of 300 unseen" in drawn
    without = samples.evidence().check("mia_loss").model_copy(update={"details": {}})
    assert roc_plot(without) == ""
    for nonsense in (
        7,
        {},
        {"original": 3},
        {"original": [[0, 0]]},
        {"original": [["a", None], [1], 5], "others": "x"},
    ):
        assert roc_plot(check("mia_loss", details={"roc": nonsense})) == ""
    perfect = {"original": [[0, 0], [0, 1], [1, 1]], "unlearned": [[0, 0], [1, 1]], "others": 0}
    text_of(roc_plot(check("mia_loss", details={"roc": perfect})))


def test_the_way_between_models_is_drawn_in_either_form() -> None:
    drawn = barrier_plot(samples.rich().check("loss_barrier"))
    assert drawn.count("<polyline") == 6 and drawn.count("dashed") == 3
    curves = {"original": [1.0, 2.0, 1.0], "unlearned": [1.0, 1.5, 1.0], "oracles": [1.0, 1.4, 1.0]}
    own = {"points": 3, "retain": {"plain": {"curves": curves}, "aligned": {"curves": curves}}}
    assert barrier_plot(check(details=own)).count("<polyline") == 6
    many = {"points": [0, 1], "oracle-oracle": [[1.0, 1.0], [2.0, 1.0]]}
    assert barrier_plot(check(details={"paths": many})).count("thin") == 2
    for nonsense in (
        {},
        {"paths": {}},
        {"paths": {"points": [0, 1], "oracle-oracle": [1]}},
        {"points": 3, "retain": 1},
    ):
        assert barrier_plot(check(details=nonsense)) == ""


def test_drift_is_drawn_against_its_threshold_and_evidently_is_named() -> None:
    found = samples.evidence()
    drawn = drift_section(found, {}, "../stores/x/evidently.html")
    assert drawn.count("<circle") == 24 and '<a href="../stores/x/evidently.html">evidently.html</a>' in drawn
    assert "evidently.html" not in drift_section(found, {})
    assert drift_plot([{"value": 1.0}, {"value": "x", "threshold": 0}, {}]) == ""


@pytest.mark.parametrize("place", ["https://x.y/z", "//x/y", "javascript:alert(1)", "/etc/passwd", 'a"b', ""])
def test_no_link_leads_away(place: str) -> None:
    assert "href" not in link(place, "words") and "words" in link(place, "words")


def test_every_check_is_in_the_table_whoever_made_it() -> None:
    text = checked(erasure_report(erasure("rich")))
    for found in samples.rich().checks:
        assert found.title.replace("\u202e", "\ufffd") in text, found.name
    for words in ("What to do: ask its author", "expunge evaluate --shadows 96", "forgotten: before", "kept: after",
                  "shuffled (yardstick)"):  # fmt: skip
        assert words in text, words
    assert named_plot(check(values={"unlearned": RoleValue(value=1.0)})) == "", "one value alone is in the table"
    assert named_plot(check(details={"strip": {"rows": 3}})) == ""


def test_the_page_falls_into_cards_on_a_phone() -> None:
    document = erasure_report(erasure())
    style = document[: document.index("</style>")]
    assert "@media screen and (max-width:640px){.expunge .cards" in style and "@media print" in style
    assert re.search(r'<td[^>]* data-name="verdict">', document)


def test_what_each_candidate_leaves_is_drawn_with_the_chosen_one() -> None:
    text = text_of(left_plot(samples.plan()))
    assert "chosen: 30% of a retraining" in text and "The target is 10%" in text
    assert left_plot(samples.plan(alternatives=(), predicted_left=None)) == "", "nothing is predicted"
