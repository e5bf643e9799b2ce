"""Train every model of some cases: judges, controls, and the mutants whose truth is known by construction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from evidence_worlds import World
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call

from expunge.data import RecordTable
from expunge.evaluation.confidence import phi
from expunge.models import build_model
from expunge.training import StackedJob, predict, train_stacked
from expunge.training.randomness import derived_seed
from expunge.training.stacked import StackedModels

Rows = NDArray[np.int64]
FOLDS, REPEATS = 4, 2
RETAIN_SAMPLE = 300
ASCENT = (20, 0.05)
NOISY_LABEL_STEPS = 0.1
FINE_TUNE_STEPS = 0.25
# Retrained without the records from the original's own initialisation and noise: what a rewound model shares with it.
SAME_RUN = "oracle seed of the original"


@dataclass(frozen=True)
class Case:
    """Row numbers of one case in the world's table, and the seed that everything in it derives from."""

    seed: int
    train: Rows
    held_out: Rows
    forget: Rows
    difficulty: NDArray[np.float64]

    @property
    def retain(self) -> Rows:
        return np.setdiff1d(self.train, self.forget)


def train_cases(world: World, table: RecordTable, numbers: list[int], seed: int) -> list[dict[str, NDArray]]:
    """All outputs of some cases, one mapping of arrays a case (see ``_outputs``)."""
    cases = draw_cases(world, table, [derived_seed(seed, world.name, number) for number in numbers])
    spec = world.spec(table)
    jobs, names = [], []
    for k, case in enumerate(cases):
        for name, rows in _training_sets(world, case):
            jobs.append(StackedJob(derived_seed(case.seed, "original" if name == SAME_RUN else name), rows))
            names.append((k, name))
    models = train_stacked(spec, table, world.config, jobs, world.sampling_rate)
    logits = models.logits(table)
    states = list(models.states())
    found: list[dict[str, NDArray]] = []
    originals = [names.index((k, "original")) for k in range(len(cases))]
    tuned = _fine_tune(world, table, cases, [states[at] for at in originals])
    for k, case in enumerate(cases):
        own = {name: logits[at] for at, (owner, name) in enumerate(names) if owner == k}
        state = states[originals[k]]
        own["fine-tuned"] = tuned[k]
        own["label noise"] = _label_noise(world, table, case, state)
        own["over-forgotten"] = _ascend(world, table, case, state)
        found.append(_outputs(case, own))
    return found


def draw_cases(world: World, table: RecordTable, seeds: list[int]) -> list[Case]:
    """Split, cross-fit difficulty, and draw the forget set from the hardest training records."""
    splits, jobs, left_out = [], [], []
    for own in seeds:
        rng = np.random.default_rng(own)
        rows = rng.permutation(len(table))[: world.train + world.held_out]
        train, held_out = np.sort(rows[: world.train]), np.sort(rows[world.train :])
        splits.append((train, held_out))
        for repeat in range(REPEATS):
            for number, fold in enumerate(np.array_split(rng.permutation(train), FOLDS)):
                jobs.append(StackedJob(derived_seed(own, f"fold {repeat}", number), np.setdiff1d(train, fold)))
                left_out.append(fold)
    found = train_stacked(world.spec(table), table, world.config, jobs, world.sampling_rate).logits(table)
    confident = phi(found, table.targets)
    cases, each = [], FOLDS * REPEATS
    for k, (own, (train, held_out)) in enumerate(zip(seeds, splits, strict=True)):
        difficulty = np.zeros(len(table))
        difficulty[held_out] = -confident[k * each : (k + 1) * each, held_out].mean(axis=0)
        for at in range(k * each, (k + 1) * each):
            difficulty[left_out[at]] -= confident[at, left_out[at]] / REPEATS
        hardest = train[np.argsort(-difficulty[train], kind="stable")[: world.pool]]
        rng = np.random.default_rng(derived_seed(own, "forget"))
        cases.append(Case(own, train, held_out, np.sort(rng.choice(hardest, world.forget, replace=False)), difficulty))
    return cases


def _training_sets(world: World, case: Case) -> list[tuple[str, Rows]]:
    """Name and training rows of every model that is trained from its initialisation."""
    sets = [("original", case.train), (SAME_RUN, case.retain)]
    for purpose, count in (("oracle", world.oracles), ("held back", world.held_back), ("oracle seed", 2)):
        sets += [(f"{purpose} {k}", case.retain) for k in range(count)]
    sets += [(f"half kept {k}", keeping(case, 0.5, f"control {k}")) for k in range(world.half_kept)]
    return [*sets, ("half", keeping(case, 0.5, "half")), ("tenth", keeping(case, 0.1, "tenth"))]


def keeping(case: Case, share: float, purpose: str) -> Rows:
    rng = np.random.default_rng(derived_seed(case.seed, purpose))
    kept = rng.choice(case.forget, round(share * len(case.forget)), replace=False)
    return np.sort(np.concatenate([case.retain, kept]))


def _fine_tune(world: World, table: RecordTable, cases: list[Case], states: list[dict[str, Tensor]]) -> NDArray:
    """Plain fine-tuning on the retain set for a quarter of the steps, at the training's rate and without noise."""
    from expunge.training import NoiseConfig
    from expunge.training.state import TrainingState

    stack = TrainingState({n: torch.stack([s[n] for s in states]) for n in states[0]}, {}, {})
    start = (world.steps, StackedModels(world.spec(table), stack))
    steps = world.steps + round(FINE_TUNE_STEPS * world.steps)
    config = world.config.model_copy(update={"steps": steps, "noise": NoiseConfig(convention="implicit")})
    jobs = [StackedJob(derived_seed(case.seed, "fine-tune"), case.retain) for case in cases]
    return train_stacked(world.spec(table), table, config, jobs, world.sampling_rate, start=start).logits(table)


def _label_noise(world: World, table: RecordTable, case: Case, state: dict[str, Tensor]) -> NDArray:
    """Fine-tuning on everything, the forget records with random labels, for a tenth of the steps."""
    generator = torch.Generator().manual_seed(derived_seed(case.seed, "label noise"))
    y = torch.from_numpy(table.targets).clone()
    y[case.forget] = torch.randint(0, table.classes, (len(case.forget),), generator=generator)
    rows = torch.from_numpy(case.train)
    x = torch.from_numpy(table.features)
    weights = {name: tensor.clone() for name, tensor in state.items()}
    for _ in range(round(NOISY_LABEL_STEPS * world.steps)):
        picked = rows[torch.rand(len(rows), generator=generator) < world.sampling_rate]
        weights = _step(world, table, weights, x[picked], y[picked], -world.learning_rate / world.batch)
    return predict(world.spec(table), weights, table)


def _ascend(world: World, table: RecordTable, case: Case, state: dict[str, Tensor]) -> NDArray:
    """Gradient ascent on the forget set: the classic over-forgetting."""
    x, y = torch.from_numpy(table.features[case.forget]), torch.from_numpy(table.targets[case.forget])
    weights = {name: tensor.clone() for name, tensor in state.items()}
    steps, rate = ASCENT
    for _ in range(steps):
        weights = _step(world, table, weights, x, y, rate / len(y))
    return predict(world.spec(table), weights, table)


def _step(world: World, table: RecordTable, weights: dict[str, Tensor], x: Tensor, y: Tensor, rate: float):  # type: ignore[no-untyped-def]
    """weights + rate * gradient of the summed loss."""
    model = build_model(world.spec(table))
    leaves = {name: tensor.detach().requires_grad_(True) for name, tensor in weights.items()}
    loss = torch.nn.functional.cross_entropy(functional_call(model, leaves, (x,)), y, reduction="sum")
    slopes = torch.autograd.grad(loss, list(leaves.values()))
    return {name: (leaf + rate * slope).detach() for (name, leaf), slope in zip(leaves.items(), slopes, strict=True)}


def _outputs(case: Case, own: dict[str, NDArray]) -> dict[str, NDArray]:
    """Logits float32 on the forget, held-out and a sample of the retain records, by model name, with what they are."""
    rng = np.random.default_rng(derived_seed(case.seed, "retain sample"))
    retain = np.sort(rng.choice(case.retain, min(RETAIN_SAMPLE, len(case.retain)), replace=False))
    rows = np.concatenate([case.forget, retain, case.held_out])
    return {
        "rows": rows,
        "train": case.train,
        "sizes": np.array([len(case.forget), len(retain), len(case.held_out)]),
        "difficulty": case.difficulty[rows],
        "names": np.array(list(own)),
        "logits": np.stack([logits[rows] for logits in own.values()]),
    }
