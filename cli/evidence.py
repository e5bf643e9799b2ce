"""verify CERTIFICATE, verify --all."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.context import Json, project


def add_to(app: typer.Typer) -> None:
    app.command()(verify)


def verify(
    certificate: Annotated[Path | None, typer.Argument(help="The certificate file.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="The ledger, the keys, and every certificate with its model and report.")
    ] = False,
    model: Annotated[Path | None, typer.Option("--model", help="The model file to compare with it.")] = None,
    key: Annotated[Path | None, typer.Option("--key", help="The issuer's public key (PEM).")] = None,
    ledger: Annotated[
        Path | None, typer.Option("--ledger", help="The ledger (SQLite) or an export of its chain.")
    ] = None,
    anchor: Annotated[
        Path | None, typer.Option("--anchor", help="With --all: a file of `ledger anchor`, kept elsewhere.")
    ] = None,
    json: Json = False,
) -> None:
    """Check certificates from the files alone: signature, digests, the ledger's chain. Exit code 5: changed."""
    from expunge.errors import UsageError

    if everything == (certificate is not None):
        raise UsageError("Nothing to verify, or two things at once.", "Name one certificate, or give --all.")
    if everything:
        if model is not None or ledger is not None:
            raise UsageError("--all goes by the project's own ledger and models.", "Leave out --model and --ledger.")
        _all(key, anchor, json)
    elif anchor is not None:
        raise UsageError("--anchor is for --all.", "Give --all.")
    elif certificate is not None:
        _one(certificate, model, key, ledger, json)


def _one(certificate: Path, model: Path | None, key: Path | None, ledger: Path | None, json: bool) -> None:
    from expunge.compliance.verify import verify_certificate
    from expunge.compliance.verify.command import describe

    with _ledger_elsewhere() if ledger is None else nullcontext(ledger) as place:
        result = verify_certificate(certificate, public_key=key, model=model, ledger=place)
    if json:
        output.as_json(result.to_dict())
    else:
        output.line(describe(result))
    if not result.ok:
        raise typer.Exit(result.exit_code)


def _ledger_elsewhere() -> Any:
    """The ledger that EXPUNGE_LEDGER_URL names, as a file: a PostgreSQL ledger is exported for the occasion."""
    if not os.environ.get("EXPUNGE_LEDGER_URL"):
        return nullcontext(None)
    from adapters.verification import ledger_file

    return ledger_file(project())


def _all(key: Path | None, anchor: Path | None, json: bool) -> None:
    found = project()
    from adapters.verification import verify_project
    from expunge.compliance.verify.command import describe_all

    done = verify_project(found, key, anchor)
    if json:
        output.as_json(done.to_dict())
    else:
        output.line(describe_all(done))
    if done.exit_code:
        raise typer.Exit(done.exit_code)
