"""What does a document say? One request as a value, or a list of faults."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from expunge.errors import UsageError

MAX_LISTED = 20
MAX_FAULTS = 1000


@dataclass(frozen=True)
class Incoming:
    """One request of a file, checked but not yet compared with any data.

    subjects: people, as the record table's subject ids; record_ids: records named one by one. `unmatched` counts
    identities of types that nothing here can be compared with. `place` says where it stood, for messages.
    """

    request_id: str
    subjects: tuple[str, ...] = ()
    record_ids: tuple[str, ...] = ()
    regulation: str | None = None
    received_at: datetime | None = None
    submitted_time: datetime | None = None
    identity_verified: bool = True
    status_callback_urls: tuple[str, ...] = ()
    unmatched: int = 0
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where, in which field, what, and what to do. Never the value of an identity."""

    place: str
    field: str
    what: str
    remedy: str

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.place, self.field) if part)
        return f"{where + ': ' if where else ''}{self.what} {self.remedy}".strip()


class Wrong(Exception):
    """A value that a field cannot have. Becomes a Fault where the place and the field are known."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


class TooMany(Exception):
    """There are so many faults that the rest of the file is not looked at."""


class Faults(list[Fault]):
    """The faults found so far. Raises TooMany at MAX_FAULTS."""

    def append(self, fault: Fault) -> None:
        super().append(fault)
        if len(self) >= MAX_FAULTS:
            raise TooMany

    def extend(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self.append(fault)


class Refused(UsageError):
    """A file that is not taken in. `faults` has all of them, the message the first few."""

    def __init__(self, name: str, faults: tuple[Fault, ...]) -> None:
        self.name, self.faults = name, faults
        count = len(faults)
        listed = [f"  {fault}" for fault in faults[:MAX_LISTED]]
        if count > MAX_LISTED:
            listed.append(f"  and {count - MAX_LISTED} more")
        least = " or more" if count >= MAX_FAULTS else ""
        head = f"{name}: {count}{least} fault{'s' if count > 1 else ''}; nothing of it was taken in."
        super().__init__("\n".join([head, *listed]), "Mend the file and import it again (formats: docs/intake.md).")
