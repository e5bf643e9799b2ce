"""Does a rule conclude what its interval allows, and no more than chance lets it over a whole family?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t, ttest_1samp

from expunge.errors import UsageError
from expunge.reproduction.findings import Estimate, Findings, jackknife, merged, over_seeds
from expunge.reproduction.rules import Rule, conclude


def _verdicts(rules: list[Rule], **estimates: Estimate) -> list[str]:
    return [c.verdict for c in conclude(rules, Findings(estimates=estimates))]


def test_an_estimate_is_the_t_interval_and_the_t_test() -> None:
    values = np.array([0.3, 0.9, 0.4, 0.8, 0.7])
    estimate = over_seeds(values)
    low, high = t.interval(0.95, 4, values.mean(), values.std(ddof=1) / math.sqrt(5))
    assert estimate.interval() == pytest.approx((low, high))
    assert estimate.p_above(0.2) == pytest.approx(ttest_1samp(values, 0.2, alternative="greater").pvalue)
    assert estimate.p_below(0.2) == pytest.approx(ttest_1samp(values, 0.2, alternative="less").pvalue)


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=9))
def test_the_jackknife_of_a_mean_is_its_t_interval(values: list[float]) -> None:
    array = np.array(values)
    found = jackknife(lambda seeds: float(array[seeds].mean()), len(array))
    direct = over_seeds(array)
    assert found.value == pytest.approx(direct.value, abs=1e-9)
    assert found.standard_error == pytest.approx(direct.standard_error, abs=1e-9)


def test_one_seed_shows_nothing() -> None:
    estimate = over_seeds([3.0])
    assert estimate.interval() == (-math.inf, math.inf) and estimate.p_above(0) == estimate.p_below(9) == 1.0
    assert _verdicts([Rule(claim="c", contrast="x")], x=estimate) == ["undecided"]


def test_a_figure_that_is_no_number_is_refused() -> None:
    with pytest.raises(UsageError, match="finite"):
        over_seeds([1.0, math.nan])
    with pytest.raises(UsageError, match="cannot be estimated"):
        jackknife(lambda seeds: math.nan if 0 in seeds else 1.0, 3)


def test_supported_not_supported_and_undecided() -> None:
    rule = Rule(claim="c", contrast="x", minimum=0.5)
    steady = [0.0, 0.01, -0.01, 0.005, -0.005]
    for value, expected in ((0.9, "supported"), (0.1, "not supported"), (0.5, "undecided")):
        assert _verdicts([rule], x=over_seeds([value + s for s in steady])) == [expected]
    below = rule.model_copy(update={"direction": "below"})
    assert _verdicts([below], x=over_seeds([0.1 + s for s in steady])) == ["supported"]
    assert _verdicts([below], x=over_seeds([0.9 + s for s in steady])) == ["not supported"]


def test_a_family_is_corrected_by_holm() -> None:
    # one-sided p about .01: enough alone, not enough among five
    values = [0.2, 1.0, 0.5, 0.9, 0.4]
    alone = Rule(claim="c", contrast="a")
    assert 0.005 < over_seeds(values).p_above(0) < 0.0125
    assert _verdicts([alone], a=over_seeds(values)) == ["supported"]
    others = {name: over_seeds([-0.1, 0.1, 0.0, 0.2, -0.2]) for name in "bcde"}
    five = [alone, *(Rule(claim="c", contrast=name) for name in others)]
    assert _verdicts(five, a=over_seeds(values), **others)[0] == "undecided"
    apart = [alone, *(Rule(claim="c", contrast=name, family="others") for name in others)]
    assert _verdicts(apart, a=over_seeds(values), **others)[0] == "supported"


def test_without_an_effect_a_family_is_seldom_wrong() -> None:
    """At the bound itself either verdict is an error: at most one family in twenty makes one."""
    rng = np.random.default_rng(0)
    rules = [Rule(claim="c", contrast=str(k), minimum=0.3) for k in range(4)]
    wrong = 0
    for _ in range(400):
        estimates = {str(k): over_seeds(0.3 + rng.normal(size=5)) for k in range(4)}
        wrong += any(v != "undecided" for v in _verdicts(rules, **estimates))
    assert wrong <= 33  # 20 expected at most; 33 has a chance of .3 % at 5 %
    assert wrong > 0


def test_a_quick_run_claims_nothing_and_a_missing_number_says_why() -> None:
    rules = [Rule(claim="c", contrast="x"), Rule(claim="d", contrast="y")]
    findings = Findings(estimates={"x": over_seeds([1, 1.1, 0.9])}, not_estimable={"y": "four of ten were censored"})
    first, second = conclude(rules, findings, incomplete="a quick run")
    assert first.verdict == second.verdict == "undecided" and "quick" in first.words and first.value is not None
    assert "four of ten were censored" in second.words
    assert conclude(rules, findings)[0].verdict == "supported"


def test_a_rule_about_something_unmeasured_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"'digits: slop'.*not measured") as caught:
        conclude([Rule(claim="c", contrast="digits: slop")], Findings(estimates={"digits: slope": over_seeds([1, 2])}))
    assert "digits: slope" in caught.value.hint


def test_parts_may_not_use_one_name_twice() -> None:
    one = Findings(estimates={"x": over_seeds([1, 2])}, words=("first",))
    assert merged([one, Findings(estimates={"y": over_seeds([1, 2])}, words=("second",))]).words == ("first", "second")
    with pytest.raises(UsageError, match="'x'"):
        merged([one, one])
