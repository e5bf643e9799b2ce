"""How does an earlier model serve again? Only a clean one, in one step, with its event."""

from __future__ import annotations

from typing import Any

from adapters import model_registry
from adapters.clean_models import standing, standings
from adapters.ledger import open_ledger, write_epoch
from adapters.turn import turn
from expunge.errors import IntegrityError, UsageError

STARTED, DONE = "model.rollback.started", "model.rollback.done"


def roll_back(wanted: str | None, name: str) -> tuple[str, str]:
    """Make an earlier clean version the one that serves; returns (label before, label after).

    Without a version, the newest clean one that does not serve. The stage moves in one transaction of ZenML's, so
    that exactly one version serves at any moment; a process killed after it is completed by asking again.

    Raises UsageError where there is none, NotFoundError for an unknown version, IntegrityError for one that may not
    serve, with the reasons.
    """
    with turn(wait=False):
        return _roll_back(wanted, name)


def _roll_back(wanted: str | None, name: str) -> tuple[str, str]:
    chosen = _chosen(wanted, name)
    checked = standing(chosen)
    if checked.reasons:
        raise IntegrityError(
            f"{checked.label} may not serve: {'; '.join(checked.reasons)}.", "See which may: expunge model list."
        )
    before = next(
        (v for v in model_registry.all_versions(chosen.model.name) if v.stage == model_registry.PRODUCTION), None
    )
    with open_ledger() as ledger:
        asked = ledger.events(kinds=(STARTED, DONE))
        started = asked[-1] if asked and asked[-1].kind == STARTED else None
        if before is not None and before.id == chosen.id:
            if started is None or started.payload["to"] != checked.label:
                raise UsageError(f"{checked.label} serves already.", "Nothing was changed.")
            previous = str(started.payload["from"])
        else:
            previous = model_registry.label(before) if before else "none"
            ledger.append_event(STARTED, {"from": previous, "to": checked.label})
            model_registry.set_production(chosen)
        ledger.append_event(DONE, {"from": previous, "to": checked.label})
    write_epoch()
    return previous, checked.label


def _chosen(wanted: str | None, name: str) -> Any:
    if wanted is not None:
        return model_registry.named(name, wanted)
    clean = [s for s in standings(name) if not s.reasons and s.stage != model_registry.PRODUCTION]
    if not clean:
        raise UsageError(
            "No other model version may serve: each saw an erased record, failed its gate, or was destroyed.",
            "See why: expunge model list.",
        )
    return clean[0].version
