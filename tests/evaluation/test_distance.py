"""One model's place among models that never saw the records: the level holds, and what is left is seen.

Rates are over independent worlds, each with reference models of its own; bounds are those measured, with slack.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from factor_world import FactorWorld, Phi
from scipy.stats import binom

from expunge.errors import UsageError
from expunge.evaluation.distance import FOLDS, LOOKS, Distance, OracleDistances, OracleFits, direction_of
from expunge.evaluation.oracle_reference import OracleReference

WORLDS = 300
LEVEL = 0.05


HALF_KEPT = 12


def along_original(oracles: Phi, original: Phi) -> OracleDistances:
    """Looking along the original's own displacement."""
    fits = OracleFits.of(*oracles)
    return OracleDistances(fits, fits.residuals(original[0][None], original[1][None])[:, 0])


def along_half_kept(oracles: Phi, half_kept: Phi) -> OracleDistances:
    fits = OracleFits.of(*oracles)
    return OracleDistances(fits, direction_of(fits.residuals(*half_kept)))


def reference(world: FactorWorld, oracles: int) -> OracleDistances:
    return along_half_kept(world.runs(oracles), halves(world))


def halves(world: FactorWorld, count: int = HALF_KEPT) -> Phi:
    """Runs that kept a random half each."""
    return world.runs(count, np.stack([world.some(0.5) for _ in range(count)]))


@pytest.mark.parametrize("share", [0.0, 0.7])
@pytest.mark.parametrize("oracles", [19, 40, 80])
def test_places_of_true_oracles_are_uniform(oracles: int, share: float) -> None:
    """Each of some levels is reached as often as it says, within the 99.9 % band of a binomial."""
    p_values = []
    for seed in range(WORLDS):
        world = FactorWorld(1000 * oracles + seed, share, m=16, h=20)
        p_values.append(reference(world, oracles).place(*world.run()).p_value)
    for level in (LEVEL, 0.1, 0.25, 0.5, 0.75, 0.9):
        rate = np.floor(level * (oracles + 1) + 1e-9) / (oracles + 1)
        low, high = binom.ppf([0.0005, 0.9995], WORLDS, rate)
        assert low <= np.sum(np.array(p_values) <= level + 1e-9) <= high, level


KINDS: dict[str, Callable[[FactorWorld, Phi], Phi]] = {
    "oracle": lambda world, original: world.run(),
    "original": lambda world, original: original,
    "half": lambda world, original: world.run(world.some(0.5)),
    "tenth": lambda world, original: world.run(world.some(0.1)),
    "over": lambda world, original: world.run(-0.5),
    "elsewhere": lambda world, original: world.run(world.rng.choice([-1.0, 1.0], world.m)),
}


@cache
def power(oracles: int, share: float, shift: float, worlds: int = 80) -> dict[str, tuple[float, float]]:
    """Share of worlds in which a model of each kind fails: by the distance, and by the one without whitening."""
    failed: dict[str, list[tuple[bool, bool]]] = {kind: [] for kind in KINDS}
    for seed in range(worlds):
        world = FactorWorld(seed, share, shift=shift)
        phi, controls = world.runs(oracles)
        original = world.run(1.0)
        places, plain = along_half_kept((phi, controls), halves(world)), OracleReference(phi)
        for kind, make in KINDS.items():
            forget, held_out = make(world, original)
            seen = places.place(forget, held_out).standing.fails(LEVEL)
            failed[kind].append((seen, plain.rank(forget).p_value <= LEVEL + 1e-9))
    return {kind: (float(np.mean([a for a, _ in v])), float(np.mean([b for _, b in v]))) for kind, v in failed.items()}


BOUNDS = {
    (40, 0.0, 3.0): {"original": 0.97, "half": 0.95, "tenth": 0.5, "over": 0.9, "elsewhere": 0.95},
    (40, 0.7, 1.5): {"original": 0.97, "half": 0.95, "tenth": 0.3, "over": 0.9, "elsewhere": 0.95},
    (80, 0.7, 3.0): {"original": 0.97, "half": 0.97, "tenth": 0.85, "over": 0.97, "elsewhere": 0.97},
}


@pytest.mark.parametrize("world", list(BOUNDS), ids=str)
def test_what_is_left_is_seen(world: tuple[int, float, float]) -> None:
    found = power(*world)
    assert found["oracle"][0] <= 0.14  # a binomial with .05, 99.9 %
    for kind, at_least in BOUNDS[world].items():
        assert found[kind][0] >= at_least, (kind, found[kind])


def test_whitening_sees_a_tenth_that_the_plain_distance_does_not() -> None:
    """Correlated records, a tenth kept: the plain distance is near its level, the whitened one far above it."""
    for oracles, shift in ((40, 1.5), (80, 3.0)):
        found = power(oracles, 0.7, shift)
        assert found["tenth"][0] > found["tenth"][1] + 0.25 and found["half"][0] >= found["half"][1]
    independent = power(40, 0.0, 3.0)  # where nothing is shared, nothing is lost
    assert all(independent[kind][0] >= independent[kind][1] - 0.07 for kind in KINDS if kind != "oracle")


def test_each_look_sees_what_it_is_for() -> None:
    """Projection: everywhere a little of the original; likelihood: two records whole; energy: elsewhere."""
    world = FactorWorld(3, 0.7, shift=2.0)
    places = reference(world, 80)

    def middle(remembered: Callable[[], np.ndarray | float]) -> dict[str, float]:
        found = [places.place(*world.run(remembered())) for _ in range(20)]
        return {look: float(np.median([getattr(place, look) for place in found])) for look in LOOKS}

    plain, everywhere = middle(lambda: 0.0), middle(lambda: 0.4)
    assert everywhere["projection"] > 3 > plain["projection"]
    few, elsewhere = middle(lambda: world.some(0.1)), middle(lambda: np.tile([1.0, -1.0], 12))
    assert few["likelihood"] > plain["likelihood"] + 3 and few["energy"] < elsewhere["energy"]
    assert elsewhere["energy"] > 4 > plain["energy"] and places.own.shape == (3, 80)


def test_a_place_is_what_it_says() -> None:
    world = FactorWorld(4)
    places = reference(world, 40)
    model = world.run()
    found = places.place(*model)
    assert isinstance(found, Distance) and found == places.place(*model)
    assert found.of == 41 and 1 <= found.place <= 41 and found.p_value == pytest.approx(found.place / 41)
    assert found.standing.p_value == found.p_value and found.standing.statistic == found.score
    assert found.distance == pytest.approx(np.sqrt(found.energy))
    low, high = found.energy_interval
    assert 0 <= low <= found.energy <= high
    assert places.own_scores.shape == (40,) and places.own_distances.shape == (40,)
    assert 0.7 < places.own_distances.mean() < 1.4  # an average oracle is one away


def test_units_and_order_of_the_records_do_not_matter() -> None:
    """phi times two plus a constant, or the records in another order: the same places."""
    world = FactorWorld(5)
    (phi, controls), half_kept, model = world.runs(40), halves(world), world.run(0.2)
    expected = along_half_kept((phi, controls), half_kept).place(*model)
    twice = along_half_kept((2 * phi + 3, 2 * controls + 3), (2 * half_kept[0] + 3, 2 * half_kept[1] + 3))
    assert twice.place(2 * model[0] + 3, 2 * model[1] + 3).score == pytest.approx(expected.score)
    order = world.rng.permutation(world.m)
    other = along_half_kept((phi[:, order], controls), (half_kept[0][:, order], half_kept[1]))
    found = other.place(model[0][order], model[1])
    assert found.score == pytest.approx(expected.score) and found.place == expected.place


def test_one_record_and_too_few_oracles() -> None:
    world = FactorWorld(6, m=1, shift=12.0)
    places = reference(world, 40)
    assert places.place(*world.run(1.0)).p_value == pytest.approx(1 / 41)
    p_values = [places.place(*world.run()).p_value for _ in range(60)]
    assert 0.3 < np.mean(p_values) < 0.7
    with pytest.raises(UsageError, match=f"{FOLDS - 1} oracles are too few"):
        reference(world, FOLDS - 1)


def test_a_model_that_shares_the_originals_accidents_is_no_further_for_it() -> None:
    """Half of its deviation is the original's: no memory. Along half-kept models the level holds, not so along it."""
    rates = {"half kept": 0.0, "original": 0.0}
    for seed in range(WORLDS):
        world = FactorWorld(seed, 0.7, m=16, h=20, shift=1.0)
        oracles, half_kept, original, own = world.runs(40), halves(world), world.run(1.0), world.run()
        accidents = original[0] - world.memory - world.mean[: world.m], original[1] - world.mean[world.m :]
        model = tuple(
            mean + np.sqrt(0.5) * accident + np.sqrt(0.5) * (other - mean)
            for mean, accident, other in zip(np.split(world.mean, [world.m]), accidents, own, strict=True)
        )
        rates["half kept"] += along_half_kept(oracles, half_kept).place(*model).standing.fails(LEVEL) / WORLDS
        rates["original"] += along_original(oracles, original).place(*model).standing.fails(LEVEL) / WORLDS
    low, high = binom.ppf([0.0005, 0.9995], WORLDS, 2 / 41)
    assert low <= rates["half kept"] * WORLDS <= high, rates
    assert rates["original"] * WORLDS > high, rates
