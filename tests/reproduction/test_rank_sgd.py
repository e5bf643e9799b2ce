"""Does `rank-sgd` find a harder set where one was planted, none where none was, and estimate all its rules ask for?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_curves import RUNS, STEPS, made_up_curves

from expunge.errors import UsageError
from expunge.reproduction.config import ScenarioConfig, WorldConfig, load_scenario
from expunge.reproduction.findings import Findings, over_seeds
from expunge.reproduction.rank_sgd import measure
from expunge.reproduction.rank_sgd.estimates import gathered
from expunge.reproduction.rank_sgd.hardness import Gathered, Unlearned
from expunge.reproduction.rank_sgd.measured import MATCHED, RANDOM, SETS, Measured, Options, forget_sets
from expunge.reproduction.rank_sgd.report import figures, tables
from expunge.reproduction.rank_sgd.sets import PRIVACY_LOSS, PROXIES, SCORES
from expunge.reproduction.rank_sgd.shadow_aucs import Shadows
from expunge.reproduction.rank_sgd.stability import Stability
from expunge.reproduction.rank_sgd.words import answer, words
from expunge.reproduction.rules import conclude
from expunge.reproduction.work import Work
from expunge.reproduction.world import World, open_world
from expunge.unlearning.shadow_models import balanced_halves

DECLARED = Path(__file__).resolve().parents[2] / "configs" / "reproduce" / "rank-sgd.yaml"
SHIPPED = load_scenario(DECLARED)
OPTIONS = Options(looks=(0, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2), shadows=16)
STABLE = Stability(over_seeds(np.linspace(0.95, 0.99, RUNS)), over_seeds(np.linspace(0.8, 1.0, RUNS)))


@pytest.fixture(scope="module")
def world() -> World:
    config = {
        "data": {"name": "digits", "train": 300, "held_out": 50},
        "model": {"name": "mlp", "options": {"hidden": [8]}},
        "training": {"steps": STEPS, "batch_size": 20, "learning_rate": 0.5, "noise": {"convention": "implicit"}},
    }  # fmt: skip
    return open_world("digits", WorldConfig.model_validate(config), 3)


def _measured(world: World, remembered: dict[str, float]) -> Measured:
    """Disjoint sets, of which the shadows and the originals remember so much; all forget a third in one training."""
    rng = np.random.default_rng(1)
    sets = {name: np.arange(20 * k, 20 * k + 20) for k, name in enumerate(SETS)}
    unlearned = {
        name: Unlearned.of(made_up_curves(remembered[name], 0.4, seed), STEPS) for seed, name in enumerate(SETS)
    }
    rows = np.arange(20 * len(SETS))
    trained = balanced_halves(16, len(rows), 2)
    push = np.repeat([remembered[name] / 2 for name in SETS], 20)
    shadows = Shadows(
        rows, (0.0, *OPTIONS.costs), rng.normal(size=(4, 16, len(rows))) + push * trained, trained
    )  # fmt: skip
    return Measured(
        world=world, options=OPTIONS, originals=RUNS, sets=sets, unlearned=unlearned, shadows=shadows,
        noise={(0.3, 1.0): STABLE, (0.3, 3.0): STABLE, (1.0, 3.0): STABLE},
        checkpoints={(spacing, count): STABLE for spacing in ("even", "log") for count in OPTIONS.fewer},
        recorded=70, models=dict.fromkeys(SCORES, STABLE),
    )  # fmt: skip


def _findings(found: Measured) -> Findings:
    numbers = gathered(found)
    return Findings(estimates=numbers.estimates, not_estimable=numbers.not_estimable)


@pytest.fixture(scope="module")
def harder(world: World) -> Measured:
    """The set by privacy loss is remembered more than any other."""
    return _measured(world, {**dict.fromkeys(PROXIES, 3.0), PRIVACY_LOSS: 5.0, MATCHED: 0.0, RANDOM: 0.0})


def _verdicts(found: Measured) -> dict[str, str]:
    rules = [rule for rule in SHIPPED.rules if rule.contrast.startswith("digits: ")]
    return {one.contrast: one.verdict for one in conclude(rules, _findings(found))}


def test_a_planted_harder_set_is_found(harder: Measured) -> None:
    verdicts = _verdicts(harder)
    for name in (*PROXIES, "the best proxy"):
        assert verdicts[f"digits: left, privacy loss over {name}"] == "supported"
    assert verdicts[f"digits: left, privacy loss minus {MATCHED}"] == "supported"
    assert verdicts["digits: AUC after 1, privacy loss minus the best proxy"] == "supported"
    # all forget at the same rate, and none of them within the cap
    assert verdicts["digits: share left, privacy loss minus the best proxy"] == "not supported"
    assert verdicts["digits: band time, privacy loss minus the best proxy"] == "undecided"
    assert verdicts["digits: influence time, privacy loss minus the best proxy"] == "undecided"


def test_equal_sets_are_not_called_harder_and_easier_ones_are_said_not_to_be(world: World) -> None:
    nulls = {MATCHED: 0.0, RANDOM: 0.0}
    equal = _verdicts(_measured(world, {**dict.fromkeys(SCORES, 3.0), **nulls}))
    easier = _verdicts(_measured(world, {**dict.fromkeys(PROXIES, 5.0), PRIVACY_LOSS: 3.0, **nulls}))
    contrasts = [name for name in equal if name.startswith("digits: left, privacy loss over")]
    contrasts.append("digits: AUC after 1, privacy loss minus the best proxy")
    assert len(contrasts) == 7
    assert "supported" not in {equal[name] for name in contrasts}
    assert {easier[name] for name in contrasts} == {"not supported"}
    assert equal[f"digits: left, privacy loss minus {MATCHED}"] == "supported"


def test_the_nulls_have_no_share_and_no_time(harder: Measured) -> None:
    numbers = gathered(harder)
    assert "remembered" in numbers.not_estimable[f"digits: share left, {MATCHED}"]
    assert numbers.estimates[f"digits: influence time, {MATCHED}"].value == 0
    low, high = numbers.estimates[f"digits: remembered, {MATCHED}"].interval()
    assert low < 0.05 and high < 1


def test_a_proxy_with_nothing_remembered_is_not_the_best(world: World) -> None:
    remembered = {**dict.fromkeys(SCORES, 3.0), PROXIES[0]: 0.0, MATCHED: 0.0, RANDOM: 0.0}
    numbers = gathered(_measured(world, remembered))
    assert f"digits: left, privacy loss over {PROXIES[0]}" in numbers.not_estimable
    assert "digits: left, privacy loss over the best proxy" in numbers.estimates


def test_the_shipped_rules_ask_for_what_is_measured(harder: Measured) -> None:
    assert len(SHIPPED.rules) == len({rule.contrast for rule in SHIPPED.rules})
    found = []
    for name in SHIPPED.worlds:
        numbers = gathered(replace(harder, world=replace(harder.world, name=name)))
        found.append(Findings(estimates=numbers.estimates, not_estimable=numbers.not_estimable))
    known = {name for one in found for name in (*one.estimates, *one.not_estimable)}
    assert {rule.contrast for rule in SHIPPED.rules} <= known


def _more(numbers: Gathered) -> str:
    low, high = numbers.estimates["digits: left, privacy loss over the best proxy"].interval()
    return "more" if low > 0 else "less" if high < 0 else "neither more nor less"


def test_every_figure_has_a_null_and_words_have_the_numbers(harder: Measured) -> None:
    numbers = gathered(harder)
    for figure in figures(harder, numbers):
        assert any(series.kind.startswith("null") for series in figure.series), figure.name
    first, attacked, stable = words(harder, numbers)
    ratio = numbers.estimates["digits: left, privacy loss over the best proxy"]
    assert f"over the best proxy's is {ratio.value:.3g}" in first and "not estimable" in first
    assert f"{numbers.estimates[f'digits: AUC after 1, {PRIVACY_LOSS}'].value:.3g}" in attacked
    assert "0.95" in stable
    told = answer(harder, numbers)
    assert "digits: more is left of the set that privacy loss finds" in told and f"; {_more(numbers)} than" in told
    sets, compared, fewer, between = tables(harder, numbers)
    assert [row[0] for row in sets.rows] == list(SETS) and len(compared.rows) == len(PROXIES) + 1
    assert len(fewer.rows) == 3 + 2 * len(OPTIONS.fewer) and len(between.rows) == len(SCORES)
    assert all(len(row) == len(table.heads) for table in (sets, compared, fewer, between) for row in table.rows)


def test_sets_are_the_hardest_and_the_nulls_are_not(world: World) -> None:
    scores = {name: np.tile(np.arange(300.0), (2, 1)) for name in SCORES}
    sets = forget_sets(world, scores, 20)
    assert list(sets) == list(SETS) and all(len(rows) == 20 for rows in sets.values())
    assert sets[PRIVACY_LOSS].tolist() == list(range(280, 300))
    assert not np.intersect1d(sets[MATCHED], sets[PRIVACY_LOSS]).size
    labels = world.train.targets
    assert sorted(labels[sets[MATCHED]]) == sorted(labels[sets[PRIVACY_LOSS]])


def _changed(**options: object) -> ScenarioConfig:
    quick = load_scenario(DECLARED, quick=True, only=["digits"])
    return quick.model_copy(update={"options": {**quick.options, **options}})


def test_impossible_declarations_are_refused(tmp_path: Path) -> None:
    work = Work(tmp_path, "refused", {})
    with pytest.raises(UsageError, match="among looks"):
        measure(_changed(costs=[0.3]), work)
    with pytest.raises(UsageError, match="70 checkpoints"):
        measure(_changed(fewer=[5, 70]), work)
    with pytest.raises(UsageError, match="2 originals"):
        measure(_changed().model_copy(update={"originals": 2}), work)
    noisy = load_scenario(
        DECLARED, quick=True, only=["digits"],
        overrides=["worlds.digits.training.noise={convention: mean_gradient, sigma: 0.1}"],
    )  # fmt: skip
    with pytest.raises(UsageError, match="trains with noise"):
        measure(noisy, work)


@pytest.mark.slow
def test_quick_form_measures_and_resumes(tmp_path: Path) -> None:
    config = load_scenario(DECLARED, quick=True, only=["digits"])
    said: list[tuple[int, int]] = []
    work = Work(tmp_path, "quick", config.measured(), lambda what, done, total: said.append((done, total)))
    first = measure(config, work)
    assert said[-1][0] == said[-1][1]
    assert all(one.verdict == "undecided" for one in conclude(config.rules, first, incomplete="a quick run"))
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npz")}
    again = measure(config, Work(tmp_path, "quick", config.measured()))
    assert again == first
    assert stamps == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npz")}
