"""What does the evidence say, in tables? Checks, controls, power, accuracies, drift, requests; each with its level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.evaluation.evidence import CheckResult, Evidence, RequestEvidence, RoleValue
from expunge.reporting.advice import what_to_do
from expunge.reporting.drift_parts import drift_section
from expunge.reporting.evidence_plots import evidence_plots, requests_plot
from expunge.reporting.model_plots import GROUPS
from expunge.reporting.page import (
    Markup,
    badge,
    bullets,
    folded,
    html,
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
CONTROLS = {
    "original": "the original",
    "oracle": "a held-back oracle",
    "constant": "a model with one answer for all",
}


def evidence_sections(evidence: Evidence, drift: Mapping[str, Any] | None = None, evidently: str = "") -> str:
    """Everything measured, from verdicts to drift. `evidently`: where Evidently's own page lies, as a relative link."""
    return "".join(
        [
            section("The tests", level_notice(evidence), checks_table(evidence)),
            section("The tests, drawn", evidence_plots(evidence)),
            section("Accuracy", accuracy_table(evidence.utility)),
            requests_section(evidence),
            controls_section(evidence),
            drift_section(evidence, drift or {}, evidently),
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
            Markup(f"{html(check.title)} <small>({'decides' if check.gating else 'reported'})</small>"),
            verdict_badge(check.verdict, check.little_remembered and check.verdict == "pass", evidence.level),
            _figure(check),
            _controls(check),
            percent(check.power.not_pass_given_half) if check.power.not_pass_given_half is not None else "",
            _sentence(check, evidence),
        ]
        for check in evidence.checks
    ]
    head = ["test", "verdict", "figure [90 %]", "controls", "half is seen", "in words"]
    return table(head, rows, (2, 4), empty="No test was run.", cards=True) + paragraph(
        "p is the rank of this model among the oracles: 1 of n + 1 means that none of n oracles is as far away. "
        "Controls: models whose truth is known, in detail below. Half is seen: how often the test noticed models that "
        "kept half of the records. 'No power' means that the test could not have told, which is not a pass.",
        note=True,
    )


def _figure(check: CheckResult) -> Markup:
    """The statistic, its interval, its rank and its margin, one below the other."""
    lines = [number(check.statistic)]
    if check.interval is not None:
        lines.append(f"[{number(check.interval[0])}, {number(check.interval[1])}]")
    small = [f"p {number(check.p_value)}"] if check.p_value is not None else []
    small += [f"margin {number(check.margin)}"] if check.margin is not None else []
    return Markup("<br>".join(lines) + (f"<br><small>{', '.join(small)}</small>" if small else ""))


def _controls(check: CheckResult) -> Markup:
    """Each control with whether it came out as it must."""
    words = {"original": "original", "oracle": "oracle", "constant": "constant answer"}
    lines = [
        f"{html(words.get(role, role))} {html(_did(control.verdict))}: "
        + ("right" if control.holds else f"must {html(control.expected)}")
        for role, control in check.controls.items()
    ]
    return Markup(f'<span class="line">{"<br>".join(lines)}</span>') if lines else Markup("none")


def _did(verdict: str) -> str:
    return {"pass": "passes", "fail": "fails"}.get(verdict, "undecided")


def _sentence(check: CheckResult, evidence: Evidence) -> str:
    """The check's words, and where it could not tell, what would let it."""
    todo = what_to_do(check, evidence)
    return f"{check.words}. What to do: {todo}" if todo else check.words


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
    return table(head, rows, (1, 2, 3, 4), cards=True) + paragraph(
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
            verdict_badge(request.verdict, request.little_remembered and request.verdict == "pass", evidence.level),
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
        table(rank_head, ranks, (1, 3, 4, 5), cards=True),
        table(share_head, shares, (1, 2, 3), cards=True),
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
    wrong = [f"{row[0]}: {row[1]} must {row[2]}, and did not" for row in controls if row[2] != row[3]]
    said = f"All {plural(len(controls), 'control')} came out as they must." if controls else "No control was run."
    return section(
        "Can the tests be believed?",
        paragraph(
            "Each test was also run on models whose truth is known. The original must fail it; an oracle that was held "
            "back from the reference must pass it. Otherwise its verdict counts for nothing."
        ),
        notice(f"{len(wrong)} of {plural(len(controls), 'control')} did not come out as they must.", "bad")
        if wrong
        else paragraph(said),
        bullets(wrong),
        folded(
            "Every control, and how often half forgotten would be seen",
            table(["test", "control", "must", "did", "holds", "note"], controls, empty="None was run.", cards=True),
            subsection(
                "Power",
                table(
                    ["test", "an oracle passes", "half forgotten is noticed", "models that kept half", "note"],
                    power,
                    (1, 2, 3),
                    empty="Not measured.",
                    cards=True,
                ),
            ),
        ),
    )


def _control_name(role: str) -> str:
    return CONTROLS.get(role, role)


def _power(check: CheckResult) -> list[object]:
    power = check.power
    return [percent(power.pass_given_oracle), percent(power.not_pass_given_half), power.models, power.note]


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
