"""Do the cheaper levels of evidence agree with retrained models? Confusion tables over (forget set, model) pairs.

    python benchmarks/evidence_levels.py digits fashion census --cases 4 --json docs/evidence-levels.json

The cases are those of `evidence.py` with other seeds, each with a reference pool of its own beside its oracles. Every
mutant is judged three times: against the oracles, against the pool, and against matched held-out records.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import dataclasses

import numpy as np
import torch
from evidence_models import train_cases
from evidence_verdicts import GATING, GOOD, inputs_of, verdict_of
from evidence_worlds import WORLDS, World
from numpy.typing import NDArray

from expunge.data import RecordTable
from expunge.evaluation import EvaluationSettings, run_checks
from expunge.evaluation.shadows import PoolOutputs
from expunge.training import StackedJob, train_stacked
from expunge.training.randomness import derived_seed
from expunge.unlearning.reference_pool import left_out_blocks

VERDICTS = ("pass", "fail", "no power")
POOL, LEFT_OUT = 64, 0.5


def pool_of(world: World, table: RecordTable, case: dict[str, NDArray], seed: int) -> PoolOutputs:
    """64 models that each left out a random half of the case's training records."""
    train = case["train"]
    out = left_out_blocks(len(train), POOL, LEFT_OUT, derived_seed(seed, "pool blocks"))
    jobs = [StackedJob(derived_seed(seed, "pool", k), train[~own]) for k, own in enumerate(out)]
    logits = train_stacked(world.spec(table), table, world.config, jobs, world.sampling_rate).logits(table)
    trained = np.zeros((POOL, len(table)), dtype=np.bool_)
    trained[:, train] = ~out
    rows = case["rows"]
    return PoolOutputs(logits[:, rows].astype(np.float64), table.targets[rows], trained[:, rows], LEFT_OUT)


def judge_levels(world: World, table: RecordTable, case: dict[str, NDArray], seed: int) -> dict[str, dict[str, str]]:
    """Verdict of every mutant at every level; level pool has no oracles, oracle-free no half-kept models either."""
    inputs, mutants = inputs_of(case, table)
    none = inputs.oracles[:0]
    pool = dataclasses.replace(
        inputs, oracles=none, held_back=none, pool=pool_of(world, table, case, seed), temperatures={}
    ).calibrated()
    alone = dataclasses.replace(pool, half_kept=none, pool=None, temperatures={}).calibrated()
    settings = EvaluationSettings(gating=GATING)
    found: dict[str, dict[str, str]] = {}
    for name, logits in mutants.items():
        oracle = run_checks(inputs.judging(logits), (*GATING, "utility"), GATING, settings)
        own = {"oracle": verdict_of(oracle, settings)}
        for level, weaker in (("pool", pool), ("oracle-free", alone)):
            evidence = run_checks(weaker.judging(logits), ("utility",), None, settings, level=level)
            own[level] = verdict_of(evidence, settings)
        found[name] = own
    return found


def run(world: World, cache: Path, seed: int, cases: int) -> list[dict[str, dict[str, str]]]:
    folder = cache / world.name
    folder.mkdir(parents=True, exist_ok=True)
    table = world.load(cache)
    rows = []
    for number in range(cases):
        file = folder / f"levels-{seed}-{number}.json"
        if not file.is_file():
            started = time.perf_counter()
            case = train_cases(world, table, [number], seed)[0]
            judged = judge_levels(world, table, case, derived_seed(seed, world.name, number))
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(judged))
            partial.rename(file)
            print(f"{world.name}: case {number + 1} of {cases}, {time.perf_counter() - started:.0f} s", flush=True)
        rows.append(json.loads(file.read_text()))
    return rows


def summary(found: dict[str, list[dict[str, dict[str, str]]]]) -> dict[str, Any]:
    """Counts: oracle's verdict by the level's verdict; and each level's verdict by the truth."""
    pairs = [(name, own) for rows in found.values() for case in rows for name, own in case.items()]
    result: dict[str, Any] = {"pairs": len(pairs), "cases": {name: len(rows) for name, rows in found.items()}}
    for level in ("pool", "oracle-free"):
        result[level] = {
            a: {b: sum(own["oracle"] == a and own[level] == b for _, own in pairs) for b in VERDICTS} for a in VERDICTS
        }
    for level in ("oracle", "pool", "oracle-free"):
        result[f"{level} by truth"] = {
            truth: {
                b: sum((name in GOOD) == (truth == "good") and own[level] == b for name, own in pairs) for b in VERDICTS
            }
            for truth in ("good", "bad")
        }
    kinds = sorted({name for name, _ in pairs})
    result["kinds"] = {
        name: {
            level: {b: sum(own[level] == b for kind, own in pairs if kind == name) for b in VERDICTS}
            for level in ("oracle", "pool", "oracle-free")
        }
        for name in kinds
    }
    return result


def as_markdown(result: dict[str, Any]) -> str:
    lines = []
    for level in ("pool", "oracle-free"):
        lines += [f"| oracle says \\ `{level}` says | pass | fail | no power |", "|---|---|---|---|"]
        lines += [f"| {a} | " + " | ".join(str(result[level][a][b]) for b in VERDICTS) + " |" for a in VERDICTS]
        lines.append("")
    lines += ["| model | oracle | pool | oracle-free |", "|---|---|---|---|"]
    for name, own in result["kinds"].items():
        levels = (own[level] for level in ("oracle", "pool", "oracle-free"))
        cells = [", ".join(f"{count} {verdict}" for verdict, count in level.items() if count) for level in levels]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("worlds", nargs="*", choices=[*WORLDS, []], default=[])
    parser.add_argument("--cases", type=int, default=4)
    parser.add_argument("--cache", type=Path, default=Path(".expunge/evidence"))
    parser.add_argument("--seed", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = {name: run(WORLDS[name], options.cache, options.seed, options.cases) for name in options.worlds}
    result = summary(found)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    print(as_markdown(result))


if __name__ == "__main__":
    main()
