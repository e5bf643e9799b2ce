"""verify CERTIFICATE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import output
from cli.context import Json


def add_to(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    certificate: Annotated[Path, typer.Argument(help="The certificate file.")],
    model: Annotated[Path | None, typer.Option("--model", help="The model file to compare with it.")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="The issuer's public key (PEM).")] = None,
    ledger: Annotated[Path | None, typer.Option("--ledger", help="The ledger (SQLite).")] = None,
    json: Json = False,
) -> None:
    """Check a certificate from the files alone: signature, digests, the ledger's chain. Exit code 5: changed."""
    from expunge.compliance.verify.check import verify_certificate
    from expunge.compliance.verify.command import describe

    result = verify_certificate(certificate, public_key=key, model=model, ledger=ledger)
    if json:
        output.as_json(result.to_dict())
    else:
        output.line(describe(result))
    if not result.ok:
        raise typer.Exit(result.exit_code)
