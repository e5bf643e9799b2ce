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
  The others wait. Where the schedule answers only what is due within some days, the rest is not ready before.
* A request without a price is counted as a retraining, and the forecast says how many there are.
* A request that waits for proof of identity cannot be answered; it is counted apart.
* Tonight's queue is all there is: what comes in tomorrow is not foreseen.

The night to retrain on is the one on which the fewest requests end up late, then the fewest days late in all, then the
latest: a later retraining answers more of what still comes in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache, cached_property

RETRAINING = 1.0
NO_NIGHT = -(10**9)  # later than any: a retraining that changes nothing is not proposed


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
    """Simulate the nights, which are in order. `capacity`: retrainings a night, None for no limit. `within`: a night
    answers what is due within so many days; None: everything.
    """
    ready = [one for one in queue if not one.paused]
    house = _House(nights, capacity, prices, within)
    answered, runs = house.simulate(ready, None)
    late = _late(ready, answered)
    retrain_on, late_then = None, late
    best = (len(late), _days_late(ready, answered, nights), NO_NIGHT)
    for night in nights if late else ():
        then, _ = house.simulate(ready, night)
        still = _late(ready, then)
        found = (len(still), _days_late(ready, then, nights), -night.toordinal())
        if found < best:
            best, retrain_on, late_then = found, night, still
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

    @cached_property
    def _costs_alone(self) -> Callable[[Waiting], float]:
        return cache(lambda one: run_cost([one], self.prices))

    def simulate(self, ready: Sequence[Waiting], retrain_on: date | None) -> tuple[dict[str, date], dict[date, float]]:
        """Night of every request that is answered, and the cost of every night's run."""
        left = [one for one in ready if not one.under_way]
        answered = {one.request_id: self.nights[0] for one in ready if one.under_way and self.nights}
        runs: dict[date, float] = {}
        stuck = False
        for night in self.nights:
            if night == retrain_on:
                batch: Sequence[Waiting] = left
            else:
                batch = () if stuck else self._batch(left, night)
                stuck = not batch and self.within is None  # as it was last night, so it will be the next
            if batch:
                runs[night] = RETRAINING if night == retrain_on else run_cost(batch, self.prices)
                answered.update({one.request_id: night for one in batch})
                left = [one for one in left if one.request_id not in answered]
        return answered, runs

    def _batch(self, left: Sequence[Waiting], night: date) -> Sequence[Waiting]:
        """What the night's run answers."""
        due = [one for one in left if self.within is None or (one.deadline - night).days <= self.within]
        if self.capacity is None or run_cost(due, self.prices) <= self.capacity:
            return due
        alone = [one for one in due if self._costs_alone(one) <= self.capacity]
        planned = [
            one for one in due if one.request_id in self.prices.planned or self._costs_alone(one) <= self.capacity
        ]
        return planned if run_cost(planned, self.prices) <= self.capacity else alone


def _priced(cost: float | None) -> float:
    return RETRAINING if cost is None else cost


def _late(ready: Sequence[Waiting], answered: dict[str, date]) -> tuple[str, ...]:
    return tuple(
        one.request_id for one in ready if one.request_id not in answered or answered[one.request_id] > one.deadline
    )


def _days_late(ready: Sequence[Waiting], answered: dict[str, date], nights: Sequence[date]) -> int:
    """Days late of all requests together; one that is not answered at all counts to the day after the last night."""
    never = nights[-1].toordinal() + 1 if nights else 0
    ends = {one.request_id: one.deadline.toordinal() for one in ready}
    days = {name: (answered[name].toordinal() if name in answered else never) for name in ends}
    return sum(max(0, days[name] - end) for name, end in ends.items())


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
