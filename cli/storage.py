"""storage move|repair."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cli import output
from cli.context import Config, Json, Set, project, remember, settings, start

app = typer.Typer(help="Where checkpoints are kept: move them, or repair a remote that was lost.", no_args_is_help=True)


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(app, name="storage")


@app.command("move")
def move(
    config: Config = None,
    overrides: Set = None,
    renamed: Annotated[
        bool, typer.Option("--renamed", help="The remote only has a new address: copy nothing, empty nothing.")
    ] = False,
    lost: Annotated[bool, typer.Option("--lost", help="The old remote does not exist any more.")] = False,
    json: Json = False,
) -> None:
    """Move every checkpoint to the remote of the settings (--set storage.remote=...), and empty the old one."""
    chosen = settings(config, overrides)
    found = project()
    start()
    from adapters import storage_moves

    done = storage_moves.move(found, chosen.storage, renamed, lost)
    if found.active_settings.is_file():
        remember(settings().model_copy(update={"storage": chosen.storage}))
    if json:
        output.as_json(asdict(done))
        return
    output.line(f"Checkpoints are in {done.remote}: {done.objects} objects.")
    output.line(f"  {done.removed} objects were removed from the remote before.")


@app.command("repair")
def repair(json: Json = False) -> None:
    """Mark the remote as this project's, fill it from the cache, and remove what no trajectory needs."""
    found = project()
    start()
    from adapters import artifacts, prefixes, storage_moves
    from expunge.errors import IntegrityError

    known = [
        artifacts.materializer_of(version).load_stored()
        for kind in ("trajectory", prefixes.KIND)
        for version in artifacts.versions(kind, present_only=True)
        if artifacts.still_stored(version)
    ]
    done = storage_moves.repair(found, known)
    if json:
        output.as_json(asdict(done))
    else:
        output.line(f"{done.remote}: {done.restored} objects restored, {done.removed} removed that nothing needs.")
    if done.lost:
        raise IntegrityError(
            f"{len(done.lost)} file(s) are neither in the cache nor in the remote, such as {done.lost[0]}.",
            "Restore the remote from a backup and repair again, or train again.",
        )
