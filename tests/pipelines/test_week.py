"""Is the rehearsed week whole, does it end as told, and would its checks notice if it did not?"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from pipelines.week.cast import HARD_RECORDS, PERSONS, Cast
from pipelines.week.story import tell

CAST = Cast(
    tuple(f"person-{n}" for n in range(PERSONS)),
    (tuple(f"hard-{n}" for n in range(HARD_RECORDS)), tuple(f"harder-{n}" for n in range(HARD_RECORDS))),
    "held-out",
    ("spare-1", "spare-2"),
)


def test_the_story_tells_how_every_request_ends() -> None:
    story = tell(CAST)
    documents = "".join(scene.file[1] for scene in story.scenes if scene.file)
    asked = re.findall(r"(?m)^(week-\d\d),|\"(?:subject_)?request_id\": \"([^\"]+)\"", documents)
    assert sorted(a or b for a, b in asked) == sorted(story.ends) and len(story.ends) == 25
    assert [scene.at for scene in story.scenes] == sorted(scene.at for scene in story.scenes)
    assert sum(bool(scene.kill_at) for scene in story.scenes) == 2 and sum(s.missed for s in story.scenes) == 1


@pytest.mark.slow
def test_the_week(new_house: Callable[..., Any]) -> None:
    house = new_house("week")
    done = house.run("demo", "--week", "--json", seconds=1800).json()
    assert {check["name"] for check in done["checks"] if not check["ok"]} == set() and len(done["checks"]) == 10
    assert done["statistics"]["received"] == 25 and done["statistics"]["open"] == 0

    # The control: a week that ended otherwise is noticed, by what was changed.
    week = house.state / "week" / ".expunge"
    certificate = sorted((week / "certificates").glob("*.json"))[0]
    content = certificate.read_bytes()
    certificate.write_bytes(content.replace(b"payload", b"paylaod", 1))
    with closing(sqlite3.connect(week / "ledger.db")) as ledger, ledger:
        ledger.execute("update request set status = 'refused', outcome = 'refused' where id = 'week-05'")
    again = json.loads(house.run("demo", "--week", "--json", code=1).out)
    assert [check["name"] for check in again["checks"] if not check["ok"]] == ["answers", "verified", "ledger"]
