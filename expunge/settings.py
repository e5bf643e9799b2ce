"""One YAML per scenario: the single place where a number is set, with a section for each pipeline."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from expunge.compliance.config import ComplianceConfig
from expunge.data.config import DataSettings
from expunge.errors import NotFoundError, UsageError, nearest
from expunge.storage import StorageConfig
from expunge.training.config import Strict, TrainingConfig
from expunge.unlearning.plan import MethodName


class ModelSettings(Strict):
    """name: a factory or "package.module:function". registered_as: its name in the Model Control Plane."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    registered_as: str

    @field_validator("registered_as")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not value or not all(c.isalnum() or c in "-_." for c in value):
            raise ValueError("use letters, digits, '-', '_' and '.'")
        return value


class ScoringSettings(Strict):
    """order: Renyi order. batch: records per pass. r0: assumed median of ||g||/s for plain SGD.

    checkpoints: score only so many (null: all). precision: bfloat16 is faster where the processor multiplies it. What
    either changes is measured on `sample` records. block: records per file that a restart reuses.
    checkpoints_per_shard: null takes as many as are worth a step of their own. workers: shards at once; in one process
    they share the cores, so more than one pays with step operators only.
    """

    order: float = Field(default=8, gt=1)
    batch: int = Field(default=4096, gt=0)
    r0: float = Field(default=1.0, gt=0)
    checkpoints: int | None = Field(default=None, ge=2)
    precision: Literal["float32", "bfloat16"] = "float32"
    sample: int = Field(default=1000, ge=100)
    block: int = Field(default=16384, gt=0)
    checkpoints_per_shard: int | None = Field(default=None, gt=0)
    workers: int = Field(default=1, gt=0)


class CalibrationConfig(Strict):
    """Sizes of the calibration run: see expunge.unlearning.calibration.CalibrationSettings."""

    bins: tuple[float, ...] = (0, 5, 15, 40, 100)
    set_size: int = Field(default=40, gt=0)
    oracles: int = Field(default=10, ge=4)
    runs: int = Field(default=2, ge=1)
    rewind_shares: tuple[float, ...] = (0.35, 0.5, 0.6, 0.7, 0.8, 0.9)
    strengths: tuple[float, ...] = (0.3, 0.6, 0.9)
    fine_tune_shares: tuple[float, ...] = (0.25, 0.5)
    folds: int = Field(default=4, ge=2)
    repeats: int = Field(default=2, ge=1)
    seed: int = Field(default=1, ge=0)


class PlanningConfig(Strict):
    """How a plan chooses: see expunge.unlearning.candidates.PlanningSettings."""

    target: float = Field(default=0.10, gt=0, lt=1)
    caution: float = Field(default=0.4, gt=0, lt=1)
    max_cost: float = Field(default=1.0, gt=0)
    keep: bool = False
    method: MethodName | None = None


class EvaluationConfig(Strict):
    """Reference models by purpose, the checks that gate (at most three, named beforehand), margins.

    level is the significance; evidence_level says what the model is judged against: "oracle" retrains models without
    the records, "pool" takes the reference pool, "oracle-free" matched held-out records. checks: null runs all that the
    outputs have something for. pool_models: models that calibration trains for the pool, each without pool_left_out of
    the subjects (0: no pool). barrier_pairs: oracles among which loss barriers are ranked (0: none; 19 give a verdict).
    """

    look_oracles: int = Field(default=20, ge=5)
    verdict_oracles: int = Field(default=80, ge=19)
    held_back: int = Field(default=10, ge=1)
    half_kept: int = Field(default=20, ge=2)
    evidence_level: Literal["oracle", "pool", "oracle-free"] = "oracle"
    pool_models: int = Field(default=64, ge=0)
    pool_left_out: float = Field(default=0.5, gt=0, lt=1)
    barrier_pairs: int = Field(default=0, ge=0)
    checks: tuple[str, ...] | None = None
    gating: tuple[str, ...] = Field(default=("influence", "mia_loss", "drift"), max_length=3)
    level: float = Field(default=0.05, gt=0, lt=1)
    power_needed: float = Field(default=0.8, ge=0, le=1)
    utility_margin: float = Field(default=0.02, gt=0)
    seed: int = Field(default=2, ge=0)

    @model_validator(mode="after")
    def _has_its_pool(self) -> Self:
        if self.evidence_level == "pool" and not self.pool_models:
            raise ValueError("level pool needs a reference pool: set evaluation.pool_models, 64 say")
        return self


class DeletionConfig(Strict):
    """purge_prefix: what becomes of checkpoints before a rewind point: "destroy" at once, or keep them "until_due" as
    starts for later rewinds alone (docs/adr/0012). prefix_margin_days: they go so many days before the earliest due
    date; no less than the days between two scheduled runs.
    """

    purge_prefix: Literal["destroy", "until_due"] = "destroy"
    prefix_margin_days: int = Field(default=1, ge=1)
    seed: int = Field(default=3, ge=0)
    approval: Literal["none", "required"] = Field(default="none", description="does a person answer for every plan?")
    approve_up_to: float | None = Field(default=None, gt=0, description="retrainings that `--approve` may answer for")
    approval_wait: int = Field(default=0, ge=0, description="seconds that a process waits itself before it ends with 6")


class ProjectSettings(Strict):
    """A whole scenario."""

    data: DataSettings
    model: ModelSettings
    training: TrainingConfig
    scoring: ScoringSettings = ScoringSettings()
    calibration: CalibrationConfig = CalibrationConfig()
    planning: PlanningConfig = PlanningConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    deletion: DeletionConfig = DeletionConfig()
    compliance: ComplianceConfig = ComplianceConfig()
    storage: StorageConfig = StorageConfig()
    device: str = Field(default="cpu", pattern=r"^(cpu|cuda(:\d+)?)$")

    def digest(self) -> str:
        """SHA-256 of the settings in canonical JSON."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def load_settings(path: Path, overrides: Iterable[str] = ()) -> ProjectSettings:
    """Read a YAML file and apply `key.path=value` overrides.

    Raises NotFoundError for a missing file, UsageError for YAML that cannot be read, an unknown key (with the nearest
    valid one) or a value out of range.
    """
    if not path.is_file():
        raise NotFoundError(f"No configuration {path}.", "See configs/ for those that ship, or run `expunge init DIR`.")
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not valid YAML: {error}.") from error
    if not isinstance(raw, dict):
        raise UsageError(f"{path} holds no settings.", "Start from one of configs/.")
    for override in overrides:
        _set(raw, override)
    return parse_settings(raw, str(path))


def parse_settings(raw: Mapping[str, Any], where: str) -> ProjectSettings:
    """Settings from a mapping; `where` names it in errors."""
    try:
        return ProjectSettings.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UsageError(
                f"{where}: unknown key {place!r}.", nearest(str(first["loc"][-1]), _keys(first["loc"]))
            ) from None
        raise UsageError(f"{where}: {place}: {first['msg']}.", f"It is {first['input']!r} now.") from None


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """Valid keys of the section that holds the unknown key."""
    section: type[BaseModel] = ProjectSettings
    for part in location[:-1]:
        field = section.model_fields.get(str(part))
        kind = field.annotation if field is not None else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        section = kind
    return list(section.model_fields)


def _set(raw: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {override!r} is not of the form key.path=value.")
    *parents, last = path.split(".")
    at = raw
    for part in parents:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise UsageError(f"--set {override!r}: {part!r} is no section.")
    at[last] = yaml.safe_load(value)
