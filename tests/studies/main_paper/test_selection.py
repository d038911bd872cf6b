"""The procedure against what can be counted by hand, the printed rows against the tables, our own runs against worlds
of noise."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from helpers import frame_of, rng, world
from scipy import stats as scipy_stats

from plasticity.analysis import evidence
from plasticity.analysis.evidence import MEAN_CASES
from plasticity.studies.main_paper import numbers, selection
from plasticity.studies.main_paper.selection import procedure, selection_on

pytestmark = pytest.mark.filterwarnings("error")
SETTINGS = [(12, 10), (6, 10), (12, 5), (6, 5)]
WORLD = world(3)


@pytest.fixture(scope="module")
def table():
    return selection.by_chance(rng(), draws=10_000)


# --- the procedure ----------------------------------------------------------------------------------------------------
def test_of_one_case_and_two_runs_everything_can_be_counted():
    """Four runs: whoever has the higher mean is tested for being higher; U is 4 in 1/3 of cases, then 3, or 2; p is
    1/6, 1/3 or 2/3."""
    drawn = procedure(1, 2, rng(), 20_000)
    shares = [(abs(drawn.p - p) < 1e-9).mean() for p in (1 / 6, 1 / 3, 2 / 3)]
    assert shares == pytest.approx([1 / 3, 1 / 3, 1 / 3], abs=0.02)
    assert (drawn.gain > 0).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("cases", [1, 6, 12])
def test_base_is_on_top_once_in_so_many(cases):
    assert (procedure(cases, 5, rng(), 10_000).gain < 0).mean() == pytest.approx(1 / (1 + cases), abs=0.02)


def test_the_p_is_scipys_of_the_best_against_base_or_turned_round():
    drawn, runs = procedure(3, 5, rng(7), 50), rng(7).standard_normal((50, 4, 5))
    for i, (base, *cases) in enumerate(runs):
        best = max(cases, key=np.mean)
        one, other = (best, base) if best.mean() >= base.mean() else (base, best)
        assert drawn.p[i] == pytest.approx(scipy_stats.mannwhitneyu(one, other, alternative="greater").pvalue)
        assert drawn.gain[i] == pytest.approx(best.mean() - base.mean())


def test_choosing_inflates_the_rate_of_false_positives():
    one, six, twelve = ((procedure(cases, 5, rng(), 20_000).p <= 0.05).mean() for cases in (1, 6, 12))
    assert one == pytest.approx(2 * 12 / 252, abs=0.01), "two sides, on each the 12 highest of 252 arrangements"
    assert one < six < twelve and twelve > 4 * 0.05


@pytest.mark.parametrize(("cases", "n"), [(0, 5), (1, 1)])
def test_without_cases_or_runs_there_is_no_procedure(cases, n):
    with pytest.raises(ValueError, match=f"cases={cases}, n={n}: the procedure needs"):
        procedure(cases, n, rng())


# --- the paper's cells ------------------------------------------------------------------------------------------------
def test_a_row_for_each_cell_number_of_cases_and_n(table):
    assert list(table.columns) == list(selection.Chance._fields)
    assert table.groupby(["cases", "n"], sort=False).size().to_dict() == dict.fromkeys(SETTINGS, 9)
    stated = {(p.architecture, p.dataset): float(p.p) for p in numbers.P_VALUES if p.metric == "accuracy"}
    for row in table.itertuples():
        cell = row.architecture, row.dataset
        assert row.case == numbers.best_rows()[cell].case and row.stated == stated[cell]
        assert row.gain == pytest.approx(float(numbers.table6()[cell][0]))


def test_the_spread_is_pooled_from_the_printed_rows(table):
    row = table[(table.architecture == "SimpleNet") & (table.dataset == "DTD")].iloc[0]
    assert row.spread == pytest.approx(math.sqrt((1.148**2 + 1.684**2 + 0.251**2 + 1.463**2) / 4))


def test_shares_follow_from_one_simulation_whatever_the_cells_mean(table):
    """A larger stated p is reached more often; the rate is one for all cells; gains by chance are proportional to the
    spread."""
    part = table[(table.cases == 12) & (table.n == 10)]
    ahead = part[part.gain > 0].sort_values("stated")
    assert ahead.share_stated.is_monotonic_increasing and part.share_below.nunique() == 1
    assert np.ptp(part.median_gain / part.spread) < 1e-9
    shares = table[["share_stated", "share_below", "share_gain"]].to_numpy()
    assert shares.min() >= 0 and shares.max() <= 1


def test_the_shares_are_those_of_the_procedure():
    table, drawn = selection.by_chance(rng(3), draws=500), procedure(*SETTINGS[0], rng(3), 500)
    row = table[:9].set_index(["architecture", "dataset"])
    best, turned = row.loc["ResNet-50", "Fruit25"], row.loc["SimpleNet", "Brain Tumor"]
    assert best.share_gain == (drawn.gain * best.spread >= 0.92).mean()
    assert best.median_gain == np.median(drawn.gain) * best.spread and best.share_below == (drawn.p < 0.05).mean()
    assert best.share_stated == ((drawn.gain > 0) & (drawn.p <= 0.00964)).mean()
    assert turned.share_stated == ((drawn.gain < 0) & (drawn.p <= 0.2109)).mean(), "base is on top there"
    assert turned.share_gain == (drawn.gain * turned.spread <= -0.783).mean() < 0.5


def test_over_all_cells(table):
    counts = selection.over_cells(table)
    assert list(zip(counts.cases, counts.n, strict=True)) == SETTINGS and set(counts.cells) == {9}
    assert set(counts.printed) == {sum(p.metric == "accuracy" and p.significant for p in numbers.P_VALUES)}
    for row in counts.itertuples():
        at_least = sum(math.comb(9, k) * row.rate**k * (1 - row.rate) ** (9 - k) for k in range(row.printed, 10))
        assert row.chance == pytest.approx(at_least) and row.expected == pytest.approx(9 * row.rate)


def test_one_generator_gives_one_result_and_another_another():
    one, same, other = (selection.by_chance(rng(seed), draws=200) for seed in (0, 0, 1))
    assert one.equals(same) and not one.equals(other)


# --- a frame's own runs -----------------------------------------------------------------------------------------------
def test_on_runs_without_pairs_it_is_the_simulations_rate():
    """Cells of independent normal runs: over forty of them the rate is that of the simulation."""
    found = selection_on(world(40, cases=MEAN_CASES, shared=0, seed=1), rng(), MEAN_CASES, draws=300)
    expected = (procedure(6, 5, rng(), 20_000).p <= 0.05).mean()
    assert (
        found.share_below.mean() == pytest.approx(expected, abs=0.03)
        and set(found.cases) == {6}
        and set(found.n) == {5}
    )
    alike = selection_on(world(10, cases=MEAN_CASES, shared=0.2, seed=1), rng(), MEAN_CASES, draws=300)
    assert alike.share_below.mean() < 0.05, "what runs of a seed share is noise to an unpaired test"


def test_of_one_case_and_four_seeds_every_permutation_can_be_counted():
    """Sixteen ways to exchange; where base comes out on top it is base that is tested."""
    pairs, found = np.array([[0.1, 0.8], [0.2, 0.7], [0.3, 0.6], [0.45, 0.55]]), []
    for swapped in itertools.product((0, 1), repeat=4):
        base, case = np.array([pair[::-1] if swap else pair for pair, swap in zip(pairs, swapped, strict=True)]).T
        one, other = (case, base) if case.mean() >= base.mean() else (base, case)
        found.append(scipy_stats.mannwhitneyu(one, other, alternative="greater").pvalue < 0.05)
    (row,) = selection_on(frame_of({"base": pairs[:, 0], "5M": pairs[:, 1]}), rng(), ("5M",), draws=5000).itertuples()
    assert row.share_below == pytest.approx(np.mean(found), abs=0.02) and np.mean(found) >= 2 / 16


def test_by_chance_the_best_gains_as_much_as_in_the_test_of_the_best():
    ours, test = selection_on(WORLD, rng(), MEAN_CASES, 4000), evidence.best_of(WORLD, rng(1), MEAN_CASES)
    assert ours.median_gain.to_numpy() == pytest.approx(test.median_by_chance, abs=0.15)
    assert ours.high_gain.to_numpy() == pytest.approx(test.high_by_chance, abs=0.25)


def test_incomplete_seeds_are_left_out_and_one_is_not_enough():
    frame = frame_of({"base": [0.5, 0.6, 0.7], "5M": [0.6, 0.7, None], "10M": [0.5, 0.4, 0.3]})
    (row,) = selection_on(frame, rng(), ("5M", "10M", "25N"), draws=99).itertuples()
    assert (row.cases, row.n, row.share_below) == (2, 2, 0), "with two runs a side p is never below 1/6"
    for part in (frame[frame.seed == 0], frame.assign(status="failed"), frame[frame["case"] == "base"]):
        (row,) = selection_on(part, rng(), ("5M",), draws=99).itertuples()
        assert math.isnan(row.share_below) and math.isnan(row.high_gain)


def test_the_shares_stand_beside_the_stated_p_of_each_cell():
    row = {"architecture": "ResNet-50", "dataset": "DTD", "case": "5M", "stated": 0.38209, "gain": 0.29}
    table = pd.DataFrame([row | {"cases": k, "n": n, "share_stated": k / n / 10} for k in (12, 6) for n in (10, 5)])
    shown = selection.by_stated(table)
    assert shown.iloc[0].to_dict() == {"Architecture": "ResNet-50", "Dataset": "DTD", "Case": "5 M"} | {
        "Stated": "0.38209",
        "Gain": "0.29",
        "Of 12, n = 10": "0.120",
    } | {"Of 12, n = 5": "0.240", "Of 6, n = 10": "0.060", "Of 6, n = 5": "0.120"}
