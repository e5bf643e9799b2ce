"""Which keys does this project hold, and how is one replaced? Key ids only: no key leaves its file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from adapters.ledger import open_ledger, pseudonymizer
from adapters.project import Project
from adapters.turn import AtWork, turn
from expunge.compliance.certificate import (
    key_id,
    load_or_create_signing_key,
    public_key_path,
    rotate_signing_key,
)
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import KEY_VARIABLE, rotate_key
from expunge.compliance.verify.envelope import key_id as public_key_id
from expunge.compliance.verify.envelope import read_public_key
from expunge.errors import ExpungeError

EVENT = "key.rotated"
PSEUDONYM, CERTIFICATE = "pseudonym", "certificate"


@dataclass(frozen=True)
class Key:
    """One key. `of`: pseudonym or certificate; `kept` is where it lies."""

    of: str
    id: str
    current: bool
    kept: str


@dataclass(frozen=True)
class Rotation:
    """A key that took another's place."""

    of: str
    before: str
    after: str


def keys(project: Project) -> list[Key]:
    """Every key at hand, the current ones first. Makes the project's keys if there are none. Raises UsageError."""
    where = KEY_VARIABLE if KEY_VARIABLE in os.environ else str(project.pseudonym_key)
    ids = pseudonymizer(project).key_ids
    found = [Key(PSEUDONYM, one, number == 0, where) for number, one in enumerate(ids)]
    current = key_id(load_or_create_signing_key(project.signing_key).public_key())
    found.append(Key(CERTIFICATE, current, True, str(project.signing_key)))
    public = public_key_path(project.signing_key)
    for path in sorted(public.parent.glob(f"{project.signing_key.stem}.*.pub.pem")):
        one = public_key_id(read_public_key(path))
        if path != public and one != current:
            found.append(Key(CERTIFICATE, one, False, f"{path} (public half)"))
    return found


def rotate(project: Project, of: str) -> Rotation:
    """Replace the pseudonym key or the signing key, and note it on the ledger.

    What was named or signed under the old key stays matched and verifiable: the old pseudonym key stays in its file,
    the old public key beside the new one. A rotation that a crash kept from the ledger is noted by the next one.
    Raises ExpungeError while a run is under way, UsageError for a key that cannot be used or comes from outside.
    """
    try:
        # a process that runs knows the old keys only, and could not match what is named under a new one
        with turn(wait=False):
            return _rotate(project, of)
    except AtWork as error:
        raise ExpungeError(
            "Requests are being answered in this project right now.", "Rotate the key when that is done."
        ) from error


def _rotate(project: Project, of: str) -> Rotation:
    with open_ledger(project) as ledger:
        _note(ledger, project, of)
    before = _current(project, of)
    if of == PSEUDONYM:
        rotate_key(project.pseudonym_key)
    else:
        rotate_signing_key(project.signing_key)
    with open_ledger(project) as ledger:
        return _note(ledger, project, of, before) or Rotation(of, before, _current(project, of))


def rotations(ledger: Ledger) -> list[dict[str, Any]]:
    """What the ledger knows of rotations: kind, before, after, at."""
    return [{"at": e.at.isoformat(), **e.payload} for e in ledger.events(kinds=(EVENT,))]


def _note(ledger: Ledger, project: Project, of: str, before: str | None = None) -> Rotation | None:
    """Append the event of the newest rotation, unless it is there; returns it if it was appended."""
    held = [key for key in keys(project) if key.of == of]
    if len(held) < 2:
        return None
    current = held[0].id
    if any(one["of"] == of and one["after"] == current for one in rotations(ledger)):
        return None
    previous = before or (held[1].id if of == PSEUDONYM else "")
    payload = {"of": of, "before": previous, "after": current, "retired": sorted(key.id for key in held[1:])}
    ledger.append_event(EVENT, payload)
    return Rotation(of, previous, current)


def _current(project: Project, of: str) -> str:
    return next(key.id for key in keys(project) if key.of == of)
