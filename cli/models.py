"""model list|rollback|destroy."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cli import output
from cli.context import Config, Json, settings, start

app = typer.Typer(help="Model versions: list them, go back to a clean one, destroy one.", no_args_is_help=True)
Version = Annotated[str, typer.Argument(help="A version's name or number.")]


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(app, name="model")


@app.command("list")
def list_models(config: Config = None, json: Json = False) -> None:
    """Every version, newest first: its stage, how it was made, and whether it may serve again."""
    name = settings(config).model.registered_as
    start()
    from adapters.clean_models import standings

    found = standings(name)
    if json:
        output.as_json(
            [
                {"version": s.label, "stage": s.stage, "method": s.method, "may_serve": not s.reasons,
                 "reasons": list(s.reasons)}
                for s in found
            ]
        )  # fmt: skip
        return
    if not found:
        output.line(f"No version of {name} yet. Train one: expunge train.")
        return
    rows = [
        (s.label, s.stage, s.method, f"{s.version.created:%Y-%m-%d %H:%M}", "; ".join(s.reasons) or "yes")
        for s in found
    ]
    output.table("Model versions", ("version", "stage", "made by", "made", "may it serve?"), rows)


@app.command("rollback")
def rollback(
    version: Annotated[str | None, typer.Argument(help="Default: the newest clean one that does not serve.")] = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Let an earlier version serve: one that never saw an erased record, or passed the gate for it."""
    name = settings(config).model.registered_as
    start()
    from adapters.rollback import roll_back

    before, after = roll_back(version, name)
    if json:
        output.as_json({"before": before, "after": after})
        return
    output.line(f"{after} serves now, instead of {before}.")


@app.command("destroy")
def destroy(
    version: Version,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be destroyed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    even_production: Annotated[
        bool, typer.Option("--even-production", help="Destroy it even if it serves, or one unlearned from it does.")
    ] = False,
    config: Config = None,
    json: Json = False,
) -> None:
    """Destroy a version and all that came of it: scores, outputs, reports, and the versions unlearned from it."""
    name = settings(config).model.registered_as
    start()
    from adapters import model_registry
    from adapters.model_destruction import derived_from, destroy_model
    from adapters.turn import turn
    from expunge.errors import NeedsApproval

    with turn(wait=False):
        chosen = model_registry.named(name, version)
        found = derived_from(chosen)
        if dry_run or not json:
            _show(found, json)
        if dry_run:
            return
        if found.serves and not even_production:
            serving = next(model_registry.label(v) for v, _ in found.versions if v.stage == model_registry.PRODUCTION)
            raise NeedsApproval(
                f"{serving} serves: nothing was destroyed.",
                "Roll back to another or train one first, or repeat with --even-production.",
            )
        if not yes and not (
            sys.stdin.isatty() and typer.confirm("Destroy all of this? It cannot be undone.", err=True)
        ):
            raise NeedsApproval("Nothing was destroyed.", "Repeat with --yes.")
        done = destroy_model(chosen, found)
    if json:
        output.as_json(done)
        return
    output.line(f"Destroyed under {done['run']}: {', '.join(done['versions'])}, {len(done['artifacts'])} artifact(s).")


def _show(found: Any, json: bool) -> None:
    from adapters import model_registry

    if json:
        output.as_json(
            {
                "versions": [{"version": model_registry.label(v), "why": why} for v, why in found.versions],
                "artifacts": [{"kind": a.artifact.name, "id": str(a.id)} for a in found.artifacts],
                "kept": [{"what": what, "why": why} for what, why in found.kept],
                "serves": found.serves,
            }
        )
        return
    rows = [("destroy", model_registry.label(v), v.stage or "none", why) for v, why in found.versions]
    rows += [("destroy", a.artifact.name, str(a.id), "made with it") for a in found.artifacts]
    rows += [("keep", what, "", why) for what, why in found.kept]
    output.table("To destroy", ("", "what", "stage or id", "why"), rows)
