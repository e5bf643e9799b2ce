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
from contextlib import suppress
from pathlib import Path
from typing import Any

from long_ledger import NOW, Bulk, build, copy_to_postgresql

from expunge.compliance.ledger import Ledger
from expunge.compliance.pseudonym import load_or_create_key

CLONE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(CLONE / "tests" / "compliance"))  # the server of the tests
EXPUNGE = Path(sys.executable).with_name("expunge")
ROUNDS = 5
VERBS = {
    "--help (floor)": ["--help"],
    "status": ["status"],
    "request list": ["request", "list"],
    "request list --page 40": ["request", "list", "--page", "40"],
    "request list --status refused": ["request", "list", "--status", "refused"],
    "request show": ["request", "show", "q-101"],
    "explain": ["explain", "q-101"],
    "statistics": ["statistics"],
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


class _Undone(Exception):
    """The kept ledger stays as it is."""


def inside(where: str | Path, state: Path) -> dict[str, float]:
    """Seconds of single calls inside a process: what whole commands rest on, and what is not promised."""
    calls = {}
    with Bulk.open(where, load_or_create_key(state / "keys" / "pseudonym.key"), clock=lambda: NOW) as ledger:

        def add() -> None:
            with suppress(_Undone), ledger.together():
                ledger.add_request("new", "person-1", ["new-1", "new-2"], "gdpr", NOW)
                raise _Undone

        for name, call in {
            "due_requests (what `plan --all-due` and `run-due` select)": ledger.due_requests,
            "statistics": ledger.statistics,
            "add one request, without its commit": add,
            "verify_chain (every event: `doctor`)": ledger.verify_chain,
        }.items():
            started = time.monotonic()
            call()
            calls[name] = round(time.monotonic() - started, 4)
    return calls


def made(folder: Path, requests: int) -> Path:
    """The ledger's file, built where it is not there yet."""
    state = folder / ".expunge"
    state.mkdir(parents=True, exist_ok=True)
    done = folder / "built"
    if not done.is_file():
        (state / "ledger.db").unlink(missing_ok=True)
        started = time.monotonic()
        build(state / "ledger.db", state, requests)
        done.write_text(str(round(time.monotonic() - started)))
    return state / "ledger.db"


def run(name: str, folder: Path, where: str | Path, environment: dict[str, str]) -> dict[str, Any]:
    """Measure the verbs on one ledger, and print the figures."""
    state = folder / ".expunge"
    with Ledger.open(where, load_or_create_key(state / "keys" / "pseudonym.key")) as ledger:
        events, by_status = ledger.head().seq, ledger.counts_by_status()
    environment = {**environment, "EXPUNGE_SIMULATED_NOW": NOW.isoformat()}
    first = measure(folder, {"status": ["status"]}, 1, environment)
    found = {
        "requests": by_status,
        "events": events,
        "first_status": first["status"],
        "verbs": measure(folder, VERBS, ROUNDS, environment),
        "complete": measure(folder, COMPLETE, 3, environment),
        "inside": inside(where, state),
    }
    if isinstance(where, Path):
        found["file_bytes"] = where.stat().st_size
    print(f"{name}: {sum(by_status.values())} requests, {events} events")
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
    file = made(folder, chosen.requests)
    found = {"sqlite": run("SQLite", folder, file, plain)}
    if chosen.postgresql:
        from postgresql_server import running_server

        on_server = folder.with_name(f"{chosen.requests}-postgresql")
        shutil.rmtree(on_server, ignore_errors=True)  # its server is new
        shutil.copytree(folder / ".expunge" / "keys", on_server / ".expunge" / "keys")
        with running_server() as server:
            url = server.new_database()
            copy_to_postgresql(file, url, on_server / ".expunge")
            found["postgresql"] = run("PostgreSQL", on_server, url, {**plain, "EXPUNGE_LEDGER_URL": url})
    if chosen.out is not None:
        chosen.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
