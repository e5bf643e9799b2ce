"""Census employment: is a person of the Massachusetts ACS 2015 employed? One row is one person, so owners are real."""

from __future__ import annotations

import shlex
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from expunge.data.images import data_folder
from expunge.data.record_table import RecordTable, make_table, unit_hash
from expunge.errors import NotFoundError, UsageError

# US Census Bureau, American Community Survey 2015, as PyPI's nannyml ships it (Apache-2.0).
WHEEL = "nannyml==0.13.1"
PARQUET = "employment_MA_reference.pq"
MEMBER = f"nannyml/datasets/data/{PARQUET}"
AGE, TARGET = "AGEP", "employed"
# What nannyml's own model predicts is in the file too, and stays out.
CODED = (
    "SCHL", "MAR", "RELP", "DIS", "ESP", "CIT", "MIG", "MIL", "ANC", "NATIVITY", "DEAR", "DEYE", "DREM", "SEX", "RAC1P",
)  # fmt: skip


def load_census_employment(
    file: str | None = None, limit: int | None = None, download: bool = False, data_dir: str | None = None
) -> RecordTable:
    """68,785 people, or the `limit` first by a hash of their id: float32 [n, 98], target 1 for employed.

    Age is (years - 40) / 20, the 15 coded columns are one-hot over the codes that the file declares: nothing follows
    from the records chosen. `file` is the wheel of nannyml or the parquet file taken out of it. Without, looks in
    `data_dir`, or else the project's folder data/, for either; with `download=True` pip fetches the wheel there.

    Raises NotFoundError, with the command to fetch it, when no copy is found; UsageError for a file that is neither.
    """
    frame = read_people(_find(file, data_dir, download))
    ids = np.array([f"person-{number}" for number in frame["id"]])
    if limit is not None:
        if not 0 < limit <= len(ids):
            raise UsageError(f"limit is {limit}, but the file has {len(ids)} people.", "Choose a smaller limit.")
        keep = np.argsort([unit_hash(person) for person in ids], kind="stable")[:limit]
        frame, ids = frame.iloc[keep], ids[keep]
    return make_table(
        features=encode_people(frame),
        targets=frame[TARGET].to_numpy(np.int64),
        record_ids=ids.tolist(),
        subject_ids=ids.tolist(),
        classes=2,
        name="census_employment",
        source={"name": "census_employment", "options": {"file": file, "limit": limit, "data_dir": data_dir}},
        class_names=("not employed", "employed"),
    )


def read_people(file: Path) -> Any:
    """The data frame of a wheel or parquet file. Raises NotFoundError, UsageError for a file without such data."""
    import pandas as pd

    if not file.is_file():
        raise NotFoundError(f"No file {file}.", f"Fetch it with `{_command(file.parent)}`.")
    advice = f"Fetch it again with `{_command(file.parent)}`."
    try:
        raw = file.read_bytes() if file.suffix != ".whl" else _member(file)
        frame = pd.read_parquet(BytesIO(raw))
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:  # pyarrow's own errors are among these
        raise UsageError(f"{file} cannot be read as {WHEEL}'s census data: {error}.", advice) from None
    missing = [name for name in ("id", AGE, *CODED, TARGET) if name not in frame.columns]
    if missing:
        raise UsageError(f"{file} has no column {', '.join(missing)}.", advice)
    plain = [name for name in CODED if str(frame[name].dtype) != "category"]
    if plain:
        raise UsageError(f"{file} does not declare the codes of {', '.join(plain)}.", advice)
    return frame


def encode_people(frame: Any) -> np.ndarray:
    """Features, float32 [n, 98]."""
    import pandas as pd

    age = ((frame[AGE].to_numpy() - 40.0) / 20.0)[:, None]
    coded = [pd.get_dummies(frame[name]).to_numpy(dtype=np.float32) for name in CODED]
    return np.concatenate([age, *coded], axis=1).astype(np.float32)


def fetch_wheel(folder: Path) -> Path:
    """The wheel in `folder`, by pip where it is not there yet. Raises NotFoundError with what pip said."""
    if not (there := sorted(folder.glob(_wheels()))):
        command = [sys.executable, "-m", *shlex.split(_command(folder))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode or not (there := sorted(folder.glob(_wheels()))):
            said = (done.stderr.strip() or "nothing").splitlines()[-1]
            raise NotFoundError(f"pip could not fetch {WHEEL}: {said}", f"Try `{_command(folder)}` yourself.")
    return there[0]


def _find(file: str | None, data_dir: str | None, download: bool) -> Path:
    if file:
        return Path(file)
    folder = data_folder(data_dir)
    for place in (*sorted(folder.glob(_wheels())), folder / PARQUET):
        if place.is_file():
            return place
    if download:
        return fetch_wheel(folder)
    raise NotFoundError(
        f"No copy of the census data in {folder}.",
        f"Fetch it (23 MB) with `{_command(folder)}`, set data.options.download=true, or name a copy in"
        " data.options.file or its folder in data.options.data_dir.",
    )


def _member(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(MEMBER)


def _wheels() -> str:
    return f"{WHEEL.replace('==', '-')}-*.whl"


def _command(folder: Path) -> str:
    # nannyml itself declares no Python 3.13; only its data is wanted, and the wheel is never installed.
    return f"pip download --no-deps --ignore-requires-python -d {shlex.quote(str(folder))} {WHEEL}"
