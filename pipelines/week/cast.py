"""Whose records do the week's requests name? Chosen by fixed rules from the model that serves on its first day."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from expunge.data import RecordTable
from expunge.privacy.scores import PrivacyLosses

PERSONS = 16
HARD_SHARE = 0.05
HARD_RECORDS = 20


@dataclass(frozen=True)
class Cast:
    """persons: people with at least one training record and none among the hardest, by name.

    hard: two contributors' record ids, the hardest of all. held_out: a record that no model was trained on. spare:
    records of nobody above.
    """

    persons: tuple[str, ...]
    hard: tuple[tuple[str, ...], tuple[str, ...]]
    held_out: str
    spare: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Cast:
        return cls(
            tuple(raw["persons"]),
            (tuple(raw["hard"][0]), tuple(raw["hard"][1])),
            raw["held_out"],
            tuple(raw["spare"]),
        )


def choose(losses: PrivacyLosses, trained: RecordTable, held_out: RecordTable) -> Cast:
    """The cast of a week on these records."""
    hardest = [record for record, _ in losses.hardest(max(2 * HARD_RECORDS, int(len(losses) * HARD_SHARE)))]
    hard = (tuple(sorted(hardest[:HARD_RECORDS])), tuple(sorted(hardest[HARD_RECORDS : 2 * HARD_RECORDS])))
    owners = dict(zip(trained.record_ids, trained.subject_ids, strict=True))
    taken = {owners[record] for records in hard for record in records}
    outside = set(held_out.subject_ids)
    persons = tuple(sorted(set(owners.values()) - taken - outside)[:PERSONS])
    spare = tuple(r for r in trained.record_ids if owners[r] not in taken and owners[r] not in persons)
    mixed = set(owners.values())
    unseen = next(
        record for record, owner in zip(held_out.record_ids, held_out.subject_ids, strict=True) if owner not in mixed
    )
    return Cast(persons, hard, unseen, spare[:2])
