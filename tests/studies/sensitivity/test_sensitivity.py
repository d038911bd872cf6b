"""Runs by factor and level, and tables against numbers that can be worked out by hand."""

from collections import Counter
from dataclasses import fields

import numpy as np
import pytest
from helpers import T, record

from plasticity.analysis.frames import run_table
from plasticity.methods import registry as methods
from plasticity.profiles import get_profile
from plasticity.profiles import grid as main_grid
from plasticity.run import Run
from plasticity.running import records
from plasticity.studies.all import grid
from plasticity.studies.companions import runs as companions
from plasticity.studies.sensitivity import runs, tables
from plasticity.studies.sensitivity.runs import CONSISTS, LEVELS, OWN

MINI, QUICK, PAPER = (runs.profile_of(name) for name in ("mini", "quick", "paper"))
BEST = {"best_accuracy": 0.5}


# --- the runs ---------------------------------------------------------------------------------------------------------
def test_the_counts_of_mini():
    parts, main, pairs = runs.study(MINI), set(grid(get_profile("mini"))), 3 * 3 * 2  # networks x data sets x seeds
    both = ["learning rate: a third", "learning rate: three times", "batch size: half", "batch size: double"]
    both += [
        "patience: a third",
        "patience: double",
        "reading: text (biases zero)",
        "stopped and chosen by: test items",
    ]
    reset = ["biases: kept", "scope: global", "utility: gradient", "tensors: without the head", "tensors: with gains"]
    expected = {OWN: 0, CONSISTS: 2 * pairs}  # 10Z, and base with another head; the bias control is the grid's own
    expected |= (
        dict.fromkeys(both, 2 * pairs) | dict.fromkeys(reset, pairs) | {"tensors: without embeddings": pairs // 3}
    )
    expected |= {
        "optimiser: AdamW": 2 * pairs * 2 // 3,
        "optimiser: SGD": 2 * pairs // 3,
    }  # networks that have the other
    new = {name: len(set(some) - main - set(parts[OWN])) for name, some in parts.items()}
    every = runs.grid(MINI)
    assert new == expected and len(every) == 510 == len({str(run) for run in every})
    assert len(set(every) - main) == sum(new.values()) == 456


ALTERED = ["batch_size", "patience", "reading", "biases", "scope", "utility", "tensors", "monitor", "lr"]
ALTERED = [{name} for name in ALTERED] + [{"lr", "optimizer", "momentum"}, {"lr", "optimizer"}]


@pytest.mark.parametrize("profile", [MINI, QUICK, PAPER], ids=lambda profile: profile.name)
def test_each_level_differs_from_the_profiles_own_in_one_setting(profile):
    own = {
        (run.architecture, run.dataset, run.seed, run.case): run for run in main_grid(profile, cases=("base", "10M"))
    }
    for name, some in runs.study(profile).items():
        counts = Counter(run.case for run in some)
        assert counts["base"] == counts["10M"] > 0
        for run in some if name not in (OWN, CONSISTS) else ():
            like = own[run.architecture, run.dataset, run.seed, run.case]
            differ = {f.name for f in fields(Run) if getattr(run, f.name) != getattr(like, f.name)}
            assert differ in ALTERED or (run.case == "base" and not differ), (name, differ)


def test_default_runs_are_the_main_grids_records():
    for name, profile in (("mini", MINI), ("paper", PAPER)):
        assert set(runs.study(profile)[OWN]) <= set(grid(get_profile(name)))
    assert {run.seed for run in runs.study(MINI)[OWN]} == {0, 1}


RATES = [
    ("learning rate", "a third", {"lr": 0.01}, {"lr": 0.00333}),
    ("learning rate", "three times", {"lr": 0.01}, {"lr": 0.03}),
    ("batch size", "half", {"batch_size": 1}, {"batch_size": 1}),
    ("batch size", "double", {}, {"batch_size": 64}),
    ("patience", "a third", {"patience": 2}, {"patience": 1}),
    ("patience", "a third", {}, {"patience": 3}),
    ("optimiser", "AdamW", {"lr": 0.02, "momentum": 0.9}, {"optimizer": "adamw", "lr": 0.002, "momentum": 0.0}),
    ("optimiser", "SGD", {"lr": 1.2e-3, "optimizer": "adamw"}, {"optimizer": "sgd", "lr": 0.012, "momentum": 0.9}),
]


@pytest.mark.parametrize(("factor", "level", "settings", "expected"), RATES)
def test_rates_and_counts_of_levels(factor, level, settings, expected):
    run = LEVELS[factor, level](Run("mini_vit", "photos", "10M", weights="source", **settings))
    assert {name: getattr(run, name) for name in expected} == expected


def test_the_other_reading_is_the_one_that_the_profile_has_not():
    text = runs.study(runs.profile_of("mini", repeats=1, reading="text"))
    assert "reading: code" in text and not any(name.startswith("reading: text (") for name in text)
    assert {run.reading for run in text["reading: code"]} == {"code"} and len(text[OWN]) == 18
    kept = {run.biases for run in text["biases: kept"] if run.case == "base"}
    assert kept == {"keep"}, "by the text's reading base zeroes its biases, and so feels it"


def test_profiles_by_the_name_they_belong_to():
    assert runs.profile_of("sensitivity", repeats=4).repeats == 4 and MINI.repeats == 2
    with pytest.raises(
        ValueError, match="'imagenet' has no sensitivity study; those that have: mini, quick, paper, sens"
    ):
        runs.profile_of("imagenet")
    with pytest.raises(ValueError, match="'companions'"):
        runs.profile_of("companions")


def test_the_command_line_knows_the_grid():
    assert grid(MINI) == runs.grid(MINI) and {run.architecture for run in grid(MINI, ["vit"])} == {"mini_vit"}
    assert {run.case for run in grid(QUICK, cases=["10Z"])} == {"10Z"}
    with pytest.raises(ValueError, match="'sensitivity' has no architecture 'resnet50'"):
        grid(MINI, ["resnet50"])
    for run in grid(PAPER):
        methods.build(run.case)


def test_all_three_studies_share_a_folder_and_each_finds_its_own_runs(tmp_path):
    grids = grid(get_profile("quick")), grid(QUICK), grid(companions.companion("quick"))
    for run in dict.fromkeys(run for some in grids for run in some):
        records.save(run, records.failure("", 0.0), tmp_path)
    for some in grids:
        found = records.load_runs(some, tmp_path)
        assert [Run(**record["config"]) for record in found] == list(some)


# --- the tables -------------------------------------------------------------------------------------------------------
def part(effects, base=0.5, case="10M", **settings):
    """Base and a case, which is ahead by so many points, by seed."""
    both = (("base", 0), (case, 1))
    return [
        record(name, seed, base + times * points / 100, "transfer", **settings)
        for seed, points in enumerate(effects)
        for name, times in both
    ]


def framed(**parts):
    return {name.replace("__", ": "): run_table(made) for name, made in parts.items()}


def frames_of(**levels):
    return {OWN: run_table(part([1, 3], **BEST))} | framed(**levels)


def test_effects_worked_out_by_hand():
    table = tables.effects(frames_of(rate__three=part([4, 8], base=0.6, lr=0.03)))
    default, row, best = (table.iloc[i] for i in range(3))
    assert (default.factor, default.n, default["mean"]) == (OWN, 2, pytest.approx(2)) and default.p != default.p
    assert (default.low, default.high) == (pytest.approx(2 - T[1]), pytest.approx(2 + T[1])), (
        "1 and 3: standard error 1"
    )
    assert (row.factor, row.level, row.n) == ("rate", "three", 2)
    assert (row["mean"], row.low) == (pytest.approx(6), pytest.approx(6 - 2 * T[1]))
    assert (row.base_n, row.base_mean, row.base_low) == (2, pytest.approx(10), pytest.approx(10))
    assert (row.change_mean, row.change_low) == (pytest.approx(4), pytest.approx(4 - T[1])), "3 and 5"
    assert row.p == pytest.approx(2 * np.arctan(1 / 4) / np.pi), (
        "Student's t of 4 with one degree of freedom is Cauchy's"
    )
    assert (best.factor, best.level, best["mean"]) == ("tested weights", "best", pytest.approx(0))
    assert table.p_holm.notna().sum() == 2 and row.p_holm == pytest.approx(2 * row.p) and row.verdict == "undecided"


def test_a_level_that_base_does_not_feel_says_so_and_pairs_are_those_that_both_have():
    scope = [*part([1, 3])[::2], *part([5, 6], scope="global")[1::2]]
    table = tables.effects(frames_of(scope__global=scope, optimiser__sgd=part([7], lr=0.2))).set_index("factor")
    assert table.base_mean.isna()["scope"] and table.base_n["scope"] == 0
    assert table.change_mean["scope"] == pytest.approx(3.5) and table.verdict["optimiser"] == "not tested"
    assert (table.n["optimiser"], table.change_n["optimiser"], table.change_mean["optimiser"]) == (
        1,
        1,
        pytest.approx(6),
    )
    assert table.base_mean["optimiser"] == pytest.approx(0), "other runs, if equal ones"
    shown = tables.written(table.reset_index())
    assert list(shown["base, minus base by default"])[1:3] == ["-", "+0.00"]
    assert "p (Holm of 2)" in shown and list(shown.p)[2] == "-"


def test_effects_by_network():
    both = part([1, 3], **BEST) + part([5, 5], network="mini_vit_tiny", **BEST)
    table = tables.by_network({OWN: run_table(both)} | framed(lr__low=part([2, 2], lr=0.1)))
    wide = f"+2.0 [{2 - T[1]:+.1f}, {2 + T[1]:+.1f}] (n = 2)"
    assert table.iloc[0].tolist() == [OWN, "", wide, "+5.0 [+5.0, +5.0] (n = 2)"]
    assert table.iloc[1].tolist() == ["lr", "low", "+2.0 [+2.0, +2.0] (n = 2)", "-"]
    assert list(table.columns[2:]) == ["miniature ResNet-18", "miniature ViT-Tiny"]


def test_verdicts_follow_the_interval_and_holms_p():
    steady = [2.0, 2.1, 1.9, 2.0, 2.05]
    more, less = part([6.0, 6.2, 5.9, 6.1, 6.0], lr=0.1), part([-2.0, -2.1, -1.9, -2.2, -1.8], lr=0.2)
    small, same = part([0.2, -0.2, 0.1, -0.1, 0.0], lr=0.4), part(steady, lr=0.3)
    levels = framed(more__=more, less__=less, small__=small, same__=same)
    found = tables.effects({OWN: run_table(part(steady, **BEST))} | levels).set_index("factor")
    says = {"more": "supported; more than by default", "less": "contradicted; less than by default"}
    says |= {"small": "not supported; less than by default", "same": "supported", OWN: "supported"}
    assert {name: found.verdict[name] for name in says} == says and found.p["same"] == 1


def test_what_10m_consists_of():
    consists = part([2, 4]) + part([1, 1], case="10Z")[1::2] + part([0, 2], case="biases")[1::2]
    consists += part([-3, 3], case="base + other_head")[1::2]
    kept = [*part([2, 4])[::2], *part([1, 2], biases="keep")[1::2]]
    table = tables.gain_parts(framed(biases__kept=kept) | {CONSISTS: run_table(consists)}).set_index("compared")
    means = {"10M minus base": 3, "10Z minus base": 1, "biases minus base": 1, "another head minus base": 0}
    means |= {"10M minus 10Z": 2, "10M minus biases": 2, "10M, biases kept, minus base": 1.5}
    assert table["mean"].to_dict() == pytest.approx(means | {"10M minus 10M, biases kept": 1.5})
    assert table.spread["another head minus base"] == pytest.approx(3 * 2**0.5)
    assert table.low["10M minus 10Z"] == pytest.approx(2 - T[1]), "1 and 3: standard error 1"
    assert set(tables.written(table.reset_index())) == {"compared", "difference", "n", "spread"}


def test_what_the_test_items_flatter():
    def monitored(best, last, epochs, monitor):
        return run_table(
            [
                record(case, seed, last + gain, "transfer", best_accuracy=best + gain, epochs=epochs, monitor=monitor)
                for case, gain in (("base", 0.0), ("10M", 0.01))
                for seed in (0, 1)
            ]
        )

    frames = {tables.MONITORED: monitored(0.54, 0.51, 9, "test"), OWN: monitored(0.5, 0.5, 12, "validation")}
    table = tables.flatter(frames).set_index("compared")
    assert table["mean"][["best weights, base", "best weights, both"]].tolist() == pytest.approx([4, 4])
    assert table["mean"]["last weights, 10M"] == pytest.approx(1) and table["mean"]["epochs, both"] == -3
    assert set(table.n) == {2}


def test_several_runs_of_one_pair_are_refused():
    with pytest.raises(ValueError, match="several runs of case '10M'.*'seed': 0.*choose one part"):
        tables.gains(run_table(part([1]) + part([1], lr=0.5)))
