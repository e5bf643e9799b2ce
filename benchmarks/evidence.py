"""Does the evaluation suite say the truth? Mutants whose truth is known, on independent cases.

    python benchmarks/evidence.py digits fashion census fashion-cnn     up to an hour a data set on 2 cores; resumable
    python benchmarks/evidence.py --report docs/evidence.json            the tables of docs/evidence.md

A case is a random split of its data set, a forget set drawn from its hardest training records, and models of its own:
an original, oracles that judge, held-back oracles, half-kept models, and the mutants. No model is shared by two cases.
Seeds of the cases here start at --seed 4000; margins, sizes and the guard's rule were chosen on seeds below. Finished
cases lie in --cache; a killed run goes on from there.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from evidence_models import train_cases
from evidence_summary import as_markdown, summary
from evidence_verdicts import judge_case
from evidence_worlds import World
from world_options import work_through, world_parser


def run(world: World, cache: Path, seed: int, cases: int) -> list[dict]:
    """Train what is not there yet, judge what is not judged yet."""
    folder = cache / world.name
    folder.mkdir(parents=True, exist_ok=True)
    table = world.load(cache)
    missing = [k for k in range(cases) if not (folder / f"{seed}-{k}.json").is_file()]
    for at in range(0, len(missing), world.at_once):
        numbers = missing[at : at + world.at_once]
        started = time.perf_counter()
        trained = train_cases(world, table, numbers, seed)
        between = time.perf_counter()
        for number, outputs in zip(numbers, trained, strict=True):
            if os.environ.get("KEEP_OUTPUTS"):
                np.savez(folder / f"{seed}-{number}.npz", **outputs)
            judged = judge_case(outputs, table)
            judged["seconds"] = [(between - started) / len(numbers), time.perf_counter() - between]
            between = time.perf_counter()
            partial = folder / f"{seed}-{number}.partial"
            partial.write_text(json.dumps(judged))
            partial.rename(folder / f"{seed}-{number}.json")
        took = f"{time.perf_counter() - started:.0f} s for {len(numbers)}"
        print(f"{world.name}: case {numbers[-1] + 1} of {cases}, {took}", flush=True)
    return [json.loads((folder / f"{seed}-{k}.json").read_text()) for k in range(cases)]


def main() -> None:
    parser = world_parser(__doc__, ".expunge/evidence", 4000)
    parser.add_argument("--cases", type=int, help="fewer or more cases than the data set's own number")
    options = parser.parse_args()

    def of_world(world: World) -> dict:
        found = run(world, options.cache, options.seed, options.cases or world.cases)
        return summary(world, found, options.seed)

    work_through(options, of_world, as_markdown)


if __name__ == "__main__":
    main()
