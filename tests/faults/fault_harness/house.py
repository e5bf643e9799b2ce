"""The smallest project that the whole loop runs on, made once and copied back before every fault.

Every copy lies at the same path, for ZenML's database holds absolute ones.
"""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

RECORDS, PER_SUBJECT, FEATURES = 240, 3, 4
MODEL = "small"

SCENARIO: dict[str, Any] = {
    "model": {"name": "mlp", "options": {"hidden": [8]}, "registered_as": MODEL},
    "training": {
        "steps": 60,
        "batch_size": 32,
        "learning_rate": 0.5,
        "noise": {"convention": "mean_gradient", "sigma": 0.02},
        "checkpoints": 6,
        "seed": 0,
    },
    "calibration": {
        "bins": [0, 20, 100],
        "set_size": 15,
        "oracles": 4,
        "runs": 1,
        "rewind_shares": [0.5],
        "strengths": [0.5],
        "fine_tune_shares": [0.5],
        "folds": 2,
        "repeats": 1,
    },
    "evaluation": {"look_oracles": 5, "verdict_oracles": 19, "held_back": 2, "half_kept": 4, "pool_models": 0},
}

_NO_ORACLES = ("evaluation.evidence_level=oracle-free", "evaluation.checks=[matched,utility]")
MODES: dict[str, tuple[str, ...]] = {
    # exact by construction: the gate passes at once
    "retrain": ("planning.method=retrain", "evaluation.gating=[matched]", *_NO_ORACLES),
    # looks while it unlearns, judged by oracles; the gate passes on utility
    "rewind": ("planning.method=rewind", "evaluation.gating=[utility]", "evaluation.checks=[influence,utility]"),
    # too few records for this check: the gate refuses, and a second run retrains
    "fallback": ("planning.method=rewind", "evaluation.gating=[matched]", *_NO_ORACLES),
}
"""Settings of `run-due` by what the run is to meet."""


@dataclass(frozen=True)
class House:
    """A project at a fixed path, and the copy that it is restored from."""

    place: Path

    @property
    def root(self) -> Path:
        return self.place / "house"

    @property
    def template(self) -> Path:
        return self.place / "template"

    @property
    def state(self) -> Path:
        return self.root / ".expunge"

    @property
    def scenario(self) -> Path:
        return self.root / "scenario.yaml"

    def furnish(self) -> None:
        """Write the records and the settings; nothing is trained yet."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.root.mkdir(parents=True)
        (self.root / "records.csv").write_text(_records())
        columns = {"id": "id", "subject": "subject", "target": "y", "path": str(self.root / "records.csv")}
        scale = {f"f{i}": [0.0, 1.0] for i in range(FEATURES)}
        data = {"name": "tabular", "held_out": 0.25, "options": {**columns, "scale": scale}}
        self.scenario.write_text(yaml.safe_dump({"data": data, **SCENARIO}))

    def save(self, to: Path | None = None) -> None:
        """Keep the project as it is now, by default as the one that is restored."""
        shutil.rmtree(to or self.template, ignore_errors=True)
        shutil.copytree(self.root, to or self.template, symlinks=True)

    def restore(self, kept: Path | None = None) -> None:
        """Put the kept project back. Files are copied, never linked: databases are written in place."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(kept or self.template, self.root, symlinks=True)

    def features(self) -> dict[str, bytes]:
        """The bytes of each record's features as any table of the project stores them."""
        import numpy as np

        rows = (line.split(",") for line in _records().splitlines()[1:])
        return {row[0]: np.array(row[2 : 2 + FEATURES], dtype=np.float32).tobytes() for row in rows}


def _records() -> str:
    """Two classes that overlap. No two records share their features."""
    rng = random.Random(0)
    lines = ["id,subject," + ",".join(f"f{i}" for i in range(FEATURES)) + ",y"]
    for i in range(RECORDS):
        y = i % 2
        values = [rng.gauss(0.8 if y else -0.8, 1.2) for _ in range(FEATURES)]
        label = 1 - y if rng.random() < 0.1 else y
        lines.append(f"rec-{i:04d},sub-{i // PER_SUBJECT:03d}," + ",".join(f"{v:.5f}" for v in values) + f",{label}")
    return "\n".join(lines) + "\n"
