"""What does a reader of the ledger get back? One frozen value per row, with moments, dates and JSON decoded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, Self

from expunge.compliance.lifecycle import OPEN, Status
from expunge.compliance.moments import date_from_text, from_text

_DECODE: dict[str, Any] = {
    "datetime": from_text,
    "datetime | None": from_text,
    "date": date_from_text,
    "date | None": date_from_text,
    "dict[str, Any]": json.loads,
    "tuple[str, ...]": lambda text: tuple(json.loads(text)),
    "Status": Status,
    "bool": bool,
}


_KNOWN: dict[type, tuple[tuple[str, Any], ...]] = {}


def _decoders(kind: Any) -> tuple[tuple[str, Any], ...]:
    if kind not in _KNOWN:
        _KNOWN[kind] = tuple((field.name, _DECODE.get(str(field.type))) for field in fields(kind))
    return _KNOWN[kind]


class Row:
    """Shared by every row value."""

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """The value of a database row."""
        make: Any = cls
        return make(*(row[name] if decode is None else decode(row[name]) for name, decode in _decoders(cls)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: moments and dates as ISO text."""
        return {name: _plain(getattr(self, name)) for name, _ in _decoders(type(self))}


@dataclass(frozen=True)
class Request(Row):
    """One erasure request. `due_at` is the deadline by rule, `deadline` the one that counts now."""

    id: str
    subject_pseudonym: str | None
    regulation: str
    subject_request_type: str
    status: Status
    received_at: datetime
    submitted_time: datetime | None
    due_at: date
    due_rule: str
    acknowledge_by: date | None
    extended_to: date | None
    extension_reason: str | None
    extension_notice_at: datetime | None
    identity_requested_at: datetime | None
    identity_confirmed_at: datetime | None
    answered_at: datetime | None
    outcome: str | None
    refusal_ground: str | None
    duplicate_of: str | None
    data_erased_at: datetime | None
    model_unlearned_at: datetime | None
    run_id: str | None
    status_callback_urls: tuple[str, ...]
    key_id: str
    details: dict[str, Any]

    @property
    def deadline(self) -> date:
        """The extended deadline where there is one, else `due_at`."""
        return self.extended_to or self.due_at

    @property
    def acknowledged_at(self) -> datetime | None:
        """When receipt was confirmed to the person."""
        return from_text(self.details.get("acknowledged_at"))

    @property
    def owes_acknowledgement(self) -> bool:
        """Whether receipt must still be confirmed (CCPA), be it late."""
        return self.is_open and self.acknowledge_by is not None and self.acknowledged_at is None

    @property
    def is_open(self) -> bool:
        """Whether an answer is still owed."""
        return self.status in OPEN


@dataclass(frozen=True)
class RequestRecord(Row):
    """One record of a request. Status: requested, quarantined, erased or not_found."""

    request_id: str
    record_pseudonym: str
    status: str
    key_id: str


@dataclass(frozen=True)
class ErasedRecord(Row):
    """A record that no new training may see: quarantined, and erased once `erased_at` is set."""

    record_pseudonym: str
    request_id: str
    quarantined_at: datetime
    erased_at: datetime | None
    key_id: str


@dataclass(frozen=True)
class Event(Row):
    """One link of the ledger's hash chain."""

    seq: int
    at: datetime
    kind: str
    request_id: str | None
    run_id: str | None
    payload: dict[str, Any]
    previous_hash: str
    hash: str


@dataclass(frozen=True)
class DeletionRun(Row):
    """One deletion run: what was planned and how it ended."""

    id: str
    status: str
    method: str | None
    model_version_before: str | None
    model_version_after: str | None
    attempt: int
    plan: dict[str, Any]
    started_at: datetime
    finished_at: datetime | None
    stop_reason: str | None
    fallback_reason: str | None
    details: dict[str, Any]


@dataclass(frozen=True)
class Tombstone(Row):
    """What is left of a descendant: its hash, its dates, what was done to it, and no data."""

    id: str
    kind: str
    name: str
    content_hash: str | None
    created_at: datetime | None
    destroyed_at: datetime | None
    method: str | None
    run_id: str | None
    reason: str | None
    status: str
    details: dict[str, Any]


@dataclass(frozen=True)
class CertificateEntry(Row):
    """That a certificate with this digest was issued. `interim` ones are followed by a final one."""

    request_id: str
    sha256: str
    path: str
    at: datetime
    run_id: str | None
    interim: bool


@dataclass(frozen=True)
class DueRequest:
    """A request in the queue. `days_left` counts to its deadline and is negative when it is late."""

    request: Request
    deadline: date
    days_left: int
    late: bool
    paused: bool


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, Status):
        return value.value
    return list(value) if isinstance(value, tuple) else value
