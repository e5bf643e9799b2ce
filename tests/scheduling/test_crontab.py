"""Does cron call the right thing, and does everything else in a crontab stay as it is?"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OTHERS = "# mine\nMAILTO=nobody\n5 4 * * sun /bin/true 100\\% # expunge schedule of somebody else\n"

pytestmark = pytest.mark.xdist_group("crontab")


@pytest.fixture
def odd(new_house: Callable[..., Any], tmp_path: Path) -> Any:
    """A project whose path has what a shell and a crontab take for their own."""
    house = new_house("odd")
    root = tmp_path / "it's 100% $HOME; #1"
    house.root.rename(root)
    return type(house)(root, house.elsewhere)


def test_made_twice_and_taken_away(odd: Any, new_house: Callable[..., Any], crontab: Callable[..., str]) -> None:
    crontab(OTHERS)
    create = ("schedule", "create", "--cron", "30 2 * * mon-fri", "--timezone", "Europe/Berlin", "--as", "cron")
    made = odd.run(*create, "--within", "7d")
    assert "is set up: 30 2 * * mon-fri Europe/Berlin" in made.out and len(re.findall(r"CES?T", made.out)) == 3
    with_ours = crontab()
    assert with_ours.startswith(OTHERS) and with_ours.count("run-due --schedule nightly") == 1
    assert "nothing changed" in odd.run(*create, "--within", "7d").out and crontab() == with_ours

    other = new_house("other")  # another project's schedule of the same name is another one
    other.run(*create)
    assert crontab().startswith(with_ours) and crontab().count("run-due --schedule nightly") == 2

    # changed: one entry still, the declaration follows
    odd.run(*create[:3], "15 3 * * *", *create[4:], "--approve")
    assert crontab().count("run-due --schedule nightly") == 2 and "\n15 * * * * " in crontab()
    (listed,) = odd.run("schedule", "list", "--json").json()
    assert (listed["cron"], listed["approve"], listed["within_days"]) == ("15 3 * * *", True, None)
    assert listed["in_place"] and len(listed["next"]) == 3

    odd.run("schedule", "remove", "nightly")
    left = crontab()
    assert left.startswith(OTHERS) and left.count("run-due") == 1 and str(odd.root) not in left
    other.run("schedule", "remove", "nightly")
    assert crontab() == OTHERS
    assert "no schedule 'nightly'" in odd.run("schedule", "remove", "nightly", code=3).err

    # an entry somebody has cut in half is nobody's to remove
    odd.run(*create)
    half = crontab().rsplit("# end of", 1)[0]
    crontab(half)
    assert "not its end" in odd.run("schedule", "remove", "nightly", code=2).err and crontab() == half


def test_the_line_runs_as_cron_would_run_it(odd: Any, declare: Callable[..., None]) -> None:
    declare(odd, cron="0 2 * * *", since="2999-01-01T00:00:00+00:00")  # not its time: decided without ZenML
    printed = odd.run("schedule", "create", "--cron", "0 2 * * *", "--as", "cron", "--print").out
    start, line, end = printed.splitlines()
    assert start.startswith("# expunge schedule nightly of ") and end.startswith("# end of")
    minute, *rest, command = line.split(" ", 5)
    assert (minute, *rest) == ("0", "*", "*", "*", "*")
    assert not re.search(r"(?<!\\)%", command), "a bare % ends the command"
    (odd.state / "logs").mkdir()
    bare = {"HOME": "/", "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
    run = ["/bin/sh", "-c", command.replace(r"\%", "%")]
    assert subprocess.run(run, env=bare, cwd="/", check=False).returncode == 0
    log = odd.state / "logs" / "schedule.log"
    assert log.read_text() == "" and not (odd.state / "zenml").exists()
    (odd.state / "schedules.yaml").unlink()
    assert subprocess.run(run, env=bare, cwd="/", check=False).returncode == 3
    assert "no schedule 'nightly'" in log.read_text()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (("--cron", "0 25 * * *"), "out of range"),
        (("--cron", "0 2 * * *", "--timezone", "Mars/Base"), "Mars/Base"),
        (("--cron", "0 2 * * *", "--within", "soon"), "no time span"),
        (("Nightly!", "--cron", "0 2 * * *", "--as", "cron"), "no name"),
    ],
)
def test_what_is_no_schedule_changes_nothing(
    odd: Any, crontab: Callable[..., str], wrong: tuple[str, ...], says: str
) -> None:
    before = crontab()
    refused = odd.run("schedule", "create", *wrong, code=2)
    assert says in refused.err and refused.err.count("\n") <= 2
    assert crontab() == before and odd.run("schedule", "list", "--json").json() == []
