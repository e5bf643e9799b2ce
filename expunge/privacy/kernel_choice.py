"""Which of several exact kernels is used for a layer? The one that a cost model on shapes says is cheapest.

Shapes decide, not a stopwatch, so the same model gives the same bytes on the same machine. A table made by
`expunge doctor --tune` can overrule the model; its hash then stands with the scores.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

from torch import Tensor

_TIMINGS = 5


@dataclass(frozen=True)
class Kernel:
    """One way: what it costs an example in nanoseconds on two cores, and what it computes, float64 [n]."""

    cost: float
    run: Callable[[], Tensor]


@dataclass
class KernelChoice:
    """Chooses; remembers what it chose.

    `table` maps a layer's key (kind and shapes) to a kernel's name. `timing`: time all candidates and fill the table.
    """

    table: Mapping[str, str] = field(default_factory=dict)
    timing: bool = False
    timed: dict[str, str] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)

    def run(self, layer: str, key: str, candidates: Mapping[str, Kernel]) -> Tensor:
        """The result of the chosen candidate; equal costs go to the first."""
        if self.timing and len(candidates) > 1:
            seconds = {name: _seconds(kernel.run) for name, kernel in candidates.items()}
            self.timed[key] = min(seconds, key=lambda name: seconds[name])
        name = self.timed.get(key) or self.table.get(key, "")
        if name not in candidates:
            name = min(candidates, key=lambda other: candidates[other].cost)
        self.chosen[layer] = name
        return candidates[name].run()

    def digest(self) -> str | None:
        """SHA-256 of the table in canonical JSON; None where there is none."""
        if not self.table:
            return None
        return hashlib.sha256(json.dumps(dict(self.table), sort_keys=True).encode()).hexdigest()


def _seconds(run: Callable[[], Tensor]) -> float:
    run()
    took = []
    for _ in range(_TIMINGS):
        started = time.perf_counter()
        run()
        took.append(time.perf_counter() - started)
    return median(took)
