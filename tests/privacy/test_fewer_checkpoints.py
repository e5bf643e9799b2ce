"""Is what scoring fewer checkpoints costs measured rightly, and said in words?"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import binom, spearmanr

from expunge.errors import UsageError
from expunge.privacy import compose, fewer_columns, rank_loss

STEPS = np.round(np.linspace(0, 999, 35)).astype(int)


def norms(records: int, seed: int = 0) -> np.ndarray:
    """Records of different size, some of which flare up at one checkpoint only."""
    rng = np.random.default_rng(seed)
    made = rng.lognormal(sigma=0.5, size=(records, 1)) * rng.lognormal(sigma=0.2, size=(records, 35))
    flares = rng.random(records) < 0.05
    made[flares, rng.integers(35, size=int(flares.sum()))] *= 8
    return made


def test_columns_are_spread_over_the_checkpoints() -> None:
    assert fewer_columns(35, 9) == (0, 4, 8, 13, 17, 21, 26, 30, 34)
    assert fewer_columns(35, 9, "log")[:4] == (0, 1, 2, 4) and fewer_columns(35, 9, "log")[-1] == 34
    assert fewer_columns(4, 4) == (0, 1, 2, 3)
    for count in (1, 36):
        with pytest.raises(UsageError, match=f"{count} of 35"):
            fewer_columns(35, count)


def test_the_ranking_is_compared_with_that_of_all_checkpoints() -> None:
    table, columns = norms(2000), list(fewer_columns(35, 9))
    s, q = np.linspace(2, 1, 35), 0.05
    got = rank_loss(torch.from_numpy(table), columns, s, q, STEPS, 1000, 8)
    whole = compose(table, s, q, STEPS, 1000, 8).total
    part = compose(table[:, columns], s[columns], q, STEPS[columns], 1000, 8).total
    assert (got.kept, got.available, got.records) == (9, 35, 2000)
    assert got.spearman == pytest.approx(spearmanr(whole, part).statistic)
    assert got.low < got.spearman < got.high and got.high - got.low < 0.1
    assert [(top.share, top.records) for top in got.tops] == [(0.05, 100), (0.01, 20)]
    for top in got.tops:
        kept = set(whole.argsort()[-top.records :]) & set(part.argsort()[-top.records :])
        lost = top.records - len(kept)
        assert top.lost == pytest.approx(lost / top.records) and 0 < lost < top.records
        # Clopper-Pearson: at either end what was seen, or more extreme, has probability 2.5 %
        assert binom.sf(lost - 1, top.records, top.low) == pytest.approx(0.025)
        assert binom.cdf(lost, top.records, top.high) == pytest.approx(0.025)
    assert got.tops[0].lost > 0.2  # flares between the columns are not seen
    assert got == rank_loss(table, columns, s, q, STEPS, 1000, 8, seed=0)
    assert got.low != rank_loss(table, columns, s, q, STEPS, 1000, 8, seed=1).low


def test_nothing_is_lost_with_all_checkpoints_and_the_interval_says_how_sure_that_is() -> None:
    got = rank_loss(norms(400), range(35), 1.0, 0.05, STEPS, 1000, 8)
    assert got.spearman == pytest.approx(1.0) and got.low == pytest.approx(1.0)
    assert len(got.tops) == 1  # 1 % of 400 are too few to speak of
    assert got.tops[0].lost == 0 and got.tops[0].low == 0
    assert got.tops[0].high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_losing_all_of_the_top_is_said_too() -> None:
    table = np.ones((200, 35))
    table[:, 1] += np.linspace(0, 5, 200)  # what all checkpoints rank by
    table[:, 0] += np.linspace(1, 0, 200)  # what the two chosen rank by
    got = rank_loss(table, [0, 34], 1.0, 0.05, STEPS, 1000, 8)
    assert got.tops[0].lost == 1.0 and got.tops[0].high == 1.0 and got.tops[0].low < 1.0
    assert got.spearman == pytest.approx(-1.0)
    constant = rank_loss(np.ones((200, 35)), [0, 34], 1.0, 0.05, STEPS, 1000, 8)
    assert math.isnan(constant.spearman) and math.isnan(constant.low)


def test_the_words_say_what_was_lost_and_on_how_many_records() -> None:
    words = rank_loss(norms(2000), fewer_columns(35, 9), 1.0, 0.05, STEPS, 1000, 8).words
    assert "9 of 35 checkpoints" in words and "2,000 records" in words and "\n" not in words
    assert "hardest 5%" in words and "hardest 1%" in words and "Spearman 0." in words


def test_wrong_arguments_are_named() -> None:
    table = norms(200)
    for columns in ([], [0, 0], [3, 1], [0, 35], [-1, 3]):
        with pytest.raises(UsageError, match="columns must increase"):
            rank_loss(table, columns, 1.0, 0.05, STEPS, 1000, 8)
    with pytest.raises(UsageError, match="at least 100"):
        rank_loss(table[:99], [0, 34], 1.0, 0.05, STEPS, 1000, 8)
    with pytest.raises(UsageError, match="one step per column"):
        rank_loss(table, [0, 33], 1.0, 0.05, STEPS[:-1], 1000, 8)
