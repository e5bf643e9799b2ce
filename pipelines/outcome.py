"""What came of each request? One row from what the run stored; reads, starts nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from adapters import model_registry
from adapters.ledger import open_ledger
from expunge.errors import NotFoundError
from expunge.evaluation.evidence import Evidence, RequestEvidence
from expunge.settings import ProjectSettings
from expunge.unlearning.plan import UnlearningPlan, UnlearningRun
from pipelines.inputs import required

ROLES = ("original", "unlearned", "oracle")


@dataclass(frozen=True)
class Outcome:
    """One request's figures. By role (original, unlearned, oracle): value and 90 % interval, or a note."""

    request: str
    status: str
    records: int
    percentile: float
    method: str
    predicted_steps: int
    spent_steps: int
    retrain_steps: int
    cost: float
    cost_everything: float
    forget_accuracy: dict[str, Any]
    distance_rank: dict[str, Any]
    mia_auc: dict[str, Any]
    verdict: str
    words: str
    controls: dict[str, Any]
    certificate: str
    report: str
    fallback: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def outcomes(settings: ProjectSettings, request_ids: tuple[str, ...] | None = None) -> list[Outcome]:
    """Rows of the requests named (default: all) that have a certificate, in the order of their deadline.

    One whose certificate is interim is not closed yet: its status says so.
    """
    with open_ledger() as ledger:
        named = ledger.list_requests() if request_ids is None else [ledger.get_request(r) for r in request_ids]
        requests = sorted(named, key=lambda r: (r.deadline, r.received_at, r.id))
        rows = []
        for request in requests:
            if request.run_id is None or request.status not in ("closed", "purged"):
                continue
            run = ledger.get_run(request.run_id)
            certificates = ledger.certificates(request.id)
            if request.status == "purged" and not certificates:  # killed before it was certified
                continue
            version = model_registry.find(settings.model.registered_as, request.run_id)
            if version is None:
                continue
            plan, spent, evidence = (
                required(name, str(version.id)).load() for name in ("unlearning_plan", "unlearning_run", "evidence")
            )
            rows.append(
                _row(
                    request.id, str(request.status), plan, spent, evidence,
                    certificates[-1].path if certificates else "", f"reports/{run.id}.html", run.fallback_reason or "",
                )
            )  # fmt: skip
    return rows


def _row(
    request_id: str,
    status: str,
    plan: UnlearningPlan,
    run: UnlearningRun,
    evidence: Evidence,
    certificate: str,
    report: str,
    fallback: str,
) -> Outcome:
    planned = next(r for r in plan.requests if r.request_id == request_id)
    own = next(r for r in evidence.requests if r.request_id == request_id)
    return Outcome(
        request=request_id,
        status=status,
        records=planned.records,
        percentile=planned.percentile,
        method=run.method,
        predicted_steps=plan.predicted_steps,
        spent_steps=run.steps_spent,
        retrain_steps=plan.retrain_steps,
        cost=run.cost["unlearning"] + run.cost.get("earlier attempts", 0.0),
        cost_everything=run.cost["everything"],
        forget_accuracy={role: _value(own.forget_accuracy.get(role)) for role in ROLES},
        distance_rank={
            role: {"rank": r.position, "of": r.of, "p": r.p_value, "distance": r.distance}
            for role in ROLES
            if (r := own.influence_rank.get(role))
        },
        mia_auc={role: _value(own.mia.get(role)) for role in ROLES},
        verdict=own.verdict,
        words=_words(own, run, evidence.verdict == "pass"),
        controls=_controls(own, evidence),
        certificate=certificate,
        report=report,
        fallback=fallback,
    )


def _words(own: RequestEvidence, run: UnlearningRun, passed: bool) -> str:
    if run.guarantee == "exact":
        return f"forgotten by construction; tests: {own.words}"
    if own.verdict == "no power" and passed:
        return f"covered by the run's verdict, which is a pass; on its own {own.words}"
    if own.verdict == "fail" and passed:
        return (
            f"covered by the run's verdict, which is a pass; on its own {own.words}:"
            " at most one request in 20 falls so far by chance"
        )
    return own.words


def _value(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    return {"value": value.value, "interval": value.interval, "note": value.note}


def _controls(own: RequestEvidence, evidence: Evidence) -> dict[str, Any]:
    """Whether the original fails and oracles pass: the controls of the run's distance check, of any level."""
    distances = ("influence", "pool_influence", "matched")
    check = next((check for name in distances for check in evidence.checks if check.name == name), None)
    return {} if check is None else {role: c.model_dump(mode="json") for role, c in check.controls.items()}


def find_outcome(settings: ProjectSettings, request_id: str) -> Outcome:
    """One request's row. Raises NotFoundError when it has none yet."""
    for row in outcomes(settings, (request_id,)):
        return row
    raise NotFoundError(f"Request {request_id} has no result yet.", "See `expunge request show`.")
