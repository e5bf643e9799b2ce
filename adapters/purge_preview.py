"""What would a purge for these requests destroy, and what would it keep? Looks only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zenml.client import Client

from adapters import artifacts, prefixes, purge_again, purging, remains
from adapters.ledger import open_ledger
from adapters.project import current_project
from adapters.purging import Descendant

DESTROY, REMOVE_ROWS, KEEP = "destroy", "remove rows", "keep"
STRAY = "saved by a killed process and never recorded"
ARTIFACTS, CHECKPOINTS, LOGS, WORK = "artifact store", "DVC cache and remote", "step logs", "work folder"


@dataclass(frozen=True)
class Item:
    """One thing: what it is, where it lies, what would become of it and why. `size` in bytes, where it is known."""

    action: str
    kind: str
    id: str
    hash: str
    where: str
    size: int | None
    why: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def preview(requests: Iterable[str] = ()) -> tuple[list[str], list[Item]]:
    """The requests meant (default: every open one, and what is erased), and every item; what would be destroyed comes
    first. What a backup brought back or a killed process left without a name is always among it.

    It counts on a new model taking the place of the one that serves: without one nothing is purged. Raises
    NotFoundError for an unknown request, IntegrityError when the ledger is an older copy.
    """
    named = list(requests)
    with open_ledger() as ledger:
        chosen = [ledger.get_request(r).id for r in named] or [d.request.id for d in ledger.due_requests()]
        pseudonyms = {r.record_pseudonym for request in chosen for r in ledger.request_records(request)}
    found = [*(purging.descendants(pseudonyms) if pseudonyms else ()), *purging.returned()]
    if not named and (gone := purge_again.erased() - pseudonyms):
        known = {d.version.id for d in found}
        found += [d for d in purging.descendants(gone, purge_again.passed()) if d.version.id not in known]
        pseudonyms |= gone
    live = purging.live_objects({d.version.id for d in found})
    items = [item for descendant in found for item in _items(descendant, live)]
    items += [_log(path) for path in purging.logs_about(found, pseudonyms)]
    items += _work()
    stray = remains.nameless()
    items += [Item(DESTROY, "stray", f.name, "", ARTIFACTS, _folder_size(f), STRAY) for f in stray.folders]
    objects = [o for one in stray.trajectories for o in one.objects]
    items += [Item(DESTROY, "stray", "object", o, CHECKPOINTS, None, STRAY) for o in objects]
    items += [Item(KEEP, part["kind"], part["name"], "", ARTIFACTS, None, part["reason"]) for part in purging.kept()]
    return chosen, sorted(items, key=lambda item: item.action == KEEP)


def _items(descendant: Descendant, live: set[str]) -> list[Item]:
    version = descendant.version
    digest = str(version.content_hash or version.run_metadata.get("dvc_hash", ""))
    action = REMOVE_ROWS if descendant.only_rows else DESTROY
    made = [Item(action, descendant.kind, str(version.id), digest, ARTIFACTS, artifacts.size(version), descendant.why)]
    if descendant.stored is None:
        return made
    sizes = {}
    if artifacts.still_stored(version):
        manifest = artifacts.materializer_of(version).load_manifest()
        kept_files = manifest.checkpoints if descendant.kind == prefixes.KIND else (*manifest.kept, manifest.final)
        sizes = {c.file: int(c.size) for c in kept_files}
    files = {"directory": descendant.stored.dvc_hash, **descendant.stored.files}
    for name, md5 in files.items():
        kept = md5 in live
        why = "another trajectory that stays holds the same file" if kept else descendant.why
        made.append(Item(KEEP if kept else DESTROY, "checkpoint", name, md5, CHECKPOINTS, sizes.get(name), why))
    return made


def _log(path: str) -> Item:
    store = Client().active_stack.artifact_store
    why = "of a run that had the records in its hands, or names one"
    return Item(DESTROY, "step_log", Path(path).stem, "", LOGS, store.size(path), why)


def _work() -> list[Item]:
    """Half-finished work, which every purge clears."""
    home = current_project().work
    why = "half-finished work of a process that is gone"
    folders = sorted(home.iterdir()) if home.is_dir() else []
    return [Item(DESTROY, "work", folder.name, "", WORK, _folder_size(folder), why) for folder in folders]


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
