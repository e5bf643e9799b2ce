"""Does `request add` mean what the same request in a file means? Both go by one rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import START

from adapters import ledger_age
from adapters.ledger import open_ledger
from adapters.project import Project
from expunge.compliance.ledger import Request
from expunge.data.config import DataSettings
from expunge.errors import NotFoundError, UsageError
from pipelines.intake import add_request, import_requests, read_files

ROWS = [("r-1", "ada"), ("r-2", "bob"), ("r-3", "ada"), ("r-4", "eve")]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("EXPUNGE_SIMULATED_NOW", START.isoformat())
    monkeypatch.delenv("EXPUNGE_LEDGER_URL", raising=False)
    table = "id,who,y,a\n" + "".join(f"{r},{s},{n % 2},{n}\n" for n, (r, s) in enumerate(ROWS))
    (tmp_path / "people.csv").write_text(table)
    return Project(tmp_path)


@pytest.fixture
def data(project: Project) -> DataSettings:
    options = {"path": str(project.root / "people.csv"), "id": "id", "subject": "who", "target": "y"}
    return DataSettings(name="tabular", options=options)


def facts(project: Project, request: Request) -> tuple[Any, ...]:
    with open_ledger(project) as ledger:
        records = {(one.record_pseudonym, one.status) for one in ledger.request_records(request.id)}
        name = {ledger.pseudonymizer.record(record): record for record, _ in ROWS}
    return request.status, request.outcome, request.details["kind"], {(name[one], status) for one, status in records}


@pytest.mark.parametrize(
    ("subject", "records", "status", "meant"),
    [
        ("ada", ["r-2"], "identity_unverified", {"r-2"}),  # that record is of somebody else
        ("ada", ["r-1", "r-2"], "identity_unverified", {"r-1", "r-2"}),
        ("ada", ["r-3"], "received", {"r-3"}),
        ("ada", [], "received", {"r-1", "r-3"}),
        (None, ["r-4", "r-2"], "received", {"r-2", "r-4"}),
    ],
)
def test_a_line_and_a_file_say_the_same(
    project: Project, data: DataSettings, subject: str | None, records: list[str], status: str, meant: set[str]
) -> None:
    typed, count = add_request(data, project, records, subject, "typed", None)
    assert typed.request.status == status and count == len(meant)
    assert facts(project, typed.request)[3] == {(record, "requested") for record in meant}
    assert not add_request(data, project, records, subject, "typed", None)[0].created
    with open_ledger(project) as ledger:
        ledger.cancel("typed")
    file = project.root / "portal.csv"
    file.write_text(f"request_id,subject_id,record_ids\nread,{subject or ''},{';'.join(records)}\n")
    (imported,) = import_requests(data, project, read_files(project, [file], None, {}))
    assert facts(project, imported.added[0].request) == facts(project, typed.request)


def test_what_the_data_do_not_know_is_a_slip_of_the_hand(project: Project, data: DataSettings) -> None:
    for records, subject in ((["r-9"], None), ([], "nobody"), (["r-1", "r-9"], "ada")):
        with pytest.raises(NotFoundError):
            add_request(data, project, records, subject, "q1", None)
    with pytest.raises(UsageError, match="names neither"):
        add_request(data, project, [], None, "q1", None)
    with open_ledger(project) as ledger:
        assert ledger.list_requests() == []


def test_the_head_of_the_ledger_is_written_whole_by_any_number_of_writers(project: Project) -> None:
    """A file that another writer left half-way under a name of its own is neither used nor in the way."""
    with open_ledger(project) as ledger:
        (project.state / "ledger.partial").mkdir()
        ledger.append_event("note", {})
        ledger_age.write_head(ledger, project)
        head = (project.state / ledger_age.HEAD_FILE).read_text().split()
        assert head == [ledger.ledger_id, str(ledger.head().seq), ledger.head().hash]
        ledger_age.require_current(ledger, project)
    assert not [path for path in project.state.iterdir() if path.name.startswith(".ledger.head")]
