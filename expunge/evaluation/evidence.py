"""What the evaluation says: the formats of a check, of a request's evidence, of a run's evidence and of the gate.

Every number is finite or None with a reason beside it; JSON goes out and comes back unchanged
(``Evidence.model_validate_json(evidence.model_dump_json()) == evidence``). Nothing here holds features, and record
ids appear only where a request has fewer records than a set-level statistic needs (``RecordPlace``).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

FORMAT: Literal["expunge.evidence/1"] = "expunge.evidence/1"

Verdict = Literal["pass", "fail", "no power"]
Level = Literal["oracle", "pool", "oracle-free"]
Claim = Literal["MODEL", "METHOD"]
Guarantee = Literal["exact", "empirical"]
Interval = tuple[float, float]


def plain(value: Any) -> Any:
    """Nested numbers, arrays, tuples and mappings as JSON values.

    Raises:
        ValueError: a number is NaN or infinite (say None and why instead), or a value has no JSON form.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError("a number in the evidence is not finite: give None and the reason")
        return value
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    raise ValueError(f"{type(value).__name__} has no JSON form")


Json = Annotated[JsonValue, BeforeValidator(plain)]
Details = Annotated[dict[str, JsonValue], BeforeValidator(plain)]


class Record(BaseModel):
    """Base of the formats: frozen, closed to unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class RoleValue(Record):
    """One statistic of one role (``original``, ``unlearned``, ``oracle``). ``note`` says why a value is None."""

    value: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    note: str = ""


class Control(Record):
    """A model whose truth is known. The original must fail; held-back oracles (``passes`` of ``of``) must pass."""

    expected: Literal["pass", "fail"]
    verdict: Verdict
    statistic: float | None = None
    p_value: float | None = None
    passes: int | None = None
    of: int | None = None
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the control came out as it must."""
        return self.verdict == self.expected


class Power(Record):
    """P(pass | an oracle) and P(not pass | half forgotten), from held-back oracles and ``models`` half-kept models.

    seen: for each half-kept model whether the check fails it. too_low: the share is under what a pass asks for.
    """

    pass_given_oracle: float | None = None
    not_pass_given_half: float | None = None
    models: int = 0
    seen: list[bool] = Field(default_factory=list)
    too_low: bool = False
    note: str = ""


class CheckResult(Record):
    """One check: statistic, interval, controls, power, verdict and one plain sentence."""

    name: str
    title: str
    statistic: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    values: dict[str, RoleValue] = Field(default_factory=dict)
    controls: dict[str, Control] = Field(default_factory=dict)
    power: Power = Power()
    verdict: Verdict
    little_remembered: bool = False
    gating: bool = False
    margin: float | None = None
    words: str
    details: Details = Field(default_factory=dict)

    @property
    def sound(self) -> bool:
        """Whether every control of this check came out as it must."""
        return all(control.holds for control in self.controls.values())


class Rank(Record):
    """Place of a model's distance among the oracles' (1 = farthest), p = position / of."""

    position: int
    of: int
    p_value: float
    distance: float


class RecordPlace(Record):
    """One record's place among the references (1 = farthest from the oracles' mean), per role."""

    record_id: str
    places: dict[str, Rank]


class RequestEvidence(Record):
    """One request's figures, beside the verdict on the run's whole forget set."""

    request_id: str
    records: int
    forget_accuracy: dict[str, RoleValue]
    influence_rank: dict[str, Rank]
    mia: dict[str, RoleValue]
    places: list[RecordPlace] = Field(default_factory=list)
    verdict: Verdict
    little_remembered: bool = False
    words: str


class OracleRecord(Record):
    """Which oracles were used for what: those used to choose or to stop never judge."""

    count: int
    verdict: list[str] = Field(default_factory=list)
    look: list[str] = Field(default_factory=list)
    held_back: list[str] = Field(default_factory=list)
    half_kept: list[str] = Field(default_factory=list)


class FailureSignature(Record):
    """A named warning: the method is probably outside the conditions it works under."""

    name: str
    words: str
    numbers: Details = Field(default_factory=dict)


class Evidence(Record):
    """Everything measured about one unlearned model; joint_power: share of half-kept models some gating check fails."""

    format: Literal["expunge.evidence/1"] = FORMAT
    level: Level
    claim: Claim
    checks: list[CheckResult]
    requests: list[RequestEvidence] = Field(default_factory=list)
    oracles: OracleRecord
    joint_power: float | None = None
    utility: dict[str, RoleValue] = Field(default_factory=dict)
    warnings: list[FailureSignature] = Field(default_factory=list)
    words: str

    @property
    def verdict(self) -> Verdict:
        """Of all gating checks together: pass when each passes, fail when one fails, else no power."""
        verdicts = {check.verdict for check in self.checks if check.gating}
        if "fail" in verdicts:
            return "fail"
        return "pass" if verdicts == {"pass"} else "no power"

    def check(self, name: str) -> CheckResult:
        """The result of one check.

        Raises:
            KeyError: the check was not run.
        """
        for result in self.checks:
            if result.name == name:
                return result
        raise KeyError(name)


class Finding(Record):
    """One line of the gate's table. ``gating`` findings decide, the others are reported."""

    name: str
    ok: bool
    words: str
    gating: bool = True


class HolmRow(Record):
    """One gating check in Holm's order: its p-value against the level of its step."""

    name: str
    p_value: float | None
    level: float
    rejected: bool


class GateDecision(Record):
    """Whether the model may be promoted, with every finding, never the first only."""

    passed: bool
    findings: list[Finding]
    holm: list[HolmRow] = Field(default_factory=list)
    guarantee: Guarantee
    words: str
