"""The trajectory: which checkpoints a run left, of which bytes, and whether those bytes are still what they were."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from expunge.errors import IntegrityError, NotFoundError
from expunge.models import ModelSpec
from expunge.training.config import TrainingConfig
from expunge.training.state import TrainingState

FORMAT = "expunge.trajectory/1"


@dataclass(frozen=True)
class Checkpoint:
    """w_t before the update of step t. `s` is None where noise is only assumed. `destroyed`: a tombstone."""

    step: int
    lr: float
    s: float | None
    q: float
    sha256: str
    file: str
    size: int
    destroyed: bool = False

    def to_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


@dataclass(frozen=True)
class Loan:
    """Checkpoints of an earlier run that a restricted prefix lends as starts of a rewind, nothing else (docs/adr/0012).

    Attributes:
        steps: of the checkpoints lent. until: ISO day by which they are destroyed.
        corrected_at: the last step at which a run took back what its records had pushed; what is lent up to there is of
            before that. None: none did, so that the lent checkpoints and those after them are one path.
        earlier_loss: mean privacy loss of the hardest request whose records the lent checkpoints saw.
    """

    steps: frozenset[int]
    until: str
    corrected_at: int | None = None
    earlier_loss: float | None = None


@dataclass(frozen=True)
class Trajectory:
    """A run's header and its checkpoints: the scored ones at steps 0..T-1 and `final`, w_T.

    Attributes:
        run: facts of the run: config, model, data fingerprint, seed, code revision, device, labels, parent.
        record_ids: ids the run was trained on.
        checkpoints: scored checkpoints in step order; a destroyed prefix stays as tombstones.
        final: the last weights.
        directory: where the files lie now; not part of the manifest.
        loan: which of the checkpoints are lent by a restricted prefix. For this trajectory they are tombstones still:
            manifest and digest know nothing of the loan.
    """

    run: Mapping[str, Any]
    record_ids: tuple[str, ...]
    checkpoints: tuple[Checkpoint, ...]
    final: Checkpoint
    directory: Path | None = field(default=None, compare=False)
    loan: Loan | None = field(default=None, compare=False)

    @property
    def config(self) -> TrainingConfig:
        return TrainingConfig.model_validate(self.run["config"])

    @property
    def model_spec(self) -> ModelSpec:
        return ModelSpec.from_dict(self.run["model"])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest: names this trajectory everywhere."""
        return hashlib.sha256(json.dumps(self.manifest(), sort_keys=True).encode()).hexdigest()

    @property
    def total_steps(self) -> int:
        return self.final.step

    @property
    def kept(self) -> tuple[Checkpoint, ...]:
        """Scored checkpoints whose bytes still exist."""
        return tuple(c for c in self.checkpoints if not c.destroyed)

    @property
    def lent(self) -> frozenset[int]:
        """Steps of the checkpoints that a restricted prefix lends."""
        return frozenset() if self.loan is None else self.loan.steps

    def at(self, step: int) -> Checkpoint:
        """The checkpoint of a step. Raises NotFoundError when there is none, or it was destroyed."""
        for checkpoint in (*self.checkpoints, self.final):
            if checkpoint.step == step and not checkpoint.destroyed:
                return checkpoint
        steps = [c.step for c in self.kept] + [self.final.step]
        raise NotFoundError(f"The trajectory holds no checkpoint at step {step}.", f"It holds {steps}.")

    def state(self, checkpoint: Checkpoint) -> TrainingState:
        """Read and verify one checkpoint. Raises IntegrityError naming the file."""
        raw = self._verified_bytes(checkpoint)
        try:
            return TrainingState.from_tensors(load_safetensors(raw))
        except SafetensorError as error:
            raise IntegrityError(f"Checkpoint {checkpoint.file} is unreadable: {error}.", _RESTORE) from error

    def verify(self) -> None:
        """Check every kept file against the manifest. Raises IntegrityError naming the first that differs."""
        for checkpoint in (*self.kept, self.final):
            self.verify_one(checkpoint)

    def verify_one(self, checkpoint: Checkpoint) -> None:
        """Check one file against the manifest. Raises IntegrityError naming it."""
        self._verified_bytes(checkpoint)

    def at_directory(self, directory: Path) -> Trajectory:
        """The same trajectory with its files in `directory`."""
        return replace(self, directory=directory)

    def following(self, old: Trajectory, first_kept: int) -> Trajectory:
        """This run as the sequel of `old`: what came before step `first_kept` stays on record as tombstones.

        The checkpoint that a rewind or a fine-tuning starts from saw the records that were to be forgotten, so only
        those after it keep their bytes (COMPLIANCE, purge policy `destroy`).
        """
        before = [c for c in (*old.checkpoints,) if c.step < first_kept]
        return replace(
            self,
            checkpoints=(
                *(replace(c, destroyed=True) for c in before),
                *(c for c in self.checkpoints if c.step >= first_kept),
            ),
        )

    def manifest(self) -> dict[str, Any]:
        """JSON form; `from_manifest` reads it back."""
        return {
            "format": FORMAT,
            "run": dict(self.run),
            "record_ids": list(self.record_ids),
            "checkpoints": [
                (replace(c, destroyed=True) if c.step in self.lent else c).to_dict() for c in self.checkpoints
            ],
            "final": self.final.to_dict(),
        }

    @classmethod
    def from_manifest(cls, raw: Mapping[str, Any], directory: Path | None = None) -> Trajectory:
        """Raises IntegrityError for a manifest of another format."""
        if raw.get("format") != FORMAT:
            raise IntegrityError(f"Trajectory manifest has format {raw.get('format')!r}, expected {FORMAT!r}.")
        return cls(
            run=raw["run"],
            record_ids=tuple(raw["record_ids"]),
            checkpoints=tuple(Checkpoint(**c) for c in raw["checkpoints"]),
            final=Checkpoint(**raw["final"]),
            directory=directory,
        )

    def _verified_bytes(self, checkpoint: Checkpoint) -> bytes:
        if self.directory is None:
            raise NotFoundError("This trajectory has no files here.", "Load it through the artifact store.")
        path = self.directory / checkpoint.file
        if not path.is_file():
            raise IntegrityError(f"Checkpoint {path} is missing.", _RESTORE)
        raw = path.read_bytes()
        if hashlib.sha256(raw).hexdigest() != checkpoint.sha256:
            raise IntegrityError(f"Checkpoint {path} is not the file that was recorded.", _RESTORE)
        return raw


_RESTORE = "Restore it from the DVC remote or a backup; until then retrain (`expunge train`) instead of rewinding."


def write_state(path: Path, state: TrainingState) -> tuple[str, int]:
    """Write a checkpoint so that it is whole or absent; returns (sha256, bytes)."""
    raw = save_safetensors({k: v.detach().cpu().contiguous() for k, v in state.tensors().items()})
    partial = path.with_suffix(".partial")
    partial.write_bytes(raw)
    partial.replace(path)
    return hashlib.sha256(raw).hexdigest(), len(raw)
