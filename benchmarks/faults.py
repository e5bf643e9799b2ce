"""Kill the real deletion loop at its points, start it again, judge what is left: `python benchmarks/faults.py --help`.

Results are JSON lines, one a fault; a run that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "faults")]

from fault_harness.plan import draw  # noqa: E402
from fault_harness.runs import Bench  # noqa: E402


def main() -> int:
    """Run the faults; 1 when any of them left something wrong."""
    given = _arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    workers = [pid for number in range(given.workers) if (pid := _worker(number, given))]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    rows = results(given.out)
    print(summary(rows))
    return int(any(codes) or any(row["violations"] for row in rows))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="faults, by seeds from --first on")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    memory = Path("/dev/shm")  # noqa: S108
    fast = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    parser.add_argument("--place", type=Path, default=fast / f"expunge-faults-{os.getpid()}", help="for the projects")
    return parser.parse_args()


def _worker(number: int, given: argparse.Namespace) -> int:
    """Fork a worker that has imported nothing heavy yet; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _work(number, given)
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _work(number: int, given: argparse.Namespace) -> None:
    import shutil

    bench = Bench(given.place / str(number))
    bench.prepare()
    census = bench.census()
    (given.out / f"census-{number}.json").write_text(json.dumps(census))
    done = {row["seed"] for row in results(given.out)}
    with (given.out / f"faults-{number}.jsonl").open("a") as file:
        for seed in range(given.first + number, given.first + given.runs, given.workers):
            if seed in done:
                continue
            row = bench.run(draw(seed, census, bench.original)).to_dict()
            file.write(json.dumps(row) + "\n")
            file.flush()
            if row["violations"]:
                shutil.copyfile(bench.log, given.out / f"log-{seed}.txt")
            print(f"{seed:4d} {row['seconds']:6.1f} s, {row['cpu']:5.1f} s of a core: {_words(row)}", flush=True)
    shutil.rmtree(bench.house.place)


def _words(row: dict[str, Any]) -> str:
    kill = row["kills"][0]
    where = f"{row['mode']}: {kill['how']} {kill['label']} #{kill['occurrence']}"
    bad = "".join(f"\n       {words}" for words in row["violations"])
    return f"{'BAD ' if bad else 'ok  '}{where}{'' if row['killed'][0] else ' (not reached)'}{bad}"


def results(out: Path) -> list[dict[str, Any]]:
    """Every whole line that any worker wrote."""
    rows = []
    for file in sorted(out.glob("faults-*.jsonl")):
        rows += [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
    return rows


KINDS = ("lost", "doubled", "premature purge", "chain", "certificate", "serving", "trace", "leftover")


def summary(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown: how many faults, and how many of them left what wrong."""
    wrong: Counter[str] = Counter()
    for row in rows:
        found = {next((k for k in KINDS if f": {k}" in words), "other") for words in row["violations"]}
        wrong.update(found)
    reached = sum(sum(row["killed"]) for row in rows)
    lines = ["| what | number |", "|---|---|", f"| fault runs | {len(rows)} |", f"| kills | {reached} |"]
    lines += [f"| runs whose first kill was never reached | {sum(not row['killed'][0] for row in rows)} |"]
    lines += [f"| runs with: {kind} | {wrong[kind]} |" for kind in (*KINDS, "other")]
    seconds = sum(row["seconds"] for row in rows) / max(1, len(rows))
    cpu = sum(row["cpu"] for row in rows) / max(1, len(rows))
    return "\n".join([*lines, f"| seconds a run (of a core: {cpu:.1f}) | {seconds:.1f} |"])


if __name__ == "__main__":
    sys.exit(main())
