"""Where is the ledger of this project?"""

from __future__ import annotations

import os

import yaml
from pydantic import ValidationError

from adapters import clock
from adapters.ledger_age import write_head
from adapters.project import Project, current_project
from expunge.compliance.config import ComplianceConfig
from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import Pseudonymizer, load_or_create_key
from expunge.compliance.whole_file import write_whole
from expunge.errors import UsageError

URL_VARIABLE = "EXPUNGE_LEDGER_URL"


def pseudonymizer(project: Project | None = None) -> Pseudonymizer:
    """The project's key for naming records and people."""
    project = project or current_project()
    project.pseudonym_key.parent.mkdir(parents=True, exist_ok=True)
    return load_or_create_key(project.pseudonym_key)


def open_ledger(project: Project | None = None) -> Ledger:
    """The project's ledger: SQLite in its state folder, or the database that EXPUNGE_LEDGER_URL names.

    Its calendar is that of the settings that later commands go by.
    """
    project = project or current_project()
    project.state.mkdir(parents=True, exist_ok=True)
    calendar = controller(project)
    return Ledger.open(
        os.environ.get(URL_VARIABLE) or project.ledger,
        pseudonymizer(project),
        timezone=calendar.timezone,
        holidays=frozenset(calendar.holidays),
        clock=clock.now,
        simulated=clock.is_simulated(),
    )


def controller(project: Project | None = None) -> ComplianceConfig:
    """The `compliance` section of the project's settings. Reads that section alone: commands that only look at the
    ledger must not wait for torch. Raises UsageError.
    """
    project = project or current_project()
    for path in (project.active_settings, project.own_settings):
        if path.is_file():
            try:
                section = (yaml.safe_load(path.read_text()) or {}).get("compliance") or {}
                return ComplianceConfig.model_validate(section)
            except (yaml.YAMLError, AttributeError, ValidationError) as error:
                raise UsageError(f"{path}: the section compliance cannot be read: {error}.", "Mend it.") from error
    return ComplianceConfig()


def write_epoch(project: Project | None = None) -> str:
    """Write the erasure epoch where dvc.yaml's stages look for it, and the end of the chain beside it; returns it."""
    project = project or current_project()
    with open_ledger(project) as ledger:
        epoch = ledger.epoch()
        write_head(ledger, project)
    if not project.epoch_file.is_file() or project.epoch_file.read_text().strip() != epoch:
        write_whole(project.epoch_file, f"{epoch}\n".encode())
    return epoch
