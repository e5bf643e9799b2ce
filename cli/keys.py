"""keys list|rotate."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from cli import output
from cli.context import Json, project

app = typer.Typer(help="The keys of pseudonyms and certificates: list, rotate.", no_args_is_help=True)


class Which(StrEnum):
    """A key that can be rotated."""

    PSEUDONYM = "pseudonym"
    CERTIFICATE = "certificate"


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(app, name="keys")


@app.command("list")
def list_keys(json: Json = False) -> None:
    """The keys at hand, by their ids: what new pseudonyms and signatures are made with, and what old ones need."""
    found = project()
    from adapters.keys import keys

    held = keys(found)
    if json:
        output.as_json([vars(key) for key in held])
        return
    rows = [(key.of, key.id, "current" if key.current else "retired", key.kept) for key in held]
    output.table("Keys", ("of", "id", "", "kept in"), rows)
    output.line("Back them up: without the pseudonym keys nothing on the ledger can be matched.")


@app.command("rotate")
def rotate(which: Annotated[Which, typer.Argument(help="pseudonym or certificate.")], json: Json = False) -> None:
    """Replace a key. What was named or signed under the old one is still matched and verified."""
    found = project()
    from adapters.keys import rotate as replace

    done = replace(found, which.value)
    if json:
        output.as_json(vars(done))
        return
    output.line(f"The {done.of} key {done.before} is retired; {done.after} is the current one.")
    output.line("  Back up the key folder now: " + str(found.pseudonym_key.parent))
