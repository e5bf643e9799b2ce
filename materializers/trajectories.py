"""Trajectories: the manifest is a ZenML artifact, the bytes of the checkpoints live in DVC, once."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType

from adapters.checkpoint_store import CheckpointStore, StoredDirectory
from expunge.errors import IntegrityError
from expunge.training import Trajectory
from materializers.base import PAGE, ArtifactMaterializer, to_json

MANIFEST = "manifest.json"
STORED = "dvc.json"


class TrajectoryMaterializer(ArtifactMaterializer):
    """Saving moves the checkpoint files into DVC and its remote; loading verifies every byte against the manifest."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (Trajectory,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    _stored: StoredDirectory | None = None

    def write(self, data: Trajectory) -> None:
        assert data.directory is not None
        kept = [*data.kept, data.final]
        data.verify()
        self._stored = CheckpointStore().add({c.file: data.directory / c.file for c in kept})
        self.write_files({MANIFEST: to_json(data.manifest()), STORED: to_json(self._stored.to_dict())})

    def read(self, data_type: type[Any]) -> Trajectory:
        trajectory = self.load_manifest()
        stored = StoredDirectory.from_dict(self.read_json(STORED))
        store = CheckpointStore()
        trajectory = trajectory.at_directory(store.check_out(stored))
        for checkpoint in (*trajectory.kept, trajectory.final):
            try:
                trajectory.verify_one(checkpoint)
            except IntegrityError as error:
                where = store.cache_path(stored.files[checkpoint.file])
                raise IntegrityError(
                    f"Checkpoint {checkpoint.file} is not the file that was recorded: {where} has changed.",
                    "Delete that file: the next load brings it back from the remote. If that fails too, train again.",
                ) from error
        return trajectory

    def load_manifest(self) -> Trajectory:
        """The trajectory without its files: what an audit and a purge read."""
        return Trajectory.from_manifest(self.read_json(MANIFEST))

    def load_stored(self) -> StoredDirectory:
        """Where its bytes are."""
        return StoredDirectory.from_dict(self.read_json(STORED))

    def extract_metadata(self, data: Trajectory) -> dict[str, Any]:
        assert self._stored is not None
        return {
            "dvc_hash": self._stored.dvc_hash,
            "objects": sorted(set(self._stored.objects)),  # stays when the manifest is gone: what to look for then
            "trajectory": data.digest,
            "parent": str(data.run.get("parent", "")),
            "data_fingerprint": data.run["data_fingerprint"],
            "records": len(data.record_ids),
            "checkpoints": len(data.kept),
            "tombstones": len(data.checkpoints) - len(data.kept),
            "steps": data.total_steps,
            "bytes": sum(c.size for c in (*data.kept, data.final)),
        }

    def save_visualizations(self, data: Trajectory) -> dict[str, VisualizationType]:
        from expunge.reporting.artifact_pages import trajectory_page

        return self.show({PAGE: trajectory_page(data.manifest())})

    def compute_content_hash(self, data: Trajectory) -> str | None:
        return self._stored.dvc_hash if self._stored else None
