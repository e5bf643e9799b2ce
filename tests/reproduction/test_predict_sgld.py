"""A planted law is found and supported, its absence is not; and the scenario itself runs in its quick form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from expunge.errors import NotFoundError, UsageError
from expunge.reproduction.config import EVERYWHERE, load_scenario
from expunge.reproduction.findings import Findings
from expunge.reproduction.forget_curves import Curves, Seen, spaced_looks
from expunge.reproduction.predict_sgld import measure
from expunge.reproduction.predict_sgld.estimates import (
    correlation_name,
    estimated,
    labels_name,
    over_worlds,
    prefix,
    score_name,
    slope_name,
)
from expunge.reproduction.predict_sgld.forgetting import Forgetting
from expunge.reproduction.predict_sgld.pages import pictured
from expunge.reproduction.predict_sgld.sets import ForgetSet
from expunge.reproduction.predict_sgld.words import answer, words
from expunge.reproduction.rules import conclude
from expunge.reproduction.work import Work
from expunge.reproduction.world import open_world

RUNS, ORACLES, RECORDS, SETS = 5, 4, 20, 20
RATE = 120.0  # steps in which a displacement falls by a factor e
CONFIG = Path("configs/reproduce/predict-sgld.yaml")


def seen(own: np.ndarray) -> Seen:
    flat = np.zeros(own.shape[:-1])
    return Seen(own, np.zeros((*flat.shape, 0)), flat, flat)


def planted(displacement: np.ndarray, loss: np.ndarray, world: str = "made", seed: int = 0) -> Forgetting:
    """Sets whose means start `displacement` [sets] from the oracles', in their deviation, and decay at one rate.

    loss: [sets]. The last two sets are label-matched ones.
    """
    rng = np.random.default_rng(seed)
    looks = spaced_looks(600, 24)
    sets, curves = [], []
    for k, start in enumerate(displacement):
        # Records share half of their variance, so that the mean of a set varies, too.
        def noise(*shape: int) -> np.ndarray:
            return rng.normal(size=(*shape, 1)) * np.sqrt(0.5) + rng.normal(size=(*shape, RECORDS)) * np.sqrt(0.5)

        deviation = np.sqrt(0.5 + 0.5 / RECORDS)
        fall = start * deviation * np.exp(-looks / RATE)
        curves.append(Curves(looks, seen(noise(RUNS, len(looks)) + fall[None, :, None]), seen(noise(RUNS, ORACLES))))
        kind = "by loss" if k < len(displacement) - 2 else "matched"
        sets.append(ForgetSet(np.arange(RECORDS), kind, k if kind == "by loss" else k - len(displacement) + 2))
    jitter = np.exp(rng.normal(0, 0.05, (RUNS, len(loss))))
    return Forgetting(world, "noise", tuple(sets), tuple(curves), loss * jitter, 1.0, 0.25, 0.1)


@pytest.fixture(scope="module")
def lawful() -> Forgetting:
    """Displacement proportional to the root of the loss: 120/2 steps per e-fold, as the theory has it."""
    loss = np.append(np.geomspace(3e4, 30, SETS), [300.0, 300.0])
    return planted(np.append(np.sqrt(loss[:SETS] / 60), [0.0, 0.0]), loss)


@pytest.fixture(scope="module")
def lawful_estimates(lawful: Forgetting) -> Findings:
    return estimated(lawful)


@pytest.fixture(scope="module")
def lawless() -> Forgetting:
    """The same displacements dealt out without regard to the loss."""
    loss = np.append(np.geomspace(3e4, 30, SETS), [300.0, 300.0])
    dealt = np.random.default_rng(4).permutation(np.sqrt(loss[:SETS] / 60))
    return planted(np.append(dealt, [0.0, 0.0]), loss, seed=2)


def test_planted_law_is_found(lawful_estimates: Findings) -> None:
    found, begin = lawful_estimates.estimates, prefix("made", "noise")
    assert found[begin + correlation_name("gap")].value > 0.9
    assert found[begin + correlation_name("band")].value > 0.5
    assert found[begin + correlation_name("entry")].value > 0.8
    assert found[begin + slope_name("gap")].value == pytest.approx(RATE / 2, rel=0.25)
    assert found[begin + score_name("constant", "gap")].interval()[0] > 0
    assert found[begin + score_name("linear", "gap")].interval()[0] > 0
    # The sets of their labels hold nothing: the hardest two take the whole of their time longer.
    assert found[begin + labels_name("gap")].interval()[0] > 200


def test_share_of_influence_takes_all_sets_the_same_time(lawful: Forgetting) -> None:
    """What makes the law logarithmic: one rate. Times to half are 120 ln 2 = 83 wherever there is enough to measure."""
    numbers = lawful.of_kind("by loss")[:8]
    assert lawful.steps("half", numbers, lawful.everyone).mean() == pytest.approx(RATE * np.log(2), rel=0.2)


def test_no_law_where_none_was_planted(lawless: Forgetting) -> None:
    assert abs(lawless.correlation("gap", lawless.everyone)) < lawless.chance("gap", 0) + 0.15
    scores = lawless.scores("gap", lawless.everyone)
    assert scores["logarithmic"] < scores["constant"] + 0.05


def test_chance_is_what_twenty_sets_do(lawful: Forgetting) -> None:
    """One-sided 5 % point of Spearman's rho for 20 pairs: .38."""
    assert lawful.chance("gap", 1) == pytest.approx(0.38, abs=0.04)


def test_slow_sets_are_said_to_be_not_estimable() -> None:
    loss = np.append(np.geomspace(3e4, 30, SETS), [300.0, 300.0])
    found = estimated(planted(np.full(SETS + 2, 400.0), loss))
    assert not found.estimates.get(prefix("made", "noise") + correlation_name("gap"))
    assert "100% of the sets" in found.not_estimable[prefix("made", "noise") + slope_name("gap")]


def test_means_over_worlds(lawful: Forgetting, lawful_estimates: Findings) -> None:
    name = slope_name("gap")
    other = lawful_estimates.model_copy(
        update={"estimates": {k.replace("made", "other"): v for k, v in lawful_estimates.estimates.items()},
                "not_estimable": {k.replace("made", "other"): v for k, v in lawful_estimates.not_estimable.items()}}
    )  # fmt: skip
    twin = Forgetting(
        "other", "noise", lawful.sets, lawful.curves, lawful.loss, lawful.gap, lawful.target, lawful.margin
    )
    own = lawful_estimates.estimates[prefix("made", "noise") + name]
    both = over_worlds([lawful, twin], ["noise", "absent"], [lawful_estimates, other])
    mean = both.estimates[prefix(EVERYWHERE, "noise") + name]
    assert mean.value == pytest.approx(own.value) and mean.degrees == pytest.approx(2 * own.degrees)
    assert mean.standard_error == pytest.approx(own.standard_error / np.sqrt(2))
    broken = Findings(estimates={}, not_estimable={prefix("other", "noise") + name: "why"})
    missing = over_worlds([lawful, twin], ["noise"], [lawful_estimates, broken])
    assert "no such number for other" in missing.not_estimable[prefix(EVERYWHERE, "noise") + name]


def test_pages(lawful: Forgetting, lawful_estimates: Findings) -> None:
    found = pictured([lawful])
    times, curves = found.figures
    assert times.x_log and {one.kind for one in times.series} == {"points", "line", "null"}
    assert [one.name for one in curves.series if one.kind == "null line"] == ["label-matched"]
    assert all(len(row) == len(table.heads) for table in found.tables for row in table.rows)


def test_words_and_answer_follow_the_numbers(lawful: Forgetting, lawful_estimates: Findings) -> None:
    told = words(lawful, lawful_estimates, 0)
    assert "20 sets of 20 records" in told and "per e-fold of loss" in told and "their labels" in told
    pooled = over_worlds([lawful], ["noise"], [lawful_estimates])
    predicts, law = answer([lawful], {**lawful_estimates.estimates, **pooled.estimates}, ["noise"])
    assert "exceeds 0.5 in 1 (" in predicts and "made, noise 0.9" in predicts and "(above 0: better): constant" in law
    name = prefix("made", "noise") + correlation_name("gap")
    low = lawful_estimates.estimates[name].model_copy(update={"value": 0.2})
    assert "in 0 (" in (told := answer([lawful], {name: low}, [])[0]) and "made, noise 0.20" in told
    assert "none is estimable; not estimable for made, noise." in answer([lawful], {}, [])[0]


@pytest.mark.parametrize("name", ["predict-sgld", "predict-sgld-cifar10", "predict-sgld-svhn"])
@pytest.mark.parametrize("quick", [False, True])
def test_declarations_load(name: str, quick: bool) -> None:
    from expunge.reproduction.config import checked_options
    from expunge.reproduction.predict_sgld import Options

    config = load_scenario(CONFIG.with_name(f"{name}.yaml"), quick=quick)
    options = checked_options(Options, config.options, name)
    assert set(options.regimes) == set(config.worlds) and (quick or config.originals >= 5)


@pytest.mark.parametrize("name", ["cifar10", "svhn"])
def test_data_that_is_not_here_is_said_to_be_missing(name: str, tmp_path: Path) -> None:
    config = load_scenario(
        CONFIG.with_name(f"predict-sgld-{name}.yaml"), overrides=[f"worlds.{name}.data.options.data_dir={tmp_path}"]
    )
    with pytest.raises(NotFoundError, match=str(tmp_path)):
        open_world(name, config.worlds[name], config.seed)


def test_a_world_without_regimes_is_refused(tmp_path: Path) -> None:
    config = load_scenario(CONFIG, quick=True, overrides=["options.regimes.digits={}"], only=["digits"])
    with pytest.raises(UsageError, match="World 'digits' has no regimes"):
        measure(config, Work(tmp_path, "p", {}))
    config = load_scenario(
        CONFIG, quick=True, overrides=["options.regimes.digits={SGD: {training.batch_size: -1}}"], only=["digits"]
    )
    with pytest.raises(UsageError, match=r"options\.regimes\.digits\.SGD: training\.batch_size"):
        measure(config, Work(tmp_path, "p", {}))


@pytest.mark.slow
def test_quick_form(tmp_path: Path) -> None:
    config = load_scenario(CONFIG, quick=True, only=["digits"])
    told: list[tuple[str, int, int]] = []
    work = Work(tmp_path, config.scenario, {"config": config.digest()}, lambda *report: told.append(report))
    findings = measure(config, work)
    conclusions = conclude(config.rules, findings, incomplete="a quick run")
    assert {one.verdict for one in conclusions} == {"undecided"}
    assert told[-1][1] == told[-1][2] and findings.words and findings.figures
    again = measure(config, Work(tmp_path, config.scenario, {"config": config.digest()}, None))
    assert again == findings
