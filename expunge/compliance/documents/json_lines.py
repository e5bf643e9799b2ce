"""How are JSON lines of requests read? An object a line, with the fields that the CSV has as columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from expunge.compliance.documents import fields, strict_json
from expunge.compliance.documents.incoming import Fault, Faults, Incoming, Wrong
from expunge.compliance.new_request import repeats


def checkers(now: datetime) -> dict[str, fields.Checker]:
    """Field -> what it may be."""
    return {
        "request_id": fields.request_id,
        "subject_id": fields.text,
        "record_ids": fields.record_ids,
        "regulation": fields.regulation,
        "received_at": fields.moment(now),
        "submitted_time": fields.moment(now),
        "subject_request_type": fields.erasure,
        "status_callback_urls": fields.callback_urls,
        "identity_verified": fields.truth,
    }


def read_json_lines(content: str, now: datetime, faults: Faults) -> Iterator[Incoming]:
    """The requests of a text, one a line; what is wrong goes into `faults`."""
    for place, value in objects_by_line(content, faults):
        found = build(value, now, place, faults)
        if found is not None:
            yield found


def objects_by_line(content: str, faults: Faults) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and object of each line that is not blank."""
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip(" \t\r"):
            continue
        place = f"line {number}"
        try:
            value = strict_json.parse(line)
        except Wrong as wrong:
            faults.append(Fault(place, "", wrong.what, f"{wrong.remedy} One object stands on each line."))
            continue
        if sound(value, place, faults):
            yield place, value


def sound(value: Any, place: str, faults: Faults) -> bool:
    """Whether a value is an object that can mean one thing only; else its faults are noted."""
    wrong = [Fault(place, "", one.what, one.remedy) for one in strict_json.problems(value)]
    if not wrong and not isinstance(value, dict):
        wrong = [Fault(place, "", f"is {fields.kind_of(value)}, not an object.", "Write a request as an object.")]
    faults.extend(wrong)
    return not wrong


def build(raw: Mapping[str, Any], now: datetime, place: str, faults: Faults) -> Incoming | None:
    """The request of one object or row; None if a fault was noted."""
    before = len(faults)
    found = fields.checked(raw, checkers(now), ("request_id",), place, faults)
    if not {"subject_id", "record_ids"} & raw.keys():
        faults.append(Fault(place, "", "names neither a person nor a record.", "Fill in subject_id or record_ids."))
    fields.in_order(found, "received_at", place, faults)
    if len(faults) > before:
        return None
    return apart(
        Incoming(
            request_id=found["request_id"],
            subjects=(found["subject_id"],) if "subject_id" in found else (),
            record_ids=found.get("record_ids", ()),
            regulation=found.get("regulation"),
            received_at=found.get("received_at"),
            submitted_time=found.get("submitted_time"),
            identity_verified=found.get("identity_verified", True),
            status_callback_urls=found.get("status_callback_urls", ()),
            place=place,
        ),
        faults,
    )


def apart(made: Incoming, faults: Faults) -> Incoming | None:
    """The request, unless what the ledger keeps in the clear repeats the person or a record; then a fault is noted."""
    for name, request_id, texts in (("id", made.request_id, ()), ("callback", "", made.status_callback_urls)):
        if repeats(request_id, texts, made.subjects, set(made.record_ids)):
            what = f"its {name} repeats the person or a record."
            faults.append(Fault(made.place, "", what, "The ledger keeps pseudonyms only: use an opaque one."))
            return None
    return made
