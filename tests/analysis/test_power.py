"""Power against the noncentral t, simulated tests, and what can be counted."""

import itertools
import math

import pytest
from helpers import frame_of, rng
from scipy import stats as scipy_stats

from plasticity.analysis import power as module
from plasticity.analysis.power import TESTS, detectable, power

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(("n", "gain"), [(5, 1.0), (10, 0.3)])
def test_power_of_the_paired_test_is_the_noncentral_t(n, gain):
    expected = scipy_stats.nct.sf(scipy_stats.t.ppf(0.95, n - 1), n - 1, gain / 2 * math.sqrt(n))
    assert power(2, gain, n, rng(), "paired_t") == pytest.approx(expected)


def test_power_of_the_unpaired_test_is_what_simulated_tests_find():
    draws, (runs, base) = 4000, rng(1).normal(0, 2, (2, 4000, 5))
    p = scipy_stats.mannwhitneyu(runs + 3, base, alternative="greater", method="exact", axis=1).pvalue
    error = 4 * math.sqrt(0.5 / draws)  # four standard errors of a difference of two shares, at most
    assert power(2, 3, 5, rng(2), "mann_whitney", draws) == pytest.approx((p < 0.05).mean(), abs=error)
    by_chance = power(2, 0, 5, rng(2), "mann_whitney", draws)
    assert by_chance == pytest.approx(0.0476, abs=0.015), "12 of 252: 1 + 1 + 2 + 3 + 5 arrangements"


def test_power_grows_with_gain_and_runs_and_pairs_need_fewer():
    by_gain = [power(2, gain, 5, rng(), "mann_whitney", 2000) for gain in (-1, 0, 1, 2, 4)]
    assert by_gain == sorted(by_gain) and by_gain[0] < 0.05 < by_gain[-1]
    assert power(2, 2, 10, rng(), "mann_whitney", 2000) > power(2, 2, 5, rng(), "mann_whitney", 2000)
    assert power(1, 1.5, 5, rng(), "paired_t") > power(2, 1.5, 5, rng(), "mann_whitney", 2000)


@pytest.mark.parametrize("test", TESTS)
def test_power_where_nothing_can_be_tested(test):
    assert math.isnan(power(1, 1, 1, rng(), test)) and math.isnan(power(math.nan, 1, 5, rng(), test))
    assert math.isnan(detectable(math.nan, 5, rng(), test))
    assert (power(0, 1, 5, rng(), test), power(0, 0, 5, rng(), test)) == (1, 0)


def test_two_runs_a_side_find_nothing_and_an_unknown_test_is_refused():
    assert power(1, 99, 2, rng(), "mann_whitney", 99) == 0 and detectable(1, 2, rng(), "mann_whitney", 99) == math.inf
    with pytest.raises(ValueError, match="test='z' is unknown; allowed: mann_whitney, paired_t"):
        power(1, 1, 5, rng(), "z")


@pytest.mark.parametrize("test", TESTS)
def test_what_is_detectable_has_a_power_of_80_percent(test):
    gain = detectable(1.7, 6, rng(1), test, 20_000)
    assert power(1.7, gain, 6, rng(2), test, 20_000) == pytest.approx(0.8, abs=0.02)
    assert detectable(3.4, 6, rng(1), test, 20_000) == pytest.approx(2 * gain)


def test_spreads_pool_variances_by_degrees_of_freedom():
    """Base 1, 3 (variance 2, one degree), 10M 1, 1, 4 (variance 3, two): (2 + 6) / 3; pairs: 0 and -2, variance 2."""
    frame = frame_of({"base": [0.01, 0.03, None], "10M": [0.01, 0.01, 0.04]})
    (row,) = module.spreads(frame).itertuples()
    assert (row.mann_whitney, row.paired_t) == (pytest.approx(math.sqrt(8 / 3)), pytest.approx(math.sqrt(2)))
    table, smallest = module.power_table(frame, rng(), 99), module.detectable_table(frame, rng(), 99)
    by_test = dict(zip(TESTS, row[3:], strict=True))
    assert table.groupby("test").spread.first().to_dict() == pytest.approx(by_test)
    product = list(itertools.product(TESTS, module.NS, module.GAINS))
    assert list(zip(table.test, table.n, table.gain, strict=True)) == product
    assert list(zip(smallest.test, smallest.n, strict=True)) == list(itertools.product(TESTS, module.NS))
