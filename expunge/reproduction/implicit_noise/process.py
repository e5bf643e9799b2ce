"""A run in a process of its own: `python -m expunge.reproduction.implicit_noise.process REQUEST.json RESULT.npz`.

For what a process fixes when it starts: which instructions its kernels use, and its memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import expunge
from expunge.errors import ExpungeError
from expunge.reproduction.config import WorldConfig
from expunge.reproduction.implicit_noise.arithmetic import arithmetics, threads
from expunge.reproduction.implicit_noise.runs import Steps, measure_ways, plain_steps
from expunge.reproduction.work import Part
from expunge.reproduction.world import World, open_world
from expunge.training import Trajectory


def measure_elsewhere(
    world: World,
    trajectories: Sequence[Trajectory],
    wanted: Sequence[str],
    convolutions: bool,
    environment: Mapping[str, str],
    folder: Path,
) -> Part:
    """`measure_ways` of each original, stacked [originals, ...], computed by a new process with this environment.

    Compared with the plain way of the calling process.

    Raises:
        ExpungeError: the process failed; its last line says why.
    """
    request, plain, result = folder / "request.json", folder / "plain.npz", folder / "result.npz"
    here = [plain_steps(world, own) for own in trajectories]
    np.savez(plain, weights=np.stack([own.weights for own in here]), sums=np.stack([own.sums for own in here]))
    request.write_text(
        json.dumps(
            {
                "world": [world.name, world.config.model_dump(mode="json"), world.seed],
                "trajectories": [[own.manifest(), str(own.directory)] for own in trajectories],
                "wanted": list(wanted), "convolutions": convolutions, "plain": str(plain),
            }
        )
    )  # fmt: skip
    home = str(Path(expunge.__file__).parents[1])
    paths = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        [sys.executable, "-m", "expunge.reproduction.implicit_noise.process", str(request), str(result)],
        env={**os.environ, **environment, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        raise ExpungeError(f"A run in a process of its own failed: {lines[-1]}.")
    with np.load(result, allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def answer(request: Mapping[str, Any]) -> Part:
    """What the process computes."""
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


if __name__ == "__main__":
    np.savez(sys.argv[2], **answer(json.loads(Path(sys.argv[1]).read_text())))  # type: ignore[arg-type]
