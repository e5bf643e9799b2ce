"""How does a request from the command line enter the ledger? Resolved against the records, all or nothing."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from adapters import clock
from adapters.ledger import open_ledger
from adapters.project import Project
from expunge.compliance.ledger import Added
from expunge.data import load_records
from expunge.errors import NotFoundError, UsageError
from expunge.settings import ProjectSettings


def add_request(
    settings: ProjectSettings,
    project: Project,
    record_ids: Sequence[str],
    subject: str | None,
    request_id: str | None,
    regulation: str,
) -> tuple[Added, int]:
    """Put a request on the ledger; returns it and the number of its records.

    Raises NotFoundError for a record or person that the data do not know and that was not erased before, UsageError
    for a request that names nothing or changes one that is there. Nothing is recorded then.
    """
    if not record_ids and not subject:
        raise UsageError("The request names neither records nor a person.", "Give --record ID or --subject PERSON.")
    table = load_records(settings.data.name, settings.data.options)
    with open_ledger(project) as ledger:
        wanted = list(dict.fromkeys(record_ids))
        erased = [r for r in wanted if r not in table.position and ledger.is_quarantined(r)]
        table.rows([r for r in wanted if r not in erased])
        if subject is not None:
            owned = table.of_subject(subject)
            if not owned and not ledger.audit_subject(subject)["known"]:
                raise NotFoundError(
                    f"Data set {table.name!r} knows no subject {subject!r}.", "Check the subject column of the data."
                )
            wanted += [r for r in owned if r not in wanted]
        kind = "person" if subject is not None else "records"
        added = ledger.add_request(
            request_id or str(uuid.uuid4()),
            subject,
            wanted,
            regulation,
            clock.now(),
            details={"kind": kind},
        )
    return added, len(wanted)
