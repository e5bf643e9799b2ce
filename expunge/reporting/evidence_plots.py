"""What does the evidence look like? A plot each for distance, remaining influence, attacks, accuracy, paths, requests.

Colours mean the same everywhere: orange the original model, blue the one that was made to forget, grey the models that
never saw the records (oracles), green those held back from the reference, violet those that kept half of the records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expunge.evaluation.evidence import CheckResult, Evidence
from expunge.reporting.attack_plots import (
    LEGEND,
    ROLE_KIND,
    attack_plot,
    named_plot,
    numbers,
    pair,
    points_row,
    roc_plot,
    role_row,
)
from expunge.reporting.model_plots import accuracy_bars, barrier_plot, gaps_plot
from expunge.reporting.page import figure, figures
from expunge.reporting.svg import StripRow, strip

MOST_REQUESTS = 40
# Drawn in their own way, or elsewhere on the page; every other check is drawn by name
OWN = ("influence", "influence_share", "mia_loss", "mia_confidence", "loss_barrier", "utility", "drift")


def evidence_plots(evidence: Evidence) -> str:
    """All plots that the checks at hand allow."""
    by_name = {check.name: check for check in evidence.checks}
    drawn = []
    if "influence" in by_name:
        drawn.append(_distance(by_name["influence"]))
    if "influence_share" in by_name:
        drawn.append(_share(by_name["influence_share"]))
    drawn += [accuracy_bars(evidence.utility), gaps_plot(evidence.utility)]
    drawn += [attack_plot(by_name[name]) for name in ("mia_loss", "mia_confidence") if name in by_name]
    if "mia_loss" in by_name:
        drawn.append(roc_plot(by_name["mia_loss"]))
    if "loss_barrier" in by_name:
        drawn += [barrier_plot(by_name["loss_barrier"]), named_plot(by_name["loss_barrier"])]
    drawn += [named_plot(check) for check in evidence.checks if check.name not in OWN]
    return figures(*(d for d in drawn if d))


def requests_plot(evidence: Evidence) -> str:
    """Where each request's own records stand among the oracles, before and after."""
    rows = []
    for request in evidence.requests[:MOST_REQUESTS]:
        for role in ("original", "unlearned"):
            rank = request.influence_rank.get(role)
            name = request.request_id if role == "original" else ""
            share = None if rank is None else rank.position / rank.of
            rows.append(StripRow(name or "after", [share], ROLE_KIND[role]))
    if not rows:
        return ""
    left = len(evidence.requests) - MOST_REQUESTS
    more = f" {left} more requests are in the table." if left > 0 else ""
    return figure(
        strip(rows, "share of oracles at least as far away", (0.0, 0.05)),
        "Per request: before (orange) and after (blue). Near 0, shaded: farther away than nearly every model that "
        f"never saw the records. Anywhere else is where such models lie too.{more}",
        [("b", "original"), ("a", "this model"), ("zone", "farther than 95 % of oracles")],
    )


def _field(rows: object, name: str) -> list[float]:
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        return []
    return numbers([row.get(name) for row in rows if isinstance(row, Mapping)])


def _distance(check: CheckResult) -> str:
    details: Mapping[str, Any] = check.details
    own = numbers(details.get("oracle_distances"))
    rows = [
        *role_row(check, "original"),
        *role_row(check, "unlearned"),
        *points_row(f"{len(own)} oracles", own, "oracle"),
        *points_row("held-back oracles", _field(details.get("held_back"), "distance"), "held back"),
        *points_row("half kept", _field(details.get("half_kept"), "distance"), "half kept"),
    ]
    oracle = check.values.get("oracle")
    return figure(
        strip(rows, "distance, in an oracle's standard deviations", oracle.interval if oracle else None),
        "Distance from models that never saw the records. The blue point should lie among the grey ones, the orange "
        "one should not. Lines: 90 % intervals. Shaded: the middle 90 % of the oracles.",
        LEGEND,
    )


def _share(check: CheckResult) -> str:
    details: Mapping[str, Any] = check.details
    rows = [
        *role_row(check, "original"),
        *role_row(check, "unlearned"),
        *points_row("oracles", numbers(details.get("oracle_projections")), "oracle"),
    ]
    excess = details.get("excess")
    if isinstance(excess, int | float):
        rows.append(StripRow("excess", [float(excess)], "e", pair(details.get("excess_interval"))))
    margin = check.margin
    return figure(
        strip(rows, "share of the original's influence", (-margin, margin) if margin else None),
        "What is left of the records' influence: 0 is forgotten, 1 is untouched. Excess counts distance in any "
        "direction, so a model that merely moved elsewhere shows there. Lines: 90 % intervals. Shaded: the margin.",
        [*LEGEND[:3], *([("e", "excess of this model")] if isinstance(excess, int | float) else [])],
    )
