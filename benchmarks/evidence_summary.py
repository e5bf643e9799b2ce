"""Rates of wrong verdicts with their bounds, from the judged cases; tables for docs/evidence.md."""

from __future__ import annotations

from typing import Any

import numpy as np
from evidence_verdicts import BAD, GATING, GOOD
from evidence_worlds import World
from scipy.stats import beta

VERDICTS = ("pass", "fail", "no power")


def upper(wrong: int, of: int) -> float:
    """Upper end of the one-sided 95 % Clopper-Pearson interval."""
    return 1.0 if wrong >= of else float(beta.ppf(0.95, wrong + 1, of - wrong))


def summary(world: World, cases: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """Everything that the tables need."""
    kinds: dict[str, Any] = {}
    for kind in (*GOOD, *BAD):
        rows = [case["mutants"][kind] for case in cases]
        counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in VERDICTS}
        wrong = len(rows) - counts["pass"] if kind in GOOD else counts["pass"]
        kinds[kind] = {
            "truth": "good" if kind in GOOD else "bad",
            "cases": len(rows),
            **counts,
            "wrong": wrong,
            "upper": upper(wrong, len(rows)),
            "by_check": {
                name: {verdict: sum(row["checks"][name] == verdict for row in rows) for verdict in VERDICTS}
                for name in (*GATING, "utility")
            },
            "measured": _measured([case["terms"][kind] for case in cases]),
        }
    rows = [row for case in cases for row in case["mutants"].values()]
    seeds = [kinds[kind] for kind in GOOD[:2]]
    wrong = sum(kind["wrong"] for kind in seeds)
    of = sum(kind["cases"] for kind in seeds)
    return {
        "cases": len(cases),
        "seed": seed,
        "sizes": {
            name: getattr(world, name)
            for name in ("train", "held_out", "forget", "oracles", "held_back", "half_kept", "steps", "model")
        },
        "kinds": kinds,
        "oracle_seeds": {"wrong": wrong, "of": of, "upper": upper(wrong, of)},
        "no_power": {"count": sum(row["verdict"] == "no power" for row in rows), "of": len(rows)},
        "half_seen": {
            name: float(np.mean([case["mutants"]["original"]["power"][name] for case in cases])) for name in GATING
        },
        "minutes": float(sum(sum(case["seconds"]) for case in cases)) / 60,
    }


def _measured(terms: list[dict[str, float]]) -> dict[str, list[float]]:
    """Influence and excess of a kind as ratios of sums over cases, with 95 % intervals by the jackknife over cases."""
    c, u, o = (np.array([term[name] for term in terms]) for name in ("cross", "unlearned", "original"))
    found = {}
    for name, part in (("influence", c), ("excess", u)):
        ratio = float(part.sum() / o.sum())
        each = (part.sum() - part) / (o.sum() - o)
        half = 1.96 * float(np.sqrt((len(each) - 1) * each.var()))
        found[name] = [ratio, ratio - half, ratio + half]
    return found


def pooled(results: dict[str, Any]) -> dict[str, Any]:
    """Each kind over the data sets with MLPs: cases are independent, so they add up."""
    worlds = [found for found in results.values() if found["sizes"]["model"] == "mlp"]
    kinds = {}
    for kind in (*GOOD, *BAD):
        wrong, of = (sum(found["kinds"][kind][name] for found in worlds) for name in ("wrong", "cases"))
        kinds[kind] = {"wrong": wrong, "of": of, "upper": upper(wrong, of)}
    wrong, of = (sum(found["oracle_seeds"][name] for found in worlds) for name in ("wrong", "of"))
    none, verdicts = (sum(found["no_power"][name] for found in worlds) for name in ("count", "of"))
    return {
        "kinds": kinds,
        "oracle_seeds": {"wrong": wrong, "of": of, "upper": upper(wrong, of)},
        "no_power": {"count": none, "of": verdicts},
    }


def as_markdown(results: dict[str, Any]) -> str:
    """The pooled table, then one a data set."""
    every = pooled(results)
    lines = [
        "### MLPs on all data sets together",
        "",
        "| model | truth | wrong verdicts | upper 95 % bound |",
        "|---|---|---|---|",
        *(
            f"| {kind} | {'good' if kind in GOOD else 'bad'} | {row['wrong']} of {row['of']} | {row['upper']:.1%} |"
            for kind, row in every["kinds"].items()
            if row["of"]
        ),
        f"| both oracle seeds | good | {every['oracle_seeds']['wrong']} of {every['oracle_seeds']['of']} | "
        f"{every['oracle_seeds']['upper']:.1%} |",
        "",
        f'"No power": {every["no_power"]["count"]} of {every["no_power"]["of"]} verdicts.',
        "",
    ]
    for name, found in results.items():
        sizes = found["sizes"]
        lines += [
            f"### {name}",
            "",
            f"{found['cases']} cases; {sizes['train']} training records, {sizes['forget']} to forget, "
            f"{sizes['oracles']} oracles; {found['minutes']:.0f} minutes.",
            "",
            "| model | truth | pass | fail | no power | wrong, upper 95 % bound | influence | excess |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for kind, row in found["kinds"].items():
            influence, excess = row["measured"]["influence"], row["measured"]["excess"]
            lines.append(
                f"| {kind} | {row['truth']} | {row['pass']} | {row['fail']} | {row['no power']} | "
                f"{row['wrong']} of {row['cases']}, {row['upper']:.1%} | {influence[0]:.2f} "
                f"[{influence[1]:.2f}, {influence[2]:.2f}] | {excess[0]:.2f} [{excess[1]:.2f}, {excess[2]:.2f}] |"
            )
        seeds, none = found["oracle_seeds"], found["no_power"]
        lines += [
            "",
            f"Both oracle seeds together: {seeds['wrong']} of {seeds['of']} not passed, "
            f"upper bound {seeds['upper']:.1%}. "
            f'"No power" in {none["count"]} of {none["of"]} verdicts ({none["count"] / none["of"]:.1%}). '
            "Half forgotten is seen by "
            + ", ".join(f"{check} {share:.0%}" for check, share in found["half_seen"].items())
            + ".",
            "",
        ]
    return "\n".join(lines)
