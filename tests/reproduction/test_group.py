"""Groups: planted as declared, of equal mean loss as chosen, losses as in closed form, effects found where they are."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from expunge.errors import UsageError
from expunge.privacy.composition import compose
from expunge.reproduction.config import WorldConfig, load_scenario
from expunge.reproduction.findings import Findings
from expunge.reproduction.forget_curves import Curves, Seen
from expunge.reproduction.group import measure
from expunge.reproduction.group.estimates import (
    all_estimates,
    difference_name,
    partial_name,
    ratio_name,
    spearman_name,
)
from expunge.reproduction.group.measured import ENERGY, LEFT, TIME, Measured
from expunge.reproduction.group.pages import bounds_by_kind, figures, tables
from expunge.reproduction.group.planted import Planted, plant
from expunge.reproduction.group.predictors import (
    PREDICTORS,
    classic_bound,
    doublings,
    estimator_check,
    set_predictors,
)
from expunge.reproduction.group.sets import GroupSet, Kind, SetSizes, draw_sets, level_gram, one_of_each
from expunge.reproduction.group.words import answer, world_words
from expunge.reproduction.originals import Original, train_originals
from expunge.reproduction.rules import conclude
from expunge.reproduction.work import Work
from expunge.reproduction.world import World, open_world

SIZE = 4
SIZES = SetSizes(size=SIZE, strata=2, blocks=2, candidates=3, random=2, gram_checkpoints=3)
KINDS = {
    "duplicates, wrong label": Planted(images=1, labels="wrong", groups=2),
    "opposite labels": Planted(images=2, labels="both"),
    "wrong labels": Planted(images=4, labels="wrong"),
}


def world_of(batch: int = 20, seed: int = 3) -> World:
    config = {
        "data": {"name": "digits", "train": 200, "held_out": 50},
        "model": {"name": "mlp", "options": {"hidden": [8]}},
        "training": {"steps": 12, "batch_size": batch, "learning_rate": 0.5, "checkpoints": 4,
                     "noise": {"convention": "mean_gradient", "sigma": 0.05}},
    }  # fmt: skip
    return open_world("digits", WorldConfig.model_validate(config), seed)


@pytest.fixture(scope="module")
def planted() -> tuple[World, dict[str, np.ndarray]]:
    return plant(world_of(), KINDS, SIZE, 0.1)


@pytest.fixture(scope="module")
def originals(planted: tuple[World, dict[str, np.ndarray]], tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return train_originals(planted[0], Work(tmp_path_factory.mktemp("work"), "group", {}), 3)


def test_planted_groups_are_as_declared(planted: tuple[World, dict[str, np.ndarray]]) -> None:
    before, (world, groups) = world_of(), planted
    assert len(world.train) == len(before.train) and len(world.held_out) == len(before.held_out) - 8
    assert list(groups) == [
        "duplicates, wrong label 1",
        "duplicates, wrong label 2",
        "opposite labels 1",
        "wrong labels 1",
    ]
    assert all(len(rows) == SIZE for rows in groups.values())
    x, y = world.train.features, world.train.targets
    for name in ("duplicates, wrong label 1", "duplicates, wrong label 2"):
        rows = groups[name]
        assert len(set(y[rows])) == 1
        assert 0 < np.ptp(x[rows], axis=0).max() < x.std()
    pair = groups["opposite labels 1"]
    apart = np.abs(x[pair][:, None] - x[pair][None]).reshape(SIZE, SIZE, -1).max(axis=2) > 0.5
    assert apart.tolist() == [[(k < 2) != (j < 2) for j in range(4)] for k in range(4)]
    assert y[pair[0]] != y[pair[1]] and y[pair[2]] != y[pair[3]]
    kept = {features.tobytes() for features in world.held_out.features}
    used = [f for f in before.held_out.features if f.tobytes() not in kept]
    assert len(used) == 8 and not any((x == image).reshape(len(x), -1).all(axis=1).any() for image in used)
    again, same = plant(world_of(), KINDS, SIZE, 0.1)
    assert again.train.fingerprint == world.train.fingerprint
    assert all((rows == same[name]).all() for name, rows in groups.items())


def test_wrong_labels_are_wrong_and_right_ones_right() -> None:
    before = world_of()
    kinds = {
        "duplicates, right label": Planted(images=2, labels="right"),
        "wrong labels": Planted(images=4, labels="wrong"),
        "opposite labels": Planted(images=2, labels="both"),
    }
    world, groups = plant(before, kinds, SIZE, 0.0)
    truth = {f.tobytes(): int(t) for f, t in zip(before.held_out.features, before.held_out.targets, strict=True)}

    def right(name: str) -> list[bool]:
        return [truth[world.train.features[r].tobytes()] == world.train.targets[r] for r in groups[name]]

    assert right("duplicates, right label 1") == [True] * 4 and right("wrong labels 1") == [False] * 4
    assert right("opposite labels 1") == [True, False] * 2


def test_what_cannot_be_planted_is_refused() -> None:
    with pytest.raises(UsageError, match="not 3 equal parts"):
        plant(world_of(), {"wrong labels": Planted(images=3, labels="wrong")}, SIZE, 0.1)
    with pytest.raises(UsageError, match="held-out images"):
        plant(world_of(), {"wrong labels": Planted(images=4, labels="wrong", groups=13)}, SIZE, 0.1)


def test_sets_of_a_block_have_one_mean_loss_and_different_sums(
    planted: tuple[World, dict[str, np.ndarray]], originals: tuple[Original, ...]
) -> None:
    world, groups = planted
    sets = draw_sets(world, originals[1:], groups, SIZES)
    assert {own.kind for own in sets} == {
        "ordinary", "aligned", "cancelling", "one class", "duplicates", "opposite labels", "wrong labels", "null",
    }  # fmt: skip
    assert len({own.name for own in sets}) == len(sets) and all(len(np.unique(own.rows)) == SIZE for own in sets)
    hidden = np.concatenate(list(groups.values()))
    for own in sets:
        assert (own.name in groups) == bool(np.isin(own.rows, hidden).any())
    losses = set_predictors(world, originals[1], sets)
    for block in range(SIZES.blocks):
        at = {own.kind: k for k, own in enumerate(sets) if own.block == block}
        mean = [losses["mean"][at[kind]] for kind in ("ordinary", "aligned", "cancelling")]
        assert max(mean) < 1.5 * min(mean)
        assert losses["set-level"][at["aligned"]] > 2 * losses["set-level"][at["cancelling"]]
        assert len(set(world.train.targets[sets[at["one class"]].rows])) == 1
    again = draw_sets(world, originals[1:], groups, SIZES)
    assert all((one.rows == other.rows).all() for one, other in zip(sets, again, strict=True))


def test_too_many_sets_are_refused(
    planted: tuple[World, dict[str, np.ndarray]], originals: tuple[Original, ...]
) -> None:
    with pytest.raises(UsageError, match="ordinary"):
        draw_sets(planted[0], originals, planted[1], SIZES.model_copy(update={"candidates": 30}))
    with pytest.raises(UsageError, match="of no kind"):
        draw_sets(planted[0], originals, {"twins 1": np.arange(SIZE)}, SIZES)


def test_one_record_of_each_bin_adds_up_or_cancels() -> None:
    """Each bin holds a gradient, its opposite and an orthogonal one; lengths differ, and must not be chosen by."""
    gradients = np.array([[1.0, 0, 0, 0], [-3, 0, 0, 0], [0, 1, 0, 0]] * 4)
    gram = level_gram(gradients @ gradients.T, (4, 3))
    norms = np.sqrt(np.diag(gram)).reshape(4, 3)
    np.testing.assert_allclose(norms, norms[:, :1] * np.ones((1, 3)))
    places = np.arange(12).reshape(4, 3)
    start = places[:, 0]
    aligned, cancelling = one_of_each(gram, places, start, 1), one_of_each(gram, places, start, -1)
    total = gram[np.ix_(start, start)].sum()
    assert gram[np.ix_(aligned, aligned)].sum() == pytest.approx(total)
    assert gram[np.ix_(cancelling, cancelling)].sum() == pytest.approx(0, abs=1e-9)
    assert set(cancelling % 3) == {0, 1}


def test_predictors_are_the_closed_forms(tmp_path: Path) -> None:
    """Exact copies: the set-level loss is m^2 times one record's, the mean is one record's; at full batch exactly."""
    kinds = {"duplicates, wrong label": Planted(images=1, labels="wrong")}
    world, groups = plant(world_of(batch=200), kinds, SIZE, 0.0)
    original = train_originals(world, Work(tmp_path, "group", {}), 1)[0]
    copies = GroupSet("copies", "duplicates", groups["duplicates, wrong label 1"])
    mixed = GroupSet("mixed", "ordinary", np.arange(5, 5 + SIZE))
    found = set_predictors(world, original, (copies, mixed))
    assert found["mean"] == pytest.approx([original.loss[own.rows].mean() for own in (copies, mixed)])
    assert found["set-level"][0] == pytest.approx(SIZE**2 * found["mean"][0], rel=1e-4)
    for name, factor in (("mean, leading order", SIZE), ("aligned", SIZE**2), ("worst subset", SIZE**2)):
        assert found[name][0] == pytest.approx(factor * found["mean"][0], rel=1e-4)
    assert found["mean, leading order"][1] == pytest.approx(SIZE * found["mean"][1], rel=1e-4)
    assert found["set-level"][1] < found["aligned"][1] < found["classic"][1]
    # at full batch a loss is proportional to the order: 3^2 times the loss at order 4 a
    assert found["classic"][0] == pytest.approx(9 * 4 * found["mean"][0], rel=1e-4)
    check = estimator_check(world, original, mixed, 3, 2048)
    assert check["leading"] == pytest.approx(check["sampled"]) and np.isnan(check["effective"]).all()


def test_the_classic_bound_of_one_record_is_its_loss(
    planted: tuple[World, dict[str, np.ndarray]], originals: tuple[Original, ...]
) -> None:
    own = originals[0]
    alone = GroupSet("one", "ordinary", np.array([7]))
    assert classic_bound(own, alone) == pytest.approx(own.loss[7], rel=1e-6)
    settings = own.losses.settings
    twice = compose(own.norms.norms[[7, 9]], settings["s"], settings["q"], own.losses.steps, 12, 16.0).total.max()
    assert classic_bound(own, GroupSet("two", "ordinary", np.array([7, 9]))) == pytest.approx(3 * twice, rel=1e-6)
    assert [doublings(size) for size in (1, 2, 3, 4, 32, 33)] == [0, 1, 2, 2, 5, 6]


def test_estimators_agree_below_full_batch(
    planted: tuple[World, dict[str, np.ndarray]], originals: tuple[Original, ...]
) -> None:
    check = estimator_check(planted[0], originals[0], GroupSet("s", "ordinary", np.arange(SIZE)), 3, 2048)
    assert len(check["leading"]) == 3 and np.isfinite(check["sampled"]).all()
    assert (check["leading"] <= check["sampled"] * (1 + 1e-9)).all()
    assert (check["simple"] <= check["upper"] * (1 + 1e-9)).all()
    assert (check["lower"] <= check["sampled"] + 1e-12).all() and (check["sampled"] <= check["upper"] + 1e-12).all()


PATTERN: tuple[Kind, ...] = ("aligned", "cancelling", "ordinary", "one class")
PLANTED: tuple[str, ...] = ("duplicates, wrong label", "wrong labels")


def made_up(power: float, seed: int = 0, seeds: int = 6, rate: float = 0.1) -> Measured:
    """Four blocks; energy is mean loss times (set-level loss over mean loss)^power, and decays by looks."""
    rng = np.random.default_rng(seed)
    records, oracles = 400, 3
    looks = np.array([0, 10, 20, 40])
    sets, mean, level, curves, checks = [], [], [], [], []
    for block in range(4):
        for name, alignment in zip((*PATTERN, *PLANTED), (8.0, 0.125, 1.0, 8.0, 8.0, 1.0), strict=True):
            kind = next(each for each in get_args(Kind) if name.startswith(each))
            size = 2.0 ** (block - 1)
            sets.append(GroupSet(f"{name} {block}", kind, np.arange(records), block))
            mean.append(size * rng.uniform(0.99, 1.01))
            level.append(size * alignment * rng.uniform(0.99, 1.01))
            shift = math.sqrt(4 * size * alignment**power) * rng.choice([-1, 1], records)
            judges = rng.normal(size=(seeds, oracles, records))
            decay = np.exp(-rate * looks)[None, :, None]
            runs = rng.normal(size=(seeds, len(looks), records)) + shift * decay
            nothing, flat = np.zeros((seeds, 0)), np.zeros((seeds, len(looks)))
            curves.append(
                Curves(looks, Seen(runs, nothing, flat, flat), Seen(judges, nothing, flat[:, :oracles], flat[:, :3]))
            )
            one = np.array([level[-1]])
            checks.append({
                "leading": one, "simple": 2 * one, "sampled": 2 * one, "lower": one, "upper": 4 * one,
                "error": 0 * one, "effective": one * 0 + 1500,
            })  # fmt: skip
    losses = {name: np.tile(mean, (seeds, 1)) for name in PREDICTORS}
    losses["set-level"] = np.tile(level, (seeds, 1))
    losses["worst subset"] = np.tile(level, (seeds, 1)) * 2
    losses["classic"] = np.tile(mean, (seeds, 1)) * 1000
    return Measured("w", tuple(sets), losses, tuple(curves), tuple(checks), 1, 0.25, 8.0, False)


@pytest.fixture(scope="module")
def by_sum() -> Measured:
    return made_up(1.0)


@pytest.fixture(scope="module")
def by_mean() -> Measured:
    return made_up(0.0)


def test_a_planted_effect_is_found_and_a_null_is_not(by_sum: Measured, by_mean: Measured) -> None:
    better = difference_name("w", "set-level", "mean", ENERGY)
    found, _ = all_estimates(by_sum)
    other, _ = all_estimates(by_mean)
    assert found[better].interval()[0] > 0.1 and other[better].interval()[1] < -0.1
    assert found[spearman_name("w", "set-level", ENERGY)].value > 0.95
    assert other[spearman_name("w", "mean", ENERGY)].value > 0.9
    assert found[partial_name("w", "set-level", "mean", ENERGY)].value > 0.9
    assert abs(other[partial_name("w", "set-level", "mean", ENERGY)].value) < 0.6
    ratio = ratio_name("w", ENERGY, "aligned", "cancelling")
    assert found[ratio].value == pytest.approx(math.log(64), abs=0.3) and found[ratio].interval()[0] > 0.405
    assert other[ratio].interval()[0] < 0 < other[ratio].interval()[1]
    assert found[ratio_name("w", "mean loss", "aligned", "cancelling")].value == pytest.approx(0, abs=0.05)
    for kind in (*PATTERN, "duplicates", "wrong labels"):
        assert found[difference_name("w", "set-level", "mean", ENERGY, f"without {kind}")].value > 0.1


def test_time_follows_what_there_is_to_forget(by_sum: Measured) -> None:
    runs = np.arange(6)
    times = by_sum.times(runs)
    assert not times.censored.any() and set(times.steps) <= {0.0, 10.0, 20.0, 40.0}
    hard, easy = np.argmax(by_sum.difficulty(ENERGY, runs)), np.argmin(by_sum.difficulty(ENERGY, runs))
    assert times.steps[hard] > times.steps[easy]
    assert by_sum.difficulty(LEFT, runs)[hard] < by_sum.difficulty(ENERGY, runs)[hard] / 5
    found, _ = all_estimates(by_sum)
    assert found[spearman_name("w", "set-level", TIME)].value > 0.8


def test_a_ratio_to_nothing_is_refused(by_sum: Measured) -> None:
    with pytest.raises(UsageError, match="cancelling groups is not above 0"):
        by_sum.log_ratio(
            lambda _: np.zeros(24) + [k % 6 != 1 for k in range(24)], "aligned", "cancelling", np.arange(6)
        )


def test_what_was_not_unlearned_is_not_ranked() -> None:
    found, missing = all_estimates(made_up(1.0, rate=0.0))
    name = spearman_name("w", "set-level", TIME)
    assert name not in found and "not unlearned by the cap" in missing[name]


def test_pages_and_words_come_from_the_numbers(by_sum: Measured, by_mean: Measured) -> None:
    for own, reading in ((by_sum, "the set-level loss predicts better, its interval above 0.1"),
                         (by_mean, "the mean predicts better, its interval above 0.1")):  # fmt: skip
        found, missing = all_estimates(own)
        told = answer([own], Findings(estimates=found, not_estimable=missing))
        assert reading in told[0] and "without the" in told[1]
        assert all("nan" not in paragraph for paragraph in world_words(own, found, missing))
        assert len(tables(own, found)[1].rows) == 24
    drawn = figures(by_sum)
    assert len(drawn) == 4 and [series.y for series in drawn[0].series] == [series.y for series in drawn[1].series]
    ways = bounds_by_kind(by_sum)["aligned"]
    assert (ways["leading"], ways["upper"], ways["effective"]) == pytest.approx((0.5, 2.0, 1500))
    few = made_up(1.0, seeds=3)
    numbers, _ = all_estimates(few)
    assert "too few originals" in answer([few], Findings(estimates=numbers))[0]


def test_the_declaration_asks_for_what_is_estimated(by_sum: Measured) -> None:
    config = load_scenario(Path("configs/reproduce/group.yaml"))
    names = {name for part in all_estimates(by_sum) for name in part}
    for rule in config.rules:
        world, _, rest = rule.contrast.partition(": ")
        assert world in config.worlds and f"w: {rest}" in names and not rule.paper and rule.family == "group"


@pytest.mark.slow
def test_the_quick_form_runs(tmp_path: Path) -> None:
    config = load_scenario(Path("configs/reproduce/group.yaml"), quick=True)
    work = Work(tmp_path, "group", {"config": config.digest()})
    findings = measure(config, work)
    assert {rule.verdict for rule in conclude(config.rules, findings, incomplete="a quick run")} == {"undecided"}
    assert len(findings.tables) == 9 and len(findings.figures) == 12
    assert measure(config, work) == findings
