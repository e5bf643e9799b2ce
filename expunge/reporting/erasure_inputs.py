"""What goes into an erasure report?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from expunge.evaluation.evidence import Evidence, GateDecision
from expunge.unlearning.plan import UnlearningPlan, UnlearningRun


@dataclass(frozen=True)
class RequestLine:
    """One request as the report lists it.

    Attributes:
        subject_kind: who or what was named (a person, a record, a data set); never an identity.
        difficulty_percentile: mean share, in percent, of all records that are easier to forget.
        cost_share: cost of the run that answered it, and the others with it, as a share of one retraining.
        verdict: pass, fail or no power; any other words are shown as they are.
        words: the verdict in a sentence; due_at, regulation: as the ledger has them.
    """

    request_id: str
    subject_kind: str
    records: int
    difficulty_percentile: float
    predicted_steps: int
    spent_steps: int
    cost_share: float
    verdict: str
    words: str = ""
    regulation: str = ""
    received_at: str = ""
    due_at: str = ""


@dataclass(frozen=True)
class ErasureReportInputs:
    """All that the report says, measured elsewhere.

    Attributes:
        promoted_version: the version that serves now; None where the model was not released.
        drift: numbers beside the evidence's own drift table, such as `drift_page` returns them.
        purge: None where nothing was destroyed yet; else `artifacts` (mappings with `kind`, `name`, `action`
            "destroyed" or "kept", `method`, `reason`, `content_hash`) or the
            lists `destroyed` and `kept`, and `rescan` (`at`,
            `found`, `words`). Further keys are shown as they are.
        limits: sentences on what is not proven; those that follow from the evidence are added.
        evidently: where Evidently's own page of the drift lies, relative to this page; empty: not linked.
    """

    run_id: str
    created_at: str
    project: str
    model_name: str
    original_version: str
    promoted_version: str | None
    requests: Sequence[RequestLine]
    plan: UnlearningPlan
    run: UnlearningRun
    evidence: Evidence
    decision: GateDecision
    drift: Mapping[str, Any] = field(default_factory=dict)
    purge: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, Any] = field(default_factory=dict)
    limits: Sequence[str] = ()
    evidently: str = ""

    @property
    def retrained(self) -> bool:
        """Whether the model was trained without the records from the start."""
        return self.decision.guarantee == "exact"

    @property
    def little_remembered(self) -> bool:
        """Whether a deciding test passed only because there was hardly anything to forget."""
        return any(c.gating and c.little_remembered for c in self.evidence.checks)

    @property
    def destroyed(self) -> list[Mapping[str, Any]]:
        """What was destroyed."""
        return self._artifacts("destroyed")

    @property
    def kept(self) -> list[Mapping[str, Any]]:
        """What was kept, with the reasons."""
        return self._artifacts("kept")

    @property
    def rescan(self) -> Mapping[str, Any] | None:
        """The scan after the purge."""
        scan = (self.purge or {}).get("rescan")
        return scan if isinstance(scan, Mapping) else None

    def _artifacts(self, action: str) -> list[Mapping[str, Any]]:
        purge = self.purge or {}
        own = purge.get(action)
        listed = (
            [x if isinstance(x, Mapping) else {"name": str(x)} for x in own] if isinstance(own, list | tuple) else []
        )
        both = purge.get("artifacts")
        if isinstance(both, list | tuple):
            listed += [x for x in both if isinstance(x, Mapping) and x.get("action") == action]
        return listed
