"""A scheduled turn inside ZenML: the same command that cron and systemd call, in a process of its own."""

import logging
import subprocess
from typing import Any

from zenml import step

from adapters.project import current_project
from adapters.schedules import Schedule, brought, command
from expunge.errors import ExpungeError


@step(enable_cache=False)
def answer_due(declaration: dict[str, Any]) -> None:
    project = current_project()
    schedule = brought(project, Schedule(**declaration))
    if schedule is None:
        logging.getLogger(__name__).warning("The schedule was removed from this project: nothing is run.")
        return
    code = subprocess.run(command(project, schedule), check=False).returncode
    if code not in (0, 4, 6):  # the gate refused, a person must decide: on the ledger, and no fault of the run
        raise ExpungeError(f"The scheduled run ended with exit code {code}.", "Its own lines say why.")
