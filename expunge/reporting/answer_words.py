"""What came of an answered request, in words for a privacy officer that claim no more than its certificate does?"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
DONE = {
    "fine_tune": "the model was trained further on all other data",
    "noisy_fine_tune": "the model was trained further on all other data, with random noise added",
    "l1_sparse": "the model was trained further on all other data, with small weights drawn to zero",
    "neggrad_plus": "the model was trained further on all other data, and away from its answers on them",
    "scrub": "the model was trained further on all other data, and away from its answers on them",
    "rewind": "training was wound back to an earlier point and repeated from there without them",
    "unrolled_rewind": "training was wound back to an earlier point, what they had changed by then was taken back, and "
    "the rest was repeated without them",
    "keep": "tests found nothing of them in the model, so that it was left as it is",
    "retrain": "the model was trained again from the very beginning without them",
}
NOT_PROVED = (
    "It does not prove that no better test could find a trace, and it says nothing about copies of the data elsewhere, "
    "or about answers that the model gave earlier."
)
NOT_PROVED_EXACT = (
    "It says nothing about copies of the data elsewhere, or about answers that the old model gave earlier."
)


def count_of(count: int, noun: str) -> str:
    """1 record, 2 records."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def day(moment: date | datetime) -> str:
    """4 November 2026."""
    return f"{moment.day} {MONTHS[moment.month - 1]} {moment.year}"


def late_by(answered: date, deadline: date) -> str:
    """How long before or after its deadline."""
    days = (deadline - answered).days
    if days < 0:
        return f"{count_of(-days, 'day')} after its deadline"
    return f"{count_of(days, 'day')} before its deadline" if days else "on its last day"


def alike(level: str, count: int | None) -> str:
    """What a model that passed was like, in the words of its level of evidence."""
    many = "models" if count is None else count_of(count, "model")
    if level == "oracle":
        return f"cannot be told apart from {many} that never saw them"
    if level == "pool":
        less = "which were trained on less data (a weaker comparison)"
        return f"cannot be told apart from {many} that did not see them, {less}"
    return "treats them like similar records that it never saw (the weakest kind of evidence: no comparison model)"


def cost_words(own: float | None, everything: float | None) -> str:
    """What the forgetting took, in trainings."""
    if own is None:
        return ""
    share = f"{own:.0%}" if own >= 0.01 else f"{own:.1%}"
    counted = f" (with every model trained for comparison counted, {everything:.0f} times that work)"
    return f"It took {share} of the work of training again from the beginning{'' if everything is None else counted}."


def answer(certificate: Mapping[str, Any] | None, together: int, fallback: bool) -> list[str]:
    """Sentences on what was done, what the tests say, what it cost, what was destroyed and what that does not prove.

    Args:
        certificate: the signed predicate; None where it is not at hand, which is said.
        together: how many requests the run answered. fallback: whether a cheaper attempt was refused before.
    """
    if certificate is None:
        return [
            "The model was made to forget them, and the request is closed.",
            "Its certificate is not at its place, so what was done and tested cannot be told here.",
        ]
    exact = certificate.get("guarantee") == "exact"
    return [
        _done(certificate, together, fallback),
        _result(certificate, together),
        _cost(certificate, exact),
        _use(certificate),
        _destroyed(certificate),
        NOT_PROVED_EXACT if exact else NOT_PROVED,
    ]


def _done(certificate: Mapping[str, Any], together: int, fallback: bool) -> str:
    plan = certificate.get("plan") or {}
    others = f", together with those of {count_of(together - 1, 'other request')}" if together > 1 else ""
    first = "A cheaper attempt did not pass its tests and was given up; then " if fallback else "To do so, "
    return f"{first}{DONE.get(str(plan.get('method')), 'the model was changed')}{others}."


def _result(certificate: Mapping[str, Any], together: int) -> str:
    own = (certificate.get("details") or {}).get("request") or {}
    if certificate.get("guarantee") == "exact":
        said = "The new model has therefore never seen them, which is the strongest assurance there is."
        if own.get("verdict") == "fail":
            said += (
                " A test beside it found the model's answers on them unusual even so; by chance that happens to at "
                "most one request in 20."
            )
        return said
    level, count = str(certificate.get("evidence_level")), _models(own)
    like = alike(level, count)
    if own.get("verdict") == "pass" and own.get("little_remembered"):
        said = f"Even the old model showed hardly anything of them, and the new one shows no more: it {like}."
    elif own.get("verdict") == "pass":
        said = f"In tests, the new model {like}{_recognised(certificate)}."
    else:
        alone = "On these records alone, no test could have told either way"
        if own.get("verdict") == "fail":
            alone = "On these records alone, a test set the new model apart, as happens to at most one in 20 by chance"
        whole = "taken with all records of its run" if together > 1 else "by the tests that decide"
        said = f"{alone}; {whole}, the new model {like}{_recognised(certificate)}."
    return f"{said} This is a test result, not a proof."


def _models(own: Mapping[str, Any]) -> int | None:
    rank = (own.get("influence_rank") or {}).get("unlearned") or {}
    of = rank.get("of")
    return of - 1 if isinstance(of, int) and of > 1 else None


def _recognised(certificate: Mapping[str, Any]) -> str:
    """Whether the same tests saw what they had to see in models whose truth is known."""
    gating = [e for e in certificate.get("evidence") or [] if (e.get("details") or {}).get("gating")]
    controls = [control for e in gating for control in (e.get("controls") or {}).values()]
    if controls and all(control.get("verdict") == control.get("expected") for control in controls):
        return ", while the same tests did recognise a model that had learnt such records"
    return ""


def _cost(certificate: Mapping[str, Any], exact: bool) -> str:
    cost = (certificate.get("spent") or {}).get("cost") or {}
    own, everything = cost.get("unlearning"), cost.get("everything")
    if exact and own is not None and everything is not None:
        return f"It took a whole training, and {everything:.0f} times that with every model trained for comparison."
    return cost_words(own, everything)


def _use(certificate: Mapping[str, Any]) -> str:
    model, plan = certificate.get("model") or {}, certificate.get("plan") or {}
    before = str(plan.get("model_version", "")).rsplit(" ", 1)[-1]
    return f"Version {model.get('version')} of the model {model.get('name')} was put into use in place of {before}."


def _destroyed(certificate: Mapping[str, Any]) -> str:
    artifacts = certificate.get("artifacts") or []
    gone = sum(a.get("action") == "destroyed" for a in artifacts)
    kept = len(artifacts) - gone
    said = f"{count_of(gone, 'stored item')} that came from the records {'was' if gone == 1 else 'were'} destroyed"
    said += f" and {kept} {'was' if kept == 1 else 'were'} kept for a stated reason" if kept else ""
    rescan = certificate.get("rescan") or {}
    found = rescan.get("found")
    if found is None:
        return f"{said}; no search for leftovers is recorded."
    left = "nothing left" if not found else f"{len(found) if isinstance(found, list) else found} still there"
    interim = " This is an interim statement: some of it is kept until a date." if certificate.get("interim") else ""
    return f"{said}, and a search afterwards found {left}.{interim}"
