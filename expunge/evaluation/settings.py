"""Every number that the evaluation uses, fixed before the outputs are looked at."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from expunge.evaluation.evidence import Level

MAX_GATING = 3
MIN_RECORDS = 20
MIN_ORACLES = 19
GATING_BELOW_ORACLE = {"pool": "pool_influence", "oracle-free": "matched"}


class EvaluationSettings(BaseModel):
    """Margins, levels and sizes (METHOD section 7 where it names them, chosen here otherwise)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    level: float = Field(
        default=0.05, gt=0, lt=1, description="chance of failing a true oracle, all gating checks together"
    )
    gating: tuple[str, ...] = Field(
        default=("influence", "mia_loss", "drift"),
        description="checks that decide; k of them need k / level - 1 oracles, drift one more as its reference",
    )
    power_needed: float = Field(
        default=0.8, ge=0, le=1, description="P(not pass | half forgotten) that a pass needs; 0 asks for none"
    )
    variance_floor: float = Field(
        default=0.5, ge=0, description="floor of the oracles' variance, share of its median over records"
    )
    control_components: int = Field(
        default=8, ge=0, description="principal components of held-out phi that are regressed out of forget phi"
    )
    min_records: int = Field(default=MIN_RECORDS, ge=2, description="fewest records for a set-level statistic")

    influence_margin: float = Field(default=0.10, gt=0, description="margin of influence and excess")
    energy_needed: float = Field(
        default=0.05, gt=0, description="lower bound of S_o/m above which influence is divided"
    )

    matched_margin: float = Field(
        default=0.25, gt=0, lt=0.5, description="share of the original's memory, against matched records, that may stay"
    )

    mia_margin: float = Field(default=0.02, gt=0, description="difference of AUC, or of efficacy, too small to matter")
    shadow_margin: float = Field(
        default=0.10, gt=0, description="difference of AUC from one half, over shadow models, too small to matter"
    )
    mia_folds: int = Field(default=10, ge=2)
    mia_oracles: int = Field(default=100, ge=3, description="most oracles that the attacks are run on")
    mia_sample: int = Field(
        default=300, ge=MIN_RECORDS, description="most members and most non-members of the confidence attack"
    )

    utility_margin: float = Field(default=0.02, gt=0, description="loss of held-out accuracy that is accepted")

    drift_method: Literal["wasserstein"] = Field(
        default="wasserstein", description="Evidently's distance for numbers: normed Wasserstein"
    )
    drift_quantile: float = Field(
        default=0.95, gt=0, le=1, description="quantile of the ranked oracles' distances that is the threshold"
    )

    flat_variation: float = Field(
        default=0.10, ge=0, description="coefficient of variation of P under which it is called flat"
    )
    seed: int = 0

    @field_validator("gating")
    @classmethod
    def _few_and_distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(names) > MAX_GATING:
            raise ValueError(f"at most {MAX_GATING} checks may gate, not {len(names)}")
        if len(set(names)) != len(names):
            raise ValueError("a check is named twice among the gating checks")
        return names

    def gating_at(self, level: Level) -> tuple[str, ...]:
        """The checks that decide at one level of evidence: below ``oracle`` its own, unless ``gating`` names it.

        What decides without oracles does not decide where there are some.
        """
        if level == "oracle":
            named = tuple(name for name in self.gating if name not in GATING_BELOW_ORACLE.values())
            return named if named or not self.gating else EvaluationSettings().gating
        own = GATING_BELOW_ORACLE[level]
        return self.gating if own in self.gating else (own,)

    def at_level(self, level: float) -> EvaluationSettings:
        """The same settings at another level (the Holm share of one gating check)."""
        return self.model_copy(update={"level": level})
