"""Which sizes has the scenario `adaptive`? What a declaration may set under `options`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from expunge.training.config import Strict

Share = Annotated[float, Field(gt=0, lt=1)]


class Options(Strict):
    """Sizes of the comparison.

    Attributes:
        budgets: mean cost of a request, in retrainings, at which methods are compared. strengths: of the push, that
            unrolled rewinds take back. caution: as `planning.caution`.
        set_share: records of a forget set, as a share of the training records.
        calibration_sets, calibration_oracles, calibrated: sets that the planner learns from, models retrained without
            each of them, and on how many of the originals each is forgotten.
        measured_sets, matched_sets: sets that the methods are judged on, and how many of the hardest have a random set
            of the same labels beside them. oracles: of each judged set, for each original.
        companions: further models on all records for each original: what training makes of a set is read off them too.
    """

    budgets: tuple[Share, ...] = Field(min_length=1)
    strengths: tuple[Share, ...] = Field(min_length=1)
    caution: Share = 0.4
    set_share: Share = 0.01
    calibration_sets: int = Field(ge=5)
    calibration_oracles: int = Field(ge=4)
    calibrated: int = Field(ge=1)
    measured_sets: int = Field(ge=2)
    matched_sets: int = Field(ge=1)
    oracles: int = Field(ge=2)
    companions: int = Field(ge=1)
