"""The table of evidence: each test with its figure, its controls and its power, and what to do where it cannot tell."""

from __future__ import annotations

from typing import Any

from cli import output

MUST = {"pass": "passes", "fail": "fails"}
YARDSTICKS = ("oracle", "null")
COLUMNS = (
    "check", "verdict", "figure [90 %]", "this model, original, oracles", "controls", "half forgotten seen", "in words",
)  # fmt: skip


def show_evidence(evidence: Any, decision: Any) -> None:
    """Every check on one line, the gate's words, and for each check without power what would give it some."""
    show_checks("Evidence", evidence)
    output.line(f"Gate {decision.words}")
    refused = [finding for finding in decision.findings if finding.gating and not finding.ok]
    for finding in refused:
        output.line(f"  not fine: {finding.name}: {finding.words}")
    output.line(
        f"Guarantee: {decision.guarantee}; level of evidence: {evidence.level}, {evidence.oracles.count} models judged."
    )


def show_checks(title: str, evidence: Any) -> None:
    """Every check on one line, and for each check without power what would give it some."""
    from expunge.reporting.advice import what_to_do

    rows = [
        (
            check.name + (" (gates)" if check.gating else ""),
            "pass: little was remembered" if check.verdict == "pass" and check.little_remembered else check.verdict,
            _figure(check.statistic, check.interval),
            _references(check),
            _controls(check),
            _power(check),
            check.words,
        )
        for check in evidence.checks
    ]
    output.table(title, COLUMNS, rows, lines=True)
    todo = [(check, what_to_do(check, evidence)) for check in evidence.checks]
    for check, advice in todo:
        if advice:
            output.line(f"{check.name} had no power. To do: {advice}.")
    for warning in evidence.warnings:
        output.line(f"warning: {warning.name}: {warning.words}")


def show_audit(found: Any) -> None:
    """Both verdicts side by side: every check that either of them ran, and whether the verdict stands."""
    sides = [{check.name: check for check in evidence.checks} for evidence in (found.audited, found.audit)]
    rows = [
        (name, *(_said(side[name]) if name in side else "not run" for side in sides))
        for name in dict.fromkeys([*sides[0], *sides[1]])
    ]
    first, second = found.audited, found.audit
    columns = ("check", f"level {first.level}", f"level {second.level}: {second.oracles.count} true oracles")
    output.table("Audit of the evidence", columns, rows, lines=True)
    output.line(found.words)


def _said(check: Any) -> str:
    gates = " (gates)" if check.gating else ""
    words = check.words.removeprefix(f"{check.verdict}: ")
    return f"{check.verdict}{gates}: {words}"


def _figure(value: float | None, interval: tuple[float, float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" + (f"\n[{interval[0]:.3g}, {interval[1]:.3g}]" if interval is not None else "")


def _references(check: Any) -> str:
    """What the original and models that never saw the records show, in the units of the role's own value."""
    lines = []
    for role in ("unlearned", "original", *YARDSTICKS):
        value = check.values.get(role)
        if value is not None and value.value is not None:
            span = f" [{value.interval[0]:.3g}, {value.interval[1]:.3g}]" if value.interval else ""
            lines.append(f"{'this' if role == 'unlearned' else role} {value.value:.3g}{span}")
    return "\n".join(lines) or "-"


def _controls(check: Any) -> str:
    lines = [
        f"{role} {MUST.get(control.verdict, 'cannot tell')}" + ("" if control.holds else f" (must {control.expected})")
        for role, control in check.controls.items()
    ]
    return "\n".join(lines) or "none"


def _power(check: Any) -> str:
    seen = check.power.not_pass_given_half
    return "-" if seen is None else f"{seen:.0%} of {check.power.models}"
