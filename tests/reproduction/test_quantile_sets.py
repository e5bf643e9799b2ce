"""Blocks of one difficulty: disjoint, hardest first, both ends among them, closer together where losses are high."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.errors import UsageError
from expunge.reproduction.predict_sgld.sets import blocks


@pytest.mark.parametrize(("size", "count"), [(20, 25), (20, 20), (20, 12), (5, 9), (100, 2)])
def test_blocks(size: int, count: int) -> None:
    ranks = np.random.default_rng(0).permutation(500).astype(float)
    found = blocks(ranks, size, count)
    assert len(found) == count and all(len(rows) == size for rows in found)
    assert len(np.unique(np.concatenate(found))) == count * size
    assert sorted(ranks[found[0]]) == list(range(500 - size, 500)) and sorted(ranks[found[-1]]) == list(range(size))
    levels = np.array([ranks[rows].mean() for rows in found])
    gaps = -np.diff(levels)
    assert (gaps > 0).all() and gaps[0] == gaps.min()
    for rows in found:
        assert np.ptp(ranks[rows]) == size - 1 and (np.diff(rows) > 0).all()


def test_too_many_sets_are_refused() -> None:
    with pytest.raises(UsageError, match="26 sets of 20 records are wanted, and 500 records hold 25"):
        blocks(np.arange(500.0), 20, 26)
