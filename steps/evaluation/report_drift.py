"""Evidently's drift of the unlearned model from an oracle: our static page for the dashboard, its own as attachment."""

from typing import Annotated

from zenml import step

from expunge.evaluation.drift import drift_page
from expunge.evaluation.evidence import Evidence
from expunge.evaluation.inputs import EvaluationInputs
from expunge.facts import Report
from expunge.reporting.artifact_pages import document_page
from expunge.settings import ProjectSettings
from steps.evaluation.settings import evaluation_settings


@step(enable_cache=False)
def report_drift(
    evaluation_outputs: EvaluationInputs, evidence: Evidence, settings: ProjectSettings
) -> Annotated[Report, "drift_report"]:
    if not len(evaluation_outputs.oracles):
        note = {"reason": f"evidence level {evidence.level}: no model was retrained to compare with"}
        return Report("Drift", document_page("Drift from a retrained model: not measured", note), note)
    try:
        evidently, numbers = drift_page(evaluation_outputs, evaluation_settings(settings))
    except ValueError as error:
        note = {"reason": str(error)}
        return Report("Drift", document_page("Drift from a retrained model: not measured", note), note)
    measured = next((c.details for c in evidence.checks if c.name == "drift"), {})
    page = document_page("Drift from a retrained model", {"distances (Evidently)": numbers, **measured})
    return Report("Drift", page, numbers, {"evidently.html": evidently})
