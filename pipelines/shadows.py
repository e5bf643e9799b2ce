"""Does the METHOD forget? Shadow models go through the procedure of the newest run, and an attacker reads them."""

from __future__ import annotations

from zenml import pipeline

from adapters.runs import run_pipeline
from expunge.evaluation.evidence import Evidence
from expunge.settings import ProjectSettings
from pipelines.judged import by_id, ids, newest_judged, refuse_requested
from steps.evaluation.audit_with_shadows import audit_with_shadows

_NEEDED = ("evaluation_outputs", "trajectory", "forget_set", "training_records", "unlearning_run")


@pipeline(name="shadows")
def shadows_pipeline(parts: dict[str, str], models: int, settings: ProjectSettings) -> None:
    """Train shadows of the newest run's method and amount; U-LiRA, KLOM and the forgetting quality on them."""
    audit_with_shadows(**by_id(parts), models=models, settings=settings)


def run_shadows(settings: ProjectSettings, models: int) -> Evidence:
    """What the shadow checks say of the newest run's method.

    Raises NotFoundError when nothing was unlearned, or its outputs are gone; UsageError when some of its records are
    under a request, for shadows train on half of the forget set.
    """
    _, parts = newest_judged()
    refuse_requested(parts, but_forget_set=False)
    needed = {name: parts[name] for name in _NEEDED}
    done = run_pipeline(shadows_pipeline, "shadows", ids(needed), models, settings)
    evidence: Evidence = done.load("shadow_evidence")
    return evidence
