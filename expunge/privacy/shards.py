"""How do norms outlive a killed process? Each block of them is a file that is whole or absent.

A folder of shards belongs to one scoring: its key says what its numbers depend on. A file that is torn, changed or of
another scoring counts as absent. Shards hold numbers of records, and no record id: whoever owns the folder removes it
once the norms are stored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from expunge.errors import ExpungeError
from expunge.privacy.scorer import HowScored

FORMAT = "expunge.shard/1"


@dataclass(frozen=True)
class Block:
    """Norms float32 [rows] of consecutive records at one checkpoint, and how they were found."""

    norms: npt.NDArray[np.float32]
    how: HowScored


class Blocks(Protocol):
    """Where finished blocks are kept."""

    def get(self, name: str, rows: int) -> Block | None:
        """A block of that many records, if it is there."""

    def put(self, name: str, block: Block) -> None:
        """Keep a block."""


class BlocksInMemory:
    """For a caller that needs no restart."""

    def __init__(self) -> None:
        self._blocks: dict[str, Block] = {}

    def get(self, name: str, rows: int) -> Block | None:
        return self._blocks.get(name)

    def put(self, name: str, block: Block) -> None:
        self._blocks[name] = block


class ShardFolder:
    """Blocks as files of one folder: the SHA-256 of the rest, a line of JSON, then float32 values, little-endian.

    Args:
        folder: made when the first block is written.
        key: what the numbers depend on; blocks of another key count as absent.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key

    def get(self, name: str, rows: int) -> Block | None:
        """The block, or None where the file is missing, torn, changed, or of another scoring."""
        try:
            digest, _, body = self._path(name).read_bytes().partition(b"\n")
            if hashlib.sha256(body).hexdigest().encode() != digest:
                return None
            line, _, values = body.partition(b"\n")
            header = json.loads(line)
        except (OSError, ValueError):
            return None
        how = HowScored(**header.pop("how"))
        if header != self._header(name, rows) or len(values) != 4 * rows:
            return None
        return Block(np.frombuffer(values, dtype="<f4").astype(np.float32), how)

    def put(self, name: str, block: Block) -> None:
        """Write it, whole or not at all. Raises ExpungeError where the disk refuses."""
        header = self._header(name, len(block.norms)) | {"how": asdict(block.how)}
        body = json.dumps(header, sort_keys=True).encode() + b"\n" + block.norms.astype("<f4").tobytes()
        path = self._path(name)
        partial = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.partial")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise ExpungeError(
                f"Gradient norms cannot be written to {self.folder}: {error.strerror or error}.",
                "Make room or make it writable, then run the command again: finished shards are used.",
            ) from error

    def _header(self, name: str, rows: int) -> dict[str, object]:
        return {"format": FORMAT, "key": self.key, "name": name, "rows": rows}

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.shard"
