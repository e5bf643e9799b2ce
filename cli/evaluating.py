"""evaluate."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import output
from cli.context import Config, Json, Set, settings, start
from cli.evidence_table import show_audit, show_checks, show_evidence


def add_to(app: typer.Typer) -> None:
    app.command()(evaluate)


def evaluate(
    config: Config = None,
    overrides: Set = None,
    json: Json = False,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Train true oracles for the newest evidence of level pool or oracle-free."),
    ] = False,
    shadows: Annotated[
        int | None,
        typer.Option("--shadows", min=8, help="Train so many shadow models of the newest run's method; 64, say."),
    ] = None,
) -> None:
    """Show the newest evidence and what the gate made of it; or audit it, or its method."""
    from expunge.errors import UsageError

    if audit and shadows is not None:
        raise UsageError("--audit and --shadows at once.", "Ask for one after the other.")
    if audit:
        _audit(config, overrides, json)
    elif shadows is not None:
        _shadows(config, overrides, json, shadows)
    else:
        _newest(json)


def _newest(json: bool) -> None:
    start()
    from adapters import artifacts
    from expunge.errors import NotFoundError

    evidence, decision = artifacts.newest("evidence"), artifacts.newest("gate_decision")
    if evidence is None or decision is None:
        raise NotFoundError(
            "Nothing was unlearned in this project yet.", "Run `expunge run-due`, or try `expunge forget hardest:0.05`."
        )
    if json:
        found = {"evidence": evidence.load(), "decision": decision.load()}
        output.as_json({name: part.model_dump(mode="json") for name, part in found.items()})
        return
    show_evidence(evidence.load(), decision.load())
    if artifacts.newest("evaluation_outputs") is None:
        output.line("Stored figures: the outputs behind them were destroyed with the records they spoke of.")


def _audit(config: Config, overrides: Set, json: bool) -> None:
    chosen = settings(config, overrides)
    start()
    from expunge.errors import GateFailed
    from pipelines.evidence_audit import run_evidence_audit

    found = run_evidence_audit(chosen)
    if json:
        output.as_json(found.to_dict())
    else:
        show_audit(found)
    if not found.stands and found.audited.verdict == "pass":
        raise GateFailed(found.words, "Do not rely on it: see which check differs, and retrain without the records.")


def _shadows(config: Config, overrides: Set, json: bool, models: int) -> None:
    chosen = settings(config, overrides)
    start()
    from pipelines.shadows import run_shadows

    evidence = run_shadows(chosen, models)
    if json:
        output.as_json(evidence.model_dump(mode="json"))
        return
    show_checks("Evidence on the method", evidence)
    output.line(f"Claim: METHOD. {evidence.words}.")
