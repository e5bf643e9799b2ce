"""Which moves may a request make? The state machine of a request's life, without any storage."""

from __future__ import annotations

import re
from enum import StrEnum

from expunge.compliance.deadlines import CCPA
from expunge.errors import UsageError, nearest


class Status(StrEnum):
    """Where a request stands."""

    RECEIVED = "received"
    IDENTITY_UNVERIFIED = "identity_unverified"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_FOUND = "not_found"
    DUPLICATE = "duplicate"
    QUARANTINED = "quarantined"
    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting_approval"
    UNLEARNING = "unlearning"
    VERIFIED = "verified"
    FAILED = "failed"
    PROMOTED = "promoted"
    PURGED = "purged"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class IllegalMove(UsageError):
    """A move that the life of a request does not know."""


_S = Status

MOVES: dict[Status, frozenset[Status]] = {
    _S.RECEIVED: frozenset({_S.IDENTITY_UNVERIFIED, _S.ACCEPTED, _S.REFUSED, _S.NOT_FOUND, _S.DUPLICATE, _S.CANCELLED}),
    _S.IDENTITY_UNVERIFIED: frozenset({_S.ACCEPTED, _S.REFUSED, _S.NOT_FOUND, _S.DUPLICATE, _S.CANCELLED}),
    _S.ACCEPTED: frozenset({_S.QUARANTINED, _S.REFUSED, _S.NOT_FOUND, _S.CANCELLED}),
    _S.QUARANTINED: frozenset({_S.PLANNED, _S.REFUSED, _S.CANCELLED}),
    # back to quarantined: the plan is dropped, or a person says no to it; the records stay out of training
    _S.PLANNED: frozenset({_S.AWAITING_APPROVAL, _S.UNLEARNING, _S.QUARANTINED, _S.CANCELLED}),
    _S.AWAITING_APPROVAL: frozenset({_S.UNLEARNING, _S.QUARANTINED, _S.CANCELLED}),
    _S.UNLEARNING: frozenset({_S.VERIFIED, _S.FAILED}),
    _S.VERIFIED: frozenset({_S.PROMOTED, _S.FAILED}),
    # a failed request stays open: it is planned again, by another run or another method. Nothing of it is under way,
    # so that it can be withdrawn or refused meanwhile
    _S.FAILED: frozenset({_S.PLANNED, _S.QUARANTINED, _S.REFUSED, _S.CANCELLED}),
    _S.PROMOTED: frozenset({_S.PURGED}),
    _S.PURGED: frozenset({_S.CLOSED}),
    # opened again when the request that it repeated falls away, or waits for proof of identity
    _S.DUPLICATE: frozenset({_S.RECEIVED, _S.IDENTITY_UNVERIFIED}),
    _S.REFUSED: frozenset(),
    _S.NOT_FOUND: frozenset(),
    _S.CLOSED: frozenset(),
    _S.CANCELLED: frozenset(),
}

ANSWERED = frozenset({_S.REFUSED, _S.NOT_FOUND, _S.DUPLICATE, _S.CLOSED, _S.CANCELLED})
"""No more work is owed."""

OPEN = frozenset(_S) - ANSWERED

HOLDS_QUARANTINE = frozenset(
    {
        _S.QUARANTINED,
        _S.PLANNED,
        _S.AWAITING_APPROVAL,
        _S.UNLEARNING,
        _S.VERIFIED,
        _S.FAILED,
        _S.PROMOTED,
        _S.PURGED,
    }
)
"""The records are out of every new training, and not yet answered for."""

IN_A_RUN = frozenset({_S.PLANNED, _S.AWAITING_APPROVAL, _S.UNLEARNING, _S.VERIFIED, _S.PROMOTED, _S.PURGED})
"""The request belongs to one deletion run; another run may not move it on."""

RUN_ORDER = (_S.PLANNED, _S.AWAITING_APPROVAL, _S.UNLEARNING, _S.VERIFIED, _S.PROMOTED, _S.PURGED, _S.CLOSED)
"""The states that one run takes a request through, in order."""

FALLS_AWAY = frozenset({_S.CANCELLED, _S.REFUSED, _S.NOT_FOUND})
"""Nothing will be erased for the request."""

RELEASES_DUPLICATES = FALLS_AWAY | {_S.IDENTITY_UNVERIFIED}
"""No other request is answered by one that stands here: whose identity is in doubt may wait for ever, and anybody can
send a request in somebody's name.
"""

ERASURE_GROUNDS = {
    "17(3)(a)": "freedom of expression and information",
    "17(3)(b)": "legal obligation or public interest",
    "17(3)(c)": "public health",
    "17(3)(d)": "archiving, research or statistics",
    "17(3)(e)": "legal claims",
    "12(5)": "manifestly unfounded or excessive",
    "12(6)": "identity could not be confirmed",
}
"""Grounds on which GDPR lets a controller refuse erasure, by article."""


def status_of(name: str) -> Status:
    """The status of that name. Raises UsageError naming the nearest one."""
    try:
        return Status(name)
    except ValueError as error:
        raise UsageError(f"The status {name!r} is not known.", nearest(str(name), [s.value for s in Status])) from error


def check_move(current: Status, target: Status, request_id: str = "") -> None:
    """Return if `current` -> `target` is a legal move; raises IllegalMove with what would be legal."""
    if target in MOVES[current]:
        return
    name = f"Request {request_id}" if request_id else "A request"
    legal = ", ".join(sorted(MOVES[current]))
    hint = f"From here it can become: {legal}." if legal else "That is its last state."
    if target == _S.CANCELLED and current in OPEN:
        hint = "It can be cancelled until unlearning starts, or once that has failed. " + hint
    raise IllegalMove(f"{name} is {current} and cannot become {target}.", hint)


def is_past(current: Status, target: Status) -> bool:
    """Whether a run that has brought a request to `current` has `target` behind it."""
    return current in RUN_ORDER and target in RUN_ORDER and RUN_ORDER.index(current) > RUN_ORDER.index(target)


def refusal_ground(regulation: str, ground: str | None) -> str:
    """The ground of a refusal as it is recorded. "a" to "e" stand for GDPR Art. 17(3)(a) to (e).

    Raises UsageError without a ground, or under GDPR with one that the regulation does not know. A CCPA ground is
    recorded as given (Civil Code 1798.105(d)).
    """
    text = (ground or "").strip()
    if not text:
        raise UsageError("A refusal needs its ground.", f"Give one of: {', '.join(ERASURE_GROUNDS)}.")
    if regulation == CCPA:
        return text
    letter = re.fullmatch(r"(?:17\(3\))?\(?([a-e])\)?", text, flags=re.IGNORECASE)
    known = f"17(3)({letter.group(1).lower()})" if letter else text
    if known not in ERASURE_GROUNDS:
        raise UsageError(f"The ground {ground!r} is not one of GDPR.", nearest(known, list(ERASURE_GROUNDS)))
    return known
