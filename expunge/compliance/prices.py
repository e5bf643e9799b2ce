"""What will the open requests cost? What the newest plan said of each, and of all of them in one run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from expunge.compliance import models
from expunge.compliance.canonical import canonical_text
from expunge.compliance.forecast import Prices
from expunge.compliance.moments import to_text
from expunge.compliance.store import Store

_KEY = "prices"
_REWINDS = ("rewind", "unrolled_rewind")


@dataclass(frozen=True)
class Priced:
    """Costs of requests by themselves, in retrainings, and of the run over all; `at`: when they were planned, None if
    nothing was since the model that serves was made.
    """

    costs: Mapping[str, float] = field(default_factory=dict)
    prices: Prices = field(default_factory=Prices)
    at: str | None = None


class Pricing(Store):
    """The chapter of the ledger on what plans said."""

    def record_prices(self, plan: Mapping[str, Any]) -> None:
        """Note what a plan of open requests (an unlearning plan as JSON) says that they cost."""
        content = {**_from_plan(plan), "at": to_text(self._now())}
        with self._write() as connection:
            self._set_meta(connection, _KEY, canonical_text(content))
            told = {name: content[name] for name in ("model_version", "together", "rewinding")}
            payload = {**told, "requests": len(content["costs"])}
            self._event(connection, "queue.priced", payload, touched=[f"meta/{_KEY}"])

    def priced(self) -> Priced:
        """The newest prices: those noted, or the plan of a run that came later. None of a model that serves no more."""
        run = models.deletion_run
        newest = run.c.started_at.desc(), run.c.id.desc()
        planned = select(run.c.plan, run.c.started_at).where(run.c.plan != "{}").order_by(*newest).limit(1)
        serves = select(run.c.model_version_after).where(run.c.model_version_after.is_not(None)).order_by(*newest)
        with self._read() as connection:
            noted = self._meta(connection, _KEY)
            last = connection.execute(planned).first()
            serving = connection.execute(serves.limit(1)).scalar()
        found = [json.loads(noted)] if noted else []
        if last is not None and "requests" in (plan := json.loads(last.plan)):
            found.append({**_from_plan(plan), "at": last.started_at})
        usable = [one for one in found if serving is None or one["model_version"] == serving]
        if not usable:
            return Priced()
        one = max(usable, key=lambda one: str(one["at"]))
        prices = Prices(frozenset(one["costs"]), one["together"], one["rewinding"])
        return Priced({name: cost for name, cost in one["costs"].items() if cost is not None}, prices, one["at"])


def _from_plan(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What the forecast needs of a plan. A plan of one request prices it by itself."""
    costs = {one["request_id"]: one.get("alone_cost") for one in plan["requests"]}
    if len(costs) == 1:
        costs = dict.fromkeys(costs, plan["predicted_cost"])
    ways = [plan["method"], *(one["method"] for one in plan.get("alternatives", ()))]
    return {
        "model_version": plan["model_version"],
        "together": plan["predicted_cost"],
        "rewinding": any(way in _REWINDS for way in ways),
        "costs": costs,
    }
