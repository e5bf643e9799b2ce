"""How long do the verbs of a privacy officer take on a ledger of 100,000 requests? Promised: under 1 s each, as whole
commands, the start of the process included.

    .venv/bin/python benchmarks/ledger_scale.py [--requests 100000] [--postgresql] [--out docs/scale.json]

Builds the ledger once (minutes; kept in .expunge/ledger-scale/), through the ledger's own intake, moves, runs and
certificates, in large transactions: a thousand days of requests, most of them answered (by nightly runs, refused,
cancelled, of unknown people, or asked twice), some hundreds open. Then every verb several times in turns, with
`expunge --help` as the floor of the same round. docs/scale.md has the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from expunge.compliance.ledger import Ledger, NewRequest
from expunge.compliance.pseudonym import load_or_create_key

CLONE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CLONE / "tests" / "compliance"))  # the server of the tests
EXPUNGE = Path(sys.executable).with_name("expunge")
NOW = datetime(2026, 11, 2, 21, 0, tzinfo=UTC)
DAYS = 1000
OPEN = 400
ROUNDS = 9
VERBS = {
    "--help (floor)": ["--help"],
    "status": ["status"],
    "request list": ["request", "list"],
    "request list --page 40": ["request", "list", "--page", "40"],
    "request list --status refused": ["request", "list", "--status", "refused"],
    "request show": ["request", "show", "q-50000"],
    "queue": ["queue"],
    "queue --json": ["queue", "--json"],
}
COMPLETE = {
    "request list --json (all of them)": ["request", "list", "--json"],
}


class Bulk(Ledger):
    """A ledger whose changes share one transaction while `together` lasts: each still writes its event."""

    _shared: Connection | None = None

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        if self._shared is not None:
            yield self._shared
            return
        with super()._write() as connection:
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        if self._shared is not None:
            yield self._shared
            return
        with super()._read() as connection:
            yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """One transaction for everything inside."""
        with super()._write() as connection:
            self._shared = connection
            try:
                yield
            finally:
                self._shared = None


class Time:
    """The clock of the years that are replayed."""

    def __init__(self) -> None:
        self.now = NOW - timedelta(days=DAYS)

    def __call__(self) -> datetime:
        return self.now


def build(where: str | Path, state: Path, requests: int) -> None:
    """Replay the days: requests come in, the night's run answers what came in the day before, some are refused."""
    clock = Time()
    started = time.monotonic()
    with Bulk.open(where, load_or_create_key(state / "keys" / "pseudonym.key"), clock=clock) as ledger:
        made = 0
        for day in range(DAYS):
            clock.now = NOW - timedelta(days=DAYS - day)
            upto = requests * (day + 1) // DAYS
            with ledger.together():
                _day(ledger, clock, day, range(made, upto), requests - OPEN)
            made = upto
            if day % 50 == 49:
                print(f"  {made} requests, {ledger.head().seq} events, {time.monotonic() - started:.0f} s", flush=True)


def _day(ledger: Bulk, clock: Time, day: int, numbers: range, answered_before: int) -> None:
    new = []
    for n in numbers:
        again = n % 4 == 1  # asks for what the one before asked for
        new.append(
            NewRequest(
                f"q-{n}",
                f"person-{n % 60000}",
                [f"r-{n - again}"] if again else [f"r-{n}", f"s-{n}"],
                ("gdpr", "gdpr", "gdpr", "ccpa", "uk_gdpr")[n % 5],
                clock.now - timedelta(minutes=n % 700),
                identity_verified=n % 37 != 0,
                known_record_pseudonyms=[] if n % 3 == 0 else None,
            )
        )
    added = [one.request for one in ledger.add_requests(new)]
    waiting = []
    for request in added:
        n = int(request.id[2:])
        if not request.is_open or n >= answered_before:
            if request.status == "received" and n % 3:
                ledger.admit(request.id)
            continue
        if n % 13 == 0:
            ledger.refuse(request.id, "b" if request.regulation != "ccpa" else "1798.105(d)(8)")
        elif n % 29 == 0:
            ledger.cancel(request.id)
        else:
            ledger.admit(request.id)
            waiting.append(request.id)
    if not waiting:
        return
    clock.now += timedelta(hours=5)
    run = f"run-{day:04}"
    ledger.add_run(run, model_version_before=f"digits {day}", details={"requests": waiting})
    for status in ("planned", "unlearning", "verified", "promoted", "purged"):
        for request_id in waiting:
            ledger.move(request_id, status, run)
        ledger.update_run(run, status=status, method="rewind")
    ledger.add_tombstones(
        {"kind": "checkpoint", "name": f"{run} step {n}", "status": "destroyed", "method": "unlink", "run_id": run}
        for n in range(20)
    )
    for request_id in waiting:
        ledger.mark_erased(request_id, run)
        ledger.add_certificate(
            request_id, f"certificates/{request_id}.json", sha256(request_id.encode()).hexdigest(), run
        )
        ledger.move(request_id, "closed", run)
    ledger.update_run(run, status="closed", finished_at=clock.now, model_version_after=f"digits {day + 1}")
    clock.now -= timedelta(hours=5)


def measure(project: Path, verbs: dict[str, list[str]], rounds: int, environment: dict[str, str]) -> dict[str, Any]:
    """Wall and processor seconds of whole commands, in turns, so that a busy moment falls on all."""
    wall: dict[str, list[float]] = {name: [] for name in verbs}
    used: dict[str, list[float]] = {name: [] for name in verbs}
    for _ in range(rounds):
        for name, arguments in verbs.items():
            before, started = _cpu(), time.monotonic()
            subprocess.run(
                [EXPUNGE, "--project", project, *arguments], check=True, env=environment, stdout=subprocess.DEVNULL
            )
            wall[name].append(time.monotonic() - started)
            used[name].append(_cpu() - before)
    return {
        name: {
            "median": round(statistics.median(wall[name]), 3),
            "slowest": round(max(wall[name]), 3),
            "processor": round(statistics.median(used[name]), 3),
        }
        for name in verbs
    }


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def inside(where: str | Path, state: Path) -> dict[str, float]:
    """Seconds of single calls inside a process: what whole commands rest on, and what is not promised."""
    calls = {}
    with Ledger.open(where, load_or_create_key(state / "keys" / "pseudonym.key"), clock=lambda: NOW) as ledger:
        for name, call in {
            "due_requests (what `plan --all-due` and `run-due` select)": ledger.due_requests,
            "statistics": ledger.statistics,
            "add one request": lambda: ledger.add_request(
                f"n-{time.time_ns()}", "p", [f"n-{time.time_ns()}"], "gdpr", NOW
            ),
            "verify_chain (every event: `doctor`)": ledger.verify_chain,
        }.items():
            started = time.monotonic()
            call()
            calls[name] = round(time.monotonic() - started, 4)
    return calls


def run(name: str, folder: Path, where: str | Path, requests: int, environment: dict[str, str]) -> dict[str, Any]:
    state = folder / ".expunge"
    state.mkdir(parents=True, exist_ok=True)
    done = folder / "built"
    seconds = None
    if not done.is_file():
        started = time.monotonic()
        build(where, state, requests)
        seconds = round(time.monotonic() - started)
        done.write_text(str(seconds))
    with Ledger.open(where, load_or_create_key(state / "keys" / "pseudonym.key")) as ledger:
        events = ledger.head().seq
    environment = {**environment, "EXPUNGE_SIMULATED_NOW": NOW.isoformat()}
    first = measure(folder, {"status": ["status"]}, 1, environment)
    found = {
        "requests": requests,
        "events": events,
        "build_seconds": int(done.read_text()),
        "first_status": first["status"],
        "verbs": measure(folder, VERBS, ROUNDS, environment),
        "complete": measure(folder, COMPLETE, 3, environment),
        "inside": inside(where, state),
    }
    if isinstance(where, Path):
        found["file_bytes"] = where.stat().st_size
    print(f"{name}: {requests} requests, {events} events")
    for verb, figures in {**found["verbs"], **found["complete"]}.items():
        print(f"  {verb:36}" + ", ".join(f"{what} {seconds:.2f} s" for what, seconds in figures.items()))
    for call, took in found["inside"].items():
        print(f"  {call:36} {took:.3f} s")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--postgresql", action="store_true", help="also on a PostgreSQL server of its own")
    parser.add_argument("--folder", type=Path, default=CLONE / ".expunge" / "ledger-scale")
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    plain = {name: value for name, value in os.environ.items() if not name.startswith("EXPUNGE_")}
    folder = chosen.folder.resolve() / str(chosen.requests)
    found = {"sqlite": run("SQLite", folder, folder / ".expunge" / "ledger.db", chosen.requests, plain)}
    if chosen.postgresql:
        from postgresql_server import running_server

        on_server = folder.with_name(f"{chosen.requests}-postgresql")
        shutil.rmtree(on_server, ignore_errors=True)  # its server is new
        with running_server() as server:
            url = server.new_database()
            environment = {**plain, "EXPUNGE_LEDGER_URL": url}
            found["postgresql"] = run("PostgreSQL", on_server, url, chosen.requests, environment)
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
