"""Can an attacker tell, after fine-tuning, which records of each set had been trained on? U-LiRA, one attack for all.

Hayes et al. 2024 (arXiv 2403.01218), METHOD section 7. Every shadow trains on all other records and on a random half of
the union of the sets, then fine-tunes on the other records alone: it forgets its whole half at once. All sets are
attacked on the same shadows, so that their AUCs differ by the records alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from expunge.evaluation.attacks import auc
from expunge.evaluation.confidence import phi
from expunge.evaluation.shadow_judging import MOST_GROUPS, over_models, permuted_rows
from expunge.evaluation.u_lira import lira_scores
from expunge.reproduction.findings import Estimate
from expunge.reproduction.work import Part, Work
from expunge.reproduction.world import Rows, World
from expunge.training import StackedJob, StackedModels, train_stacked
from expunge.unlearning.shadow_models import balanced_halves

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.int64]
# What `over_models` gives the half-width of.
_CONFIDENCE = 0.90
_VARIANCE_FLOOR = 0.5
# Shadows of one part of the work: about half a minute.
AT_ONCE = 32


@dataclass(frozen=True, eq=False)
class Shadows:
    """phi [costs, M, a] of `rows` [a] after fine-tuning for each of `costs` (0: before), `trained` [M, a]."""

    rows: Rows
    costs: tuple[float, ...]
    phi: Array
    trained: Mask

    def places(self, rows: Rows) -> Index:
        """Columns of these records, which are among `rows`."""
        return np.searchsorted(self.rows, rows)


def forget_by_shadows(
    world: World, work: Work, rows: Rows, costs: Sequence[float], models: int, units: int = 0
) -> Shadows:
    """Train `models` shadows and let each fine-tune, looked at before and after each cost.

    Args:
        rows: the union of the sets, sorted. costs: in units of the original training, increasing.
        units: what one shadow counts of the work expected.
    """
    trained = balanced_halves(models, len(rows), world.seed_of("shadow records"))
    parts = []
    for first in range(0, models, AT_ONCE):
        group = range(first, min(first + AT_ONCE, models))

        def part(group: range = group) -> Part:
            return {"phi": _train_and_forget(world, rows, trained, group, costs)}

        parts.append(work.get(f"{world.name}-shadows-{first}", part, units * len(group))["phi"])
    return Shadows(rows, (0.0, *costs), np.concatenate(parts, axis=1), trained)


def _train_and_forget(world: World, rows: Rows, trained: Mask, group: range, costs: Sequence[float]) -> Array:
    config, last = world.training, world.training.steps
    base = world.retain(rows)
    shown = world.records(rows)

    def jobs(purpose: str, of: Callable[[int], Rows]) -> list[StackedJob]:
        return [StackedJob(world.seed_of(purpose, k), of(k)) for k in group]

    def seen(made: StackedModels) -> Array:
        return phi(made.logits(shown), shown.targets)

    learning = jobs("shadow", lambda k: np.sort(np.concatenate([base, rows[trained[k]]])))
    made = train_stacked(world.spec, world.train, config, learning, world.sampling_rate, device=world.device)
    found, at = [seen(made)], last
    longer = config.model_copy(update={"steps": last + round(max(costs) * last)})
    forgetting = jobs("shadow forgetting", lambda k: base)
    for cost in costs:
        step = last + round(cost * last)
        made = train_stacked(
            world.spec, world.train, longer, forgetting, world.sampling_rate, start=(at, made), until=step,
            device=world.device,
        )  # fmt: skip
        at = step
        found.append(seen(made))
    return np.stack(found)


def set_aucs(shadows: Shadows, cost: int, sets: Mapping[str, Rows], seed: int = 0) -> dict[str, Estimate]:
    """AUC of the attack on each set after `shadows.costs[cost]`, intervals over shadow models."""
    columns = [shadows.places(rows) for rows in sets.values()]
    found = _estimates(shadows, cost, lambda scores, member: [_auc(scores, member, c) for c in columns], seed)
    return dict(zip(sets, found, strict=True))


def auc_contrasts(
    shadows: Shadows, cost: int, first: Rows, others: Mapping[str, Rows], seed: int = 0
) -> tuple[dict[str, Estimate], Estimate]:
    """AUC of set `first` minus that of each other, by name; and minus the largest of them. Over the same shadows."""
    own, columns = shadows.places(first), [shadows.places(rows) for rows in others.values()]

    def differences(scores: Array, member: Mask) -> list[float]:
        theirs = [_auc(scores, member, c) for c in columns]
        mine = _auc(scores, member, own)
        return [*(mine - one for one in theirs), mine - max(theirs)]

    found = _estimates(shadows, cost, differences, seed)
    return dict(zip(others, found[:-1], strict=True)), found[-1]


def null_aucs(shadows: Shadows, cost: int, rows: Rows, seed: int = 0) -> Array:
    """AUCs [60] of the attack on this set under permuted memberships: what chance reads."""
    columns, outputs = shadows.places(rows), shadows.phi[cost]
    return np.array(
        [
            _auc(lira_scores(outputs, member, _VARIANCE_FLOOR, seed), member, columns)
            for member in permuted_rows(shadows.trained, seed)
        ]
    )


def _estimates(shadows: Shadows, cost: int, figures: Callable[[Array, Mask], list[float]], seed: int) -> list[Estimate]:
    models = len(shadows.trained)

    def statistic(some: Index) -> Array:
        member = shadows.trained[some]
        return np.array(figures(lira_scores(shadows.phi[cost][some], member, _VARIANCE_FLOOR, seed), member))

    value, half = over_models(statistic, models, seed, _CONFIDENCE)
    degrees = min(models, MOST_GROUPS) - 1
    error = half / float(student.ppf(0.5 + _CONFIDENCE / 2, degrees))
    return [
        Estimate(value=float(v), standard_error=float(e), degrees=degrees, seeds=models)
        for v, e in zip(value, error, strict=True)
    ]


def _auc(scores: Array, member: Mask, columns: Index) -> float:
    return auc(scores[:, columns].ravel(), member[:, columns].ravel().astype(np.int64))
