"""What does the evidence look like? A plot each for distance, remaining influence, attacks, accuracy and requests.

Colours mean the same everywhere: orange the original model, blue the one that was made to forget, grey the models that
never saw the records (oracles), green those held back from the reference, violet those that kept half of the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from expunge.evaluation.evidence import CheckResult, Evidence, RoleValue
from expunge.reporting.page import figure, figures
from expunge.reporting.svg import StripRow, strip

ROLE_KIND = {"original": "b", "unlearned": "a", "oracle": "grey", "held back": "c", "half kept": "d"}
ROLE_NAME = {"original": "original", "unlearned": "this model", "oracle": "oracles"}
LEGEND = [
    ("b", "original, trained on the records"),
    ("a", "this model, after forgetting"),
    ("grey", "never saw the records (oracles)"),
    ("c", "held-back oracles (control)"),
    ("d", "kept half of the records (control)"),
]
WHEN = {"original": "before", "unlearned": "after"}
MOST_REQUESTS = 40


def evidence_plots(evidence: Evidence) -> str:
    """All plots that the checks at hand allow."""
    by_name = {check.name: check for check in evidence.checks}
    drawn = []
    if "influence" in by_name:
        drawn.append(_distance(by_name["influence"]))
    if "influence_share" in by_name:
        drawn.append(_share(by_name["influence_share"]))
    attacks = [by_name[name] for name in ("mia_loss", "mia_confidence") if name in by_name]
    drawn += [_attack(check) for check in attacks]
    if evidence.utility:
        drawn.append(_gaps(evidence.utility))
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


def _numbers(values: object) -> list[float]:
    """Numbers out of a check's details, whatever is really there."""
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        return []
    return [float(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)]


def _field(rows: object, name: str) -> list[float]:
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        return []
    return _numbers([row.get(name) for row in rows if isinstance(row, Mapping)])


def _role_row(check: CheckResult, role: str) -> list[StripRow]:
    value = check.values.get(role)
    if value is None:
        return []
    return [StripRow(ROLE_NAME[role], [value.value], ROLE_KIND[role], value.interval, _short(value.note))]


def _short(note: str) -> str:
    return "not measured" if not note else note[:44]


def _points(name: str, values: Sequence[float], kind: str) -> list[StripRow]:
    return [StripRow(name, values, ROLE_KIND[kind])] if values else []


def _distance(check: CheckResult) -> str:
    details: Mapping[str, Any] = check.details
    own = _numbers(details.get("oracle_distances"))
    rows = [
        *_role_row(check, "original"),
        *_role_row(check, "unlearned"),
        *_points(f"{len(own)} oracles", own, "oracle"),
        *_points("held-back oracles", _field(details.get("held_back"), "distance"), "held back"),
        *_points("half kept", _field(details.get("half_kept"), "distance"), "half kept"),
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
        *_role_row(check, "original"),
        *_role_row(check, "unlearned"),
        *_points("oracles", _numbers(details.get("oracle_projections")), "oracle"),
    ]
    excess, interval = details.get("excess"), _numbers(details.get("excess_interval"))
    if isinstance(excess, int | float):
        pair = (interval[0], interval[1]) if len(interval) == 2 else None
        rows.append(StripRow("excess", [float(excess)], "e", pair))
    margin = check.margin
    return figure(
        strip(rows, "share of the original's influence", (-margin, margin) if margin else None),
        "What is left of the records' influence: 0 is forgotten, 1 is untouched. Excess counts distance in any "
        "direction, so a model that merely moved elsewhere shows there. Lines: 90 % intervals. Shaded: the margin.",
        [*LEGEND[:3], ("e", "excess of this model")],
    )


def _attack(check: CheckResult) -> str:
    details: Mapping[str, Any] = check.details
    if all(value.value is None for value in check.values.values()):
        return ""  # too few records: the table says so
    what = "AUC of the attack" if check.name == "mia_loss" else "share of the records called unseen"
    rows = [
        *_role_row(check, "original"),
        *_role_row(check, "unlearned"),
        *(_points("oracles", _numbers(details.get("oracle_values")), "oracle") or _role_row(check, "oracle")),
        *_points("held-back oracles", _numbers(details.get("held_back_values")), "held back"),
        *_points("half kept", _numbers(details.get("half_kept_values")), "half kept"),
    ]
    oracle = check.values.get("oracle")
    return figure(
        strip(rows, what, oracle.interval if oracle else None),
        f"{check.title}. The attacker should see in this model what oracles show, not more and not less; 0.5 is no "
        "goal of its own. Lines: 90 % intervals. Shaded: the middle 90 % of the oracles.",
    )


def _gaps(utility: Mapping[str, RoleValue]) -> str:
    rows = []
    for group, name in (("forget", "forgotten"), ("retain", "kept"), ("held_out", "held out")):
        for role in ("original", "unlearned"):
            value = utility.get(f"{group}_gap_{role}")
            if value is not None:
                points = None if value.value is None else 100 * value.value
                interval = None if value.interval is None else (100 * value.interval[0], 100 * value.interval[1])
                rows.append(StripRow(f"{name}: {WHEN[role]}", [points], ROLE_KIND[role], interval))
    if not rows:
        return ""
    return figure(
        strip(rows, "accuracy minus the oracles' mean, points"),
        "Accuracy on the forgotten, the kept and the held-out records against the oracles' mean: 0 is like a retrained "
        "model. Lines: 90 % intervals over training runs.",
    )
