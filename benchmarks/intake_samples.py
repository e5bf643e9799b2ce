"""Valid intake documents of the three formats, as small structures that mutations can take apart."""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

FORMATS = ("csv", "jsonl", "opendsr")
COLUMNS = ("request_id", "subject_id", "record_ids", "regulation", "received_at", "submitted_time", "identity_verified")


@dataclass
class Sample:
    """One valid document. requests: JSON values as they are written; style: how an OpenDSR document is laid out."""

    format: str
    requests: list[dict[str, Any]]
    style: str = "lines"
    people: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)

    @property
    def suffix(self) -> str:
        return {"csv": ".csv", "jsonl": ".jsonl", "opendsr": ".json"}[self.format]

    @property
    def secrets(self) -> list[str]:
        """What must never be repeated in a message."""
        return [*self.people, *self.records]

    def rows(self) -> list[list[str]]:
        """The cells of a CSV document, header first. No cell needs a quote."""
        return [list(COLUMNS), *([_cell(request.get(name)) for name in COLUMNS] for request in self.requests)]

    def content(self) -> bytes:
        """The bytes of the document."""
        if self.format == "csv":
            return csv_bytes(self.rows())
        return self.write([json.dumps(request) for request in self.requests])

    def write(self, objects: list[str]) -> bytes:
        """The bytes of a JSON document made of these texts of objects."""
        if self.style == "array":
            return ("[" + ", ".join(objects) + "]\n").encode()
        if self.style == "one":
            return (objects[0] + "\n").encode()
        return ("\n".join(objects) + "\n").encode()


def csv_bytes(rows: list[list[str]], separator: str = ",") -> bytes:
    """Cells as CSV without quotes."""
    return ("\n".join(separator.join(row) for row in rows) + "\n").encode()


def valid_sample(draw: random.Random, now: datetime) -> Sample:
    """A valid document of a random format with one to five requests."""
    chosen = draw.choice(FORMATS)
    sample = Sample(chosen, [], style="lines")
    if chosen == "opendsr":
        sample.style = draw.choice(("one", "array", "lines"))
    for _ in range(1 if sample.style == "one" else draw.randint(1, 5)):
        sample.requests.append(_opendsr(draw, now, sample) if chosen == "opendsr" else _own(draw, now, sample))
    return sample


def new_uuid(draw: random.Random) -> str:
    """A UUID of version 4."""
    return str(uuid.UUID(int=draw.getrandbits(128), version=4))


def moment(draw: random.Random, now: datetime, earliest_days: int = 300, latest_days: int = 1) -> str:
    """A moment in the past, with one of several ways to write a time zone."""
    at = now - timedelta(days=latest_days) - timedelta(seconds=draw.randint(0, (earliest_days - latest_days) * 86400))
    zone = draw.choice(("Z", "+00:00", "+02:00", "-08:00"))
    return at.strftime("%Y-%m-%dT%H:%M:%S") + draw.choice(("", ".5", ".123456")) + zone


def _person(draw: random.Random, sample: Sample) -> str:
    # known ones are person-0000 to person-0099: most are not found, which is an answer
    name = f"person-{draw.randint(0, 400):04d}"
    sample.people.append(name)
    return name


def _records(draw: random.Random, sample: Sample) -> list[str]:
    names = [f"record-{number:05d}" for number in draw.sample(range(600), draw.randint(1, 4))]
    sample.records.extend(names)
    return names


def _own(draw: random.Random, now: datetime, sample: Sample) -> dict[str, Any]:
    request: dict[str, Any] = {"request_id": draw.choice((new_uuid(draw), f"case.{draw.getrandbits(60):x}"))}
    kind = draw.random()
    if kind < 0.7:
        request["subject_id"] = _person(draw, sample)
    if kind >= 0.5:
        request["record_ids"] = _records(draw, sample)
    if draw.random() < 0.8:
        request["regulation"] = draw.choice(("gdpr", "uk_gdpr", "ccpa", "GDPR", "UK-GDPR"))
    if draw.random() < 0.8:
        request["received_at"] = moment(draw, now, 100)
    if draw.random() < 0.5:
        request["submitted_time"] = moment(draw, now, 300, 110)
    if draw.random() < 0.3:
        request["identity_verified"] = draw.random() < 0.5
    return request


def _opendsr(draw: random.Random, now: datetime, sample: Sample) -> dict[str, Any]:
    identities = [("controller_customer_id", _person(draw, sample)) for _ in range(draw.choice((1, 1, 1, 2)))]
    if draw.random() < 0.3:
        identities.append(("email", f"{_person(draw, sample)}@example.org"))
    request: dict[str, Any] = {
        "subject_request_id": new_uuid(draw),
        "subject_request_type": "erasure",
        "regulation": draw.choice(("gdpr", "ccpa")),
        "submitted_time": moment(draw, now, 300, 110),
        "subject_identities": [
            {"identity_type": kind, "identity_value": value, "identity_format": "raw"} for kind, value in identities
        ],
    }
    if draw.random() < 0.5:
        request["received_time"] = moment(draw, now, 100)
    if draw.random() < 0.5:
        request["api_version"] = draw.choice(("1.0", "2.0"))
    if draw.random() < 0.5:
        request["status_callback_urls"] = ["https://controller.example.org/callbacks"]
    if draw.random() < 0.3:
        request["extensions"] = {"processor.example.org": {"campaign": 12, "tags": ["a", "b"]}}
    return request


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ";".join(value)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
