"""A run in a process of its own: `python -m expunge.reproduction.implicit_noise.process REQUEST.json RESULT.npz`.

For what a process fixes when it starts: which instructions its kernels use, and its memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import expunge
from expunge.errors import ExpungeError
from expunge.functions import project_root, set_project_root
from expunge.reproduction.config import WorldConfig
from expunge.reproduction.implicit_noise.arithmetic import arithmetics, threads
from expunge.reproduction.implicit_noise.runs import Steps, measure_ways, plain_steps
from expunge.reproduction.work import Part
from expunge.reproduction.world import World, open_world
from expunge.training import Trajectory


@dataclass(frozen=True)
class Asked:
    """Which ways to measure on which originals of a data set; `convolutions`: its model has some."""

    world: World
    trajectories: tuple[Trajectory, ...]
    wanted: tuple[str, ...]
    convolutions: bool


def measure_elsewhere(asked: Sequence[Asked], environment: Mapping[str, str], folder: Path) -> Part:
    """`measure_ways` of each original, computed by one new process with this environment.

    Compared with the plain way of the calling process. The arrays are stacked [originals, ...], and named "0 same" for
    the first data set's `same`, and so on: `of_place` picks them.

    Raises:
        ExpungeError: the process failed; its last line says why.
    """
    request, result = folder / "request.json", folder / "result.npz"
    written = [_written(each, folder / f"plain-{k}.npz") for k, each in enumerate(asked)]
    request.write_text(json.dumps({"root": str(project_root()), "asked": written}))
    home = str(Path(expunge.__file__).parents[1])
    paths = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH", ""))))
    # -P: packages of these names in the folder that the command was given in are not meant.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "expunge.reproduction.implicit_noise.process", str(request), str(result)],
        env={**os.environ, **environment, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ExpungeError(f"A run in a process of its own failed: {lines[-1]}.")
    with np.load(result, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def of_place(part: Part, place: int) -> Part:
    """The arrays of one data set, by its place among those asked for."""
    start = f"{place} "
    return {key.removeprefix(start): value for key, value in part.items() if key.startswith(start)}


def _written(asked: Asked, plain: Path) -> dict[str, Any]:
    """The request in JSON; what the plain way does here goes into a file beside it."""
    here = [plain_steps(asked.world, own) for own in asked.trajectories]
    np.savez(plain, weights=np.stack([own.weights for own in here]), sums=np.stack([own.sums for own in here]))
    return {
        "world": [asked.world.name, asked.world.config.model_dump(mode="json"), asked.world.seed],
        "trajectories": [[own.manifest(), str(own.directory)] for own in asked.trajectories],
        "wanted": list(asked.wanted), "convolutions": asked.convolutions, "plain": str(plain),
    }  # fmt: skip


def _answer(request: Mapping[str, Any]) -> Part:
    """What the process computes of one data set."""
    name, config, seed = request["world"]
    world = open_world(name, WorldConfig.model_validate(config), seed)
    ways = arithmetics(request["convolutions"], seed)
    with np.load(request["plain"], allow_pickle=False) as stored:
        plain = [Steps(weights, sums) for weights, sums in zip(stored["weights"], stored["sums"], strict=True)]
    parts = []
    for (manifest, directory), steps in zip(request["trajectories"], plain, strict=True):
        trajectory = Trajectory.from_manifest(manifest, Path(directory))
        with threads(1):
            parts.append(measure_ways(world, trajectory, ways, request["wanted"], steps))
    return {key: np.stack([part[key] for part in parts]) for key in parts[0]}


def _main(request: Path, result: Path) -> None:
    told = json.loads(request.read_text())
    set_project_root(Path(told["root"]))
    answers = [_answer(each) for each in told["asked"]]
    named = {f"{k} {key}": value for k, answer in enumerate(answers) for key, value in answer.items()}
    np.savez(result, **named)  # type: ignore[arg-type]


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
