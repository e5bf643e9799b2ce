"""Where below a folder do these records lie, as bytes or as text, also inside compressed files?

What it can see: files and file names; gzip, zip and npz, bz2, xz and zstandard; parquet (read column by column, set
together row by row); databases of SQLite (their raw pages, freed ones too, and their values); base64 inside text.
Forms of a record: the bytes of float32, float64, float16 and bfloat16 values in little-endian order, two (four for
the half formats) of a row in sequence; the decimal text of its values; its drawing as our pages make it; the ids.

What it cannot see: values that were scaled, quantised or mixed with others (weights are found by lineage, never by
their bytes), pixels of compressed images, encrypted or deleted files, other byte orders.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import re
import sqlite3
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_DEPTH = 4
_TEXT_VALUES = 3
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{40,}")
_DECIMAL = re.compile(rb"-?\d*\.\d{4,}(?:[eE][-+]?\d+)?")
_FORMS = {"float32": ("<f4", 2), "float64": ("<f8", 2), "float16": ("<f2", 4)}


@dataclass(frozen=True)
class Hit:
    """A file, where inside it, which record, in which form."""

    path: str
    inside: str
    record: str
    form: str


class Wanted:
    """The records to look for: features by record id, and names (record ids, people) that may stand in clear."""

    def __init__(self, features: Mapping[str, Any], names: Mapping[str, str] | None = None, drawn: bool = True) -> None:
        self.needles: list[tuple[str, str, bytes]] = []
        self.texts: dict[str, set[bytes]] = {}
        for record, row in features.items():
            values = np.asarray(row, dtype=np.float32).ravel()
            self._add_numbers(record, values)
            if drawn and np.ndim(row) >= 2:
                self._add_drawing(record, row)
        for name, form in (names or {}).items():
            self.needles.append((name, form, name.encode()))
        self.needles = list(dict.fromkeys(self.needles))
        self._of_text = [one for one in self.needles if _is_text(one[2])]

    def _add_numbers(self, record: str, values: Any) -> None:
        for form, (kind, run) in _FORMS.items():
            raw = values.astype(kind)
            self._add_runs(record, form, [raw[i : i + run].tobytes() for i in range(0, len(raw) - run + 1, run)])
        bits = values.view("<u4")
        for rounded in (bits >> 16, (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16):  # cut off, or to nearest
            halves = rounded.astype("<u2")
            runs = [halves[i : i + 4].tobytes() for i in range(0, len(halves) - 3, 4)]
            self._add_runs(record, "bfloat16", runs)
        self.texts[record] = {
            text.encode()
            for value in values
            for text in (str(value), repr(float(value)), f"{value:.6f}")
            if len(text.strip("-0.")) >= 5
        }

    def _add_runs(self, record: str, form: str, runs: list[bytes]) -> None:
        self.needles += [(record, form, run) for run in runs if len(set(run)) > 3]

    def _add_drawing(self, record: str, row: Any) -> None:
        from expunge.reporting.svg import tile

        drawing = tile(np.asarray(row))
        self.needles.append((record, "drawing", "".join(re.findall(r"<path.*/>", drawing)).encode()))

    def among(self, content: bytes) -> set[tuple[str, str]]:
        """(record, form) of everything that some bytes hold."""
        needles = self._of_text if _is_text(content) else self.needles
        found = {(record, form) for record, form, needle in needles if needle in content}
        written = set(_DECIMAL.findall(content))
        found |= {(r, "text") for r, texts in self.texts.items() if len(texts & written) >= _TEXT_VALUES}
        return found


def _is_text(content: bytes) -> bool:
    """Text holds no needle that is none."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\x00" not in content


def scan(folder: Path, wanted: Wanted) -> list[Hit]:
    """Every hit in every file below a folder, by path. Links are not followed; their targets are scanned in place."""
    hits = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = str(path.relative_to(folder))
        content = path.read_bytes()
        parts = [("name", name.encode()), *contents(content)]
        hits += [Hit(name, inside, *found) for inside, part in parts for found in sorted(wanted.among(part))]
    return hits


def contents(content: bytes, depth: int = _DEPTH) -> Iterator[tuple[str, bytes]]:
    """A file's bytes, and those of everything that is packed inside it, with where it was."""
    yield "", content
    if depth == 0 or not content:
        return
    for where, inner in _unpacked(content):
        for deeper, part in contents(inner, depth - 1):
            yield f"{where}/{deeper}".rstrip("/"), part


def _unpacked(content: bytes) -> Iterator[tuple[str, bytes]]:
    for magic, kind, unpack in _PACKED:
        if content.startswith(magic):
            try:
                yield from ((f"{kind}:{name}" if name else kind, part) for name, part in unpack(content))
            except Exception:  # cut short, or no such file after all: its raw bytes were scanned
                yield f"{kind} that cannot be read", b""
            return
    decoded = [base64.b64decode(text[: len(text) // 4 * 4]) for text in _BASE64.findall(content)]
    packed = [part for part in decoded if part.startswith(tuple(magic for magic, _, _ in _PACKED))]
    yield from (("base64", part) for part in packed)
    if decoded:
        yield "base64", b"\x00".join(decoded)


def _zip(content: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            yield name, archive.read(name)


def _zstandard(content: bytes) -> Iterator[tuple[str, bytes]]:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.py_buffer(content), "zstd") as stream:
        yield "", stream.read()


def _parquet(content: bytes) -> Iterator[tuple[str, bytes]]:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(content))
    numbers = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_pylist()
        try:
            numbers.append(np.asarray(values, dtype=np.float64))
        except (TypeError, ValueError):
            yield f"column {name}", "\n".join(map(str, values)).encode()
    if numbers and all(column.ndim == 1 for column in numbers):
        for size in sorted({len(column) for column in numbers}):
            rows = np.column_stack([column for column in numbers if len(column) == size])
            yield "rows", rows.astype("<f4").tobytes()


def _sqlite(content: bytes) -> Iterator[tuple[str, bytes]]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(content)
        tables = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
        for table in tables:
            values = [value for row in database.execute(f'select * from "{table}"') for value in row]
            raw = [v.encode() if isinstance(v, str) else v for v in values if isinstance(v, str | bytes)]
            yield f"table {table}", b"\x00".join(raw)


def _one(unpack: Any) -> Any:
    return lambda content: [("", unpack(content))]


_PACKED: tuple[tuple[bytes, str, Any], ...] = (
    (b"\x1f\x8b", "gzip", _one(gzip.decompress)),
    (b"PK\x03\x04", "zip", _zip),
    (b"BZh", "bz2", _one(bz2.decompress)),
    (b"\xfd7zXZ\x00", "xz", _one(lzma.decompress)),
    (b"\x28\xb5\x2f\xfd", "zstd", _zstandard),
    (b"PAR1", "parquet", _parquet),
    (b"SQLite format 3\x00", "sqlite", _sqlite),
)
