"""Do the unlearned model's predictions drift from an oracle's, by Evidently's distances? Never by its automatic tests.

Columns true_class_confidence, loss and margin (normed Wasserstein) and predicted_label (Jensen-Shannon), separately on
forget, retain and held-out records; current = unlearned, reference = one oracle. What two oracles differ by is the
yardstick: a threshold per cell from disjoint oracle pairs, and for the verdict the largest normalised drift, ranked
among the other oracles' drifts from that same reference oracle (exchangeable with an oracle's, so the p-value is
exact up to ties). Numbers come from Evidently's own distance functions; ``drift_page`` makes Evidently's HTML.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.confidence import loss, margin, predicted_label, true_class_confidence
from expunge.evaluation.evidence import CheckResult, Details, Power, RoleValue
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import MIN_ORACLES, EvaluationSettings
from expunge.evaluation.verdict import Judgement, PlantedStanding, Standing, judge, rank_p

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Index = NDArray[np.int64]
NUMBERS = ("true_class_confidence", "loss", "margin")
COLUMNS = (*NUMBERS, "predicted_label")
GROUPS = ("forget", "retain", "held_out")
SMALLEST_DRIFT = 0.01


@contextmanager
def quiet() -> Iterator[None]:
    """Evidently's import and its plots raise deprecation warnings of their dependencies: not the caller's business."""
    with warnings.catch_warnings():
        for category in (DeprecationWarning, FutureWarning, UserWarning, RuntimeWarning, SyntaxWarning):
            warnings.simplefilter("ignore", category)
        yield


class Distances:
    """Evidently's two distance functions, loaded once."""

    def __init__(self) -> None:
        with quiet():
            from evidently.legacy.calculations.stattests import jensenshannon_stat_test, wasserstein_stat_test
            from evidently.legacy.core import ColumnType
        self._tests = {True: wasserstein_stat_test, False: jensenshannon_stat_test}
        self._types = {True: ColumnType.Numerical, False: ColumnType.Categorical}

    def __call__(self, column: str, reference: pd.Series[Any], current: pd.Series[Any]) -> float:
        number = column in NUMBERS
        result = self._tests[number](reference, current, self._types[number], None)
        return float(result.drift_score)


def signals(logits: Array, targets: Index) -> dict[str, pd.Series[Any]]:
    """The four columns of one model on some records (logits [m, K], targets [m])."""
    import pandas as pd

    return {
        "true_class_confidence": pd.Series(true_class_confidence(logits, targets)),
        "loss": pd.Series(loss(logits, targets)),
        "margin": pd.Series(margin(logits, targets)),
        "predicted_label": pd.Series(predicted_label(logits)),
    }


@dataclass(frozen=True)
class Group:
    """Outputs of all models on one group of records; ``oracles[0]`` is the reference."""

    name: str
    targets: Index
    oracles: list[Array]
    candidates: dict[str, Array]

    @cached_property
    def _reference(self) -> dict[str, pd.Series[Any]]:
        return signals(self.oracles[0], self.targets)

    def from_reference(self, distances: Distances, logits: Array) -> list[float]:
        """Drift of one model (logits [m, K]) from the reference oracle, per column."""
        current = signals(logits, self.targets)
        return [distances(column, self._reference[column], current[column]) for column in COLUMNS]

    def between_pairs(self, distances: Distances) -> Array:
        """Drift between disjoint pairs of oracles: [R // 2, columns]."""
        rows = []
        for first, second in zip(self.oracles[0::2], self.oracles[1::2], strict=False):
            a, b = signals(first, self.targets), signals(second, self.targets)
            rows.append([distances(column, a[column], b[column]) for column in COLUMNS])
        return np.array(rows)


@dataclass(frozen=True)
class Drifts:
    """Drifts from the reference oracle over all cells (group x column) and what they are judged by."""

    cells: list[tuple[str, str]]
    oracles: Array
    candidates: dict[str, Array]
    thresholds: Array
    pairs: int

    @cached_property
    def scale(self) -> Array:
        """The oracles' mean drift per cell; distances under 0.01 are nothing (chosen here)."""
        return np.maximum(self.oracles.mean(axis=0), SMALLEST_DRIFT)

    def largest(self, drifts: Array) -> float:
        """Largest drift over cells, each in units of the oracles' mean drift in that cell (chosen here)."""
        return float((drifts / self.scale).max())

    def own(self) -> Array:
        return np.array([self.largest(row) for row in self.oracles])

    def standing(self, drifts: Array) -> Standing:
        value = self.largest(drifts)
        return Standing(value, rank_p(value, self.own())[1])


def measure(groups: list[Group], quantile: float, distances: Distances) -> Drifts:
    """All drifts of the given groups. The reference oracle is not among the oracles that are ranked."""
    names = list(groups[0].candidates)
    count = len(groups[0].oracles)
    oracles = [
        [value for group in groups for value in group.from_reference(distances, group.oracles[k])]
        for k in range(1, count)
    ]
    candidates = {
        name: np.array([v for group in groups for v in group.from_reference(distances, group.candidates[name])])
        for name in names
    }
    pairs = np.concatenate([group.between_pairs(distances) for group in groups], axis=1)
    cells = [(group.name, column) for group in groups for column in COLUMNS]
    return Drifts(cells, np.array(oracles), candidates, np.quantile(pairs, quantile, axis=0), len(pairs))


def _groups(inputs: EvaluationInputs, settings: EvaluationSettings) -> tuple[list[Group], list[str]]:
    groups, notes = [], []
    for name in GROUPS:
        rows: Index = getattr(inputs, name)
        if rows.size < settings.min_records:
            notes.append(f"{name}: {rows.size} records, left out under {settings.min_records}")
            continue
        candidates = {"unlearned": inputs.unlearned[rows], "original": inputs.original[rows]}
        for role, stack in (("held_back", inputs.held_back), ("half_kept", inputs.half_kept)):
            candidates |= {f"{role} {k}": model[rows] for k, model in enumerate(stack)}
        oracles = [model[rows] for model in inputs.oracles]
        groups.append(Group(name, inputs.targets[rows], oracles, candidates))
    return groups, notes


def _planted(inputs: EvaluationInputs, settings: EvaluationSettings, distances: Distances) -> PlantedStanding | None:
    planted = inputs.planted
    if planted is None or len(planted.targets) < settings.min_records:
        return None
    candidates = {"original": planted.original}
    candidates |= {f"held_back {k}": model for k, model in enumerate(planted.held_back)}
    group = Group("planted", planted.targets, list(planted.oracles), candidates)
    drifts = measure([group], settings.drift_quantile, distances)
    original = drifts.standing(drifts.candidates["original"])
    held_back = [drifts.standing(value) for name, value in drifts.candidates.items() if name != "original"]
    return PlantedStanding(original, held_back, float(original.fails(settings.level)))


def drift_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Largest normalised drift from the reference oracle, ranked among the other oracles' (R - 1 of them).

    ``details["table"]`` has one row a cell: group, column, value, original, threshold, exceeded.
    """
    title = "Prediction drift from a retrained model (Evidently distances)"
    groups, notes = _groups(inputs, settings)
    if not groups:
        note = f"every group has fewer than {settings.min_records} records"
        return CheckResult(
            name="drift", title=title, power=Power(note=note), verdict="no power", words=f"no power: {note}"
        )
    distances = Distances()
    drifts = measure(groups, settings.drift_quantile, distances)
    standings = {name: drifts.standing(value) for name, value in drifts.candidates.items()}
    judgement = judge(
        standings["unlearned"],
        standings["original"],
        [standing for name, standing in standings.items() if name.startswith("held_back")],
        [standing for name, standing in standings.items() if name.startswith("half_kept")],
        oracles=len(drifts.oracles),
        settings=settings,
        planted=_planted(inputs, settings, distances),
    )
    own = drifts.own()
    unlearned, original = drifts.candidates["unlearned"], drifts.candidates["original"]
    exceeded = unlearned > drifts.thresholds
    table: list[Details] = [
        {
            "group": group,
            "column": column,
            "value": float(unlearned[k]),
            "original": float(original[k]),
            "threshold": float(drifts.thresholds[k]),
            "exceeded": bool(exceeded[k]),
        }
        for k, (group, column) in enumerate(drifts.cells)
    ]
    low, middle, high = (float(value) for value in np.quantile(own, [0.05, 0.5, 0.95]))
    return CheckResult(
        name="drift",
        title=title,
        statistic=standings["unlearned"].statistic,
        interval=None,
        p_value=standings["unlearned"].p_value,
        values={
            "original": _role(standings["original"]),
            "unlearned": _role(standings["unlearned"]),
            "oracle": RoleValue(value=middle, interval=(low, high), note="median and 5 to 95 % of the oracles' own"),
        },
        controls=judgement.controls,
        power=judgement.power,
        verdict=judgement.verdict,
        little_remembered=judgement.little_remembered,
        words=_words(judgement, int(exceeded.sum()), len(table)),
        details={
            "table": table,  # type: ignore[dict-item]
            "reference": inputs.oracle_ids[0] if inputs.oracle_ids else "oracle 1",
            "pairs": drifts.pairs,
            "oracle_drifts": own.tolist(),
            "negligible": False,
            "worst": " ".join(drifts.cells[int((unlearned / drifts.scale).argmax())]),
            "notes": list(notes),
            "level": settings.level,
            "reason": judgement.reason,
            "indicative": len(drifts.oracles) < MIN_ORACLES,
        },
    )


def _role(standing: Standing) -> RoleValue:
    return RoleValue(
        value=standing.statistic, p_value=standing.p_value, note="largest drift, in units of the oracles' mean drift"
    )


def _words(judgement: Judgement, exceeded: int, cells: int) -> str:
    figures = f"{exceeded} of {cells} distances above what oracle pairs show"
    if judgement.verdict == "no power":
        return f"no power: {judgement.reason} ({figures})"
    if judgement.verdict == "fail":
        return f"predictions drift from a retrained model's ({figures})"
    if judgement.little_remembered:
        return f"little was remembered: predictions are like a retrained model's before and after ({figures})"
    return f"predictions are like a retrained model's ({figures})"


def drift_page(inputs: EvaluationInputs, settings: EvaluationSettings) -> tuple[str, dict[str, float]]:
    """Evidently's own HTML page (about 4 MB) of unlearned against the reference oracle, and its numbers by column.

    One report with a column per cell, named "<group> <column>"; groups are padded to one length with missing values,
    which Evidently leaves out. The numbers equal the table of ``drift_check``.

    Raises:
        ValueError: every group has too few records.
    """
    import pandas as pd

    groups, _ = _groups(inputs, settings)
    if not groups:
        raise ValueError("every group has too few records for a page")
    current: dict[str, pd.Series[Any]] = {}
    reference: dict[str, pd.Series[Any]] = {}
    for group in groups:
        new, old = signals(group.candidates["unlearned"], group.targets), signals(group.oracles[0], group.targets)
        for column in COLUMNS:
            name = f"{group.name} {column}"
            current[name] = new[column] if column in NUMBERS else new[column].astype(str)
            reference[name] = old[column] if column in NUMBERS else old[column].astype(str)
    with quiet():
        from evidently import DataDefinition, Dataset, Report
        from evidently.metrics import ValueDrift

        numbers = [name for name in current if name.split()[-1] in NUMBERS]
        labels = [name for name in current if name not in numbers]
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=labels)
        metrics = [ValueDrift(column=name, method=settings.drift_method) for name in numbers]
        metrics += [ValueDrift(column=name, method="jensenshannon") for name in labels]
        snapshot = Report(metrics, include_tests=False).run(
            Dataset.from_pandas(pd.DataFrame(current), definition),
            Dataset.from_pandas(pd.DataFrame(reference), definition),
        )
        page = str(snapshot.get_html_str(as_iframe=False))
        values = {entry["config"]["column"]: float(entry["value"]) for entry in snapshot.dict()["metrics"]}
    return page, values
