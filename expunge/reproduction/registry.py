"""Which scenarios are there? Each is a module of this package with a function `measure`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from expunge.errors import NotFoundError, nearest
from expunge.functions import load_function
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


def find_scenario(name: str, own: str | None = None) -> Measure:
    """The function that measures this scenario; `own`: "package.module:function" of a user's own.

    Raises NotFoundError for a name that does not ship, naming the nearest; UsageError for a function that is not there.
    """
    if own is not None:
        measure: Measure = load_function(own)
        return measure
    if name not in SCENARIOS:
        raise NotFoundError(f"There is no scenario {name!r}.", nearest(name, list(SCENARIOS)))
    shipped: Measure = import_module(f"expunge.reproduction.{SCENARIOS[name]}").measure
    return shipped
