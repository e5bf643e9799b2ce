"""Where is the ledger of this project?"""

from __future__ import annotations

import os

from adapters.project import Project, current_project
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import Pseudonymizer, load_or_create_key

URL_VARIABLE = "EXPUNGE_LEDGER_URL"


def pseudonymizer(project: Project | None = None) -> Pseudonymizer:
    """The project's key for naming records and people."""
    project = project or current_project()
    project.pseudonym_key.parent.mkdir(parents=True, exist_ok=True)
    return load_or_create_key(project.pseudonym_key)


def open_ledger(project: Project | None = None) -> Ledger:
    """The project's ledger: SQLite in its state folder, or the database that EXPUNGE_LEDGER_URL names."""
    project = project or current_project()
    project.state.mkdir(parents=True, exist_ok=True)
    return Ledger.open(os.environ.get(URL_VARIABLE) or project.ledger, pseudonymizer(project))


def write_epoch(project: Project | None = None) -> str:
    """Write the erasure epoch where dvc.yaml's stages look for it; returns it."""
    project = project or current_project()
    with open_ledger(project) as ledger:
        epoch = ledger.epoch()
    if not project.epoch_file.is_file() or project.epoch_file.read_text().strip() != epoch:
        project.epoch_file.write_text(epoch + "\n")
    return epoch
