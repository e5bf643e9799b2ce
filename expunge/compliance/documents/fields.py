"""Which values may a field of a request have? One checker each, shared by the formats; what is wrong raises `Wrong`.

No message repeats an identity, a record id or free text: messages end up in logs.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from expunge.compliance.deadlines import REGULATIONS
from expunge.compliance.documents.incoming import Fault, Faults, Wrong
from expunge.errors import nearest

MAX_TEXT = 512
MAX_URL = 2048
MAX_URLS = 20
MAX_RECORDS = 100_000
MAX_IDENTITIES = 100
SKEW = timedelta(minutes=5)
"""How far a sender's clock may be ahead of ours."""
FIRST_DAY = datetime(2018, 5, 25, tzinfo=UTC)
"""GDPR's first day: no earlier request can be one under a regulation known here."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?"
)
_PLAIN = re.compile(r"[a-z_]{1,32}")
_NAMES = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
# characters that reorder what a reader sees
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

Checker = Callable[[Any], Any]


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    return "null" if value is None else _NAMES.get(type(value), "a text")


def plain(name: str) -> str:
    """A field's name as it may be repeated: a header line that is really data must not leak into a log."""
    return repr(name) if _PLAIN.fullmatch(name) else f"of {len(name)} characters"


def text(value: Any, most: int = MAX_TEXT) -> str:
    """A text that is not empty, not too long, and has no character that cannot be seen or compared."""
    if not isinstance(value, str):
        raise Wrong(f"is {kind_of(value)}, not a text.", "Write it in quotes, or leave the field out.")
    if not value:
        raise Wrong("is empty.", "Leave the field out, or fill it in.")
    if len(value) > most:
        raise Wrong(f"has {len(value)} characters, more than {most}.", "Check the file.")
    if value != value.strip():
        raise Wrong("begins or ends with white space.", "Remove it: ids are compared to the letter.")
    for character in value:
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp", "Cn") or character in "\ufeff\ufffd":
            raise Wrong(f"holds the character U+{ord(character):04X}.", "Check the encoding of the file.")
        if character in _REORDERING:
            raise Wrong(f"holds the invisible character U+{ord(character):04X}.", "Remove it.")
    return value


def request_id(value: Any) -> str:
    """The controller's id: opaque, never a name."""
    if not _REQUEST_ID.fullmatch(text(value, 128)):
        raise Wrong(
            "cannot be used as an id.", "Use letters, digits, dots, dashes and underscores (a UUID), never a name."
        )
    return str(value)


def uuid4(value: Any) -> str:
    """OpenDSR's id."""
    if not _UUID4.fullmatch(text(value)):
        raise Wrong("is not a UUID of version 4 in lower case.", "OpenDSR asks for one; use it as you made it.")
    return str(value)


def moment(now: datetime) -> Checker:
    """Checker of a moment with a time zone, not in the future (but for a small skew), not before FIRST_DAY."""

    def check(value: Any) -> datetime:
        given = text(value, 64)
        found = _MOMENT.fullmatch(given)
        if not found:
            raise Wrong("is not a moment.", "Write it as 2026-03-31T22:00:00+02:00.")
        if found.group(2) is None:
            raise Wrong("has no time zone.", "Add it: Z, or an offset such as +02:00.")
        try:
            aware = datetime.fromisoformat(given.replace("Z", "+00:00")).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise Wrong("is not in the calendar.", "Check the date and the time.") from error
        if aware > now + SKEW:
            raise Wrong(f"is in the future (it is {now:%Y-%m-%dT%H:%MZ} here).", "Check the date, the zone, the clock.")
        if aware < FIRST_DAY:
            raise Wrong(f"is before {FIRST_DAY:%Y-%m-%d}, when no such right existed.", "Check the year.")
        return aware

    return check


def regulation(value: Any) -> str:
    """gdpr, uk_gdpr or ccpa, in any case and with either dash."""
    name = text(value, 64).lower().replace("-", "_")
    if name not in REGULATIONS:
        raise Wrong("is not a regulation known here.", f"Use one of: {', '.join(REGULATIONS)}.")
    return name


def erasure(value: Any) -> str:
    """The one type of request that is answered here."""
    if text(value, 64) not in ("erasure", "deletion"):
        raise Wrong("is not erasure.", "Only requests for erasure are answered here; take out the others.")
    return "erasure"


def truth(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise Wrong(f"is {kind_of(value)}.", "Write true or false.")
    return value


def record_ids(value: Any) -> tuple[str, ...]:
    """A list of record ids, each once."""
    ids = _listed(value, MAX_RECORDS, text)
    if len(set(ids)) != len(ids):
        raise Wrong("names a record twice.", "Name each record once.")
    return ids


def callback_urls(value: Any) -> tuple[str, ...]:
    """A list of web addresses."""
    return _listed(value, MAX_URLS, _url)


def _listed(value: Any, most: int, check: Checker) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise Wrong(f"is {kind_of(value)}, not a list.", "Write a list of texts.")
    if not value:
        raise Wrong("is an empty list.", "Leave the field out, or fill it in.")
    if len(value) > most:
        raise Wrong(f"has {len(value)} entries, more than {most}.", "Check the file.")
    found = []
    for number, one in enumerate(value, 1):
        try:
            found.append(check(one))
        except Wrong as wrong:
            raise Wrong(f"entry {number} {wrong.what}", wrong.remedy) from wrong
    return tuple(found)


def _url(value: Any) -> str:
    given = text(value, MAX_URL)
    try:
        parts = urlsplit(given)
        usable = parts.scheme in ("https", "http") and bool(parts.hostname) and (parts.port or 1) > 0
        usable = usable and not parts.username and not parts.password
    except ValueError:
        usable = False
    if not usable or not given.isascii() or any(character.isspace() for character in given):
        raise Wrong("is not a web address.", "Write https://host/path, without a password.")
    return given


def checked(
    raw: Mapping[str, Any],
    checkers: Mapping[str, Checker],
    required: Collection[str],
    place: str,
    faults: Faults,
) -> dict[str, Any]:
    """The fields that are right, decoded; the others become faults."""
    found: dict[str, Any] = {}
    for name in raw:
        if name not in checkers:
            faults.append(Fault(place, "", f"unknown field {plain(str(name))}.", nearest(str(name), list(checkers))))
    for name, check in checkers.items():
        if name not in raw:
            if name in required:
                faults.append(Fault(place, name, "is missing.", "Every request needs it."))
            continue
        try:
            found[name] = check(raw[name])
        except Wrong as wrong:
            faults.append(Fault(place, name, wrong.what, wrong.remedy))
    return found


def in_order(found: Mapping[str, Any], received: str, place: str, faults: Faults) -> None:
    """A request cannot be received before it was submitted."""
    sent, came = found.get("submitted_time"), found.get(received)
    if sent is not None and came is not None and came < sent - SKEW:
        faults.append(Fault(place, received, "is before submitted_time.", "Check the two times."))
