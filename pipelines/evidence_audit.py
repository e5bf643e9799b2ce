"""Does a verdict without true oracles stand before true ones? They are trained afterwards, for the same outputs.

The original's and the unlearned model's outputs are those of the evidence; only who judges them is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zenml import pipeline

from adapters.runs import run_pipeline
from expunge.evaluation.evidence import Evidence
from expunge.settings import ProjectSettings
from pipelines.judged import by_id, ids, newest_judged, refuse_requested
from steps.evaluation.audit_evidence import audit_evidence

_NEEDED = ("evaluation_outputs", "trajectory", "forget_set", "training_records", "held_out_records")


@dataclass(frozen=True)
class EvidenceAudit:
    """The evidence that was audited, and what true oracles say."""

    audited: Evidence
    audit: Evidence

    @property
    def stands(self) -> bool:
        """Whether true oracles come to the same verdict. A pass that they lack the power to confirm does not stand."""
        return self.audited.verdict == self.audit.verdict

    @property
    def words(self) -> str:
        before, after = self.audited.verdict, self.audit.verdict
        said = f"{before} at level {self.audited.level}, {after} before {self.audit.oracles.count} true oracles"
        if before == after == "no power":
            return f"There was no verdict, and there is none now: {said}."
        return f"The verdict {'stands' if self.stands else 'does not stand'}: {said}."

    def to_dict(self) -> dict[str, Any]:
        return {
            "stands": self.stands,
            "words": self.words,
            "audited": {"verdict": self.audited.verdict, **self.audited.model_dump(mode="json")},
            "audit": {"verdict": self.audit.verdict, **self.audit.model_dump(mode="json")},
        }


@pipeline(name="audit_evidence")
def audit_evidence_pipeline(parts: dict[str, str], settings: ProjectSettings) -> None:
    """Train true oracles now, and run the checks at level oracle on outputs that are there."""
    audit_evidence(**by_id(parts), settings=settings)


def run_evidence_audit(settings: ProjectSettings) -> EvidenceAudit:
    """Audit the newest evidence of level pool or oracle-free.

    Raises NotFoundError when there is none, or its outputs are gone; UsageError when a request has come in between.
    """
    evidence, parts = newest_judged(("pool", "oracle-free"))
    refuse_requested(parts, but_forget_set=True)
    needed = {name: parts[name] for name in _NEEDED}
    done = run_pipeline(audit_evidence_pipeline, "audit_evidence", ids(needed), settings)
    return EvidenceAudit(evidence.load(), done.load("audit_evidence"))
