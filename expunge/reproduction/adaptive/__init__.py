"""Does a plan that adapts its budget to privacy loss beat fixed budgets? The paper's open question 3.

The shipped planner, given a budget for a batch of requests, against the fixed method that left least on calibration
sets, plain rewinding and fine-tuning, all at one mean cost. Beside it are planners that know less: privacy losses
shuffled among the sets, the average gradient norm, and a threshold alone.
"""

from __future__ import annotations

from expunge.reproduction.adaptive.measured import measured
from expunge.reproduction.adaptive.options import Options
from expunge.reproduction.adaptive.report import findings_of
from expunge.reproduction.config import ScenarioConfig, checked_options
from expunge.reproduction.findings import Findings, merged
from expunge.reproduction.work import Work
from expunge.reproduction.world import open_world


def measure(config: ScenarioConfig, work: Work) -> Findings:
    """The scenario `adaptive`. Raises UsageError for options that are unknown or do not fit a data set."""
    options = checked_options(Options, config.options, f"scenario {config.scenario}")
    return merged(
        [
            findings_of(measured(open_world(name, own, config.seed), config.originals, options, work))
            for name, own in config.worlds.items()
        ]
    )
