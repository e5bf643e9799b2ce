"""What is known about each record's privacy loss, and how is it looked up? The two tables that flow between stages.

GradientNorms is all that later scoring needs, so checkpoints may be destroyed once it exists. PrivacyLosses is what
plans, forget sets and reports read. Both are frozen; their arrays are read-only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from expunge.errors import UsageError
from expunge.privacy.composition import as_array, compose
from expunge.privacy.record_index import RecordIndex

Floats = npt.NDArray[np.float64]
Label = Literal["score", "heuristic"]

# A record's loss is worth planning with only where records differ (METHOD section 7, failure signatures; chosen here)
_FLAT_VARIATION = 0.1
_FLAT_QUANTILE_RATIO = 1.5


@dataclass(frozen=True, eq=False)
class GradientNorms:
    """Gradient norms float32 [records, checkpoints], with the records' ids and the checkpoints' steps.

    `settings` says how they were made (loss, clipping, device); JSON values only.

    Raises:
        UsageError: shapes that do not fit the ids and steps, or an id given twice.
    """

    norms: npt.NDArray[np.float32]
    record_ids: tuple[str, ...]
    steps: tuple[int, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    _index: RecordIndex = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set(self, "norms", _frozen(self.norms, np.float32))
        _set(self, "record_ids", tuple(self.record_ids))
        _set(self, "steps", tuple(int(step) for step in self.steps))
        _set(self, "_index", RecordIndex(self.record_ids))
        _check_shape(self.norms, (len(self.record_ids), len(self.steps)), "norms")

    def __len__(self) -> int:
        return len(self.record_ids)

    def select(self, record_ids: Sequence[str]) -> GradientNorms:
        """The given records, in the given order. Raises NotFoundError for unknown ids."""
        return self._take(self._index.positions(record_ids))

    def without(self, record_ids: Collection[str]) -> GradientNorms:
        """All but the given records. Raises NotFoundError for unknown ids."""
        return self._take(self._index.others(record_ids))

    def _take(self, rows: npt.NDArray[np.int64]) -> GradientNorms:
        return replace(self, norms=self.norms[rows], record_ids=tuple(self.record_ids[i] for i in rows))


def spliced(prefix: GradientNorms, new: GradientNorms, at_step: int) -> GradientNorms:
    """Norms of a run that was rewound: `prefix` before `at_step`, `new` from there on.

    After a deletion the checkpoints before the rewind point are destroyed and only their norms are left. Records that
    `new` lacks (the forgotten ones) are dropped, so nothing of them flows into later scores.

    Args:
        prefix: norms of the earlier run; its columns from at_step on belong to weights that are gone, and are left out.
        new: norms of the continued run, all of its steps at or after at_step; its records and settings are kept.

    Raises:
        NotFoundError: a record that `prefix` does not know.
        UsageError: a step of `new` before at_step.
    """
    early = [step for step in new.steps if step < at_step]
    if early:
        raise UsageError(
            f"The new norms have a column for step {early[0]}, which is before step {at_step}.",
            "Give the new norms of the continued run only.",
        )
    kept = [column for column, step in enumerate(prefix.steps) if step < at_step]
    norms = np.concatenate([prefix.select(new.record_ids).norms[:, kept], new.norms], axis=1)
    return GradientNorms(norms, new.record_ids, (*(prefix.steps[i] for i in kept), *new.steps), new.settings)


@dataclass(frozen=True, eq=False)
class PrivacyLosses:
    """Privacy loss of every record, in nats.

    total float64 [n]; cumulative float64 [n, c], through checkpoint c (METHOD section 3). `label` is "score" where the
    mechanism was the one the formula describes, else "heuristic" with the `reasons` (METHOD sections 1, 2, 4); neither
    is a guarantee, since one run is one sample of an expectation.

    Raises:
        UsageError: shapes that do not fit, an id given twice, an unknown label, a negative or infinite loss.
    """

    record_ids: tuple[str, ...]
    total: Floats
    cumulative: Floats
    steps: tuple[int, ...]
    order: float
    label: Label
    reasons: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    _index: RecordIndex = field(init=False, repr=False)
    _sorted: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _set(self, "record_ids", tuple(self.record_ids))
        _set(self, "total", _frozen(self.total, np.float64))
        _set(self, "cumulative", _frozen(self.cumulative, np.float64))
        _set(self, "steps", tuple(int(step) for step in self.steps))
        _set(self, "reasons", tuple(self.reasons))
        _set(self, "_index", RecordIndex(self.record_ids))
        _check_shape(self.total, (len(self.record_ids),), "total")
        _check_shape(self.cumulative, (len(self.record_ids), len(self.steps)), "cumulative")
        if self.label not in ("score", "heuristic"):
            raise UsageError(f'label must be "score" or "heuristic"; got {self.label!r}.')
        if not np.all(np.isfinite(self.total) & (self.total >= 0)):
            raise UsageError("A privacy loss is negative or not a finite number.", "Score the trajectory again.")
        _set(self, "_sorted", _frozen(np.sort(self.total), np.float64))

    def __len__(self) -> int:
        return len(self.record_ids)

    def select(self, record_ids: Sequence[str]) -> PrivacyLosses:
        """The given records, in the given order; ranks and percentiles are then among these alone.

        Raises:
            NotFoundError: unknown ids.
        """
        return self._take(self._index.positions(record_ids))

    def without(self, record_ids: Collection[str]) -> PrivacyLosses:
        """All but the given records. Raises NotFoundError for unknown ids."""
        return self._take(self._index.others(record_ids))

    def percentile(self, record_ids: Sequence[str]) -> Floats:
        """Share of all records with a smaller loss, in percent, for each of the given ones.

        Raises:
            NotFoundError: unknown ids.
        """
        values = self.total[self._index.positions(record_ids)]
        return 100.0 * np.searchsorted(self._sorted, values, side="left") / max(1, len(self))

    def rank(self) -> npt.NDArray[np.int64]:
        """1 for the largest loss (hardest to forget) to n for the smallest, [n]; ties in the order of the ids."""
        ranks = np.empty(len(self), dtype=np.int64)
        ranks[self._hardest_first()] = np.arange(1, len(self) + 1)
        return ranks

    def hardest(self, k: int) -> list[tuple[str, float]]:
        """The k records with the largest loss, largest first, with their losses; fewer where there are fewer.

        Raises:
            UsageError: k is negative.
        """
        if k < 0:
            raise UsageError(f"k must be zero or more; got {k}.")
        return [(self.record_ids[i], float(self.total[i])) for i in self._hardest_first()[:k]]

    def share_spent(self, record_ids: Sequence[str]) -> Floats:
        """Share of the set's loss spent through each checkpoint, [c], from 0 to 1; zeros for a set without any loss.

        METHOD section 6: the share spent before a rewind point orders what is left to forget after it.

        Raises:
            NotFoundError: unknown ids.
        """
        rows = self._index.positions(record_ids)
        spent = self.cumulative[rows].sum(axis=0)
        total = self.total[rows].sum()
        return spent / total if total > 0 else np.zeros_like(spent)

    def _take(self, rows: npt.NDArray[np.int64]) -> PrivacyLosses:
        ids = tuple(self.record_ids[i] for i in rows)
        return replace(self, record_ids=ids, total=self.total[rows], cumulative=self.cumulative[rows])

    def _hardest_first(self) -> npt.NDArray[np.int64]:
        return np.lexsort((np.array(self.record_ids, dtype=str), -self.total))


def privacy_losses(
    norms: GradientNorms,
    lr: float | Sequence[float],
    s: float | Sequence[float],
    q: float | Sequence[float],
    total_steps: int,
    order: float,
    label: Label,
    reasons: Sequence[str] = (),
) -> PrivacyLosses:
    """Composes the gradient norms into privacy losses (plain composition, METHOD section 3) and records the settings.

    Args:
        norms: the table of norms.
        lr, s, q: learning rate, noise on the batch sum and sampling rate, one or one per checkpoint. The learning rate
            is recorded (discounted losses need it) and does not enter the loss.
        total_steps: T; order: a > 1; label, reasons: see PrivacyLosses.

    Raises:
        UsageError: as `compose`.
    """
    loss = compose(norms.norms, s, q, norms.steps, total_steps, order)
    settings = {
        **norms.settings,
        "lr": _plain(lr),
        "s": _plain(s),
        "q": _plain(q),
        "total_steps": int(total_steps),
        "composition": "plain",
    }
    return PrivacyLosses(
        norms.record_ids,
        loss.total,
        loss.cumulative,
        norms.steps,
        float(order),
        label,
        tuple(reasons),
        settings,
    )


def flat_distribution_warning(total: npt.ArrayLike) -> str | None:
    """A sentence where the losses hardly differ between records, else None (METHOD section 7, failure signatures).

    Flat: coefficient of variation under 0.1, or 90 % quantile under 1.5 times the 10 % quantile (thresholds chosen
    here).
    """
    values = np.asarray(total, dtype=np.float64).ravel()
    if values.size < 2:
        return None
    mean = float(values.mean())
    variation = float(values.std()) / mean if mean > 0 else 0.0
    low, high = (float(x) for x in np.quantile(values, [0.1, 0.9]))
    ratio = high / low if low > 0 else (np.inf if high > 0 else 1.0)
    if variation >= _FLAT_VARIATION and ratio >= _FLAT_QUANTILE_RATIO:
        return None
    return (
        f"The privacy losses do not separate the records: their coefficient of variation is {variation:.3g} (flat "
        f"below {_FLAT_VARIATION:g}) and their 90 % quantile is {ratio:.3g} times their 10 % quantile (flat below "
        f"{_FLAT_QUANTILE_RATIO:g}), so a budget chosen from them is little better than one budget for all."
    )


def _plain(value: Any) -> float | list[float]:
    array = np.asarray(value, dtype=np.float64)
    return float(array) if array.ndim == 0 else [float(x) for x in array]


def _frozen(values: Any, dtype: Any) -> npt.NDArray[Any]:
    array = np.array(as_array(values), dtype=dtype)
    array.flags.writeable = False
    return array


def _set(instance: object, name: str, value: object) -> None:
    object.__setattr__(instance, name, value)  # the dataclass is frozen


def _check_shape(array: npt.NDArray[Any], expected: tuple[int, ...], name: str) -> None:
    if array.shape != expected:
        raise UsageError(
            f"{name} has shape {array.shape}, but the record ids and steps say {expected}.",
            "Use ids, steps and values of the same run.",
        )
