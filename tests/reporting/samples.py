"""Real objects for every page: evidence from the synthetic worlds of tests/evaluation, losses from composed norms."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "evaluation"))

from laws import World

from expunge.evaluation import EvaluationSettings, Evidence, GateDecision, decide, run_checks
from expunge.evaluation.confidence import loss
from expunge.evaluation.evidence import CheckResult, FailureSignature, RoleValue
from expunge.evaluation.roc import roc_details
from expunge.privacy import GradientNorms, PrivacyLosses, privacy_losses
from expunge.reporting.erasure_report import ErasureReportInputs, RequestLine
from expunge.reporting.lineage_page import LineageEdge, LineageNode
from expunge.unlearning.pilots import PilotCandidate, PilotSet
from expunge.unlearning.plan import Candidate, Look, LossCurve, RequestDifficulty, UnlearningPlan, UnlearningRun
from expunge.unlearning.predictor import BudgetPredictor, fit_predictor

EVIL = "<img src=x onerror=\"alert('1')\">'\"&\u202e\u2603"
SETTINGS = EvaluationSettings(gating=("influence",), mia_sample=60, mia_folds=3)
FEW = ["influence", "influence_share", "mia_loss", "utility"]
REQUESTS = {"req-7f3a91": np.arange(60), EVIL: np.array([61]), "req-19c0de": np.array([62, 63])}


@cache
def evidence(kind: str = "oracle") -> Evidence:
    """`kind` as in laws.World; "small": four records in all, "little": nothing was remembered."""
    if kind == "small":
        requests = {EVIL: np.array([0])}
        inputs = World(forget=4, oracles=19).build("oracle", planted=True, requests=requests)
        settings = EvaluationSettings(gating=("influence",))
        return run_checks(inputs, [*FEW, "mia_confidence"], settings=settings, level="oracle-free")
    world = (
        World(shift=0.0, oracles=20, retain=150, held_out=150)
        if kind == "little"
        else World(run_share=0.01, oracles=20, half_kept=10)
    )
    names = {
        "oracle_ids": tuple(f"seed {k}" for k in range(20)),
        "held_back_ids": tuple(f"seed h{k}" for k in range(5)),
    }
    inputs = world.build("oracle" if kind == "little" else kind, planted=True, requests=REQUESTS, **names)
    return run_checks(
        inputs,
        None if kind == "oracle" else FEW,
        settings=SETTINGS,
        warnings=[FailureSignature(name="flat privacy-loss distribution", words=EVIL)],
    )


@cache
def rich() -> Evidence:
    """Every figure that any check may bring: ROC points, loss paths, shadow models, and a check nobody knows."""
    inputs = World(run_share=0.01, oracles=20, half_kept=10).build("oracle", planted=True, requests=REQUESTS)
    found = evidence()

    def scores(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        each = -loss(logits, inputs.targets)
        return each[inputs.forget], each[inputs.held_out]

    roc = roc_details(scores(inputs.original), scores(inputs.unlearned), [scores(z) for z in inputs.oracles])
    at = np.linspace(0, 1, 25)
    hill = at * (1 - at)
    ways = {"original-oracle": 0.3 + 2.1 * hill, "unlearned-oracle": 0.3 + 1.2 * hill, "oracle-oracle": 0.3 + hill}
    paths: dict[str, Any] = {name: losses.tolist() for name, losses in ways.items()}
    paths |= {"points": at.tolist(), "aligned": {name: (0.3 + 0.3 * (v - 0.3)).tolist() for name, v in ways.items()}}
    interval = (0.46, 0.55)
    shadows = {
        "original": RoleValue(value=0.74, interval=(0.70, 0.78)), "unlearned": RoleValue(value=0.52, interval=interval),
        "null": RoleValue(value=0.50, interval=(0.47, 0.53)), "retain": RoleValue(value=0.71, interval=(0.66, 0.76)),
        "retain_original": RoleValue(value=0.72, interval=(0.67, 0.77)),
    }  # fmt: skip
    added = [
        CheckResult(
            name="loss_barrier", title="Loss barrier to models that never saw the records", statistic=0.4,
            values={"original": RoleValue(value=0.52), "unlearned": RoleValue(value=0.31),
                    "oracle": RoleValue(value=0.25, interval=(0.1, 0.4))},
            verdict="pass", words="no higher than between retrained models", details={"paths": paths},
        ),
        CheckResult(
            name="u_lira", title="U-LiRA: an attacker with shadow models of the whole procedure", statistic=0.02,
            interval=(-0.04, 0.05), values=shadows, verdict="no power", words="no power: the interval is too wide",
            details={"models_needed": 96},
        ),
        CheckResult(
            name="mystery", title=f"A check of tomorrow {EVIL}", verdict="no power", words=f"no power: {EVIL}",
            details={"to_do": "ask its author", "strip": {"axis": EVIL, "zone": [0, 1], "words": EVIL, "rows": [
                {"name": "forgotten", "role": "original", "value": 0.7, "interval": [0.6, 0.8]},
                {"name": EVIL, "role": EVIL, "values": [0.2, None, "x", 0.4]}, 7]}},
        ),
    ]  # fmt: skip
    known = [c for c in found.checks if c.name not in {c.name for c in added}]
    known = [c.model_copy(update={"details": {**c.details, "roc": roc}}) if c.name == "mia_loss" else c for c in known]
    return found.model_copy(update={"checks": [*known, *added]})


def decision(found: Evidence, retrained: bool = False) -> GateDecision:
    guarantee: Any = "exact" if retrained else "empirical"
    return decide(found, guarantee=guarantee, retrained=retrained, erased_ids_in_training=0, settings=SETTINGS)


def plan(**change: Any) -> UnlearningPlan:
    candidates = tuple(
        Candidate(
            method="rewind", rewind_step=k, steps=1000 - k, cost=1 - k / 1000, share_spent=k / 1100,
            predicted_left=k / 2000, allowed=k < 600, why=f"{k / 11:.0f}% of the loss was spent before it",
        )
        for k in range(100, 1000, 200)
    )  # fmt: skip
    fields: dict[str, Any] = {
        "model_version": "4",
        "requests": tuple(
            RequestDifficulty(
                request_id=r, records=len(rows), percentile=91.5, loss=3.2e-4,
                spent=tuple(min(1.0, (k / 1000) ** (0.6 + 0.3 * n)) for k in range(0, 1001, 50)),
            )
            for n, (r, rows) in enumerate(REQUESTS.items())
        ),
        "loss_curve": LossCurve(
            steps=tuple(range(0, 1001, 50)), forget=tuple((k / 1000) ** 0.7 for k in range(0, 1001, 50)),
            everyone=tuple((k / 1000) ** 0.35 for k in range(0, 1001, 50)),
        ),
        "forget_records": 64, "retain_records": 3000, "set_kind": "union", "set_loss": None, "method": "rewind",
        "rewind_step": 700, "predicted_steps": 300, "predicted_interval": (210, 480),
        "interval_note": "range over 12 pilot sets with something to forget: indicative, no stated coverage",
        "budget_steps": 780, "retrain_steps": 1000, "predicted_cost": 0.3, "predicted_left": 0.06, "target": 0.1,
        "attempts": (700, 520),
        "reason": "the cheapest that is predicted to meet the target of 10%", "warnings": (EVIL,),
        "alternatives": (
            *candidates,
            Candidate(method="retrain", steps=1000, cost=1.0, predicted_left=0.0, allowed=True, why="exact"),
        ),
    }  # fmt: skip
    return UnlearningPlan(**(fields | change))


def run(**change: Any) -> UnlearningRun:
    looks = tuple(
        Look(steps_spent=s, start_step=1000 - s, excess=e, p_value=p, passed=p > 0.05, words=EVIL)
        for s, e, p in ((300, 0.24, 0.02), (780, 0.06, 0.41))
    )
    fields: dict[str, Any] = {
        "method": "rewind", "rewind_step": 520, "steps_spent": 780, "looks": looks,
        "stop_reason": "evidence: among the look oracles (p = 0.41), excess 0.06", "seeds": {"unlearning": [11, 12]},
        "cost": {"unlearning": 0.78, "looks": 0.2, "everything": 2.7}, "guarantee": "empirical", "seconds": 12.5,
    }  # fmt: skip
    return UnlearningRun(**(fields | change))


def erasure(kind: str = "oracle", **change: Any) -> ErasureReportInputs:
    found = rich() if kind == "rich" else evidence(kind)
    passed = decision(found).passed
    lines = [
        RequestLine(
            request_id=r.request_id, subject_kind="person", records=r.records, difficulty_percentile=91.5,
            predicted_steps=300, spent_steps=780, cost_share=0.78, verdict=r.verdict, words=r.words,
            due_at="2026-12-10",
        )
        for r in found.requests
    ]  # fmt: skip
    fields: dict[str, Any] = {
        "run_id": "run-2026-11-24-a", "created_at": "2026-11-24T03:55:00Z", "project": "digits",
        "model_name": "digit-reader",
        "original_version": "4", "promoted_version": "5" if passed else None, "requests": lines, "plan": plan(),
        "run": run(), "evidence": found, "decision": decision(found), "drift": {"forget loss": 0.1, "snapshot": "abc"},
        "purge": {
            "artifacts": [
                {"kind": "checkpoint", "name": f"step_{k:05d}.safetensors", "action": "destroyed",
                 "content_hash": "ab" * 32, "method": "deleted from cache and remote"} for k in (520, 700, 900)
            ] + [{"kind": "checkpoint", "name": "step_00100.safetensors", "action": "kept",
                  "reason": "before the records", "destroy_by": "2027-01-01"}],
            "rescan": {"at": "2026-11-24T04:00:00Z", "found": [], "words": "312 files read"},
        },
        "versions": {"expunge": "0.1.0", "torch": "2.9.0", "code": "3f2a" * 10},
        "seeds": {"training": 0, "oracles": [1, 2]},
        "limits": [EVIL], "evidently": "../stores/drift_report/0001/evidently.html",
    }  # fmt: skip
    return ErasureReportInputs(**(fields | change))


def norms(n: int = 1500, steps: int = 20) -> GradientNorms:
    rng = np.random.default_rng(0)
    scale = rng.lognormal(-1, 1.2, (n, 1))
    decay = np.exp(-np.linspace(0, 2, steps)) + 0.05
    values = (scale * decay * rng.lognormal(0, 0.2, (n, steps))).astype(np.float32)
    ids = tuple(EVIL if k == 0 else f"digit-{k:05d}" for k in range(n))
    return GradientNorms(values, ids, tuple(range(0, 50 * steps, 50)), {"loss": "cross_entropy", "note": EVIL})


def losses(n: int = 1500, **change: Any) -> PrivacyLosses:
    return privacy_losses(norms(n), 0.1, 5.0, 0.03, 1000, 2.0, change.get("label", "heuristic"), (EVIL, "momentum"))


def flat_losses(value: float = 1.0, n: int = 1) -> PrivacyLosses:
    total = np.full(n, value)
    ids = tuple(f"r{k}" for k in range(n))
    return PrivacyLosses(ids, total, np.outer(total, [0.5, 1.0]), (0, 10), 2.0, "score")


def predictor(measurable: bool = True) -> BudgetPredictor:
    rng = np.random.default_rng(1)
    pilots = []
    for k in range(8):
        rewinds = [
            PilotCandidate(
                method="rewind" if strength is None else "unrolled_rewind", amount=a, strength=strength,
                steps=1000 - a, cost=1 - a / 1000, share_spent=a / 1000,
                excess=float(a / 4000 * (1 + rng.random()) * (1 - (strength or 0))), influence=a / 3000,
            )
            for strength in (None, 0.5) for a in (100, 300, 500, 700, 900)
        ]  # fmt: skip
        tuned = [
            PilotCandidate(method=m, amount=a, steps=a, cost=a / 1000, excess=0.3 - a / 2000)
            for m in ("fine_tune", "noisy_fine_tune")
            for a in (100, 300, 500)
        ]
        pilots.append(
            PilotSet(
                name=EVIL if k == 0 else f"pilot {k}", size=64, mean_loss=1e-4 * 3**k,
                energy=1.0 + k if measurable else 0.0, candidates=(*rewinds, *tuned),
            )
        )  # fmt: skip
    return fit_predictor(pilots, 0.1, 1000)


def manifest(destroyed: int = 5, s: float | None = 4.5, count: int = 12) -> dict[str, Any]:
    def point(step: int, gone: bool) -> dict[str, Any]:
        return {"step": step, "lr": 0.1 / (1 + step / 300), "s": s, "q": 0.03, "sha256": "0f" * 32,
                "file": f"{step}.safetensors", "size": 123456, "destroyed": gone}  # fmt: skip

    return {
        "format": "expunge.trajectory/1",
        "run": {"seed": 0, "device": "cpu", "note": EVIL, "config": {"steps": 1000, "lr": 0.1, "layers": [64, 32]}},
        "record_ids": [EVIL, "b"],
        "checkpoints": [point(80 * k, k >= count - destroyed) for k in range(count)],
        "final": point(1000, False),
    }


def lineage(checkpoints: int = 20) -> tuple[list[LineageNode], list[LineageEdge]]:
    digest = {"sha256": "c0ffee" * 10 + "beef", "made": "2026-11-01"}
    nodes = [
        LineageNode("request", "request", "req-7f3a91", "present", {"received": "2026-11-02"}),
        LineageNode("data1", "data version", "digits@9a1b", "kept", {**digest, "why": "other people's records"}),
        LineageNode("data2", "data version", "digits@77fe, without the records", "present", digest),
        LineageNode("run1", "training run", EVIL, "present", {"note": EVIL}),
        LineageNode("model4", "model version", "digit-reader 4", "destroyed", digest),
        LineageNode("model5", "model version", "digit-reader 5", "present", digest),
        LineageNode("scores", "privacy losses", "scores of version 4", "destroyed", digest),
        LineageNode("cert", "certificate", "certificate-0001.json", "present", digest),
    ]
    edges = [
        LineageEdge("request", "data2", "removed"), LineageEdge("data1", "data2"),
        LineageEdge("data1", "run1", "trained"),
        LineageEdge("scores", "model5", "planned by"), LineageEdge("data2", "model5", "trained"),
        LineageEdge("model5", "cert"), LineageEdge("request", "cert"), LineageEdge("gone", "cert"),
    ]  # fmt: skip
    for k in range(checkpoints):
        state: Any = "kept" if k < 3 else "destroyed"
        nodes.append(LineageNode(f"c{k}", "checkpoint", f"step {50 * k:05d}", state, digest))
        edges += [LineageEdge("run1", f"c{k}"), LineageEdge(f"c{k}", "scores")]
    edges += [LineageEdge(f"c{checkpoints - 1}", "model4")] if checkpoints else []
    edges += [LineageEdge("c2", "model5", "rewound")] if checkpoints > 2 else []
    return nodes, edges


EVENTS = [
    ("2026-11-02T09:00:00Z", "request received", "import"),
    ("2026-11-24T03:55:00Z", f"model promoted {EVIL}", "expunge"),
]
