"""What does a run mean, in words that claim no more than its evidence? Headline, plain paragraph, limits."""

from __future__ import annotations

from expunge.reporting.answer_words import DONE, alike, cost_words
from expunge.reporting.erasure_inputs import ErasureReportInputs
from expunge.reporting.page import Kind, plural

# Fewest oracles for a 5 % level (METHOD section 7)
ENOUGH_ORACLES = 19

WEAKER = {
    "pool": "Probably forgotten, on weaker evidence. ",
    "oracle-free": "No trace found, on the weakest evidence. ",
}


def headline(inputs: ErasureReportInputs) -> tuple[str, Kind]:
    """The verdict in one or two sentences, and its colour."""
    records = plural(inputs.plan.forget_records, "record")
    outcome = _outcome(inputs)
    if not inputs.decision.passed:
        undecided = not any(c.gating and c.verdict == "fail" for c in inputs.evidence.checks)
        only_tests = all(_is_check(inputs, f.name) for f in inputs.decision.findings if f.gating and not f.ok)
        if undecided and only_tests:
            return f"Not shown. The tests could not tell whether the model has forgotten {records}. {outcome}", "unsure"
        return f"Refused. The model did not pass every required test for forgetting {records}. {outcome}", "bad"
    if inputs.retrained:
        said = f"Forgotten by construction. The model was trained again without {records}."
        return f"{said} {outcome}", "good"
    weaker = WEAKER.get(inputs.evidence.level, "")
    if inputs.little_remembered:
        said = (
            f"{weaker}Little was remembered. Hardly anything of {records} could be found in the original model, and no "
            "more can be found in this one."
        )
        return f"{said} {outcome}", _colour(inputs)
    start = weaker or "Forgotten, as far as tests can tell. "
    said = f"{start}By its answers on {records}, this model {_alike(inputs)}."
    return f"{said} {outcome}", _colour(inputs)


def _is_check(inputs: ErasureReportInputs, finding: str) -> bool:
    return any(finding == c.name or finding.startswith(f"{c.name}: ") for c in inputs.evidence.checks)


def _colour(inputs: ErasureReportInputs) -> Kind:
    return "good" if inputs.evidence.level == "oracle" else "unsure"


def _outcome(inputs: ErasureReportInputs) -> str:
    if inputs.promoted_version is None:
        return "It has not been put into use."
    return f"Version {inputs.promoted_version} is in use in place of version {inputs.original_version}."


def _alike(inputs: ErasureReportInputs) -> str:
    return alike(inputs.evidence.level, inputs.evidence.oracles.count)


def explain(inputs: ErasureReportInputs) -> str:
    """One paragraph for a privacy officer, no jargon."""
    requests = plural(len(inputs.requests), "request")
    records = plural(inputs.plan.forget_records, "record")
    asked = f"{requests} asked that the model {inputs.model_name} forget {records}; to do so, "
    if not inputs.requests:
        asked = f"Without a request, the model {inputs.model_name} was made to forget {records}; to do so, "
    sentences = [
        f"{asked}{DONE[inputs.run.method]}.",
        _result(inputs),
        _cost(inputs),
        _use(inputs),
        _destroyed(inputs),
        "This says what the model has learnt; it says nothing about copies of the data elsewhere, or about answers "
        "that were given earlier.",
    ]
    return " ".join(s for s in sentences if s)


def _result(inputs: ErasureReportInputs) -> str:
    if not inputs.decision.passed:
        if any(c.gating and c.verdict == "fail" for c in inputs.evidence.checks):
            return "Tests still told it apart from models that never saw them, so it has not forgotten them as it must."
        return "The result did not pass every required test, so it cannot be said that the model has forgotten them."
    if inputs.retrained:
        return "The new model has therefore never seen them, which is the strongest assurance there is."
    if inputs.little_remembered:
        return (
            "Even the old model showed hardly anything of them, and the new one shows no more: it looks like a model "
            "that never saw them. This is a test result, not a proof."
        )
    old = (
        ", while the same tests did recognise the old model"
        if all(c.sound for c in inputs.evidence.checks if c.gating)
        else ""
    )
    return f"In tests, the new model {_alike(inputs)}{old}. This is a test result, not a proof."


def _cost(inputs: ErasureReportInputs) -> str:
    own = inputs.run.cost.get("unlearning")
    return "" if inputs.retrained else cost_words(own, inputs.run.cost.get("everything"))


def _use(inputs: ErasureReportInputs) -> str:
    if inputs.promoted_version is not None:
        return f"Version {inputs.promoted_version} now replaces version {inputs.original_version}."
    return f"It has not been put into use; version {inputs.original_version} was not replaced by this run."


def _destroyed(inputs: ErasureReportInputs) -> str:
    if inputs.purge is None:
        return "No older copy of the model has been destroyed by this run yet."
    gone, kept = len(inputs.destroyed), len(inputs.kept)
    said = f"{plural(gone, 'stored item')} that came from the records {'was' if gone == 1 else 'were'} destroyed"
    said += f" and {kept} {'was' if kept == 1 else 'were'} kept for a stated reason" if kept else ""
    if inputs.rescan is None:
        return f"{said}; no search for leftovers is recorded."
    found = found_count(inputs)
    return f"{said}, and a search afterwards found {'nothing left' if not found else f'{found} still there'}."


def found_count(inputs: ErasureReportInputs) -> int:
    """How many things the re-scan still found."""
    found = (inputs.rescan or {}).get("found", 0)
    return len(found) if isinstance(found, list | tuple | dict) else int(found or 0)


def all_limits(inputs: ErasureReportInputs) -> list[str]:
    """The limits that were given, and those that follow from the evidence."""
    limits = list(inputs.limits)
    if not inputs.retrained:
        limits.append(
            "The guarantee is empirical: tests found no difference. Another, better attack could find one; only "
            "training again without the records excludes that."
        )
    if inputs.evidence.level == "pool":
        limits.append(
            "The evidence is at level pool: the models compared with were trained once, on less data, and not for "
            "these records. A model retrained without exactly these records would show more."
        )
    if inputs.evidence.level == "oracle-free":
        limits.append(
            "The evidence is at level oracle-free: no model was retrained to compare with. Records that merely differ "
            "from those compared with look remembered, or forgotten, without being so."
        )
    count = inputs.evidence.oracles.count
    if count < ENOUGH_ORACLES and inputs.evidence.level != "oracle-free":
        limits.append(
            f"Only {plural(count, 'comparison model')}: the figures are indicative. A 5 % level needs {ENOUGH_ORACLES}."
        )
    blind = [c.title for c in inputs.evidence.checks if c.verdict == "no power"]
    if blind:
        limits.append(f"These tests had no power and show nothing either way: {'; '.join(blind)}.")
    if inputs.purge is None:
        limits.append("Nothing has been destroyed yet: earlier checkpoints and models may still hold what they learnt.")
    limits.append(
        "The statement is about this model. It does not cover copies of the data, models made by others, or "
        "predictions already given out."
    )
    return list(dict.fromkeys(limits))
