"""How is the week played? Every scene is a process of the real `expunge` under a simulated clock.

What is done is written down scene by scene: a week that is interrupted goes on where it was.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from adapters import clock
from adapters.ledger import open_ledger
from adapters.project import CODE_ROOT, Project
from expunge.compliance.whole_file import write_whole
from expunge.errors import ExpungeError
from pipelines.week.story import Scene, Story

Say = Callable[[str], None]


@dataclass
class Played:
    """What the week's processes did. seconds: wall time of each scene; kills: scenes whose process was killed."""

    seconds: list[float] = field(default_factory=list)
    kills: int = 0
    output: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "kills": self.kills, "output": self.output}


def play(story: Story, project: Project, say: Say) -> Played:
    """Play what was not played yet; what was is told again. Raises ExpungeError naming the scene that failed."""
    journal = project.state / "week-played.json"
    done = Played(**json.loads(journal.read_text())) if journal.is_file() else Played()
    for number, scene in enumerate(story.scenes):
        say(
            f"{scene.at:%a %d %b %H:%M}  {scene.words}"
            + (f": expunge {shlex.join(scene.command)}" if scene.command else "")
        )
        if number == len(done.seconds):
            began = time.monotonic()
            done.output.append("" if scene.missed else _act(scene, project, done))
            done.seconds.append(round(time.monotonic() - began, 2))
            write_whole(journal, json.dumps(done.to_dict()).encode())
        for line in _shown(scene, done.output[number].replace(f"{project.root}/", "")):
            say(f"    {line}")
    return done


def _shown(scene: Scene, said: str) -> list[str]:
    """What a reader of the whole week wants to see of it: a run's table and progress are too much."""
    lines = said.splitlines()
    if scene.command[:1] != ("run-due",):
        return lines
    hidden = (": certificate ", "the gate refused the first attempt", "Deletion requests")
    return [
        line
        for line in lines
        if line.strip() and line[0] not in "┏┃┡│├└" and not line.endswith("...") and not any(h in line for h in hidden)
    ]


def expunge(project: Project, command: tuple[str, ...], at: str) -> str:
    """Run a verb at a simulated moment; returns what it said. Raises ExpungeError if it fails."""
    process = _start(project, command, at)
    said, _ = process.communicate()
    if process.returncode != 0:
        raise ExpungeError(
            f"The week stopped at {at}: expunge {shlex.join(command)} ended with {process.returncode}:"
            f" {said.strip()[-600:]}",
            "Mend what it says and call `expunge demo --week` again: it goes on from here.",
        )
    return said


def _act(scene: Scene, project: Project, done: Played) -> str:
    if scene.file is not None:
        name, text = scene.file
        (project.root / name).write_text(text)
    if scene.kill_at:
        return _kill(_start(project, scene.command, scene.at.isoformat()), scene.kill_at, project, done)
    return expunge(project, scene.command, scene.at.isoformat())


def _start(project: Project, command: tuple[str, ...], at: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cli.main", "--project", str(project.root), *command],
        cwd=project.root,
        env={**os.environ, clock.VARIABLE: at, "PYTHONPATH": str(CODE_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def _kill(process: subprocess.Popen[str], state: str, project: Project, done: Played) -> str:
    """SIGKILL as soon as a request is in that state."""
    while process.poll() is None:
        with open_ledger(project) as ledger:
            if ledger.list_requests(state):
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                done.kills += 1
                return f"killed (SIGKILL) while requests were {state}"
        time.sleep(0.05)
    said, _ = process.communicate()
    raise ExpungeError(f"The run ended with {process.returncode} before it could be killed: {said.strip()[-600:]}")
