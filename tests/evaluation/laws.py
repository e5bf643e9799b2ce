"""Synthetic outputs with known truth: each record's phi has a law per role, and logits are built to have that phi."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from expunge.evaluation.inputs import EvaluationInputs, PlantedSet


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
