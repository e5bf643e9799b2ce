"""Does a rerun agree with what is stated? Like with like, estimate by estimate, within their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from scipy.stats import t as student

from expunge.reproduction.config import ScenarioConfig
from expunge.reproduction.results import Results
from expunge.reproduction.rules import LEVEL

# With another seed one estimate in twenty lies outside of its own limits by chance, and they are not independent.
MOST_APART = 0.2


@dataclass(frozen=True)
class Comparison:
    """What a rerun says of results that are stated.

    compared: how many estimates both can have. apart: those that differ by more than their intervals allow, a sentence
    each. gone: those that the rerun could not estimate. same_seed: then all must agree.
    """

    compared: int
    apart: tuple[str, ...]
    gone: tuple[str, ...]
    same_seed: bool

    @property
    def agrees(self) -> bool:
        """With the same seed everything is there and agrees; with another, most of it does."""
        if self.same_seed:
            return not self.apart and not self.gone
        return len(self.apart) <= MOST_APART * self.compared

    @property
    def words(self) -> str:
        """What came out, in a sentence or two."""
        if self.agrees and not self.apart and not self.gone:
            return f"All {self.compared} estimates agree with those stated, within their intervals."
        words = f"{len(self.apart)} of {self.compared} estimates differ by more than their intervals allow"
        if not self.same_seed:
            words += " (another seed, which also deals the records out anew: one in twenty is to be expected)"
        if self.gone:
            words += f", and {len(self.gone)} can no longer be estimated"
        examples = [*self.apart, *(f"{name}: not estimated now" for name in self.gone)][:5]
        return f"{words}: {'; '.join(examples)}."


def compare(stated: Results, rerun: Results) -> Comparison:
    """Compare the estimates that a rerun of these data sets can have: those over all data sets only where all ran."""
    names = _comparable(stated, rerun)
    gone = tuple(name for name in names if name not in rerun.findings.estimates)
    apart = tuple(words for name in names if name not in gone and (words := _apart(stated, rerun, name)))
    return Comparison(len(names), apart, gone, stated.seed == rerun.seed)


def unlike(stated: Results, declared: ScenarioConfig) -> tuple[str, ...]:
    """What a declaration would measure otherwise than was stated, seeds apart, as its keys: then nothing compares."""
    one, other = _measured(ScenarioConfig.model_validate(stated.config)), _measured(declared)
    shared = [name for name in one["worlds"] if name in other["worlds"]]
    found = [key for key in ("scenario", "measure", "originals", "options") if one[key] != other[key]]
    if not shared:
        found.append("worlds")
    return (*found, *(f"worlds.{name}" for name in shared if one["worlds"][name] != other["worlds"][name]))


def _measured(config: ScenarioConfig) -> dict[str, Any]:
    """What is measured, wherever the data lies."""
    found = config.measured()
    for world in found["worlds"].values():
        world["data"]["options"].pop("data_dir", None)
    return found


def _comparable(stated: Results, rerun: Results) -> list[str]:
    worlds, again = set(stated.config["worlds"]), set(rerun.config["worlds"])

    def is_there(name: str) -> bool:
        first = name.partition(": ")[0]
        return first in again if first in worlds else worlds == again

    return [name for name in stated.findings.estimates if is_there(name)]


def _apart(stated: Results, rerun: Results, name: str) -> str:
    """Where two estimates differ by more than the difference of two runs does in one case of twenty (t at few seeds).

    The same seed gives the same numbers up to rounding.
    """
    old, new = stated.findings.estimates[name], rerun.findings.estimates[name]
    error = math.hypot(old.standard_error, new.standard_error)
    quantile = float(student.isf(LEVEL / 2, max(1.0, min(old.degrees, new.degrees))))
    allowed = quantile * error + 1e-9 * (1 + abs(old.value))
    if not math.isfinite(allowed) or abs(new.value - old.value) <= allowed:
        return ""
    return f"{name}: {new.value:.3g}, stated {old.told()}"
