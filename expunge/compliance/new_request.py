"""What does a controller send, and what must it not contain?"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from expunge.compliance.rows import Request
from expunge.errors import UsageError

ERASURE_TYPES = ("erasure", "deletion")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@dataclass(frozen=True)
class NewRequest:
    """What a controller sends. Raw ids live only in this value; the ledger stores their pseudonyms.

    `known_record_pseudonyms`: pseudonyms (current key) of the ids that exist; None when the caller did not look.
    `candidates`: the people who fit an ambiguous request. `named_identities`, `named_records`: what the controller
    wrote, where `subject_identity` and `record_ids` are what was found for it: by them a request is known again after
    the data have changed. None: the same.
    """

    request_id: str
    subject_identity: str | None
    record_ids: Sequence[str]
    regulation: str
    received_at: datetime
    submitted_time: datetime | None = None
    subject_request_type: str = "erasure"
    known_record_pseudonyms: Collection[str] | None = None
    identity_verified: bool = True
    ambiguous: bool = False
    candidates: Sequence[str] = ()
    status_callback_urls: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    named_identities: Sequence[str] | None = None
    named_records: Sequence[str] | None = None


class Added(NamedTuple):
    """The request as it is on the ledger, and whether this call put it there."""

    request: Request
    created: bool


def check(new: NewRequest) -> None:
    """Raise UsageError for a request that cannot be taken in, whatever is on the ledger."""
    if not isinstance(new.request_id, str) or not _ID.fullmatch(new.request_id):
        raise UsageError(
            f"The request id {new.request_id!r} cannot be used.",
            "Use 1 to 128 letters, digits, dots, dashes or underscores (a UUID); never a name or an address.",
        )
    if new.subject_request_type not in ERASURE_TYPES:
        raise UsageError(
            f"Request {new.request_id} is of type {new.subject_request_type!r}.",
            "This ledger answers erasure requests.",
        )
    if not new.subject_identity and not new.record_ids:
        raise UsageError(f"Request {new.request_id} names neither a person nor a record.", "Give one of the two.")
    if isinstance(new.record_ids, str):
        raise UsageError(f"The record ids of request {new.request_id} are one text.", "Pass a list.")
    for url in new.status_callback_urls:
        if not str(url).startswith(("https://", "http://")):
            raise UsageError(f"Request {new.request_id}: {url!r} is not a callback URL.", "Use https://.")
    _refuse_raw(new)


def repeats(request_id: str, texts: Iterable[str], people: Iterable[str], records: Collection[str]) -> bool:
    """Whether what is kept in the clear, an id and other texts, repeats a person or is a record id."""
    clear = list(texts)
    if not _UUID.fullmatch(request_id):  # a random id holds a short number by chance
        clear.append(request_id)
    words = [re.compile(rf"(?<![A-Za-z0-9]){re.escape(one)}(?![A-Za-z0-9])") for one in people]
    return any(text in records or any(word.search(text) for word in words) for text in clear)


def _refuse_raw(new: NewRequest) -> None:
    """The free fields must not carry what the pseudonyms hide."""
    people = {one for one in (new.subject_identity, *(new.named_identities or ())) if one}
    texts = _texts([dict(new.details), list(new.status_callback_urls)])
    if repeats(new.request_id, texts, people, set(new.record_ids)):
        raise UsageError(
            f"Request {new.request_id} repeats the person or a record id in its details, callback or id.",
            "The ledger keeps pseudonyms only: leave it out.",
        )


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, child in value.items():
            yield from _texts(key)
            yield from _texts(child)
    elif isinstance(value, (list, tuple)):
        for child in value:
            yield from _texts(child)
