"""Do only the erased records' rows go from a table that stays, and can a killed process leave it unreadable?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.byte_scan import Wanted, scan
from expunge.data import RecordTable, load_records
from expunge.errors import IntegrityError
from expunge.privacy.scores import GradientNorms, PrivacyLosses
from materializers.scores import GradientNormsMaterializer, PrivacyLossesMaterializer
from materializers.tables import RecordTableMaterializer

DIGITS = load_records("digits")
IDS = DIGITS.record_ids[:40]
GONE = frozenset({IDS[3], IDS[17]})
STEPS = (0, 5, 9)
RNG = np.random.default_rng(3)
NORMS = GradientNorms(RNG.random((40, 3)).astype(np.float32), IDS, STEPS, {"loss": "x"})
LOSSES = PrivacyLosses(
    IDS, RNG.random(40), np.cumsum(RNG.random((40, 3)), axis=1), STEPS, 8.0, "score", (), {"data_source": DIGITS.source}
)  # fmt: skip
KINDS: dict[str, tuple[Any, type[Any], Any]] = {
    "gradient_norms": (GradientNormsMaterializer, GradientNorms, NORMS),
    "privacy_losses": (PrivacyLossesMaterializer, PrivacyLosses, LOSSES),
    "held_out_records": (RecordTableMaterializer, RecordTable, DIGITS.select(IDS)),
}


class Killed(BaseException):
    """A process ends here."""


class Mortal:
    """A folder of files as ZenML's local store has them, where a process dies before its n-th rename."""

    def __init__(self, left: int = 10**9) -> None:
        self.left = left

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def open(self, path: str, mode: str) -> Any:
        return Path(path).open(mode)

    def rename(self, source: str, target: str, overwrite: bool) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        assert overwrite
        Path(source).rename(target)


def stored(kind: str, folder: Path) -> Any:
    made, _, data = KINDS[kind]
    materializer = made(str(folder), Mortal())
    materializer.save(data)
    materializer.save_visualizations(data)
    return materializer


@pytest.mark.parametrize("kind", KINDS)
def test_their_rows_go_and_the_others_stay_as_they_were(kind: str, tmp_path: Path) -> None:
    materializer = stored(kind, tmp_path)
    pictures = {r: DIGITS.features[DIGITS.position[r]].reshape(8, 8) for r in GONE}
    wanted = Wanted(pictures, dict.fromkeys(GONE, "record id"))
    assert scan(tmp_path, wanted), "the scan can find them"
    facts = materializer.remove_records(GONE)
    assert scan(tmp_path, wanted) == []
    left = materializer.load(KINDS[kind][1])
    assert facts["records"] == len(left) == 38
    assert set(left.record_ids) == set(IDS) - GONE
    if kind == "gradient_norms":
        assert np.array_equal(left.norms, NORMS.without(GONE).norms)
    if kind == "privacy_losses":
        assert np.array_equal(left.cumulative, LOSSES.without(GONE).cumulative)
    materializer.remove_records(GONE)
    assert len(materializer.load(KINDS[kind][1])) == 38, "the same again changes nothing"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("renames", range(3))
def test_killed_in_between_it_is_whole_and_the_next_time_finishes(kind: str, renames: int, tmp_path: Path) -> None:
    stored(kind, tmp_path)
    with pytest.raises(Killed):
        KINDS[kind][0](str(tmp_path), Mortal(renames)).remove_records(GONE)
    again = KINDS[kind][0](str(tmp_path), Mortal())
    assert len(again.load(KINDS[kind][1])) in (38, 40)
    again.remove_records(GONE)
    assert len(again.load(KINDS[kind][1])) == 38
    assert scan(tmp_path, Wanted({}, dict.fromkeys(GONE, "record id"))) == []


def test_a_changed_byte_is_still_refused_afterwards(tmp_path: Path, changed: Any) -> None:
    materializer = stored("gradient_norms", tmp_path)
    materializer.remove_records(GONE)
    with changed(tmp_path / "norms.parquet"), pytest.raises(IntegrityError, match="not the file that was recorded"):
        materializer.load(GradientNorms)
