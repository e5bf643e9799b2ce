"""Inputs that cannot be judged are refused by name before anything is computed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from laws import World

from expunge.errors import UsageError
from expunge.evaluation import EvaluationInputs

WORLD = World(forget=24, retain=40, held_out=60, oracles=19)


@pytest.fixture(scope="module")
def inputs() -> EvaluationInputs:
    return WORLD.build(planted=True)


def test_good_inputs_are_taken(inputs: EvaluationInputs) -> None:
    assert inputs.phi["oracles"].shape == (19, 124) and inputs.forget_phi("oracles").shape == (19, 24)
    assert not inputs.indicative
    assert replace(inputs, oracles=inputs.oracles[:18]).indicative
    assert replace(inputs, unlearned=inputs.original).unlearned is inputs.original  # untouched: judged, not refused


def bad_inputs(inputs: EvaluationInputs) -> dict[str, dict[str, Any]]:
    hole = inputs.unlearned.copy()
    hole[3, 1] = np.nan
    planted = inputs.planted
    assert planted is not None
    without_class = inputs.held_out[inputs.targets[inputs.held_out] != inputs.targets[inputs.forget[0]]]
    return {
        "NaN or infinite numbers in the unlearned": {"unlearned": hole},
        "NaN or infinite numbers in the oracles": {"oracles": np.full_like(inputs.oracles, np.inf)},
        "Shape of the unlearned": {"unlearned": inputs.unlearned[:-1]},
        "Shape of the oracles": {"oracles": inputs.oracles[:, :, :-1]},
        "Shape of the difficulty": {"difficulty": inputs.difficulty[:3]},
        "There are no forget records": {"forget": np.array([], dtype=int)},
        "There are no held-out records": {"held_out": np.array([], dtype=int)},
        "outside 0..123": {"retain": np.array([124])},
        "in two groups": {"retain": inputs.forget},
        "No held-out record has class": {"held_out": without_class},
        "different record ids": {"record_ids": ("a",) * 124},
        "Targets lie outside": {"targets": inputs.targets + 1},
        "no spread": {"oracles": inputs.oracles[:2]},
        "Identical models: the unlearned model is number 5": {"unlearned": inputs.oracles[4]},
        "Identical models: number 2 of the oracles": {"oracles": np.repeat(inputs.oracles[:1], 19, axis=0)},
        "Identical models: number 1 of the held-back": {"held_back": inputs.oracles[:2]},
        "points outside the forget set": {"requests": {"q": np.array([24])}},
    }


@pytest.mark.parametrize("message", sorted(bad_inputs(WORLD.build(planted=True))))
def test_bad_inputs_are_named(inputs: EvaluationInputs, message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("..", r"\.\.")):
        replace(inputs, **bad_inputs(inputs)[message])


def test_a_bad_planted_set_is_named(inputs: EvaluationInputs) -> None:
    planted = inputs.planted
    assert planted is not None
    for message, change in {
        "planted oracles is": {"oracles": planted.oracles[:, :-1]},
        "2 oracles": {"oracles": planted.oracles[:2]},
        "NaN": {"original": np.full_like(planted.original, np.nan)},
        "empty": {"original": planted.original[:0]},
    }.items():
        with pytest.raises(UsageError, match=message):
            replace(planted, **change)
