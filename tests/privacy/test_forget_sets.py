"""Are forget sets and their controls what they claim, the same for the same seed, and refused where meaningless?"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.errors import NotFoundError, UsageError
from expunge.privacy import ForgetSet, PrivacyLosses, build_forget_set

N = 100


@pytest.fixture(scope="module")
def scored() -> PrivacyLosses:
    total = np.random.default_rng(3).permutation(N).astype(float)
    return PrivacyLosses(tuple(f"r{i:03d}" for i in range(N)), total, total[:, None], (0,), 8.0, "score")


def loss_of(scored: PrivacyLosses, chosen: ForgetSet) -> list[float]:
    return sorted(scored.select(chosen.record_ids).total.tolist())


def test_quantile_bins_partition_the_records_by_loss(scored: PrivacyLosses) -> None:
    sets = [build_forget_set("quantile_bin", scored, bins=5, bin_index=i) for i in range(5)]
    for i, chosen in enumerate(sets):
        assert loss_of(scored, chosen) == [float(x) for x in range(20 * i, 20 * i + 20)]
        assert f"bin {i} of 5" in chosen.description
    part = build_forget_set("quantile_bin", scored, bins=5, bin_index=4, size=7, seed=1)
    assert len(part) == 7 and set(part.record_ids) < set(sets[4].record_ids)


def test_hardest_and_easiest(scored: PrivacyLosses) -> None:
    assert loss_of(scored, build_forget_set("hardest", scored, fraction=0.03)) == [97.0, 98.0, 99.0]
    assert loss_of(scored, build_forget_set("easiest", scored, size=2)) == [0.0, 1.0]
    assert len(build_forget_set("hardest", scored, fraction=0.0001)) == 1
    top = [record_id for record_id, _ in scored.hardest(3)]
    assert set(build_forget_set("hardest", scored, size=3).record_ids) == set(top)
    without = build_forget_set("hardest", scored, size=3, exclude=top)
    assert loss_of(scored, without) == [94.0, 95.0, 96.0]


def test_records_come_in_the_order_of_the_data(scored: PrivacyLosses) -> None:
    chosen = build_forget_set("records", scored, record_ids=["r050", "r002"], request_ids=["q1"], set_loss=0.5)
    assert chosen.record_ids == ("r002", "r050")
    assert chosen.request_ids == ("q1",) and chosen.set_loss == 0.5 and chosen.description == "2 named records"
    assert build_forget_set("records", ["x", "y"], record_ids=["y"]).record_ids == ("y",)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("random", {"size": 10}),
        ("quantile_bin", {"bin_index": 2, "size": 5}),
        ("label_matched", {"reference": ["r001", "r002"], "labels": {f"r{i:03d}": i % 3 for i in range(N)}}),
    ],
)
def test_the_seed_decides_the_draw(scored: PrivacyLosses, kind: Any, options: dict[str, Any]) -> None:
    first = build_forget_set(kind, scored, seed=5, **options)
    assert first == build_forget_set(kind, scored, seed=5, **options)
    others = {build_forget_set(kind, scored, seed=seed, **options).record_ids for seed in range(6, 16)}
    assert others != {first.record_ids}


def test_random_controls_are_uniform(scored: PrivacyLosses) -> None:
    counts = Counter(
        record_id
        for seed in range(400)
        for record_id in build_forget_set("random", scored, size=10, seed=seed).record_ids
    )
    expected = 400 * 10 / N
    chi_square = sum((counts[record_id] - expected) ** 2 / expected for record_id in scored.record_ids)
    assert chi_square < 160  # 99 degrees of freedom: 99.99 % quantile


@settings(deadline=None, max_examples=40)
@given(st.sets(st.integers(0, N - 1), min_size=1, max_size=10), st.integers(0, 99))
def test_label_matched_controls_have_the_same_histogram_and_no_common_record(rows: set[int], seed: int) -> None:
    ids = [f"r{i:03d}" for i in range(N)]
    labels = {record_id: "xyz"[i % 3] for i, record_id in enumerate(ids)}
    reference = build_forget_set("records", ids, record_ids=[ids[i] for i in rows])
    control = build_forget_set("label_matched", ids, reference=reference, labels=labels, seed=seed)
    assert Counter(labels[i] for i in control.record_ids) == Counter(labels[i] for i in reference.record_ids)
    assert not set(control.record_ids) & set(reference.record_ids)


def test_label_matching_says_when_a_label_runs_out() -> None:
    ids = ["a", "b", "c"]
    with pytest.raises(UsageError, match="label 1 are needed, and there are 0"):
        build_forget_set("label_matched", ids, reference=["a"], labels={"a": 1, "b": 2, "c": 2})
    with pytest.raises(NotFoundError, match="No label for 1 records: 'c'"):
        build_forget_set("label_matched", ids, reference=["a"], labels={"a": 1, "b": 1})
    with pytest.raises(UsageError, match="needs reference and labels"):
        build_forget_set("label_matched", ids, reference=["a"])


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        ("records", {"record_ids": []}, UsageError, "is empty"),
        ("random", {"size": 0}, UsageError, "is empty"),
        ("records", {"record_ids": [f"r{i:03d}" for i in range(N)]}, UsageError, "every training record"),
        ("random", {"size": N}, UsageError, "every training record"),
        ("records", {"record_ids": ["nobody"]}, NotFoundError, "'nobody'"),
        ("records", {"record_ids": ["r001", "r001"]}, UsageError, "more than once: 'r001'"),
        ("records", {"record_ids": ["r001"], "exclude": ["r001"]}, UsageError, "both named and excluded"),
        ("records", {"record_ids": ["r001"], "request_ids": ["q", "q"]}, UsageError, "more than once"),
        ("records", {}, UsageError, "needs record_ids"),
        ("random", {}, UsageError, "either fraction or size"),
        ("random", {"size": 3, "fraction": 0.1}, UsageError, "either fraction or size"),
        ("random", {"size": 101}, UsageError, "size 101"),
        ("random", {"fraction": 1.5}, UsageError, "fraction"),
        ("random", {"size": 3, "exclude": ["nobody"]}, NotFoundError, "'nobody'"),
        ("quantile_bin", {}, UsageError, "bin_index"),
        ("quantile_bin", {"bin_index": 5}, UsageError, "bin_index"),
        ("quantile_bin", {"bin_index": 0, "bins": 1}, UsageError, "bins"),
        ("hardset", {"size": 3}, UsageError, "'hardest'"),
    ],
)
def test_meaningless_sets_are_refused(
    scored: PrivacyLosses, kind: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build_forget_set(kind, scored, **options)


def test_sets_by_loss_need_losses() -> None:
    for kind in ("hardest", "easiest", "quantile_bin"):
        with pytest.raises(UsageError, match="needs privacy losses"):
            build_forget_set(kind, ["a", "b"], size=1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="more than once"):
        build_forget_set("random", ["a", "a", "b"], size=1)
