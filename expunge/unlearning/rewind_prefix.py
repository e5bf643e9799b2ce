"""What does a rewind leave behind, whose records did it see, and how is it lent to the next one?

Under the purge policy `until_due` the checkpoints up to a rewind's start are kept until a date, restricted: they are
never served and never judged, only started from (docs/adr/0012).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from expunge.errors import IntegrityError
from expunge.privacy.scores import PrivacyLosses
from expunge.training import Checkpoint, Trajectory
from expunge.training.trajectory import Loan
from expunge.unlearning.share_curve import shares_before

FORMAT = "expunge.rewind_prefix/1"


@dataclass(frozen=True)
class ConcernedRequest:
    """A request whose records the prefix saw. `shares`: of their privacy loss, spent before each step; sums only."""

    request_id: str
    mean_loss: float
    shares: Mapping[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        shares = [[step, share] for step, share in sorted(self.shares.items())]
        return {"request_id": self.request_id, "mean_loss": self.mean_loss, "shares": shares}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ConcernedRequest:
        return cls(raw["request_id"], raw["mean_loss"], {int(step): share for step, share in raw["shares"]})


@dataclass(frozen=True)
class RewindPrefix:
    """Checkpoints from which the next rewind may start, kept until `destroy_by`.

    Attributes:
        run_id: the deletion run that left it. trajectory: digest of the trajectory that continues it.
        parents: digests of the trajectories that its checkpoints come from.
        record_ids: those it saw and that the model may still be trained on; erased ones are known by their requests.
        checkpoints: in step order, the last of them is where the run started.
        requests: those whose records it saw and whose answer waits for its end.
        corrected_at: as `Loan`. directory: where the files lie now; not part of the manifest.
    """

    run_id: str
    trajectory: str
    parents: tuple[str, ...]
    record_ids: tuple[str, ...]
    checkpoints: tuple[Checkpoint, ...]
    requests: tuple[ConcernedRequest, ...]
    destroy_by: str
    corrected_at: int | None = None
    directory: Path | None = field(default=None, compare=False)

    @property
    def request_ids(self) -> tuple[str, ...]:
        return tuple(request.request_id for request in self.requests)

    def of_request(self, request_id: str) -> tuple[tuple[Checkpoint, float], ...]:
        """The checkpoints that saw a request's records, each with the share of their loss spent by then."""
        shares = next((r.shares for r in self.requests if r.request_id == request_id), {})
        return tuple((c, shares[c.step]) for c in self.checkpoints if c.step in shares)

    def at_directory(self, directory: Path | None) -> RewindPrefix:
        """The same prefix with its files in `directory`."""
        return replace(self, directory=directory)

    def manifest(self) -> dict[str, Any]:
        """JSON form; `from_manifest` reads it back."""
        return {
            "format": FORMAT,
            "restricted": True,
            "run_id": self.run_id,
            "trajectory": self.trajectory,
            "parents": list(self.parents),
            "record_ids": list(self.record_ids),
            "checkpoints": [c.to_dict() for c in self.checkpoints],
            "requests": [r.to_dict() for r in self.requests],
            "destroy_by": self.destroy_by,
            "corrected_at": self.corrected_at,
        }

    @classmethod
    def from_manifest(cls, raw: Mapping[str, Any], directory: Path | None = None) -> RewindPrefix:
        """Raises IntegrityError for a manifest of another format."""
        if raw.get("format") != FORMAT:
            raise IntegrityError(f"Prefix manifest has format {raw.get('format')!r}, expected {FORMAT!r}.")
        return cls(
            run_id=raw["run_id"],
            trajectory=raw["trajectory"],
            parents=tuple(raw["parents"]),
            record_ids=tuple(raw["record_ids"]),
            checkpoints=tuple(Checkpoint(**c) for c in raw["checkpoints"]),
            requests=tuple(ConcernedRequest.from_dict(r) for r in raw["requests"]),
            destroy_by=raw["destroy_by"],
            corrected_at=raw["corrected_at"],
            directory=directory,
        )


def left_behind(
    old: Trajectory,
    new: Trajectory,
    start: int,
    unrolled: bool,
    requests: Mapping[str, Sequence[str]],
    losses: PrivacyLosses,
    earlier: RewindPrefix | None,
    run_id: str,
    destroy_by: str,
) -> RewindPrefix | None:
    """The prefix that a run from step `start` of `old` left; None where no checkpoint up to there exists.

    Args:
        old: the trajectory that was rewound, with the checkpoints that `earlier` lent it.
        requests: of the run: their records in the old training set. losses: of `old`.
        earlier: the prefix of the runs before, whose requests wait still; it is cut to `start`.
    """
    checkpoints = tuple(c for c in old.kept if c.step <= start)
    if not checkpoints:
        return None
    steps = [c.step for c in checkpoints]
    concerned = [
        ConcernedRequest(
            name,
            float(np.mean(losses.select(ids).total)),
            dict(zip(steps, (float(s) for s in shares_before(losses, ids, steps)), strict=True)),
        )
        for name, ids in requests.items()
        if ids
    ]
    corrected = start if unrolled else None
    if earlier is not None:
        here = set(steps)
        for request in earlier.requests:
            shares = {step: share for step, share in request.shares.items() if step in here}
            if shares:
                concerned.append(replace(request, shares=shares))
        if not unrolled and earlier.corrected_at is not None and start > earlier.corrected_at:
            corrected = earlier.corrected_at  # from before it, the run is on one path with what it started from
    return RewindPrefix(
        run_id=run_id,
        trajectory=new.digest,
        parents=(*(earlier.parents if earlier else ()), old.digest),
        record_ids=new.record_ids,
        checkpoints=checkpoints,
        requests=tuple(concerned),
        destroy_by=destroy_by,
        corrected_at=corrected,
    )


def with_loan(trajectory: Trajectory, prefix: RewindPrefix, directory: Path | None) -> Trajectory:
    """The trajectory with those of its tombstones that the prefix still holds, known as lent; files in `directory`.

    A checkpoint is the same when step and SHA-256 are. One of another run is not lent.
    """
    held = {(c.step, c.sha256) for c in prefix.checkpoints}
    lent = frozenset(c.step for c in trajectory.checkpoints if c.destroyed and (c.step, c.sha256) in held)
    if not lent:
        return trajectory
    corrected = prefix.corrected_at
    return replace(
        trajectory,
        checkpoints=tuple(replace(c, destroyed=False) if c.step in lent else c for c in trajectory.checkpoints),
        directory=directory,
        loan=Loan(
            steps=lent,
            until=prefix.destroy_by,
            corrected_at=corrected,
            earlier_loss=max((r.mean_loss for r in prefix.requests), default=None),
        ),
    )
