"""A table of one's own: CSV or parquet with id, subject and target columns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from expunge.data.record_table import RecordTable, make_table
from expunge.errors import NotFoundError, UsageError, nearest


def load_tabular(
    path: str,
    id: str,
    target: str,
    subject: str | None = None,
    features: list[str] | None = None,
    scale: dict[str, list[float]] | None = None,
    limit: int | None = None,
) -> RecordTable:
    """Numbers are scaled, other columns one-hot encoded.

    A scale computed from the data would let an erased record live on in it. So a numeric column is scaled by the
    [centre, width] of `scale`, or else by mean and deviation rounded to powers of two: no single record moves them.

    Raises NotFoundError for a missing file, UsageError for one that cannot be read, unknown columns, missing ids or
    values, or a width of `scale` that is not positive.
    """
    file = Path(path)
    frame = _read(file, id)
    named = [c for c in (id, target, subject) if c is not None]
    for column in [*named, *(features or []), *(scale or {})]:
        if column not in frame.columns:
            raise UsageError(f"{path} has no column {column!r}.", nearest(column, list(map(str, frame.columns))))
    if not len(frame):
        raise UsageError(f"{path} has no records.", "Check the file.")
    if limit is not None:
        frame = frame.iloc[np.argsort(frame[id].astype(str).to_numpy(), kind="stable")[:limit]]
    columns = features or [str(c) for c in frame.columns if c not in named]
    codes, names = _encode_targets(frame[target], path)
    return make_table(
        features=np.column_stack([_encode(frame[c], (scale or {}).get(c), path) for c in columns]),
        targets=codes,
        record_ids=frame[id].tolist(),
        subject_ids=frame[subject].tolist() if subject else None,
        classes=len(names),
        name=f"tabular:{file.name}",
        source={
            "name": "tabular",
            "options": {
                "path": path,
                "id": id,
                "target": target,
                "subject": subject,
                "features": features,
                "scale": scale,
                "limit": limit,
            },
        },
        class_names=names,
    )


def _read(file: Path, id: str) -> Any:
    import pandas as pd

    if not file.is_file():
        raise NotFoundError(f"No data file {file}.", "Paths are relative to the project folder.")
    try:
        # Ids are text: "007" must not become 7.
        return pd.read_parquet(file) if file.suffix in (".parquet", ".pq") else pd.read_csv(file, dtype={id: str})
    except (ValueError, OSError) as error:  # pandas' and pyarrow's own errors are among these
        kind = "parquet" if file.suffix in (".parquet", ".pq") else "CSV"
        raise UsageError(f"{file} cannot be read as {kind}: {str(error).strip()}.", "Is it whole, and UTF-8?") from None


def _encode_targets(column: Any, path: str) -> tuple[np.ndarray, list[str]]:
    if column.isna().any():
        raise UsageError(f"{path}: {int(column.isna().sum())} record(s) have no target.", "Drop or label them.")
    values = sorted(column.unique().tolist())
    code = {value: i for i, value in enumerate(values)}
    return np.array([code[v] for v in column.tolist()], dtype=np.int64), [str(v) for v in values]


def _encode(column: Any, scale: list[float] | None, path: str) -> np.ndarray:
    """One column as float32 [n, k]: k = 1 for numbers, one per value for everything else."""
    import pandas as pd

    if column.isna().any():
        raise UsageError(f"{path}: column {column.name!r} has missing values.", "Impute or drop them first.")
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        values = column.to_numpy(dtype=np.float64)
        centre, width = _stable_scale(values) if scale is None else _given_scale(scale, column.name, path)
        return ((values - centre) / width).astype(np.float32)[:, None]
    text = column.astype(str)
    kinds = sorted(text.unique().tolist())
    return np.column_stack([(text == kind).to_numpy(dtype=np.float32) for kind in kinds])


def _given_scale(scale: list[float], column: Any, path: str) -> tuple[float, float]:
    if len(scale) != 2 or not (math.isfinite(scale[0]) and math.isfinite(scale[1]) and scale[1] > 0):
        raise UsageError(f"{path}: the scale of {column!r} is {scale}.", "Give [centre, width] with a positive width.")
    return float(scale[0]), float(scale[1])


def _stable_scale(values: np.ndarray) -> tuple[float, float]:
    spread = float(values.std())
    width = 2.0 ** round(math.log2(spread)) if spread > 0 else 1.0
    return round(float(values.mean()) / width) * width, width
