"""Do the tables of norms and losses answer what plans and reports ask of them, and refuse what they cannot hold?"""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import expunge.privacy
from expunge.errors import NotFoundError, UsageError
from expunge.privacy import GradientNorms, PrivacyLosses, compose, flat_distribution_warning, privacy_losses, spliced

IDS = ("a", "b", "c", "d")
STEPS = (0, 4, 9)


def norms() -> GradientNorms:
    return GradientNorms(np.arange(1, 13).reshape(4, 3), IDS, STEPS, {"loss": "cross_entropy"})


def losses(total: list[float] | None = None) -> PrivacyLosses:
    values = np.array([3.0, 1.0, 3.0, 0.5] if total is None else total)
    cumulative = values[:, None] * np.array([0.2, 0.5, 1.0])
    ids = tuple(f"r{i}" for i in range(len(values))) if total is not None else IDS
    return PrivacyLosses(ids, values, cumulative, STEPS, 8.0, "score")


def test_norms_are_float32_read_only_and_select_in_the_order_asked() -> None:
    table = norms()
    assert table.norms.dtype == np.float32 and len(table) == 4
    with pytest.raises(ValueError, match="read-only"):
        table.norms[0, 0] = 5.0
    picked = table.select(["d", "a"])
    assert picked.record_ids == ("d", "a") and picked.norms[:, 0].tolist() == [10.0, 1.0]
    assert picked.steps == STEPS and picked.settings == {"loss": "cross_entropy"}
    rest = table.without(["d", "a"])
    assert rest.record_ids == ("b", "c") and rest.norms[:, 0].tolist() == [4.0, 7.0]
    assert table.without([]).record_ids == IDS
    assert GradientNorms(torch.ones(4, 3), IDS, STEPS).norms.tolist() == [[1.0] * 3] * 4


def test_unknown_ids_are_named_and_not_all_of_them() -> None:
    for action in (
        norms().select,
        norms().without,
        losses().select,
        losses().without,
        losses().percentile,
        losses().share_spent,
    ):
        with pytest.raises(NotFoundError, match="1 of 2 record ids are unknown: 'x'"):
            action(["a", "x"])
    with pytest.raises(NotFoundError, match=r"'x4' and 3 more\."):
        norms().select([f"x{i}" for i in range(8)])
    with pytest.raises(UsageError, match="list"):
        norms().select("ab")


def test_an_unknown_id_comes_with_the_nearest_known_one() -> None:
    table = GradientNorms(np.ones((3, 1)), ("digits-0007", "digits-0012", "person-1"), (0,))
    with pytest.raises(NotFoundError) as caught:
        table.select(["digits-0013"])
    assert "Did you mean 'digits-0012'?" in str(caught.value)
    with pytest.raises(NotFoundError) as caught:
        table.select(["zzz"])
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: GradientNorms(np.ones((4, 2)), IDS, STEPS),
        lambda: GradientNorms(np.ones((3, 3)), IDS, STEPS),
        lambda: GradientNorms(np.ones((4, 3)), ("a", "b", "a", "d"), STEPS),
        lambda: norms().select(["a", "a"]),
        lambda: PrivacyLosses(IDS, np.ones(3), np.ones((4, 3)), STEPS, 8.0, "score"),
        lambda: PrivacyLosses(IDS, np.ones(4), np.ones((4, 2)), STEPS, 8.0, "score"),
        lambda: PrivacyLosses(IDS, np.ones(4), np.ones((4, 3)), STEPS, 8.0, "guarantee"),  # type: ignore[arg-type]
        lambda: PrivacyLosses(IDS, -np.ones(4), np.ones((4, 3)), STEPS, 8.0, "score"),
        lambda: PrivacyLosses(IDS, np.full(4, np.nan), np.ones((4, 3)), STEPS, 8.0, "score"),
        lambda: PrivacyLosses(IDS, np.full(4, np.inf), np.ones((4, 3)), STEPS, 8.0, "score"),
    ],
)
def test_tables_that_do_not_fit_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError):
        make()


def test_percentiles_count_the_strictly_smaller() -> None:
    assert losses().percentile(["d", "a", "b", "c"]).tolist() == [0.0, 50.0, 25.0, 50.0]


def test_ranks_start_at_the_hardest_and_settle_ties_by_id() -> None:
    assert losses().rank().tolist() == [1, 3, 2, 4]
    assert losses().hardest(3) == [("a", 3.0), ("c", 3.0), ("b", 1.0)]
    assert losses().hardest(0) == [] and len(losses().hardest(99)) == 4
    with pytest.raises(UsageError, match="k must"):
        losses().hardest(-1)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_rank_hardest_and_percentile_tell_one_story(total: list[float]) -> None:
    table = losses(total)
    hardest = table.hardest(len(total))
    assert [value for _, value in hardest] == sorted(total, reverse=True)
    assert sorted(table.rank().tolist()) == list(range(1, len(total) + 1))
    by_rank = [table.record_ids[i] for i in np.argsort(table.rank())]
    assert by_rank == [record_id for record_id, _ in hardest]
    percentiles = table.percentile([record_id for record_id, _ in hardest])
    assert (np.diff(percentiles) <= 0).all() and percentiles.max() < 100


def test_share_spent_is_that_of_the_set_not_the_mean_of_shares() -> None:
    total = np.array([1.0, 9.0])
    table = PrivacyLosses(("a", "b"), total, np.array([[1.0, 1.0], [0.0, 9.0]]), (0, 4), 8.0, "score")
    np.testing.assert_allclose(table.share_spent(["a", "b"]), [0.1, 1.0])
    np.testing.assert_allclose(table.share_spent(["a"]), [1.0, 1.0])
    nothing = PrivacyLosses(("a",), np.zeros(1), np.zeros((1, 2)), (0, 4), 8.0, "score")
    assert nothing.share_spent(["a"]).tolist() == [0.0, 0.0]


def test_selected_losses_are_ranked_among_themselves() -> None:
    picked = losses().select(["d", "b"])
    assert picked.rank().tolist() == [2, 1] and picked.total.tolist() == [0.5, 1.0]


def test_erased_records_leave_nothing_in_the_losses() -> None:
    rest = losses().without(["a"])
    assert rest.record_ids == ("b", "c", "d") and rest.total.tolist() == [1.0, 3.0, 0.5]
    assert rest.cumulative.shape == (3, 3) and rest.rank().tolist() == [2, 1, 3]
    assert (rest.steps, rest.order, rest.label) == (STEPS, 8.0, "score")
    with pytest.raises(NotFoundError):
        rest.select(["a"])


def test_the_share_before_a_checkpoint_is_the_curve_one_checkpoint_earlier() -> None:
    from expunge.unlearning.share_curve import share_before

    assert [share_before(losses(), ["a", "d"], step) for step in (0, 1, 4, 5, 9, 10)] == pytest.approx(
        [0.0, 0.2, 0.2, 0.5, 0.5, 1.0]
    )


def test_norms_after_a_rewind_are_the_old_prefix_of_those_who_stay_and_the_new_columns() -> None:
    old = norms()
    new = GradientNorms([[70.0, 80.0], [40.0, 50.0], [10.0, 20.0]], ("c", "b", "d"), (4, 9), {"run": "second"})
    made = spliced(old, new, 4)
    assert made.record_ids == ("c", "b", "d") and made.steps == (0, 4, 9) and made.settings == {"run": "second"}
    assert made.norms.tolist() == [[7.0, 70.0, 80.0], [4.0, 40.0, 50.0], [10.0, 10.0, 20.0]]
    assert old.norms.shape == (4, 3)
    nothing_before = spliced(old, new, 0)
    assert nothing_before.steps == (4, 9) and nothing_before.norms.tolist() == new.norms.tolist()
    with pytest.raises(UsageError, match="step 4, which is before step 5"):
        spliced(old, new, 5)
    with pytest.raises(NotFoundError, match="'e'"):
        spliced(old, GradientNorms(np.ones((1, 1)), ("e",), (9,)), 4)


def test_losses_are_composed_from_norms_with_their_settings() -> None:
    made = privacy_losses(norms(), [0.1, 0.1, 0.05], 2.0, 0.1, 10, 8, "heuristic", ["shuffled batches"])
    expected = compose(norms().norms, 2.0, 0.1, STEPS, 10, 8)
    np.testing.assert_array_equal(made.total, expected.total)
    np.testing.assert_array_equal(made.cumulative, expected.cumulative)
    assert made.label == "heuristic" and made.reasons == ("shuffled batches",) and made.order == 8.0
    assert made.settings["lr"] == [0.1, 0.1, 0.05] and made.settings["s"] == 2.0
    assert made.settings["total_steps"] == 10 and made.settings["loss"] == "cross_entropy"


def test_flat_losses_are_said_to_be_flat_with_numbers() -> None:
    rng = np.random.default_rng(0)
    assert flat_distribution_warning(rng.lognormal(size=1000)) is None
    flat = flat_distribution_warning(rng.normal(1.0, 0.05, 1000))
    assert flat is not None and "do not separate" in flat and "0.05" in flat and "1.1" in flat
    one_outlier = np.r_[np.ones(999), 1000.0]  # varies, but only through one record
    assert flat_distribution_warning(one_outlier) is not None
    assert flat_distribution_warning(np.zeros(10)) is not None
    assert flat_distribution_warning([1.0]) is None


def test_every_public_name_resolves_and_the_package_does_not_import_torch() -> None:
    for name in expunge.privacy.__all__:
        assert getattr(expunge.privacy, name) is not None
    # importing a module of that name would put the module in the function's place
    modules = {module.name for module in pkgutil.iter_modules(expunge.privacy.__path__)}
    assert not modules & set(expunge.privacy.__all__)
    with pytest.raises(AttributeError, match="no attribute"):
        expunge.privacy.nothing  # noqa: B018
    code = "import sys; from expunge.privacy import compose, PrivacyLosses; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
