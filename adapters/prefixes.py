"""Which rewind prefixes are kept, for whom and until when; how is one lent, destroyed, and looked for?

Under the purge policy `until_due` (docs/adr/0012). A prefix is the artifact `rewind_prefix`; no model version owns it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from adapters import artifacts, clock, workdir
from adapters.checkpoint_store import CheckpointStore, StoredDirectory
from adapters.ledger import controller, open_ledger, pseudonymizer
from expunge.compliance.deadlines import local_date
from expunge.compliance.ledger import Ledger
from expunge.compliance.prefix_dates import days_late
from expunge.training import Trajectory
from expunge.unlearning.plan import UnlearningPlan
from expunge.unlearning.rewind_prefix import RewindPrefix, with_loan
from expunge.unlearning.rewind_starts import one_path

KIND = "rewind_prefix"
_DVC_HASH, _RUN, _REQUESTS = "dvc_hash", "run", "requests"


@dataclass(frozen=True)
class KeptPrefix:
    """One that is kept: its artifact version, and what ZenML says of it without reading a file."""

    version: Any

    @property
    def run_id(self) -> str:
        return str(self.version.run_metadata[_RUN])

    @property
    def request_ids(self) -> tuple[str, ...]:
        return tuple(self.version.run_metadata[_REQUESTS])

    @property
    def destroy_by(self) -> date:
        return date.fromisoformat(str(self.version.run_metadata["destroy_by"]))

    @property
    def for_trajectory(self) -> str:
        """Digest of the trajectory that continues it."""
        return str(self.version.run_metadata["for_trajectory"])

    @cached_property
    def manifest(self) -> RewindPrefix:
        manifest: RewindPrefix = artifacts.materializer_of(self.version).load_manifest()
        return manifest

    @cached_property
    def stored(self) -> StoredDirectory:
        """Its objects: by its files, or by what the metadata kept of them where a backup brought back bytes alone."""
        if artifacts.still_stored(self.version):
            stored: StoredDirectory = artifacts.materializer_of(self.version).load_stored()
            return stored
        metadata = self.version.run_metadata
        directory = str(metadata[_DVC_HASH])
        return StoredDirectory(directory, {str(o): str(o) for o in metadata["objects"] if o != directory})

    @property
    def words(self) -> str:
        return f"kept, restricted: only a rewind start, destroyed by {self.destroy_by}"


def today() -> date:
    """The date in the controller's time zone."""
    return local_date(clock.now(), controller().timezone)


def kept() -> list[KeptPrefix]:
    """Every prefix that exists, oldest first; one whose destruction was cut short is finished on the way."""
    found = []
    for version in reversed(artifacts.versions(KIND, present_only=True)):
        if artifacts.still_stored(version):
            found.append(KeptPrefix(version))
        else:  # killed after its files were deleted, before that was recorded
            artifacts.destroy(version, str(version.run_metadata.get(_RUN, "")))
    return found


def left_by(run_id: str) -> KeptPrefix | None:
    """The prefix that a deletion run left, while it is kept."""
    return next((prefix for prefix in kept() if prefix.run_id == run_id), None)


def waited_for_by(request_id: str) -> list[KeptPrefix]:
    """Those that saw a request's records, and on whose end its answer waits."""
    return [prefix for prefix in kept() if request_id in prefix.request_ids]


def before(model_version: str) -> KeptPrefix | None:
    """The prefix that the trajectory of a model version continues, while it is kept."""
    trajectory = artifacts.newest("trajectory", model_version_id=model_version)
    digest = None if trajectory is None else str(trajectory.run_metadata.get("trajectory", ""))
    return next((prefix for prefix in reversed(kept()) if prefix.for_trajectory == digest), None)


def lent_to(trajectory: Trajectory, prefix: RewindPrefix | None) -> Trajectory:
    """The trajectory with the prefix's checkpoints on loan, all files in one folder of this process."""
    if prefix is None or trajectory.directory is None or prefix.directory is None:
        return trajectory
    joined = with_loan(trajectory, prefix, None)
    if joined.loan is None:
        return trajectory
    folder = workdir.borrow(f"checkout-lent-{trajectory.digest[:12]}")
    for checkpoint in (*joined.kept, joined.final):
        home = prefix.directory if checkpoint.step in joined.lent else trajectory.directory
        _link(home / checkpoint.file, folder / checkpoint.file)
    return joined.at_directory(folder)


def can_start(model_version: str, plan: UnlearningPlan) -> bool:
    """Whether every checkpoint that a plan for this version goes back to exists still, some perhaps in a prefix."""
    version = artifacts.newest("trajectory", model_version_id=model_version)
    if not plan.attempts or version is None:
        return not plan.attempts
    trajectory = artifacts.materializer_of(version).load_manifest()
    prefix = before(model_version)
    if prefix is not None:
        trajectory = with_loan(trajectory, prefix.manifest, None)
    if plan.method == "unrolled_rewind":
        return one_path(trajectory, max(plan.attempts))
    return set(plan.attempts) <= {c.step for c in trajectory.kept}


def destroy(prefix: KeptPrefix, run_id: str) -> list[str]:
    """Destroy its bytes in the cache and the remote, then its manifest, then every working copy of them.

    Returns the files that another trajectory or prefix holds too. Can be called again after it was cut short.
    """
    shared = CheckpointStore().destroy(prefix.stored)
    for folder in workdir_copies(prefix):
        shutil.rmtree(folder, ignore_errors=True)
    artifacts.destroy(prefix.version, run_id)
    return shared


def started_in(prefix: KeptPrefix) -> list[Any]:
    """Trajectories that a run started in the prefix and that no gate passed: what a killed run left."""
    lent, found = {c.step for c in prefix.manifest.checkpoints}, []
    for version in artifacts.versions("trajectory", present_only=True):
        metadata = version.run_metadata
        if artifacts.MODEL_VERSION in metadata or metadata.get("parent") != prefix.for_trajectory:
            continue
        if artifacts.still_stored(version):
            header = artifacts.materializer_of(version).load_manifest().run
            if int(header["start_step"]) in lent:
                found.append(version)
    return found


def workdir_copies(prefix: KeptPrefix) -> list[Path]:
    """Folders in which a process linked its files together with those of the trajectory that continues it."""
    from adapters.project import current_project

    return sorted(current_project().work.glob(f"checkout-lent-{prefix.for_trajectory[:12]}*"))


def unlawful(pseudonyms: Collection[str], everything: bool = False) -> list[KeptPrefix]:
    """Prefixes that saw one of these records without being kept for its request: left-overs of a purge.

    everything: those too that are kept for it, for a scan at the end of a request.
    """
    wanted = frozenset(pseudonyms)
    names, found = pseudonymizer(), []
    for prefix in kept():
        with open_ledger() as ledger:
            covered = {r.record_pseudonym for name in prefix.request_ids for r in ledger.request_records(name)}
        asked = wanted if everything else wanted - covered
        seen = covered & wanted if everything else set()
        if seen or any(not asked.isdisjoint(names.records(r)) for r in prefix.manifest.record_ids):
            found.append(prefix)
    return found


def parts(run_id: str) -> list[dict[str, Any]]:
    """What a run's purge says of the prefix it left: one kept part for each checkpoint."""
    prefix = left_by(run_id)
    if prefix is None:
        return []
    return [
        {
            "kind": KIND,
            "name": f"step {checkpoint.step}",
            "content_hash": checkpoint.sha256,
            "action": "kept",
            "reason": prefix.words,
            "destroy_by": prefix.destroy_by.isoformat(),
        }
        for checkpoint in prefix.manifest.checkpoints
    ]


def listed(purged: list[dict[str, Any]], run_id: str) -> list[dict[str, Any]]:
    """A purge's list with the prefix that the run left; what was destroyed but for its checkpoints says so."""
    prefix = left_by(run_id)
    if prefix is None:
        return purged
    words = f"; but for its checkpoints that are listed as kept until {prefix.destroy_by}"
    said = [
        {**part, "method": part["method"] + words}
        if part["action"] == "destroyed" and part["kind"] in ("trajectory", KIND)
        else part
        for part in purged
    ]
    return [*said, *parts(run_id)]


def record(run_id: str) -> None:
    """Write on the ledger what a run left, with the objects of the store to look for at the end; idempotent."""
    prefix = left_by(run_id)
    if prefix is None:
        return
    by_step = {c.step: prefix.stored.files[c.file] for c in prefix.manifest.checkpoints}
    with open_ledger() as ledger:
        ledger.add_tombstones(
            {
                "kind": part["kind"],
                "name": part["name"],
                "content_hash": part["content_hash"],
                "status": "kept",
                "reason": part["reason"],
                "run_id": run_id,
                "details": {
                    "restricted": True,
                    "destroy_by": part["destroy_by"],
                    "requests": list(prefix.request_ids),
                    "object": by_step[int(part["name"].split()[-1])],
                },
            }
            for part in parts(run_id)
        )


def settle_tombstones(ledger: Ledger, method: str) -> int:
    """Record as destroyed every prefix checkpoint that no prefix holds any more; returns how many.

    Raises nothing for one that a killed process had destroyed: the stores decide, not who did it.
    """
    rows = [t for t in ledger.tombstones(status="kept") if t.kind == KIND]
    if not rows:
        return 0
    held = {c.sha256 for prefix in kept() for c in prefix.manifest.checkpoints}
    gone = [t for t in rows if t.content_hash not in held]
    day = today()
    ledger.add_tombstones(
        {
            "id": t.id, "kind": t.kind, "name": t.name, "content_hash": t.content_hash, "run_id": t.run_id,
            "status": "destroyed", "method": method, "destroyed_at": clock.now(),
            "details": {
                **t.details,
                "destroyed_on": day.isoformat(),
                "days_late": days_late(date.fromisoformat(str(t.details.get("destroy_by", day))), day),
            },
        }
        for t in gone
    )  # fmt: skip
    return len(gone)


def objects_left(ledger: Ledger, request_id: str) -> list[str]:
    """Checkpoints of a request's prefixes whose bytes exist though nothing of today's project holds them."""
    rows = [t for t in ledger.tombstones() if t.kind == KIND and request_id in t.details.get("requests", ())]
    wanted = {str(t.details["object"]): t.name for t in rows if "object" in t.details}
    if not wanted:
        return []
    present = CheckpointStore().present(StoredDirectory(next(iter(wanted)), {o: o for o in wanted}))
    held = _held_objects() if present else frozenset()
    return sorted({f"{KIND} {wanted[o]}: object {o} still exists" for o in present if o not in held})


def objects() -> set[str]:
    """DVC objects of every prefix that is kept."""
    return {o for prefix in kept() for o in prefix.stored.objects}


def _held_objects() -> frozenset[str]:
    """Objects of every trajectory that is not destroyed: the same initial weights, say."""
    versions: Iterable[Any] = artifacts.versions("trajectory", present_only=True)
    stored = [artifacts.materializer_of(v).load_stored() for v in versions if artifacts.still_stored(v)]
    return frozenset(o for one in stored for o in one.objects)


def _link(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
