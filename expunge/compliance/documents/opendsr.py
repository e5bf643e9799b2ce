"""How is an OpenDSR 2.0 request read? One object, an array of them, or one a line.

OpenDSR names people by identity type. `identity_types` says which types the record table can be compared with, and by
what: its subject ids or its record ids. A hashed identity cannot be compared with anything here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from expunge.compliance.documents import fields, strict_json
from expunge.compliance.documents.incoming import Fault, Faults, Incoming, Wrong
from expunge.compliance.documents.json_lines import apart, objects_by_line, sound

IDENTITY_TYPES = (
    "controller_customer_id", "android_advertising_id", "android_id", "email", "fire_advertising_id",
    "ios_advertising_id", "ios_vendor_id", "microsoft_advertising_id", "microsoft_publisher_id", "roku_publisher_id",
    "roku_advertising_id",
)  # fmt: skip
HASHED = ("sha1", "md5", "sha256")
_VERSION = re.compile(r"[12]\.[0-9]{1,3}(\.[0-9]{1,3})?")
_REQUIRED = ("subject_request_id", "subject_request_type", "regulation", "submitted_time", "subject_identities")


def read_opendsr(content: str, now: datetime, faults: Faults, identity_types: Mapping[str, str]) -> Iterator[Incoming]:
    """The requests of an OpenDSR text; what is wrong goes into `faults`."""
    for place, value in _objects(content, faults):
        found = _build(value, now, place, faults, identity_types)
        if found is not None:
            yield found


def _objects(content: str, faults: Faults) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = [line for line in content.split("\n") if line.strip(" \t\r")]
    if len(lines) > 1 and not content.lstrip(" \t\r\n").startswith("["):
        try:
            strict_json.parse(lines[0])
        except Wrong:
            pass  # one object over several lines
        else:
            yield from objects_by_line(content, faults)
            return
    try:
        whole = strict_json.parse(content)
    except Wrong as wrong:
        faults.append(Fault("", "", wrong.what, wrong.remedy))
        return
    if isinstance(whole, list):
        for number, value in enumerate(whole, 1):
            if sound(value, f"request {number}", faults):
                yield f"request {number}", value
    elif sound(whole, "request 1", faults):
        yield "request 1", whole


def _build(
    raw: Mapping[str, Any], now: datetime, place: str, faults: Faults, identity_types: Mapping[str, str]
) -> Incoming | None:
    before = len(faults)
    checkers = {
        "subject_request_id": fields.uuid4,
        "subject_request_type": fields.erasure,
        "regulation": fields.regulation,
        "submitted_time": fields.moment(now),
        "received_time": fields.moment(now),
        "subject_identities": lambda value: _identities(value, place, faults, identity_types),
        "status_callback_urls": fields.callback_urls,
        "api_version": _version,
        "extensions": _extensions,
    }
    found = fields.checked(raw, checkers, _REQUIRED, place, faults)
    fields.in_order(found, "received_time", place, faults)
    if len(faults) > before:
        return None
    subjects, records, unmatched = found["subject_identities"]
    return apart(
        Incoming(
            request_id=found["subject_request_id"],
            subjects=subjects,
            record_ids=records,
            regulation=found["regulation"],
            received_at=found.get("received_time"),
            submitted_time=found["submitted_time"],
            status_callback_urls=found.get("status_callback_urls", ()),
            unmatched=unmatched,
            place=place,
        ),
        faults,
    )


def _identities(
    value: Any, place: str, faults: Faults, identity_types: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """(subject ids, record ids, how many identities nothing here can be compared with)."""
    if not isinstance(value, list) or not value:
        raise Wrong("is not a list of identities.", "Give at least one.")
    if len(value) > fields.MAX_IDENTITIES:
        raise Wrong(f"has {len(value)} entries, more than {fields.MAX_IDENTITIES}.", "Check the file.")
    found: dict[str, list[str]] = {"subject_id": [], "record_id": []}
    unmatched = 0
    before = len(faults)
    for number, one in enumerate(value, 1):
        if not isinstance(one, dict):
            raise Wrong(f"entry {number} is {fields.kind_of(one)}, not an object.", "See docs/intake.md.")
        checkers = {
            "identity_type": lambda name: _type(name, identity_types),
            "identity_value": fields.text,
            "identity_format": _format,
        }
        parts = fields.checked(one, checkers, tuple(checkers), f"{place}, identity {number}", faults)
        if len(parts) < len(checkers):
            continue
        column = identity_types.get(parts["identity_type"])
        if column is None:
            unmatched += 1
        elif parts["identity_value"] not in found[column]:
            found[column].append(parts["identity_value"])
    if len(faults) == before and not any(found.values()):
        known = ", ".join(sorted(identity_types))
        raise Wrong(
            f"holds no identity of a type that the data can be compared with (here: {known}).",
            "Map its type, for example --identity email=subject_id, if the data use that as their subject id.",
        )
    return tuple(found["subject_id"]), tuple(found["record_id"]), unmatched


def _type(value: Any, identity_types: Mapping[str, str]) -> str:
    name = fields.text(value, 64)
    if name not in IDENTITY_TYPES and name not in identity_types:
        raise Wrong("is not an identity type of OpenDSR.", f"Known: {', '.join(sorted({*IDENTITY_TYPES}))}.")
    return name


def _format(value: Any) -> str:
    name = fields.text(value, 64)
    if name in HASHED:
        raise Wrong(
            f"is {name}: a hashed identity cannot be matched with records.", "Send the raw value over a safe channel."
        )
    if name != "raw":
        raise Wrong("is not a format of OpenDSR.", "Use raw.")
    return name


def _version(value: Any) -> str:
    if not _VERSION.fullmatch(fields.text(value, 64)):
        raise Wrong("is not version 1 or 2.", "Write 2.0.")
    return str(value)


def _extensions(value: Any) -> None:
    """They are other processors' and are not read."""
    if not isinstance(value, dict) or not all(isinstance(child, dict) for child in value.values()):
        raise Wrong("is not an object of objects.", "Key it by the processor's domain, or leave it out.")
