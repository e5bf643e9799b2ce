"""How much influence is left after a rewind, and does the shared start fake any? (docs/adr/0005)

    .venv/bin/python benchmarks/influence_by_rewind.py

One original of the digits scenario, 64 of its hardest records, 4 sets of 40 oracles with 20 held-back ones each (the
null), 16 rewound models a point, judged by each set. Prints influence and excess (mean and standard error over
models) and the share that the distance test alone refuses, with its range over the four sets.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from expunge.data import load_records
from expunge.evaluation.confidence import phi
from expunge.evaluation.influence import model_influence
from expunge.evaluation.oracle_reference import OracleReference
from expunge.models import ModelSpec
from expunge.privacy.trajectory_scores import score_trajectory, trajectory_losses
from expunge.settings import load_settings
from expunge.training import StackedJob, predict, train, train_stacked
from expunge.training.randomness import derived_seed
from expunge.unlearning.methods import METHODS, Procedure
from expunge.unlearning.references import train_references
from expunge.unlearning.share_curve import share_before

ROOT = Path(__file__).resolve().parents[1]
MODELS = 16
SETS = 4
NUMBERS = ("influence", "excess")
STEPS = (0, 147, 294, 382, 470, 529, 588)


def main() -> None:
    """Measure and print."""
    settings = load_settings(ROOT / "configs" / "digits.yaml")
    table = load_records(settings.data.name, settings.data.options)
    training, _ = table.split(settings.data.held_out, settings.data.split_seed)
    spec = ModelSpec(settings.model.name, table.features.shape[1:], table.classes, options=dict(settings.model.options))
    with tempfile.TemporaryDirectory() as folder:
        trajectory = train(spec, training, settings.training, Path(folder))
        losses = trajectory_losses(score_trajectory(trajectory, table), trajectory, settings.scoring.order, 1.0)
        ids = [record for record, _ in losses.hardest(70)][:64]
        rows = np.sort(table.rows(ids))
        y, procedure = table.targets[rows], Procedure.of(trajectory)
        sets = [
            train_references(procedure, table, trajectory.record_ids, ids, {"verdict": 40, "held_back": 20}, 77 + i)
            for i in range(SETS)
        ]
        oracles = [phi(made.verdict[:, rows], y) for made in sets]
        held_back = [phi(made.held_back[:, rows], y) for made in sets]
        original = phi(predict(spec, trajectory.state(trajectory.final).model_state(), table)[rows], y)
        _line("held-back oracles", 0.0, held_back, oracles, original)
        retain = np.setdiff1d(table.rows(trajectory.record_ids), rows)
        for step in STEPS:
            start = METHODS["rewind"].continuation(trajectory, step, 0)
            jobs = [StackedJob(derived_seed(99, f"rewind:{step}", i), retain) for i in range(MODELS)]
            models = train_stacked(spec, table, start.config, jobs, procedure.sampling_rate, start=start.start).logits(
                table
            )
            share = share_before(losses, ids, step)
            _line(f"rewind to {step}", share, [phi(models[:, rows], y)] * SETS, oracles, original)


def _line(name: str, share: float, runs: list[np.ndarray], oracles: list[np.ndarray], original: np.ndarray) -> None:
    """`runs` and `oracles`: phi [models, m] and phi [40, m], one of each a set."""
    made = [[model_influence(run, own, original) for run in group] for group, own in zip(runs, oracles, strict=True)]
    influence, excess = (np.array([[getattr(m, k) for m in row] for row in made], dtype=float) for k in NUMBERS)
    references = [OracleReference(own) for own in oracles]
    refused = [
        np.mean([reference.rank(run).p_value <= 0.05 for run in group])
        for reference, group in zip(references, runs, strict=True)
    ]
    shown = [f"{v.mean():+.3f} +- {v.mean(axis=0).std() / np.sqrt(v.shape[1]):.3f}" for v in (influence, excess)]
    print(
        f"{name:20s} share spent {share:.2f}  influence {shown[0]}  excess {shown[1]}"
        f"  refused by distance {np.mean(refused):.2f} ({min(refused):.2f} to {max(refused):.2f})",
        flush=True,
    )


if __name__ == "__main__":
    main()
