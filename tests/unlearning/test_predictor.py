"""What pilots say: which sets hold nothing, what each way leaves and how sure that is, and which law steps follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.unlearning.laws import compare_laws
from expunge.unlearning.left_surface import trust
from expunge.unlearning.pilots import PilotCandidate, PilotSet, Way, left
from expunge.unlearning.predictor import BudgetPredictor, fit_predictor

WAYS = {Way("unrolled_rewind", 80, 0.5): 0.22, Way("rewind", 50): 0.5, Way("fine_tune", 90): 0.9}


def pilot(loss: float, influence: Any, energy: float = 2.0, excess: float = 0.0, name: str = "p") -> PilotSet:
    """Every way leaves `influence`, or what a function of the way gives."""
    found = influence if callable(influence) else lambda way: influence
    candidates = tuple(
        PilotCandidate(
            method=way.method, amount=way.amount, strength=way.strength, steps=round(100 * cost), cost=cost,
            excess=excess, influence=found(way),
        )
        for way, cost in WAYS.items()
    )  # fmt: skip
    return PilotSet(name=name, size=10, mean_loss=loss, energy=energy, candidates=candidates)


def fitted(pilots: list[PilotSet]) -> BudgetPredictor:
    return fit_predictor(pilots, 0.1, 100)


def test_ways_are_those_that_all_measurable_pilots_tried_cheapest_first() -> None:
    whole = pilot(1.0, 0.2)
    less = whole.model_copy(update={"candidates": whole.candidates[:2]})
    assert list(fitted([whole]).ways.items()) == list(WAYS.items())
    assert list(fitted([whole, less]).ways) == list(WAYS)[:2]
    assert fitted([]).ways == {} and fitted([]).expected(Way("rewind", 50), 1.0, 0.25) is None


def test_one_pilot_alone_is_no_ground_for_a_promise() -> None:
    told = fitted([pilot(1.0, 0.0)])
    assert told.expected(Way("rewind", 50), 1.0, 0.4).value == 0 and told.cheapest(1.0, 0.4) is None
    assert fitted([pilot(1.0, 0.0), pilot(1.0, 0.0)]).cheapest(1.0, 0.4) is not None


def test_few_pilots_give_their_mean_and_many_a_slope() -> None:
    few = fitted([pilot(loss, 0.1 * loss) for loss in (1.0, 2.0, 3.0)])
    assert few.expected(Way("rewind", 50), 100.0, 0.25).value == pytest.approx(0.2)
    many = fitted([pilot(float(np.exp(k)), 0.1 + 0.02 * k) for k in range(10)])
    for k, at in ((0, 0), (5, 5), (12, 9), (-4, 0)):  # beyond the pilots a set is taken as the nearest of them
        assert many.expected(Way("rewind", 50), float(np.exp(k)), 0.25).value == pytest.approx(0.1 + 0.02 * at)


def test_beyond_the_oracle_counts_as_left_and_excess_too() -> None:
    assert left(-0.4, 0.1) == 0.4 and left(0.1, 0.3) == 0.3
    assert fitted([pilot(1.0, -0.4)]).expected(Way("rewind", 50), 1.0, 0.25).value == pytest.approx(0.4)
    assert fitted([pilot(1.0, 0.0, excess=0.3)]).expected(Way("rewind", 50), 1.0, 0.25).value == pytest.approx(0.3)


def test_sets_of_which_much_was_remembered_weigh_more() -> None:
    mixed = [pilot(1.0, 0.0, energy=5.0), pilot(1.0, 1.0, energy=0.5)]
    assert trust(2.0) == 0.5 and trust(-1.0) == 0.0
    value = fitted(mixed).expected(Way("rewind", 50), 1.0, 0.5).value
    assert value == pytest.approx(float(trust(0.5) / (trust(0.5) + trust(5.0))))


def test_strengths_between_those_tried_are_interpolated() -> None:
    ways = {Way("rewind", 50): 0.5, **{Way("unrolled_rewind", 50, s): 0.52 for s in (0.3, 0.6, 0.9)}}
    candidates = tuple(
        PilotCandidate(
            method=way.method, amount=way.amount, strength=way.strength, steps=50, cost=cost,
            influence=0.6 - s, excess=0.5 - 1.4 * s + s**2,
        )
        for way, cost in ways.items()
        for s in [way.strength or 0.0]
    )  # fmt: skip
    told = fitted([PilotSet(name="p", size=10, mean_loss=1.0, energy=2.0, candidates=candidates)] * 3)
    strengths = [way.strength for way in told.ways if way.strength]
    assert strengths == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    for strength, value in ((0.3, 0.3), (0.5, 0.1), (0.7, 0.1), (0.8, 0.2)):
        way = next(w for w in told.ways if w.strength == pytest.approx(strength))
        assert told.expected(way, 1.0, 0.5).value == pytest.approx(value, abs=1e-6)
    assert told.expected(Way("unrolled_rewind", 50, 1.0), 1.0, 0.5) is None  # beyond what was tried
    assert told.cheapest(1.0, 0.5).strength == pytest.approx(0.6)


def gate_tried(passes: dict[float, float], energy: float = 10.0) -> PilotSet:
    """A hard set: unrolled rewinds to 50 of these strengths pass that often; the worst leave an excess of 0.03."""
    candidates = tuple(
        PilotCandidate(
            method="unrolled_rewind", amount=50, strength=strength, steps=50, cost=0.5,
            excess=0.03 - 0.02 * share + 0.001 * strength, gate_p=0.5 * share,
        )
        for strength, share in passes.items()
    )  # fmt: skip
    return PilotSet(name="hard", size=10, mean_loss=100.0, energy=energy, candidates=candidates)


def test_what_the_gate_saw_on_the_hardest_pilot_is_not_planned_for_its_like() -> None:
    told = fitted([gate_tried({0.3: 0.0, 0.6: 1.0, 0.9: 1.0})])
    seen, unseen = (Way("unrolled_rewind", 50, s) for s in (0.3, 0.6))
    told = fitted([gate_tried({0.3: 0.0, 0.6: 1.0, 0.9: 1.0})] * 2)
    for loss, way, wanted in ((100.0, seen, False), (100.0, unseen, True)):
        assert told.meets(way, told.expected(way, loss, 0.25), loss) == wanted
    twice = fitted([gate_tried({0.3: 0.0, 0.6: 1.0, 0.9: 1.0})] * 2)
    assert twice.cheapest(100.0, 0.25).strength > 0.45  # nearer to the strength that passed
    easier = fitted([gate_tried({0.3: 0.0, 0.6: 1.0, 0.9: 1.0}), pilot(1.0, 0.0, energy=3.0)])
    assert easier.unseen_energy == pytest.approx(0.109)
    blocked = fitted([gate_tried({0.3: 0.0, 0.6: 0.0})])
    assert 0.29 < blocked.unseen_energy < 0.31 and blocked.cheapest(100.0, 0.25) is None
    # Of a set of which a hundredth was remembered, the same share is far less than was seen.
    easy = PilotSet(
        name="easy", size=10, mean_loss=1.0, energy=0.3, candidates=gate_tried({0.3: 0.0, 0.6: 0.0}).candidates
    )
    free = easy.model_copy(update={"candidates": tuple(c.model_copy(update={"gate_p": None}) for c in easy.candidates)})
    assert fitted([gate_tried({0.3: 0.0, 0.6: 0.0}), free]).cheapest(1.0, 0.25) is not None
    free = gate_tried({0.3: 0.0})
    free = free.model_copy(update={"candidates": tuple(c.model_copy(update={"gate_p": None}) for c in free.candidates)})
    assert fitted([free] * 2).unseen_energy is None and fitted([free] * 2).cheapest(100.0, 0.25) is not None


def test_the_energy_of_a_set_is_read_off_the_pilots() -> None:
    told = fitted([pilot(float(k), 0.0, energy=float(k) / 10) for k in (1, 2, 4, 8)])
    assert told.energy_at(0.1) == pytest.approx(0.1) and told.energy_at(99.0) == pytest.approx(0.8)
    assert told.energy_at(3.0) == pytest.approx(0.3)


def test_caution_is_a_share_of_the_pilots() -> None:
    rng = np.random.default_rng(0)
    noisy = fitted([pilot(1.0, float(0.2 + 0.05 * rng.standard_normal())) for _ in range(60)])
    bold, careful = (noisy.expected(Way("rewind", 50), 1.0, caution) for caution in (0.5, 0.1))
    assert bold.value == careful.value and careful.cautious == pytest.approx(0.2 + 1.28 * 0.05, abs=0.02)
    assert bold.cautious == pytest.approx(0.2, abs=0.02)


def test_nothing_is_said_to_be_remembered_only_below_pilots_that_held_nothing() -> None:
    easy = [pilot(float(k), 0.0, energy=0.0) for k in range(1, 11)]
    hard = [pilot(float(k), 0.0, energy=3.0) for k in range(20, 25)]
    assert fitted(easy + hard).nothing_below == 10.0
    assert fitted(hard).nothing_below == 0.0
    # One in ten may have held something; the next one up counts against it.
    odd = [pilot(5.5, 0.0, energy=1.0)]
    assert fitted(easy + hard + odd).nothing_below == 10.0
    assert fitted(easy + hard + odd + [pilot(6.5, 0.0, energy=1.0)]).nothing_below == 5.0


def test_intervals_need_pilots_and_cover_new_sets_in_all_ways_at_once() -> None:
    rng = np.random.default_rng(1)

    def draw() -> PilotSet:
        # The ways of one set miss together in part, and apart in part.
        own = {way: 0.2 + 0.1 * rng.standard_normal() for way in WAYS}
        return pilot(float(rng.lognormal(3, 1)), lambda way: own[way])

    assert fitted([draw() for _ in range(18)]).expected(Way("rewind", 50), 20.0, 0.25).high is None
    inside = []
    for _ in range(40):
        told, tests = fitted([draw() for _ in range(40)]), [draw() for _ in range(25)]
        for one in tests:
            held = []
            for c in one.candidates:
                found = told.expected(c.way, one.mean_loss, 0.25)
                held.append(found.low <= c.left <= found.high)
            inside.append(all(held))
    # 1,000 sets under 40 calibrations of 40: the share covered is 90 % give or take the calibrations' own spread.
    assert 0.87 <= np.mean(inside) <= 0.97
    bands = [fitted([draw() for _ in range(40)])._left.quantiles[1] for _ in range(10)]
    assert np.mean(bands) > 1.9  # for one way alone it would be 1.6


def test_spent_runs_join_the_fit_but_not_the_intervals() -> None:
    rng = np.random.default_rng(2)
    told = fitted([pilot(1.0, float(0.3 + 0.05 * rng.standard_normal())) for _ in range(20)])
    run = pilot(1.0, 0.0, name="run")
    run = run.model_copy(update={"candidates": run.candidates[1:2]})
    more = BudgetPredictor.model_validate({**told.model_dump(), "spent": [run.model_dump()] * 20})
    way, other = Way("rewind", 50), Way("unrolled_rewind", 80, 0.5)
    assert more.expected(way, 1.0, 0.25).value == pytest.approx(told.expected(way, 1.0, 0.25).value / 2, rel=0.02)
    assert more.expected(other, 1.0, 0.25).value == pytest.approx(told.expected(other, 1.0, 0.25).value, rel=0.02)
    assert more._left.surfaces["rewind"].misses.shape == told._left.surfaces["rewind"].misses.shape == (20, 2)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(-1, 3), st.floats(0, 20)), min_size=1, max_size=30))
def test_any_pilots_can_be_read_and_written(rows: list[tuple[float, float, float]]) -> None:
    told = fitted([pilot(loss, influence, energy) for loss, influence, energy in rows])
    again = BudgetPredictor.model_validate_json(told.model_dump_json())
    assert again == told
    for way in told.ways:
        found = told.expected(way, 50.0, 0.25)
        assert (found is None) == (not told.measurable)
        if found is not None:
            assert np.isfinite(found.value) and found.cautious >= found.value
            assert again.expected(way, 50.0, 0.25) == found


@pytest.mark.parametrize(
    ("law", "name"),
    [(lambda p: 10 * np.log(p), "logarithmic"), (lambda p: p / 40, "linear"), (lambda p: 0 * p + 30, "constant")],
)
def test_the_law_that_made_the_steps_is_found(law: Any, name: str) -> None:
    rng = np.random.default_rng(3)
    pilots = []
    for p in np.geomspace(2, 2000, 24):
        steps = max(1, round(float(law(p)) + rng.normal(0, 1.0)))
        found = PilotCandidate(method="rewind", amount=100 - steps, steps=steps, cost=steps / 100, excess=0.0)
        worse = PilotCandidate(method="rewind", amount=100, steps=0, cost=0.0, excess=1.0)
        pilots.append(PilotSet(name="p", size=10, mean_loss=float(p), energy=2.0, candidates=(found, worse)))
    laws = {one.name: one for one in compare_laws(pilots, 0.1, 100)}
    assert set(laws) == {"constant", "logarithmic", "linear", "monotone"}
    best = max(laws.values(), key=lambda one: one.log_score)
    assert best.name == name and laws[name].error == pytest.approx(0.8, abs=0.4) and laws[name].censored == 0


def test_sets_that_nothing_forgets_are_censored_at_retraining() -> None:
    laws = compare_laws([pilot(float(k), 0.0 if k < 6 else 1.0) for k in range(1, 11)], 0.1, 100)
    assert all(one.censored == 0.5 for one in laws) and compare_laws([], 0.1, 100) == ()
