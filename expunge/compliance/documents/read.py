"""How do the bytes of a file become requests? Size, encoding, format, then every request of it, or every fault."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from expunge.compliance.documents.csv_rows import read_csv
from expunge.compliance.documents.incoming import Fault, Faults, Incoming, Refused, TooMany
from expunge.compliance.documents.json_lines import read_json_lines
from expunge.compliance.documents.opendsr import read_opendsr
from expunge.errors import NotFoundError, UsageError, nearest

FORMATS = ("csv", "jsonl", "opendsr")
MAX_BYTES = 64 * 1024 * 1024
MAX_REQUESTS = 100_000
DEFAULT_IDENTITY_TYPES = {"controller_customer_id": "subject_id"}

_BOM = b"\xef\xbb\xbf"
_WIDE = {b"\xff\xfe\x00\x00": "UTF-32", b"\x00\x00\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file of requests. Raises NotFoundError, and UsageError for what is no file or too large."""
    try:
        with Path(path).open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UsageError(f"{path} is not a file.", "Name a file of requests.")
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no file {path}.", "Check the path.") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.", "Check it.") from error
    return content


def read_documents(
    name: str,
    content: bytes,
    *,
    now: datetime,
    format: str | None = None,
    identity_types: Mapping[str, str] | None = None,
) -> list[Incoming]:
    """The requests of a file, each once.

    `name` stands in messages, and its suffix tells the format where `format` does not. `now` bounds what may have been
    received; `identity_types` maps an OpenDSR identity type to "subject_id" or "record_id". Raises Refused with every
    fault; then none of its requests counts. Raises UsageError for an unknown format.
    """
    faults = Faults()
    text = _text(content, faults)
    if text is None:
        raise Refused(name, tuple(faults))
    kind = format_of(name, text, format)
    types = DEFAULT_IDENTITY_TYPES if identity_types is None else identity_types
    if kind == "csv":
        requests: Iterable[Incoming] = read_csv(text, now, faults)
    elif kind == "jsonl":
        requests = read_json_lines(text, now, faults)
    else:
        requests = read_opendsr(text, now, faults, types)
    found: list[Incoming] = []
    with suppress(TooMany):
        found = _each_once(requests, faults)
    if not found and not faults:
        faults.append(Fault("", "", "holds no request.", "It may have been cut off: check its source."))
    if faults:
        raise Refused(name, tuple(faults))
    return found


def format_of(name: str, text: str, given: str | None = None) -> str:
    """csv, jsonl or opendsr: as given, else by the suffix .csv, else by the content. Raises UsageError."""
    if given is not None:
        if given not in FORMATS:
            raise UsageError(f"The format {given!r} is not known.", nearest(given, list(FORMATS)))
        return given
    start = text.lstrip(" \t\r\n")
    if Path(name).suffix.lower() == ".csv" or not start.startswith(("{", "[")):
        is_json = Path(name).suffix.lower() in (".json", ".jsonl", ".ndjson")
        return "jsonl" if is_json else "csv"
    first = start[:4096]
    names = ('"subject_request_', '"subject_identities"')
    return "opendsr" if start.startswith("[") or any(name in first for name in names) else "jsonl"


def _text(content: bytes, faults: Faults) -> str | None:
    """The text of the bytes; None if a fault was noted."""
    if len(content) > MAX_BYTES:
        faults.append(Fault("", "", f"is larger than {MAX_BYTES // 2**20} MiB.", "Split it."))
        return None
    for mark, wide in _WIDE.items():
        if content.startswith(mark):
            faults.append(Fault("", "", f"is {wide}.", "Save it as UTF-8."))
            return None
    content = content.removeprefix(_BOM)
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        faults.append(Fault(f"line {line}", "", "holds a NUL byte.", "Save the file as UTF-8 text."))
        return None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        faults.append(Fault(f"line {line}", "", "is not UTF-8.", "Save the file as UTF-8."))
        return None


def _each_once(requests: Iterable[Incoming], faults: Faults) -> list[Incoming]:
    """The same request again is the same request; another content under its id is a fault."""
    found: dict[str, Incoming] = {}
    for one in requests:
        before = found.setdefault(one.request_id, one)
        if before != one:
            faults.append(
                Fault(one.place, "", f"has the id of {before.place} and another content.", "Give each request its id.")
            )
        if len(found) > MAX_REQUESTS:
            faults.append(Fault(one.place, "", f"more than {MAX_REQUESTS} requests.", "Split the file."))
            break
    return list(found.values())
