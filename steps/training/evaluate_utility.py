"""How useful is the model? Accuracy on both sides of the split, beside the share of the commonest class."""

from typing import Annotated

import numpy as np
from zenml import step

from expunge.data import RecordTable
from expunge.facts import Facts
from expunge.models.trained import TrainedModel
from expunge.settings import ProjectSettings
from steps.shared import accuracy


@step(enable_cache=False)
def evaluate_utility(
    model: TrainedModel, training_records: RecordTable, held_out_records: RecordTable, settings: ProjectSettings
) -> Annotated[Facts, "utility"]:
    counts = np.bincount(held_out_records.targets)
    return Facts(
        "Utility",
        {
            "training_accuracy": accuracy(model, training_records, settings.device),
            "held_out_accuracy": accuracy(model, held_out_records, settings.device),
            "commonest_class": float(counts.max() / counts.sum()),
            "held_out_records": len(held_out_records),
        },
    )
