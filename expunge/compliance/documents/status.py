"""What does a controller get to see of a request? OpenDSR's status document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from expunge.compliance.lifecycle import Status
from expunge.compliance.rows import CertificateEntry, Request

API_VERSION = "2.0"
_PENDING = (Status.RECEIVED, Status.IDENTITY_UNVERIFIED, Status.ACCEPTED)


def request_status(request: Request) -> str:
    """pending, in_progress, completed or cancelled, in OpenDSR's words. An answer that is no is an answer."""
    if request.status == Status.CANCELLED:
        return "cancelled"
    if request.status in _PENDING:
        return "pending"
    return "in_progress" if request.is_open else "completed"


def receipt(request: Request, timezone: str) -> dict[str, Any]:
    """The times of a request in OpenDSR's fields: `expected_completion_time` is the end of its last day, or when it was
    answered.
    """
    end = datetime.combine(request.deadline, time(23, 59, 59), ZoneInfo(timezone))
    return {
        "received_time": _moment(request.received_at),
        "expected_completion_time": _moment(request.answered_at or end),
        "request_status": request_status(request),
    }


def status_document(
    request: Request,
    timezone: str,
    records: Mapping[str, int] | None = None,
    certificates: Sequence[CertificateEntry] = (),
) -> dict[str, Any]:
    """The OpenDSR status of a request with so many records in each state; what OpenDSR has no field for stands under
    `extensions.expunge`.

    It names no person and no record. `controller_id` is the receiver's business and is not in it.
    """
    counts = dict(records or {})
    own = {
        "status": request.status.value,
        "outcome": request.outcome,
        "due_at": request.deadline.isoformat(),
        "due_rule": request.due_rule,
        "extended": request.extended_to is not None,
        "refusal_ground": request.refusal_ground,
        "duplicate_of": request.duplicate_of,
        "data_erased_at": _moment(request.data_erased_at),
        "model_unlearned_at": _moment(request.model_unlearned_at),
        "records": dict(sorted(counts.items())),
        "certificates": [{"path": one.path, "sha256": one.sha256, "interim": one.interim} for one in certificates],
    }
    sent = {} if request.submitted_time is None else {"submitted_time": _moment(request.submitted_time)}
    return {
        "api_version": API_VERSION,
        "subject_request_id": request.id,
        "subject_request_type": request.subject_request_type,
        "regulation": request.regulation,
        **sent,
        **receipt(request, timezone),
        "results_count": sum(counts.values()) - counts.get("not_found", 0),
        "extensions": {"expunge": {name: value for name, value in own.items() if value is not None}},
    }


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
