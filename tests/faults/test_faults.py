"""Is nothing lost, doubled, purged too early or broken, wherever the real loop is killed?

The quick part goes through the states that matter in one project; `make test-all` runs the full harness.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CLONE = Path(__file__).resolve().parents[2]
HARNESS = [sys.executable, str(CLONE / "benchmarks" / "faults.py")]

pytestmark = pytest.mark.xdist_group("faults")


def _faults(out: Path, *arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """The harness in a process of its own, which may fork: nothing runs beside it."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EXPUNGE_", "ZENML_", "DVC_", "PYTEST_"))}
    return subprocess.run(
        [*HARNESS, "--out", str(out), "--place", str(out / "place"), *arguments],
        env={**kept, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def _rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_killed_nine_times_on_the_way(tmp_path: Path) -> None:
    done = _faults(tmp_path, "--quick", seconds=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = _rows(tmp_path / "faults-0.jsonl")
    assert row["violations"] == [] and all(row["killed"]) and len(row["kills"]) == 9
    assert "premature purge" in done.stdout


@pytest.mark.slow
def test_five_hundred_faults_every_scenario_and_every_control(tmp_path: Path) -> None:
    done = _faults(tmp_path, "--scenarios", "--controls", seconds=4 * 3600)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [row for file in tmp_path.glob("faults-*.jsonl") for row in _rows(file)]
    assert len(rows) == 500 and sum(row["killed"][0] for row in rows) > 450
    assert {row["seed"] for row in rows} == set(range(500))
