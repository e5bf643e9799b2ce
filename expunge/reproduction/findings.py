"""What does a scenario leave? Estimates with intervals over seeds, tables, figures, and words made from the numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict
from scipy.stats import t as student

from expunge.errors import UsageError
from expunge.unlearning.plan import Document

Array = NDArray[np.float64]
LEVEL = 0.95
Cell = str | float | int | None
# points: one mark a value. line: joined. null, null line: what chance does (label-matched random sets), in grey.
Kind = Literal["points", "line", "null", "null line"]


class Numbers(Document):
    """A document whose numbers may be infinite or not a number: JSON has them as strings."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Estimate(Numbers):
    """A number over seeds: value, standard error and the degrees of freedom of its t interval.

    per_seed: the figure of each seed, where it has one. seeds: how many there were. unit: of the value, "" for none.
    """

    value: float
    standard_error: float
    degrees: float
    seeds: int
    per_seed: tuple[float, ...] = ()
    unit: str = ""

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The t interval of this coverage; infinite where the seeds are too few for one."""
        if not self.degrees > 0 or not math.isfinite(self.standard_error):
            return (-math.inf, math.inf)
        half = float(student.ppf((1 + level) / 2, self.degrees)) * self.standard_error
        return (self.value - half, self.value + half)

    def told(self, form: str = ".3g", unit: bool = False) -> str:
        """The value and its 95 % interval in words: "0.31 [0.25, 0.37]"."""
        low, high = self.interval()
        words = f"{self.value:{form}} [{low:{form}}, {high:{form}}]"
        return f"{words} {self.unit}" if unit and self.unit else words

    def p_above(self, bound: float) -> float:
        """One-sided p-value of "the truth is at most `bound`"."""
        if not self.degrees > 0 or not math.isfinite(self.standard_error):
            return 1.0
        if self.standard_error == 0:
            return float(self.value <= bound)
        return float(student.sf((self.value - bound) / self.standard_error, self.degrees))

    def p_below(self, bound: float) -> float:
        """One-sided p-value of "the truth is at least `bound`"."""
        mirrored = self.model_copy(update={"value": -self.value})
        return mirrored.p_above(-bound)


def over_seeds(values: ArrayLike, unit: str = "") -> Estimate:
    """The mean of one independent figure a seed, [seeds], with its t interval.

    Raises:
        UsageError: no value, or one that is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise UsageError(f"An estimate needs one finite figure a seed; got {array.tolist()}.")
    count = len(array)
    error = float(array.std(ddof=1) / math.sqrt(count)) if count > 1 else math.inf
    return Estimate(
        value=float(array.mean()), standard_error=error, degrees=count - 1, seeds=count,
        per_seed=tuple(array.tolist()), unit=unit,
    )  # fmt: skip


def jackknife(figure: Callable[[NDArray[np.int64]], float], seeds: int, unit: str = "") -> Estimate:
    """A figure of several seeds at once with its delete-one-seed jackknife interval (t, seeds - 1 degrees).

    Args:
        figure: gives the number from the seeds named by their indices, int64 [some].

    Raises:
        UsageError: a figure that is not finite, with or without a seed.
    """
    everyone = np.arange(seeds)
    value = float(figure(everyone))
    left_out = np.array([figure(np.delete(everyone, k)) for k in range(seeds)]) if seeds > 1 else np.array([])
    if not math.isfinite(value) or not np.isfinite(left_out).all():
        raise UsageError("A figure is not finite, or not without one of the seeds: it cannot be estimated.")
    spread = float(((left_out - left_out.mean()) ** 2).sum()) if seeds > 1 else math.inf
    return Estimate(
        value=value, standard_error=math.sqrt((seeds - 1) / seeds * spread) if seeds > 1 else math.inf,
        degrees=seeds - 1, seeds=seeds, unit=unit,
    )  # fmt: skip


class Series(Numbers):
    """Points of a figure: x and y, with the ends of y's interval where there is one.

    censored: which y are at least so large (drawn hollow, as an arrow's foot); empty: none. names: of the points, for
    who hovers.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    kind: Kind = "points"
    censored: tuple[bool, ...] = ()
    names: tuple[str, ...] = ()


class Figure(Numbers):
    """A plot: what its axes are, the series on it and a sentence that says how to read it.

    x_names: names in place of numbers, for x = 0, 1, 2, ...
    """

    name: str
    title: str
    caption: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_log: bool = False
    y_log: bool = False
    x_names: tuple[str, ...] = ()


class Table(Numbers):
    """A table: a title, heads, and rows of words and numbers (None: not measured)."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


class Findings(Numbers):
    """What one scenario measured.

    estimates: by name; rules speak of them. not_estimable: names that rules may speak of, with the reason why there is
    no number. answer: what came out, in a few sentences. words: what was measured, in more of them. Both are made from
    the numbers.
    """

    estimates: Mapping[str, Estimate]
    not_estimable: Mapping[str, str] = {}
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    answer: tuple[str, ...] = ()
    words: tuple[str, ...] = ()


def merged(parts: Sequence[Findings]) -> Findings:
    """Findings of several data sets as one; their names must differ.

    Raises:
        UsageError: a name that two of them use.
    """
    names = [name for part in parts for name in (*part.estimates, *part.not_estimable)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"Two parts of a scenario estimate {twice[0]!r}.", "Name the data set in each.")
    return Findings(
        estimates={name: value for part in parts for name, value in part.estimates.items()},
        not_estimable={name: value for part in parts for name, value in part.not_estimable.items()},
        tables=tuple(table for part in parts for table in part.tables),
        figures=tuple(figure for part in parts for figure in part.figures),
        answer=tuple(words for part in parts for words in part.answer),
        words=tuple(words for part in parts for words in part.words),
    )
