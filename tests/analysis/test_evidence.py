"""Evidence against numbers that can be worked out by hand, scipy, statsmodels, and worlds in which nothing is there."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from plasticity.analysis import evidence
from plasticity.analysis import tables as stats
from plasticity.analysis.frames import only
from plasticity.analysis.paired import Difference, difference
from plasticity.analysis.power import detectable, detectable_table, power, power_table, spreads
from plasticity.profiles import CASES, CONTROL_CASES

pytestmark = pytest.mark.filterwarnings("error")
TWELVE, TO_MEAN = evidence.TWELVE, evidence.TO_MEAN
EVERY = {  # each function of a frame
    "paired": lambda frame, generator: evidence.paired(frame, "10M"),
    "mann_whitney": lambda frame, generator: evidence.mann_whitney(frame),
    "best_of": lambda frame, generator: evidence.best_of(frame, generator, draws=99),
    "sign_flip_max": lambda frame, generator: evidence.sign_flip_max(frame, generator, draws=99),
    "effect_sizes": lambda frame, generator: evidence.effect_sizes(frame),
    "spreads": lambda frame, generator: spreads(frame),
    "power_table": lambda frame, generator: power_table(frame, generator, gains=(1,), draws=99),
    "detectable_table": lambda frame, generator: detectable_table(frame, generator, draws=99),
    "mixed_model": lambda frame, generator: evidence.mixed_model(frame, cases=TO_MEAN),
}
DRAWN = ("best_of", "sign_flip_max", "power_table", "detectable_table")


def rng(seed=0):
    return np.random.default_rng(seed)


def frame_of(cells, architecture="mini_resnet", dataset="photos", epochs=10):
    """A frame from case -> accuracies by seed; None: that run failed."""
    rows = [
        (architecture, dataset, case, seed, "done" if value is not None else "failed", value, epochs)
        for case, values in cells.items()
        for seed, value in enumerate(values)
    ]
    frame = pd.DataFrame(rows, columns=["architecture", "dataset", "case", "seed", "status", "accuracy", "epochs"])
    return frame.astype({"accuracy": float, "epochs": float})


def world(cells=9, seeds=5, cases=TWELVE, effects=None, seed=0, cell_std=0.0, spread=0.02, shared=0.02):
    """Normal runs of base and ``cases``: seeds share a part; ``effects`` in points by case, ``cell_std`` their spread over cells."""
    generator, names, effects = rng(seed), ("base", *cases), effects or {}
    rows = []
    for cell, number in itertools.product(range(cells), range(seeds)):
        lift = generator.normal(0, shared)
        for case in names:
            rows.append(
                (
                    f"network {cell:03d}",
                    "data",
                    case,
                    number,
                    "done",
                    0.5 + lift + effects.get(case, 0) / 100 + generator.normal(0, spread),
                )
            )
    frame = pd.DataFrame(rows, columns=["architecture", "dataset", "case", "seed", "status", "accuracy"])
    lifts = dict(zip(frame.architecture.unique(), generator.normal(0, cell_std / 100, cells), strict=True))
    moved = frame.architecture.map(lifts).where(frame["case"] != "base", 0)
    return frame.assign(accuracy=frame.accuracy + moved, epochs=20 + 100 * (frame.accuracy - 0.5))


WORLD = world(3)


# --- pairs --------------------------------------------------------------------------------------------------------------
def test_pairs_are_differences_of_complete_seeds_in_points():
    pairs = evidence.paired(frame_of({"base": [0.5, 0.4, None, 0.3], "10M": [0.6, None, 0.9, 0.28]}), "10M")
    assert list(pairs.columns) == ["architecture", "dataset", "seed", "difference"]
    assert pairs.seed.tolist() == [0, 3] and pairs.difference.tolist() == pytest.approx([10, -2])


def test_pairs_of_other_cases_values_and_units():
    frame = frame_of({"base": [0.5], "10M": [0.6], "25N": [0.1]}).assign(epochs=[9.0, 7.0, 12.0])
    assert evidence.paired(frame, "25N", against="10M").difference.tolist() == pytest.approx([-50])
    assert evidence.paired(frame, "10M", value="epochs", scale=1).difference.tolist() == [-2]
    assert evidence.paired(frame, "5M").empty, "known, but never run"


def test_pairs_are_those_of_the_companions():
    found = difference(only(WORLD, case="10M"), only(WORLD, case="base"))
    pairs = evidence.paired(WORLD, "10M").difference
    assert (found.n, found.mean) == (len(pairs), pytest.approx(pairs.mean()))


def test_cells_come_in_the_papers_order_whatever_the_frames():
    parts = [
        frame_of({"base": [0.5], "10M": [0.6]}, name, data)
        for name, data in [
            ("mini_vit", "fruits"),
            ("zebra", "photos"),
            ("mini_vit", "photos"),
            ("mini_simplenet", "elpv"),
            ("ant", "photos"),
        ]
    ]
    pairs = evidence.paired(pd.concat(parts), "10M")
    assert list(zip(pairs.architecture, pairs.dataset, strict=True)) == [
        ("mini_simplenet", "elpv"),
        ("mini_vit", "photos"),
        ("mini_vit", "fruits"),
        ("ant", "photos"),
        ("zebra", "photos"),
    ]


@pytest.mark.parametrize("name", EVERY)
def test_the_rows_order_does_not_matter(name):
    one, other = (EVERY[name](frame, rng()) for frame in (WORLD, WORLD.sample(frac=1, random_state=1)))
    pd.testing.assert_frame_equal(one, other, rtol=1e-9)


# --- what every function refuses, and survives --------------------------------------------------------------------------
@pytest.mark.parametrize("name", EVERY)
def test_a_cell_without_base_is_named(name):
    other = frame_of({"base": [0.5, 0.6], "10M": [0.6, 0.7]})
    with pytest.raises(ValueError, match="'base' is missing in mini_vit on elpv: run it first"):
        EVERY[name](pd.concat([other, frame_of({"10M": [0.6]}, "mini_vit", "elpv")]), rng())


@pytest.mark.parametrize("name", EVERY)
def test_no_runs_at_all_are_an_error(name):
    with pytest.raises(ValueError, match="no run at all"):
        EVERY[name](WORLD[:0], rng())


@pytest.mark.parametrize("name", EVERY)
def test_a_run_that_is_there_twice_is_an_error(name):
    with pytest.raises(ValueError, match="more than one run of .*network 000.*choose one configuration"):
        EVERY[name](pd.concat([WORLD, WORLD[:1]]), rng())


@pytest.mark.parametrize(
    "ask",
    [
        lambda frame, cases: evidence.paired(frame, *cases),
        lambda frame, cases: evidence.mann_whitney(frame, cases=cases),
        lambda frame, cases: evidence.best_of(frame, rng(), cases),
        lambda frame, cases: evidence.sign_flip_max(frame, rng(), cases),
        lambda frame, cases: evidence.effect_sizes(frame, cases),
        lambda frame, cases: evidence.mixed_model(frame, cases=cases),
    ],
)
def test_an_unknown_case_is_an_error_with_what_is_allowed(ask):
    with pytest.raises(ValueError, match="case='10X' is unknown; allowed: base, 5M, .*, scratch, biases$"):
        ask(WORLD, ["10X"])


@pytest.mark.parametrize("name", ["mann_whitney", "best_of", "sign_flip_max", "effect_sizes", "spreads"])
def test_an_unknown_value_is_an_error_with_what_is_allowed(name):
    function, first = getattr(evidence, name), [rng()] if name in DRAWN else []
    with pytest.raises(ValueError, match="value='speed' is unknown; allowed: accuracy, best_accuracy, epochs"):
        function(WORLD, *first, value="speed")
    with pytest.raises(ValueError, match="value='speed' is no column"):
        evidence.paired(WORLD, "10M", value="speed")


@pytest.mark.parametrize("name", EVERY)
def test_failed_runs_are_no_numbers_even_if_one_stands_there(name):
    failed = (WORLD.case.isin(["base", "10M", "25N"])) & (WORLD.seed == 1) | (WORLD.case == "5N")
    absent = EVERY[name](WORLD.assign(accuracy=WORLD.accuracy.where(~failed)), rng())
    marked = WORLD.assign(status=WORLD.status.where(~failed, "failed"), accuracy=WORLD.accuracy.where(~failed, 99.0))
    pd.testing.assert_frame_equal(EVERY[name](marked, rng()), absent)


@pytest.mark.parametrize(
    "part",
    [
        WORLD.seed == 0,
        WORLD["case"].isin(["base", "25M", "25N"]) & (WORLD.seed == 0),
        WORLD.architecture == "network 000",
        WORLD.seed < 0,
    ],
    ids=["seed", "quick", "cell", "failed"],
)
@pytest.mark.parametrize("name", EVERY)
def test_what_is_missing_leaves_gaps_and_no_warnings(name, part):
    frame = WORLD[part] if part.any() else WORLD.assign(status="failed")
    table = EVERY[name](frame, rng())
    assert isinstance(table, pd.DataFrame) and len(table.columns)
    if not part.any() and "p" in table:
        assert table.p.isna().all()


@pytest.mark.parametrize("name", DRAWN)
def test_one_generator_gives_one_result_and_another_another(name):
    one, same, other = (EVERY[name](WORLD, rng(seed)) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one, same)
    assert not one.equals(other)


# --- the paper's test ---------------------------------------------------------------------------------------------------
def test_mann_whitney_by_hand():
    """5 above 5 is one of 252 arrangements; Holm multiplies it by 2, the number of tests; the other is 1."""
    frame = frame_of({case: start + np.arange(5) / 100 for case, start in (("base", 0.5), ("10M", 0.6), ("25N", 0.1))})
    table = evidence.mann_whitney(frame, cases=("10M", "25N", "5M")).set_index("case")
    assert table.p.tolist()[:2] == pytest.approx([1 / 252, 1]) and math.isnan(table.p["5M"])
    assert table.holm.tolist()[:2] == pytest.approx([2 / 252, 1]) and math.isnan(table.holm["5M"]), (
        "two tests, not three"
    )
    assert table.bh.tolist()[:2] == pytest.approx([2 / 252, 1])
    assert table.gain.tolist()[:2] == pytest.approx([10, -40]) and table.best.tolist() == [True, False, False]
    assert table[["n", "n_base"]].values.tolist() == [[5, 5], [5, 5], [0, 5]]


def test_of_epochs_fewer_are_better():
    frame = frame_of({"base": [0.5] * 5, "10M": [0.5] * 5, "5M": [0.5] * 5})
    frame["epochs"] = np.r_[10:15, 1:6, 20:25].astype(float)
    table = evidence.mann_whitney(frame, "epochs", ("10M", "5M"))
    assert table.p.tolist() == pytest.approx([1 / 252, 1]) and table.best.tolist() == [True, False]
    assert table.gain.tolist() == [-9, 10], "in epochs"


def test_corrections_by_hand_and_by_statsmodels():
    p = pd.Series([0.04, math.nan, 0.01, 0.03])
    assert evidence.holm(p).tolist() == pytest.approx([0.06, math.nan, 0.03, 0.06], nan_ok=True), (
        "3 x 0.01, 2 x 0.03, and no less"
    )
    assert evidence._benjamini_hochberg(p).tolist() == pytest.approx([0.04, math.nan, 0.03, 0.04], nan_ok=True)
    assert evidence.holm(p[1:2]).isna().all() and evidence._benjamini_hochberg(p[1:2]).isna().all()
    many = pd.Series(rng(1).integers(0, 30, 40) / 100)  # with ties and zeros
    for ours, method in ((evidence.holm, "holm"), (evidence._benjamini_hochberg, "fdr_bh")):
        assert ours(many).tolist() == pytest.approx(multipletests(many, method=method)[1].tolist())


def test_the_best_case_and_its_p_are_the_papers_tables():
    frame = world(4, effects={"5M": 1.0})
    best = evidence.mann_whitney(frame).query("best").set_index(["architecture", "dataset"])
    table = stats.versus_base(frame).set_index(["architecture", "dataset"]).loc[best.index]
    assert table["case"].tolist() == best["case"].tolist() and table.gain.tolist() == pytest.approx(best.gain.tolist())
    assert (table.alternative == "case > base").all() and table.p_accuracy.tolist() == pytest.approx(best.p.tolist())


def test_of_equal_cases_the_first_is_the_best():
    table = evidence.mann_whitney(
        frame_of({case: [0.1 + 0.2, 0.5] for case in ("base", "25M", "5M")}), cases=("5M", "25M")
    )
    assert table.best.tolist() == [True, False]


def test_the_tables_of_p_are_scipys_and_counted():
    ranks = [
        sum(a > b for a in chosen for b in set(range(7)) - set(chosen))
        for chosen in itertools.combinations(range(7), 3)
    ]
    assert evidence.p_by_u(3, 4) == pytest.approx([np.mean(np.array(ranks) >= u) for u in range(13)])
    for n, others in ((5, 5), (10, 10), (2, 6)):
        runs, base = rng(1).standard_normal((20, n)), rng(2).standard_normal((20, others))
        u = (runs[:, :, None] > base[:, None, :]).sum((1, 2))
        expected = scipy_stats.mannwhitneyu(runs, base, alternative="greater", method="exact", axis=1).pvalue
        assert evidence.p_by_u(n, others)[u] == pytest.approx(expected)


# --- the best of many ---------------------------------------------------------------------------------------------------
def test_best_of_by_hand():
    """One seed, labels on 1, 2 and 3: the largest gain is 3 - 1 or 3 - 2 if base is lower, 2 - 3 if it is on top, a third each."""
    frame = frame_of({"base": [0.01], "5M": [0.02], "10M": [0.03]})
    (row,) = evidence.best_of(frame, rng(), ("5M", "10M"), draws=30_000).itertuples()
    assert (row.best, row.gain, row.n, row.dropped, row.cases) == ("10M", pytest.approx(2), 1, 0, 2)
    assert row.p == pytest.approx(1 / 3, abs=0.015)
    assert (row.median_by_chance, row.high_by_chance) == (pytest.approx(1), pytest.approx(2))


def test_best_of_uses_complete_seeds_and_says_how_many_it_dropped():
    frame = frame_of({"base": [0.5, 0.6, 0.1], "5M": [0.6, 0.7, None], "10M": [0.5, 0.5, 0.9], "25N": [None] * 3})
    (row,) = evidence.best_of(frame, rng(), ("5M", "10M", "25N"), draws=99).itertuples()
    assert (row.n, row.dropped, row.cases, row.best) == (2, 1, 2, "5M") and row.gain == pytest.approx(10)
    (row,) = evidence.best_of(frame.assign(status="failed"), rng(), ("5M",), draws=99).itertuples()
    assert (row.n, row.dropped, row.cases, row.best) == (0, 3, 0, "") and math.isnan(row.p)


def test_what_runs_of_one_seed_share_changes_nothing():
    """Labels are exchanged within seeds only; all over the cell they would carry the seeds' differences along."""
    lifted = WORLD.assign(accuracy=WORLD.accuracy + WORLD.seed)
    for name in ("best_of", "sign_flip_max"):
        pd.testing.assert_frame_equal(EVERY[name](WORLD, rng()), EVERY[name](lifted, rng()), rtol=1e-6)


def test_best_of_epochs_is_the_largest_saving():
    frame = frame_of({"base": [0.5] * 4, "5M": [0.5] * 4, "10M": [0.5] * 4})
    frame["epochs"] = np.r_[[10.0] * 4, [12.0] * 4, [7.0] * 4]
    (row,) = evidence.best_of(frame, rng(), ("5M", "10M"), "epochs", 999).itertuples()
    assert (row.best, row.gain) == ("10M", 3)


def test_best_of_is_calibrated_where_the_uncorrected_best_is_inflated():
    """In 200 cells in which nothing is there, p < 0.05 in 5% of them (binomial bounds of 1 in 10,000), and uniform altogether."""
    frame = world(200, cases=TO_MEAN, seed=3, shared=0)
    table = evidence.best_of(frame, rng(4), TO_MEAN, draws=399)
    low, high = scipy_stats.binom.ppf([1e-4, 1 - 1e-4], 200, 0.05)
    assert low <= (table.p < 0.05).sum() <= high
    assert scipy_stats.kstest(table.p, "uniform").pvalue > 1e-3
    wide = frame.pivot(index=["architecture", "seed"], columns="case", values="accuracy")
    best = np.stack([cell[table.best[i]] for i, (_, cell) in enumerate(wide.groupby("architecture"))])
    naive = scipy_stats.mannwhitneyu(best, wide.base.to_numpy().reshape(200, 5), alternative="greater", axis=1).pvalue
    assert (naive < 0.05).sum() > scipy_stats.binom.ppf(1 - 1e-4, 200, 0.05)


def test_best_of_finds_what_is_there_and_damage_hides_it_among_twelve():
    frame = world(5, effects={"10M": 20.0, "5N": -40.0, "10N": -45.0, "25N": -50.0}, seed=5)
    mild, all_twelve = (evidence.best_of(frame, rng(), cases, draws=999) for cases in (TO_MEAN, TWELVE))
    assert (mild.p < 0.01).all() and set(mild.best) == {"10M"}
    assert (all_twelve.p > mild.p).all() and (all_twelve.high_by_chance > 2 * mild.high_by_chance).all()


# --- all cells together -------------------------------------------------------------------------------------------------
def test_sign_flips_by_hand():
    """Differences of 1, 2 and 3: only without any flip is t so large, once in eight; the twin case changes nothing."""
    frame = frame_of(
        {"base": [0.5] * 3, "5M": [0.51, 0.52, 0.53], "10M": [0.51, 0.52, 0.53], "25N": [0.49, 0.48, 0.47]}
    )
    table = evidence.sign_flip_max(frame, rng(), ("5M", "10M", "25N"), draws=20_000).set_index("case")
    assert table.t.tolist() == pytest.approx([2 * math.sqrt(3)] * 2 + [-2 * math.sqrt(3)])
    assert table.p.tolist() == pytest.approx([1 / 8, 1 / 8, 1], abs=0.01)
    assert table.p_family.tolist() == pytest.approx([1 / 4, 1 / 4, 1], abs=0.01), (
        "flipped altogether, 25N is the largest"
    )
    assert table.difference.tolist() == pytest.approx([2, 2, -2]) and table.n.tolist() == [3, 3, 3]


def test_t_is_students_and_every_case_has_its_own_pairs():
    frame = WORLD.assign(status=WORLD.status.where((WORLD.case != "10M") | (WORLD.seed > 1), "failed"))
    table = evidence.sign_flip_max(frame, rng(), draws=99).set_index("case")
    assert table.n["10M"] == 9 and set(table.n.drop("10M")) == {15}
    for case in ("10M", "25N"):
        expected = scipy_stats.ttest_1samp(evidence.paired(frame, case).difference, 0).statistic
        assert table.t[case] == pytest.approx(expected)


def test_a_difference_without_noise_counts_as_certain_and_none_as_none():
    frame = frame_of({"base": [0.5] * 6, "5M": [0.75] * 6, "10M": [0.5] * 6, "25M": [0.9] + [None] * 5})
    table = evidence.sign_flip_max(frame, rng(), ("5M", "10M", "25M"), draws=2000).set_index("case")
    assert table.t["5M"] == math.inf and table.p["5M"] == pytest.approx(1 / 64, abs=0.01)
    assert (
        (table.t["10M"], table.p["10M"]) == (0, 1) and math.isnan(table.p["25M"]) and math.isnan(table.p_family["25M"])
    )


def test_fewer_epochs_are_better_in_sign_flips():
    frame = WORLD.assign(epochs=np.where(WORLD["case"] == "10M", 5.0, 9.0) + rng().uniform(0, 1, len(WORLD)))
    table = evidence.sign_flip_max(frame, rng(), value="epochs", draws=199).set_index("case")
    assert table.difference["10M"] == pytest.approx(-4, abs=0.3) and table.p_family["10M"] == 1 / 200


def test_the_family_of_cases_has_its_error_rate():
    """Of 300 worlds in which nothing is there, 5% have any case with p_family < 0.05; with p < 0.05, more."""
    runs = rng(1).normal(size=(300, 12, 7))
    found = np.array([evidence.max_t(each[:, 1:] - each[:, :1], rng(i), 199) for i, each in enumerate(runs)])
    low, high = scipy_stats.binom.ppf([1e-4, 1 - 1e-4], 300, 0.05)
    singles, families = (found[:, 1:] < 0.05).any(2).sum(0)
    assert low <= families <= high < singles and (found[:, 2] >= found[:, 1]).all()


# --- intervals ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (0, math.nan, math.nan, math.nan)),
        ([2.0], (1, 2, math.nan, math.nan)),
        ([2.0, 2.0, 2.0], (3, 2, 2, 2)),
        ([2.0, math.nan], (1, 2, math.nan, math.nan)),
    ],
)
def test_few_or_equal_pairs(values, expected):
    assert tuple(vars(evidence.bootstrap(values, rng())).values()) == pytest.approx(expected, nan_ok=True)


def test_the_bootstrap_is_scipys_and_covers():
    values = rng(1).gamma(1.0, size=30)
    found = evidence.bootstrap(values, rng(2), level=0.9, draws=999)
    expected = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=999, confidence_level=0.9, method="BCa", random_state=rng(2)
    )
    assert found == Difference(30, pytest.approx(values.mean()), *expected.confidence_interval)
    assert found != evidence.bootstrap(values, rng(3), level=0.9, draws=999)
    samples = rng(4).normal(1, 1, (200, 30))
    held = sum((found := evidence.bootstrap(sample, rng(5), draws=399)).low < 1 < found.high for sample in samples)
    assert scipy_stats.binom.ppf(1e-4, 200, 0.92) <= held <= 199, "nominally 95%, a little less with thirty pairs"


def test_cells_that_differ_widen_the_interval_of_cells_alone():
    pairs = evidence.paired(world(9, effects={"10M": 1.0}, cell_std=5.0, seed=2), "10M")
    narrow, wide = (
        evidence.bootstrap(pairs.difference, rng(), draws=999),
        evidence.bootstrap_by_cell(pairs, rng(), draws=999),
    )
    assert wide.mean == pytest.approx(narrow.mean) and wide.n == narrow.n == 45
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)
    assert (
        wide
        == evidence.bootstrap_by_cell(pairs, rng(), draws=999)
        != evidence.bootstrap_by_cell(pairs, rng(1), draws=999)
    )


def test_by_cell_every_cell_counts_the_same_and_a_single_one_says_nothing():
    pairs = pd.DataFrame(
        {"architecture": ["a"] * 3 + ["b"], "dataset": "x", "seed": range(4), "difference": [1.0, 1.0, 1.0, 3.0]}
    )
    found = evidence.bootstrap_by_cell(pairs, rng(), draws=4000)
    assert (found.n, found.mean, found.low, found.high) == (4, 2, 1, 3), "(1, 1), (1, 3) or (3, 3)"
    assert evidence.bootstrap_by_cell(pairs, rng(), level=0.4, draws=4000).low == 2
    assert evidence.bootstrap_by_cell(pairs[:3], rng()) == Difference(3, 1, *[pytest.approx(math.nan, nan_ok=True)] * 2)
    assert evidence.bootstrap_by_cell(pairs[:0], rng()).n == 0


# --- sizes --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([3, 4], [1, 2], 1),
        ([1], [1], 0),
        ([1, 2], [2, 3], -0.75),
        ([2, math.nan], [1], 1),
        ([1, 3], [2], 0),
        ([], [1], math.nan),
        ([math.nan], [1], math.nan),
    ],
)
def test_cliffs_delta_by_hand(a, b, expected):
    assert evidence.cliffs_delta(a, b) == pytest.approx(expected, nan_ok=True)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.lists(st.integers(0, 5), min_size=1, max_size=8))
def test_cliffs_delta_is_the_u_test_rescaled(a, b):
    u = scipy_stats.mannwhitneyu(a, b).statistic
    assert (
        evidence.cliffs_delta(a, b)
        == pytest.approx(2 * u / (len(a) * len(b)) - 1)
        == pytest.approx(-evidence.cliffs_delta(b, a))
    )


def test_effect_sizes_by_hand():
    frame = frame_of({"base": [0.5, 0.6, 0.7], "10M": [0.6, 0.6, 0.9], "5M": [0.5, 0.6, None]})
    one, other, none = evidence.effect_sizes(frame, ("10M", "5M", "5N")).itertuples()
    assert (one.n, one.n_base, one.gain, one.delta) == (3, 3, pytest.approx(10), pytest.approx(3 / 9)), (
        "5 above, 2 below, 2 equal"
    )
    assert one.d == pytest.approx(1), "pairs: 10, 0 and 20"
    assert (other.n, other.gain) == (2, pytest.approx(-5)) and math.isnan(other.d) and (none.n, none.n_base) == (0, 3)


# --- equivalence --------------------------------------------------------------------------------------------------------
@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=20).filter(lambda values: np.std(values) > 1e-3), st.floats(0.1, 5)
)
def test_equivalence_is_two_t_tests(values, margin):
    found = evidence.equivalence(values, margin)
    sides = (-margin, "greater"), (margin, "less")
    assert found.p == pytest.approx(
        max(scipy_stats.ttest_1samp(values, bound, alternative=side).pvalue for bound, side in sides)
    )
    assert found.p == pytest.approx(ttost_paired(np.array(values), np.zeros(len(values)), -margin, margin)[0])
    assert found.equivalent == (found.p < 0.05) == (-margin < found.low and found.high < margin)
    assert (found.n, found.mean) == (len(values), pytest.approx(np.mean(values)))


@pytest.mark.parametrize(
    ("values", "p", "equivalent"),
    [
        ([1.0, 1.0], 0, True),
        ([2.0, 2.0], 1, False),
        ([-3.0, -3.0], 1, False),
        ([1.0], math.nan, False),
        ([], math.nan, False),
    ],
)
def test_equivalence_of_few_or_equal_pairs(values, p, equivalent):
    found = evidence.equivalence(values, 2)
    assert found.p == pytest.approx(p, nan_ok=True) and found.equivalent is equivalent


@pytest.mark.parametrize("margin", [0, -1, math.nan])
def test_a_margin_has_to_be_above_zero(margin):
    with pytest.raises(ValueError, match=f"margin={margin!r} must be above zero"):
        evidence.equivalence([1.0, 2.0], margin)


# --- power --------------------------------------------------------------------------------------------------------------
def test_power_of_the_paired_test_is_the_noncentral_t():
    for n, gain in ((5, 1.0), (10, 0.3)):
        expected = scipy_stats.nct.sf(scipy_stats.t.ppf(0.95, n - 1), n - 1, gain / 2 * math.sqrt(n))
        assert power(2, gain, n, rng(), test="paired_t") == pytest.approx(expected)


def test_power_of_the_unpaired_test_is_what_simulated_tests_find():
    draws, (runs, base) = 4000, rng(1).normal(0, 2, (2, 4000, 5))
    p = scipy_stats.mannwhitneyu(runs + 3, base, alternative="greater", method="exact", axis=1).pvalue
    error = 4 * math.sqrt(0.5 / draws)  # four standard errors of a difference of two shares, at most
    assert power(2, 3, 5, rng(2), draws) == pytest.approx((p < 0.05).mean(), abs=error)
    assert power(2, 0, 5, rng(2), draws) == pytest.approx(0.0476, abs=0.015), (
        "12 of 252: 1 + 1 + 2 + 3 + 5 arrangements"
    )


def test_power_grows_with_gain_and_runs_and_pairs_need_fewer():
    by_gain = [power(2, gain, 5, rng(), 2000) for gain in (-1, 0, 1, 2, 4)]
    assert by_gain == sorted(by_gain) and by_gain[0] < 0.05 < by_gain[-1]
    assert power(2, 2, 10, rng(), 2000) > power(2, 2, 5, rng(), 2000)
    assert power(1, 1.5, 5, rng(), test="paired_t") > power(2, 1.5, 5, rng(), 2000)


def test_power_where_nothing_can_be_tested():
    for test in evidence.TESTS:
        assert math.isnan(power(1, 1, 1, rng(), test=test)) and math.isnan(power(math.nan, 1, 5, rng(), test=test))
        assert math.isnan(detectable(math.nan, 5, rng(), test=test))
        assert (power(0, 1, 5, rng(), test=test), power(0, 0, 5, rng(), test=test)) == (1, 0)
        with pytest.raises(ValueError, match="test='z' is unknown; allowed: mann_whitney, paired_t"):
            power(1, 1, 5, rng(), test="z")
    assert power(1, 99, 2, rng(), 99) == 0 and detectable(1, 2, rng(), 99) == math.inf, "two runs a side: p >= 1/6"


@pytest.mark.parametrize("test", evidence.TESTS)
def test_what_is_detectable_has_a_power_of_80_percent(test):
    gain = detectable(1.7, 6, rng(1), 20_000, test)
    assert power(1.7, gain, 6, rng(2), 20_000, test) == pytest.approx(0.8, abs=0.02)
    assert detectable(3.4, 6, rng(1), 20_000, test) == pytest.approx(2 * gain)


def test_spreads_pool_variances_by_degrees_of_freedom():
    """Base 1, 3 (variance 2, one degree), 10M 1, 1, 4 (variance 3, two): (2 + 6) / 3; pairs: 0 and -2, variance 2."""
    frame = frame_of({"base": [0.01, 0.03, None], "10M": [0.01, 0.01, 0.04]})
    (row,) = spreads(frame, ("10M",)).itertuples()
    assert (row.mann_whitney, row.paired_t) == (pytest.approx(math.sqrt(8 / 3)), pytest.approx(math.sqrt(2)))
    table = power_table(frame, rng(), (1, 2), (5, 10), ("10M",), draws=99)
    assert table.groupby("test").spread.first().to_dict() == pytest.approx(
        {"mann_whitney": row.mann_whitney, "paired_t": row.paired_t}
    )
    assert len(table) == 8 and list(zip(table.n, table.gain, strict=True))[:4] == [(5, 1), (5, 2), (10, 1), (10, 2)]
    smallest = detectable_table(frame, rng(), cases=("10M",), draws=99)
    assert list(zip(smallest.test, smallest.n, strict=True)) == list(itertools.product(evidence.TESTS, (5, 10)))


# --- one model ----------------------------------------------------------------------------------------------------------
def test_the_model_recovers_what_was_put_in():
    """Balanced, so the estimates are each method's least squares: 1 point at 10% and -2 a doubling, -5 points without any slope."""
    doublings = {5: -1.0, 10: 0.0, 25: math.log2(2.5)}
    effects = {f"{share}M": 1 - 2 * doubling for share, doubling in doublings.items()} | dict.fromkeys(
        ("5N", "10N", "25N"), -5.0
    )
    frame = world(9, cases=tuple(effects), effects=effects, cell_std=1.5, spread=0.001, shared=0.002)
    table = evidence.mixed_model(frame, cases=tuple(effects)).set_index("term")
    lift = evidence.paired(frame, "10N").difference.mean() + 5  # of these nine cells, from base's draws and theirs
    assert table.estimate.tolist() == pytest.approx([1 + lift, -2, -5 + lift, 0], abs=0.05)
    assert table.index.tolist() == ["M at 10%", "M by doubling", "N at 10%", "N by doubling"] and set(table.n) == {270}
    assert table.converged.all() and "cell 1." in table.attrs["note"]
    assert table.p["M by doubling"] < 1e-6 < 0.05 < table.p["N by doubling"]


def test_its_general_claims_know_as_much_as_there_are_cells():
    """With one case, and equally many differences a cell, the model is a t test of the cells' means."""
    frame = world(9, seeds=3, cases=("10M",), effects={"10M": 2.0}, seed=8, cell_std=3)
    (row,) = evidence.mixed_model(frame, cases=("10M",)).itertuples()
    means = evidence.paired(frame, "10M").groupby("architecture").difference.mean()
    expected = scipy_stats.ttest_1samp(means, 0)
    assert (row.term, row.estimate, row.n) == ("M at 10%", pytest.approx(means.mean()), 27)
    assert (row.low, row.high) == pytest.approx(tuple(expected.confidence_interval()), rel=1e-3)
    assert row.p == pytest.approx(expected.pvalue, rel=1e-2)


def test_what_the_fit_complains_of_is_noted_and_not_shown():
    """Cells that are all alike put their variance where it can't get lower."""
    frame = world(4, cases=TO_MEAN)
    means = frame.groupby(["architecture", frame["case"] == "base"]).accuracy.transform("mean")
    table = evidence.mixed_model(frame.assign(accuracy=frame.accuracy - means), cases=TO_MEAN)
    assert table.attrs["note"].startswith("mixed model; standard deviations: cell 0.00, seed 1.")
    assert "warned: The MLE may be on the boundary" in table.attrs["note"]


def test_where_there_is_no_mixed_model_it_says_so():
    flat = evidence.mixed_model(WORLD.assign(accuracy=0.5), cases=TO_MEAN)
    assert flat.attrs["note"].startswith("least squares with errors clustered by cell, since the mixed model had")
    assert flat.estimate.abs().max() < 1e-9 and flat.p.isna().all() and not flat.converged.any()
    failed, single = WORLD.assign(status="failed"), WORLD[WORLD.architecture == "network 000"]
    for part, why in ((single, "30 differences in 1 cells"), (failed, "0 differences")):
        table = evidence.mixed_model(part, cases=TO_MEAN)
        assert table.estimate.isna().all() and f"not fitted: {why}" in table.attrs["note"]


@pytest.mark.parametrize("case", ["scratch", "base"])
def test_the_model_needs_cases_with_a_fraction(case):
    frame = pd.concat([frame_of({"base": [0.5, 0.6], "scratch": [0.4, 0.3]})])
    with pytest.raises(ValueError, match=case):
        evidence.mixed_model(frame, cases=(case,))


def test_the_cases_are_the_papers():
    assert len(TWELVE) == 12 and TO_MEAN == ("5M", "5MN", "10M", "10MN", "25M", "25MN")
    assert set(TWELVE) | {"base"} == set(CASES) and not set(TWELVE) & set(CONTROL_CASES)
