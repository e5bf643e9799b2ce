"""audit record|subject|request|model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli import output
from cli.context import Json, refuse_unwritable, start

app = typer.Typer(
    help="Lineage both ways: request, data version, checkpoints, models; tombstones too.", no_args_is_help=True
)
Publish = Annotated[bool, typer.Option("--publish", help="Put the lineage into the dashboard, as an audit run.")]
Page = Annotated[
    Path | None,
    typer.Option("--page", help="Draw it as one static page in this HTML file; records and people as pseudonyms."),
]


def add_to(parent: typer.Typer) -> None:
    parent.add_typer(app, name="audit")


@app.command("record")
def record(
    record_id: Annotated[str, typer.Argument()], publish: Publish = False, page: Page = None, json: Json = False
) -> None:
    """Where a record went: requests, data versions, trajectories, models; also after it was destroyed."""
    refuse_unwritable(page)
    start()
    from adapters.lineage import of_record

    _show(of_record(record_id), publish, page, json)


@app.command("subject")
def subject(
    subject_id: Annotated[str, typer.Argument()], publish: Publish = False, page: Page = None, json: Json = False
) -> None:
    """A person's requests and what came of them."""
    refuse_unwritable(page)
    start()
    from adapters.lineage import of_subject

    _show(of_subject(subject_id), publish, page, json)


@app.command("request")
def request(
    request_id: Annotated[str, typer.Argument()], publish: Publish = False, page: Page = None, json: Json = False
) -> None:
    """One request: from the records it named to the model that serves now; answered without work, or refused, too."""
    refuse_unwritable(page)
    start()
    from adapters.lineage import of_request

    _show(of_request(request_id), publish, page, json)


@app.command("model")
def model(
    version: Annotated[str, typer.Argument(help="A version's name or number, or a stage such as production.")],
    publish: Publish = False,
    page: Page = None,
    json: Json = False,
) -> None:
    """One model version: what it was made from, the requests it answered, what took its place."""
    refuse_unwritable(page)
    start()
    from adapters.lineage import of_model

    _show(of_model(version), publish, page, json)


def _show(found: Any, publish: bool, page: Path | None, json: bool) -> None:
    from cli.lineage_words import as_json, show

    published = ""
    if publish:
        from pipelines.audit import run_audit

        published = run_audit(found).name
    if page is not None:
        from adapters.lineage_graph import page_of

        page.write_text(page_of(found, found.public_name), encoding="utf-8")
        output.say(f"Page: {page}")
    if json:
        output.as_json({**as_json(found), "published": published or None})
        return
    show(found)
    if published:
        output.line(f"Published as run {published}: see its output `lineage` in the dashboard (`expunge dashboard`).")
