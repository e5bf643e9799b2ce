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

_WEIGHT = {"retrain": 6, "rewind": 3}

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

    The ledger's changes come in every mode.

    Each list is in a random order that is always the same.
    """
    ledger, late, rest = [], [], []
    counts = {mode: Counter(labels) for mode, labels in sorted(census.items())}
    for label in sorted(set().union(*counts.values())):
        stage, what, place = _parts(label)
        modes = [mode for mode in counts if label in counts[mode]]
        if place.startswith("ledger ") and what == "commit":
            ledger += [(mode, label, how, counts[mode][label]) for mode in modes for how in _ways(what, place)]
            continue
        # what every mode does is tried in one of them, mostly in the quickest
        mode = random.Random(label).choice([m for m in modes for _ in range(_WEIGHT.get(m, 1))])
        ways = [(mode, label, how, counts[mode][label]) for how in _ways(what, place)]
        if place in _SEEN_LITTLE:
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


def on_the_way(original: Original) -> Fault:
    """One project killed nine times, at each state that matters once: the quick part of the harness."""
    kills = (
        Kill("start | commit | ledger received to accepted + accepted to quarantined", 2),
        Kill("start | commit | ledger promoted to purged", 1, AFTER),
        Kill("unlearn_records | commit | ledger planned to unlearning", 1, AFTER),
        Kill("promote_model | commit | zenml model_version", 1, AFTER),
        Kill("promote_model | commit | ledger verified to promoted", 1, AFTER),
        Kill("purge_descendants | remove | dvc remote", 2),
        Kill("write_report | write | reports", 1, TORN, 500),
        Kill("certify_erasure | write | certificates", 1, TORN, 3000),
        Kill("close_requests | commit | ledger run is closed", 1),
    )
    requests = requests_for(ORDERINGS[-1], original, random.Random(0))
    return Fault(0, "retrain", ORDERINGS[-1], requests, kills)


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


def points_by_kind(census: Census) -> dict[str, tuple[int, int]]:
    """How many different points of each kind there are, and how many in all."""
    found: dict[str, Counter[str]] = {}
    for labels in census.values():
        for label in labels:
            _, what, place = _parts(label)
            if what == "commit":
                what, place = "commit", place.split()[0]
            kind = f"{what}: {'artifacts' if place.startswith('artifact') else place}"
            found.setdefault(kind, Counter())[label] += 1
    order = sorted(found, key=lambda kind: -sum(found[kind].values()))
    return {kind: (len(found[kind]), sum(found[kind].values())) for kind in order}
