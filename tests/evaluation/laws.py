"""Synthetic outputs with known truth: each record's phi has a law per role, and logits are built to have that phi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from expunge.evaluation.inputs import EvaluationInputs, PlantedSet
from expunge.evaluation.pool_distance import PoolDistances
from expunge.evaluation.pool_residuals import PoolRows
from expunge.evaluation.shadows import PoolOutputs


def logits_of(phi: np.ndarray, targets: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Logits [..., n, K] whose logit-scaled confidence is phi [..., n]; the wrong classes are random."""
    others = rng.normal(0, 1, (*phi.shape, classes))
    own = np.arange(classes) == targets[:, None]
    rest = np.where(own, -np.inf, others)
    others = others - np.logaddexp.reduce(rest, axis=-1)[..., None]
    return np.where(own, phi[..., None], others)


@dataclass
class World:
    """Records with an oracle law N(mean, sd), a shared component per run, and a shift where a model trained on them."""

    forget: int = 64
    retain: int = 300
    held_out: int = 300
    classes: int = 4
    shift: float = 2.5
    oracles: int = 40
    held_back: int = 5
    half_kept: int = 10
    run_share: float = 0.05
    hardness: float = -1.0
    seed: int = 0

    def build(self, unlearned: str = "oracle", planted: bool = False, **change: Any) -> EvaluationInputs:
        rng = np.random.default_rng(self.seed)
        n = self.forget + self.retain + self.held_out
        targets = rng.integers(0, self.classes, n)
        group = np.repeat([0, 1, 2], [self.forget, self.retain, self.held_out])
        mean = rng.normal(2.0, 1.5, n)
        mean[group == 0] = rng.normal(self.hardness, 1.0, self.forget)
        # Hard records among the held-out ones too, so that matching has partners.
        hard = np.flatnonzero(group == 2)[: self.held_out // 2]
        mean[hard] = rng.normal(self.hardness, 1.0, hard.size)
        sd = np.exp(rng.normal(-0.3, 0.3, n))
        memory = self.shift * sd * np.abs(rng.normal(1, 0.3, n))
        trained = np.where(group == 1, memory, 0.0)

        def run(count: int, remembered: np.ndarray | float) -> np.ndarray:
            noise = np.sqrt(1 - self.run_share) * rng.normal(size=(count, n))
            noise += np.sqrt(self.run_share) * rng.normal(size=(count, 1))
            return mean + trained + remembered * memory * (group == 0) + sd * noise

        halves = np.zeros((self.half_kept, n))
        for row in halves:
            row[rng.permutation(self.forget)[: self.forget // 2]] = 1.0
        original = run(1, 1.0)[0]
        truth = {
            "oracle": lambda: run(1, 0.0)[0],
            "untouched": lambda: original,
            "partly": lambda: 0.3 * original + 0.7 * run(1, 0.0)[0],
            "over": lambda: run(1, -1.0)[0],
            "half": lambda: run(1, np.where(rng.permutation(n) % 2, 1.0, 0.0))[0],
        }
        logits = {
            "original": logits_of(original, targets, self.classes, rng),
            "oracles": logits_of(run(self.oracles, 0.0), targets, self.classes, rng),
            "held_back": logits_of(run(self.held_back, 0.0), targets, self.classes, rng),
            "half_kept": logits_of(run(self.half_kept, halves), targets, self.classes, rng),
        }
        if unlearned == "untouched":
            model = logits["original"]
        elif unlearned == "constant":
            model = np.tile(rng.normal(size=self.classes), (n, 1))
        else:
            model = logits_of(truth[unlearned](), targets, self.classes, rng)
        fields: dict[str, Any] = {
            "record_ids": tuple(f"r{k:05d}" for k in range(n)),
            "targets": targets,
            "forget": np.flatnonzero(group == 0),
            "retain": np.flatnonzero(group == 1),
            "held_out": np.flatnonzero(group == 2),
            "unlearned": model,
            "difficulty": mean + 0.3 * sd * rng.normal(size=n),
            "planted": self.plant(rng) if planted else None,
            **logits,
        }
        return EvaluationInputs(**(fields | change))

    def plant(self, rng: np.random.Generator, shift: float = 4.0) -> PlantedSet:
        targets = rng.integers(0, self.classes, self.forget)
        mean = rng.normal(self.hardness, 1.0, self.forget)

        def run(count: int, memory: float) -> np.ndarray:
            return logits_of(mean + memory + 0.7 * rng.normal(size=(count, self.forget)), targets, self.classes, rng)

        return PlantedSet(
            targets=targets,
            original=run(1, shift)[0],
            oracles=run(self.oracles, 0.0),
            held_back=run(3, 0.0),
            difficulty=mean,
        )


@dataclass
class PoolWorld:
    """No oracles: pool models that each left out half of the training records, and whose law is known.

    A model that saw all data has phi = mean + gain of the record + factors of the run + sd x noise, and memory where it
    trained on a record and did not forget it. A pool model has ``offset`` + ``slope`` x mean instead of the mean, no
    gain, and ``noise`` times the standard deviation. ``bend`` bends the line, which the check cannot take out.
    """

    forget: int = 60
    retain: int = 60
    held_out: int = 120
    pool: int = 64
    half_kept: int = 0
    classes: int = 3
    memory: float = 3.0
    offset: float = 0.0
    slope: float = 1.0
    gain: float = 0.0
    noise: float = 1.0
    bend: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        rng = self.rng = np.random.default_rng(self.seed)
        n = self.forget + self.retain + self.held_out
        self.group = np.repeat([0, 1, 2], [self.forget, self.retain, self.held_out])
        self.targets = rng.integers(0, self.classes, n)
        self.mean = np.where(self.group == 0, rng.normal(-1.0, 1.0, n), rng.normal(0.0, 2.0, n))
        self.sd = np.exp(rng.normal(-0.3, 0.3, n))
        self.memories = self.memory * self.sd * np.abs(rng.normal(1, 0.5, n))
        self.loadings = 0.5 * self.sd * rng.normal(size=(2, n))
        self.difficulty = -self.mean - 0.3 * self.sd * rng.normal(size=n)
        self.gains = self.gain * self.sd * rng.normal(size=n)
        self.trained = (rng.random((self.pool, n)).argsort(axis=0) < self.pool // 2) & (self.group < 2)

    def models(self, count: int, trained: np.ndarray, pool: bool = False) -> np.ndarray:
        """phi [count, n] of models that remember where ``trained``, bool [count, n]."""
        noise = self.rng.normal(size=(count, self.mean.size)) * self.sd
        noise += self.rng.normal(size=(count, 2)) @ self.loadings
        if pool:
            return self.offset + self.slope * self.mean + trained * self.memories + self.noise * noise
        bent = self.bend * np.maximum(self.mean, 0.0) ** 2
        return self.mean + bent + self.gains + trained * self.memories + noise

    def kept(self, count: int, share: float) -> np.ndarray:
        """Membership [count, n] of models trained on all retain records and a share of the forget records."""
        each = np.tile(self.group == 1, (count, 1))
        for row in each:
            row[self.rng.permutation(self.forget)[: round(share * self.forget)]] = True
        return each

    def phi(self) -> tuple[np.ndarray, np.ndarray]:
        """Pool [P, n] and original [n]."""
        return self.models(self.pool, self.trained, pool=True), self.models(1, self.kept(1, 1.0))[0]

    def candidate(self, kind: str, original: np.ndarray) -> np.ndarray:
        """phi [n]: "oracle", "untouched", "over", or the share of forget records that were kept, as a number."""
        if kind == "untouched":
            return original
        if kind == "continued":
            fresh = self.models(1, self.kept(1, 0.0))[0]
            expected = self.mean + self.gains + (self.group == 1) * self.memories
            return expected + 0.8 * (original - expected - (self.group == 0) * self.memories) + 0.6 * (fresh - expected)
        if kind == "over":
            return self.models(1, self.kept(1, 0.0) - 1.0 * (self.group == 0))[0]
        return self.models(1, self.kept(1, 0.0 if kind == "oracle" else float(kind)))[0]

    def rows(self, part: int) -> np.ndarray:
        """Row numbers: 0 forget, 1 retain, 2 held out."""
        return np.flatnonzero(self.group == part)

    def distances(self, pool: np.ndarray, original: np.ndarray) -> PoolDistances:
        """The pool's distances on the forget records, without the detour over logits."""
        rows = PoolRows.of(self.rows(0), self.rows(0), self.rows(2), self.targets, self.difficulty, 0)
        return PoolDistances(pool, ~self.trained, original, rows)

    def build(self, unlearned: str = "oracle", **change: Any) -> EvaluationInputs:
        pool, original = self.phi()
        n = self.mean.size

        def logits(phi: np.ndarray) -> np.ndarray:
            return logits_of(phi, self.targets, self.classes, self.rng)

        before = logits(original)
        model = before if unlearned == "untouched" else logits(self.candidate(unlearned, original))
        empty = np.empty((0, n, self.classes))
        fields: dict[str, Any] = {
            "record_ids": tuple(f"r{k:05d}" for k in range(n)),
            "targets": self.targets,
            "forget": self.rows(0),
            "retain": self.rows(1),
            "held_out": self.rows(2),
            "original": before,
            "unlearned": model,
            "oracles": empty,
            "held_back": empty,
            "half_kept": logits(self.models(self.half_kept, self.kept(self.half_kept, 0.5))),
            "difficulty": self.difficulty,
            "pool": PoolOutputs(logits(pool), self.targets, self.trained, 0.5),
        }
        return EvaluationInputs(**(fields | change))
