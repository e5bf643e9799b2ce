"""What does the dashboard show of a decision? One page each for plan, run, evidence and gate."""

from __future__ import annotations

from collections.abc import Mapping

from expunge.evaluation.evidence import Evidence, Finding, GateDecision
from expunge.reporting.cost_plots import left_plot, loss_plot
from expunge.reporting.evidence_parts import CONTROLS, evidence_sections
from expunge.reporting.page import (
    badge,
    definitions,
    figure,
    figures,
    folded,
    nested,
    notice,
    number,
    page,
    percent,
    plural,
    section,
    table,
)
from expunge.reporting.svg import Line, curves
from expunge.unlearning.plan import UnlearningPlan, UnlearningRun

METHODS = {
    "fine_tune": "fine-tuning on the remaining records",
    "noisy_fine_tune": "fine-tuning with noise on the remaining records",
    "l1_sparse": "fine-tuning with an L1 penalty on the remaining records",
    "neggrad_plus": "NegGrad+, a baseline: down the loss of the remaining records, up that of the forgotten ones",
    "scrub": "SCRUB, a baseline: a student that leaves the original on the forgotten records alone",
    "rewind": "going back to an earlier checkpoint and training again from there without the records",
    "unrolled_rewind": "going back to an earlier checkpoint, taking back what the records had moved in the weights by "
    "then, and training again from there without them",
    "keep": "leaving the model as it is, since nothing measurable was remembered",
    "retrain": "training again from the start without the records",
}
COSTS = {
    "unlearning": "this run's unlearning alone (marginal)",
    "marginal": "marginal",
    "everything": "everything counted",
}


def plan_page(plan: UnlearningPlan) -> str:
    """What is going to be done, what it should cost, and why nothing else."""
    return page(
        "Unlearning plan",
        [
            notice(f"{plural(plan.forget_records, 'record')} to forget by {METHODS[plan.method]}: {plan.reason}."),
            notice(f"Fallback: {plan.fallback_reason}", "unsure") if plan.fallback_reason else "",
            *(notice(warning, "unsure") for warning in plan.warnings),
            section("Budget", plan_definitions(plan)),
            section(
                "Requests",
                table(
                    ["request", "records", "harder than (% of all records)", "privacy loss (nats)"],
                    [[r.request_id, r.records, r.percentile, r.loss] for r in plan.requests],
                    (1, 2, 3),
                ),
            ),
            section("When the records were learnt", loss_plot(plan)),
            section("What else was considered", left_plot(plan) + _alternatives(plan)),
        ],
        f"Model version {plan.model_version}",
    )


def plan_definitions(plan: UnlearningPlan) -> str:
    """The plan's numbers."""
    low, high = plan.predicted_interval
    facts: dict[str, object] = {"method": METHODS[plan.method]}
    if plan.rewind_step is not None:
        facts["restart from step"] = plan.rewind_step
        if plan.strength is not None:
            facts["of the records' push, taken back"] = percent(plan.strength)
        facts["checkpoints to try"] = ", ".join(map(str, plan.attempts)) or "none"
    facts |= {
        "predicted steps": f"{plan.predicted_steps} [{low}, {high}] ({plan.interval_note})",
        "never more than": f"{plan.budget_steps} steps; retraining takes {plan.retrain_steps}",
        "predicted cost": f"{percent(plan.predicted_cost, 1)} of one retraining",
        "a run for each request": None
        if plan.one_by_one_cost is None
        else f"at least {percent(plan.one_by_one_cost, 1)} of one retraining together",
        "records": f"{plan.forget_records} to forget, {plan.retain_records} stay",
        "set-level privacy loss (nats)": plan.set_loss,
        "kind of set": plan.set_kind,
        "predicted to be left": _left(plan),
        "target": f"at most {percent(plan.target)} of the original's distance left",
    }
    return definitions(facts)


def _left(plan: UnlearningPlan) -> str | None:
    if plan.predicted_left is None:
        return None
    interval = ""
    if plan.left_interval is not None:
        interval = f" [{percent(plan.left_interval[0])}, {percent(plan.left_interval[1])}], 90 %"
    return f"{percent(plan.predicted_left)} of the original's influence{interval}"


def _alternatives(plan: UnlearningPlan) -> str:
    rows = [
        [
            c.method.replace("_", " ") + ("" if c.strength is None else f" ({percent(c.strength)} of the push)"),
            c.rewind_step,
            c.steps,
            percent(c.cost, 1),
            percent(c.share_spent),
            percent(c.predicted_left),
            badge("possible", "good") if c.allowed else badge("not allowed", "unsure"),
            c.why,
        ]
        for c in plan.alternatives
    ]
    head = ["method", "from step", "steps", "cost", "loss already spent", "predicted to be left", "", "why"]
    return table(head, rows, (1, 2, 3, 4, 5), empty="Nothing else was possible.")


def run_page(run: UnlearningRun) -> str:
    """What was spent, and why it stopped."""
    return page(
        "Unlearning run",
        [
            notice(f"{plural(run.steps_spent, 'step')} of {METHODS[run.method]}. Stopped: {run.stop_reason}."),
            definitions(
                {
                    "restarted from step": run.rewind_step,
                    "of the records' push, taken back": None if run.strength is None else percent(run.strength),
                    "guarantee": guarantee_words(run.guarantee),
                    "seconds": run.seconds,
                }
            ),
            section("Cost, as a share of one retraining", cost_table(run)),
            section("Looks on the way", _looks(run)),
            section("Seeds", nested(run.seeds)),
        ],
    )


def guarantee_words(guarantee: str) -> str:
    """The guarantee's label and what it means."""
    words = {
        "exact": "exact: the model was trained without the records, so it holds nothing of them by construction",
        "empirical": "empirical: shown by tests, not proven",
    }
    return words.get(guarantee, guarantee)


def cost_table(run: UnlearningRun) -> str:
    """Each kind of cost; every further key is shown under its own name."""
    rows = [[COSTS.get(name, name.replace("_", " ")), f"{share:.2f}"] for name, share in run.cost.items()]
    return table(["counted", "in retrainings"], rows, (1,), empty="No cost was recorded.")


def _looks(run: UnlearningRun) -> str:
    rows = [
        [
            look.start_step,
            look.steps_spent,
            percent(look.excess),
            look.p_value,
            look.p_staying,
            None if look.remembered is None else f"{look.remembered} ({number(look.remembered_by_chance)} by chance)",
            ", ".join(look.standing_out),
            badge("enough", "good") if look.passed else badge("not yet", "unsure"),
            look.words,
        ]
        for look in run.looks
    ]
    head = ["from step", "steps spent", "excess", "p", "p of records that stay", "records that stand out",
            "requests that stand out", "", "in words"]  # fmt: skip
    shown = table(head, rows, (0, 1, 2, 3, 4), empty="None: this method needs no look.")
    measured = [look for look in run.looks if look.excess is not None]
    if len(measured) < 2:
        return shown
    line = Line([look.steps_spent for look in measured], [look.excess or 0.0 for look in measured])
    return figures(figure(curves([line], "steps spent", "excess"), "What was left, look by look.")) + shown


def evidence_page(evidence: Evidence) -> str:
    """Every test with its controls, drawn and in numbers."""
    return page("Evidence of forgetting", [notice(evidence.words), evidence_sections(evidence)])


def decision_page(decision: GateDecision) -> str:
    """Whether the model may be released, with every finding."""
    kind = "good" if decision.passed else "bad"
    word = "Released" if decision.passed else "Not released"
    return page(
        "Decision on the model",
        [
            notice(f"{word}. {decision.words}", kind, head=True),  # type: ignore[arg-type]
            definitions({"guarantee": guarantee_words(decision.guarantee)}),
            section("Every finding", findings_table(decision)),
            section("Several tests at once (Holm)", holm_table(decision)),
        ],
        "Every finding that decides must be fine; the others are reported",
    )


def findings_table(decision: GateDecision, titles: Mapping[str, str] | None = None) -> str:
    """The gate's findings: those that decide, and folded those that are only reported. `titles`: checks in words."""
    decide = [f for f in decision.findings if f.gating]
    report = [f for f in decision.findings if not f.gating]
    names = titles or {}
    rest = folded(f"{plural(len(report), 'finding')} that did not decide", _findings(report, names)) if report else ""
    return _findings(decide, names) + rest


def _findings(findings: list[Finding], titles: Mapping[str, str]) -> str:
    rows = [
        [
            _in_words(f.name, titles),
            badge("fine", "good") if f.ok else badge("not fine", "bad" if f.gating else "unsure"),
            f.words,
        ]
        for f in sorted(findings, key=lambda f: f.ok)
    ]
    return table(["finding", "", "in words"], rows, cards=True)


def _in_words(name: str, titles: Mapping[str, str]) -> str:
    """The finding's name, with its check by its title: "influence: control oracle" is for programs."""
    check, _, control = name.partition(": control ")
    if check not in titles:
        return name
    return f"{titles[check]}; control: {CONTROLS.get(control, control)}" if control else titles[check]


def holm_table(decision: GateDecision) -> str:
    """The gating checks in Holm's order."""
    rows = [[r.name, r.p_value, r.level, "rejected" if r.rejected else "not rejected"] for r in decision.holm]
    return table(["test", "p", "held against", "outcome"], rows, (1, 2), empty="No test decided.")
