"""How long do the verbs of a privacy officer take on a ledger of 100,000 requests? Promised: under 1 s each, as whole
commands, the start of the process included.

    .venv/bin/python benchmarks/ledger_scale.py [--requests 100000] [--postgresql] [--out docs/scale.json]

The ledger is built once and kept in .expunge/ledger-scale/ (benchmarks/long_ledger.py says how): a thousand days of
requests, most of them answered (by nightly runs, refused, cancelled, of unknown people, or asked twice), some hundreds
open. Then every verb several times in turns, with `expunge --help` as the floor of the same round. docs/scale.md has
the numbers.
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
from pathlib import Path
from typing import Any

from long_ledger import NOW, build

from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import load_or_create_key

CLONE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CLONE / "tests" / "compliance"))  # the server of the tests
EXPUNGE = Path(sys.executable).with_name("expunge")
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
