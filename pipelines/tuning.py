"""Which kernels are fastest here, for the scenario's model and a batch of its records? Timed once, kept as a table."""

from __future__ import annotations

import torch

from adapters import kernel_table
from adapters.kernel_table import KernelTable, circumstances
from expunge.data import load_records
from expunge.errors import IntegrityError
from expunge.models import build_model
from expunge.privacy.kernel_choice import KernelChoice
from expunge.privacy.scorer import GradientNormScorer
from expunge.privacy.scoring_parts import LOSS
from expunge.settings import ProjectSettings
from steps.shared import model_spec


def tune(settings: ProjectSettings) -> KernelTable:
    """Time every candidate of every layer and keep the fastest; layers of other models timed here before stay."""
    records = load_records(settings.data.name, settings.data.options)
    choice = KernelChoice(timing=True)
    scorer = GradientNormScorer(
        build_model(model_spec(settings, records)).to(settings.device),
        LOSS,
        kernels=choice,
        low_precision=settings.scoring.precision == "bfloat16",
        chunk=settings.scoring.batch,
    )
    batch = slice(0, settings.scoring.batch)
    list(scorer.norms([(torch.from_numpy(records.features[batch]), torch.from_numpy(records.targets[batch]))]))
    here = circumstances(settings.device)
    made = KernelTable({**_before(here), **choice.timed}, here)
    if made.kernels:
        kernel_table.save(made)
    return made


def _before(here: dict[str, object]) -> dict[str, str]:
    try:
        table = kernel_table.load()
    except IntegrityError:  # what cannot be read is replaced
        return {}
    return dict(table.kernels) if table is not None and table.made_with == here else {}
