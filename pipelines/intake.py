"""How do requests from a command line and from files enter the ledger? Resolved against the data, all or nothing."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from adapters import clock
from adapters.ledger import controller, open_ledger
from adapters.project import Project
from expunge.compliance.documents import Incoming, People, read_documents, read_file, resolve
from expunge.compliance.ledger import Added, Ledger, NewRequest, Request
from expunge.data import load_records
from expunge.errors import ExpungeError, NotFoundError, UsageError

if TYPE_CHECKING:
    from expunge.data.config import DataSettings
    from expunge.data.record_table import RecordTable


@dataclass(frozen=True)
class Imported:
    """What became of a file: its requests as they are on the ledger, or why it was refused."""

    file: str
    added: tuple[Added, ...] = ()
    error: ExpungeError | None = None


def add_request(
    data: DataSettings,
    project: Project,
    record_ids: Sequence[str],
    subject: str | None,
    request_id: str | None,
    regulation: str | None,
) -> tuple[Added, int]:
    """Put a request on the ledger; returns it and the number of its records. Without a regulation, the project's.

    It means what the same request in a file would: records that are named are meant alone, and are ambiguous if they
    belong to somebody else than `subject`; without any, all of the person's are meant.
    Raises NotFoundError for a record or person that the data do not know and that was not erased before, UsageError
    for a request that names nothing or changes one that is there. Nothing is recorded then.
    """
    if not record_ids and not subject:
        raise UsageError("The request names neither records nor a person.", "Give --record ID or --subject PERSON.")
    table = load_records(data.name, data.options)
    with open_ledger(project) as ledger:
        named = list(dict.fromkeys(record_ids))
        erased = [r for r in named if r not in table.position and ledger.is_quarantined(r)]
        table.rows([r for r in named if r not in erased])
        people = _people(table)
        if subject and not people.records_of(subject) and not ledger.audit_subject(subject)["known"]:
            raise NotFoundError(
                f"Data set {table.name!r} knows no subject {subject!r}.", "Check the subject column of the data."
            )
        incoming = Incoming(
            request_id or str(uuid.uuid4()),
            subjects=(subject,) if subject else (),
            record_ids=tuple(named),
            regulation=regulation,
        )
        (new,) = _resolved([incoming], people, ledger, project)
        (added,) = ledger.add_requests([new])
    return added, len(new.record_ids)


def read_files(
    project: Project, files: Sequence[Path], format: str | None, identities: Mapping[str, str]
) -> dict[str, list[Incoming] | ExpungeError]:
    """The requests of each file, or why it is refused; touches neither data nor ledger.

    `identities` maps OpenDSR identity types, beside those of the project's settings.
    """
    types = {**controller(project).identity_types, **identities}
    found: dict[str, list[Incoming] | ExpungeError] = {}
    for file in files:
        try:
            content = read_file(file)
            found[str(file)] = read_documents(str(file), content, now=clock.now(), format=format, identity_types=types)
        except ExpungeError as error:
            found[str(file)] = error
    return found


def import_requests(
    data: DataSettings, project: Project, read: Mapping[str, list[Incoming] | ExpungeError]
) -> list[Imported]:
    """Take in what `read_files` found: each file in one transaction, all of its requests or none.

    The data are loaded once. Whoever and whatever they do not know is answered so, on record.
    """
    people = _people(load_records(data.name, data.options))
    done = []
    with open_ledger(project) as ledger:
        for file, found in read.items():
            if isinstance(found, ExpungeError):
                done.append(Imported(file, error=found))
                continue
            try:
                done.append(Imported(file, tuple(ledger.add_requests(_resolved(found, people, ledger, project)))))
            except UsageError as error:
                hint = f"{error.hint} Nothing of the file was taken in.".strip()
                done.append(Imported(file, error=UsageError(f"{file}: {error.message}", hint)))
    return done


def confirm_as(data: DataSettings, project: Project, request_id: str, subject: str) -> Request:
    """Say which of several people an ambiguous request means; it still waits for the confirmation itself.

    Of the records that the request names only those of that person stay in it; if it names none, all of theirs are
    meant. Raises as `Ledger.identify`.
    """
    people = _people(load_records(data.name, data.options))
    with open_ledger(project) as ledger:
        asked = {record.record_pseudonym for record in ledger.request_records(request_id)}
        owned = people.records_of(subject)
        mine = [one for one in owned if not asked or not asked.isdisjoint(ledger.pseudonymizer.records(one))]
        return ledger.identify(request_id, subject, mine)


def _people(table: RecordTable) -> People:
    return People(table.record_ids, table.subject_ids)


def _resolved(found: Sequence[Incoming], people: People, ledger: Ledger, project: Project) -> list[NewRequest]:
    now, regulation = clock.now(), controller(project).regulation
    requests = [resolve(one, people, now, regulation) for one in found]
    named = {record for request in requests for record in request.record_ids}
    known = frozenset(ledger.pseudonymizer.record(one) for one in named if one in people.owner)
    return [replace(request, known_record_pseudonyms=known) for request in requests]
