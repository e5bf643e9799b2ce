"""How is a CSV file of requests read? A header, a request a row, more records of it in more rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

from expunge.compliance.documents import fields
from expunge.compliance.documents.incoming import Fault, Faults, Incoming
from expunge.compliance.documents.json_lines import build, checkers
from expunge.errors import nearest

LISTS = ("record_ids", "status_callback_urls")
SEPARATOR = ";"


def read_csv(content: str, now: datetime, faults: Faults) -> Iterator[Incoming]:
    """The requests of a CSV text, in the order of their first row; what is wrong goes into `faults`."""
    reader = csv.reader(io.StringIO(content, newline=""), strict=True)
    rows = _rows(reader, faults)
    header = next(rows, None)
    if header is None:
        return
    columns = _columns(header[1], now, faults)
    if columns is None:
        return
    first: dict[str, Incoming] = {}
    records: dict[str, dict[str, None]] = {}  # of all rows of a request, each once, in order
    for line, cells in rows:
        place = f"line {line}"
        if len(cells) != len(columns):
            what = f"has {len(cells)} cells, the header {len(columns)}."
            faults.append(Fault(place, "", what, "Quote cells that hold a comma."))
            continue
        found = build(_values(columns, cells), now, place, faults)
        if found is None:
            continue
        before = first.setdefault(found.request_id, found)
        mine = records.setdefault(found.request_id, {})
        if before is found:
            mine.update(dict.fromkeys(found.record_ids))
        elif (problem := _differs(before, found)) is not None:
            what = f"is not as in {before.place} of the same request."
            faults.append(Fault(place, problem, what, "Make them agree."))
        elif len(mine) <= fields.MAX_RECORDS:  # beyond that the fault is noted already
            mine.update(dict.fromkeys(found.record_ids))
            if len(mine) > fields.MAX_RECORDS:
                what = f"the rows of this request have more than {fields.MAX_RECORDS} records."
                faults.append(Fault(place, "record_ids", what, "Check the file."))
    for request_id, one in first.items():
        yield replace(one, record_ids=tuple(records[request_id]))


def _rows(reader: Any, faults: Faults) -> Iterator[tuple[int, list[str]]]:
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            faults.append(Fault(f"line {reader.line_num}", "", f"is not CSV ({error}).", "Check quotes and line ends."))
            return
        if cells is None:
            return
        if cells:  # a blank line is nothing
            yield reader.line_num, [cell.strip(" ") for cell in cells]


def _columns(names: list[str], now: datetime, faults: Faults) -> list[str] | None:
    known = list(checkers(now))
    bad: list[Fault] = []
    for number, name in enumerate(names, 1):
        if name not in known:
            remedy = nearest(name, known)
            if len(names) == 1 and any(sign in name for sign in ";\t|"):
                remedy = "Separate the columns with commas."
            bad.append(Fault("header", f"column {number}", f"unknown column {fields.plain(name)}.", remedy))
    if len(set(names)) != len(names):
        bad.append(Fault("header", "", "a column appears twice.", "Name each column once."))
    if "request_id" not in names:
        bad.append(Fault("header", "request_id", "is missing.", "The first line names the columns."))
    if not {"subject_id", "record_ids"} & set(names):
        bad.append(Fault("header", "", "neither subject_id nor record_ids is there.", "Add one of the two columns."))
    faults.extend(bad)
    return None if bad else names


def _values(columns: list[str], cells: list[str]) -> dict[str, Any]:
    """Cells as JSON values: an empty one is no value, lists are split, true and false are themselves."""
    values: dict[str, Any] = {}
    for name, cell in zip(columns, cells, strict=True):
        if not cell and name != "request_id":
            continue
        values[name] = cell
        if name in LISTS:
            values[name] = [part.strip(" ") for part in cell.split(SEPARATOR)]
        elif name == "identity_verified":
            values[name] = {"true": True, "false": False}.get(cell.lower(), cell)
    return values


def _differs(before: Incoming, after: Incoming) -> str | None:
    """The first field in which two rows of one request contradict each other."""
    if bool(before.record_ids) != bool(after.record_ids):
        return "record_ids"
    if replace(before, record_ids=()) == replace(after, record_ids=()):
        return None
    names = ("subjects", "regulation", "received_at", "submitted_time", "identity_verified", "status_callback_urls")
    wrong = next(name for name in names if getattr(before, name) != getattr(after, name))
    return "subject_id" if wrong == "subjects" else wrong
