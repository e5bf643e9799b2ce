"""Mutations of valid intake documents, each of which makes the document malformed whatever it is applied to.

That is known from the rules of JSON, CSV, UTF-8 and docs/intake.md, never from the parser: a comment says by which. A
mutation returns the bytes of the malformed document, or None where it does not apply.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from intake_samples import COLUMNS, Sample, csv_bytes, new_uuid

Mutation = Callable[[random.Random, Sample, datetime], bytes | None]
BYTES: dict[str, Mutation] = {}
JSON: dict[str, Mutation] = {}
CSV: dict[str, Mutation] = {}

TIMES = ("received_at", "submitted_time", "received_time")
TEXTS = ("request_id", "subject_request_id", "subject_id", "regulation", "subject_request_type", *TIMES)
STRUCTURE = "{}[]:,"


def mutations_for(sample: Sample) -> dict[str, Mutation]:
    """Those that can be applied to a document of that format."""
    return {**BYTES, **(CSV if sample.format == "csv" else JSON)}


def _register(*books: dict[str, Mutation]) -> Callable[[Mutation], Mutation]:
    def keep(function: Mutation) -> Mutation:
        for book in books:
            book[function.__name__.replace("_", " ")] = function
        return function

    return keep


# --- bytes: UTF-8 and NUL -------------------------------------------------------------------------------------------


@_register(BYTES)
def nul_byte(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    content = sample.content()
    at = draw.randint(0, len(content))
    return content[:at] + b"\0" + content[at:]


@_register(BYTES)
def flipped_high_bit(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    """The documents are ASCII: one byte of 128 or more between two ASCII bytes is never UTF-8."""
    content = bytearray(sample.content())
    content[draw.randrange(len(content))] |= 0x80
    return bytes(content)


@_register(BYTES)
def stray_byte(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    content = sample.content()
    at = draw.randint(0, len(content))
    return content[:at] + bytes([draw.choice([*range(0x80, 0xC2), *range(0xF5, 0x100)])]) + content[at:]


@_register(BYTES)
def another_encoding(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    """ASCII in two or four bytes a character: full of NUL bytes."""
    return sample.content().decode().encode(draw.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le")))


@_register(BYTES)
def encoded_in_ebcdic(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    """Its first byte ({, [ or a letter of the header) is one that never begins a character of UTF-8."""
    return sample.content().decode().encode("cp037")


@_register(BYTES)
def two_byte_order_marks(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    """One is allowed; the second is a character where none may be."""
    return b"\xef\xbb\xbf" * 2 + sample.content()


@_register(BYTES)
def nothing_in_it(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    return draw.choice((b"", b"\n", b" \n\t\n", b"\xef\xbb\xbf", b"\r\n" * 9))


@_register(BYTES)
def random_bytes(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    """Random bytes with one that UTF-8 never holds."""
    return draw.randbytes(draw.randint(1, 300)) + b"\xff" + draw.randbytes(draw.randint(0, 300))


# --- values: docs/intake.md says what a field may hold --------------------------------------------------------------


def bad_moment(draw: random.Random, now: datetime) -> str:
    """A text that is no moment, has no time zone, or lies outside 2018-05-25 to now."""
    future = now + timedelta(hours=1) + timedelta(seconds=draw.randint(0, 10**9))
    day = f"{draw.randint(2019, 2025)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}"
    return draw.choice(
        (
            f"{day}T10:00:00", f"{day} 10:00:00", day, f"{day}T10:00Z", f"{day}T25:00:00Z", f"{day}T10:61:00Z",
            f"{day}T10:00:61Z", f"{day}T10:00:00+25:00", f"{day}T10:00:00 UTC", f"{day}t10:00:00z",
            f"{day}T10:00:00,5Z", f"{day}T10:00:00+2:00", f"{day}T10:00:00Europe/Berlin", f"x{day}T10:00:00Z",
            f"{day}T10:00:00ZZ", "2023-02-29T10:00:00Z", "2023-13-01T10:00:00Z", "2023-00-10T10:00:00Z",
            "2023-04-31T10:00:00Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59-14:00", "1970-01-01T00:00:00Z", "2018-05-24T00:00:00Z", "1700000000", "-1", "0",
            "1e9", "yesterday", "now", "null", "2023-W10-1T10:00:00Z", "2023-100T10:00:00Z", "20230101T100000Z",
            "01/02/2023 10:00", "2023-01-01T10:00:00+", "\u0662\u0660\u0662\u0663-01-01T10:00:00Z",
            "10000-01-01T00:00:00Z", "-2023-01-01T10:00:00Z",
            future.strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
    )  # fmt: skip


def bad_text(draw: random.Random) -> str:
    """A text that no field may hold: empty, padded, too long, or with a character that cannot be compared."""
    control = chr(draw.choice([*range(1, 32), 127, *range(0x80, 0xA0)]))
    unseen = draw.choice("\u2028\u2029\u202e\u2066\ufeff\ufffd\uffff")
    return draw.choice(("", " ", "\t", " padded", "padded ", "x" * draw.choice((513, 5000, 200_000)), f"a{control}b",
                        f"a{unseen}b"))  # fmt: skip


def bad_id(draw: random.Random) -> str:
    """Not an id of docs/intake.md: neither 1 to 128 letters, digits, dots, dashes, underscores, nor a UUID."""
    return draw.choice(
        ("ada lovelace", "ada@example.org", "../../etc/passwd", "a/b", ".hidden", "-dash", "_under", "a" * 129, "é-1",
         "'; drop table request; --", "<script>", "=cmd()", "%00", "a\\b", "\u0661\u0662", "{}", "a:b", "$(id)")
    )  # fmt: skip


def bad_uuid(draw: random.Random) -> str:
    """Not a lower-case UUID of version 4."""
    good = new_uuid(draw)
    wrong = [
        good[:-1], good + "0", good.replace("-", ""), good[:14] + "1" + good[15:], good[:19] + "7" + good[20:],
        "{" + good + "}", "urn:uuid:" + good, good[:-1] + "g", good.replace("-", "_"), "case-1", bad_id(draw),
    ]  # fmt: skip
    if good != good.upper():
        wrong.append(good.upper())
    return draw.choice(wrong)


def bad_value(draw: random.Random, name: str, now: datetime) -> Any:
    """A JSON value that the field can never have: another type, or a text outside its rules."""
    others: list[Any] = [None, 0, -1, 1.5, 10**17, {}, {"a": {"b": []}}, [[]], [None], [{}], []]
    if name != "identity_verified":
        others += [True, False]
    if name in ("record_ids", "status_callback_urls", "subject_identities"):
        others += ["text", [1], ["a", 2], [""], [["a"]], [bad_text(draw)]]
        if name == "record_ids":
            others.append(["r-1", "r-2", "r-1"])
        if name == "status_callback_urls":
            others += [["ftp://x.org/"], ["javascript:alert(1)"], ["https://"], ["//x.org"], ["https://a:b@x.org/"],
                       ["https://x.org/a b"], ["https://x.org:99999/"], ["https://[::1/"], ["https://x.org"] * 21,
                       ["https://\u0430.org/"]]  # fmt: skip
        if name == "subject_identities":
            others += [[bad_identity(draw)], [good_identity(), bad_identity(draw)], [good_identity()] * 101]
        return draw.choice(others)
    others += [["text"], bad_text(draw), bad_text(draw)]
    if name in TIMES:
        others += [bad_moment(draw, now) for _ in range(9)]
    if name == "request_id":
        others += [bad_id(draw) for _ in range(6)]
    if name == "subject_request_id":
        others += [bad_uuid(draw) for _ in range(6)]
    if name == "regulation":
        others += ["hipaa", "gdrp", "gdpr,ccpa", "GDPR 2016/679", "none", "gdpr2"]
    if name == "subject_request_type":
        others += ["access", "portability", "Erasure", "ERASE", "delete", "rectification"]
    if name == "identity_verified":
        others += ["true", "yes", "1", "on"]
    if name == "api_version":
        others += ["3.0", "2", "v2.0", "2.0.0.0", "latest"]
    if name == "extensions":
        others = [None, 0, True, [], "text", {"a": 1}, {"a": []}, {"a": "b"}, [{}]]
    return draw.choice(others)


def good_identity() -> dict[str, str]:
    return {"identity_type": "controller_customer_id", "identity_value": "p-1", "identity_format": "raw"}


def bad_identity(draw: random.Random) -> Any:
    """An identity with a part missing, too much, of another type, unknown or hashed."""
    one: dict[str, Any] = good_identity()
    name = draw.choice(list(one))
    choice = draw.randrange(6)
    if choice == 0:
        del one[name]
    elif choice == 1:
        one[draw.choice(("identity", "type", "salt", "Identity_type"))] = "x"
    elif choice == 2:
        one[name] = draw.choice([None, 1, True, [], {}, ["raw"], bad_text(draw)])
    elif choice == 3:
        one["identity_format"] = draw.choice(("sha256", "sha1", "md5", "sha512", "RAW", "plain", "bcrypt"))
    elif choice == 4:
        one["identity_type"] = draw.choice(("passport", "name", "controller_customer_ids", "EMAIL", "cookie"))
    else:
        return draw.choice([None, 1, "text", [], True])
    return one


# --- JSON ----------------------------------------------------------------------------------------------------------


def _changed(sample: Sample, change: Callable[[list[dict[str, Any]]], None]) -> bytes:
    requests = copy.deepcopy(sample.requests)
    change(requests)
    return sample.write([json.dumps(request) for request in requests])


def _one(draw: random.Random, sample: Sample) -> int:
    return 0 if sample.style == "one" else draw.randrange(len(sample.requests))


def _in_one(draw: random.Random, sample: Sample, text: Callable[[str], str | None]) -> bytes | None:
    """One request's own JSON text replaced."""
    objects = [json.dumps(request) for request in sample.requests]
    at = _one(draw, sample)
    made = text(objects[at])
    if made is None:
        return None
    objects[at] = made
    return sample.write(objects)


@_register(JSON)
def field_of_another_type_or_value(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    def change(requests: list[dict[str, Any]]) -> None:
        request = requests[_one(draw, sample)]
        known = list(request)
        if sample.format == "jsonl":
            known = [*request, "received_at", "submitted_time", "regulation", "record_ids", "status_callback_urls"]
        name = draw.choice(known)
        request[name] = bad_value(draw, name, now)

    return _changed(sample, change)


@_register(JSON)
def field_missing(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    def change(requests: list[dict[str, Any]]) -> None:
        request = requests[_one(draw, sample)]
        if sample.format == "opendsr":
            del request[draw.choice(("subject_request_id", "subject_request_type", "regulation", "submitted_time",
                                     "subject_identities"))]  # fmt: skip
        elif draw.random() < 0.5:
            del request["request_id"]
        else:
            request.pop("subject_id", None)
            request.pop("record_ids", None)

    return _changed(sample, change)


@_register(JSON)
def field_unknown(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    names = ("email", "name", "Request_id", "request id", "subjectid", "x" * 300, "", "__proto__", "$ref", "record_id",
             "\u202erecord_ids", "request_id ", "comment")  # fmt: skip

    def change(requests: list[dict[str, Any]]) -> None:
        requests[_one(draw, sample)][draw.choice(names)] = draw.choice(("x", 1, None, [], {}))

    return _changed(sample, change)


@_register(JSON)
def received_before_submitted(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    def change(requests: list[dict[str, Any]]) -> None:
        request = requests[_one(draw, sample)]
        came = now - timedelta(days=draw.randint(20, 400))
        name = "received_time" if sample.format == "opendsr" else "received_at"
        request[name] = came.strftime("%Y-%m-%dT%H:%M:%SZ")
        request["submitted_time"] = (came + timedelta(hours=draw.randint(1, 400))).strftime("%Y-%m-%dT%H:%M:%SZ")

    return _changed(sample, change)


@_register(JSON)
def person_in_the_clear(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """The id or a callback names the person: the ledger would keep it."""

    def change(requests: list[dict[str, Any]]) -> None:
        request = requests[_one(draw, sample)]
        if sample.format == "opendsr":
            name = request["subject_identities"][0]["identity_value"]
            request["status_callback_urls"] = [f"https://controller.example.org/{name}?done"]
        else:
            request["subject_id"] = name = draw.choice(sample.people or ["person-9999"])
            request["request_id"] = draw.choice((f"case-{name}", name, f"{name}.{draw.randint(1, 9)}"))

    return _changed(sample, change)


@_register(JSON)
def same_id_other_content(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    if sample.style == "one":
        return None

    def change(requests: list[dict[str, Any]]) -> None:
        twin = copy.deepcopy(requests[_one(draw, sample)])
        if sample.format == "opendsr":
            twin["subject_identities"] = [{**good_identity(), "identity_value": "somebody-else"}]
        else:
            twin["subject_id"] = "somebody-else"
        requests.insert(draw.randint(0, len(requests)), twin)

    return _changed(sample, change)


@_register(JSON)
def doubled_key(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """The same key twice in one object, at the top or in an identity, with the same value or another."""

    def text(one: str) -> str:
        if sample.format == "opendsr" and draw.random() < 0.3:
            return one.replace('"identity_format": "raw"', '"identity_format": "raw", "identity_format": "raw"', 1)
        value = json.loads(one)
        name = draw.choice(list(value))
        again = draw.choice((value[name], "x", None, []))
        return one[:-1] + f", {json.dumps(name)}: {json.dumps(again)}" + "}"

    return _in_one(draw, sample, text)


@_register(JSON)
def number_that_is_none(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """No field holds a number, let alone NaN, infinity, or one of thousands of digits."""
    number = draw.choice(("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "-" + "9" * 5000,
                          "1e" + "9" * 5000, "0." + "0" * 5000 + "1", "0x10", "01", "+1", ".5", "1."))  # fmt: skip

    def text(one: str) -> str:
        value = json.loads(one)
        name = draw.choice(list(value))
        return one.replace(f"{json.dumps(name)}: {json.dumps(value[name])}", f"{json.dumps(name)}: {number}", 1)

    return _in_one(draw, sample, text)


@_register(JSON)
def nested_deeply(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """No field nests more than 16 deep, and none that is read nests at all, save the identities."""
    depth = draw.choice((17, 100, 1000, 20_000, 200_000))
    opening, closing = draw.choice((("[", "]"), ('{"a":', "}")))
    inner = "1" if opening != "[" else ""
    nest = opening * depth + inner + closing * (depth if draw.random() < 0.7 else 0)

    def text(one: str) -> str:
        return one[:-1] + f", {json.dumps(draw.choice(('extensions', 'record_ids', 'more')))}: {nest}" + "}"

    return _in_one(draw, sample, text) if draw.random() < 0.7 else nest.encode()


@_register(JSON)
def half_a_character(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """A lone surrogate as an escape, in a value or in a key."""
    half = draw.choice(("\\ud800", "\\udfff", "\\udc00\\ud800", "\\uD83D"))

    def text(one: str) -> str:
        value = json.loads(one)
        name = draw.choice([n for n in value if isinstance(value[n], str)])
        if draw.random() < 0.2:
            return one.replace(f'"{name}"', f'"{name}{half}"', 1)
        return one.replace(json.dumps(value[name]), json.dumps(value[name])[:-1] + half + '"', 1)

    return _in_one(draw, sample, text)


@_register(JSON)
def raw_control_character(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """JSON allows none inside a text."""
    control = chr(draw.choice([*range(1, 32)]))

    def text(one: str) -> str:
        value = json.loads(one)
        name = draw.choice([n for n in value if isinstance(value[n], str)])
        return one.replace(json.dumps(value[name]), '"' + control + json.dumps(value[name])[1:], 1)

    return _in_one(draw, sample, text)


@_register(JSON)
def cut_off(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    """Cut within the last object: what begins with { and does not end with its } is no JSON value."""
    content = sample.content().rstrip(b"\n")
    last = json.dumps(sample.requests[0 if sample.style == "one" else -1]).encode()
    end = len(content) - (1 if sample.style == "array" else 0)
    begin = end - len(last)
    return content[: draw.randint(begin + 1, end - 1)]


@_register(JSON)
def beginning_lost(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    """The first object lacks its { and more: its } closes nothing."""
    content = sample.content()
    begin = 2 if sample.style == "array" else 1
    first = json.dumps(sample.requests[0])
    return content[draw.randint(begin, begin + len(first) - 3) :]


def _outside_texts(one: str) -> list[int]:
    """Places of structural characters that are not inside a text."""
    found, quoted = [], False
    for at, character in enumerate(one):
        if character == '"':
            quoted = not quoted  # the documents hold no escaped quotes
        elif not quoted and character in STRUCTURE:
            found.append(at)
    return found


@_register(JSON)
def structure_changed(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """One bracket, colon or comma replaced: brackets no longer pair, or a colon stands for a comma."""

    def text(one: str) -> str:
        at = draw.choice(_outside_texts(one))
        return one[:at] + draw.choice([c for c in STRUCTURE + ";=" if c != one[at]]) + one[at + 1 :]

    return _in_one(draw, sample, text)


@_register(JSON)
def structure_lost(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """One bracket, colon or comma left out: brackets no longer pair, or two values stand side by side."""

    def text(one: str) -> str:
        at = draw.choice(_outside_texts(one))
        return one[:at] + one[at + 1 :]

    return _in_one(draw, sample, text)


@_register(JSON)
def quote_lost(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """An odd number of quotes: the last text never ends."""

    def text(one: str) -> str:
        at = draw.choice([place for place, character in enumerate(one) if character == '"'])
        return one[:at] + one[at + 1 :]

    return _in_one(draw, sample, text)


@_register(JSON)
def not_quite_json(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """Comments, single quotes, a comma at the end, bare names, two values in one."""

    def text(one: str) -> str:
        return draw.choice(
            (
                one[:-1] + ",}", one.replace('"', "'"), "/* from the portal */ " + one, one + " // x", one + ";",
                one + one, one + "x", "data = " + one, "{" + one + "}", one.replace(": ", " = ", 1), f"({one})",
                one.replace('"', "", 2), one.replace('"', "\u201c", 1).replace('"', "\u201d", 1), one + "]", "x" + one,
            )
        )  # fmt: skip

    return _in_one(draw, sample, text)


@_register(JSON)
def not_a_request(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """A JSON value that is no object where an object must be."""
    return _in_one(draw, sample, lambda one: draw.choice(("null", "1", '"text"', "true", "[]", "[[]]", "{}", "[1, 2]")))


@_register(JSON)
def the_other_format(draw: random.Random, sample: Sample, now: datetime) -> bytes | None:
    """Objects with the other format's names: request_id and subject_request_id never mix."""

    def change(requests: list[dict[str, Any]]) -> None:
        request = requests[_one(draw, sample)]
        if sample.format == "opendsr":
            request["request_id"] = request.pop("subject_request_id")
        else:
            request["subject_request_id"] = request.pop("request_id")

    return _changed(sample, change)


# --- CSV -----------------------------------------------------------------------------------------------------------


def _row(draw: random.Random, rows: list[list[str]]) -> list[str]:
    return draw.choice(rows[1:])


@_register(CSV)
def cell_of_another_value(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    rows = sample.rows()
    name = draw.choice(COLUMNS)
    unreadable = f"a{chr(draw.choice([*range(1, 9), *range(14, 32), 127]))}b"
    wrong = {
        "request_id": ["", bad_id(draw).replace(",", ""), unreadable],
        "subject_id": ["x" * 513, unreadable, "a\u2028b", "a\u202eb", "a\ufffdb"],
        "record_ids": ["a;;b", ";", "a;a", "a;b;", unreadable, "x" * 513, "a;\u2029"],
        "regulation": ["hipaa", "gdrp", "gdpr;ccpa", unreadable],
        "received_at": [_cellable(bad_moment(draw, now)) for _ in range(9)],
        "submitted_time": [_cellable(bad_moment(draw, now)) for _ in range(9)],
        "identity_verified": ["yes", "1", "0", "on", "truee", "wahr"],
    }[name]
    _row(draw, rows)[COLUMNS.index(name)] = draw.choice(wrong)
    return csv_bytes(rows)


def _cellable(text: str) -> str:
    return text.replace(",", "_")


@_register(CSV)
def nobody_named(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    rows = sample.rows()
    row = _row(draw, rows)
    row[COLUMNS.index("subject_id")] = row[COLUMNS.index("record_ids")] = ""
    return csv_bytes(rows)


@_register(CSV)
def cells_too_many_or_too_few(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    rows = sample.rows()
    row = _row(draw, rows)
    if draw.random() < 0.5:
        row.insert(draw.randint(0, len(row)), draw.choice(("", "x", "a;b")))
    else:
        del row[draw.randrange(len(row))]
    return csv_bytes(rows)


@_register(CSV)
def header_wrong(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    rows = sample.rows()
    choice = draw.randrange(5)
    if choice == 0:
        return csv_bytes(rows[1:])  # the first request is no header
    if choice == 1:
        rows[0][draw.randrange(len(COLUMNS))] = draw.choice(("email", "Request_ID", "id", "", "=1+1", "request-id"))
    elif choice == 2:
        rows[0][1] = rows[0][0]  # twice
    elif choice == 3:
        rows = [row[1:] for row in rows]  # no request_id
    else:
        keep = [at for at, name in enumerate(COLUMNS) if name not in ("subject_id", "record_ids")]
        rows = [[row[at] for at in keep] for row in rows]
    return csv_bytes(rows)


@_register(CSV)
def another_separator(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    return csv_bytes(sample.rows(), draw.choice((";", "\t", "|", ":", " ")))


@_register(CSV)
def quote_that_never_ends(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    """The documents hold no other quote."""
    rows = sample.rows()
    row = draw.choice(rows)
    at = draw.randrange(len(row))
    row[at] = '"' + row[at]
    return csv_bytes(rows)


@_register(CSV)
def text_after_a_closing_quote(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    rows = sample.rows()
    row = _row(draw, rows)
    at = draw.randrange(len(row))
    row[at] = f'"{row[at]}"x'
    return csv_bytes(rows)


@_register(CSV)
def line_end_in_a_cell(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    """No field may hold a control character."""
    rows = sample.rows()
    row = _row(draw, rows)
    row[0] = f'"{row[0]}{draw.choice((chr(10), chr(13), chr(13) + chr(10)))}x"'
    return csv_bytes(rows)


@_register(CSV)
def csv_cut_off(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    """The last row ends before its last comma: cells are missing; or no row is left at all."""
    content = csv_bytes(sample.rows())
    last = content.rstrip(b"\n").rindex(b"\n") + 1
    end = content.rindex(b",")
    if len(sample.requests) == 1 and draw.random() < 0.2:
        return content[:last]
    return content[: draw.randint(last + 1, end)]


@_register(CSV)
def rows_that_contradict(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    rows = sample.rows()
    twin = list(_row(draw, rows))
    twin[COLUMNS.index("subject_id")] = "somebody-else"
    rows.insert(draw.randint(1, len(rows)), twin)
    return csv_bytes(rows)


@_register(CSV)
def csv_received_before_submitted(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    rows = sample.rows()
    row = _row(draw, rows)
    came = now - timedelta(days=draw.randint(20, 400))
    row[COLUMNS.index("received_at")] = came.strftime("%Y-%m-%dT%H:%M:%SZ")
    row[COLUMNS.index("submitted_time")] = (came + timedelta(hours=draw.randint(1, 400))).strftime("%Y-%m-%dT%H:%M:%SZ")
    return csv_bytes(rows)


@_register(CSV)
def not_csv_at_all(draw: random.Random, sample: Sample, now: datetime) -> bytes:
    return draw.choice(
        (b'[{"request_id": "a", "subject_id": "b"}]', b"<html><body>502 Bad Gateway</body></html>", b"PK\x03\x04 zip",
         b"request_id\nq-1\n", b"{}", b"%PDF-1.7", b"SQLite format 3", b"id;person\n1;2\n", b"request_id,subject_id")
    )  # fmt: skip
