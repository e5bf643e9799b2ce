"""A request in words: every state has its sentence, no jargon, and no more is claimed than the certificate says."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from expunge.compliance.lifecycle import ANSWERED, Status
from expunge.compliance.rows import Request
from expunge.reporting.request_words import STATES, RequestFacts, explain_request

JARGON = re.compile(r"oracle|p-value|AUC|MIA|Rényi|epsilon|checkpoint|ROC|null", re.IGNORECASE)
ASKED = datetime(2026, 11, 3, 9, tzinfo=UTC)


def request(status: str, **change: Any) -> Request:
    blank: dict[str, Any] = dict.fromkeys(Request.__dataclass_fields__)
    known = {"id": "req-1", "regulation": "gdpr", "received_at": ASKED, "due_at": date(2026, 12, 3), "details": {}}
    return Request(**(blank | known | {"status": Status(status)} | change))


def closed(**change: Any) -> Request:
    return request("closed", outcome="erased", answered_at=datetime(2026, 11, 5, tzinfo=UTC), run_id="run-1", **change)


def certificate(**change: Any) -> dict[str, Any]:
    controls = {"original": {"expected": "fail", "verdict": "fail"}, "oracle": {"expected": "pass", "verdict": "pass"}}
    return {
        "guarantee": "empirical", "evidence_level": "oracle", "plan": {"method": "rewind", "model_version": "digits 4"},
        "details": {"request": {"verdict": "pass", "influence_rank": {"unlearned": {"of": 41}}}},
        "evidence": [{"controls": controls, "details": {"gating": True}}],
        "spent": {"cost": {"unlearning": 0.35, "everything": 60.2}}, "model": {"name": "digits", "version": "5"},
        "artifacts": [{"action": "destroyed"}, {"action": "destroyed"}, {"action": "kept"}], "rescan": {"found": []},
        **change,
    }  # fmt: skip


def own(verdict: str, **change: Any) -> dict[str, Any]:
    return {"request": {"verdict": verdict, "influence_rank": {"unlearned": {"of": 41}}, **change}}


def words(what: Request, **facts: Any) -> str:
    said = explain_request(what, RequestFacts(**{"records": 64, **facts}))
    assert not JARGON.search(said) and "\n" not in said and ".." not in said and said.endswith(".")
    return said


def test_an_answered_request_from_start_to_end() -> None:
    said = words(closed(), certificate=certificate(), together=2)
    for part in (
        "On 3 November 2026, request req-1 asked under the GDPR that 64 records be forgotten.",
        "wound back to an earlier point and repeated from there without them, together with those of 1 other request.",
        "In tests, the new model cannot be told apart from 40 models that never saw them, while the same tests did",
        "This is a test result, not a proof.",
        "It took 35% of the work of training again from the beginning (with every model trained for comparison counted,"
        " 60 times that work).",
        "Version 5 of the model digits was put into use in place of 4.",
        "2 stored items that came from the records were destroyed and 1 was kept for a stated reason",
        "It was answered on 5 November 2026, 28 days before its deadline.",
        "does not prove that no better test could find a trace",
    ):
        assert part in said, part
    assert said.index("answered on") < said.index("does not prove")


@pytest.mark.parametrize(
    ("change", "part", "absent"),
    [
        ({"guarantee": "exact", "plan": {"method": "retrain"}}, "has therefore never seen them", "not a proof"),
        (
            {"guarantee": "exact", "details": own("fail")},
            "by chance that happens to at most one request in 20",
            "not a proof",
        ),
        ({"evidence_level": "pool"}, "a weaker comparison", "never saw them,"),
        ({"evidence_level": "oracle-free"}, "the weakest kind of evidence", "never saw them,"),
        ({"details": own("pass", little_remembered=True)}, "Even the old model showed hardly anything", "In tests"),
        ({"details": own("no power")}, "no test could have told either way; taken with all records", "In tests"),
        ({"details": own("fail")}, "as happens to at most one in 20 by chance; taken with all records", "In tests"),
        ({"evidence": []}, "In tests", "did recognise"),
        ({"rescan": {"found": ["x"]}}, "found 1 still there", "nothing left"),
        ({"rescan": {}}, "no search for leftovers is recorded", "nothing left"),
        ({"interim": True}, "interim statement", "late"),
        ({"spent": {}}, "put into use", "It took"),
    ],
)
def test_the_words_follow_the_certificate(change: dict[str, Any], part: str, absent: str) -> None:
    said = words(closed(), certificate=certificate(**change), together=3)
    assert part in said and absent not in said


def test_a_request_alone_after_a_refused_attempt_and_without_its_certificate() -> None:
    said = words(closed(), certificate=certificate(details=own("no power")), fallback=True)
    assert "A cheaper attempt did not pass its tests and was given up; then" in said
    assert "by the tests that decide, the new model" in said and "together with" not in said
    assert "Its certificate is not at its place" in words(closed())


def test_data_and_model_have_dates_of_their_own() -> None:
    at = {"data_erased_at": ASKED, "model_unlearned_at": ASKED.replace(day=5)}
    said = words(closed(**at), certificate=certificate())
    assert "The data were erased on 3 November 2026; the model that forgot them serves since 5 November 2026." in said


@pytest.mark.parametrize("status", sorted(set(Status) - ANSWERED))
def test_an_open_request_says_where_it_stands_and_by_when(status: Status) -> None:
    assert status in STATES
    said = words(request(status), days_left=12)
    assert said.endswith("An answer is due by 3 December 2026, in 12 days.")
    assert "it is 1 day late" in words(request(status), days_left=-1)
    assert "due today" in words(request(status), days_left=0) and "by 3 Dec" in words(request(status))
    longer = request(status, extended_to=date(2027, 2, 3))
    assert "by 3 February 2027 (extended)" in words(longer, days_left=70)


@pytest.mark.parametrize(
    ("what", "part"),
    [
        (request("refused", refusal_ground="17(3)(b)"), "refused (Art. 17(3)(b), legal obligation or public interest)"),
        (request("refused", refusal_ground="a reason"), "refused (a reason)"),
        (request("refused"), "a ground that is not recorded"),
        (request("not_found", answered_at=ASKED), "None of what it names was found"),
        (request("cancelled"), "withdrawn before any model in use was changed"),
        (request("duplicate", duplicate_of="req-0", outcome="already_erased"), "erased already, by request req-0"),
        (request("duplicate", duplicate_of="req-0", outcome="duplicate"), "what request req-0 asks for already"),
        (request("closed", outcome="not_in_training", answered_at=ASKED), "there was nothing to forget"),
        (request("identity_unverified", outcome="ambiguous_identity"), "More than one person fits"),
    ],
)
def test_answers_without_work_and_open_questions(what: Request, part: str) -> None:
    assert part in words(what)


def test_a_duplicate_says_how_the_first_one_stands() -> None:
    twice = request("duplicate", duplicate_of="req-0", outcome="duplicate")
    first = replace(request("planned"), id="req-0")
    assert "still open, due by 3 December 2026: `expunge explain req-0`" in words(twice, original=first)
    assert "That one is answered" in words(twice, original=replace(closed(), id="req-0"))


def test_what_is_not_known_here_is_said() -> None:
    assert "2 of them are not known here." in words(request("received"), unknown=2)
    assert "not known" not in words(request("not_found"), unknown=64)
    assert "that a person's data be forgotten" in words(request("received"), records=0)
    assert "the CCPA" in words(request("received", regulation="ccpa"))
    late = replace(closed(), answered_at=datetime(2026, 12, 5, tzinfo=UTC))
    assert "2 days after its deadline" in words(late, certificate=certificate())
    assert "on its last day" in words(replace(late, answered_at=datetime(2026, 12, 3, tzinfo=UTC)))
