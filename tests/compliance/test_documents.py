"""Does a file of requests say what it says, and is every fault in it named?"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import START, Clock
from hypothesis import given
from hypothesis import strategies as st

from expunge.compliance.documents import (
    Incoming,
    People,
    Refused,
    fields,
    read_documents,
    read_file,
    resolve,
    status_document,
)
from expunge.compliance.documents.read import MAX_BYTES
from expunge.compliance.ledger import Ledger
from expunge.errors import NotFoundError, UsageError

UUID = "a7551968-d5d6-44b2-9831-815ac9017798"
OTHER = "0b7de4a6-9c0f-4c39-8a35-6a2f0d3bb0a1"
OWN: dict[str, Any] = {"request_id": "q-1", "subject_id": "ada", "received_at": "2026-03-01T10:00:00+01:00"}
OPENDSR: dict[str, Any] = {
    "subject_request_id": UUID,
    "subject_request_type": "erasure",
    "regulation": "gdpr",
    "submitted_time": "2026-02-20T15:00:00Z",
    "subject_identities": [
        {"identity_type": "controller_customer_id", "identity_value": "ada", "identity_format": "raw"}
    ],
}


def read(content: str | bytes, name: str = "requests", **more: Any) -> list[Incoming]:
    data = content.encode() if isinstance(content, str) else content
    return read_documents(name, data, now=START, **more)


def faults(content: str | bytes, name: str = "requests", **more: Any) -> list[str]:
    with pytest.raises(Refused) as refused:
        read(content, name, **more)
    for fault in refused.value.faults:
        assert fault.what and fault.remedy, "what is wrong, and what to do"
    assert all(str(fault) in str(refused.value) for fault in refused.value.faults[:20])
    assert refused.value.exit_code == 2 and name in str(refused.value)
    return [str(fault) for fault in refused.value.faults]


def opendsr(**changes: Any) -> str:
    return json.dumps({name: value for name, value in {**OPENDSR, **changes}.items() if value is not ...})


def own(**changes: Any) -> str:
    return json.dumps({name: value for name, value in {**OWN, **changes}.items() if value is not ...})


def test_the_three_formats_say_the_same() -> None:
    received = datetime(2026, 3, 1, 9, tzinfo=UTC)
    expected = Incoming("q-1", ("ada",), ("r-1", "r-2"), "ccpa", received)
    csv = (
        "request_id,subject_id,record_ids,regulation,received_at\n"
        "q-1,ada,r-1,ccpa,2026-03-01T10:00:00+01:00\n"
        "q-1, ada ,r-2,CCPA,2026-03-01 09:00:00Z\n"
    )
    assert read(csv) == [expected]
    assert read(csv.replace("\n", "\r\n").encode("utf-8-sig"), "requests.csv") == [expected]
    assert read(own(record_ids=["r-1", "r-2"], regulation="ccpa")) == [expected]
    document = opendsr(regulation="ccpa", received_time="2026-03-01T10:00:00+01:00")
    assert read(document)[0].subjects == ("ada",) and read(document)[0].received_at == received
    mapped = opendsr(
        subject_identities=[{"identity_type": "email", "identity_value": "r-1", "identity_format": "raw"}],
    )
    assert read(mapped, identity_types={"email": "record_id"})[0].record_ids == ("r-1",)


@pytest.mark.parametrize("layout", ["one", "pretty", "array", "lines"])
def test_opendsr_is_one_object_an_array_or_lines(layout: str) -> None:
    two = [opendsr(), opendsr(subject_request_id=OTHER)]
    content = {
        "one": two[0], "pretty": json.dumps(OPENDSR, indent=2), "array": f"[{','.join(two)}]", "lines": "\n".join(two),
    }[layout]  # fmt: skip
    assert [one.request_id for one in read(content)] == [UUID, OTHER][: 2 if layout in ("array", "lines") else 1]


def test_every_fault_of_a_file_is_listed_with_its_place() -> None:
    found = faults(
        "request_id,subject_id,received_at,regulation\n"
        "q-1,ada,2026-03-01T10:00:00,gdpr\n"
        "ada lovelace,ada,2026-02-30T10:00:00Z,gdrp\n"
        "q-3,,,\n"
        "q-4,ada\n"
    )
    assert [fault.split(":")[0] for fault in found] == [
        "line 2, received_at", "line 3, request_id", "line 3, regulation", "line 3, received_at", "line 4", "line 5",
    ]  # fmt: skip
    assert "no time zone" in found[0] and "neither a person nor a record" in found[4] and "2 cells" in found[5]
    assert len(faults("{\n" * 5000)) == 1000  # the rest is not looked at
    with pytest.raises(Refused, match="50 faults") as refused:
        read("\n".join(own(request_id=f"q {number}") for number in range(50)))
    assert "and 30 more" in refused.value.message and len(refused.value.message.splitlines()) == 22


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds no request"),
        (b"request_id,subject_id\n", "holds no request"),
        (own().encode("utf-16"), "UTF-16"),
        (own().encode() + b"\0", "NUL"),
        (own(subject_id="Zoë").replace("\\u00eb", "ë").encode("latin-1"), "line 1: is not UTF-8"),
        (b'"' + b"x" * 200_000 + b'"', "is not CSV"),
        ("id;person\n1;2\n", "Separate the columns with commas"),
        ('request_id,subject_id\nq-1,"ada\n', "line 2: is not CSV"),
        (own()[:-1], "is not JSON"),
        (own()[:-1] + ', "subject_id": "bob"}', "gives a field twice"),
        (own(regulation=...)[:-1] + ', "regulation": NaN}', "not finite or too long"),
        (own(regulation=...)[:-1] + ', "regulation": ' + "9" * 5000 + "}", "not finite or too long"),
        (own()[:-1] + ', "record_ids": ' + "[" * 100_000, "nested more than 16 deep"),
        (own(subject_id="\ud83d"), "half a character"),
        (own(subject_id="a\u202eb"), "invisible character U+202E"),
        (own(subject_id="a\x07b"), "U+0007"),
        (own(subject_id=None), "subject_id: is null"),
        (own(subject_id=17), "subject_id: is a number"),
        (own(record_ids="r-1"), "record_ids: is a text, not a list"),
        (own(record_ids=[]), "record_ids: is an empty list"),
        (own(record_ids=["r-1", ""]), "record_ids: entry 2 is empty"),
        (own(record_ids=["r-1", "r-1"]), "names a record twice"),
        (own(identity_verified="true"), "Write true or false"),
        (own(received_at="2026-03-03T10:00:00Z"), "received_at: is in the future"),
        (own(received_at="1970-01-01T00:00:00Z"), "is before 2018-05-25"),
        (own(submitted_time="2026-03-01T12:00:00Z"), "received_at: is before submitted_time"),
        (own(subjct_id="ada"), "Did you mean 'subject_id'?"),
        (own(status_callback_urls=["ftp://x.org"]), "not a web address"),
        ("[1, 2]", "request 1: is a number, not an object"),
        (own() + "\n" + own(subject_id="bob"), "line 2: has the id of line 1 and another content"),
        (own(request_id="case-ada"), "line 1: its id repeats the person"),
        (own(request_id="r-7", subject_id=..., record_ids=["r-7"]), "its id repeats the person or a record"),
        (opendsr(status_callback_urls=["https://x.org/ada"]), "request 1: its callback repeats the person"),
        (opendsr(subject_request_id=UUID.upper()), "UUID of version 4"),
        (opendsr(subject_request_type="access"), "is not erasure"),
        (opendsr(submitted_time=...), "submitted_time: is missing"),
        (opendsr(subject_identities=[]), "is not a list of identities"),
        (
            opendsr(subject_identities=[{**OPENDSR["subject_identities"][0], "identity_format": "sha256"}]),
            "identity 1, identity_format: is sha256: a hashed identity cannot be matched",
        ),
        (
            opendsr(subject_identities=[{**OPENDSR["subject_identities"][0], "identity_type": "email"}]),
            "--identity email=subject_id",
        ),
        (opendsr(api_version=2.0), "api_version: is a number"),
    ],
)  # fmt: skip
def test_what_is_malformed_is_refused_by_name(content: str | bytes, words: str) -> None:
    assert any(words in fault for fault in faults(content)), faults(content)


def test_small_differences_that_are_allowed() -> None:
    assert read(own() + "\n" + own() + "\n\n") == [read(own())[0]]  # the same again is the same
    almost_now = (START + timedelta(minutes=4)).isoformat()
    assert read(own(received_at=almost_now))[0].received_at == START + timedelta(minutes=4)
    mail = {"identity_type": "email", "identity_value": "a@b", "identity_format": "raw"}
    assert read(opendsr(subject_identities=[*OPENDSR["subject_identities"], mail]))[0].unmatched == 1
    assert read(opendsr(extensions={"other.example.org": {"id": 12, "tags": ["a"]}}))


def test_the_rows_of_one_request_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 500
    monkeypatch.setattr(fields, "MAX_RECORDS", most)
    row = "q1,{}\n"
    rows = "".join(row.format(f"r-{number}") for number in range(most))
    (one,) = read("request_id,record_ids\n" + rows + row.format("r-0"))
    assert one.record_ids == tuple(f"r-{number}" for number in range(most))
    found = faults("request_id,record_ids\n" + rows + "".join(row.format(f"s-{number}") for number in range(3)))
    assert len(found) == 1 and f"line {most + 2}" in found[0] and f"more than {most}" in found[0]


def test_no_message_repeats_a_person_or_a_record() -> None:
    secret = "ada-lovelace-1815"
    for content in (
        f"{secret},{secret}\n{secret},{secret}\n",
        f"request_id,subject_id,received_at\nq-1,x,{secret}\n{secret} x,{secret},\n",
        own(regulation=secret, request_id=secret + "!", record_ids=[secret, secret], **{secret: secret}),
        opendsr(subject_request_id=secret, subject_request_type=secret, regulation=secret, api_version=secret),
    ):
        assert secret not in " ".join(faults(content))


def test_a_file_is_read_within_bounds(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_file(tmp_path / "nowhere.csv")
    with pytest.raises(UsageError, match=r"cannot be read|not a file"):
        read_file(tmp_path)
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate(MAX_BYTES + 100)
    assert "larger than 64 MiB" in faults(read_file(tmp_path / "large.csv"))[0]


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_arbitrary_bytes_are_refused_not_a_crash(content: bytes) -> None:
    for format in (None, "csv", "jsonl", "opendsr"):
        assert faults(content, format=format)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=9), children, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(OPENDSR)), JSON_VALUES)
def test_arbitrary_values_in_a_field_are_refused_or_right(name: str, value: Any) -> None:
    try:
        found = read(json.dumps({**OPENDSR, name: value}))
    except Refused:
        return
    assert name in ("regulation", "subject_request_type") and found[0].request_id == UUID


# --- what a request means ---------------------------------------------------------------------------------------------

PEOPLE = People(["r-1", "r-2", "r-3", "r-4"], ["ada", "ada", "bob", "eve"])


def meant(*subjects: str, records: tuple[str, ...] = (), **more: Any) -> Any:
    return resolve(Incoming("q-1", subjects, records, **more), PEOPLE, START, "gdpr")


def test_a_person_means_all_their_records_and_named_records_are_meant_alone() -> None:
    assert list(meant("ada").record_ids) == ["r-1", "r-2"] and not meant("ada").ambiguous
    assert list(meant("ada", records=("r-2",)).record_ids) == ["r-2"]
    assert list(meant(records=("r-1", "r-3", "r-9")).record_ids) == ["r-1", "r-3", "r-9"]
    assert list(meant("nobody").record_ids) == [] and meant("nobody").subject_identity == "nobody"
    assert (
        meant("nobody", "ada").subject_identity == "ada" and meant("nobody", "ada").details["unknown_identities"] == 1
    )


def test_who_cannot_be_told_apart_is_ambiguous() -> None:
    assert meant("ada", "bob").ambiguous and list(meant("ada", "bob").record_ids) == []
    assert meant("ada", records=("r-3",)).ambiguous  # somebody else's record
    assert meant("nobody", records=("r-3",)).ambiguous
    assert not meant("ada", "ada-2").ambiguous and not meant("ada", records=("r-1", "r-9")).ambiguous


def test_a_deadline_is_never_too_late_for_want_of_a_time() -> None:
    sent = START - timedelta(days=9)
    assert meant("ada", submitted_time=sent).received_at == sent
    assert meant("ada", submitted_time=sent, received_at=START - timedelta(1)).received_at == START - timedelta(1)
    assert meant("ada").received_at == START


def test_the_status_document_of_each_state(ledger: Ledger, add: Callable[..., Any], clock: Clock) -> None:
    def status(request_id: str) -> dict[str, Any]:
        request = ledger.get_request(request_id)
        return status_document(request, "Europe/Berlin", ledger.record_counts().get(request_id))

    add(UUID, "r-1")
    assert status(UUID)["request_status"] == "pending"
    assert status(UUID)["expected_completion_time"] == "2026-04-02T21:59:59Z"  # the end of the day in Berlin
    ledger.admit(UUID)
    assert status(UUID)["request_status"] == "in_progress"
    add("q-2", "r-2")
    clock.forward(days=1)
    ledger.cancel("q-2")
    add("q-3", "r-3")
    ledger.refuse("q-3", "e")
    add("q-4", "r-4", known_record_pseudonyms=[])
    assert [status(name)["request_status"] for name in ("q-2", "q-3", "q-4")] == ["cancelled", "completed", "completed"]
    assert status("q-3")["extensions"]["expunge"]["refusal_ground"] == "17(3)(e)"
    assert status("q-4")["results_count"] == 0 and status("q-4")["expected_completion_time"] == "2026-03-03T09:30:00Z"
    assert "r-1" not in json.dumps(status(UUID))
