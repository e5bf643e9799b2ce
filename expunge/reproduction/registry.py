"""Which scenarios are there? Each is a module of this package with a function `measure`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from expunge.errors import NotFoundError, nearest
from expunge.reproduction.config import ScenarioConfig
from expunge.reproduction.findings import Findings
from expunge.reproduction.work import Work

# (declaration, where its parts lie) -> what was measured
Measure = Callable[[ScenarioConfig, Work], Findings]

SCENARIOS: dict[str, str] = {
    "predict-sgld": "predict_sgld",
    "rank-sgd": "rank_sgd",
    "barriers": "barriers",
    "group": "group",
    "implicit-noise": "implicit_noise",
    "adaptive": "adaptive",
}


def find_scenario(name: str) -> Measure:
    """The function that measures this scenario. Raises NotFoundError, naming the nearest."""
    if name not in SCENARIOS:
        raise NotFoundError(f"There is no scenario {name!r}.", nearest(name, list(SCENARIOS)))
    measure: Measure = import_module(f"expunge.reproduction.{SCENARIOS[name]}").measure
    return measure
