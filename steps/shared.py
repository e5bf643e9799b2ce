"""Small things that several steps need: model specs, trained models, accuracies."""

from __future__ import annotations

from typing import Any

import numpy as np

from expunge.data import RecordTable
from expunge.models import ModelSpec
from expunge.models.trained import TrainedModel
from expunge.settings import ProjectSettings
from expunge.training import Trajectory, predict


def model_spec(settings: ProjectSettings, table: RecordTable) -> ModelSpec:
    """The scenario's model for these records."""
    return ModelSpec(
        name=settings.model.name,
        in_shape=tuple(table.features.shape[1:]),
        classes=table.classes,
        integer_inputs=bool(np.issubdtype(table.features.dtype, np.integer)),
        options=dict(settings.model.options),
    )


def trained_model(trajectory: Trajectory) -> TrainedModel:
    """The last weights of a trajectory as a model to serve."""
    facts: dict[str, Any] = {
        "trajectory": trajectory.digest,
        "parent": str(trajectory.run.get("parent", "")),
        "data_fingerprint": trajectory.run["data_fingerprint"],
        "records": len(trajectory.record_ids),
        "method": str(trajectory.run.get("method", "train")),
    }
    return TrainedModel(trajectory.model_spec, trajectory.state(trajectory.final).model_state(), facts)


def accuracy(model: TrainedModel, table: RecordTable, device: str) -> float:
    """Share of records whose class is predicted."""
    return float((predict(model.spec, model.state, table, device).argmax(axis=1) == table.targets).mean())


def union(first: RecordTable, second: RecordTable) -> RecordTable:
    """Two disjoint tables of one source as one."""
    from expunge.data.record_table import make_table

    return make_table(
        features=np.concatenate([first.features, second.features]),
        targets=np.concatenate([first.targets, second.targets]),
        record_ids=[*first.record_ids, *second.record_ids],
        subject_ids=[*first.subject_ids, *second.subject_ids],
        classes=first.classes,
        name=first.name,
        source=first.source,
        class_names=first.class_names,
        image_shape=first.image_shape,
    )
