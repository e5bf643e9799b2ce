"""Where does a value lie on a plot, and how is it written? Axes, round ticks and numbers, all of them finite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Axis:
    """Values low..high to pixels start..end, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixel of a finite value, never outside the axis."""
        if self.log:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, count: int = 5) -> list[float]:
        """Round numbers inside the axis."""
        return log_ticks(self.low, self.high, count) if self.log else nice_ticks(self.low, self.high, count)


def finite(values: ArrayLike | Iterable[float | None], positive: bool = False) -> tuple[Array, int]:
    """The finite values (the positive ones, where asked) and how many were left out."""
    array = np.array([math.nan if v is None else v for v in np.ravel(np.asarray(values, dtype=object))], dtype=float)
    keep = np.isfinite(array) & (np.abs(array) < 1e300)
    if positive:
        keep &= array > 0
    return array[keep], int((~keep).sum())


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` multiples of 1, 2 or 5 times a power of ten in low..high."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low] if math.isfinite(low) else [0.0]
    raw = span / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    ticks = [k * step for k in range(first, first + 3 * count + 3) if k * step <= high + 1e-9 * span]
    return [0.0 if abs(t) < 1e-9 * span else t for t in ticks]


def tick_number(value: float) -> str:
    """A tick's number, as short as it can be."""
    x = float(value)
    if x and (abs(x) < 1e-3 or abs(x) >= 1e5):
        digits, power = f"{x:.2e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{x:.5g}" if abs(x) >= 1e4 else f"{x:.4g}"


def log_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Powers of ten in low..high, thinned; 1, 2 and 5 times them over a short range."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last - first >= 2:
        return [10.0**k for k in range(first, last + 1, max(1, math.ceil((last - first) / count)))]
    ticks = [m * 10.0**k for k in range(first - 1, last + 1) for m in (1, 2, 5) if low <= m * 10.0**k <= high * 1.0001]
    return ticks or [low, high]


def axis(values: ArrayLike | Iterable[float | None], start: float, end: float, log: bool = False) -> Axis:
    """An axis with a little room around the values; usable for no values, or for equal ones."""
    kept, _ = finite(values, positive=log)
    if not kept.size:
        return Axis(0.1, 1.0, start, end, True) if log else Axis(0.0, 1.0, start, end)
    low, high = float(kept.min()), float(kept.max())
    if log:
        return Axis(low / 1.15, high * 1.15, start, end, True)
    room = 0.04 * (high - low) or max(abs(high), 1.0) * 0.5
    return Axis(low if low == 0 < high else low - room, high + room, start, end)


def number(value: object) -> str:
    """A number as people write it: three digits, no exponent unless it is needed; a dash for what is missing."""
    if value is None:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}" if abs(int(value)) >= 10000 else str(int(value))
    if isinstance(value, float | np.floating):
        x = float(value)
        if math.isnan(x):
            return "–"
        if math.isinf(x):
            return "∞" if x > 0 else "−∞"
        if x == 0:
            return "0"
        if abs(x) >= 1e7 or abs(x) < 1e-4:
            return f"{x:.2e}"
        return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.3g}"
    return str(value)


def wants_log(values: ArrayLike | Iterable[float | None], ratio: float = 100.0) -> bool:
    """Whether positive values span so much that a linear axis would show only the largest."""
    kept, _ = finite(values, positive=True)
    return bool(kept.size > 1 and kept.max() / np.quantile(kept, 0.05) > ratio)
