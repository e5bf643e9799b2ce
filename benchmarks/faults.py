"""Kill the real deletion loop at its points, start it again, judge what is left: `python benchmarks/faults.py --help`.

Results are JSON lines, one a fault; a run that was interrupted goes on where it was. Every state of the code wants a
folder of its own: the census of its points is kept there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "faults")]

from fault_harness import controls, scenarios  # noqa: E402
from fault_harness.plan import Census, draw, on_the_way, points_by_kind  # noqa: E402
from fault_harness.runs import Bench  # noqa: E402

KINDS = ("lost", "doubled", "premature purge", "chain", "certificate", "serving", "trace", "leftover")


def main() -> int:
    """Run the faults; 1 when any of them left something wrong."""
    given = _arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    workers = [_worker(number, given) for number in range(given.workers)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    rows = results(given.out)
    text, good = summary(given.out, rows)
    (given.out / "summary.md").write_text(text + "\n")
    print(text)
    return int(any(codes) or not good)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="faults, by seeds from --first on")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--scenarios", action="store_true", help="the faults that are no kills, too")
    parser.add_argument("--controls", action="store_true", help="show that the harness notices what is wrong, too")
    memory = Path("/dev/shm")
    fast = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    parser.add_argument("--place", type=Path, default=fast / f"expunge-faults-{os.getpid()}", help="for the projects")
    parser.add_argument("--quick", action="store_true", help="nothing but one project that is killed nine times")
    given = parser.parse_args()
    if given.quick:
        given.workers = 1
    return given


def _worker(number: int, given: argparse.Namespace) -> int:
    """Fork a worker, which has imported nothing heavy yet; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _work(number, given)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        shutil.rmtree(given.place / str(number), ignore_errors=True)
        sys.stdout.flush()
        os._exit(code)


def _work(number: int, given: argparse.Namespace) -> None:
    bench = Bench(given.place / str(number))
    bench.prepare()
    if given.quick:
        _append(given.out / "faults-0.jsonl", [bench.run(on_the_way(bench.original)).to_dict()])
        return
    census = _census(bench, number, given.out)
    if number == 0 and given.controls:
        _append(given.out / "controls.jsonl", controls.missing(bench, census, results(given.out, "controls")))
    if number == given.workers - 1 and given.scenarios:
        _append(given.out / "scenarios.jsonl", scenarios.missing(bench, results(given.out, "scenarios")))
    done = {row["seed"] for row in results(given.out)}
    for seed in range(given.first + number, given.first + given.runs, given.workers):
        if seed in done:
            continue
        row = bench.run(draw(seed, census, bench.original)).to_dict()
        _append(given.out / f"faults-{number}.jsonl", [row])
        if row["violations"]:
            shutil.copyfile(bench.log, given.out / f"log-{seed}.txt")
        print(f"{seed:4d} {row['seconds']:6.1f} s, {row['cpu']:5.1f} s of a core: {_words(row)}", flush=True)


def _census(bench: Bench, number: int, out: Path) -> Census:
    """The first worker takes it, the others wait for it; a run that goes on has it already."""
    file = out / "census.json"
    if not file.is_file():
        if number == 0:
            made = {"points": bench.census(), "modules": bench.modules}
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(made))
            partial.replace(file)
        while not file.is_file():
            time.sleep(0.5)
    found = json.loads(file.read_text())
    bench.learn(found["modules"])
    return dict(found["points"])


def _append(file: Path, rows: Any) -> None:
    for row in rows:
        with file.open("a") as lines:
            lines.write(json.dumps(row) + "\n")


def _words(row: dict[str, Any]) -> str:
    kill = row["kills"][0]
    where = f"{row['mode']}: {kill['how']} {kill['label']} #{kill['occurrence']}"
    bad = "".join(f"\n       {words}" for words in row["violations"])
    return f"{'BAD ' if bad else 'ok  '}{where}{'' if row['killed'][0] else ' (not reached)'}{bad}"


def results(out: Path, name: str = "faults") -> list[dict[str, Any]]:
    """Every whole line that any worker wrote."""
    rows = []
    for file in sorted(out.glob(f"{name}*.jsonl")):
        rows += [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
    return rows


def summary(out: Path, rows: list[dict[str, Any]]) -> tuple[str, bool]:
    """Tables in Markdown of what was run and what was found wrong, and whether all is well."""
    wrong: Counter[str] = Counter()
    for row in rows:
        wrong.update({next((k for k in KINDS if f": {k}" in words), "other") for words in row["violations"]})
    lines = ["| fault runs | number |", "|---|---|", f"| all | {len(rows)} |"]
    lines += [f"| kills that were reached | {sum(sum(row['killed']) for row in rows)} |"]
    lines += [f"| runs whose first kill was not reached | {sum(not row['killed'][0] for row in rows)} |"]
    lines += [f"| runs with something {kind} | {wrong[kind]} |" for kind in (*KINDS, "other")]
    if rows:
        cpu, wall = (sum(row[name] for row in rows) / len(rows) for name in ("cpu", "seconds"))
        lines += [f"| seconds a run; of a core | {wall:.1f}; {cpu:.1f} |"]
    if (out / "census.json").is_file():
        kinds = points_by_kind(json.loads((out / "census.json").read_text())["points"])
        lines += ["", "| points of three whole runs | different | in all |", "|---|---|---|"]
        lines += [f"| {kind} | {different} | {count} |" for kind, (different, count) in kinds.items()]
    good = not wrong
    for name, title in (("scenarios", "scenario"), ("controls", "control")):
        found = results(out, name)
        if found:
            lines += ["", f"| {title} | how it showed | wrong afterwards |", "|---|---|---|"]
            for row in found:
                bit, bad = row.get("skipped") or row["bit"], "; ".join(row["violations"]) or "nothing"
                lines.append(f"| {row[title]} | {bit} | {bad} |")
            good = good and not any(r["violations"] for r in found)
    return "\n".join(lines), good


if __name__ == "__main__":
    sys.exit(main())
