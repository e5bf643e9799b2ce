"""Do the unlearned model's predictions drift from an oracle's, by Evidently's distances? Never by its automatic tests.

Columns true_class_confidence, loss and margin (normed Wasserstein) and predicted_label (Jensen-Shannon), separately on
forget, retain and held-out records; current = one model, reference = the answers of up to 20 oracles together, so that
no oracle's own accident is the yardstick (with one oracle as reference half forgotten was seen in 25 % of cases, with
20 in nearly all: docs/evidence.md). The other oracles are what a model is ranked among: by the largest of its drifts on
the forget records, each in units of theirs; and their drifts give each cell's threshold. Ranked over all groups, an
oracle with an odd answer elsewhere hides what is remembered (half forgotten seen in 71 %, on the forget records alone
in 97 %): drift on the other records is shown, and is the utility guard's. The p-value is exact up to ties. Numbers come
from Evidently's own distance functions; ``drift_page`` makes Evidently's HTML.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from expunge.evaluation.confidence import loss, margin, predicted_label, true_class_confidence
from expunge.evaluation.evidence import CheckResult, Details, Power, RoleValue
from expunge.evaluation.inputs import EvaluationInputs
from expunge.evaluation.settings import MIN_ORACLES, EvaluationSettings
from expunge.evaluation.verdict import (
    Judgement,
    PlantedStanding,
    Standing,
    judge,
    oracles_needed,
    rank_p,
    without_oracles,
)

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Index = NDArray[np.int64]
NUMBERS = ("true_class_confidence", "loss", "margin")
COLUMNS = (*NUMBERS, "predicted_label")
GROUPS = ("forget", "retain", "held_out")
SMALLEST_DRIFT = 0.001
MOST_REFERENCES = 20
FEWEST_RANKED = 3


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
    """Outputs of all models on one group of records; the first ``references`` oracles are the reference."""

    name: str
    targets: Index
    oracles: list[Array]
    candidates: dict[str, Array]
    unlearned: Array
    references: int

    @cached_property
    def reference(self) -> dict[str, pd.Series[Any]]:
        """The reference oracles' answers, one after the other."""
        import pandas as pd

        found = [signals(logits, self.targets) for logits in self.oracles[: self.references]]
        return {column: pd.concat([one[column] for one in found], ignore_index=True) for column in COLUMNS}

    def from_reference(self, distances: Distances, logits: Array) -> list[float]:
        """Drift of one model (logits [m, K]) from the reference oracles, per column."""
        current = signals(logits, self.targets)
        return [distances(column, self.reference[column], current[column]) for column in COLUMNS]


@dataclass(frozen=True)
class Drifts:
    """Drifts from the reference oracles over all cells (group x column) and what they are judged by.

    judged: the cells that count in a model's place, those of the forget records where there are enough of them.
    """

    cells: list[tuple[str, str]]
    oracles: Array
    candidates: dict[str, Array]
    thresholds: Array

    @property
    def judged(self) -> Index:
        forget = [k for k, (group, _) in enumerate(self.cells) if group == "forget"]
        return np.array(forget or range(len(self.cells)))

    @property
    def where(self) -> str:
        """The records of the judged cells, in words."""
        return "the forget records" if len(self.judged) < len(self.cells) else "all records"

    def scores(self, drifts: Array) -> tuple[Array, Array]:
        """A model's drifts [cells] and the ranked oracles' [R', cells] above the mean, in standard deviations.

        Mean and deviation are those of the oracles and the model together: by the oracles alone they would look closer
        to themselves than one more oracle does. Distances that vary by less than 0.001 are nothing (chosen here).
        """
        group = np.vstack([self.oracles, drifts])
        centre, scale = group.mean(axis=0), np.maximum(group.std(axis=0, ddof=1), SMALLEST_DRIFT)
        return (drifts - centre) / scale, (self.oracles - centre) / scale

    def own(self, drifts: Array) -> Array:
        """The ranked oracles' largest scores [R'] on the judged cells, beside that model's."""
        result: Array = self.scores(drifts)[1][:, self.judged].max(axis=1)
        return result

    def standing(self, drifts: Array) -> Standing:
        """Place of a model's largest score (chosen here) among the oracles'."""
        value = float(self.scores(drifts)[0][self.judged].max())
        return Standing(value, rank_p(value, self.own(drifts))[1])


def measure(groups: list[Group], quantile: float, distances: Distances) -> Drifts:
    """All drifts of the given groups. The reference oracles are not among the oracles that are ranked."""
    names = list(groups[0].candidates)
    ranked = range(groups[0].references, len(groups[0].oracles))

    def of(models: list[tuple[Group, Array]]) -> list[float]:
        return [value for group, logits in models for value in group.from_reference(distances, logits)]

    oracles = np.array([of([(group, group.oracles[k]) for group in groups]) for k in ranked])
    candidates = {name: np.array(of([(group, group.candidates[name]) for group in groups])) for name in names}
    cells = [(group.name, column) for group in groups for column in COLUMNS]
    return Drifts(cells, oracles, candidates, np.quantile(oracles, quantile, axis=0))


def references_among(oracles: int, level: float) -> int:
    """How many oracles the reference is made of: up to 20, as long as the level can be reached with the others."""
    ranked = max(oracles_needed(level), FEWEST_RANKED)
    return max(1, min(MOST_REFERENCES, oracles - ranked))


def _groups(inputs: EvaluationInputs, settings: EvaluationSettings) -> tuple[list[Group], list[str]]:
    groups, notes = [], []
    for name in GROUPS:
        rows: Index = getattr(inputs, name)
        if rows.size < settings.min_records:
            notes.append(f"{name}: {rows.size} records, left out under {settings.min_records}")
            continue
        candidates = {"original": inputs.original[rows]}
        for role, stack in (("held_back", inputs.held_back), ("half_kept", inputs.half_kept)):
            candidates |= {f"{role} {k}": model[rows] for k, model in enumerate(stack)}
        oracles = [model[rows] for model in inputs.oracles]
        references = references_among(len(oracles), settings.level)
        groups.append(Group(name, inputs.targets[rows], oracles, candidates, inputs.unlearned[rows], references))
    return groups, notes


def _planted(inputs: EvaluationInputs, settings: EvaluationSettings, distances: Distances) -> PlantedStanding | None:
    planted = inputs.planted
    if planted is None or len(planted.targets) < settings.min_records:
        return None
    candidates = {"original": planted.original}
    candidates |= {f"held_back {k}": model for k, model in enumerate(planted.held_back)}
    references = references_among(len(planted.oracles), settings.level)
    group = Group("planted", planted.targets, list(planted.oracles), candidates, planted.original, references)
    drifts = measure([group], settings.drift_quantile, distances)
    original = drifts.standing(drifts.candidates["original"])
    held_back = [drifts.standing(value) for name, value in drifts.candidates.items() if name != "original"]
    return PlantedStanding(original, held_back, float(original.fails(settings.level)))


def drift_check(inputs: EvaluationInputs, settings: EvaluationSettings) -> CheckResult:
    """Largest drift on the forget records from the reference oracles, ranked among the other oracles'.

    ``details["table"]`` has one row a cell: group, column, value, original, threshold, exceeded.
    """
    title = "Prediction drift from a retrained model (Evidently distances)"
    if not len(inputs.oracles):
        return without_oracles("drift", title, settings)
    groups, notes = _groups(inputs, settings)
    if not groups:
        note = f"every group has fewer than {settings.min_records} records"
        return CheckResult(
            name="drift", title=title, power=Power(note=note), verdict="no power", words=f"no power: {note}"
        )
    distances = Distances()
    judges = inputs.remember("drift", lambda: measure(groups, settings.drift_quantile, distances), settings)
    own_drifts = [v for group in groups for v in group.from_reference(distances, group.unlearned)]
    drifts = replace(judges, candidates={**judges.candidates, "unlearned": np.array(own_drifts)})
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
    unlearned, original = drifts.candidates["unlearned"], drifts.candidates["original"]
    own = drifts.own(unlearned)
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
            "original": _role(standings["original"], drifts.where),
            "unlearned": _role(standings["unlearned"], drifts.where),
            "oracle": RoleValue(value=middle, interval=(low, high), note="median and 5 to 95 % of the oracles' own"),
        },
        controls=judgement.controls,
        power=judgement.power,
        verdict=judgement.verdict,
        little_remembered=judgement.little_remembered,
        words=_words(judgement, exceeded, drifts),
        details={
            "table": table,  # type: ignore[dict-item]
            "references": groups[0].references,
            "ranked": len(drifts.oracles),
            "oracle_drifts": own.tolist(),
            "negligible": False,
            "worst": " ".join(drifts.cells[drifts.judged[int(drifts.scores(unlearned)[0][drifts.judged].argmax())]]),
            "notes": list(notes),
            "level": settings.level,
            "reason": judgement.reason,
            "indicative": len(drifts.oracles) < MIN_ORACLES,
        },
    )


def _role(standing: Standing, where: str) -> RoleValue:
    note = f"largest drift on {where} above the oracles' mean, in their standard deviations"
    return RoleValue(value=standing.statistic, p_value=standing.p_value, note=note)


def _words(judgement: Judgement, exceeded: NDArray[np.bool_], drifts: Drifts) -> str:
    judged = drifts.judged
    figures = f"{exceeded[judged].sum()} of {len(judged)} distances on {drifts.where} above what 95 % of oracles show"
    if others := int(exceeded.sum() - exceeded[judged].sum()):
        figures += f", and {others} of {len(exceeded) - len(judged)} on other records"
    if judgement.verdict == "no power":
        return f"no power: {judgement.reason} ({figures})"
    if judgement.verdict == "fail":
        return f"predictions drift from a retrained model's ({figures})"
    if judgement.little_remembered:
        return f"little was remembered: predictions are like a retrained model's before and after ({figures})"
    return f"predictions are like a retrained model's ({figures})"


def drift_page(inputs: EvaluationInputs, settings: EvaluationSettings) -> tuple[str, dict[str, float]]:
    """Evidently's own HTML page (about 4 MB) of unlearned against the reference oracles, and its numbers by column.

    One report with a column per cell, named "<group> <column>"; groups are padded to one length with missing values,
    which Evidently leaves out. The numbers equal the table of ``drift_check``.

    Raises:
        ValueError: no oracle to compare with, or every group has too few records.
    """
    import pandas as pd

    if not len(inputs.oracles):
        raise ValueError("there is no oracle to compare with")
    groups, _ = _groups(inputs, settings)
    if not groups:
        raise ValueError("every group has too few records for a page")
    current: dict[str, pd.Series[Any]] = {}
    reference: dict[str, pd.Series[Any]] = {}
    for group in groups:
        new, old = signals(group.unlearned, group.targets), group.reference
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
