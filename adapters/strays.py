"""What did killed processes leave in the stores that no artifact knows? Bytes saved a moment before they were recorded.

Only the project's own stores are looked at, and only while no other process runs a pipeline: what such a one has
saved and not recorded yet looks the same.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from zenml.client import Client

from adapters import artifacts, purging, step_logs, workdir
from adapters.checkpoint_store import CheckpointStore, StoredDirectory
from adapters.project import current_project

METHOD = "left by a killed process; deleted from the project's own stores (Clear, NIST SP 800-88 Rev. 2)"


@dataclass(frozen=True)
class Strays:
    """Folders of the artifact store that no artifact version has, and DVC objects that no trajectory has."""

    folders: tuple[Path, ...] = ()
    objects: tuple[StoredDirectory, ...] = ()

    def __len__(self) -> int:
        return len(self.folders) + len({o for one in self.objects for o in one.objects})

    @property
    def words(self) -> str:
        objects = len({o for one in self.objects for o in one.objects})
        return f"{len(self.folders)} folder(s) of the artifact store and {objects} DVC object(s) that nothing knows"


def find() -> Strays:
    """Them, or none while another process runs a pipeline."""
    if workdir.others_at_work():
        return Strays()
    return Strays(tuple(_folders()), tuple(_objects()))


def destroy(strays: Strays) -> None:
    """Delete them."""
    for folder in strays.folders:
        shutil.rmtree(folder, ignore_errors=True)
    for one in strays.objects:
        CheckpointStore().destroy(one)


def _folders() -> list[Path]:
    """A store of the project's own has <step>/<output>/<run>/<artifact>."""
    home = Path(str(Client().active_stack.artifact_store.path))
    if not home.is_relative_to(current_project().state):
        return []
    known = {Path(v.uri) for v in artifacts.versions()}
    found = [p for p in home.glob("*/*/*/*") if p.is_dir() and p.relative_to(home).parts[0] != step_logs.FOLDER]
    return sorted(p for p in found if p not in known)


def _objects() -> list[StoredDirectory]:
    """What the store holds and no artifact names; an `add` that was cut short is undone by the store itself."""
    live = purging.live_objects()
    return [stored for stored in CheckpointStore().trajectories() if stored.dvc_hash not in live]
