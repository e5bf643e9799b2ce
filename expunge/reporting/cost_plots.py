"""What was planned, what was spent, and when had the original's training spent the records' privacy loss?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from expunge.reporting.page import figure, paragraph, percent, table
from expunge.reporting.svg import Line, curves
from expunge.reporting.svg_bars import Bar, lying_bars
from expunge.unlearning.plan import UnlearningPlan, UnlearningRun


def plan_against_spent(plan: UnlearningPlan, run: UnlearningRun) -> str:
    """Work that was predicted, with the interval, and work that was spent, against one retraining."""
    whole = plan.retrain_steps or 1
    low, high = plan.predicted_interval
    ranged = low != high
    spent, earlier = _spent(plan, run), run.cost.get("earlier attempts", 0.0)
    words = percent(plan.predicted_cost) + (f" [{percent(low / whole)}, {percent(high / whole)}]" if ranged else "")
    bars = [
        Bar("planned", plan.predicted_cost, "grey", (low / whole, high / whole) if ranged else None, words),
        Bar("spent", spent, "a", shown=percent(spent)),
        *([Bar("spent before, on an attempt that failed", earlier, "a", shown=percent(earlier))] if earlier else []),
        Bar("one retraining", 1.0, "b", shown="100%"),
    ]
    return figure(
        lying_bars(bars, "work, in retrainings"),
        "What the plan predicted and what was spent, beside the work of one retraining."
        + (" Whisker: the plan's interval." if ranged else ""),
    )


def left_plot(plan: UnlearningPlan) -> str:
    """What each candidate is predicted to leave, by its cost, with the target and the one that was chosen."""
    known = [(c.method, c.cost, c.predicted_left) for c in plan.alternatives if c.predicted_left is not None]
    if plan.predicted_left is not None:
        known.append((plan.method, plan.predicted_cost, plan.predicted_left))
    if len(known) < 2:
        return ""
    # Of the strengths of one point the best: a line through all of them would go up and down.
    best: dict[str, dict[float, float]] = {}
    for method, cost, left in known:
        own = best.setdefault(method, {})
        own[cost] = min(left, own.get(cost, left))
    most = max(1.0, *(cost for _, cost, _ in known))
    lines = [Line((0.0, most), (plan.target, plan.target), "grey", "target", style="dashed")]
    kinds: dict[str, str] = dict(zip([name for name in best if name != "retrain"], "acdea", strict=False))
    for name, own in best.items():
        costs = sorted(own)
        lines.append(Line(costs, [own[cost] for cost in costs], kinds.get(name, "grey"), name.replace("_", " ")))
    if plan.predicted_left is not None:
        lines.append(Line((plan.predicted_cost,), (plan.predicted_left,), "b", "chosen"))
    marks = [(plan.predicted_cost, f"chosen: {percent(plan.predicted_cost)} of a retraining")]
    words = (
        "What calibration predicts each candidate to leave of the original's influence, by its cost. The target is "
        f"{percent(plan.target)}; retraining leaves none."
    )
    legend = [
        *((kind, method.replace("_", " ")) for method, kind in kinds.items()),
        ("b", "the plan"),
        ("grey", "target"),
    ]
    drawn = curves(lines, "cost, in retrainings", "predicted to be left", marks=marks)
    return figure(drawn, words, legend)


def steps_table(plan: UnlearningPlan, run: UnlearningRun) -> str:
    """The same in steps."""
    whole = plan.retrain_steps or 1
    low, high = plan.predicted_interval
    between: list[list[object]] = []
    if low != high:
        shares = f"{percent(low / whole, 1)} to {percent(high / whole, 1)}"
        between = [["predicted, between", f"{low} and {high}", shares]]
    rows: list[list[object]] = [
        ["predicted", plan.predicted_steps, percent(plan.predicted_cost, 1)],
        *between,
        ["spent", run.steps_spent, percent(_spent(plan, run), 1)],
        # What a method reads besides its steps is in the prediction.
        ["never more than", plan.budget_steps, percent(max(plan.budget_steps / whole, plan.predicted_cost), 1)],
        ["one retraining", plan.retrain_steps, "100%"],
    ]
    note = f"The interval: {plan.interval_note}." if between else ""
    return table(["", "steps", "of a retraining"], rows, (1, 2)) + paragraph(note, note=True)


def _spent(plan: UnlearningPlan, run: UnlearningRun) -> float:
    return run.cost.get("unlearning", run.steps_spent / (plan.retrain_steps or 1))


def loss_plot(plan: UnlearningPlan, run: UnlearningRun | None = None) -> str:
    """When the original's training spent the privacy loss of the forget set, with the rewind point that was taken."""
    curve = plan.loss_curve
    if curve is None:
        return ""
    own = [r for r in plan.requests if len(r.spent) == len(curve.steps)]
    lines = [Line(curve.steps, r.spent, "b", r.request_id, style="thin") for r in own]
    lines += [
        Line(curve.steps, curve.everyone, "grey", "all records"),
        Line(curve.steps, curve.forget, "b", "the records to forget"),
    ]
    taken = plan.rewind_step if run is None else run.rewind_step
    marks = [] if taken is None else [(float(taken), f"restart at step {taken}")]
    if taken is not None and plan.rewind_step not in (None, taken):
        marks.append((float(plan.rewind_step or 0), f"planned: {plan.rewind_step}"))
    words = "Share of the privacy loss that the original's training had spent before each step; the loss says how much "
    words += "of a record a training run could reveal. "
    if taken is None:
        words += "This method restarts at no checkpoint."
        if (run.method if run else plan.method) == "retrain":
            words = words.replace("restarts at no checkpoint", "restarts at step 0, before any of it was spent")
    else:
        share, rest = (_at(values, curve.steps, taken) for values in (curve.forget, curve.everyone))
        words += (
            f"The restart at step {taken} undoes what was spent after it: {percent(1 - share)} of the loss of the "
            f"records to forget ({percent(1 - rest)} of that of all records), and leaves {percent(share)}."
        )
    legend = [("b", "the records to forget"), ("grey", "all records")]
    if own:
        legend[0] = ("b", f"the records to forget; thin: {len(own)} single requests")
    return figure(curves(lines, "training step of the original", "share of privacy loss", marks=marks), words, legend)


def _at(values: Sequence[float], steps: Sequence[int], step: int) -> float:
    return float(np.interp(step, steps, values))
