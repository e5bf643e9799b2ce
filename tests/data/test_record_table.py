"""Does a record keep its id, owner, features and place in the split, whatever happens to the others?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expunge.data.record_table import RecordTable, content_ids, make_table
from expunge.errors import NotFoundError, UsageError

IDS = st.lists(st.text("abcdef0123456789-", min_size=1, max_size=6), min_size=4, max_size=30, unique=True)


def table_of(ids: list[str]) -> RecordTable:
    """A record's features, target and owner follow from its id alone."""
    return make_table(
        features=[[len(i), sum(map(ord, i))] for i in ids],
        targets=[sum(map(ord, i)) % 2 for i in ids],
        record_ids=ids,
        subject_ids=[f"owner-{i[0]}" for i in ids],
        classes=2,
        name="made",
    )


@given(IDS, st.randoms(use_true_random=False))
def test_the_order_of_the_source_does_not_matter(ids: list[str], random: object) -> None:
    turned = list(ids)
    random.shuffle(turned)  # type: ignore[attr-defined]
    assert table_of(turned).fingerprint == table_of(ids).fingerprint


@given(IDS, st.data())
def test_removing_records_moves_no_other(ids: list[str], data: st.DataObject) -> None:
    table = table_of(ids)
    gone = data.draw(st.sets(st.sampled_from(ids), max_size=len(ids) - 2))
    train, held = table.split(0.3, seed=1)
    left = table.without(gone)
    train_left, held_left = left.split(0.3, seed=1)
    assert set(train_left.record_ids) == set(train.record_ids) - gone
    assert set(held_left.record_ids) == set(held.record_ids) - gone
    for record, row in left.position.items():
        at = table.position[record]
        assert (left.features[row] == table.features[at]).all() and left.targets[row] == table.targets[at]
        assert left.subject_ids[row] == table.subject_ids[at]
    assert (left.fingerprint == table.fingerprint) == (not gone)


@given(IDS)
def test_a_subjects_records_are_found(ids: list[str]) -> None:
    table = table_of(ids)
    owned = table.of_subject(f"owner-{ids[0][0]}")
    assert set(owned) == {i for i in ids if i[0] == ids[0][0]}
    assert table.select(owned).record_ids == tuple(sorted(owned))
    assert table.of_subject("nobody") == ()


def test_unknown_records_are_named() -> None:
    table = table_of(["a1", "b2", "c3", "d4"])
    with pytest.raises(NotFoundError, match="Unknown record 'x9'"):
        table.rows(["a1", "x9"])


def test_equal_records_get_ids_of_their_own() -> None:
    features = np.array([[1, 2], [3, 4], [1, 2], [1, 2]], dtype=np.uint8)
    ids = content_ids("t", features, np.array([0, 1, 0, 1]))
    assert len(set(ids)) == 4 and ids[2] == f"{ids[0]}-2" and not ids[3].startswith(ids[0])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"record_ids": ["a", "b", "a"]}, "more than once, such as 'a'"),
        ({"record_ids": ["a", None, "c"]}, r"1 record\(s\) have no record id \(first at row 1\)"),
        ({"record_ids": ["a", " ", "c"]}, "no record id"),
        ({"subject_ids": ["a", "b", float("nan")]}, "no subject id"),
        ({"record_ids": ["a", "b"]}, "3 targets, 2 record ids"),
        ({"features": [[1.0], [np.nan], [2.0]]}, r"features of \['b'\] are NaN"),
        ({"targets": [0, 1, 5]}, r"targets must lie in 0\.\.1"),
        ({"targets": [0, 0.5, 1]}, "missing or fractional"),
        ({"targets": ["no", "yes", "no"]}, "not integers"),
        ({"targets": [[0], [1], [0]]}, "one-dimensional"),
    ],
)
def test_what_cannot_be_a_table(changed: dict[str, object], words: str) -> None:
    good = {"features": [[1.0], [2.0], [3.0]], "targets": [0, 1, 0], "record_ids": ["a", "b", "c"], "classes": 2}
    make_table(name="good", **good)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=words):
        make_table(name="bad", **{**good, **changed})  # type: ignore[arg-type]
