"""How much of the chain was checked, and when? All of a short one, the new end of a long one.

To recompute a million hashes takes longer than anybody waits for `expunge status`. So a full check (`expunge doctor`)
writes down how far it came, beside the ledger: the seq and hash of the last good event. A quick check goes on from
there, and its report says what it checked itself and what was checked before. The note also shows what no chain
shows: that its end was cut off. Whoever can write the ledger can write the note: the full check does not rest on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from expunge.compliance.chain import ChainCheck, Head
from expunge.compliance.ledger import Ledger
from expunge.compliance.moments import to_text
from expunge.compliance.whole_file import write_whole

QUICK_EVENTS = 10_000
"""At most so many events are recomputed in a quick check."""


@dataclass(frozen=True)
class ChainReport:
    """What is known of the chain.

    `first`..`last` were recomputed now, those before `first` at `before_at` (None: never, as far as is known here);
    `head` is the seq of the last event. `broken` says what is wrong, "" if nothing was found.
    """

    broken: str
    first: int
    last: int
    head: int
    before_at: str | None

    @property
    def whole(self) -> bool:
        """Whether every event was checked, now or before."""
        return not self.broken and self.last == self.head and (self.first <= 1 or self.before_at is not None)

    @property
    def state(self) -> str:
        """intact, intact in part, or what is broken."""
        return self.broken or ("intact" if self.whole else "intact in part")

    @property
    def words(self) -> str:
        """Which events were checked, and when."""
        if self.first <= 1 and self.last == self.head:
            return f"all {self.head} events, now"
        now = f"events {self.first} to {self.last} of {self.head} now"
        if self.before_at is not None:
            now += f", those before on {self.before_at[:16]}"
        return now if self.whole else f"{now}; all of them: expunge doctor"


def check_all(ledger: Ledger, note: Path, now: datetime) -> ChainCheck:
    """Recompute every event, and write down how far that came, unless the note knows an event that is gone or another
    now: `check_quickly` must go on saying so.
    """
    head, known = ledger.head(), _read(note, ledger.ledger_id)
    found = ledger.verify_chain()
    if found.ok and (known is None or _holds(ledger, head, known)):
        _write(note, ledger.ledger_id, head, now)
    return found


def check_quickly(ledger: Ledger, note: Path, now: datetime, events: int = QUICK_EVENTS) -> ChainReport:
    """Recompute at most `events` events: all of a short chain; of a long one those after the last check, or, where
    there was none, the last ones.
    """
    head, known = ledger.head(), _read(note, ledger.ledger_id)
    before_at = known["at"] if known else None
    if known and known["seq"] > head.seq:
        broken = (
            f"SHORTER than it was: it ends at event {head.seq}, and event {known['seq']} was there on {before_at} "
            f"({note.name}; remove that file if an older ledger is taken on purpose)"
        )
        return ChainReport(broken, 1, 0, head.seq, before_at)
    if known and ledger.head(at=known["seq"]).hash != known["hash"]:
        broken = (
            f"REWRITTEN: event {known['seq']} is not the one that was there on {before_at} "
            f"({note.name}; remove that file if another past is taken on purpose)"
        )
        return ChainReport(broken, 1, 0, head.seq, before_at)
    if head.seq <= events:
        found = check_all(ledger, note, now)
        return ChainReport(_broken(found), 1, head.seq, head.seq, None)
    if known is None:
        start = ledger.head(at=head.seq - events)
        found = ledger.verify_chain(after=start)
        return ChainReport(_broken(found), start.seq + 1, head.seq, head.seq, None)
    last = min(head.seq, known["seq"] + events)
    found = ledger.verify_chain(after=Head(known["seq"], known["hash"]), upto=last)
    if found.ok:
        _write(note, ledger.ledger_id, Head(last, found.head_hash), now)
    return ChainReport(_broken(found), known["seq"] + 1, last, head.seq, before_at)


def _holds(ledger: Ledger, head: Head, known: Mapping[str, Any]) -> bool:
    """Whether the chain still has the event that was written down."""
    return known["seq"] <= head.seq and ledger.head(at=known["seq"]).hash == known["hash"]


def _broken(found: ChainCheck) -> str:
    return "" if found.ok else f"BROKEN at event {found.first_bad_seq}"


def _read(note: Path, ledger_id: str) -> dict[str, Any] | None:
    """The note on this ledger; one that cannot be read is none: then more is checked, not less."""
    try:
        found = json.loads(note.read_text())
        usable = isinstance(found, Mapping) and found["ledger_id"] == ledger_id and int(found["seq"]) > 0
        return {"seq": int(found["seq"]), "hash": str(found["hash"]), "at": str(found["at"])} if usable else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(note: Path, ledger_id: str, head: Head, now: datetime) -> None:
    content = {"ledger_id": ledger_id, "seq": head.seq, "hash": head.hash, "at": to_text(now)}
    write_whole(note, json.dumps(content).encode())
