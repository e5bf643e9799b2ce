"""What happens in the week of 2 March 2026, a controller in Berlin with a help desk that forwards late?

25 requests under three regulations; two runs are killed, one night is missed, one gate refuses. Every line is a real
`expunge` command at a simulated moment. A night runs if something is due within 7 days, and then answers all that are
open: so every night answers what the day before brought, and the last one finds nothing to do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pipelines.week.cast import Cast

BERLIN = ZoneInfo("Europe/Berlin")


@dataclass(frozen=True)
class Scene:
    """One command at one moment. `file`: name and text of a document that it reads.

    kill_at: SIGKILL once a request is in this state. missed: the machine is off; nothing is called.
    """

    at: datetime
    words: str
    command: tuple[str, ...] = ()
    file: tuple[str, str] | None = None
    kill_at: str = ""
    missed: bool = False


@dataclass(frozen=True)
class Story:
    """The scenes in order; `ends`: status and outcome of every request at the end; `late`: those answered late."""

    scenes: tuple[Scene, ...]
    ends: dict[str, tuple[str, str]] = field(default_factory=dict)
    late: frozenset[str] = frozenset()


def tell(cast: Cast) -> Story:
    """The week of this cast."""
    p = cast.persons
    backlog = _csv(
        [
            ("week-01", p[0], (), "gdpr", "2026-02-02"),  # due Monday: so Monday night answers all of these
            ("week-02", p[1], (), "gdpr", "2026-02-05"),  # due Thursday
            ("week-03", p[2], (), "uk_gdpr", "2026-01-31"),  # 28 February is a Saturday: due Monday
            ("week-04", p[3], (), "ccpa", "2026-01-20"),  # due Friday
            ("week-05", "nobody-we-know", (), "gdpr", "2026-02-20"),
            ("week-06", "", (*cast.spare, "no-such-record"), "gdpr", "2026-02-10"),  # one of three is unknown
            ("week-07", p[0], (), "gdpr", "2026-02-11"),  # asks what week-01 asked
        ]
    )
    monday = _lines(
        [
            ("week-08", p[4], (), "gdpr", "2026-02-03"),  # due Tuesday, and Tuesday's night is missed
            ("week-09", "", cast.hard[0], "gdpr", "2026-02-06"),
            ("week-10", "", cast.hard[1], "ccpa", "2026-01-24"),
            ("week-11", p[5], (), "gdpr", "2026-02-09"),
            ("week-12", "", (cast.held_out,), "gdpr", "2026-02-12"),  # no model was trained on it: answered at once
            ("week-13", p[6], (), "gdpr", "2026-02-05"),  # is it really them? The clock stands still till Thursday
            ("week-14", "also-unknown", (), "uk_gdpr", "2026-02-27"),
        ]
    )
    wednesday = _opendsr(
        [
            (_dsr(15), p[7], "gdpr", "2026-02-10"),  # due next Tuesday: so there is a run on Thursday night
            (_dsr(16), p[8], "ccpa", "2026-01-26"),
            (_dsr(17), p[9], "gdpr", "2026-02-12"),  # in a lawsuit with the controller
            (_dsr(18), p[10], "gdpr", "2026-02-12"),  # takes it back
            (_dsr(19), p[1], "gdpr", "2026-03-02"),  # asks what week-02 asked
            (_dsr(20), p[11], "gdpr", "2026-02-16"),  # never proves who they are
        ]
    )
    thursday = _csv(
        [
            ("week-21", p[12], (), "uk_gdpr", "2026-02-13"),
            ("week-22", p[13], (), "gdpr", "2026-02-11"),
            ("week-23", p[14], (), "gdpr", "2026-02-09"),  # needs longer: extended
            ("week-24", p[15], (), "ccpa", "2026-02-27"),  # due in April, and taken along on Friday night
            ("week-25", p[5], (), "gdpr", "2026-03-04"),  # was erased on Wednesday night
        ]
    )
    week = ("run-due", "--within", "7d")
    scenes = (
        Scene(_at(1, 9), "Sunday: the help desk sends what lay on its pile (CSV)", ("request", "import", "backlog.csv"),
              ("backlog.csv", backlog)),
        Scene(_at(1, 9, 30), "confirms receipt to the Californian", ("request", "acknowledge", "week-04")),
        Scene(_at(2, 2), "Monday night: the power goes while the model unlearns", week, kill_at="unlearning"),
        Scene(_at(2, 3), "an hour later the scheduler calls again", week),
        Scene(_at(2, 10), "new requests (JSON lines)", ("request", "import", "monday.jsonl"), ("monday.jsonl", monday)),
        Scene(_at(2, 10, 5), "somebody sends Sunday's file again", ("request", "import", "backlog.csv")),
        Scene(_at(2, 11), "doubts who asks", ("request", "hold", "week-13")),
        Scene(_at(3, 2), "Tuesday night: the machine is off", missed=True),
        Scene(_at(4, 2), "Wednesday night: an operator insists on fine-tuning; the gate refuses it, retraining follows",
              (*week, "--set", "planning.method=fine_tune")),
        Scene(_at(4, 12), "from another controller's system (OpenDSR)", ("request", "import", "wednesday.json"),
              ("wednesday.json", wednesday)),
        Scene(_at(4, 12, 30), "refuses one: legal claims", ("request", "refuse", _dsr(17), "--ground", "e")),
        Scene(_at(4, 13), "doubts another", ("request", "hold", _dsr(20))),
        Scene(_at(4, 16), "one takes it back", ("request", "cancel", _dsr(18))),
        Scene(_at(5, 2), "Thursday night: killed after the promotion, before anything is destroyed", week,
              kill_at="promoted"),
        Scene(_at(5, 3), "an hour later the scheduler calls again", week),
        Scene(_at(5, 9), "the person proved who they are", ("request", "confirm", "week-13")),
        Scene(_at(5, 15), "new requests (CSV)", ("request", "import", "thursday.csv"), ("thursday.csv", thursday)),
        Scene(_at(5, 15, 30), "tells one person that theirs needs longer",
              ("request", "extend", "week-23", "--reason", "complex: records in several systems")),
        Scene(_at(5, 17), "what is left, and will anybody be late?", ("queue",)),
        Scene(_at(6, 2), "Friday night: one is due on Monday, so all are answered", week),
        Scene(_at(7, 2), "Saturday night: nothing came in", week),
        Scene(_at(7, 12), "refuses one: identity not confirmed", ("request", "refuse", _dsr(20), "--ground", "12(6)")),
        Scene(_at(8, 2), "Sunday night: everything that is open, which is nothing any more", ("run-due",)),
        Scene(_at(8, 3), "and once more: nothing is done twice", ("run-due",)),
        Scene(_at(8, 9), "Sunday: the week in numbers", ("statistics",)),
        Scene(_at(8, 9, 5), "an auditor checks everything", ("verify", "--all")),
    )  # fmt: skip
    ends = {f"week-{n:02}": ("closed", "erased") for n in (1, 2, 3, 4, 6, 8, 9, 10, 11, 13, 21, 22, 23, 24)}
    ends |= {_dsr(15): ("closed", "erased"), _dsr(16): ("closed", "erased")}
    ends |= {
        "week-05": ("not_found", "not_found"),
        "week-07": ("duplicate", "duplicate"),
        "week-12": ("closed", "not_in_training"),
        "week-14": ("not_found", "not_found"),
        _dsr(17): ("refused", "refused"),
        _dsr(18): ("cancelled", "cancelled"),
        _dsr(19): ("duplicate", "already_erased"),
        _dsr(20): ("refused", "refused"),
        "week-25": ("duplicate", "already_erased"),
    }
    return Story(scenes, dict(sorted(ends.items())), frozenset({"week-08"}))


def _dsr(number: int) -> str:
    """OpenDSR asks for UUIDs of version 4."""
    return f"00000000-0000-4000-8000-0000000000{number}"


def _at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=BERLIN)


def _received(day: str) -> str:
    return datetime.fromisoformat(f"{day}T15:04:00").replace(tzinfo=BERLIN).isoformat()


Asked = tuple[str, str, tuple[str, ...], str, str]


def _csv(asked: Iterable[Asked]) -> str:
    rows = ["request_id,subject_id,record_ids,regulation,received_at"]
    rows += [f"{i},{person},{';'.join(records)},{law},{_received(day)}" for i, person, records, law, day in asked]
    return "\n".join(rows) + "\n"


def _lines(asked: Iterable[Asked]) -> str:
    lines = []
    for request_id, person, records, regulation, day in asked:
        named: dict[str, Any] = {"subject_id": person} if person else {"record_ids": list(records)}
        lines.append(
            json.dumps({"request_id": request_id, **named, "regulation": regulation, "received_at": _received(day)})
        )
    return "\n".join(lines) + "\n"


def _opendsr(asked: Iterable[tuple[str, str, str, str]]) -> str:
    documents = [
        {
            "subject_request_id": request_id,
            "subject_request_type": "erasure",
            "regulation": regulation,
            "submitted_time": _received(day),
            "received_time": _received(day),
            "subject_identities": [
                {"identity_type": "controller_customer_id", "identity_value": person, "identity_format": "raw"}
            ],
        }
        for request_id, person, regulation, day in asked
    ]
    return json.dumps(documents, indent=2) + "\n"
