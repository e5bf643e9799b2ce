"""Which open requests will be late, and on which night would one retraining for all of them prevent it?

The model, in full:
* A night is the date of a scheduled run, and its run answers on that date. All requests that are ready are answered by
  one run, or some of them are.
* A run costs what its dearest request costs by itself, not the sum: whatever brings the model back far enough for that
  one takes the others along. Where a plan priced several requests together, a run over all of those costs that price.
  Nothing costs more than 1, a retraining, which answers everything. Where nothing can be rewound any more every run is
  a retraining.
* A night may cost the capacity, and nothing is saved up for the next one. Its run takes everything that is ready, if
  that fits; if not, the requests that were planned together with those that fit by themselves; if not, those alone.
  The others wait. Where the schedule says "within" some days, there is a run only on a night on which some request is
  due within them; that one answers the others too.
* What a plan priced and cannot be answered in a new run (it waits for proof, or is in a run) is left out of its price.
* A request without a price is counted as a retraining, and the forecast says how many there are.
* A request that waits for proof of identity cannot be answered; it is counted apart.
* Tonight's queue is all there is: what comes in tomorrow is not foreseen.

The night to retrain on is the one on which the fewest requests end up late, then the fewest days late in all, then the
latest: a later retraining answers more of what still comes in. Up to that night all goes as without it, and everything
left is answered on it: so waiting for it never makes anything better, and the night is found by halving.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date

RETRAINING = 1.0


@dataclass(frozen=True)
class Waiting:
    """An open request. `cost`: of a run for it alone, in retrainings; None where nobody priced it.

    `under_way`: a run has it already, and finishes it on the first night. `paused`: it waits for proof of identity.
    """

    request_id: str
    deadline: date
    cost: float | None = None
    under_way: bool = False
    paused: bool = False


@dataclass(frozen=True)
class Prices:
    """What a plan said: `together` is the price of one run over all requests in `planned`; None without a plan.

    `rewinding`: whether anything is left to rewind to; if not, every run is a retraining.
    """

    planned: frozenset[str] = frozenset()
    together: float | None = None
    rewinding: bool = True


@dataclass(frozen=True)
class Forecast:
    """What becomes of the queue at this capacity.

    Attributes:
        nights: by request, the night it is answered on; None if no night can carry it.
        late: requests that will be answered after their deadline, or not at all.
        runs: by night, what its run costs.
        retrain_on: the night on which one retraining for all leaves the fewest late; None if nobody would be late, or
            if that prevents nothing. late_then: who is late even so.
        unpriced, paused: requests counted as a retraining, and those that cannot be answered yet.
    """

    nights: dict[str, date | None] = field(default_factory=dict)
    late: tuple[str, ...] = ()
    runs: dict[date, float] = field(default_factory=dict)
    retrain_on: date | None = None
    late_then: tuple[str, ...] = ()
    unpriced: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()


def run_cost(batch: Iterable[Waiting], prices: Prices) -> float:
    """What one run over these requests costs, in retrainings."""
    members = {one.request_id: one for one in batch}
    if not members:
        return 0.0
    if not prices.rewinding:
        return RETRAINING
    if prices.together is not None and prices.planned and prices.planned <= members.keys():
        others = [one.cost for name, one in members.items() if name not in prices.planned]
        return min(RETRAINING, max([prices.together, *(_priced(cost) for cost in others)]))
    return min(RETRAINING, max(_priced(one.cost) for one in members.values()))


def forecast(
    queue: Sequence[Waiting],
    nights: Sequence[date],
    capacity: float | None = None,
    prices: Prices = Prices(),
    within: int | None = None,
) -> Forecast:
    """Simulate the nights, which are in order. `capacity`: retrainings a night, None for no limit. `within`: there is
    a run on a night only if something is due within so many days; None: always.
    """
    ready = [one for one in queue if not one.paused]
    answered, runs = _House(nights, capacity, _that_count(prices, ready), within).simulate(ready)
    late, retrain_on = _late(ready, answered), None
    late_then = late
    if late and nights:
        lateness = _Lateness(ready, answered, nights)
        best = lateness.by(nights[0])
        if best < lateness.by(None):
            # never better from night to night: the last that is as good as the first
            worse = bisect_left(nights, True, key=lambda night: lateness.by(night) > best)
            retrain_on = nights[worse - 1]
            late_then = _late(ready, answered, retrain_on)
    return Forecast(
        nights={one.request_id: answered.get(one.request_id) for one in queue},
        late=late,
        runs=runs,
        retrain_on=retrain_on,
        late_then=late_then,
        unpriced=tuple(one.request_id for one in ready if one.cost is None and not one.under_way),
        paused=tuple(one.request_id for one in queue if one.paused),
    )


@dataclass(frozen=True)
class _House:
    """When runs are, and what they may cost."""

    nights: Sequence[date]
    capacity: float | None
    prices: Prices
    within: int | None

    def simulate(self, ready: Sequence[Waiting]) -> tuple[dict[str, date], dict[date, float]]:
        """Night of every request that is answered, and the cost of every night's run."""
        left = [one for one in ready if not one.under_way]
        answered = {one.request_id: self.nights[0] for one in ready if one.under_way and self.nights}
        runs: dict[date, float] = {}
        first = min((one.deadline for one in left), default=date.max)
        for night in self.nights:
            if self.within is not None and (first - night).days > self.within:
                continue  # nothing is due within that time
            batch = self._batch(left)
            if not batch:
                break  # as it is tonight, so it will be every night
            runs[night] = run_cost(batch, self.prices)
            answered.update({one.request_id: night for one in batch})
            left = [one for one in left if one.request_id not in answered]
            first = min((one.deadline for one in left), default=date.max)
        return answered, runs

    def _batch(self, left: Sequence[Waiting]) -> Sequence[Waiting]:
        """What a run answers."""
        if self.capacity is None or run_cost(left, self.prices) <= self.capacity:
            return left
        alone = [one for one in left if run_cost([one], self.prices) <= self.capacity]
        fits = {one.request_id for one in alone} | self.prices.planned
        planned = [one for one in left if one.request_id in fits]
        return planned if run_cost(planned, self.prices) <= self.capacity else alone


def _that_count(prices: Prices, ready: Sequence[Waiting]) -> Prices:
    """The prices of those that a new run can answer; one of them alone has its own price."""
    counted = prices.planned & {one.request_id for one in ready if not one.under_way}
    if counted == prices.planned:
        return prices
    return replace(prices, planned=counted if len(counted) > 1 else frozenset())


def _priced(cost: float | None) -> float:
    return RETRAINING if cost is None else cost


def _late(ready: Sequence[Waiting], answered: Mapping[str, date], retrain_on: date = date.max) -> tuple[str, ...]:
    """Who is answered after the deadline or never; those that are left at that night's retraining are answered then."""
    never = None if retrain_on == date.max else retrain_on
    found = ((one, answered.get(one.request_id, never)) for one in ready)
    return tuple(one.request_id for one, night in found if night is None or min(night, retrain_on) > one.deadline)


class _Lateness:
    """How late all are together, if one night's run is a retraining: it answers everything that is left."""

    def __init__(self, ready: Sequence[Waiting], answered: Mapping[str, date], nights: Sequence[date]) -> None:
        self._never = nights[-1].toordinal() + 1
        nights_and_ends = ((answered.get(one.request_id), one.deadline) for one in ready)
        self._days = [(night.toordinal() if night else None, end.toordinal()) for night, end in nights_and_ends]

    def by(self, retrain_on: date | None) -> tuple[int, int]:
        """How many are late, and by how many days together; None: without a retraining. One that is never answered is
        late, and counts to the day after the last night.
        """
        late = days = 0
        last = retrain_on.toordinal() if retrain_on else self._never
        for night, end in self._days:
            over = (last if night is None or night > last else night) - end
            if over > 0:
                late, days = late + 1, days + over
            elif night is None and retrain_on is None:
                late += 1
        return late, days


def sentence(found: Forecast, requests: int, capacity: float | None, today: date) -> str:
    """The forecast in words. `requests`: how many are ready."""
    if not requests:
        words = ["No open request waits for a run."]
    elif not found.late:
        last = max(night for night in found.nights.values() if night is not None)
        every = "The request" if requests == 1 else f"All {requests} requests"
        words = [f"{every} will be answered in time, {_day(last, today, 'by')}."]
    else:
        at = "Without a limit" if capacity is None else f"At tonight's capacity of {capacity:g} retrainings"
        words = [f"{at} {len(found.late)} of {requests} will be late."]
        if found.retrain_on is None:
            words.append("No retraining on a scheduled night changes that: run it by hand, now.")
        else:
            then = len(found.late_then)
            rest = "nobody is late then" if not then else f"{then} {'is' if then == 1 else 'are'} late even so"
            words.append(f"Retrain once for all of them {_day(found.retrain_on, today, 'on')}: {rest}.")
    if found.unpriced:
        words.append(
            f"{len(found.unpriced)} of {requests} have no planned cost and are counted as a retraining:"
            " `expunge plan --all-due` prices them."
        )
    if found.paused:
        words.append(f"{len(found.paused)} more wait for proof of identity.")
    return " ".join(words)


def _day(night: date, today: date, word: str) -> str:
    return "tonight" if night == today else f"{word} {night:%A} {night.day} {night:%B %Y}"
