"""Frames, differences, intervals, rankings and correlations against numbers that can be worked out by hand."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from helpers import T, record, rng, runs
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests

from plasticity.analysis import paired
from plasticity.analysis.frames import METRICS, run_table
from plasticity.analysis.paired import Difference, difference, interval

pytestmark = pytest.mark.filterwarnings("error")


# --- differences ------------------------------------------------------------------------------------------------------
def test_an_interval_of_two_and_of_three_pairs():
    two = difference(runs([0.6, 0.8]), runs([0.5, 0.6]))  # 10 and 20 points: mean 15, s / sqrt(2) = 5
    assert (two.n, two.mean, two.low, two.high) == (2, *map(pytest.approx, (15, 15 - 5 * T[1], 15 + 5 * T[1])))
    three = difference(runs([0.6, 0.8, 0.7]), runs([0.5, 0.6, 0.4]))  # 10, 20, 30: s = 10
    half = T[2] * 10 / math.sqrt(3)
    assert (three.n, three.mean, three.low, three.high) == (3, *map(pytest.approx, (20, 20 - half, 20 + half)))
    assert str(three) == "+20.0 [-4.8, +44.8] (n = 3)"


def test_only_seeds_that_both_have_make_a_pair():
    found = difference(runs([0.6, None, 0.7, 0.9]), runs([0.5, 0.6, 0.4]))
    assert (found.n, found.mean) == (2, pytest.approx(20))
    one = difference(runs([0.6]), runs([0.5, 0.6]))
    assert (one.n, one.mean, str(one)) == (1, pytest.approx(10), "+10.0 (n = 1)")
    assert math.isnan(one.low) and math.isnan(one.high) and str(difference(runs([None, 0.6]), runs([0.5]))) == "-"


def test_other_networks_data_sets_and_missing_values_make_no_pair():
    assert difference(runs([0.6]), runs([0.5], network="mini_vgg")).n == 0
    assert difference(runs([0.6]), runs([0.5], dataset="world_20")).n == 0
    trained = run_table([record(seed=0, train_accuracy=0.9), record(seed=1)])
    assert [difference(trained, trained, value).n for value in ("train_accuracy", "online_accuracy")] == [1, 0]


def test_ambiguous_pairs_raise():
    frame = pd.concat([runs([0.5, 0.6]), runs([0.7], case="l2")])
    for pair in ((frame, runs([0.5])), (runs([0.5]), frame)):
        with pytest.raises(ValueError, match="several runs of one network.*mini_resnet18.*l2"):
            difference(*pair)


def test_equal_differences_have_an_interval_of_no_width_and_a_shift_moves_all_of_it():
    assert interval(np.array([2.0, 2.0, 2.0])) == Difference(3, 2, 2, 2)
    assert Difference(3, 1.0, 0.0, 2.0) + 0.5 == Difference(3, 1.5, 0.5, 2.5)


def named(**cells):
    """Differences by network and seed."""
    keys = [(name, seed) for name, values in cells.items() for seed in range(len(values))]
    index = pd.MultiIndex.from_tuples(keys, names=["architecture", "seed"])
    return pd.Series(sum(cells.values(), []), index, dtype=float)


STRATA = [  # networks' differences: mean, standard error, degrees of freedom
    ({"mini_vgg": [1, 2, 3]}, 2, math.sqrt(1 / 3), 2),
    ({"mini_vgg": [1, 2, 3], "mini_vit": [11, 12, 13]}, 7, math.sqrt(2 / 3) / 2, 4),  # that they differ is no error
    ({"mini_vgg": [1, 2, 3], "mini_vit": [4, 4, 4]}, 3, math.sqrt(1 / 3) / 2, 2),  # one spread decides
    ({"mini_vgg": [1, 2, 3], "mini_vit": [2, 6]}, 3, math.sqrt(1 / 3 + 4) / 2, 1),  # (13/3)^2 / (1/18 + 16) = 1.17
    ({"mini_vgg": [1, 2, 3], "mini_vit": [0, 2, 4]}, 2, math.sqrt(5 / 3) / 2, 2),  # (25/9) / (1/18 + 16/18) = 2.94
]


@pytest.mark.parametrize(("cells", "mean", "error", "freedom"), STRATA)
def test_networks_count_the_same_and_only_seeds_make_the_error(cells, mean, error, freedom):
    found = interval(named(**cells))
    assert (found.n, found.mean, found.freedom) == (sum(map(len, cells.values())), pytest.approx(mean), freedom)
    half = (T | {4: 2.776445105})[freedom] * error
    assert (found.low, found.high, found.error) == pytest.approx((mean - half, mean + half, error))
    wide = scipy_stats.t.ppf(0.995, freedom) * error
    assert found.within(0.99) == pytest.approx((mean - wide, mean + wide))
    assert found.p(mean - error) == pytest.approx(scipy_stats.t.sf(1, freedom))


def test_a_network_with_a_single_pair_gives_no_interval_and_means_by_network_stand_beside():
    found = interval(named(mini_vgg=[1, 2, 3], mini_resnet18=[-4]))
    assert (found.n, found.mean) == (4, -1) and math.isnan(found.low) and math.isnan(found.p())
    assert found.by_network() == "VGG +2.0, ResNet-18 -4.0" and interval(named(mini_vgg=[1, 2])).by_network() == "-"
    assert (found + 2).by_network("+.0f") == "VGG +4, ResNet-18 -2"


@pytest.mark.parametrize("spreads", [(1, 1, 1), (1, 1, 10), (0, 0, 1), (1, 2, 4)])
def test_the_interval_holds_the_truth_in_95_of_100_experiments_however_networks_vary(spreads):
    """Three seeds in each; of one spread for all it would be 88% in the second."""
    drawn = rng(1).normal(size=(20_000, 3, 3)) * np.array(spreads)[:, None]
    error, freedom = paired.standard_error(drawn.var(2, ddof=1), (3, 3, 3))
    held = np.abs(drawn.mean((1, 2))) <= scipy_stats.t.ppf(0.975, freedom) * error
    assert 0.945 < held.mean() < 0.98


seeds = st.dictionaries(st.integers(0, 6), st.floats(0, 1), max_size=7)


@settings(max_examples=25)
@given(seeds, seeds)
def test_the_other_way_round_the_sign_changes(one, other):
    left, right = (run_table([record(seed=s, accuracy=a) for s, a in values.items()]) for values in (one, other))
    there, back = difference(left, right), difference(right, left)
    assert there.n == back.n == len(one.keys() & other.keys())
    assert (there.mean, there.low, there.high) == pytest.approx(
        (-back.mean, -back.high, -back.low), abs=1e-9, nan_ok=True
    )
    assert there.n < 2 or there.low <= there.mean <= there.high


def test_holm_by_hand_and_by_statsmodels():
    p = pd.Series([0.04, math.nan, 0.01, 0.03])
    assert paired.holm(p).tolist() == pytest.approx([0.06, math.nan, 0.03, 0.06], nan_ok=True), (
        "3 x 0.01, 2 x 0.03, no less"
    )
    assert paired.holm(p[1:2]).isna().all()
    many = pd.Series(rng(1).integers(0, 30, 40) / 100)  # with ties and zeros
    assert paired.holm(many).tolist() == pytest.approx(multipletests(many, method="holm")[1].tolist())


# --- tables -----------------------------------------------------------------------------------------------------------
def test_against_is_ranked_by_the_mean_over_all():
    parts = [runs([0.5, 0.6], case="l2"), runs([0.7, 0.8], case="redo"), runs([0.5], "mini_vgg", case="redo")]
    frame = pd.concat([*parts, runs([None, None, None, 0.9], case="ema")])
    table = paired.against(frame, pd.concat([runs([0.5, 0.5]), runs([0.5], "mini_vgg")]))
    assert list(table.columns) == ["case", "miniature ResNet-18", "miniature VGG", "all"]
    assert list(table.case) == ["redo", "l2", "ema"] and table.iloc[2].tolist() == ["ema", "-", "-", "-"]
    assert list(table["miniature VGG"]) == ["+0.0 (n = 1)", "-", "-"]
    assert table["all"][0] == "+12.5 (n = 3)", "the mean of +25 and +0; one pair says nothing of VGG's spread"


def test_ranking_orders_and_counts_cells_ties_in_order_of_appearance():
    cells = [("mini_resnet18", "world_10"), ("mini_vgg", "world_20_few")]
    gains = {"ema": (0.1, -0.3), "l2": (0.2, 0.1), "redo": (0.2, 0.1), "base": (0.0, 0.0)}
    made = [
        record(case, seed, 0.5 + gain, "transfer", *cell)
        for case, both in gains.items()
        for cell, gain in zip(cells, both, strict=True)
        for seed in range(2)
    ]
    made += [
        record("25M", 9, 0.5, "transfer"),
        record("25M", 0, 0.9, "transfer", "mini_vgg", "world_20"),
    ]  # no partners
    table = paired.ranking(run_table(made))
    assert list(table.case) == ["l2", "redo", "ema", "25M"]
    assert list(table["cells higher"]) == ["2 of 2", "2 of 2", "1 of 2", "0 of 0"]
    assert list(table.n) == [4, 4, 4, 0] and list(table["mean"])[:3] == pytest.approx([15, 15, -10])
    assert (table.low[0], table.high[0]) == pytest.approx((15, 15)), (
        "20 and 10 in all pairs of a cell: no spread within"
    )


def test_correlations_are_pearsons_with_fishers_interval():
    metric, accuracy = rng().normal(size=12), rng(1).uniform(0.4, 0.6, 12)
    ends = [{"epoch": 1, "phase": 1, "weight_magnitude": float(value), "srank": 3.0} for value in metric]
    made = [record(seed=i, accuracy=float(accuracy[i]), history=[ends[i]]) for i in range(12)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = paired.correlations(run_table(made)).set_index("metric")
    expected, ours = scipy_stats.pearsonr(metric, accuracy), table.loc["weight_magnitude"]
    assert (ours.n, ours.r) == (12, pytest.approx(expected.statistic)) and list(table.index) == list(METRICS)
    assert (ours.low, ours.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    constant, absent = table.loc["srank"], table.loc["dormant_never"]
    assert constant.n == 12 and absent.n == 0
    assert np.isnan([constant.r, constant.low, constant.high, absent.r, absent.high]).all()


def test_correlations_by_network_need_four_runs_and_perfect_ones_have_an_interval():
    def of(network, count):
        ends = [{"epoch": 1, "phase": 1, "weight_magnitude": float(s)} for s in range(count)]
        return [record(seed=s, accuracy=s / 10, network=network, history=[ends[s]]) for s in range(count)]

    table = paired.correlations(run_table(of("mini_vgg", 3) + of("mini_resnet18", 4))).dropna(subset="r")
    assert table[["network", "metric", "n"]].values.tolist() == [["miniature ResNet-18", "weight_magnitude", 4]]
    assert table.r.item() == pytest.approx(1) and 0.99 < table.low.item() <= table.high.item() <= 1
