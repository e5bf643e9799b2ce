"""Does a purge know what becomes of every kind of artifact that a step makes?"""

from __future__ import annotations

import re
from pathlib import Path

from adapters.prefixes import KIND as PREFIX
from adapters.purge_kinds import KEPT, READERS, ROWS_GO

STEPS = Path(__file__).resolve().parents[2] / "steps"
# By lineage: trajectories by who was trained on, models by their trajectory, prefixes by their requests.
BY_LINEAGE = {"trajectory", "model", PREFIX}


def test_every_output_of_every_step_is_destroyed_or_kept_for_a_reason() -> None:
    text = "\n".join(path.read_text() for path in STEPS.rglob("*.py"))
    made = set(re.findall(r'Annotated\[[^"]*?, "(\w+)"\]', text))
    assert {"trajectory", "gradient_norms", "evidence", "purge"} <= made, "the outputs are found at all"
    assert made <= BY_LINEAGE | set(READERS) | set(KEPT)
    assert not set(KEPT) & (BY_LINEAGE | set(READERS)), "nothing is both"
    assert set(READERS) >= ROWS_GO
    assert all(len(reason) > 10 for reason in KEPT.values())
