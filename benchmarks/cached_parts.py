"""Finished parts of a benchmark on disk, each whole or absent, under a hash of what they depend on."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from evidence_worlds import World
from numpy.typing import NDArray

Part = dict[str, NDArray[Any]]


class CachedParts:
    """Parts of one data set below `folder`; other settings, `depends`, have other parts."""

    def __init__(self, folder: Path, purpose: str, world: World, depends: Any) -> None:
        own = {field.name: getattr(world, field.name) for field in fields(world) if field.name != "load"}
        digest = hashlib.sha256(json.dumps([own, depends], sort_keys=True).encode()).hexdigest()[:12]
        self.folder = folder / world.name / f"{purpose}-{digest}"
        self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, make: Callable[[], Part]) -> Part:
        """The arrays of a part, made where they are not there yet."""
        file = self.folder / f"{name}.npz"
        if not file.is_file():
            with _timed(name):
                partial = self.folder / f"{name}.partial.npz"
                np.savez(partial, **make())
                partial.rename(file)
        with np.load(file, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}

    def text(self, name: str, make: Callable[[], str]) -> str:
        """The same for a text."""
        file = self.folder / name
        if not file.is_file():
            with _timed(name):
                partial = file.with_suffix(".partial")
                partial.write_text(make())
                partial.rename(file)
        return file.read_text()


@contextmanager
def _timed(name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
