"""What `expunge init` writes: a configuration and two functions that run as they are and say what to replace."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.project import Project

SETTINGS = """\
# Your project. Commands find it from any folder below, or with `expunge --project DIR ...`.
data:
  name: my_records:load          # the function `load` of my_records.py; or digits, tabular, cifar10 ...
  # name: tabular
  # options: {path: records.csv, id: record_id, subject: person, target: label}
  held_out: 0.2
model:
  name: my_model:make            # the function `make` of my_model.py; or mlp, small_cnn, resnet18, vit_small
  options: {hidden: 32}
  registered_as: my-model
training:
  steps: 600
  batch_size: 64
  learning_rate: 0.2
  noise: {convention: mean_gradient, sigma: 0.02}
evaluation:
  gating: [influence]
# storage:                       # a second copy of every checkpoint, beside the project unless this says where
#   remote: s3://bucket/prefix   # or a folder; keys come from AWS's environment variables and files
"""

RECORDS = '''\
"""Your records. Each needs a stable id of its own; subject_ids say whose it is."""

import numpy as np
from sklearn.datasets import load_breast_cancer


def load():
    bunch = load_breast_cancer()  # replace from here: read your own files
    x = np.log1p(bunch.data)  # not scaled by the data's own mean: an erased record would live on in it
    return {
        "features": x,
        "targets": bunch.target,
        "record_ids": [f"case-{i:04d}" for i in range(len(x))],  # replace: ids from your data, never row numbers
        "subject_ids": [f"patient-{i // 2:04d}" for i in range(len(x))],
    }
'''

MODEL = '''\
"""Your model: a function that returns a torch.nn.Module with one output for each class."""

from torch import nn


def make(in_shape, classes, hidden=32):
    width = in_shape[0]
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )
'''


def write_project(project: Project) -> list[Path]:
    """Write the files and return their paths. Raises UsageError where one of them is there already."""
    from expunge.errors import UsageError

    files = {"expunge.yaml": SETTINGS, "my_records.py": RECORDS, "my_model.py": MODEL, ".gitignore": ".expunge/\n"}
    there = [name for name in files if name != ".gitignore" and (project.root / name).exists()]
    if there:
        raise UsageError(f"{project.root / there[0]} exists already.", "Choose a new folder; nothing was changed.")
    project.root.mkdir(parents=True, exist_ok=True)
    project.state.mkdir(exist_ok=True)
    written = []
    for name, content in files.items():
        path = project.root / name
        if not path.exists():
            path.write_text(content)
            written.append(path)
    return written
