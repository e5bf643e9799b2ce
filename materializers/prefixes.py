"""What a rewind left: a manifest as a ZenML artifact, the bytes in DVC, where the old trajectory had them already."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

from zenml.enums import ArtifactType, VisualizationType

from adapters.checkpoint_store import CheckpointStore, StoredDirectory
from expunge.errors import IntegrityError
from expunge.training import Trajectory
from expunge.unlearning.rewind_prefix import RewindPrefix
from materializers.base import PAGE, ArtifactMaterializer, to_json

MANIFEST = "manifest.json"
STORED = "dvc.json"
OWN = "prefix.json"


class RewindPrefixMaterializer(ArtifactMaterializer):
    """manifest.json and dvc.json. No weights at the end of a training are among its files: nothing here can serve."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (RewindPrefix,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    _stored: StoredDirectory | None = None

    def write(self, data: RewindPrefix) -> None:
        assert data.directory is not None
        with tempfile.TemporaryDirectory(dir=data.directory) as scratch:
            # A file of its own: two prefixes of the same checkpoints are two directories, and one can go alone.
            own = Path(scratch) / OWN
            own.write_bytes(to_json({"run_id": data.run_id}))
            files = {c.file: data.directory / c.file for c in data.checkpoints}
            self._stored = CheckpointStore().add({**files, OWN: own})
        self.write_files({MANIFEST: to_json(data.manifest()), STORED: to_json(self._stored.to_dict())})

    def read(self, data_type: type[Any]) -> RewindPrefix:
        stored = self.load_stored()
        prefix = RewindPrefix.from_manifest(self.read_json(MANIFEST), CheckpointStore().check_out(stored))
        # Its files are verified like those of any trajectory.
        parts = Trajectory({}, prefix.record_ids, prefix.checkpoints, prefix.checkpoints[-1], prefix.directory)
        for checkpoint in prefix.checkpoints:
            try:
                parts.verify_one(checkpoint)
            except IntegrityError as error:
                where = CheckpointStore().cache_path(stored.files[checkpoint.file])
                raise IntegrityError(
                    f"Checkpoint {checkpoint.file} of the prefix is not the file that was recorded: {where} changed.",
                    "Delete that file: the next load brings it back from the remote.",
                ) from error
        return prefix

    def load_manifest(self) -> RewindPrefix:
        """The prefix without its files: what an audit and a purge read."""
        return RewindPrefix.from_manifest(self.read_json(MANIFEST))

    def load_stored(self) -> StoredDirectory:
        """Where its bytes are."""
        return StoredDirectory.from_dict(self.read_json(STORED))

    def extract_metadata(self, data: RewindPrefix) -> dict[str, Any]:
        assert self._stored is not None
        return {
            "restricted": True,
            "destroy_by": data.destroy_by,
            "requests": list(data.request_ids),
            "run": data.run_id,
            "for_trajectory": data.trajectory,
            "parents": list(data.parents),
            "dvc_hash": self._stored.dvc_hash,
            "objects": sorted(set(self._stored.objects)),  # stays when the manifest is gone: what to look for then
            "checkpoints": len(data.checkpoints),
            "bytes": sum(c.size for c in data.checkpoints),
        }

    def save_visualizations(self, data: RewindPrefix) -> dict[str, VisualizationType]:
        from expunge.reporting.artifact_pages import document_page

        facts = {
            "use": "restricted: a start of later rewinds, never served and never judged",
            "destroyed by": data.destroy_by,
            "requests that wait for it": list(data.request_ids),
            "checkpoints": {f"step {c.step}": c.sha256 for c in data.checkpoints},
        }
        return self.show({PAGE: document_page("Rewind prefix", facts)})

    def compute_content_hash(self, data: RewindPrefix) -> str | None:
        return self._stored.dvc_hash if self._stored else None
