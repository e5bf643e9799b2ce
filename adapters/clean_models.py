"""Which model versions may serve? Those that never saw an erased or quarantined record, and whose bytes exist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adapters import artifacts, model_registry
from adapters.checkpoint_store import CheckpointStore
from adapters.ledger import open_ledger
from expunge.compliance.ledger import Ledger
from expunge.errors import ExpungeError

NEEDED = ("model", "trajectory", "training_records", "held_out_records")


@dataclass(frozen=True)
class Standing:
    """A model version, and every reason why it may not serve (none: it may)."""

    version: Any
    reasons: tuple[str, ...]

    @property
    def label(self) -> str:
        return model_registry.label(self.version)

    @property
    def stage(self) -> str:
        return self.version.stage or "none"

    @property
    def method(self) -> str:
        return str(self.version.run_metadata.get("method", "-"))


def standings(name: str | None = None) -> list[Standing]:
    """Every model version, newest first."""
    with open_ledger() as ledger:
        return [Standing(v, tuple(_reasons(v, ledger))) for v in model_registry.all_versions(name)]


def standing(version: Any) -> Standing:
    """Of one version, its weights read and compared with what was recorded."""
    with open_ledger() as ledger:
        reasons = _reasons(version, ledger)
    if not reasons:
        reasons = [words for part in NEEDED if (words := _unreadable(version, part))]
    return Standing(version, tuple(reasons))


def _reasons(version: Any, ledger: Ledger) -> list[str]:
    parts: dict[str, Any] = {}
    for artifact in artifacts.versions(model_version_id=version.id):
        parts.setdefault(artifact.artifact.name, artifact)
    lacking = [name for name in NEEDED if name not in parts]
    if lacking:
        return [f"it has no {name}" for name in lacking]
    destroyed = [name for name in NEEDED if artifacts.is_destroyed(parts[name])]
    if destroyed:
        at = parts[destroyed[0]].run_metadata[artifacts.DESTROYED_AT]
        return [f"its {', '.join(destroyed)} {'was' if len(destroyed) == 1 else 'were'} destroyed ({at})"]
    missing = [name for name in NEEDED if not artifacts.still_stored(parts[name])]
    if missing:
        return [f"its {name} is not in the artifact store any more" for name in missing]
    return [*_saw(parts["trajectory"], ledger), *_never_passed(version, ledger)]


def _saw(trajectory: Any, ledger: Ledger) -> list[str]:
    reader = artifacts.materializer_of(trajectory)
    reasons = []
    guarded = ledger.quarantined_among(reader.load_manifest().record_ids)
    if guarded:
        reasons.append(f"it was trained on {len(guarded)} record(s) that were erased or are in quarantine")
    stored = reader.load_stored()
    gone = len(set(stored.objects)) - len(set(CheckpointStore().present(stored)))
    if gone:
        reasons.append(f"{gone} of its checkpoint files are in neither the DVC cache nor the remote")
    return reasons


def _never_passed(version: Any, ledger: Ledger) -> list[str]:
    """A trained version must have beaten the commonest class; one that continues another, its gate."""
    metadata = version.run_metadata
    if "gate" in metadata:
        run = next((r for r in ledger.list_runs() if r.id == version.name), None)
        promoted = run is not None and run.model_version_after is not None
        return [] if promoted else ["the ledger knows no run that promoted it"]
    accuracy, floor = metadata.get("held_out_accuracy"), metadata.get("commonest_class")
    if accuracy is None or floor is None or not float(accuracy) > float(floor):
        return ["it never served: it does not beat the commonest class"]
    return []


def _unreadable(version: Any, part: str) -> str:
    found = artifacts.newest(part, model_version_id=version.id)
    try:
        artifacts.load(found)
    except ExpungeError as error:
        return error.message
    return ""
