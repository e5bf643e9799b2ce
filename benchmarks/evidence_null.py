"""Are the p-values what they say? Retrained models judged by retrained models, none of them used twice.

    python benchmarks/evidence_null.py --json docs/evidence-null.json --svg docs/evidence-null.svg

Each of the pairs is a model retrained without a forget set of its own and the 40 others retrained without it that it is
ranked among (digits, a smaller network and fewer steps than in `evidence.py`, so that 200 pairs take minutes). All
models of a pair, with an original and twelve that kept half of the set, serve that pair only. Resumable from --cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from evidence_models import Case, draw_cases, keeping
from evidence_verdicts import GATING
from evidence_worlds import WORLDS, World

from expunge.evaluation import EvaluationInputs, EvaluationSettings, run_checks
from expunge.reporting.style import style_sheet
from expunge.reporting.svg import Band, Line, curves
from expunge.training import StackedJob, train_stacked
from expunge.training.randomness import derived_seed

ORACLES = 40
HALF_KEPT = 12
AT_ONCE = 8
WORLD = dataclasses.replace(WORLDS["digits"], options={"hidden": [32]}, steps=200, forget=100, pool=200)


def judge_pairs(world: World, cases: list[Case], table) -> list[dict[str, float]]:  # type: ignore[no-untyped-def]
    """p-values of one retrained model a case, against oracles of its own."""
    jobs = []
    for case in cases:
        names = ["candidate", *(f"oracle {k}" for k in range(ORACLES))]
        sets = [("original", case.train), *((name, case.retain) for name in names)]
        sets += [(f"half kept {k}", keeping(case, 0.5, f"control {k}")) for k in range(HALF_KEPT)]
        jobs += [StackedJob(derived_seed(case.seed, name), rows) for name, rows in sets]
    logits = train_stacked(world.spec(table), table, world.config, jobs, world.sampling_rate).logits(table)
    found = []
    for case, own in zip(cases, np.split(logits.astype(np.float64), len(cases)), strict=True):
        rows = np.concatenate([case.forget, case.retain[:300], case.held_out])
        own = own[:, rows]
        ends = np.cumsum([len(case.forget), len(case.retain[:300]), len(case.held_out)])
        empty = np.zeros((0, *own.shape[1:]))
        inputs = EvaluationInputs(
            record_ids=tuple(table.record_ids[row] for row in rows), targets=table.targets[rows],
            forget=np.arange(ends[0]), retain=np.arange(ends[0], ends[1]), held_out=np.arange(ends[1], ends[2]),
            original=own[0], unlearned=own[1], oracles=own[2 : 2 + ORACLES], held_back=empty,
            half_kept=own[2 + ORACLES :], difficulty=case.difficulty[rows],
        )  # fmt: skip
        evidence = run_checks(inputs, GATING, GATING, EvaluationSettings(gating=GATING, level=0.15))
        found.append({name: float(evidence.check(name).p_value or 1.0) for name in GATING})
    return found


def run(pairs: int, cache: Path, seed: int) -> list[dict[str, float]]:
    cache.mkdir(parents=True, exist_ok=True)
    table = WORLD.load(cache)
    rows: list[dict[str, float]] = []
    for first in range(0, pairs, AT_ONCE):
        file = cache / f"null-{seed}-{first}.json"
        if not file.is_file():
            cases = draw_cases(WORLD, table, [derived_seed(seed, "null", first + k) for k in range(AT_ONCE)])
            partial = file.with_suffix(".partial")
            partial.write_text(json.dumps(judge_pairs(WORLD, cases, table)))
            partial.rename(file)
            print(f"{first + AT_ONCE} of {pairs}", flush=True)
        rows += json.loads(file.read_text())
    return rows[:pairs]


def summary(rows: list[dict[str, float]]) -> dict:
    """Share of p-values at or under some levels, beside the level, with the band that 95 % of such samples stay in."""
    from scipy.stats import binom, kstest

    found: dict = {"pairs": len(rows), "oracles": ORACLES, "p_values": {}, "at_level": {}}
    for name in GATING:
        p = np.array([row[name] for row in rows])
        found["p_values"][name] = sorted(p.tolist())
        jitter = p - np.random.default_rng(0).random(len(p)) / (ORACLES + 1)
        found.setdefault("kolmogorov_smirnov_p", {})[name] = float(kstest(np.clip(jitter, 0, 1), "uniform").pvalue)
        found["at_level"][name] = {
            f"{level:g}": {
                "share": float((p <= level + 1e-9).mean()),
                "expected_at_most": level,
                "band": [float(b) / len(p) for b in binom.interval(0.95, len(p), level)],
            }
            for level in (0.05, 0.1, 0.2, 0.5)
        }
    return found


def plot(found: dict) -> str:
    """Cumulative shares of p-values against the diagonal, one colour a check, as a self-contained SVG."""
    grid = np.linspace(0, 1, 101)
    half = 1.36 / np.sqrt(found["pairs"])
    lines = [Line(grid.tolist(), grid.tolist(), "grey", "uniform", style="dashed")]
    for name, kind in zip(GATING, "abc", strict=True):
        p = np.array(found["p_values"][name])
        lines.append(Line(grid.tolist(), [float((p <= g + 1e-9).mean()) for g in grid], kind, name, step=True))
    band = Band(grid.tolist(), np.clip(grid - half, 0, 1).tolist(), np.clip(grid + half, 0, 1).tolist(), "grey", "95 %")
    drawn = curves(lines, "p-value", "share of pairs at or under it", bands=[band])
    start = '<svg xmlns="http://www.w3.org/2000/svg" class="expunge" viewBox="0 0 460 230" width="690">'
    return f"{start}<style>{style_sheet()}</style>{drawn}</svg>\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--cache", type=Path, default=Path(".expunge/evidence"))
    parser.add_argument("--seed", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = summary(run(options.pairs, options.cache, options.seed))
    for name in GATING:
        at = ", ".join(f"{row['share']:.3f} at {level}" for level, row in found["at_level"][name].items())
        print(f"{name}: {at}; Kolmogorov-Smirnov p {found['kolmogorov_smirnov_p'][name]:.2f}")
    if options.json:
        options.json.write_text(json.dumps(found) + "\n")
    if options.svg:
        options.svg.write_text(plot(found))


if __name__ == "__main__":
    main()
