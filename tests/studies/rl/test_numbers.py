"""The statistics of Atari-100k by hand, and Table 8 computed again."""

import numpy as np
import pytest
from scipy.stats import trim_mean

from plasticity.studies.rl import numbers

RECOMPUTED = {  # by the prototype of this study, from the same table: IQM, median, mean, OG of the games' means
    "DrQ": (0.280, 0.193, 0.468, 0.618),
    "DrQ, S&P": (0.159, 0.138, 0.458, 0.722),
    "DrQ, H&T": (0.304, 0.260, 0.471, 0.604),
    "DrQ, HR 20k": (0.364, 0.254, 0.694, 0.565),
    "DrQ, HR 40k": (0.320, 0.242, 0.532, 0.591),
    "DrQ, HR 40k, H&T": (0.367, 0.329, 0.584, 0.570),
    "BBF": (0.924, 0.710, 1.737, 0.375),
    "BBF, H&T": (0.990, 0.749, 1.719, 0.346),
    "BBF, SSL": (1.038, 0.754, 2.175, 0.352),
}


def test_statistics_of_two_games_by_hand():
    found = numbers.statistics([[0.0, 0.5, 1.0, 9.0], [0.2, 0.4, 0.6, 0.8]])
    # all in order: 0 .2 .4 .5 .6 .8 1 9; the middle half: .4 .5 .6 .8
    assert found["IQM"] == pytest.approx((0.4 + 0.5 + 0.6 + 0.8) / 4)
    assert found["Mean"] == found["Median"] == pytest.approx((10.5 / 4 + 0.5) / 2)
    assert found["OG"] == pytest.approx(((1 + 0.5 + 0 + 0) / 4 + (0.8 + 0.6 + 0.4 + 0.2) / 4) / 2)


def test_the_median_is_over_games():
    assert numbers.statistics([[1.0, 3.0], [5.0, 5.0], [90.0, 0.0]])["Median"] == 5.0


def test_the_iqm_is_scipys():
    runs = np.random.default_rng(0).normal(size=(5, 26))
    assert numbers.statistics(list(runs.T))["IQM"] == pytest.approx(trim_mean(runs.ravel(), 0.25))


def test_intervals_draw_within_each_game():
    level = [np.full(5, 0.3), np.full(5, 8.0)]  # games differ, runs do not: nothing to be unsure of
    assert numbers.intervals(level, np.random.default_rng(0))["Mean"] == (4.15, 4.15)
    scores = [np.array([0.0, 1, 2, 3, 4]), np.array([10.0, 11, 12, 13, 14])]
    one, same, other = (numbers.intervals(scores, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one == same
    assert other["Mean"] == pytest.approx(one["Mean"], abs=0.2)
    uneven = [scores[0] ** 1.5, scores[1]]
    seeds = [numbers.intervals(uneven, np.random.default_rng(seed))["Mean"] for seed in (0, 1)]
    assert seeds[0] != seeds[1]
    low, high = one["Mean"]
    error = np.sqrt(2 * 2 / 5) / 2  # of a mean of two means, variance 2 each, n = 5
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.08) and (high + low) / 2 == pytest.approx(7, abs=0.1)


def test_a_single_run_has_no_interval():
    assert np.isnan(numbers.intervals([np.array([1.0]), np.array([1.0, 2.0])], np.random.default_rng(0))["IQM"]).all()


def test_table_8_gives_the_printed_medians_and_means():
    table = numbers.table_8().set_index("row")
    for name in ("Median", "Mean"):
        assert (table[name].round(3) - table[f"{name} printed"]).abs().max() < 0.0011  # by one in the last digit
    assert (table.IQM > table["IQM printed"]).all() and (table.OG < table["OG printed"]).all()


@pytest.mark.parametrize("row", RECOMPUTED)
def test_table_8_computed_again(row):
    found = numbers.table_8().set_index("row").loc[row, list(numbers.STATISTICS)]
    assert found.round(3).tolist() == pytest.approx(list(RECOMPUTED[row]), abs=1e-9)


def test_the_published_tables_are_whole():
    scores, scale = numbers.published("table_8"), numbers.published("human_random")
    assert scores.shape == (26, 10) and scores.game.tolist() == scale.game.tolist()
    assert list(scores.columns[1:]) == numbers.published("table_1").row.tolist()
    assert (scale.human > scale.random).all()
    noise = numbers.published("noise")
    for _, part in noise.groupby("algorithm"):
        assert part.seeds.tolist() == [3, 5, 10, 20] and (part.apart.diff().dropna() < 0).all()


def test_a_score_is_normalised():
    assert numbers.normalised(5.0, 1.0, 9.0) == 0.5 and numbers.normalised(1.0, 1.0, 9.0) == 0
