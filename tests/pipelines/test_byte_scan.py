"""Does the scan see a planted record in every form and inside everything that it says it can open?"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save as save_arrays

from adapters.byte_scan import Wanted, scan
from expunge.reporting.svg import tile

RNG = np.random.default_rng(1)
RECORD, DECOY = RNG.random((5, 5)).astype(np.float32), RNG.random((5, 5)).astype(np.float32)
WANTED = Wanted({"planted": RECORD, "decoy": DECOY}, {"record-77": "record id", "ada@example.org": "person id"})
FILLER = RNG.normal(size=4000).astype(np.float32)
RAW = FILLER.tobytes() + RECORD.tobytes() + FILLER.tobytes()


def npz(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, filler=FILLER, array=array)
    return buffer.getvalue()


def parquet(columns: dict[str, Any], compression: str) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression=compression)
    return buffer.getvalue()


def by_column(compression: str) -> bytes:
    rows = np.vstack([RNG.random((50, 25)).astype(np.float32), RECORD.reshape(1, 25)])
    columns = {"record_id": [f"other-{i}" for i in range(51)]} | {f"x{i}": rows[:, i] for i in range(25)}
    return parquet(columns, compression)


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.bin", content)
    return buffer.getvalue()


def zstandard(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def database(deleted: bool) -> bytes:
    with sqlite3.connect(":memory:") as made:
        made.execute("pragma secure_delete = off")
        made.execute("create table t (payload blob, words text)")
        made.executemany("insert into t values (?, ?)", [(FILLER.tobytes(), "x"), (RECORD.tobytes(), "y")] * 3)
        made.commit()
        if deleted:
            made.execute("delete from t")
            made.commit()
        return made.serialize()


def bfloat16(array: Any) -> bytes:
    return bytes((array.view("<u4") >> 16).astype("<u2").tobytes())


PLACES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "float32": ("float32", lambda: RAW),
    "float64": ("float64", lambda: b"x" + RECORD.astype(np.float64).tobytes()),
    "float16": ("float16", lambda: RECORD.astype(np.float16).tobytes()),
    "bfloat16": ("bfloat16", lambda: bfloat16(RECORD)),
    "half of a row": ("float32", lambda: b"y" + RECORD.tobytes()[3 * 4 : 9 * 4]),
    "JSON": ("text", lambda: json.dumps({"row": RECORD.ravel().astype(float).tolist()}).encode()),
    "CSV": ("text", lambda: ",".join(map(str, RECORD.ravel())).encode()),
    "CSV of six digits": ("text", lambda: " ".join(f"{v:.6f}" for v in RECORD.ravel()).encode()),
    "printed array": ("text", lambda: np.array2string(RECORD, precision=8).encode()),
    "drawing": ("drawing", lambda: f"<html>{tile(RECORD, 96, 'title')}</html>".encode()),
    "safetensors": ("float32", lambda: save_arrays({"buffer": RECORD, "other": FILLER})),
    "npz": ("float32", lambda: npz(RECORD)),
    "gzip": ("float32", lambda: gzip.compress(RAW)),
    "gzip of JSON": ("text", lambda: gzip.compress(json.dumps(RECORD.astype(float).tolist()).encode())),
    "zip in a zip": ("float32", lambda: zipped(zipped(RAW))),
    "bz2": ("float32", lambda: bz2.compress(RAW)),
    "xz": ("float32", lambda: lzma.compress(RAW)),
    "zstd": ("float32", lambda: zstandard(RAW)),
    "base64 in HTML": ("float64", lambda: b'{"bdata":"' + base64.b64encode(RECORD.astype("f8").tobytes()) + b'"}'),
    "parquet by column": ("float32", lambda: by_column("snappy")),
    "parquet by column, zstd": ("float32", lambda: by_column("zstd")),
    "ids in parquet": ("record id", lambda: parquet({"record_id": ["a", "record-77"], "v": [1.0, 2.0]}, "zstd")),
    "sqlite": ("float32", lambda: database(deleted=False)),
    "freed pages of sqlite": ("float32", lambda: database(deleted=True)),
    "a person in a log": ("person id", lambda: b"sent to <ada@example.org> today"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_planted_record_is_found_and_a_decoy_is_not(place: str, tmp_path: Path) -> None:
    form, make = PLACES[place]
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "file").write_bytes(make())
    hits = scan(tmp_path, WANTED)
    assert form in {hit.form for hit in hits}, place
    assert {hit.record for hit in hits} <= {"planted", "record-77", "ada@example.org"}
    assert {hit.path for hit in hits} == {"store/file"}


def test_nothing_is_found_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(RNG.bytes(300_000) + FILLER.tobytes())
    (tmp_path / "numbers.json").write_text(json.dumps(RNG.random(5000).tolist()))
    (tmp_path / "drawing.html").write_text(tile(RNG.random((5, 5))))
    (tmp_path / "broken.gz").write_bytes(gzip.compress(RAW)[:200])
    assert scan(tmp_path, WANTED) == []


def test_a_file_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "record-77.txt").write_bytes(b"")
    assert [(hit.inside, hit.form) for hit in scan(tmp_path, WANTED)] == [("name", "record id")]
