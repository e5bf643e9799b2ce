"""What the model is still worth: accuracy on forget, retain and held-out records, and its gap to the oracles.

The guard: held-out accuracy not more than a margin below the oracles' mean. The records are the same for every model,
so the interval of a gap is over training runs, the model's own spread taken from the oracles'; the interval of an
accuracy is Wilson's, over records.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from expunge.evaluation.confidence import accuracy, predicted_label, share_interval
from expunge.evaluation.evidence import CheckResult, Control, Details, Power, RoleValue, Verdict
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import MIN_ORACLES, EvaluationSettings
from expunge.evaluation.verdict import (
    TOLERANCE,
    Standing,
    held_back_control,
    oracles_needed,
    rank_p,
    single_model_interval,
)

Array = NDArray[np.float64]
Index = NDArray[np.int64]
GROUPS = ("forget", "retain", "held_out")


def accuracies(inputs: EvaluationInputs, rows: Index) -> dict[str, RoleValue]:
    """Accuracy per role on some rows, each with its 95 % Wilson interval over records (the oracle's: over oracles)."""
    targets = inputs.targets[rows]
    values: dict[str, RoleValue] = {}
    for role, logits in (("original", inputs.original), ("unlearned", inputs.unlearned)):
        share = float(accuracy(logits[rows], targets))
        values[role] = RoleValue(value=share, interval=share_interval(round(share * rows.size), rows.size))
    if not len(inputs.oracles):
        values["oracle"] = RoleValue(note="no oracles")
        return values
    own = np.asarray(accuracy(inputs.oracles[:, rows], targets))
    low, high = np.quantile(own, [0.05, 0.95])
    values["oracle"] = RoleValue(value=own.mean(), interval=(low, high), note="mean and 5 to 95 % of the oracles")
    return values


def gap(inputs: EvaluationInputs, logits: Array, rows: Index) -> tuple[float, tuple[float, float]]:
    """Accuracy of one model (logits [n, K]) minus the oracles' mean, with its 90 % interval over training runs."""
    own = np.asarray(accuracy(inputs.oracles[:, rows], inputs.targets[rows]))
    difference = float(accuracy(logits[rows], inputs.targets[rows])) - float(own.mean())
    return difference, single_model_interval(difference, float(own.std(ddof=1)), len(own))


def utility_table(inputs: EvaluationInputs) -> dict[str, RoleValue]:
    """``<group>_accuracy_<role>`` and ``<group>_gap_<role>`` for forget, retain and held_out: what Evidence carries."""
    table: dict[str, RoleValue] = {}
    for group in GROUPS:
        rows: Index = getattr(inputs, group)
        for role, value in accuracies(inputs, rows).items():
            table[f"{group}_accuracy_{role}"] = value
        for role, logits in (("original", inputs.original), ("unlearned", inputs.unlearned)):
            if not len(inputs.oracles):
                table[f"{group}_gap_{role}"] = RoleValue(note="no oracles")
                continue
            difference, interval = gap(inputs, logits, rows)
            table[f"{group}_gap_{role}"] = RoleValue(
                value=difference, interval=interval, note="minus the oracles' mean"
            )
    return table


class _Guard:
    """The guard on one set of oracles: whether one held-out accuracy is too low."""

    def __init__(self, inputs: EvaluationInputs, margin: float) -> None:
        self.rows, self.margin, self.targets = inputs.held_out, margin, inputs.targets[inputs.held_out]
        self.own = np.asarray(accuracy(inputs.oracles[:, self.rows], self.targets))
        self.mean, self.spread, self.count = float(self.own.mean()), float(self.own.std(ddof=1)), len(self.own)

    def interval(self, difference: float) -> tuple[float, float]:
        return single_model_interval(difference, self.spread, self.count)

    def p_value(self, value: float) -> float:
        """One-sided rank: how many oracles are, left out, at least as far below the others."""
        below = (self.mean - self.own) * self.count / (self.count - 1)
        return rank_p(self.mean - value, below)[1]

    def verdict(self, value: float, level: float) -> Verdict:
        if value - self.mean >= -self.margin:
            return "pass"
        if self.count >= oracles_needed(level):
            return "fail" if self.p_value(value) <= level + TOLERANCE else "pass"
        return "fail" if self.interval(value - self.mean)[1] < -self.margin else "no power"


def utility_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """The utility guard. Its negative control is a model that always answers the commonest class: it must fail.

    pass: not more than the margin below the oracles' mean, or no lower than oracles themselves come out (rank); fail:
    below the margin and lower than (almost) any oracle; no power: below the margin, with too few oracles to rank. An
    oracle fails with the level's probability at most. Without oracles the original stands in for them.
    """
    if not len(inputs.oracles):
        return _against_the_original(inputs, settings)
    guard = _Guard(inputs, settings.utility_margin)
    unlearned = float(accuracy(inputs.unlearned[inputs.held_out], guard.targets))
    commonest = float(np.bincount(guard.targets).max() / guard.targets.size)
    verdict = guard.verdict(unlearned, settings.level)
    held_back = [
        Standing(value, settings.level if guard.verdict(value, settings.level) == "fail" else 1.0)
        for value in np.atleast_1d(accuracy(inputs.held_back[:, guard.rows], guard.targets)).tolist()
    ]
    controls = {
        "constant": Control(
            expected="fail",
            verdict=guard.verdict(commonest, settings.level),
            statistic=commonest - guard.mean,
            p_value=guard.p_value(commonest),
            note="always the commonest class",
        ),
        "oracle": held_back_control(held_back, settings.level).model_copy(update={"p_value": None}),
    }
    if not all(control.holds for control in controls.values()):
        verdict = "no power"
    difference = unlearned - guard.mean
    low, high = guard.interval(difference)
    figures = f"held-out accuracy {unlearned:.1%}, oracles {guard.mean:.1%}, difference {100 * difference:+.1f} points"
    words = {
        "pass": f"as useful as a retrained model ({figures})",
        "fail": f"less useful than a retrained model ({figures}, {100 * settings.utility_margin:g} allowed)",
        "no power": f"no power: {100 * settings.utility_margin:g} points would not be seen for sure ({figures})",
    }
    gaps: Details = {
        group: dict(zip(("gap", "interval"), (value, list(interval)), strict=True))
        for group in GROUPS
        for value, interval in [gap(inputs, inputs.unlearned, getattr(inputs, group))]
    }
    return CheckResult(
        name="utility",
        title="Held-out accuracy against retrained models",
        statistic=difference,
        interval=(low, high),
        p_value=guard.p_value(unlearned),
        values=accuracies(inputs, inputs.held_out),
        controls=controls,
        power=Power(note="the constant model is the negative control; the original is as useful as it was"),
        verdict=verdict,
        margin=settings.utility_margin,
        words=words[verdict],
        details={"gaps": gaps, "oracle_accuracies": guard.own.tolist(), "indicative": guard.count < MIN_ORACLES},
    )


def _against_the_original(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """The guard without oracles: held-out accuracy against the original's, by the records on which they differ.

    The interval is normal, over held-out records: answers that only one of the two gets right (McNemar 1947). A
    retrained model may itself be less accurate than the original, so this guard is stricter, and its words weaker.
    """
    rows, margin = inputs.held_out, settings.utility_margin
    targets = inputs.targets[rows]
    original = predicted_label(inputs.original[rows]) == targets

    def gap_of(right: NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
        each = right.astype(np.float64) - original
        half = float(norm.ppf(1 - settings.level)) * float(each.std()) / np.sqrt(rows.size)
        return float(each.mean()), (float(each.mean() - half), float(each.mean() + half))

    def verdict_of(right: NDArray[np.bool_]) -> Verdict:
        _, (low, high) = gap_of(right)
        return "pass" if low >= -margin else "fail" if high < -margin else "no power"

    unlearned = predicted_label(inputs.unlearned[rows]) == targets
    constant = targets == np.bincount(targets).argmax()
    difference, interval = gap_of(unlearned)
    control = Control(
        expected="fail",
        verdict=verdict_of(constant),
        statistic=gap_of(constant)[0],
        note="always the commonest class",
    )
    verdict = verdict_of(unlearned) if control.holds else "no power"
    figures = (
        f"held-out accuracy {unlearned.mean():.1%}, original {original.mean():.1%}, difference {100 * difference:+.1f}"
        " points; no retrained model to compare with"
    )
    words = {
        "pass": f"about as useful as the original ({figures})",
        "fail": f"less useful than the original ({figures}, {100 * margin:g} allowed)",
        "no power": f"no power: {100 * margin:g} points would not be seen for sure ({figures})",
    }
    return CheckResult(
        name="utility",
        title="Held-out accuracy against the original (no oracle)",
        statistic=difference,
        interval=interval,
        values=accuracies(inputs, rows),
        controls={"constant": control},
        power=Power(note="the constant model is the negative control; there is no oracle for a positive one"),
        verdict=verdict,
        margin=margin,
        words=words[verdict],
        details={"against": "original", "level": settings.level},
    )
