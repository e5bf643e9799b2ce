"""Two ensembles of models a record, unlearned and never trained on it: how they are drawn from the shadows and judged.

KLOM and the forgetting quality differ in what they compute of the two; everything else is here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.confidence import phi as logit_confidence
from expunge.evaluation.evidence import CheckResult, Details, Power, RoleValue
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.shadow_judging import (
    Equivalence,
    ShadowJudgement,
    equivalence,
    gaussian_shift,
    judge_shadows,
    missing_shadows,
    no_shadow_power,
    over_models,
    permuted_rows,
    usable_columns,
)

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
PerRecord = Callable[[Array, Mask, Mask], Array]
ARM = 64
SPLITS = 8
POWER_NOTE = "the margin, the interval over models and both controls show the power"


def split_arms(trained: Mask, priority: Array) -> tuple[Mask, Mask, Mask]:
    """(unlearned, never-trained, other never-trained): three disjoint sets of models of one size per record, [M, a].

    priority [M, a] in [0, 1) decides who is in which; the size is the smaller of the trained and of half the others.
    """
    inside = trained.sum(axis=0)
    size = np.minimum(inside, (len(trained) - inside) // 2)
    place = places(np.where(trained, priority, priority + 1))
    rest = place - inside
    return trained & (place < size), ~trained & (rest < size), ~trained & (rest >= size) & (rest < 2 * size)


def places(values: Array) -> Index:
    """Rank of each value within its column, from 0: [M, a] -> [M, a]."""
    result = np.empty(values.shape, dtype=np.int64)
    np.put_along_axis(result, np.argsort(values, axis=0), np.arange(len(values))[:, None], axis=0)
    return result


def priorities(shape: tuple[int, ...], seed: int, splits: int = SPLITS) -> Array:
    """Random priorities [splits, M, a], drawn once: leaving models out moves few others to another half."""
    return np.random.default_rng(seed).random((splits, *shape))


def split_and_null(phi: Array, trained: Mask, drawn: Array, of: PerRecord) -> tuple[Array, Array]:
    """of(phi, unlearned, never) and of(phi, other never, never), each [a], the mean over the splits drawn."""
    split, null = np.zeros(phi.shape[1]), np.zeros(phi.shape[1])
    for priority in drawn:
        unlearned, never, other = split_arms(trained, priority)
        split += of(phi, unlearned, never) / len(drawn)
        null += of(phi, other, never) / len(drawn)
    return split, null


def two_gaussians(half: int, auc_margin: float, of: PerRecord, records: int = 10000) -> float:
    """What ``of`` reads on two Gaussians with AUC 1/2 + ``auc_margin``, ``half`` models an arm, less identical ones."""
    phi = np.random.default_rng(0).normal(size=(2 * half, records))
    first = np.repeat([True, False], half)[:, None] & np.ones(records, dtype=bool)
    moved = phi + gaussian_shift(auc_margin) * first
    return float((of(moved, first, ~first) - of(phi, first, ~first)).mean())


@dataclass(frozen=True, eq=False)
class Ensembles:
    """phi [M, a] of the usable records to forget, after unlearning and, where there is such, before; who trained."""

    stacks: list[Array]
    trained: Mask
    left_out: int
    seed: int

    @classmethod
    def of(
        cls, inputs: EvaluationInputs, settings: EvaluationSettings, name: str, title: str
    ) -> Ensembles | CheckResult:
        """From ``inputs.shadows``, or the result that says what is missing."""
        shadows = inputs.shadows
        if shadows is None:
            return no_shadow_power(name, title, None, missing_shadows(2 * ARM))
        columns = usable_columns(shadows.trained, shadows.forget, ARM)
        if columns.size < settings.min_records:
            return no_shadow_power(name, title, None, *_too_small(shadows.trained, shadows.forget, settings))
        stacks = [shadows.phi[:, columns]]
        if shadows.before is not None:
            stacks.append(logit_confidence(shadows.before, shadows.targets)[:, columns])
        left_out = int(shadows.forget.sum()) - columns.size
        return cls(stacks, shadows.trained[:, columns], left_out, settings.seed)

    @cached_property
    def drawn(self) -> Array:
        return priorities(self.trained.shape, self.seed)

    def judged(
        self, difference: Callable[[Array, Mask, Array], float], margin: float
    ) -> tuple[list[Equivalence], ShadowJudgement]:
        """A statistic (phi, trained, priorities; 0 where nothing is left) over models.

        Returns:
            The equivalence of each stack (after unlearning, then before) and the verdict with its controls.
        """
        models = len(self.trained)
        value, half = over_models(
            lambda rows: np.array([difference(s[rows], self.trained[rows], self.drawn[:, rows]) for s in self.stacks]),
            models,
            self.seed,
        )
        bounds = [equivalence(float(v), float(h), margin, models) for v, h in zip(value, half, strict=True)]
        null = np.array(
            [difference(self.stacks[0], each, self.drawn) for each in permuted_rows(self.trained, self.seed)]
        )
        return bounds, judge_shadows(bounds[0], bounds[1] if len(bounds) > 1 else None, null, models)

    def result(
        self,
        name: str,
        title: str,
        bounds: list[Equivalence],
        judged: ShadowJudgement,
        values: dict[str, RoleValue],
        half: int,
        words: str,
        details: Details,
    ) -> CheckResult:
        """The check's result; ``half``: models an arm of split and null."""
        return CheckResult(
            name=name,
            title=title,
            statistic=bounds[0].value,
            interval=bounds[0].interval,
            p_value=judged.p_value,
            values=values,
            controls=judged.controls,
            power=Power(models=len(self.trained), note=POWER_NOTE),
            verdict=judged.verdict,
            margin=bounds[0].margin,
            words=words,
            details={
                "reason": judged.reason,
                "negligible": bounds[0].verdict == "pass",
                "models_needed": judged.models_needed,
                "to_do": judged.to_do,
                "models_an_arm_of_split_and_null": half,
                "records": self.trained.shape[1],
                "records_left_out": self.left_out,
                **details,
            },
        )


def _too_small(trained: Mask, forget: Mask, settings: EvaluationSettings) -> tuple[str, Details]:
    """Why an ensemble statistic has no power, with the models and records it needs."""
    inside = trained[:, forget].sum(axis=0)
    arms = np.minimum(inside, len(trained) - inside)
    typical = int(np.median(arms)) if arms.size else 0
    usable = int((arms >= ARM).sum())
    numbers: Details = {"models_an_arm": typical, "models_an_arm_needed": ARM, "records": usable}
    if arms.size < settings.min_records:
        return f"{arms.size} records to forget among the shadows, {settings.min_records} needed", numbers
    reason = f"{typical} models an arm, {ARM} needed"
    if typical:
        reason += f"; `expunge evaluate --shadows {-(-len(trained) * ARM // typical)}` trains them"
    if usable:
        reason += f" ({usable} records have them, {settings.min_records} needed)"
    return reason, numbers
