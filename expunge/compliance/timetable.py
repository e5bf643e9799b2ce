"""When is it time? A cron expression in a named time zone, with what daylight saving does to it.

Five fields, the day of the month or the day of the week where both are given, as in cron. A time that the clocks skip
is taken when they have moved on; one that comes twice is taken the first time, unless every hour is meant. Moments are
aware and in UTC.
"""

from __future__ import annotations

import re
from calendar import day_abbr, month_abbr
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import islice
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from expunge.compliance.deadlines import local_date
from expunge.compliance.moments import utc_now
from expunge.errors import ExpungeError, UsageError

MOST = 1000
"""No more moments than this are told apart when looking back."""
GRACE = timedelta(minutes=90)
"""A turn taken so soon after its time is not a missed one: cron looks once an hour."""
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_FIELD = re.compile(r"(\*|\w+(-\w+)?)(/\d+)?(,(\*|\w+(-\w+)?)(/\d+)?)*")
_NAMES = {name.lower() for name in (*month_abbr, *day_abbr) if name}
_SHIFT = timedelta(hours=3)  # no zone moves its clocks by more


@dataclass(frozen=True)
class Turn:
    """A moment whose time has come. `missed`: moments that nothing was done at, this one included if it is late."""

    expected: datetime
    missed: int
    more: bool = False


@dataclass(frozen=True)
class Timetable:
    """A cron expression and the IANA time zone that it is meant in. Raises UsageError for what is neither."""

    cron: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        try:
            local_date(utc_now(), self.timezone)
        except ExpungeError as error:
            raise UsageError(error.message, error.hint or "Name one like Europe/Berlin, or UTC.") from error
        expression = _ALIASES.get(self.cron.strip().lower(), self.cron.strip())
        fields = expression.split()
        hint = 'Write five fields: minute, hour, day, month, day of week. "0 2 * * *" is every night at 2.'
        if len(fields) != 5:
            raise UsageError(f"The cron expression {self.cron!r} has {len(fields)} fields.", hint)
        for field in fields:
            words = re.findall(r"[^\W\d]+", field.lower())
            if not _FIELD.fullmatch(field) or not set(words) <= _NAMES:
                raise UsageError(f"{field!r} in the cron expression {self.cron!r} cannot be read.", hint)
        try:
            croniter(expression, datetime(2026, 1, 1)).get_next(datetime)
        except CroniterBadDateError as error:
            raise UsageError(f"The cron expression {self.cron!r} names a day that never comes.", hint) from error
        except ValueError as error:
            raise UsageError(f"The cron expression {self.cron!r} cannot be read: {error}.", hint) from error
        object.__setattr__(self, "cron", expression)

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @cached_property
    def fields(self) -> tuple[tuple[int, ...] | None, ...]:
        """Values of minute, hour, day, month and day of week (0: Sunday); None for any."""
        return tuple(
            None if values == ["*"] else tuple(sorted(int(v) for v in values))
            for values in croniter.expand(self.cron)[0]
        )

    @property
    def hourly(self) -> bool:
        """Whether every hour of a day is meant."""
        return self.fields[1] is None

    def local(self, moment: datetime) -> str:
        """The moment as people there read it."""
        return f"{moment.astimezone(self.zone):%a %Y-%m-%d %H:%M %Z}"

    def following(self, after: datetime, count: int) -> list[datetime]:
        """The next so many moments after this one."""
        found: set[datetime] = set()
        for naive in self._forward(self._naive(after) - _SHIFT) if count > 0 else ():
            found |= {m for m in self._moments(naive) if m > after}
            if len(found) >= count and naive > self._naive(sorted(found)[count - 1]) + _SHIFT:
                break
        return sorted(found)[:count]

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        """Moments after `after`, up to and with `until`: the last MOST of them."""
        back = croniter(self.cron, self._naive(until) + _SHIFT, ret_type=datetime)
        start = self._naive(after) - _SHIFT
        found: set[datetime] = set()
        try:
            for _ in range(MOST + 400):
                naive = back.get_prev(datetime)
                if naive < start:
                    break
                found |= {m for m in self._moments(naive) if after < m <= until}
        except CroniterBadDateError:
            pass  # nothing before: 29 February in a short past
        return sorted(found)[-MOST:]

    def turn(self, since: datetime, now: datetime) -> Turn | None:
        """The newest moment after `since` whose time has come, None while none has; taken once for all missed ones."""
        found = self.between(since, now)
        if not found:
            return None
        on_time = now - found[-1] <= GRACE
        return Turn(found[-1], len(found) - on_time, more=len(found) == MOST)

    def oddities(self, after: datetime, days: int = 366) -> list[str]:
        """In words: which times of the coming year the clocks skip, or show twice."""
        if self.hourly:
            return []
        words = []
        for naive in self._forward(self._naive(after)):
            if naive > self._naive(after) + timedelta(days=days):
                break
            (moment,) = self._moments(naive)
            when = f"{naive:%Y-%m-%d} {naive:%H:%M}"
            if self._naive(moment) != naive:
                words.append(f"{when} does not exist in {self.timezone}: that run starts at {self.local(moment)}.")
            elif naive.replace(tzinfo=self.zone, fold=1).utcoffset() != moment.astimezone(self.zone).utcoffset():
                words.append(f"{when} comes twice in {self.timezone}: it runs once, at {self.local(moment)}.")
        return words

    def skipped(self, after: datetime, years: int = 5) -> list[datetime]:
        """Moments of the coming years that stand for a time which the clocks skip."""
        if self.hourly:
            return []
        end = self._naive(after) + timedelta(days=366 * years)
        found: list[datetime] = []
        for naive in self._forward(self._naive(after)):
            if naive > end:
                return found
            found += [m for m in self._moments(naive) if self._naive(m) != naive]
        return found

    def _naive(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None)

    def _forward(self, start: datetime) -> Iterator[datetime]:
        forward = croniter(self.cron, start, ret_type=datetime)
        while True:
            try:
                yield forward.get_next(datetime)
            except CroniterBadDateError:
                return

    def _moments(self, naive: datetime) -> set[datetime]:
        """What a time on the wall there is in UTC: one moment; where every hour is meant two if it comes twice, and
        none if it is skipped.
        """
        first = naive.replace(tzinfo=self.zone, fold=0).astimezone(UTC)
        second = naive.replace(tzinfo=self.zone, fold=1).astimezone(UTC)
        if not self.hourly:
            return {first}
        return {m for m in (first, second) if self._naive(m) == naive}


def minutes_of(moments: Iterable[datetime], zone: ZoneInfo | None = None) -> list[int]:
    """Minutes of the hour on which these moments fall, there (default: on this machine's clock)."""
    return sorted({m.astimezone(zone).minute for m in islice(moments, 5000)})
