"""Was every request of the week answered as it should be, on record, with a certificate that verifies?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from adapters import model_registry
from adapters.ledger import open_ledger, pseudonymizer
from adapters.project import Project
from expunge.compliance.verify import verify_certificate
from pipelines.inputs import required
from pipelines.week.story import BERLIN, Story


@dataclass(frozen=True)
class Finding:
    """One check: what was found, and whether it is what it should be."""

    name: str
    ok: bool
    words: str


def check(story: Story, project: Project, registered_as: str, kills: int) -> list[Finding]:
    """Every check of the week; they read the ledger's file themselves, not through what wrote it."""
    rows = _rows(project)
    late = _late(rows)
    crashes = sum(bool(scene.kill_at) for scene in story.scenes)
    findings = [
        _answers(rows, story),
        Finding("late", late == story.late, f"answered after its deadline: {', '.join(sorted(late)) or 'none'}"),
        Finding("crashes", kills == crashes, f"{kills} runs were killed and finished"),
        _gate(project),
        _closed_once(project),
        _statistics(rows, project),
        *_certificates(rows, project),
        _forgotten(rows, registered_as),
    ]
    with open_ledger(project) as ledger:
        chain, changed = ledger.verify_chain(), ledger.verify_rows()
    findings.append(Finding("ledger", chain.ok and not changed, "every event and every row as it was written"))
    return findings


def _answers(rows: dict[str, dict[str, Any]], story: Story) -> Finding:
    found = {request: (row["status"], row["outcome"]) for request, row in rows.items()}
    wrong = [
        f"{request}: {found.get(request)}, not {story.ends.get(request)}"
        for request in sorted(found.keys() | story.ends.keys())
        if found.get(request) != story.ends.get(request)
    ]
    return Finding("answers", not wrong, _listed(f"{len(rows)} requests, each answered as told", wrong))


def _rows(project: Project) -> dict[str, dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{project.ledger}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return {row["id"]: dict(row) for row in connection.execute("select * from request order by id")}


def _select(project: Project, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{project.ledger}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def _day(text: str) -> Any:
    return datetime.fromisoformat(text).astimezone(BERLIN).date()


def _late(rows: dict[str, dict[str, Any]]) -> frozenset[str]:
    return frozenset(
        i
        for i, r in rows.items()
        if r["answered_at"] and str(_day(r["answered_at"])) > (r["extended_to"] or r["due_at"])
    )


def _gate(project: Project) -> Finding:
    fallbacks = _select(project, "select fallback_reason from deletion_run where fallback_reason is not null")
    return Finding("gate", len(fallbacks) == 1, f"refused {len(fallbacks)} time(s); retraining passed")


def _closed_once(project: Project) -> Finding:
    moves = _select(
        project,
        "select request_id, count(*) from event where kind = 'request.moved'"
        " and json_extract(payload, '$.to') = 'closed' group by request_id",
    )
    twice = [request for request, count in moves if count != 1]
    return Finding("once", not twice, _listed(f"{len(moves)} requests were closed, each once", twice))


def _statistics(rows: dict[str, dict[str, Any]], project: Project) -> Finding:
    with open_ledger(project) as ledger:
        said = ledger.statistics()
    states = [r["status"] for r in rows.values()]
    days = [(_day(r["answered_at"]) - _day(r["received_at"])).days for r in rows.values() if r["status"] != "cancelled"]
    counted = {
        "received": len(rows),
        "done": states.count("closed"),
        "refused": states.count("refused"),
        "not_found": states.count("not_found"),
        "duplicate": states.count("duplicate"),
        "cancelled": states.count("cancelled"),
        "open": 0,
        "answered_late": len(_late(rows)),
        "median_days": median(days),
    }
    wrong = [f"{name}: {said[name]}, not {value}" for name, value in counted.items() if said[name] != value]
    words = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in counted.items())
    return Finding("statistics", not wrong, _listed(words, wrong))


def _certificates(rows: dict[str, dict[str, Any]], project: Project) -> list[Finding]:
    issued = _select(project, "select request_id, path from certificate order by request_id")
    owed = {i for i, r in rows.items() if r["status"] == "closed" and r["outcome"] == "erased"}
    lacking = sorted(owed.symmetric_difference(request for request, _ in issued))
    bad = [request for request, path in issued if not verify_certificate(project.state / path).ok]
    return [
        Finding("certificates", not lacking, _listed(f"{len(issued)}, one for every erased request", lacking)),
        Finding("verified", not bad, _listed(f"{len(issued) - len(bad)} of {len(issued)} verify", bad)),
    ]


def _forgotten(rows: dict[str, dict[str, Any]], registered_as: str) -> Finding:
    serving = str(model_registry.production(registered_as).id)
    trained = required("training_records", serving).load().record_ids
    names = pseudonymizer()
    with open_ledger() as ledger:
        erased = {
            r.record_pseudonym
            for i, row in rows.items()
            if row["status"] == "closed"
            for r in ledger.request_records(i)
            if r.status == "erased"
        }
    left = [r for r in trained if not erased.isdisjoint(names.records(r))]
    words = f"{len(erased)} records erased; the model that serves was trained on {len(trained)} others"
    return Finding("forgotten", not left, _listed(words, [f"{len(left)} erased records in it"] if left else []))


def _listed(words: str, wrong: list[str]) -> str:
    return words if not wrong else f"{words}; but {'; '.join(map(str, wrong[:5]))}"
