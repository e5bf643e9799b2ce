"""Does a procedure forget noise planted in its inputs? Canaries: made, trained on, unlearned, and scored.

Gaussian poisoning of Pawelczyk et al. 2024 (arXiv 2406.17216); the test of the scores is `expunge.evaluation.gus`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.data import RecordTable
from expunge.errors import UsageError
from expunge.evaluation.canary_scores import ROLES, CanaryScores
from expunge.models import ModelSpec, build_model
from expunge.training import StackedJob, Trajectory, train, train_stacked
from expunge.training.randomness import derived_seed, generator
from expunge.unlearning.methods import Procedure

State = Mapping[str, Tensor]
Array = NDArray[np.float64]
Unlearn = Callable[[Trajectory, RecordTable, Path], State]
ADDED, FRESH = "canary", "canary control"


def canary_noise(
    record_ids: Sequence[str], shape: tuple[int, ...], seed: int, purpose: str = ADDED
) -> NDArray[np.float32]:
    """Standard normal noise float32 [c, *shape], a function of (seed, purpose, record id) alone."""
    return np.stack([torch.randn(shape, generator=generator(seed, f"{purpose}:{r}")).numpy() for r in record_ids])


def poison(table: RecordTable, record_ids: Sequence[str], eps: float, seed: int) -> RecordTable:
    """The table with eps times the canary noise added to the features of the given records; nothing is clipped.

    Its `source` says what was added, and its fingerprint is another.

    Raises:
        UsageError: token ids instead of numbers, eps not above 0, no records.
        NotFoundError: a record that the table lacks.
    """
    if not np.issubdtype(table.features.dtype, np.floating):
        raise UsageError("Token ids take no Gaussian noise.", "Canaries need features that are real numbers.")
    if not (eps > 0 and np.isfinite(eps)) or not len(record_ids):
        raise UsageError(f"{len(record_ids)} canaries with noise of deviation {eps}.", "Both must be above 0.")
    rows = table.rows(record_ids)
    features = table.features.copy()
    features[rows] += np.float32(eps) * canary_noise(record_ids, features.shape[1:], seed)
    source = {**table.source, "canaries": {"eps": eps, "seed": seed, "record_ids": sorted(record_ids)}}
    return replace(table, features=features, source=source)


def input_directions(
    spec: ModelSpec, state: State, table: RecordTable, record_ids: Sequence[str], chunk: int = 256
) -> Array:
    """Direction of each record's loss gradient by its own features, unit vectors [c, features]; NaN where it is 0.

    The loss is log(1 + exp(-phi)) of the logit-scaled confidence phi, so the gradient of -phi has the same direction;
    unlike the loss it does not vanish in float32 where the model is certain. In eval mode a record's output depends on
    no other, so one backward pass of the sum gives every record's own gradient.

    Raises:
        UsageError: a model of token ids.
        NotFoundError: a record that the table lacks.
    """
    if spec.integer_inputs:
        raise UsageError("Token ids have no input gradient.", "Canaries need features that are real numbers.")
    model = build_model(spec)
    model.load_state_dict(dict(state))
    model.eval().requires_grad_(False)
    rows = table.rows(record_ids)
    x, y = torch.from_numpy(table.features[rows]), torch.from_numpy(table.targets[rows])
    parts = []
    for features, targets in zip(x.split(chunk), y.split(chunk), strict=True):
        leaf = features.clone().requires_grad_(True)
        logits = model(leaf)
        own = torch.nn.functional.one_hot(targets, logits.shape[1]).bool()
        others = logits.masked_fill(own, -torch.inf).logsumexp(dim=1)
        (gradient,) = torch.autograd.grad((others - logits[own]).sum(), leaf)
        parts.append(gradient.flatten(1).double().numpy())
    gradients = np.concatenate(parts)
    norms = np.linalg.norm(gradients, axis=1, keepdims=True)
    result: Array = np.where(norms > 0, gradients / np.where(norms > 0, norms, 1.0), np.nan)
    return result


def canary_scores(
    spec: ModelSpec, state: State, table: RecordTable, record_ids: Sequence[str], seed: int, purpose: str = ADDED
) -> Array:
    """I = -<grad loss(clean x), xi> / (eps ||grad||) of each record, float64 [c]; NaN where there is no gradient.

    `table` holds the CLEAN features. `purpose` FRESH scores noise that was never added: the control. eps cancels.
    """
    noise = canary_noise(record_ids, table.features.shape[1:], seed, purpose).astype(np.float64)
    directions = input_directions(spec, state, table, record_ids)
    result: Array = -(directions * noise.reshape(len(noise), -1)).sum(axis=1)
    return result


def gus_experiment(
    procedure: Procedure,
    table: RecordTable,
    training_ids: Sequence[str],
    canary_ids: Sequence[str],
    unlearn: Unlearn,
    eps: float,
    seed: int,
    directory: Path,
) -> CanaryScores:
    """Train an original on the poisoned table, unlearn the canaries, train an oracle without them, and score all three.

    Args:
        canary_ids: some of `training_ids`; their features get the noise, and they are the forget set.
        unlearn: (the original's trajectory, retain table, working folder) -> parameters and buffers.
        directory: where the original's trajectory and the unlearning's files go.

    Raises:
        UsageError: a canary outside the training records, fewer than two canaries.
    """
    training, canaries = set(training_ids), sorted(set(canary_ids))
    if len(canaries) < 2 or not set(canaries) < training:
        raise UsageError(
            f"{len(canaries)} canaries among {len(training)} training records.",
            "Name at least two training records, and leave others.",
        )
    poisoned = poison(table.select(sorted(training)), canaries, eps, seed)
    retain = poisoned.without(canaries)
    spec, config, q = procedure.spec, procedure.config, procedure.sampling_rate
    own = config.model_copy(update={"seed": derived_seed(seed, "canary original")})
    trajectory = train(
        spec, poisoned, own, directory / "original",
        sampling_rate=q, facts={"canaries": len(canaries)}, device=procedure.device,
    )  # fmt: skip
    rows = np.arange(len(retain))
    job = StackedJob(derived_seed(seed, "canary oracle"), rows)
    states: dict[str, State] = {
        "original": trajectory.state(trajectory.final).model_state(),
        "unlearned": unlearn(trajectory, retain, directory / "unlearned"),
        "oracle": next(train_stacked(spec, retain, config, [job], q, device=procedure.device).states()),
    }
    scores, fresh, lost = {}, {}, {}
    for role in ROLES:
        own_scores = canary_scores(spec, states[role], table, canaries, seed)
        control = canary_scores(spec, states[role], table, canaries, seed, FRESH)
        known = np.isfinite(own_scores)
        scores[role], fresh[role], lost[role] = own_scores[known], control[known], int((~known).sum())
    return CanaryScores(**scores, fresh=fresh, eps=eps, without_gradient=lost)
