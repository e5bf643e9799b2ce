"""Are results shown as they are: plots that stay finite, a page, a document, and a comparison that can fail?"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from expunge.reporting.results_document import document, read_results
from expunge.reporting.results_page import results_page
from expunge.reporting.scenario_plots import plot_file, scenario_plot
from expunge.reproduction.comparison import compare, unlike
from expunge.reproduction.config import ScenarioConfig
from expunge.reproduction.findings import Figure, Findings, Series, Table, over_seeds
from expunge.reproduction.registry import SCENARIOS
from expunge.reproduction.results import Provenance, Results, machine, make_results

POINTS = Series(
    name="sets <b>", x=(1.0, 10.0, 1000.0), y=(0.2, 0.5, 0.9), low=(0.1, -math.inf, 0.8), high=(0.3, math.inf, 1.0),
    censored=(False, False, True), names=("easy", "middle", "hard & fast"),
)  # fmt: skip
NULL = Series(name="random", x=(1.0, 1000.0), y=(0.4, 0.4), kind="null line")
FIGURE = Figure(
    name="Times, all", title="Times & losses", caption="Grey: chance.", x_label="privacy loss", y_label="time",
    series=(POINTS, NULL), x_log=True,
)  # fmt: skip


def _results(values: list[float], **more: Any) -> Results:
    config = ScenarioConfig.model_validate(
        {
            "scenario": "own", "title": "Own & only", "question": "Does it?", "originals": len(values), "worlds": {
                "digits": {
                    "data": {"name": "digits", "train": 200, "held_out": 50}, "model": {"name": "mlp"},
                    "training": {
                        "steps": 20, "batch_size": 16, "learning_rate": 0.3, "noise": {"convention": "implicit"},
                    },
                }
            },
            "partial": more.get("partial", False), "pilots": "The size was chosen in a pilot.",
            "rules": [
                {"claim": "It does", "contrast": "digits: slope", "topic": "Slopes"},
                {"claim": "It is open", "contrast": "digits: other", "paper": False},
            ],
        }
    )  # fmt: skip
    findings = Findings(
        estimates={"digits: slope": over_seeds(values)},
        not_estimable={"digits: other": "too few"},
        figures=(FIGURE,),
        tables=(Table(title="Sets", heads=("set", "time"), rows=(("a|b", 1.5), ("c", None))),),
        words=("The slope was measured.",),
    )
    provenance = Provenance(
        code="abc",
        parts=("abc", "old"),
        declaration="0" * 64,
        versions={"torch": "2"},
        machine=machine(),
        seconds=3.0,
        finished="2026-01-01",
    )
    return make_results(config, more.get("quick", False), findings, provenance)


@pytest.mark.parametrize(
    "change",
    [
        {}, {"x_log": False}, {"y_log": True}, {"x_names": ("a", "b")}, {"x_names": tuple("abcdefgh")}, {"series": ()},
        {"series": (NULL,)},
        {"series": (Series(name="n", x=(0.0, math.nan), y=(math.inf, -1.0)),), "y_log": True},
        {"series": (Series(name="n", x=(2.0,), y=(2.0,), kind="line", low=(1.0,), high=(math.inf,)),)},
    ],
)  # fmt: skip
def test_a_figure_is_finite_and_well_formed(change: dict[str, Any]) -> None:
    drawn = plot_file(FIGURE.model_copy(update=change))
    ET.fromstring(drawn)
    body = scenario_plot(FIGURE.model_copy(update=change))
    assert "nan" not in body and "inf" not in body.replace("infinity", "")
    assert "<b>" not in drawn


def test_the_legend_of_a_file_is_where_the_style_sheet_colours_it() -> None:
    """The sheet speaks of elements below an svg of the page, so the legend must not lie in the outermost."""
    root = ET.fromstring(plot_file(FIGURE))
    space = "{http://www.w3.org/2000/svg}"
    assert not root.findall(f"{space}circle")
    inner = [mark.get("class") for mark in root.findall(f"{space}svg/{space}circle")]
    assert {"fill-a", "fill-grey"} <= set(inner)


def test_a_censored_time_is_hollow_and_says_at_least() -> None:
    drawn = scenario_plot(FIGURE)
    assert "hard &amp; fast: at least 0.9" in drawn and 'class="line-a"' in drawn


def test_page_and_document_say_the_same() -> None:
    results = _results([1.0, 1.1, 0.9, 1.05, 0.95])
    page, files = results_page(results), document({"own": results}, "results")
    text = files[""]
    for words in ("It does", "supported", "undecided", "The slope was measured."):
        assert words in page and words in text
    assert "| It does | **supported** | 1 [0.902, 1.1] |" in text
    assert "| [own](#own--only) | Slopes | 1 of 1 | 0 of 1 | 0 of 1 |" in text
    assert "| [own](#own--only) | It is open | 0 of 1 | 0 of 1 | 1 of 1 |" in text
    assert "The size was chosen in a pilot." in page and "The size was chosen in a pilot." in text
    assert "a\\|b" in text and "](results/own-times-all.svg)" in text and "own-times-all.svg" in files
    assert "code abc, parts measured by old; " in text and "seed 0" in text and "torch 2" in text
    assert read_results(files["own.json"]) == results
    assert "Not run in full yet: predict-sgld" in text
    whole = document(dict.fromkeys((*SCENARIOS, "own"), results), "results")[""]
    assert "Not run in full yet" not in whole
    assert text.index("Did the paper's claims") < text.index("Slopes") < text.index("Open questions")


def test_a_quick_run_says_so_everywhere() -> None:
    results = _results([1.0, 1.1, 0.9, 1.05, 0.95], quick=True)
    assert "quick run" in results_page(results) and "quick run" in document({"own": results}, "r")[""].lower()
    assert {c.verdict for c in results.conclusions} == {"undecided"}
    few = _results([1.0, 1.1, 0.9])
    assert {c.verdict for c in few.conclusions} == {"undecided"}
    assert "3 originals are too few" in few.conclusions[0].words
    part = _results([1.0, 1.1, 0.9, 1.05, 0.95], partial=True)
    assert {c.verdict for c in part.conclusions} == {"undecided"} and "decides nothing" in results_page(part)
    text = document(dict.fromkeys(SCENARIOS, part), "r")[""]
    assert "Not run in full yet: predict-sgld" in text and "only digits ran.**" in text


def test_only_like_runs_are_compared() -> None:
    one = _results([1.0, 1.1, 0.9, 1.05, 0.95])

    def differ(**changes: Any) -> tuple[str, ...]:
        return unlike(one, ScenarioConfig.model_validate({**one.config, **changes}))

    def digits(**options: Any) -> dict[str, Any]:
        own = one.config["worlds"]["digits"]
        return {"digits": {**own, "data": {**own["data"], "options": options}}}

    assert differ(seed=9) == () == differ(worlds=digits(data_dir="there", download=True))
    assert differ(options={"looks": 3}, originals=4) == ("originals", "options")
    assert differ(worlds=digits(limit=9)) == ("worlds.digits",)
    assert differ(worlds={"other": digits()["digits"]}) == ("worlds",)


def test_infinite_intervals_survive_the_file() -> None:
    results = _results([1.0])
    assert results.findings.estimates["digits: slope"].interval() == (-math.inf, math.inf)
    assert read_results(results.model_dump_json()) == results
    results_page(results)


def test_a_rerun_is_compared_within_the_intervals() -> None:
    rng = np.random.default_rng(0)
    stated, again, other = (_results((m + rng.normal(size=6) * 0.1).tolist()) for m in (1.0, 1.0, 2.0))
    for rerun in (stated, again):
        assert (told := compare(stated, rerun)).agrees and told.words.startswith("All 1 estimates agree")
    parted = compare(stated, other)
    assert not parted.agrees and len(parted.apart) == 1 and "1 of 1 estimates differ" in parted.words
    assert "digits: slope" in parted.words and not compare(stated, other.model_copy(update={"seed": 1})).agrees


def test_with_another_seed_some_may_lie_apart() -> None:
    def with_values(*values: float) -> Results:
        own = _results([1.0, 1.1, 0.9, 1.05, 0.95])
        one = own.findings.estimates["digits: slope"]
        estimates = {f"digits: {k}": one.model_copy(update={"value": value}) for k, value in enumerate(values)}
        return own.model_copy(update={"findings": own.findings.model_copy(update={"estimates": estimates})})

    stated, one_off, two_off = with_values(*[1.0] * 5), with_values(9, 1, 1, 1, 1), with_values(9, 9, 1, 1, 1)
    assert not compare(stated, one_off).agrees
    told = compare(stated, one_off.model_copy(update={"seed": 1}))
    assert told.agrees and "1 of 5" in told.words and "one in twenty is to be expected" in told.words
    assert not compare(stated, two_off.model_copy(update={"seed": 1})).agrees


def test_a_rerun_of_one_data_set_is_compared_on_that_alone() -> None:
    whole = _results([1.0, 1.1, 0.9])
    names = ("digits: slope", "fashion: slope", "all data sets: slope")
    estimates = dict.fromkeys(names, whole.findings.estimates["digits: slope"])
    worlds = dict.fromkeys(("digits", "fashion"), whole.config["worlds"]["digits"])
    whole = whole.model_copy(
        update={
            "findings": whole.findings.model_copy(update={"estimates": estimates}),
            "config": {**whole.config, "worlds": worlds},
        }
    )
    part = _results([1.0, 1.1, 0.9])
    assert compare(whole, whole).compared == 3 and compare(whole, part).compared == 1
    assert compare(whole, part).agrees
    nothing = part.model_copy(update={"findings": Findings(estimates={})})
    assert not (told := compare(whole, nothing)).agrees and "digits: slope: not estimated now" in told.words
    assert compare(whole, nothing.model_copy(update={"seed": 1})).agrees, "with another seed that can happen"
