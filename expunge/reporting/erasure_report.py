"""Did the model forget, what did it cost, and what does that not prove? One page, plain at the top, detailed below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expunge.reporting.cost_plots import loss_plot, plan_against_spent, steps_table
from expunge.reporting.decision_pages import (
    METHODS,
    cost_table,
    findings_table,
    guarantee_words,
    holm_table,
    plan_definitions,
)
from expunge.reporting.erasure_inputs import ErasureReportInputs, RequestLine
from expunge.reporting.erasure_words import all_limits, explain, found_count, headline
from expunge.reporting.evidence_parts import LEVELS, evidence_sections
from expunge.reporting.page import (
    Markup,
    block,
    bullets,
    code,
    definitions,
    figures,
    folded,
    nested,
    notice,
    page,
    paragraph,
    percent,
    plural,
    section,
    subsection,
    table,
    verdict_badge,
)

__all__ = ["ErasureReportInputs", "RequestLine", "erasure_report", "explain"]

RETRAINED = (
    " The model was trained without the records: a verdict of fail on one request says that its answers are unusual "
    "among such models, as at most one in 20 is by chance, and not that it remembers."
)
PURGE_KEYS = ("artifacts", "destroyed", "kept", "rescan")


def erasure_report(inputs: ErasureReportInputs) -> str:
    """The whole report as one self-contained page."""
    words, kind = headline(inputs)
    parts = [
        notice(words, kind, head=True),
        paragraph(explain(inputs)),
        _facts(inputs),
        section("The requests", _requests(inputs)),
        section("What was planned, and what it took", _costs(inputs)),
        section("Why this decision", paragraph(f"{inputs.decision.words}."), _findings(inputs)),
        evidence_sections(inputs.evidence, inputs.drift, inputs.evidently),
        section("What was destroyed, and what was kept", _purge(inputs)),
        section("What this does not prove", bullets(all_limits(inputs))),
        section("To repeat it", _repeat(inputs)),
    ]
    return page(f"Erasure report: {inputs.model_name}", parts, f"Run {inputs.run_id}, {inputs.created_at}")


def _facts(inputs: ErasureReportInputs) -> str:
    return definitions(
        {
            "project": inputs.project,
            "model": inputs.model_name,
            "version before": inputs.original_version,
            "version in use now": inputs.promoted_version or f"not replaced by this run ({inputs.original_version})",
            "records": inputs.plan.forget_records,
            "method": METHODS[inputs.run.method],
            "guarantee": guarantee_words(inputs.decision.guarantee),
            "level of evidence": f"{inputs.evidence.level}: {LEVELS[inputs.evidence.level]}",
        }
    )


def _requests(inputs: ErasureReportInputs) -> str:
    rows = [
        [
            line.request_id,
            line.subject_kind,
            line.records,
            line.difficulty_percentile,
            f"{line.predicted_steps} / {line.spent_steps}",
            percent(line.cost_share, 1),
            verdict_badge(line.verdict, level=inputs.evidence.level),
            line.due_at,
            line.words,
        ]
        for line in inputs.requests
    ]
    head = [
        "request", "who", "records", "harder than, %", "steps planned / spent", "cost", "verdict", "due", "in words",
    ]  # fmt: skip
    shown = [k for k in range(len(head)) if k < 7 or any(row[k] for row in rows)]
    return table(
        [head[k] for k in shown],
        [[row[k] for k in shown] for row in rows],
        (2, 3, 4, 5),
        empty="This run answered no request.",
        cards=True,
    ) + paragraph(
        "Verdicts on single requests stand beside the verdict on all records together, which decides. Harder than: the "
        "share of all records that are easier to forget. Cost: of the one run that answered them all, in percent of "
        "one retraining." + (RETRAINED if inputs.retrained else ""),
        note=True,
    )


def _costs(inputs: ErasureReportInputs) -> str:
    return (
        figures(plan_against_spent(inputs.plan, inputs.run), loss_plot(inputs.plan, inputs.run))
        + figures(
            block(subsection("Planned and spent", steps_table(inputs.plan, inputs.run))),
            block(subsection("Everything counted", cost_table(inputs.run))),
        )
        + paragraph(
            "Costs are in retrainings: records passed forward and backward. The run itself takes the unlearning;"
            " judging it takes models to compare with; scoring and calibration are done once a model.",
            note=True,
        )
        + definitions(
            {
                "looks on the way": len(inputs.run.looks),
                "why it stopped": inputs.run.stop_reason,
                "why this method": inputs.plan.reason,
            }
        )
        + "".join(notice(warning, "unsure") for warning in inputs.plan.warnings)
        + folded("The whole plan", plan_definitions(inputs.plan))
    )


def _findings(inputs: ErasureReportInputs) -> str:
    return findings_table(inputs.decision, {check.name: check.title for check in inputs.evidence.checks})


def _purge(inputs: ErasureReportInputs) -> str:
    if inputs.purge is None:
        return notice("Nothing has been destroyed yet.", "unsure")
    rest = {k: v for k, v in inputs.purge.items() if k not in PURGE_KEYS}
    return (
        _rescan(inputs)
        + subsection("Destroyed", _artifacts(inputs.destroyed, "how", "method"))
        + subsection("Kept, and why", _artifacts(inputs.kept, "why", "reason"))
        + (nested(rest) if rest else "")
    )


def _rescan(inputs: ErasureReportInputs) -> str:
    if inputs.rescan is None:
        return notice("No search for leftovers is recorded.", "unsure")
    found = found_count(inputs)
    at, said = inputs.rescan.get("at"), inputs.rescan.get("words")
    words = f"The search afterwards{f' ({at})' if at else ''} found "
    words += f"{plural(found, 'item')} that should be gone." if found else "none of the destroyed items."
    listed = inputs.rescan.get("found")
    said = f"{said[:1].upper()}{said[1:]}." if isinstance(said, str) and said else ""
    return notice(f"{words} {said}".strip(), "bad" if found else "good") + (
        nested(listed) if found and isinstance(listed, list | tuple) else ""
    )


def _artifacts(artifacts: Sequence[Mapping[str, Any]], head: str, field: str) -> str:
    rows = [
        [
            a.get("kind", ""),
            Markup(f"<del>{code(str(a.get('name', '')))}</del>") if field == "method" else code(str(a.get("name", ""))),
            code(str(a["content_hash"]), 16) if a.get("content_hash") else "–",
            a.get(field) or "–",
            a.get("destroy_by") or "",
        ]
        for a in artifacts
    ]
    columns = [0, 1, 2, 3] + ([4] if any(row[4] for row in rows) else [])
    titles = ["kind", "name", "hash", head, "destroyed by"]
    return table([titles[k] for k in columns], [[row[k] for k in columns] for row in rows])


def _repeat(inputs: ErasureReportInputs) -> str:
    return folded(
        "Versions and seeds",
        subsection("Versions", definitions(inputs.versions)),
        subsection("Seeds", nested({**inputs.seeds, "of the run": inputs.run.seeds})),
        subsection("Several tests at once (Holm)", holm_table(inputs.decision)),
    )
