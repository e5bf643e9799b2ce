"""plan, forget."""

from __future__ import annotations

from json import dumps as to_text
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.context import Config, Json, Set, project, refuse_unwritable, settings, start
from cli.evidence_table import show_evidence

Records = Annotated[
    str | None,
    typer.Argument(
        help="hardest:0.05, easiest:0.05, random:100, bin:4/5, records:ID,ID or requests:ID,ID.", metavar="[RECORDS]"
    ),
]

Method = Annotated[
    str | None,
    typer.Option(
        help="Take this method: unrolled_rewind, rewind, keep, retrain, fine_tune, noisy_fine_tune, l1_sparse, "
        "neggrad_plus, scrub."
    ),
]
Target = Annotated[float | None, typer.Option(help="Share of the original's influence that may stay; 0.10 is usual.")]
MaxCost = Annotated[float | None, typer.Option(help="Nothing dearer than this share of a retraining, but retraining.")]


def add_to(app: typer.Typer) -> None:
    app.command()(plan)
    app.command()(forget)


def plan(
    set_spec: Records = None,
    all_due: Annotated[
        bool, typer.Option("--all-due", help="All open requests as one run, against retraining (the default).")
    ] = False,
    method: Method = None,
    target: Target = None,
    max_cost: MaxCost = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the plan as a page with its plots to this HTML file.")
    ] = None,
    config: Config = None,
    overrides: Set = None,
    json: Json = False,
) -> None:
    """Price the forgetting of records against retraining; nothing is changed. `expunge queue` goes by these prices."""
    refuse_unwritable(page)
    chosen = settings(config, [*(overrides or []), *_planning(method, target, max_cost)])
    spec = set_spec or _open_requests()
    start()
    from pipelines.trial import check_set, run_planning

    check_set(chosen, spec)
    _prepare(chosen)
    made = run_planning(chosen, spec).load("unlearning_plan")
    if page is not None:
        from expunge.reporting.artifact_pages import plan_page

        page.write_text(plan_page(made), encoding="utf-8")
        output.say(f"Page: {page}")
    words = "" if set_spec else _queue_words(made, noted=not (method or target or max_cost or overrides))
    if json:
        output.as_json(made.model_dump(mode="json"))
        return
    _show_plan(made)
    if words:
        output.line(words)


def forget(
    set_spec: Annotated[str, typer.Argument(help="hardest:0.05, random:100, bin:4/5, records:ID,ID ...")],
    method: Method = None,
    target: Target = None,
    max_cost: MaxCost = None,
    config: Config = None,
    overrides: Set = None,
    json: Json = False,
    metrics: Annotated[Path | None, typer.Option("--metrics", help="Write the figures to this JSON file.")] = None,
) -> None:
    """Try it: unlearn these records and judge the result. Nothing is promoted or destroyed."""
    refuse_unwritable(metrics)
    chosen = settings(config, [*(overrides or []), *_planning(method, target, max_cost)])
    start()
    from adapters import workdir
    from expunge.errors import GateFailed
    from pipelines.trial import check_set, run_trial

    check_set(chosen, set_spec)
    _prepare(chosen)
    done = run_trial(chosen, set_spec)
    workdir.release()
    made, run = done.load("unlearning_plan"), done.load("unlearning_run")
    evidence, decision = done.load("evidence"), done.load("gate_decision")
    if metrics is not None:
        figures = {check.name: check.statistic for check in evidence.checks if check.statistic is not None}
        passed = int(decision.passed)
        metrics.write_text(
            to_text({"cost": run.cost["unlearning"], "steps": run.steps_spent, "passed": passed, **figures})
        )
    if json:
        parts = {"plan": made, "run": run, "evidence": evidence, "decision": decision}
        output.as_json({name: part.model_dump(mode="json") for name, part in parts.items()})
    else:
        _show_plan(made)
        _show_spent(made, run)
        show_evidence(evidence, decision)
    if not decision.passed:
        raise GateFailed(f"The gate {decision.words}.", "A trial: nothing was promoted in any case.")


def _planning(method: str | None, target: float | None, max_cost: float | None) -> list[str]:
    """The options as overrides of the settings, which check them."""
    given = {"method": method, "target": target, "max_cost": max_cost}
    return [f"planning.{name}={value}" for name, value in given.items() if value is not None]


def _open_requests() -> str:
    from adapters.ledger import open_ledger
    from expunge.errors import NotFoundError

    with open_ledger() as ledger:
        due = [d.request.id for d in ledger.due_requests() if d.request.status not in ("promoted", "purged")]
    if not due:
        raise NotFoundError(
            "There is no open request to plan for.", "Add one, or name records: `expunge plan hardest:0.05`."
        )
    return "requests:" + ",".join(due)


def _queue_words(made: Any, noted: bool) -> str:
    """Note the prices for `expunge queue`, unless options made them other than a run's; returns its forecast."""
    from adapters.ledger import open_ledger
    from adapters.queue import queue_of

    with open_ledger() as ledger:
        if noted:
            ledger.record_prices(made.model_dump(mode="json"))
        return queue_of(project(), ledger).words


def _prepare(chosen: Any) -> None:
    from adapters import model_registry
    from pipelines.due import prepare

    prepare(chosen, str(model_registry.production(chosen.model.registered_as).id), output.say)


def _show_plan(made: Any) -> None:
    output.line(f"Plan for {made.forget_records} records of model {made.model_version}: {made.method}")
    output.line(f"  {made.reason}")
    where = f" from step {made.rewind_step}" if made.rewind_step is not None else ""
    where += f", {made.strength:.0%} of the records' push taken back" if made.strength is not None else ""
    output.line(
        f"  {made.predicted_steps} steps{where} ({made.predicted_interval[0]} to {made.predicted_interval[1]},"
        f" {made.interval_note}); cost {made.predicted_cost:.2f} of a retraining; at most {made.budget_steps} steps"
    )
    if made.predicted_left is not None:
        interval = made.left_interval
        sure = f" (90 %: {interval[0]:.2f} to {interval[1]:.2f})" if interval is not None else ""
        output.line(f"  predicted to be left of the original's influence: {made.predicted_left:.2f}{sure}")
    if made.one_by_one_cost is not None:
        output.line(
            f"  all {len(made.requests)} requests: this run {made.predicted_cost:.2f}, one retraining for all 1.00,"
            f" a run for each at least {made.one_by_one_cost:.2f}"
        )
    for warning in made.warnings:
        output.line(f"  warning: {warning}")
    if made.requests:
        rows = [(r.request_id, r.records, f"{r.percentile:.0f}", f"{r.loss:,.1f}") for r in made.requests]
        output.table("Requests", ("request", "records", "difficulty percentile", "mean privacy loss"), rows)
    alternatives = [
        (
            _way(c),
            c.steps,
            f"{c.cost:.2f}",
            "?" if c.predicted_left is None else f"{c.predicted_left:.2f}",
            "yes" if c.allowed else "no",
            c.why,
        )
        for c in made.alternatives
    ]
    output.table("Alternatives", ("method", "steps", "cost", "predicted to be left", "allowed", "why"), alternatives)


def _show_spent(made: Any, run: Any) -> None:
    """Predicted against spent, in retrainings, and what a look measured of what the plan said would be left."""
    spent = run.cost["unlearning"]
    output.line(
        f"Spent {run.steps_spent} of {made.retrain_steps} steps: {spent:.2f} retrainings, predicted"
        f" {made.predicted_cost:.2f}; {run.stop_reason}."
    )
    looks = [look for look in run.looks if look.excess is not None]
    if looks and made.predicted_left is not None:
        left = max(looks[-1].excess, abs(looks[-1].influence or 0.0))
        output.line(
            f"Left of the original's influence: {left:.2f} at the last look, {made.predicted_left:.2f} predicted."
        )
    if looks and looks[-1].remembered is not None:
        named = f"; requests {', '.join(looks[-1].standing_out)} as a whole" if looks[-1].standing_out else ""
        output.line(
            f"Records that stand out from all look oracles: {looks[-1].remembered}, by chance"
            f" {looks[-1].remembered_by_chance:.1f}{named}."
        )


def _way(candidate: Any) -> str:
    words = candidate.method.replace("_", " ")
    if candidate.rewind_step is not None:
        words += f" to {candidate.rewind_step}"
    return words if candidate.strength is None else f"{words}, {candidate.strength:.0%} of the push"
