"""What does the evidence say, in tables? Checks, controls, power, accuracies, drift, requests; each with its level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.evaluation.evidence import CheckResult, Evidence, RequestEvidence, RoleValue
from expunge.reporting.evidence_plots import evidence_plots, requests_plot
from expunge.reporting.page import (
    badge,
    bullets,
    folded,
    nested,
    notice,
    number,
    paragraph,
    percent,
    plural,
    section,
    subsection,
    table,
    verdict_badge,
    with_interval,
)

LEVELS = {
    "oracle": "against models retrained without these records (oracles)",
    "pool": "against a pool of reference models that left out random blocks of data and so saw less of it; a shift "
    "that is corrected for, which makes this weaker than a retrained model",
    "oracle-free": "without any retrained model, only against similar records that the model never saw; this is the "
    "weakest level of evidence",
}
GROUPS = {"forget": "forgotten", "retain": "kept", "held_out": "held out"}
COLUMNS = {
    "true_class_confidence": "confidence",
    "loss": "loss",
    "margin": "margin",
    "predicted_label": "predicted label",
}


def evidence_sections(evidence: Evidence, drift: Mapping[str, Any] | None = None) -> str:
    """Everything measured, from verdicts to drift."""
    return "".join(
        [
            section("The tests", level_notice(evidence), checks_table(evidence)),
            section("The tests, drawn", evidence_plots(evidence)),
            section("Accuracy", accuracy_table(evidence.utility)),
            requests_section(evidence),
            controls_section(evidence),
            drift_section(evidence, drift or {}),
            section("Warnings", *(notice(f"{w.name}: {w.words}", "unsure") for w in evidence.warnings)),
            section("The models that judged", oracles_part(evidence)),
        ]
    )


def level_notice(evidence: Evidence) -> str:
    """The level of the evidence, in words that are visibly weaker below `oracle`."""
    kind = "plain" if evidence.level == "oracle" else "unsure"
    count = (
        f" {plural(evidence.oracles.count, 'such model')} judged."
        if evidence.oracles.count and evidence.level != "oracle-free"
        else ""
    )
    claim = (
        "The claim is about this one model."
        if evidence.claim == "MODEL"
        else "The claim is about the method, over many models, and not about a single one."
    )
    return notice(f"Level of evidence: {evidence.level}: judged {LEVELS[evidence.level]}.{count} {claim}", kind)  # type: ignore[arg-type]


def checks_table(evidence: Evidence) -> str:
    """One line a check."""
    rows = [
        [
            check.title,
            "decides" if check.gating else "reported",
            verdict_badge(check.verdict, check.little_remembered and check.verdict == "pass"),
            with_interval(check.statistic, check.interval),
            check.p_value,
            check.margin,
            evidence.level,
            check.words,
        ]
        for check in evidence.checks
    ]
    return table(
        ["test", "role", "verdict", "figure [90 % interval]", "p", "margin", "level", "in words"],
        rows,
        (3, 4, 5),
        empty="No test was run.",
    ) + paragraph(
        "p is the rank of this model among the oracles: 1 of n + 1 means that none of n oracles is as far away. "
        "'No power' means that the test could not have told, which is not a pass.",
        note=True,
    )


def accuracy_table(utility: Mapping[str, RoleValue]) -> str:
    """Accuracy of original, this model and oracles on the three groups, and the gaps."""
    rows = []
    for group, name in GROUPS.items():
        cells = [utility.get(f"{group}_accuracy_{role}") for role in ("original", "unlearned", "oracle")]
        gap = utility.get(f"{group}_gap_unlearned")
        if any(cells) or gap:
            rows.append([name, *(_share(cell) for cell in cells), _points(gap)])
    if not rows:
        return ""
    head = ["records", "original", "this model", "oracles", "this model minus oracles (points)"]
    return table(head, rows, (1, 2, 3, 4)) + paragraph(
        "In brackets: 95 % intervals over records for the two models, the middle 90 % of the oracles, and a 90 % "
        "interval over training runs for the difference.",
        note=True,
    )


def _share(value: RoleValue | None) -> str:
    if value is None or value.value is None:
        return "–"
    if value.interval is None:
        return percent(value.value, 1)
    return f"{value.value:.1%} [{value.interval[0]:.1%}, {value.interval[1]:.1%}]"


def _points(value: RoleValue | None) -> str:
    if value is None or value.value is None:
        return "–"
    if value.interval is None:
        return f"{100 * value.value:+.1f}"
    return f"{100 * value.value:+.1f} [{100 * value.interval[0]:+.1f}, {100 * value.interval[1]:+.1f}]"


def requests_section(evidence: Evidence) -> str:
    """Each request's own records: rank, accuracy, attack; single records where there are few."""
    if not evidence.requests:
        return ""
    ranks = [
        [
            request.request_id,
            request.records,
            verdict_badge(request.verdict, request.little_remembered and request.verdict == "pass"),
            *(_rank(request, role) for role in ("original", "unlearned", "oracle")),
            request.words,
        ]
        for request in evidence.requests
    ]
    shares = [
        [
            request.request_id,
            *(_share(request.forget_accuracy.get(role)) for role in ("original", "unlearned", "oracle")),
            _auc(request),
        ]
        for request in evidence.requests
    ]
    rank_head = ["request", "records", "verdict", "original's rank", "this model's", "held-back oracle's", "in words"]
    share_head = ["request", "accuracy: original", "this model", "oracles", "attack AUC: this model; oracles' mean"]
    places = [_place_row(request, k) for request in evidence.requests for k in range(len(request.places))]
    single = folded(
        f"Single records ({len(places)})",
        table(["request", "record", "original", "this model", "held-back oracle"], places),
    )
    return section(
        "Request by request",
        paragraph(
            "The verdict that decides is on all records of the run together; these figures stand beside it, level "
            f"{evidence.level}, not corrected for their number. Rank 1 is farthest from models that never saw "
            "the records; the p-value is the rank as a share.",
        ),
        requests_plot(evidence),
        table(rank_head, ranks, (1, 3, 4, 5)),
        table(share_head, shares, (1, 2, 3)),
        single if places else "",
    )


def _rank(request: RequestEvidence, role: str) -> str:
    rank = request.influence_rank.get(role)
    return "–" if rank is None else f"{rank.position} of {rank.of}"


def _auc(request: RequestEvidence) -> str:
    mine, oracle = request.mia.get("unlearned"), request.mia.get("oracle")
    if mine is None or mine.value is None:
        return mine.note if mine else "–"
    return f"{with_interval(mine.value, mine.interval)}; {number(oracle.value if oracle else None)}"


def _place_row(request: RequestEvidence, k: int) -> list[object]:
    place = request.places[k]
    cells = []
    for role in ("original", "unlearned", "oracle"):
        rank = place.places.get(role)
        cells.append("–" if rank is None else f"{rank.position} of {rank.of}")
    return [request.request_id, place.record_id, *cells]


def controls_section(evidence: Evidence) -> str:
    """Can the tests be believed? Models whose truth is known, and how often half forgotten would be seen."""
    controls, power = [], []
    for check in evidence.checks:
        for role, control in check.controls.items():
            held = badge("as expected", "good") if control.holds else badge("not as expected", "bad")
            controls.append([check.title, _control_name(role), control.expected, control.verdict, held, control.note])
        power.append([check.title, *_power(check)])
    return section(
        "Can the tests be believed?",
        paragraph(
            "Each test was also run on models whose truth is known. The original must fail it; an oracle that was held "
            "back from the reference must pass it. Otherwise its verdict counts for nothing."
        ),
        table(["test", "control", "must", "did", "holds", "note"], controls, empty="No control was run."),
        subsection(
            "Power",
            table(
                ["test", "an oracle passes", "half forgotten is noticed", "models that kept half", "note"],
                power,
                (1, 2, 3),
                empty="Not measured.",
            ),
        ),
    )


def _control_name(role: str) -> str:
    names = {"original": "the original", "oracle": "held-back oracles", "constant": "a model with one answer for all"}
    return names.get(role, role)


def _power(check: CheckResult) -> list[object]:
    power = check.power
    return [percent(power.pass_given_oracle), percent(power.not_pass_given_half), power.models, power.note]


def drift_section(evidence: Evidence, drift: Mapping[str, Any]) -> str:
    """Which predictions moved, against one oracle; what two oracles differ by is the yardstick."""
    check = next((c for c in evidence.checks if c.name == "drift"), None)
    table_rows = check.details.get("table") if check else None
    rows = [row for row in table_rows if isinstance(row, dict)] if isinstance(table_rows, list) else []
    body = [
        [
            GROUPS.get(str(row.get("group")), str(row.get("group"))),
            COLUMNS.get(str(row.get("column")), str(row.get("column"))),
            row.get("original"),
            row.get("value"),
            row.get("threshold"),
            badge("more than oracles differ", "unsure") if row.get("exceeded") else badge("within", "good"),
        ]
        for row in rows
    ]
    head = ["records", "prediction", "original", "this model", "oracle pairs, 95 %", "reading"]
    notes = check.details.get("notes") if check else None
    words = [str(note) for note in notes] if isinstance(notes, list) else []
    reference = check.details.get("reference") if check else None
    known = {f"{row.get('group')} {row.get('column')}" for row in rows}
    rest = {name: value for name, value in drift.items() if name not in known}
    return section(
        "What changed in the predictions",
        paragraph(f"{check.words[:1].upper()}{check.words[1:]}." if check else ""),
        table(head, body, (2, 3, 4)) if body else "",
        paragraph(
            f"Evidently's distances (Wasserstein; Jensen-Shannon for labels) from one oracle ({reference}).", note=True
        )
        if body
        else "",
        bullets(words),
        nested(rest) if rest else "",
    )


def oracles_part(evidence: Evidence) -> str:
    """Which model was used for what, folded."""
    record = evidence.oracles
    groups = {
        "judge": record.verdict,
        "chose or stopped, never judge": record.look,
        "held back (control)": record.held_back,
        "kept half of the records (power)": record.half_kept,
    }
    rows = [[use, len(names), ", ".join(names)] for use, names in groups.items()]
    return folded(
        f"{plural(record.count, 'reference model')} and what each was used for",
        table(["use", "models", "names"], rows, (1,)),
    )
