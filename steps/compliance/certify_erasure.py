"""One signed certificate a request, written after the re-scan, its digest on the ledger's chain."""

import hashlib
from pathlib import Path
from typing import Annotated, Any

from zenml import step

from adapters import artifacts, clock, model_registry
from adapters.facts import code_revision, versions
from adapters.interim import certificate_name, for_request, interim_limits, scan_words
from adapters.ledger import open_ledger
from adapters.project import current_project
from expunge.compliance import pack
from expunge.compliance.approvals import approvals_of
from expunge.compliance.canonical import finite
from expunge.compliance.certificate import build_statement, load_or_create_signing_key, sign, write_certificate
from expunge.compliance.ledger import Ledger
from expunge.evaluation.evidence import CheckResult, Evidence, GateDecision
from expunge.facts import Facts, Report
from expunge.settings import ProjectSettings
from expunge.unlearning.plan import UnlearningPlan, UnlearningRun
from materializers.models import WEIGHTS

_WHOLE_RUN = {"claim", "joint_power", "utility", "warnings"}


@step(enable_cache=False)
def certify_erasure(
    unlearning_plan: UnlearningPlan,
    unlearning_run: UnlearningRun,
    evidence: Evidence,
    gate_decision: GateDecision,
    drift_report: Report,
    promotion: Facts,
    purge: Facts,
    erasure_report: Report,
    settings: ProjectSettings,
    run_id: str,
) -> Annotated[Facts, "certificates"]:
    project = current_project()
    project.signing_key.parent.mkdir(parents=True, exist_ok=True)
    key = load_or_create_signing_key(project.signing_key)
    model = _model(promotion)
    data = _data_versions(promotion, unlearning_plan)
    report = project.reports / f"{run_id}.html"
    written = {}
    with open_ledger() as ledger:
        for request_id in ledger.get_run(run_id).details["requests"]:
            issued = [c for c in ledger.certificates(request_id) if c.run_id == run_id]
            if issued:  # before the process was killed
                written[request_id] = issued[-1].path
                continue
            listed, until = for_request(purge.values["artifacts"], request_id, run_id)
            predicate = {
                "interim": until is not None,
                **_request_parts(ledger, request_id),
                "issued_at": clock.now(),
                "data_version": data,
                "plan": _plan_part(unlearning_plan, request_id),
                "spent": {
                    "steps": unlearning_run.steps_spent,
                    "of_retraining": unlearning_plan.retrain_steps,
                    "cost": unlearning_run.cost,
                    "seconds": unlearning_run.seconds,
                    "looks": len(unlearning_run.looks),
                },
                "run": _run_part(ledger, run_id, unlearning_run, settings),
                "stop_reason": unlearning_run.stop_reason,
                "evidence": [_evidence_part(check) for check in evidence.checks],
                "evidence_level": evidence.level,
                "verdict": {"passed": gate_decision.passed, "words": _gate_words(gate_decision)},
                "guarantee": gate_decision.guarantee,
                "guarantee_words": pack.guarantee_words(gate_decision.guarantee, evidence.level),
                "drift": finite(dict(drift_report.numbers)),
                "model": model,
                "artifacts": listed,
                "rescan": scan_words(purge.values["rescan"], listed),
                "approvals": approvals_of(ledger.get_run(run_id)),
                "notices": pack.notices(ledger, ledger.get_request(request_id)),
                "limits": [*clock.limits(), *interim_limits(until)],
                "ledger": _ledger_part(ledger),
                "report": {
                    "path": str(report.relative_to(project.state)),
                    "sha256": hashlib.sha256(report.read_bytes()).hexdigest(),
                },
                "details": {
                    "request": _own_evidence(evidence, request_id),
                    "evidence": evidence.model_dump(mode="json", include=_WHOLE_RUN),
                    "oracles": evidence.oracles.count,
                    "gate": _gate_part(gate_decision, request_id),
                },
            }
            statement = build_statement([{"name": model["name"], "digest": {"sha256": model["sha256"]}}], predicate)
            path = project.certificates / certificate_name(request_id, interim=until is not None)
            digest = write_certificate(path, sign(statement, key))
            ledger.add_certificate(
                request_id, str(path.relative_to(project.state)), digest, run_id, interim=until is not None
            )
            written[request_id] = str(path.relative_to(project.state))
        digests = {request_id: ledger.certificates(request_id)[-1].sha256 for request_id in written}
    model_registry.note(promotion.values["id"], {model_registry.CERTIFICATES: digests})
    return Facts("Certificates", {"run": run_id, "certificates": written, "report": erasure_report.title})


def _request_parts(ledger: Ledger, request_id: str) -> dict[str, Any]:
    return {
        "request": pack.request_part(ledger.get_request(request_id)),
        "scope": pack.scope_part(ledger.request_records(request_id)),
    }


def _plan_part(plan: UnlearningPlan, request_id: str) -> dict[str, Any]:
    """The plan, and of its requests this one alone: a certificate goes to one person."""
    own = next((r for r in plan.requests if r.request_id == request_id), None)
    return {
        **plan.model_dump(mode="json", exclude={"requests", "alternatives"}),
        "requests_together": len(plan.requests),
        "request": own.model_dump(mode="json", exclude={"request_id"}) if own else None,
    }


def _gate_words(decision: GateDecision) -> str:
    """What the gate said, "passed" taken off its front: "in weaker words" stays."""
    return decision.words.removeprefix("passed").removeprefix(":").strip() or decision.words


def _gate_part(decision: GateDecision, request_id: str) -> dict[str, Any]:
    """Every finding of the gate but those on other requests."""
    found = decision.model_dump(mode="json", include={"findings", "holm"})
    own = f"request {request_id}"
    found["findings"] = [f for f in found["findings"] if f["name"] == own or not f["name"].startswith("request ")]
    return found


def _run_part(ledger: Ledger, run_id: str, run: UnlearningRun, settings: ProjectSettings) -> dict[str, Any]:
    seeds = {
        name if not isinstance(value, list) or len(value) == 1 else f"{name} {i}": seed
        for name, value in run.seeds.items()
        for i, seed in enumerate(value if isinstance(value, list) else [value])
    }
    return {
        "id": run_id,
        "code_revision": code_revision(),
        "config_sha256": settings.digest(),
        "seeds": seeds,
        "versions": versions(),
        "device": settings.device,
        "started_at": ledger.get_run(run_id).started_at,
        "finished_at": clock.now(),
    }


def _evidence_part(check: CheckResult) -> dict[str, Any]:
    return {
        "name": check.name,
        "statistic": check.statistic,
        "interval": list(check.interval) if check.interval else None,
        "controls": {name: control.model_dump(mode="json") for name, control in check.controls.items()},
        "power": check.power.not_pass_given_half,
        "verdict": check.verdict,
        "words": check.words,
        "details": {
            "title": check.title,
            "gating": check.gating,
            "p_value": check.p_value,
            "margin": check.margin,
            "power": check.power.model_dump(mode="json"),
            "values": {name: value.model_dump(mode="json") for name, value in check.values.items()},
        },
    }


def _own_evidence(evidence: Evidence, request_id: str) -> dict[str, Any]:
    own = next((r for r in evidence.requests if r.request_id == request_id), None)
    return own.model_dump(mode="json", exclude={"places"}) if own else {}


def _model(promotion: Facts) -> dict[str, Any]:
    found = artifacts.newest("model", model_version_id=promotion.values["id"])
    assert found is not None
    project = current_project()
    weights = Path(found.uri) / WEIGHTS
    inside = weights.is_relative_to(project.state)
    name, version = promotion.values["version"].rsplit(" ", 1)
    return {
        "name": name,
        "version": version,
        "sha256": found.run_metadata["sha256"],
        "path": str(weights.relative_to(project.state)) if inside else None,
    }


def _data_versions(promotion: Facts, plan: UnlearningPlan) -> dict[str, str | None]:
    """Fingerprints of the training records before and after; the first is a tombstone by now."""
    name, version = plan.model_version.rsplit(" ", 1)
    before = model_registry.find(name, version)
    prints: list[str | None] = []
    for model_version_id in (before.id if before else None, promotion.values["id"]):
        found = artifacts.versions("training_records", model_version_id=model_version_id) if model_version_id else []
        prints.append(str(found[0].run_metadata["fingerprint"]) if found else None)
    return {"before": prints[0], "after": prints[1]}


def _ledger_part(ledger: Ledger) -> dict[str, Any]:
    head = ledger.head()
    return {"head_hash": head.hash, "seq": head.seq, "ledger_id": ledger.ledger_id}
