"""May this model be promoted? Every finding at once, never the first only."""

from __future__ import annotations

from expunge.errors import UsageError
from expunge.evaluation.evidence import CheckResult, Evidence, Finding, GateDecision, Guarantee
from expunge.evaluation.settings import EvaluationSettings
from expunge.evaluation.verdict import holm


def decide(
    evidence: Evidence,
    *,
    guarantee: Guarantee,
    retrained: bool,
    erased_ids_in_training: int,
    settings: EvaluationSettings | None = None,
) -> GateDecision:
    """The decision on one model.

    A retrained model forgot by construction: what gates is that its training ids hold none of the erased ones
    (``erased_ids_in_training`` = 0), and the checks are reported. Any other model needs that too, and every gating
    check to pass ("little was remembered" passes), with controls that came out as they must, and the utility guard.

    Raises:
        UsageError: a negative count, or an exact guarantee claimed for a model that was not retrained.
    """
    if erased_ids_in_training < 0:
        raise UsageError("The number of erased ids in training is negative.", "Count them.")
    if guarantee == "exact" and not retrained:
        raise UsageError("Only a retrained model is exact.", "Claim 'empirical' for an unlearned model.")
    settings = settings or EvaluationSettings()
    findings = [_training(erased_ids_in_training, retrained), *_oracles(evidence, retrained)]
    gating = [result for result in evidence.checks if result.gating]
    if not gating:
        findings.append(Finding(name="gating checks", ok=False, words="no gating check was run", gating=not retrained))
    for result in evidence.checks:
        if result.name != "utility":
            findings += _check(result, retrained)
    findings.append(_utility(evidence, retrained))
    for request in evidence.requests:
        name = f"request {request.request_id}"
        findings.append(Finding(name=name, ok=request.verdict != "fail", words=request.words, gating=False))
    for warning in evidence.warnings:
        findings.append(Finding(name=warning.name, ok=False, words=warning.words, gating=False))
    refused = [finding for finding in findings if finding.gating and not finding.ok]
    return GateDecision(
        passed=not refused,
        findings=findings,
        holm=holm(gating, settings.level),
        guarantee=guarantee,
        words=_words(refused, evidence, retrained),
    )


def _training(erased: int, retrained: bool) -> Finding:
    if erased:
        words = f"{erased} erased records were in the training data of this model"
    elif retrained:
        words = "retrained: its training data hold none of the erased records, so it forgot by construction"
    else:
        words = "none of the erased records was in the data that the model was finished on"
    return Finding(name="training records", ok=erased == 0, words=words)


def _oracles(evidence: Evidence, retrained: bool) -> list[Finding]:
    """Oracles that chose the method or the stop never judge it."""
    record = evidence.oracles
    judges = [*record.verdict, *record.held_back]
    twice = sorted(set(record.look) & set(judges))
    reused = len(judges) != len(set(judges))
    words = "the oracles that judge were not used to choose or to stop"
    if twice:
        words = f"oracle {', '.join(twice)} was used to choose or to stop, and judges"
    elif reused:
        words = "an oracle is both reference and held back"
    return [Finding(name="fresh oracles", ok=not twice and not reused, words=words, gating=not retrained)]


def _check(result: CheckResult, retrained: bool) -> list[Finding]:
    gating = result.gating and not retrained
    ok = result.verdict == "pass" if result.gating else result.verdict != "fail"
    findings = [Finding(name=result.name, ok=ok, words=result.words, gating=gating)]
    for role, control in result.controls.items():
        words = f"expected {control.expected}, came out {control.verdict}"
        if control.note:
            words += f" ({control.note})"
        name = f"{result.name}: control {role}"
        findings.append(Finding(name=name, ok=control.holds, words=words, gating=gating))
    return findings


def _utility(evidence: Evidence, retrained: bool) -> Finding:
    for result in evidence.checks:
        if result.name == "utility":
            return Finding(name="utility", ok=result.verdict == "pass", words=result.words, gating=not retrained)
    return Finding(name="utility", ok=False, words="held-out accuracy was not judged", gating=not retrained)


def _words(refused: list[Finding], evidence: Evidence, retrained: bool) -> str:
    if refused:
        return "refused: " + "; ".join(f"{finding.name}: {finding.words}" for finding in refused)
    if retrained:
        return "passed: retrained without the erased records; the checks are reported beside it"
    gating = [result for result in evidence.checks if result.gating]
    weaker = " in weaker words (little was remembered)" if any(result.little_remembered for result in gating) else ""
    return f"passed{weaker}: {', '.join(result.name for result in gating)}, controls and utility"
