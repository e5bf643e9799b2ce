"""Figures, tables and words say what the numbers say, also where there is nothing to say."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from barrier_cases import NULLS, ORIGINALS, RATES, SETS, heights, noise

from expunge.evaluation.loss_paths import GROUPS
from expunge.reproduction.barriers.estimates import Heights, estimates, overall
from expunge.reproduction.barriers.figures import alignment_figure, figures_of
from expunge.reproduction.barriers.heights import ENDS, FIGURES, WAYS
from expunge.reproduction.barriers.tables import grid_gap, tables_of
from expunge.reproduction.barriers.words import answer, overall_words, world_words

LOOKS = [6, 12, 24]
PLANTED = 0.5 + 0.2 * np.log(RATES) + noise(0)


def plain(found: Heights) -> Heights:
    """The same where hidden units cannot be reordered."""
    arrays = {key: value.copy() for key, value in found.arrays.items()}
    for key in ("before", "baseline", "looks", "trained_on", "rewound"):
        arrays[key][..., WAYS.index("aligned"), :] = np.nan
    return dataclasses.replace(found, arrays=arrays)


def test_words_name_what_grows_beyond_chance_and_only_that() -> None:
    grown = heights(PLANTED, noise(1), left=0.4)
    words = world_words(grown, *estimates(grown))
    assert "above zero, for the retain barrier, own seed (0." in words
    assert "fell by 0.6 [0.6, 0.6] of its height with fine-tuning" in words
    flat = heights(noise(2), noise(3))
    assert "above zero, for no measure." in world_words(flat, *estimates(flat))


def test_the_answer_tells_growth_from_none_and_names_the_gap_of_the_ends() -> None:
    grown, flat = (heights(before, noise(1), left=0.4) for before in (PLANTED, 0.5 + noise(2)))
    for found, growth in ((grown, "grows with privacy loss"), (flat, "does not grow with privacy loss")):
        ends = found.arrays["ends"].copy()
        forget = ends[..., GROUPS.index("forget")]
        forget[..., ENDS.index("original")], forget[..., ENDS.index("oracle")] = 0.0, 1.0
        found = dataclasses.replace(found, arrays={**found.arrays, "ends": ends})
        own, reasons = estimates(found)
        made, missing = overall(own, reasons, [found.world])
        rise, chord = answer(made, {**reasons, **missing}, [found])
        assert growth in rise and growth in chord and "unlearning lowers it (by 0.6" in chord
        share = 0.5 / float(found.hard("before", "forget rise", "own seed").mean())
        assert f"is {share:.0%} of that height" in rise


def test_the_answer_says_where_no_fall_can_be_judged() -> None:
    flat = dataclasses.replace(heights(np.zeros((ORIGINALS, SETS + NULLS)), noise(1)), world="flat")
    own, reasons = estimates(flat)
    made, missing = overall(own, reasons, ["flat"])
    assert "unlearning cannot be judged (own seed" in answer(made, {**reasons, **missing}, [flat])[1]


def test_words_say_which_data_sets_a_mean_is_without() -> None:
    name = "fall of the retain barrier, own seed"
    grown = heights(PLANTED, noise(1), left=0.4)
    flat = dataclasses.replace(heights(np.zeros((ORIGINALS, SETS + NULLS)), noise(1)), world="flat")
    parts = [estimates(grown), estimates(flat)]
    made, reasons = ({k: v for part in parts for k, v in part[place].items()} for place in (0, 1))
    everywhere, nowhere = overall(made, reasons, ["made up", "flat"])
    assert f"flat: {name}" in reasons and not nowhere
    words = overall_words(everywhere, reasons, ["made up", "flat"])
    assert "the retain barrier (own seed) 0.6 [0.6, 0.6] by fine-tuning" in words and "without flat, where" in words


@pytest.mark.parametrize("make", [lambda found: found, plain])
def test_everything_can_be_drawn_and_told(make: object) -> None:
    for before in (PLANTED, np.zeros((ORIGINALS, SETS + NULLS)), PLANTED[:1]):
        found = make(heights(before, noise(4)[: len(before)]))  # type: ignore[operator]
        made, reasons = estimates(found)
        everywhere = overall(made, reasons, [found.world])
        drawn = (*figures_of(found, LOOKS), alignment_figure([found, found]))
        assert all(any(series.kind == "null" for series in figure.series) for figure in drawn)
        assert all(np.isfinite(value) for figure in drawn for series in figure.series for value in series.y)
        for table in tables_of(found, made):
            assert all(len(row) == len(table.heads) for row in table.rows) and "nan" not in str(table)
        for words in (
            world_words(found, made, reasons),
            overall_words(everywhere[0], {**reasons, **everywhere[1]}, [found.world]),
        ):
            assert "nan" not in words and words.endswith(".")


def test_the_run_begins_at_the_untouched_original_and_ends_at_the_last_look() -> None:
    run = figures_of(heights(PLANTED, noise(5), left=0.4, left_by_control=0.9), LOOKS)[-1]
    hard = PLANTED[:, SETS - 2 : SETS].mean()
    assert run.series[0].x == (0.0, 6.0, 12.0, 24.0)
    assert run.series[0].y[0] == pytest.approx(hard) and run.series[0].y[-1] == pytest.approx(0.4 * hard)
    assert run.series[1].y[-1] == pytest.approx(0.9 * hard)
    assert run.series[2].y[-1] == pytest.approx(0.4 * PLANTED[:, SETS:].mean())


def test_the_gap_of_the_grid_is_the_largest() -> None:
    found = heights(PLANTED, noise(6))
    assert grid_gap(found) == 0.0
    found.arrays["baseline"][2, 3, ..., FIGURES.index("coarse")] -= 0.03
    assert grid_gap(found) == pytest.approx(0.03)
