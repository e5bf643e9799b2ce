"""From a plan to a model that forgot: look oracles, the run, and the trajectory that takes the old one's place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expunge.data import RecordTable
from expunge.training import Trajectory, predict
from expunge.training.randomness import derived_seed
from expunge.unlearning.methods import Procedure
from expunge.unlearning.plan import WITHOUT_LOOKS, UnlearningPlan, UnlearningRun
from expunge.unlearning.references import train_references
from expunge.unlearning.runner import FINE_TUNE_LOOKS, unlearn
from expunge.unlearning.stopping import LookReference, Staying

# Records that stay, on which a look asks whether the run disturbed them.
STAYING = 500
Report = Callable[[str, int, int], None]


def forget(
    plan: UnlearningPlan,
    trajectory: Trajectory,
    table: RecordTable,
    retain: RecordTable,
    forget_ids: Sequence[str],
    directory: Path,
    *,
    look_oracles: int,
    level: float,
    seed: int,
    facts: Mapping[str, Any],
    requests: Mapping[str, Sequence[str]] | None = None,
    report: Report = lambda what, done, total: None,
    device: str = "cpu",
) -> tuple[UnlearningRun, Trajectory]:
    """Carry out `plan` and return the run and the new trajectory, its contaminated prefix as tombstones.

    Args:
        table: the records that the trajectory was trained on; `retain`: those that stay.
        look_oracles: models retrained to look at the run on its way; they never judge its result.
        level: significance of all looks together (a fixed number of looks shares it, METHOD section 6).
        requests: record ids by request, for looks to say whose records are still remembered.
    """
    reference, look_seeds = None, []
    if plan.method not in WITHOUT_LOOKS:
        procedure = Procedure.of(trajectory, device)
        rng = np.random.default_rng(derived_seed(seed, "records that stay"))
        stay = [retain.record_ids[k] for k in sorted(rng.permutation(len(retain))[:STAYING])]
        shown = table.select([*forget_ids, *stay])
        made = train_references(
            procedure, table, retain.record_ids, (), {"look": look_oracles}, seed, shown,
            lambda done, total: report("look oracles", done, total),
        )  # fmt: skip
        look_seeds = made.seeds["look"]
        looks = len(plan.attempts) or FINE_TUNE_LOOKS
        chosen = table.select(forget_ids)
        original = predict(procedure.spec, trajectory.state(trajectory.final).model_state(), chosen, device)
        own = level / max(1, looks)
        forgotten, staying = shown.rows(chosen.record_ids), shown.rows(stay)
        reference = LookReference(
            procedure.spec, chosen, original, made.look[:, forgotten], plan.target, own, device,
            staying=Staying(shown.select(stay), made.look[:, staying]),
            requests={name: chosen.rows([i for i in ids if i in chosen.position]) for name, ids in
                      (requests or {}).items()},
        )  # fmt: skip
    run, result = unlearn(
        plan, trajectory, retain, reference, directory, seed=seed, facts=facts, device=device,
        progress=lambda done, total: report("unlearning", done, total),
    )  # fmt: skip
    run = run.model_copy(update={"seeds": {**run.seeds, "look": look_seeds}})
    if plan.method == "retrain":
        return run, result
    start = int(result.run["start_step"])
    return run, result.following(trajectory, start + 1)
