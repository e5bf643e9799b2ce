"""Files in the formats of data sets that do not ship, made by the test that needs them."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from expunge.data.census import AGE, CODED, MEMBER, TARGET


def write_idx(folder: Path, images: np.ndarray, labels: np.ndarray, zipped: bool, part: str = "train") -> None:
    """One part of Fashion-MNIST: images uint8 [n, 28, 28], labels uint8 [n]."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
        raw = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(raw))
        else:
            (folder / name).write_bytes(raw)


def clothes(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels that a model can learn: each class has a pattern of its own, under noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    patterns = rng.integers(0, 200, (10, 28, 28))
    images = np.clip(patterns[labels] + rng.normal(0, 60, (count, 28, 28)), 0, 255)
    return images.astype(np.uint8), labels.astype(np.uint8)


def people(count: int, seed: int = 0) -> pd.DataFrame:
    """The columns of nannyml's file; who works depends on age and codes. The code "9" is declared, nobody has it."""
    rng = np.random.default_rng(seed)
    drawn = {name: rng.choice(["1", "2", "3"], count) for name in CODED}
    codes = {name: pd.Categorical(own, categories=["1", "2", "3", "9"]) for name, own in drawn.items()}
    age = rng.integers(18, 90, count).astype(float)
    told = {"year": 2015, "prediction": rng.integers(0, 2, count), "predicted_probability": rng.random(count)}
    leaning = (60 - age) / 20 + sum((own == "1").astype(float) for own in drawn.values()) - 5 + rng.logistic(size=count)
    first = {"id": np.arange(count) * 7, AGE: age}
    return pd.DataFrame({**first, **codes, TARGET: (leaning > 0).astype(int), **told})


def write_wheel(people: pd.DataFrame, wheel: Path, member: str = MEMBER) -> None:
    """The part of nannyml's wheel that the census is read from."""
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, people.to_parquet(None))
