"""Does the attack tell what was planted, and nothing where nothing was? Do shadows forget what they were to forget?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import expunge.reproduction.rank_sgd.shadow_aucs as shadow_aucs
from expunge.evaluation.confidence import phi
from expunge.reproduction.config import WorldConfig
from expunge.reproduction.rank_sgd.shadow_aucs import Shadows, auc_contrasts, forget_by_shadows, null_aucs, set_aucs
from expunge.reproduction.work import Work
from expunge.reproduction.world import World, open_world
from expunge.training import StackedJob, train_stacked
from expunge.unlearning.shadow_models import balanced_halves

# Of 40 records: the first ten show membership by 2 deviations, the next ten by 1, the others not at all.
PUSH = np.repeat([2.0, 1.0, 0.0, 0.0], 10)
SETS = {"strong": np.arange(10), "weak": np.arange(10, 20), "none": np.arange(20, 30)}


@pytest.fixture
def planted() -> Shadows:
    rng = np.random.default_rng(4)
    trained = balanced_halves(64, 40, 3)
    drawn = rng.normal(size=(2, 64, 40)) + trained * PUSH
    drawn[0, :, :] += trained * 2
    return Shadows(np.arange(100, 140), (0.0, 1.0), drawn, trained)


def _rows(name: str) -> np.ndarray:
    return SETS[name] + 100


def test_aucs_are_those_planted(planted: Shadows) -> None:
    found = set_aucs(planted, 1, {name: _rows(name) for name in SETS})
    # two Gaussians one (two) deviations apart: .76 (.92); fits from 31 models cost a little
    for name, expected, widest in (("strong", 0.921, 0.15), ("weak", 0.760, 0.2), ("none", 0.5, 0.4)):
        low, high = found[name].interval(0.99)
        assert low < expected < high and high - low < widest, name
        assert found[name].seeds == 64
    before = set_aucs(planted, 0, {"none": _rows("none")})["none"]
    assert before.interval()[0] > 0.85


def test_contrasts_are_differences_of_the_aucs(planted: Shadows) -> None:
    single = set_aucs(planted, 1, {name: _rows(name) for name in SETS})
    others = {name: _rows(name) for name in ("weak", "none")}
    each, best = auc_contrasts(planted, 1, _rows("strong"), others)
    for name, found in each.items():
        assert found.value == pytest.approx(single["strong"].value - single[name].value)
        assert found.interval()[0] > 0.05
    assert best.value == pytest.approx(each["weak"].value)
    _, worse = auc_contrasts(planted, 1, _rows("none"), {"strong": _rows("strong")})
    assert worse.interval()[1] < 0
    _, same = auc_contrasts(planted, 1, _rows("weak"), {"itself": _rows("weak")})
    assert same.value == 0 and same.standard_error == 0


def test_permuted_memberships_read_chance(planted: Shadows) -> None:
    null = null_aucs(planted, 1, _rows("strong"))
    assert len(null) == 60 and abs(null.mean() - 0.5) < 0.02 and np.quantile(null, 0.95) < 0.62


@pytest.fixture(scope="module")
def world() -> World:
    config = {
        "data": {"name": "digits", "train": 100, "held_out": 50},
        "model": {"name": "mlp", "options": {"hidden": [8]}},
        "training": {"steps": 30, "batch_size": 20, "learning_rate": 0.5, "checkpoints": 3,
                     "noise": {"convention": "implicit"}},
    }  # fmt: skip
    return open_world("digits", WorldConfig.model_validate(config), 3)


ROWS = np.array([3, 10, 11, 40, 77])


def test_shadows_learn_their_half_and_forget_it(world: World, tmp_path: Path) -> None:
    work = Work(tmp_path, "shadows", {})
    work.expect(24)
    found = forget_by_shadows(world, work, ROWS, (0.5, 1.0), 8, 3)
    assert found.phi.shape == (3, 8, 5) and found.costs == (0.0, 0.5, 1.0)
    assert (found.trained.sum(axis=0) == 4).all()
    # the third shadow, trained alone: first with its half, then without any of the rows
    base = np.setdiff1d(np.arange(100), ROWS)
    own = np.union1d(base, ROWS[found.trained[2]])
    job = StackedJob(world.seed_of("shadow", 2), own)
    learnt = train_stacked(world.spec, world.train, world.training, [job], world.sampling_rate)
    longer = world.training.model_copy(update={"steps": 60})
    job = StackedJob(world.seed_of("shadow forgetting", 2), base)
    forgot = train_stacked(world.spec, world.train, longer, [job], world.sampling_rate, start=(30, learnt))
    shown = world.records(ROWS)
    for place, made in ((0, learnt), (2, forgot)):
        np.testing.assert_allclose(found.phi[place, 2], phi(made.logits(shown), shown.targets)[0], rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(found.places(np.array([10, 77])), [1, 4])


def test_parts_do_not_matter(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = forget_by_shadows(world, Work(tmp_path, "whole", {}), ROWS, (0.5,), 8)
    monkeypatch.setattr(shadow_aucs, "AT_ONCE", 3)
    parts = forget_by_shadows(world, Work(tmp_path, "parts", {}), ROWS, (0.5,), 8)
    np.testing.assert_array_equal(whole.trained, parts.trained)
    np.testing.assert_allclose(whole.phi, parts.phi, rtol=2e-3, atol=2e-3)
