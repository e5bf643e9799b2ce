"""What does an erasure certificate say? The fields of its predicate, checked before anything is signed.

No field has room for a feature, an identity or a raw record id: records and people appear as keyed pseudonyms. The
free-form parts (plan, spent, drift, details) hold whatever JSON the run measured. docs/certificate.md describes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from expunge.errors import UsageError

PREDICATE_TYPE = "https://expunge.dev/erasure/v1"


def _inside(path: str) -> str:
    if (
        not path
        or "\0" in path
        or "\\" in path
        or PurePosixPath(path).is_absolute()
        or ".." in PurePosixPath(path).parts
    ):
        raise ValueError("must be a path relative to the state folder, inside it")
    return path


Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Words = Annotated[str, StringConstraints(min_length=1)]
RelativePath = Annotated[str, AfterValidator(_inside)]
Day = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class RequestPart(_Part):
    """The request that is answered. `due_at` is the deadline that counted, `first_due_at` the one before an extension,
    `due_rule` how it was counted; `subject_pseudonym` is keyed, under the key `key_id`.
    """

    id: Words
    regulation: Words
    received_at: AwareDatetime
    due_at: Day
    due_rule: str | None = None
    first_due_at: Day | None = None
    subject_request_type: str | None = None
    subject_pseudonym: Sha256 | None = None
    key_id: str | None = None


class ScopePart(_Part):
    """The records, as keyed pseudonyms, and how many there are; `key_id` names the key, or several with commas."""

    record_pseudonyms: list[Sha256]
    count: int = Field(ge=0)
    key_id: str | None = None


class DataVersionPart(_Part):
    """Fingerprint of the training data before and after."""

    before: str | None = None
    after: str | None = None


class RunPart(_Part):
    """What ran: enough to run it again."""

    id: str | None = None
    code_revision: str | None = None
    config_sha256: Sha256 | None = None
    seeds: dict[str, int] = {}
    versions: dict[str, str] = {}
    device: str | None = None
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None


class BoundPart(_Part):
    """What `certified(epsilon, delta)` rests on: every constant that the bound was computed from."""

    epsilon: float = Field(ge=0)
    delta: float = Field(ge=0, lt=1)
    constants: dict[str, Any]
    assumptions: list[Words]


class EvidencePart(_Part):
    """One test: its statistic with an interval, its controls and power, and what it says in words."""

    name: Words
    statistic: float | None = None
    interval: list[float | None] | None = None
    controls: dict[str, Any] = {}
    power: float | None = None
    verdict: Words
    words: str = ""
    details: dict[str, Any] = {}


class VerdictPart(_Part):
    """Whether the gate passed, and in words that claim no more than the evidence."""

    passed: bool
    words: Words


class ModelPart(_Part):
    """The model that serves now. `path` is relative to the state folder, the parent of `certificates/`."""

    name: Words
    version: str
    sha256: Sha256
    path: RelativePath | None = None


class ArtifactPart(_Part):
    """A descendant of the records: destroyed (how) or kept (why).

    For a prefix checkpoint that is kept until a date: `loss_share`, the share of the record's loss spent by then, and
    `destroy_by`.
    """

    kind: Words
    name: Words
    content_hash: str | None = None
    action: Literal["destroyed", "kept"]
    method: str | None = None
    reason: str | None = None
    loss_share: float | None = None
    destroy_by: Day | None = None


class RescanPart(_Part):
    """The scan after the purge: when, what it still found, in words."""

    at: AwareDatetime | None = None
    found: list[Any] = []
    words: str = ""


class LedgerPart(_Part):
    """The end of the event chain when the certificate was made."""

    head_hash: Sha256
    seq: int = Field(ge=0)
    ledger_id: str | None = None


class ReportPart(_Part):
    """The erasure report and its digest; `path` as in the model."""

    path: RelativePath
    sha256: Sha256


class ErasurePredicate(_Part):
    """The predicate of an erasure certificate, version 1.

    `claim` is MODEL: the statement is about what a model has learnt, not about every copy of a record in the world.
    `guarantee`: exact (retrained without the records), certified (a `bound` with every constant known) or empirical
    (tests only). `evidence_level`: oracle, pool or oracle-free; `guarantee_words` says what both come to.
    `interim` certificates are followed by a final one.
    """

    schema_version: Literal[1] = 1
    claim: Literal["MODEL"] = "MODEL"
    issued_at: AwareDatetime
    interim: bool = False
    request: RequestPart
    scope: ScopePart
    data_version: DataVersionPart = DataVersionPart()
    plan: dict[str, Any] = {}
    spent: dict[str, Any] = {}
    run: RunPart = RunPart()
    stop_reason: str | None = None
    evidence: list[EvidencePart] = []
    evidence_level: Words
    verdict: VerdictPart
    guarantee: Literal["exact", "certified", "empirical"]
    guarantee_words: str = ""
    bound: BoundPart | None = None
    drift: dict[str, Any] = {}
    model: ModelPart
    artifacts: list[ArtifactPart] = []
    rescan: RescanPart = RescanPart()
    approvals: list[dict[str, Any]] = []
    notices: list[dict[str, Any]] = []
    limits: list[Words] = []
    ledger: LedgerPart
    report: ReportPart | None = None
    details: dict[str, Any] = {}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, every field present."""
        return self.model_dump(mode="json")


def checked_predicate(given: Mapping[str, Any]) -> dict[str, Any]:
    """The predicate with every field present, as plain JSON. Raises UsageError naming each field that is wrong."""
    try:
        predicate = ErasurePredicate.model_validate(dict(given))
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise UsageError(
            f"The certificate's predicate is wrong: {wrong}.", "See expunge.compliance.predicate."
        ) from error
    if predicate.scope.count != len(set(predicate.scope.record_pseudonyms)):
        raise UsageError(
            f"The certificate counts {predicate.scope.count} records and names "
            f"{len(set(predicate.scope.record_pseudonyms))}.",
            "Name each record once.",
        )
    if (predicate.guarantee == "certified") != (predicate.bound is not None):
        raise UsageError(
            f"The guarantee is {predicate.guarantee} and a bound is {'given' if predicate.bound else 'missing'}.",
            "State a bound if and only if the guarantee is certified, with every constant that it rests on.",
        )
    for part in predicate.artifacts:
        needed = "method" if part.action == "destroyed" else "reason"
        if not getattr(part, needed):
            raise UsageError(
                f"{part.kind} {part.name} is {part.action} without a {needed}.",
                "A certificate says how each descendant was destroyed, or why it is kept.",
            )
    return predicate.to_dict()
