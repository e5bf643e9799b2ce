"""Where ZenML can schedule, does it get a Schedule that covers every turn? On a real ZenML with a small orchestrator.

No orchestrator that schedules for real runs without Kubernetes or a cloud: that one keeps what it was given.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("crontab")]
ROOT = Path(__file__).resolve().parents[2]
STACK = """
import sys
from pathlib import Path
from adapters import bootstrap
from adapters.project import Project
bootstrap.start(Project(Path(sys.argv[1])))
from zenml.client import Client
from zenml.enums import StackComponentType
client = Client()
kind = StackComponentType.ORCHESTRATOR
client.create_flavor("tests.scheduling.schedulable_orchestrator.CalendarFlavor", kind)
client.create_stack_component("calendar", "calendar", kind, {})
client.create_stack("calendar", {kind: "calendar", StackComponentType.ARTIFACT_STORE: "default"})
client.activate_stack("calendar")
"""


def test_created_once_and_removed(new_house: Callable[..., Any], crontab: Callable[..., str]) -> None:
    house = new_house("zenml-schedule")
    subprocess.run([sys.executable, "-c", STACK, str(house.root)], cwd=ROOT, env=house.environment, check=True)
    before = crontab()
    create = ("schedule", "create", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin")
    assert "a ZenML Schedule" in house.run(*create).out
    query = "select name, cron_expression from schedule where is_archived = 0"
    ((name, expression),) = house.zenml(query)
    assert name.startswith("expunge-nightly-") and expression == "30 0,1 * * *", "both hours of UTC that it falls on"
    assert "nothing changed" in house.run(*create).out and len(house.zenml(query)) == 1
    # the same times, but nobody said --approve any more: ZenML must not call with what was declared before
    for more in (("--approve",), (), ("--within", "7d")):
        assert "is set up" in house.run(*create, *more).out
        ((now, same),) = house.zenml(query)
        assert same == expression and now != name
        name = now
        assert "nothing changed" in house.run(*create, *more).out and house.zenml(query) == [(name, same)]
    assert crontab() == before
    house.run(*create[:3], "0 3 * * *", "--timezone", "UTC")
    assert [e for _, e in house.zenml(query)] == ["0 3 * * *"]
    house.run("schedule", "remove", "nightly")
    assert house.zenml(query) == []
