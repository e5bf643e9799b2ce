"""The erasure report: one static page, kept with the run and beside the certificates."""

import hashlib
import os
from pathlib import Path
from typing import Annotated

from zenml import step

from adapters import artifacts, clock, model_registry
from adapters.facts import versions
from adapters.interim import scan_words
from adapters.ledger import open_ledger
from adapters.project import Project, current_project
from expunge.compliance.whole_file import write_whole
from expunge.evaluation.evidence import Evidence, GateDecision
from expunge.facts import Facts, Report
from expunge.reporting.erasure_inputs import ErasureReportInputs, RequestLine
from expunge.reporting.erasure_report import erasure_report
from expunge.reporting.erasure_words import explain
from expunge.unlearning.plan import UnlearningPlan, UnlearningRun

PAGE = "evidently.html"


@step(enable_cache=False)
def write_report(
    unlearning_plan: UnlearningPlan,
    unlearning_run: UnlearningRun,
    evidence: Evidence,
    gate_decision: GateDecision,
    drift_report: Report,
    promotion: Facts,
    purge: Facts,
    run_id: str,
) -> Annotated[Report, "erasure_report"]:
    project = current_project()
    verdicts = {r.request_id: r for r in evidence.requests}
    lines = []
    with open_ledger() as ledger:
        issued = any(c.run_id == run_id for r in unlearning_plan.requests for c in ledger.certificates(r.request_id))
        for planned in unlearning_plan.requests:
            request = ledger.get_request(planned.request_id)
            lines.append(
                RequestLine(
                    request_id=request.id,
                    subject_kind=str(request.details.get("kind", "records")),
                    records=planned.records,
                    difficulty_percentile=planned.percentile,
                    predicted_steps=unlearning_plan.predicted_steps,
                    spent_steps=unlearning_run.steps_spent,
                    cost_share=unlearning_run.cost["unlearning"],
                    verdict=verdicts[request.id].verdict if request.id in verdicts else "no power",
                    words=verdicts[request.id].words if request.id in verdicts else "",
                    regulation=request.regulation,
                    received_at=request.received_at.isoformat(),
                    due_at=request.deadline.isoformat(),
                )
            )
    inputs = ErasureReportInputs(
        run_id=run_id,
        created_at=clock.now().isoformat(timespec="seconds"),
        project=project.root.name,
        model_name=promotion.values["version"].rsplit(" ", 1)[0],
        original_version=unlearning_plan.model_version,
        promoted_version=promotion.values["version"],
        requests=lines,
        plan=unlearning_plan,
        run=unlearning_run,
        evidence=evidence,
        decision=gate_decision,
        drift=drift_report.numbers,
        purge={**purge.values, "rescan": scan_words(purge.values["rescan"], purge.values["artifacts"])},
        versions=versions(),
        seeds=unlearning_run.seeds,
        limits=clock.limits(),
        evidently=_evidently(promotion, drift_report, project),
    )
    path = project.reports / f"{run_id}.html"
    if issued and path.is_file():  # a certificate of this run holds its digest: killed before the run was closed
        html = path.read_text(encoding="utf-8")
    else:
        html = erasure_report(inputs)
        project.reports.mkdir(parents=True, exist_ok=True)
        write_whole(path, html.encode())  # a half-written report must never be the one that a certificate names
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    report = {"path": str(path.relative_to(project.state)), "sha256": digest}
    model_registry.note(promotion.values["id"], {"report": report})
    return Report("Erasure report", html, {"run": run_id, "passed": gate_decision.passed, "in_words": explain(inputs)})


def _evidently(promotion: Facts, drift_report: Report, project: Project) -> str:
    """Evidently's own page as the report's folder sees it; empty where the store is not below the state folder."""
    found = artifacts.newest("drift_report", model_version_id=promotion.values["id"])
    if found is None or PAGE not in drift_report.attachments:
        return ""
    page = Path(found.uri) / PAGE
    if not page.is_relative_to(project.state):
        return ""
    return os.path.relpath(page, project.reports)
