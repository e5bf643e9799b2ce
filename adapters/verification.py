"""Does everything that this project's ledger vouches for still hold? Light: no ZenML, no DVC, no torch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from adapters import clock
from adapters.ledger import URL_VARIABLE, open_ledger
from adapters.ledger_age import require_current
from adapters.project import Project
from expunge.compliance.chain_check import check_all
from expunge.compliance.moments import to_text
from expunge.compliance.verify import Everything, verify_everything
from expunge.errors import IntegrityError

ANCHOR_VARIABLE = "EXPUNGE_LEDGER_ANCHOR"


@contextmanager
def ledger_file(project: Project) -> Iterator[Path]:
    """The project's ledger as a file that the stand-alone verifier reads: itself, or for as long as this lasts an
    export of its chain, where it is in PostgreSQL.
    """
    url = os.environ.get(URL_VARIABLE)
    if not url:
        yield project.ledger
        return
    if "://" not in url or url.startswith("sqlite"):
        yield Path(str(make_url(url).database) if "://" in url else url)
        return
    with tempfile.TemporaryDirectory() as folder, open_ledger(project) as ledger:
        path = Path(folder) / "chain.jsonl"
        ledger.export_chain(path)
        yield path


def verify_project(project: Project, public_key: Path | None = None, anchor: Path | None = None) -> Everything:
    """Check the ledger, the keys and every certificate; rows of a PostgreSQL ledger too, which no export holds.

    `anchor`: a file of heads that was kept elsewhere; default: that of EXPUNGE_LEDGER_ANCHOR, if it is set.
    """
    if anchor is None and os.environ.get(ANCHOR_VARIABLE):
        anchor = Path(os.environ[ANCHOR_VARIABLE])
    destroyed, fault = None, ""
    with ledger_file(project) as place:
        elsewhere = place != project.ledger and os.environ.get(URL_VARIABLE, "").startswith("postgresql")
        if elsewhere:
            try:
                check_rows(project)
                destroyed = _destroyed(project)
            except IntegrityError as error:
                fault = str(error)
        done = verify_everything(project.state, public_key=public_key, ledger=place, anchor=anchor, destroyed=destroyed)
    if fault and done.ledger.ok:
        done.ledger.failed("rows", fault)
    elif elsewhere and done.ledger.ok:
        done.ledger.passed("rows", "PostgreSQL: every row is as its last event left it")
    return done


def _destroyed(project: Project) -> dict[str, str]:
    """When each content was destroyed, by the tombstones of a ledger whose rows were checked."""
    with open_ledger(project) as ledger:
        gone = ledger.tombstones(status="destroyed")
    return {one.content_hash: str(to_text(one.destroyed_at)) for one in gone if one.content_hash}


def require_sound(project: Project) -> None:
    """Before anything is trained or destroyed: neither a row that was changed behind its events nor an older ledger may
    choose what. Raises IntegrityError.
    """
    check_rows(project)
    with open_ledger(project) as ledger:
        require_current(ledger, project)


def check_rows(project: Project) -> str:
    """Chain, rows and triggers of the ledger, in whatever database it is. Raises IntegrityError naming what changed."""
    with open_ledger(project) as ledger:
        ok, bad, _ = check_all(ledger, project.chain_note, clock.now())
        if not ok:
            raise IntegrityError(
                f"The ledger's chain is broken: event {bad} is missing or was changed.", "Restore it from a backup."
            )
        if changed := ledger.verify_rows():
            names = ", ".join(changed[:5]) + (", …" if len(changed) > 5 else "")
            raise IntegrityError(
                f"Ledger rows were changed behind their events: {names}.", "Restore the ledger from a backup."
            )
        if gone := ledger.missing_guards():
            raise IntegrityError(
                f"Triggers that keep the ledger's events append-only are gone: {', '.join(gone)}.",
                "Find out who removed them; restore the ledger from a backup.",
            )
        return f"chain of {ledger.head().seq} events is intact"
