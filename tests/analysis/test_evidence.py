"""Evidence against numbers that can be worked out by hand, scipy, statsmodels, and worlds in which nothing is there."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from helpers import TWELVE, frame_of, rng, world
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from plasticity.analysis import evidence, power, tables
from plasticity.analysis.evidence import MEAN_CASES
from plasticity.analysis.frames import PAIR, only
from plasticity.analysis.paired import difference, interval
from plasticity.profiles import CASES, CONTROL_CASES
from plasticity.studies.main_paper import selection

pytestmark = pytest.mark.filterwarnings("error")
OF_CASES = {  # each function of a frame and cases
    "paired": lambda frame, generator, cases: evidence.paired(frame, cases[0]),
    "mann_whitney": lambda frame, generator, cases: evidence.mann_whitney(frame, cases),
    "best_of": lambda frame, generator, cases: evidence.best_of(frame, generator, cases, 99),
    "sign_flip_max": lambda frame, generator, cases: evidence.sign_flip_max(frame, generator, cases, 99),
    "cliffs_deltas": lambda frame, generator, cases: evidence.cliffs_deltas(frame, cases).to_frame("delta"),
    "mixed_model": lambda frame, generator, cases: evidence.mixed_model(frame, cases),
    "selection_on": lambda frame, generator, cases: selection.selection_on(frame, generator, cases, 50),
}
OF_FRAMES = {
    "spreads": lambda frame, generator, cases: power.spreads(frame),
    "power_table": lambda frame, generator, cases: power.power_table(frame, generator, 99),
    "detectable_table": lambda frame, generator, cases: power.detectable_table(frame, generator, 99),
}
EVERY = OF_CASES | OF_FRAMES
DRAWN = ("best_of", "sign_flip_max", "power_table", "detectable_table", "selection_on")
CELL = ["architecture", "dataset"]
WORLD = world(3)


def ask(name, frame, seed=0, cases=MEAN_CASES):
    return EVERY[name](frame, rng(seed), cases)


# --- pairs ------------------------------------------------------------------------------------------------------------
def test_pairs_are_differences_of_complete_seeds_in_points():
    pairs = evidence.paired(frame_of({"base": [0.5, 0.4, None, 0.3], "10M": [0.6, None, 0.9, 0.28]}), "10M")
    assert list(pairs.columns) == ["architecture", "dataset", "seed", "difference"]
    assert pairs.seed.tolist() == [0, 3] and pairs.difference.tolist() == pytest.approx([10, -2])


def test_pairs_of_other_values_and_of_cases_that_were_not_run():
    frame = frame_of({"base": [0.5], "10M": [0.6]}).assign(epochs=[9.0, 7.0])
    assert evidence.paired(frame, "10M", "epochs", 1).difference.tolist() == [-2]
    assert evidence.paired(frame, "5M").empty, "known, but never run"


def test_pairs_are_those_of_the_companions():
    found, pairs = (
        difference(only(WORLD, case="10M"), only(WORLD, case="base")),
        evidence.paired(WORLD, "10M").difference,
    )
    assert (found.n, found.mean) == (len(pairs), pytest.approx(pairs.mean()))


def test_cells_come_in_the_papers_order_whatever_the_frames():
    order = [
        ("mini_simplenet", "elpv"),
        ("mini_vit", "photos"),
        ("mini_vit", "fruits"),
        ("ant", "photos"),
        ("zebra", "photos"),
    ]
    parts = [frame_of({"base": [0.5], "10M": [0.6]}, *order[i]) for i in (2, 4, 1, 0, 3)]
    pairs = evidence.paired(pd.concat(parts), "10M")
    assert list(zip(pairs.architecture, pairs.dataset, strict=True)) == order


# --- what every function refuses, and survives ------------------------------------------------------------------------
@pytest.mark.parametrize("name", EVERY)
def test_the_rows_order_does_not_matter(name):
    one, other = ask(name, WORLD), ask(name, WORLD.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(one, other, rtol=1e-9)


PART = frame_of({"10M": [0.6]}, "mini_vit", "elpv")
REFUSED = {
    "'base' is missing in mini_vit on elpv: run it first": pd.concat([frame_of({"base": [0.5], "10M": [0.6]}), PART]),
    "no run at all": WORLD[:0],
    "more than one run of .*network 000.*choose one configuration": pd.concat([WORLD, WORLD[:1]]),
}


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.parametrize("name", EVERY)
def test_a_frame_that_cannot_be_asked_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        ask(name, REFUSED[message])


@pytest.mark.parametrize("name", OF_CASES)
def test_an_unknown_case_is_an_error_with_what_is_allowed(name):
    with pytest.raises(ValueError, match="case='10X' is unknown; allowed: base, 5M, .*, scratch, biases$"):
        ask(name, WORLD, cases=["10X"])


@pytest.mark.parametrize("name", EVERY)
def test_failed_runs_are_no_numbers_even_if_one_stands_there(name):
    failed = (WORLD.case.isin(["base", "10M", "25MN"])) & (WORLD.seed == 1) | (WORLD.case == "5M")
    absent = ask(name, WORLD.assign(accuracy=WORLD.accuracy.where(~failed)))
    there = WORLD.assign(status=WORLD.status.where(~failed, "failed"), accuracy=WORLD.accuracy.where(~failed, 99.0))
    pd.testing.assert_frame_equal(ask(name, there), absent)


FIRST = WORLD[WORLD.seed == 0]
GAPS = {"seed": FIRST, "quick": FIRST[FIRST.case.isin(["base", "25M", "25N"])], "failed": WORLD.assign(status="failed")}
GAPS |= {"cell": WORLD[WORLD.architecture == "network 000"]}


@pytest.mark.parametrize("part", GAPS)
@pytest.mark.parametrize("name", EVERY)
def test_what_is_missing_leaves_gaps_and_no_warnings(name, part):
    table = ask(name, GAPS[part])
    assert isinstance(table, pd.DataFrame) and len(table.columns)
    assert part != "failed" or "p" not in table or table.p.isna().all()


@pytest.mark.parametrize("name", DRAWN)
def test_one_generator_gives_one_result_and_another_another(name):
    assert ask(name, WORLD).equals(ask(name, WORLD)) and not ask(name, WORLD).equals(ask(name, WORLD, 1))


# --- the paper's test -------------------------------------------------------------------------------------------------
def test_mann_whitney_by_hand():
    """5 above 5 is one of 252 arrangements; Holm multiplies it by 2, the number of tests; the other is 1."""
    frame = frame_of({case: at + np.arange(5) / 100 for case, at in (("base", 0.5), ("10M", 0.6), ("25N", 0.1))})
    table = evidence.mann_whitney(frame, ("10M", "25N", "5M")).set_index("case")
    assert table.p.tolist()[:2] == pytest.approx([1 / 252, 1])
    for corrected in (table.holm, table.bh):
        assert corrected.tolist() == pytest.approx([2 / 252, 1, math.nan], nan_ok=True), "two tests, not three"
    assert table.gain.tolist()[:2] == pytest.approx([10, -40]) and table.best.tolist() == [True, False, False]
    assert table[["n", "n_base"]].values.tolist() == [[5, 5], [5, 5], [0, 5]] and math.isnan(table.p["5M"])


def test_false_discoveries_by_hand_and_by_statsmodels():
    p, ours = pd.Series([0.04, math.nan, 0.01, 0.03]), evidence._benjamini_hochberg
    assert ours(p).tolist() == pytest.approx([0.04, math.nan, 0.03, 0.04], nan_ok=True) and ours(p[1:2]).isna().all()
    many = pd.Series(rng(1).integers(0, 30, 40) / 100)  # with ties and zeros
    assert ours(many).tolist() == pytest.approx(multipletests(many, method="fdr_bh")[1].tolist())


def test_the_best_case_and_its_p_are_the_papers_tables():
    frame = world(4, effects={"5M": 1.0})
    best = evidence.mann_whitney(frame, TWELVE).query("best").set_index(CELL)
    table = tables.versus_base(frame).set_index(CELL).loc[best.index]
    assert table["case"].tolist() == best["case"].tolist() and table.gain.tolist() == pytest.approx(best.gain.tolist())
    assert (table.alternative == "case > base").all() and table.p_accuracy.tolist() == pytest.approx(best.p.tolist())


def test_of_equal_cases_the_first_is_the_best():
    frame = frame_of({case: [0.1 + 0.2, 0.5] for case in ("base", "25M", "5M")})
    assert evidence.mann_whitney(frame, ("5M", "25M")).best.tolist() == [True, False]


def test_the_tables_of_p_are_scipys_and_counted():
    chosen = [set(each) for each in itertools.combinations(range(7), 3)]
    ranks = np.array([sum(a > b for a in each for b in set(range(7)) - each) for each in chosen])
    assert evidence.p_by_u(3, 4) == pytest.approx([np.mean(ranks >= u) for u in range(13)])
    for n, others in ((5, 5), (10, 10), (2, 6)):
        runs, base = rng(1).standard_normal((20, n)), rng(2).standard_normal((20, others))
        u = (runs[:, :, None] > base[:, None, :]).sum((1, 2))
        expected = scipy_stats.mannwhitneyu(runs, base, alternative="greater", method="exact", axis=1).pvalue
        assert evidence.p_by_u(n, others)[u] == pytest.approx(expected)


# --- the best of many -------------------------------------------------------------------------------------------------
def test_best_of_by_hand():
    """One seed, labels on 1, 2 and 3: the largest gain is 3 - 1 or 3 - 2 if base is lower, 2 - 3 if it is on top, a
    third each."""
    frame = frame_of({"base": [0.01], "5M": [0.02], "10M": [0.03]})
    (row,) = evidence.best_of(frame, rng(), ("5M", "10M"), draws=30_000).itertuples()
    assert (row.best, row.gain, row.n, row.dropped, row.cases) == ("10M", pytest.approx(2), 1, 0, 2)
    assert row.p == pytest.approx(1 / 3, abs=0.015)
    assert (row.median_by_chance, row.high_by_chance) == (pytest.approx(1), pytest.approx(2))


def test_best_of_uses_complete_seeds_and_says_how_many_it_dropped():
    frame = frame_of({"base": [0.5, 0.6, 0.1], "5M": [0.6, 0.7, None], "10M": [0.5, 0.5, 0.9], "25N": [None] * 3})
    (row,) = evidence.best_of(frame, rng(), ("5M", "10M", "25N"), 99).itertuples()
    assert (row.n, row.dropped, row.cases, row.best) == (2, 1, 2, "5M") and row.gain == pytest.approx(10)
    (row,) = evidence.best_of(frame.assign(status="failed"), rng(), ("5M",), 99).itertuples()
    assert (row.n, row.dropped, row.cases, row.best) == (0, 3, 0, "") and math.isnan(row.p)


@pytest.mark.parametrize("name", ["best_of", "sign_flip_max"])
def test_what_runs_of_one_seed_share_changes_nothing(name):
    """Labels are exchanged within seeds only; all over the cell they would carry the seeds' differences along."""
    lifted = WORLD.assign(accuracy=WORLD.accuracy + WORLD.seed)
    pd.testing.assert_frame_equal(ask(name, WORLD), ask(name, lifted), rtol=1e-6)


def test_best_of_is_calibrated_where_the_uncorrected_best_is_inflated():
    """In 200 cells in which nothing is there, p < 0.05 in 5% of them (binomial bounds of 1 in 10,000), and uniform
    altogether."""
    frame = world(200, cases=MEAN_CASES, seed=3, shared=0)
    table = evidence.best_of(frame, rng(4), MEAN_CASES, draws=399)
    low, high = scipy_stats.binom.ppf([1e-4, 1 - 1e-4], 200, 0.05)
    assert low <= (table.p < 0.05).sum() <= high and scipy_stats.kstest(table.p, "uniform").pvalue > 1e-3
    wide = frame.pivot(index=["architecture", "seed"], columns="case", values="accuracy")
    best = np.stack([cell[table.best[i]] for i, (_, cell) in enumerate(wide.groupby("architecture"))])
    base = wide.base.to_numpy().reshape(200, 5)
    naive = scipy_stats.mannwhitneyu(best, base, alternative="greater", axis=1).pvalue
    assert (naive < 0.05).sum() > high


def test_best_of_finds_what_is_there_and_damage_hides_it_among_twelve():
    frame = world(5, effects={"10M": 20.0, "5N": -40.0, "10N": -45.0, "25N": -50.0}, seed=5)
    mild, all_twelve = (evidence.best_of(frame, rng(), cases, draws=999) for cases in (MEAN_CASES, TWELVE))
    assert (mild.p < 0.01).all() and set(mild.best) == {"10M"}
    assert (all_twelve.p > mild.p).all() and (all_twelve.high_by_chance > 2 * mild.high_by_chance).all()


# --- all cells together -----------------------------------------------------------------------------------------------
def test_sign_flips_by_hand():
    """Differences of 1, 2 and 3: only without any flip is t so large, once in eight; the twin case changes nothing."""
    frame = frame_of({"base": [0.5] * 3, "25N": [0.49, 0.48, 0.47]} | dict.fromkeys(("5M", "10M"), [0.51, 0.52, 0.53]))
    table = evidence.sign_flip_max(frame, rng(), ("5M", "10M", "25N"), draws=20_000).set_index("case")
    assert (
        table.t.tolist() == pytest.approx([2 * math.sqrt(3)] * 2 + [-2 * math.sqrt(3)]) and table.n.tolist() == [3] * 3
    )
    assert table.p.tolist() == pytest.approx([1 / 8, 1 / 8, 1], abs=0.01)
    assert table.p_family.tolist() == pytest.approx([1 / 4, 1 / 4, 1], abs=0.01), (
        "flipped altogether, 25N is the largest"
    )


def test_t_is_students_and_every_case_has_its_own_pairs():
    frame = WORLD.assign(status=WORLD.status.where((WORLD.case != "10M") | (WORLD.seed > 1), "failed"))
    table = evidence.sign_flip_max(frame, rng(), TWELVE, draws=99).set_index("case")
    assert table.n["10M"] == 9 and set(table.n.drop("10M")) == {15}
    for case in ("10M", "25N"):
        expected = scipy_stats.ttest_1samp(evidence.paired(frame, case).difference, 0).statistic
        assert table.t[case] == pytest.approx(expected)


def test_a_difference_without_noise_counts_as_certain_and_none_as_none():
    frame = frame_of({"base": [0.5] * 6, "5M": [0.75] * 6, "10M": [0.5] * 6, "25M": [0.9] + [None] * 5})
    table = evidence.sign_flip_max(frame, rng(), ("5M", "10M", "25M"), draws=2000).set_index("case")
    assert table.t["5M"] == math.inf and table.p["5M"] == pytest.approx(1 / 64, abs=0.01)
    assert (table.t["10M"], table.p["10M"]) == (0, 1)
    assert math.isnan(table.p["25M"]) and math.isnan(table.p_family["25M"])


def test_the_family_of_cases_has_its_error_rate():
    """Of 300 worlds in which nothing is there, 5% have any case with p_family < 0.05; with p < 0.05, more."""
    runs = rng(1).normal(size=(300, 12, 7))
    found = np.array([evidence.max_t(each[:, 1:] - each[:, :1], rng(i), 199) for i, each in enumerate(runs)])
    low, high = scipy_stats.binom.ppf([1e-4, 1 - 1e-4], 300, 0.05)
    singles, families = (found[:, 1:] < 0.05).any(2).sum(0)
    assert low <= families <= high < singles and (found[:, 2] >= found[:, 1]).all()


# --- intervals --------------------------------------------------------------------------------------------------------
def test_cells_that_differ_widen_the_interval_of_cells_alone():
    pairs = evidence.paired(world(9, effects={"10M": 1.0}, cell_std=5.0, seed=2), "10M")
    narrow, wide = interval(pairs.set_index(PAIR).difference), evidence.bootstrap_by_cell(pairs, rng(), 999)
    assert wide.mean == pytest.approx(narrow.mean) and wide.n == narrow.n == 45
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    assert wide == evidence.bootstrap_by_cell(pairs, rng(), 999) != evidence.bootstrap_by_cell(pairs, rng(1), 999)


def test_by_cell_every_cell_counts_the_same_and_a_single_one_says_nothing():
    pairs = pd.DataFrame(
        {"architecture": list("aaab"), "dataset": "x", "seed": range(4), "difference": [1.0, 1.0, 1.0, 3.0]}
    )
    found = evidence.bootstrap_by_cell(pairs, rng(), 4000)
    assert (found.n, found.mean, found.low, found.high) == (4, 2, 1, 3), "(1, 1), (1, 3) or (3, 3)"
    one, none = (evidence.bootstrap_by_cell(pairs[:n], rng()) for n in (3, 0))
    assert (one.n, one.mean, none.n) == (3, 1, 0) and math.isnan(one.low) and math.isnan(one.high)


# --- sizes ------------------------------------------------------------------------------------------------------------
DELTAS = [([3, 4], [1, 2], 1), ([1], [1], 0), ([1, 2], [2, 3], -0.75), ([1, 3], [2], 0), ([], [1], math.nan)]


@pytest.mark.parametrize(("a", "b", "expected"), DELTAS)
def test_cliffs_delta_by_hand(a, b, expected):
    assert evidence.cliffs_delta(a, b) == pytest.approx(expected, nan_ok=True)


small = st.lists(st.integers(0, 5), min_size=1, max_size=8)


@given(small, small)
def test_cliffs_delta_is_the_u_test_rescaled(a, b):
    u, delta = scipy_stats.mannwhitneyu(a, b).statistic, evidence.cliffs_delta(a, b)
    assert delta == pytest.approx(2 * u / (len(a) * len(b)) - 1) == pytest.approx(-evidence.cliffs_delta(b, a))


def test_deltas_are_means_of_the_cells():
    """10M in one cell: 5 above, 2 below, 2 equal of 9; in the other all of 4 above."""
    one = frame_of({"base": [0.5, 0.6, 0.7], "10M": [0.6, 0.6, 0.9], "5M": [0.5, 0.6, None]})
    other = frame_of({"base": [0.1, 0.2], "10M": [0.3, 0.4]}, "mini_vit")
    found = evidence.cliffs_deltas(pd.concat([one, other]), ("10M", "5M", "5N"))
    assert found.tolist() == pytest.approx([(3 / 9 + 1) / 2, -2 / 6, math.nan], nan_ok=True)


# --- equivalence ------------------------------------------------------------------------------------------------------
spread_out = st.lists(st.floats(-3, 3), min_size=3, max_size=20).filter(lambda values: np.std(values) > 1e-3)


@given(spread_out, st.floats(0.1, 5))
def test_equivalence_is_two_t_tests(values, margin):
    expected = ttost_paired(np.array(values), np.zeros(len(values)), -margin, margin)[0]
    assert evidence.p_equivalent(values, margin) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("values", "p"), [([1.0] * 2, 0), ([2.0] * 2, 1), ([-3.0] * 2, 1), ([1.0], math.nan), ([], math.nan)]
)
def test_equivalence_of_few_or_equal_pairs(values, p):
    assert evidence.p_equivalent(values, 2) == pytest.approx(p, nan_ok=True)


# --- one model --------------------------------------------------------------------------------------------------------
def test_the_model_recovers_what_was_put_in():
    """Balanced, so the estimates are each method's least squares: 1 point at 10% and -2 a doubling, -5 points without
    any slope."""
    doublings = {5: -1.0, 10: 0.0, 25: math.log2(2.5)}
    effects = {f"{share}M": 1 - 2 * doubling for share, doubling in doublings.items()}
    effects |= dict.fromkeys(("5N", "10N", "25N"), -5.0)
    frame = world(9, cases=tuple(effects), effects=effects, cell_std=1.5, spread=0.001, shared=0.002)
    table = evidence.mixed_model(frame, tuple(effects)).set_index("term")
    lift = evidence.paired(frame, "10N").difference.mean() + 5  # of these nine cells, from base's draws and theirs
    assert table.estimate.tolist() == pytest.approx([1 + lift, -2, -5 + lift, 0], abs=0.05)
    assert table.index.tolist() == ["M at 10%", "M by doubling", "N at 10%", "N by doubling"] and set(table.n) == {270}
    assert table.converged.all() and "cell 1." in table.attrs["note"]
    assert table.p["M by doubling"] < 1e-6 < 0.05 < table.p["N by doubling"]


def test_its_general_claims_know_as_much_as_there_are_cells():
    """With one case, and equally many differences a cell, the model is a t test of the cells' means."""
    frame = world(9, seeds=3, cases=("10M",), effects={"10M": 2.0}, seed=8, cell_std=3)
    (row,) = evidence.mixed_model(frame, ("10M",)).itertuples()
    means = evidence.paired(frame, "10M").groupby("architecture").difference.mean()
    expected = scipy_stats.ttest_1samp(means, 0)
    assert (row.term, row.estimate, row.n) == ("M at 10%", pytest.approx(means.mean()), 27)
    assert (row.low, row.high) == pytest.approx(tuple(expected.confidence_interval()), rel=1e-3)
    assert row.p == pytest.approx(expected.pvalue, rel=1e-2)


def test_what_the_fit_complains_of_is_noted_and_not_shown():
    """Cells that are all alike put their variance where it can't get lower."""
    frame = world(4, cases=MEAN_CASES)
    means = frame.groupby(["architecture", frame["case"] == "base"]).accuracy.transform("mean")
    note = evidence.mixed_model(frame.assign(accuracy=frame.accuracy - means), MEAN_CASES).attrs["note"]
    assert note.startswith("mixed model; standard deviations: cell 0.00, seed 1.")
    assert "warned: The MLE may be on the boundary" in note


def test_where_there_is_no_mixed_model_it_says_so():
    flat = evidence.mixed_model(WORLD.assign(accuracy=0.5), MEAN_CASES)
    assert flat.attrs["note"].startswith("least squares with errors clustered by cell, since the mixed model had")
    assert flat.estimate.abs().max() < 1e-9 and flat.p.isna().all() and not flat.converged.any()
    for part, why in ((GAPS["cell"], "30 differences in 1 cells"), (GAPS["failed"], "0 differences")):
        table = evidence.mixed_model(part, MEAN_CASES)
        assert table.estimate.isna().all() and f"not fitted: {why}" in table.attrs["note"]


@pytest.mark.parametrize("case", ["scratch", "base"])
def test_the_model_needs_cases_with_a_fraction(case):
    with pytest.raises(ValueError, match=case):
        evidence.mixed_model(frame_of({"base": [0.5, 0.6], "scratch": [0.4, 0.3]}), (case,))


def test_the_cases_are_the_papers():
    assert evidence.TWELVE == TWELVE and len(TWELVE) == 12 and MEAN_CASES == ("5M", "5MN", "10M", "10MN", "25M", "25MN")
    assert {*TWELVE, "base"} == set(CASES) and not set(TWELVE) & set(CONTROL_CASES)
