"""Running the checks, the formats' round trip, requests, and a gate that lists everything."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from laws import World
from pydantic import ValidationError

from expunge.errors import UsageError
from expunge.evaluation import (
    CHECKS,
    EvaluationInputs,
    EvaluationSettings,
    Evidence,
    decide,
    register_check,
    run_checks,
)
from expunge.evaluation.checks import Check, FunctionCheck
from expunge.evaluation.evidence import CheckResult, FailureSignature, GateDecision, RoleValue
from expunge.evaluation.signatures import flat_distribution, loss_barrier, not_approaching
from expunge.evaluation.verdict import oracles_needed
from expunge.settings import EvaluationConfig

SETTINGS = EvaluationSettings(gating=("influence", "mia_loss"), mia_sample=100, mia_folds=5)
REQUESTS = {"hard": np.arange(60), "easy": np.array([61])}
IDS = {"oracle_ids": tuple(f"o{k}" for k in range(40)), "held_back_ids": ("h0", "h1", "h2", "h3", "h4")}
Make = Callable[..., Evidence]


USUAL = ["influence", "influence_share", "mia_loss", "mia_confidence", "utility", "drift", "calibration"]
WITH_MORE_INPUTS = ["rmia", "u_lira", "klom", "forgetting_quality", "loss_barrier", "gus", "pool_influence"]


@pytest.fixture(scope="module")
def evidence() -> Iterator[Make]:
    """Every check on an oracle (with small forests), the usual ones on other models."""
    cache: dict[str, Evidence] = {}

    def make(kind: str = "oracle") -> Evidence:
        if kind not in cache:
            inputs = World(run_share=0.01).build(kind, planted=True, requests=REQUESTS, **IDS)
            cache[kind] = run_checks(inputs, None if kind == "oracle" else USUAL, settings=SETTINGS)
        return cache[kind]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("expunge.evaluation.attacks.FOREST_TREES", 4)
        yield make


def gate(evidence: Evidence, **change: object) -> GateDecision:
    facts = {"guarantee": "empirical", "retrained": False, "erased_ids_in_training": 0, "settings": SETTINGS} | change
    return decide(evidence, **facts)


@pytest.mark.parametrize("kind", ["oracle", "untouched"])
def test_json_out_and_in_is_the_same_evidence(evidence: Make, kind: str) -> None:
    before = evidence(kind)
    text = before.model_dump_json()
    assert Evidence.model_validate_json(text) == before
    assert Evidence.model_validate_json(text).model_dump_json() == text
    assert "NaN" not in text and json.loads(text)["format"] == "expunge.evidence/1"
    decision = gate(before)
    assert GateDecision.model_validate_json(decision.model_dump_json()) == decision


def test_numbers_that_are_not_finite_do_not_get_in() -> None:
    for details in ({"a": float("nan")}, {"a": {"b": [float("inf")]}}, {"a": object()}):
        with pytest.raises(ValidationError):
            CheckResult(name="n", title="t", verdict="pass", words="w", details=details)
    with pytest.raises(ValidationError):
        RoleValue(value=float("nan"))
    with pytest.raises(ValidationError):
        RoleValue(value=1.0, other=2)  # type: ignore[call-arg]
    kept = CheckResult(
        name="n", title="t", verdict="pass", words="w", details={"a": np.arange(2), "b": (np.float64(0.1),)}
    )
    assert kept.details == {"a": [0, 1], "b": [0.1]}


def test_a_forgotten_model_passes_and_says_so(evidence: Make) -> None:
    result = evidence()
    assert [check.name for check in result.checks] == list(CHECKS)
    assert [check.name for check in result.checks if check.gating] == ["influence", "mia_loss"]
    verdicts = {check.name: check.verdict for check in result.checks}
    assert set(verdicts) == {*USUAL, "mia_forest", "matched", *WITH_MORE_INPUTS}
    assert all(verdicts[name] == "pass" for name in USUAL)
    assert all(verdicts[name] == "no power" for name in WITH_MORE_INPUTS)  # none of what they read was given
    assert "fail" not in verdicts.values()
    assert "retrained without the records (40 of them)" in result.words
    decision = gate(result)
    assert decision.passed and decision.words.startswith("passed: influence, mia_loss")
    assert [row.name for row in decision.holm] == ["influence", "mia_loss"] or len(decision.holm) == 2
    assert result.check("utility").verdict == "pass"
    with pytest.raises(KeyError):
        result.check("gas")


def test_the_gate_lists_every_finding_at_once(evidence: Make) -> None:
    bad = evidence("untouched").model_copy(
        update={
            "warnings": [FailureSignature(name="flat privacy-loss distribution", words="flat")],
            "oracles": evidence("untouched").oracles.model_copy(update={"look": ["o3"]}),
        }
    )
    decision = gate(bad, erased_ids_in_training=2)
    assert not decision.passed
    wrong = {finding.name for finding in decision.findings if not finding.ok and finding.gating}
    assert wrong == {"training records", "fresh oracles", "influence", "mia_loss"}
    for name in wrong:
        assert f"{name}: " in decision.words
    reported = {finding.name for finding in decision.findings if not finding.gating}
    assert {"drift", "influence_share", "mia_confidence", "request hard", "request easy"} <= reported
    assert any(finding.name == "influence: control original" and finding.ok for finding in decision.findings)
    assert all(row.rejected for row in decision.holm)


def test_a_retrained_model_rests_on_its_training_ids_alone(evidence: Make) -> None:
    bad = evidence("untouched")
    exact = gate(bad, guarantee="exact", retrained=True)
    assert exact.passed and exact.guarantee == "exact" and "retrained" in exact.words
    assert any(finding.name == "influence" and not finding.ok and not finding.gating for finding in exact.findings)
    assert not gate(bad, guarantee="exact", retrained=True, erased_ids_in_training=1).passed
    with pytest.raises(UsageError, match="Only a retrained model is exact"):
        gate(bad, guarantee="exact")
    with pytest.raises(UsageError, match="negative"):
        gate(bad, erased_ids_in_training=-1)


def test_the_gate_refuses_what_was_not_shown(evidence: Make) -> None:
    good = evidence()
    only = good.model_copy(update={"checks": [check for check in good.checks if check.name != "utility"]})
    assert "held-out accuracy was not judged" in gate(only).words
    none = good.model_copy(update={"checks": [c.model_copy(update={"gating": False}) for c in good.checks]})
    assert "no gating check was run" in gate(none).words
    broken = good.check("influence")
    controls = broken.controls | {"original": broken.controls["original"].model_copy(update={"verdict": "pass"})}
    swapped = [c.model_copy(update={"controls": controls}) if c.name == "influence" else c for c in good.checks]
    assert (
        "influence: control original: expected fail, came out pass"
        in gate(good.model_copy(update={"checks": swapped})).words
    )


def test_requests_speak_for_themselves(evidence: Make) -> None:
    hard, easy = evidence().requests
    assert (hard.request_id, hard.records, hard.verdict) == ("hard", 60, "pass")
    assert hard.words.startswith("forgotten: indistinguishable from models that never saw the records (rank ")
    assert set(hard.influence_rank) == {"original", "unlearned", "oracle"}
    assert hard.influence_rank["original"].position == 1 and hard.influence_rank["original"].of == 41
    assert hard.mia["original"].value > hard.mia["oracle"].value and not hard.places
    assert hard.forget_accuracy["original"].value > hard.forget_accuracy["oracle"].value
    assert easy.mia["unlearned"].note == "1 record: no set-level AUC under 20 records"
    assert [place.record_id for place in easy.places] == ["r00061"]
    assert easy.places[0].places["unlearned"] == easy.influence_rank["unlearned"]
    untouched = evidence("untouched").requests[0]
    assert untouched.verdict == "fail" and untouched.words.startswith("not forgotten")
    little = World(shift=0.0).build(planted=True, requests=REQUESTS)
    only = run_checks(little, ["influence"], ["influence"], SETTINGS)
    assert [r.little_remembered for r in only.requests] == [True, True]
    assert all(r.words.startswith("little was remembered") for r in only.requests)


def test_too_many_gating_checks_for_the_oracles_say_how_many_are_needed() -> None:
    result = run_checks(World().build("untouched"), ["influence", "mia_loss", "drift"])
    assert [check.gating for check in result.checks] == [True, True, True]  # the default
    assert {check.verdict for check in result.checks} == {"no power"}
    assert "40 oracles, a verdict at level 0.0167 needs 59" in result.check("influence").words
    # Drift takes one of them as its reference.
    world = World(oracles=60, half_kept=1, held_back=2, forget=40, retain=30, held_out=120)
    sixty = run_checks(world.build("untouched"), ["influence", "mia_loss", "drift"])
    assert {check.verdict for check in sixty.checks} == {"fail"}
    assert "39 oracles" in result.check("drift").words


def test_the_default_gates_are_influence_attack_and_drift_with_oracles_enough() -> None:
    for settings in (EvaluationSettings(), EvaluationConfig()):
        assert settings.gating == ("influence", "mia_loss", "drift")
    default = EvaluationConfig()
    needed = oracles_needed(default.level / len(default.gating))
    assert needed == 59 and default.verdict_oracles == 80 > needed + 1


def test_a_later_holm_step_turns_a_pass_into_a_fail() -> None:
    """Two checks at p = 1/41 and 2/41: the second holds at .05/2 and is rejected at Holm's .05."""
    inputs = World().build()
    base = run_checks(inputs, ["influence"], ["influence"]).check("influence")

    def fixed(name: str, p: float, verdict: str) -> Check:
        return FunctionCheck(
            name, name, lambda i, s: base.model_copy(update={"name": name, "p_value": p, "verdict": verdict})
        )

    names = ["first", "second"]
    register_check(fixed("first", 1 / 41, "fail"))
    register_check(fixed("second", 2 / 41, "pass"))
    try:
        result = run_checks(inputs, names, names)
        assert result.check("second").verdict == "fail" and "Holm" in result.check("second").words
        register_check(fixed("first", 0.5, "pass"), replace=True)
        assert run_checks(inputs, names, names).check("second").verdict == "pass"
    finally:
        for name in names:
            del CHECKS[name]


def test_the_registry_refuses_silent_overwrite_and_unknown_names() -> None:
    with pytest.raises(UsageError, match="exists"):
        register_check(CHECKS["influence"])
    assert all(isinstance(check, Check) for check in CHECKS.values())
    inputs = World().build()
    with pytest.raises(UsageError, match="Did you mean 'influence'"):
        run_checks(inputs, ["influense"], ["influence"])
    with pytest.raises(UsageError, match="not among the checks"):
        run_checks(inputs, ["utility"], ["influence"])
    with pytest.raises(UsageError, match="at most 3"):
        run_checks(inputs, gating=["influence", "utility", "drift", "mia_loss"])
    with pytest.raises(ValidationError, match="at most 3"):
        EvaluationSettings(gating=("a", "b", "c", "d"))


def test_same_inputs_same_evidence() -> None:
    def once() -> str:
        inputs: EvaluationInputs = World(seed=5, half_kept=4).build(planted=True, requests=REQUESTS)
        names = ["influence", "mia_loss", "mia_confidence"]
        return run_checks(inputs, names, ["influence"], SETTINGS).model_dump_json()

    assert once() == once()


def test_signatures() -> None:
    rng = np.random.default_rng(0)
    flat = flat_distribution(1 + 0.01 * rng.random(100))
    assert flat is not None and flat.numbers["records"] == 100
    assert flat_distribution(rng.lognormal(0, 1, 100)) is None
    stuck = not_approaching([1.0, 0.98, 1.01, 0.99, 1.0, 0.97])
    assert stuck is not None and stuck.numbers["metric"] == "excess"
    assert not_approaching([1.0, 0.8, 0.5, 0.3, 0.2, 0.1]) is None
    assert not_approaching([0.0, 0.0, 0.0]) is None
    assert loss_barrier(0.5, [0.1, 0.2]) is not None and loss_barrier(0.15, [0.1, 0.2]) is None
    for bad in (
        lambda: flat_distribution([1.0]),
        lambda: not_approaching([1.0, float("nan"), 1.0]),
        lambda: loss_barrier(1.0, []),
    ):
        with pytest.raises(UsageError):
            bad()


def test_the_formats_import_nothing_heavy() -> None:
    code = (
        "import sys, expunge.evaluation.evidence, expunge.evaluation as e; e.Evidence; "
        "print([m for m in ('scipy', 'sklearn', 'pandas', 'evidently', 'torch') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    code = "import sys, expunge.evaluation.checks; print([m for m in ('sklearn', 'evidently') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
