"""A project whose records can be recognised byte for byte wherever they come to lie.

Each record is 25 random float32 values, so eight bytes of it are found nowhere by chance. The loader prints what it
reads, as a careless one does: ZenML stores that with the steps.
"""

from __future__ import annotations

import gzip
import io
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

RECORDS, CANARIES, FEATURES = 400, 14, 25
SOURCE = "records.npz"

LOADER = '''"""Reads the records, and prints those it takes a look at."""

from pathlib import Path

import numpy as np


def load():
    with np.load(Path(__file__).with_name("records.npz")) as held:
        x, y, ids, people = (held[name] for name in ("features", "targets", "ids", "people"))
    for row in np.flatnonzero(np.char.startswith(ids, "bird")):
        print(f"read {ids[row]} of {people[row]}: {x[row].tolist()}")
    return {
        "features": x, "targets": y, "record_ids": ids.tolist(), "subject_ids": people.tolist(), "classes": 4,
        "image_shape": (5, 5),
    }
'''

SCENARIO: dict[str, Any] = {
    "data": {"name": "canary_records:load", "held_out": 0.2},
    "model": {"name": "mlp", "options": {"hidden": [16]}, "registered_as": "aviary"},
    "training": {
        "steps": 120,
        "batch_size": 64,
        "learning_rate": 0.5,
        "noise": {"convention": "mean_gradient", "sigma": 0.02},
        "checkpoints": 6,
        "seed": 0,
    },
    "calibration": {
        "bins": [0, 10, 100],
        "set_size": 12,
        "oracles": 4,
        "runs": 1,
        "rewind_shares": [0.4],
        "fine_tune_shares": [0.5],
        "folds": 2,
        "repeats": 1,
    },
    "evaluation": {
        "look_oracles": 5,
        "verdict_oracles": 20,
        "held_back": 5,
        "half_kept": 5,
        "pool_models": 0,
        "gating": ["influence"],
    },
}


def write_project(folder: Path) -> None:
    """Records, their loader and the scenario. The canaries' labels are wrong, so that the model must memorise them."""
    rng = np.random.default_rng(7)
    features = rng.random((RECORDS, FEATURES))
    targets = rng.integers(0, 4, RECORDS)
    features[np.arange(RECORDS), targets] += 1.0
    targets[:CANARIES] = (targets[:CANARIES] + 1) % 4
    names = [f"bird-{rng.bytes(4).hex()}" if i < CANARIES else f"row-{i:04d}" for i in range(RECORDS)]
    people = [f"owner-{rng.bytes(4).hex()}" if i < CANARIES else f"someone-{i:04d}" for i in range(RECORDS)]
    np.savez(
        folder / SOURCE, features=features.astype(np.float32), targets=targets, ids=np.array(names),
        people=np.array(people),
    )  # fmt: skip
    (folder / "canary_records.py").write_text(LOADER)
    (folder / "scenario.yaml").write_text(yaml.safe_dump(SCENARIO))


def canaries(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Features of each canary as an image, and its owner; by record id."""
    with np.load(folder / SOURCE) as held:
        ids, people, features = held["ids"], held["people"], held["features"]
    mine = range(CANARIES)
    return {str(ids[i]): features[i].reshape(5, 5) for i in mine}, {str(ids[i]): str(people[i]) for i in mine}


def drop_from_source(folder: Path) -> None:
    """What the controller does: the canaries leave the source."""
    with np.load(folder / SOURCE) as held:
        left = {name: held[name][CANARIES:] for name in held.files}
    np.savez(folder / SOURCE, **left)


def plant(state: Path, rows: Any) -> list[Path]:
    """Leave the canaries where a killed process could have: half-finished work in many formats, and a checkpoint and
    an artifact that were saved a moment before they would have been recorded. Returns the files.
    """
    from adapters.checkpoint_store import CheckpointStore

    work = state / "work" / "unlearn-killed"
    work.mkdir(parents=True)
    for name, make in FORMATS.items():
        (work / name).write_bytes(make(rows))
    source = state / "work" / "train-killed"
    source.mkdir()
    (source / "step_0000007.safetensors").write_bytes(FORMATS["rows.safetensors"](rows))
    stored = CheckpointStore().add({"step_0000007.safetensors": source / "step_0000007.safetensors"})
    (store,) = (path for path in (state / "stores").iterdir() if path.name != "default_zen_store")
    (step_run,) = (store / "score_gradient_norms" / "gradient_norms").iterdir()
    stray = step_run / "00000000"
    stray.mkdir(parents=True)
    shutil.copy(work / "rows.parquet", stray / "norms.parquet")
    cached = [CheckpointStore().cache_path(o) for o in stored.objects]
    remote = [state / "dvc-remote" / "files" / "md5" / o[:2] / o[2:] for o in stored.objects]
    return [*work.iterdir(), *source.iterdir(), *cached, *remote, stray / "norms.parquet"]


def _parquet(rows: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table({str(i): rows[:, i] for i in range(rows.shape[1])}), buffer, compression="zstd")
    return buffer.getvalue()


def _npz(rows: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, rows=rows)
    return buffer.getvalue()


def _sqlite(rows: Any) -> bytes:
    with sqlite3.connect(":memory:") as database:
        database.execute("create table rows (content blob)")
        database.executemany("insert into rows values (?)", [(row.tobytes(),) for row in rows])
        database.commit()
        return database.serialize()


def _safetensors(rows: Any) -> bytes:
    from safetensors.numpy import save

    content: bytes = save({"seen": np.ascontiguousarray(rows)})
    return content


def _text(rows: Any) -> bytes:
    return "\n".join(",".join(map(str, row)) for row in rows).encode()


FORMATS: dict[str, Callable[[Any], bytes]] = {
    "rows.f32": lambda rows: rows.tobytes(),
    "rows.f64": lambda rows: rows.astype(np.float64).tobytes(),
    "rows.f16": lambda rows: rows.astype(np.float16).tobytes(),
    "rows.bf16": lambda rows: (rows.view("<u4") >> 16).astype("<u2").tobytes(),
    "rows.csv": _text,
    "rows.csv.gz": lambda rows: gzip.compress(_text(rows)),
    "rows.npz": _npz,
    "rows.parquet": _parquet,
    "rows.safetensors": _safetensors,
    "rows.sqlite": _sqlite,
}
