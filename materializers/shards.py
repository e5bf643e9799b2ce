"""Shards of a scoring: a list that a dynamic pipeline maps over, step numbers only."""

from __future__ import annotations

from typing import Any, ClassVar

from zenml.enums import ArtifactType

from expunge.privacy.scoring_shards import ScoringShard, ScoringShards
from materializers.base import ArtifactMaterializer, to_json


class ScoringShardsMaterializer(ArtifactMaterializer):
    """shards.json. An item is one shard."""

    ASSOCIATED_TYPES: ClassVar[tuple[type[Any], ...]] = (ScoringShards, ScoringShard)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def write(self, data: ScoringShards) -> None:
        self.write_files({"shards.json": to_json([shard.__dict__ for shard in data.shards])})

    def read(self, data_type: type[Any]) -> ScoringShards:
        return ScoringShards(
            tuple(ScoringShard(**{**raw, "steps": tuple(raw["steps"])}) for raw in self.read_json("shards.json"))
        )

    def get_item_count(self, data: ScoringShards) -> int:
        return len(data)

    def load_item(self, data_type: type[Any], index: int) -> ScoringShard:
        return self.read(ScoringShards).shards[index]

    def extract_metadata(self, data: ScoringShards) -> dict[str, Any]:
        return {"shards": len(data)}
