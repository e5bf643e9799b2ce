"""ledger head|anchor|export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.context import Json, project

app = typer.Typer(
    help="The ledger's chain: its head, a head kept elsewhere, and an export for auditors.", no_args_is_help=True
)


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(app, name="ledger")


@app.command("head")
def head(json: Json = False) -> None:
    """The last event's number and hash, and the id of the key that signs. Write them down elsewhere."""
    line = _head()
    if json:
        output.as_json(line)
        return
    for name in ("ledger_id", "seq", "hash", "key_id", "at"):
        output.line(f"{name.replace('_', ' '):<10}{line[name]}")


@app.command("anchor")
def anchor(file: Annotated[Path, typer.Argument(help="On other media: a head is added to it.")]) -> None:
    """Add the head to a file elsewhere: by it `verify --all --anchor FILE` sees a cut-off or rewritten chain."""
    from cli.context import refuse_unwritable
    from expunge.compliance.anchor import append_anchor

    refuse_unwritable(file)
    line = _head()
    append_anchor(file, line)
    output.line(f"Event {line['seq']} ({line['hash'][:16]}…) is written down in {file}.")


@app.command("export")
def export(file: Annotated[Path, typer.Argument(help="The file to write.")]) -> None:
    """Write the whole chain to a file that the stand-alone verifier reads in place of the ledger; pseudonyms only."""
    from cli.context import refuse_unwritable

    refuse_unwritable(file)
    found = project()
    from adapters.ledger import open_ledger

    with open_ledger(found) as ledger:
        digest, events = ledger.export_chain(file), ledger.head().seq
    output.line(f"{events} events in {file} (SHA-256 {digest}).")


def _head() -> dict[str, Any]:
    found = project()
    from adapters import clock
    from adapters.ledger import open_ledger
    from expunge.compliance.anchor import head_line
    from expunge.compliance.certificate import public_key_path

    with open_ledger(found) as opened:
        return head_line(opened, public_key_path(found.signing_key), clock.now())
