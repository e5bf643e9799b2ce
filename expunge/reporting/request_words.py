"""Where does one request stand, in words for a privacy officer? What was asked, what is owed and by when.

Light: the ledger's own rows, no numbers' library. What an answered request came to is told by `answer_words`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from expunge.compliance.lifecycle import ERASURE_GROUNDS, Status
from expunge.compliance.rows import Request
from expunge.reporting.answer_words import answer, count_of, day, late_by

LAWS = {"gdpr": "the GDPR", "uk_gdpr": "the UK GDPR", "ccpa": "the CCPA"}

_S = Status
OUT = "Its records are kept out of every new training"
STILL = "the model in use may still hold what it learnt from them"
STATES = {
    _S.RECEIVED: "It waits for the next run; nothing has been changed for it yet.",
    _S.IDENTITY_UNVERIFIED: "It waits for proof of who asks; nothing is changed until then.",
    _S.ACCEPTED: "It is accepted and waits for the next run.",
    _S.QUARANTINED: f"{OUT} already; {STILL}.",
    _S.PLANNED: f"{OUT}, and how to forget them is planned; {STILL}.",
    _S.AWAITING_APPROVAL: f"{OUT}, and how to forget them is planned and waits for a person to approve it; {STILL}.",
    _S.UNLEARNING: f"{OUT}, and a model that forgets them is being made; until it is tested, {STILL}.",
    _S.VERIFIED: "A model that forgets its records has passed its tests and is about to be put into use.",
    _S.FAILED: "The last attempt did not pass its tests, so nothing was put into use. The request stays open and is "
    f"tried again. {OUT} meanwhile; {STILL}.",
    _S.PROMOTED: "A model that forgets its records is in use; what is left of the old one is about to be destroyed.",
    _S.PURGED: "A model that forgets its records is in use and what came of the records is destroyed; only the signed "
    "statement about it is missing.",
}


@dataclass(frozen=True)
class RequestFacts:
    """What the ledger and the certificate say about one request.

    Attributes:
        records: how many it names; unknown: those among them that were not known here.
        days_left: to its deadline, negative when late; None once it is answered.
        together: how many requests its run answered. fallback: whether a cheaper attempt before it was refused.
        certificate: the signed predicate, None where there is none.
        original: the request that this one repeats.
    """

    records: int
    unknown: int = 0
    days_left: int | None = None
    together: int = 1
    fallback: bool = False
    certificate: Mapping[str, Any] | None = None
    original: Request | None = None


def explain_request(request: Request, facts: RequestFacts) -> str:
    """One paragraph for a privacy officer, no jargon: what was asked, what was done, and what that does not prove."""
    sentences = [_asked(request, facts)]
    if request.status == Status.CLOSED and request.outcome == "not_in_training":
        sentences += [
            "None of its records was in the data that the model in use was trained on, so there was nothing to forget; "
            "they are kept out of every later training.",
            _answered(request),
            "This says nothing about copies of the data elsewhere.",
        ]
    elif request.status == Status.CLOSED:
        sentences += answer(facts.certificate, facts.together, facts.fallback)
        sentences.insert(-1, _answered(request))
    elif request.status in STATES:
        sentences += [_kept_until(facts) or _state(request), _owed(request, facts)]
    else:
        sentences += [_without_work(request, facts), _answered(request)]
    return " ".join(sentence for sentence in sentences if sentence)


def _asked(request: Request, facts: RequestFacts) -> str:
    law = LAWS.get(request.regulation, request.regulation)
    what = count_of(facts.records, "record") if facts.records else "a person's data"
    said = f"On {day(request.received_at)}, request {request.id} asked under {law} that {what} be forgotten."
    if facts.unknown and facts.unknown < facts.records:
        said += f" {facts.unknown} of them {'is' if facts.unknown == 1 else 'are'} not known here."
    return said


def _state(request: Request) -> str:
    if request.outcome == "ambiguous_identity":
        return "More than one person fits what was given, so it waits to be told which; nothing is changed until then."
    if request.status == Status.IDENTITY_UNVERIFIED and request.identity_requested_at is None:
        return "It waits for proof of who asks, for which nobody was asked yet; nothing is changed until then."
    return STATES[request.status]


def _kept_until(facts: RequestFacts) -> str:
    """What an interim certificate leaves open; empty without one."""
    stated = facts.certificate or {}
    days = [part["destroy_by"] for part in stated.get("artifacts") or [] if part.get("destroy_by")]
    if not stated.get("interim") or not days:
        return ""
    last = day(date.fromisoformat(min(days)))
    return (
        "A model that forgets its records is in use. Intermediate states of the old training that had seen them are "
        f"kept until {last} at the latest, to answer other requests at less cost; they are used for nothing else, and "
        "the request stays open until they are destroyed."
    )


def _owed(request: Request, facts: RequestFacts) -> str:
    extended = " (extended)" if request.extended_to else ""
    due = f"{day(request.deadline)}{extended}"
    if facts.days_left is None:
        return f"An answer is due by {due}."
    if facts.days_left < 0:
        return f"An answer was due by {due}: it is {count_of(-facts.days_left, 'day')} late."
    if facts.days_left == 0:
        return f"An answer is due today, {due}."
    return f"An answer is due by {due}, in {count_of(facts.days_left, 'day')}."


def _without_work(request: Request, facts: RequestFacts) -> str:
    if request.status == Status.REFUSED:
        ground = request.refusal_ground or ""
        words = ERASURE_GROUNDS.get(ground)
        because = f"Art. {ground}, {words}" if words else ground or "a ground that is not recorded"
        return f"It was refused ({because}); no model was changed, and the person must be told why and how to complain."
    if request.status == Status.NOT_FOUND:
        return "None of what it names was found in the data, so no model had learnt from it and nothing was changed."
    if request.status == Status.CANCELLED:
        return "It was withdrawn before any model in use was changed."
    return _duplicate(request, facts.original)


def _duplicate(request: Request, original: Request | None) -> str:
    other = f"request {request.duplicate_of}" if request.duplicate_of else "an earlier request"
    if request.outcome == "already_erased":
        if original is not None and original.is_open:
            return f"Its records are erased by {other}, which is answered once the last copies of them are destroyed."
        return f"Its records had been erased already, by {other}; nothing was left to do."
    said = f"It asks for what {other} asks for already, and is answered together with it."
    if original is None:
        return said
    if original.status == Status.CLOSED:
        return f"{said} That one is answered: `expunge explain {original.id}`."
    return f"{said} That one is still open, due by {day(original.deadline)}: `expunge explain {original.id}`."


def _answered(request: Request) -> str:
    if request.answered_at is None:
        return ""
    said = f"It was answered on {day(request.answered_at)}, {late_by(request.answered_at.date(), request.deadline)}."
    erased, unlearned = request.data_erased_at, request.model_unlearned_at
    if erased and unlearned and erased.date() != unlearned.date():
        said += f" The data were erased on {day(erased)}; the model that forgot them serves since {day(unlearned)}."
    return said
