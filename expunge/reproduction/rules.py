"""Is a claim supported? By a rule that was written down before the run, from an estimate and its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from expunge.errors import UsageError, nearest
from expunge.reproduction.findings import Estimate, Findings, Numbers
from expunge.training.config import Strict

Verdict = Literal["supported", "not supported", "undecided"]
LEVEL = 0.05


class Rule(Strict):
    """A claim, the estimate that decides it, and the smallest effect that counts.

    Attributes:
        contrast: the name of the estimate. minimum: the smallest effect that counts, in its unit.
        direction: "above": the claim says that the estimate is more than `minimum`; "below": less.
        topic: what several claims are about, in one sentence that they are counted under. Default: the claim's own.
        family: claims that are judged together: their p-values are Holm-corrected. Default: all of the scenario.
        paper: the claim is the paper's own (not an open question, not a control).

    In a scenario's YAML a rule whose contrast names "{data}" stands for one of each data set.
    """

    claim: str
    contrast: str
    topic: str = ""
    minimum: float = 0.0
    direction: Literal["above", "below"] = "above"
    family: str = "all"
    paper: bool = True
    level: float = Field(default=LEVEL, gt=0, lt=1)


class Conclusion(Numbers):
    """What a rule says of the numbers.

    interval: 95 %, of the estimate, not corrected. p_for, p_against: Holm-corrected p-values of "the effect is smaller
    than the minimum" and "the effect is larger"; one of them at or under half the level decides.
    """

    claim: str
    contrast: str
    rule: str
    verdict: Verdict
    words: str
    paper: bool
    topic: str = ""
    value: float | None = None
    interval: tuple[float, float] | None = None
    p_for: float | None = None
    p_against: float | None = None


def conclude(rules: Sequence[Rule], findings: Findings, incomplete: str = "") -> tuple[Conclusion, ...]:
    """Each rule's conclusion, in order.

    supported: the effect is shown to exceed the minimum. not supported: it is shown not to. undecided: the interval
    holds the minimum, or there is no estimate. Either error has a chance of at most the level over a whole family.

    Args:
        incomplete: why this run decides nothing, such as "a quick run is too small for a claim": all is undecided then,
            and the numbers stand.

    Raises:
        UsageError: a contrast that the scenario neither estimates nor says it could not.
    """
    for rule in rules:
        if rule.contrast not in findings.estimates and rule.contrast not in findings.not_estimable:
            known = [*findings.estimates, *findings.not_estimable]
            raise UsageError(
                f"A rule asks for {rule.contrast!r}, which is not measured.", nearest(rule.contrast, known)
            )
    p_for, p_against = _corrected(rules, findings, "for"), _corrected(rules, findings, "against")
    return tuple(_conclusion(rule, findings, p_for[k], p_against[k], incomplete) for k, rule in enumerate(rules))


def _corrected(rules: Sequence[Rule], findings: Findings, side: str) -> list[float]:
    """Holm-corrected p-values; a contrast without an estimate counts as p = 1."""
    raw = [_p(rule, findings.estimates.get(rule.contrast), side) for rule in rules]
    corrected = [1.0] * len(raw)
    for family in {rule.family for rule in rules}:
        members = sorted((k for k, rule in enumerate(rules) if rule.family == family), key=raw.__getitem__)
        highest = 0.0
        for place, k in enumerate(members):
            highest = max(highest, min(1.0, raw[k] * (len(members) - place)))
            corrected[k] = highest
    return corrected


def _p(rule: Rule, estimate: Estimate | None, side: str) -> float:
    if estimate is None:
        return 1.0
    above = (rule.direction == "above") == (side == "for")
    return estimate.p_above(rule.minimum) if above else estimate.p_below(rule.minimum)


def _conclusion(rule: Rule, findings: Findings, p_for: float, p_against: float, incomplete: str) -> Conclusion:
    more = "more" if rule.direction == "above" else "less"
    text = f"{rule.contrast} is {more} than {rule.minimum:g}, at level {rule.level:g} with Holm's correction"
    estimate, topic = findings.estimates.get(rule.contrast), rule.topic or rule.claim
    if estimate is None:
        why = findings.not_estimable[rule.contrast]
        return Conclusion(
            topic=topic, claim=rule.claim, contrast=rule.contrast, rule=text, verdict="undecided", paper=rule.paper,
            words=f"undecided: not estimable here, {why}",
        )  # fmt: skip
    number = f"{estimate.told(unit=True)} over {estimate.seeds} seeds"
    if incomplete:
        verdict: Verdict = "undecided"
        words = f"undecided: {incomplete}; {number}"
    elif p_for <= rule.level / 2:
        verdict, words = "supported", f"supported: {number}, {more} than {rule.minimum:g}"
    elif p_against <= rule.level / 2:
        verdict, words = "not supported", f"not supported: {number}, not {more} than {rule.minimum:g}"
    else:
        verdict, words = "undecided", f"undecided: {number}, against {rule.minimum:g}"
    return Conclusion(
        topic=topic, claim=rule.claim, contrast=rule.contrast, rule=text, verdict=verdict, words=words,
        paper=rule.paper, value=estimate.value, interval=estimate.interval(), p_for=p_for, p_against=p_against,
    )  # fmt: skip
