"""Which fault is run number n? Drawn from a seed and a census of all points, every kind of point in its turn."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fault_harness.checks import Original
from fault_harness.house import RECORDS
from fault_harness.points import AFTER, BEFORE, TORN, Kill

ORDERINGS = ("one easy", "one hard", "easy and hard", "three", "with one never trained on")
_LATE = ("promote_model", "purge_descendants", "write_report", "certify_erasure", "close_requests", "attach_to_model")
_SEEN_LITTLE = ("locks", "zenml logs", "dvc locks", "dvc site cache", "ledger file", "zenml database")

Census = Mapping[str, Sequence[str]]
"""Mode -> the label of every point of a whole run, in order."""


@dataclass(frozen=True)
class Fault:
    """One run of the harness: requests, what is killed and where, and what happens before the restart."""

    seed: int
    mode: str
    ordering: str
    requests: dict[str, list[str]]
    kills: tuple[Kill, ...]
    added: dict[str, list[str]] = field(default_factory=dict)
    cancelled: str = ""
    together: bool = False

    def to_dict(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "mode": self.mode,
            "ordering": self.ordering,
            "kills": [kill.to_dict() for kill in self.kills],
            "between": [*("added" for _ in self.added), *("cancelled" for _ in [self.cancelled] if self.cancelled)],
            "together": self.together,
        }


def requests_for(ordering: str, original: Original, rng: random.Random) -> dict[str, list[str]]:
    """Record ids by request id; no record is asked for twice."""
    trained = list(original.records)
    held_out = sorted({f"rec-{i:04d}" for i in range(RECORDS)} - set(trained))
    rng.shuffle(trained)
    rng.shuffle(held_out)
    easy = {"easy": [trained.pop()]}
    hard = {"hard": [trained.pop() for _ in range(5)] + [held_out.pop()]}
    if ordering == "one easy":
        return easy
    if ordering == "one hard":
        return hard
    if ordering == "easy and hard":
        return {**easy, **hard}
    if ordering == "three":
        return {**hard, **easy, "third": [trained.pop(), trained.pop()]}
    return {**easy, "untrained": [held_out.pop(), held_out.pop()], **hard}


def targets(census: Census) -> tuple[list[tuple[str, str, str, int]], ...]:
    """(mode, label, how, occurrences) of everything that can be killed: ledger changes; the end of a run; the rest.

    Each list is in a random order that is always the same.
    """
    ledger, late, rest = [], [], []
    for mode, labels in sorted(census.items()):
        for label, count in sorted(Counter(labels).items()):
            stage, what, place = _parts(label)
            ways = [(mode, label, how, count) for how in _ways(what, place)]
            if place.startswith("ledger ") and what == "commit":
                ledger += ways
            elif place in _SEEN_LITTLE:
                rest += ways[:1]
            elif any(name in stage for name in _LATE):
                late += ways
            else:
                rest += ways
    for number, group in enumerate((ledger, late, rest)):
        random.Random(number).shuffle(group)
    return ledger, late, rest


def draw(seed: int, census: Census, original: Original) -> Fault:
    """The fault of this seed. The first seeds go through every target once, three kinds in turn."""
    rng = random.Random(f"fault {seed}")
    groups = targets(census)
    group = groups[seed % 3]
    mode, label, how, count = group[(seed // 3) % len(group)]
    # a transition that only a request without trained records makes needs one
    ordering = ORDERINGS[-1] if label.startswith("start") else rng.choice(ORDERINGS)
    requests = requests_for(ordering, original, rng)
    kills = [Kill(label, rng.randint(1, count), how, _limit(how, label, rng))]
    while len(kills) < 3 and rng.random() < (0.25, 0.35)[len(kills) - 1]:
        _, again, way, often = rng.choice([t for t in groups[rng.randrange(3)] if t[0] == mode])
        kills.append(Kill(again, rng.randint(1, often), way, _limit(way, again, rng)))
    free = [r for r in original.records if r not in {i for ids in requests.values() for i in ids}]
    added = {"later": rng.sample(free, 2)} if rng.random() < 0.15 else {}
    cancelled = rng.choice(sorted(requests)) if rng.random() < 0.12 else ""
    return Fault(seed, mode, ordering, requests, tuple(kills), added, cancelled, rng.random() < 0.12)


def _parts(label: str) -> tuple[str, str, str]:
    stage, what, place = label.split(" | ", 2)
    return stage, what, place


def _ways(what: str, place: str) -> tuple[str, ...]:
    if what == "commit":
        return (BEFORE, AFTER, TORN) if place.startswith("ledger ") else (BEFORE, AFTER)
    return (BEFORE, TORN, TORN) if what == "write" else (BEFORE,)


def _limit(how: str, label: str, rng: random.Random) -> int:
    """How many bytes of the next file are let through: none, some of a small one, some of a page or more."""
    return rng.choice((0, 1, 40, 300, 2000, 10000)) if how == TORN else 0
