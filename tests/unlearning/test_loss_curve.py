"""The plan carries when the forget set's privacy loss was spent: the planner's own shares, and no record's name."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from expunge.privacy import PrivacyLosses
from expunge.unlearning.plan import LossCurve, RequestDifficulty
from expunge.unlearning.share_curve import loss_curve, request_curves, share_before, shares_before

STEPS = (0, 4, 8)
CURVES = {"a": [1.0, 2.0, 4.0], "b": [0.0, 0.0, 4.0], "c": [8.0, 8.0, 8.0]}
LOSSES = PrivacyLosses(
    tuple(CURVES), np.array([c[-1] for c in CURVES.values()]), np.array(list(CURVES.values())), STEPS, 2.0, "score"
)


def test_the_curve_is_what_the_planner_reads() -> None:
    curve = loss_curve(LOSSES, ["a", "b"], 10)
    assert curve.steps == (0, 4, 8, 10)
    assert curve.forget == (0.0, 0.125, 0.25, 1.0)
    assert curve.everyone == (0.0, 0.5625, 0.625, 1.0)
    for step, share in zip(curve.steps, curve.forget, strict=True):
        assert share == pytest.approx(share_before(LOSSES, ["a", "b"], step))
    assert shares_before(LOSSES, ["c"], [0, 1, 5, 99]).tolist() == [0, 1, 1, 1]
    assert not any(name in curve.model_dump_json() for name in ('"a"', '"b"', '"c"'))


def test_a_set_without_any_loss_spends_nothing() -> None:
    none = PrivacyLosses(("a",), np.zeros(1), np.zeros((1, 3)), STEPS, 2.0, "score")
    assert loss_curve(none, ["a"], 10).forget == (0.0, 0.0, 0.0, 0.0)


def test_requests_have_curves_where_there_are_several_and_only_the_largest() -> None:
    assert request_curves(LOSSES, {"one": ["a"]}, 10) == {} == request_curves(LOSSES, {"one": ["a"], "none": []}, 10)
    two = request_curves(LOSSES, {"one": ["a"], "two": ["b", "c"]}, 10)
    assert two["one"] == (0.0, 0.25, 0.5, 1.0) and len(two) == 2
    many = request_curves(LOSSES, {f"r{k}": ["a"] if k else ["a", "b"] for k in range(20)}, 10)
    assert len(many) == 12 and next(iter(many)) == "r0"


def test_a_curve_needs_a_share_for_every_step_and_old_documents_have_none() -> None:
    with pytest.raises(ValidationError, match="one share a step"):
        LossCurve(steps=(0, 1), forget=(0.0,), everyone=(0.0, 1.0))
    old = {"request_id": "r", "records": 1, "percentile": 1.0, "loss": 1.0}
    assert RequestDifficulty.model_validate(old).spent == ()
