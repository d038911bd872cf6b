"""Runs by factor and level, tables against numbers that can be worked out by hand, and the study beside the main grid in one folder."""

from collections import Counter
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_paired import T, record

from plasticity import run as config
from plasticity.analysis.frames import run_table
from plasticity.methods import registry as methods
from plasticity.profiles import get_profile, source_run
from plasticity.run import Run
from plasticity.running import records
from plasticity.studies.all import grid
from plasticity.studies.companions import runs as studies
from plasticity.studies.sensitivity import runs as sensitivity
from plasticity.studies.sensitivity import tables as sensitivity_tables
from plasticity.studies.sensitivity.runs import CONSISTS, LEVELS, OWN

ROOT = Path(__file__).resolve().parents[3]
MINI, QUICK, PAPER = (sensitivity.profile_of(name) for name in ("mini", "quick", "paper"))


# --- the runs -----------------------------------------------------------------------------------------------------------
def test_the_counts_of_mini():
    parts, main = sensitivity.study(MINI), set(grid(get_profile("mini")))
    pairs = 3 * 3 * 2  # networks x data sets x seeds
    both = dict.fromkeys(
        (
            "learning rate: a third",
            "learning rate: three times",
            "batch size: half",
            "batch size: double",
            "patience: a third",
            "patience: double",
            "reading: text (biases zero)",
            "stopped and chosen by: test items",
        ),
        2 * pairs,
    )
    both |= {
        "optimiser: AdamW": 2 * pairs * 2 // 3,
        "optimiser: SGD": 2 * pairs // 3,
    }  # the networks that have the other
    reset = dict.fromkeys(
        ("biases: kept", "scope: global", "utility: gradient", "tensors: without the head", "tensors: with gains"),
        pairs,
    )
    reset["tensors: without embeddings"] = pairs // 3
    new = {name: len(set(runs) - main - set(parts[OWN])) for name, runs in parts.items()}
    assert new == {OWN: 0} | both | reset | {CONSISTS: 2 * pairs}, (
        "10Z, and base with another head; the bias control is the grid's own"
    )
    runs = sensitivity.grid(MINI)
    assert len(runs) == 510 and len(set(runs) - main) == sum(new.values()) == 456
    assert len({str(run) for run in runs}) == 510


@pytest.mark.parametrize("profile", [MINI, QUICK, PAPER], ids=lambda profile: profile.name)
def test_each_level_differs_from_the_profiles_own_in_one_setting(profile):
    own = {(run.architecture, run.dataset, run.seed, run.case): run for run in grid(profile, cases=("base", "10M"))}
    allowed = [
        {"lr"},
        {"batch_size"},
        {"lr", "optimizer", "momentum"},
        {"lr", "optimizer"},
        {"patience"},
        {"reading"},
        {"biases"},
        {"scope"},
        {"utility"},
        {"tensors"},
        {"monitor"},
    ]
    for name, runs in sensitivity.study(profile).items():
        assert Counter(run.case for run in runs)["base"] == Counter(run.case for run in runs)["10M"] > 0
        for run in runs if name not in (OWN, CONSISTS) else ():
            like = own[run.architecture, run.dataset, run.seed, run.case]
            differ = {f.name for f in fields(Run) if getattr(run, f.name) != getattr(like, f.name)}
            assert differ in allowed or (run.case == "base" and not differ), (name, differ)


def test_default_runs_are_the_main_grids_records():
    for name, profile in (("mini", MINI), ("paper", PAPER)):
        assert set(sensitivity.study(profile)[OWN]) <= set(grid(get_profile(name)))
    assert {run.seed for run in sensitivity.study(MINI)[OWN]} == {0, 1}


def test_rates_and_counts_of_levels():
    def altered(factor, level, **settings):
        return LEVELS[factor, level](Run("mini_vit", "photos", "10M", weights="source", **settings))

    assert (
        altered("learning rate", "a third", lr=0.01).lr == 0.00333
        and altered("learning rate", "three times", lr=0.01).lr == 0.03
    )
    assert (
        altered("batch size", "half", batch_size=1).batch_size == 1 and altered("batch size", "double").batch_size == 64
    )
    assert altered("patience", "a third", patience=2).patience == 1 and altered("patience", "a third").patience == 3
    adamw, sgd = (
        altered("optimiser", "AdamW", lr=0.02, momentum=0.9),
        altered("optimiser", "SGD", lr=1.2e-3, optimizer="adamw"),
    )
    assert (adamw.optimizer, adamw.lr, adamw.momentum) == ("adamw", 0.002, 0.0)
    assert (sgd.optimizer, sgd.lr, sgd.momentum) == ("sgd", 0.012, 0.9)


def test_the_other_reading_is_the_one_that_the_profile_has_not():
    text = sensitivity.study(sensitivity.profile_of("mini", repeats=1, reading="text"))
    assert "reading: code" in text and not any(name.startswith("reading: text (") for name in text)
    assert {run.reading for run in text["reading: code"]} == {"code"}
    kept = {run.biases for run in text["biases: kept"] if run.case == "base"}
    assert kept == {"keep"}, "by the text's reading base zeroes its biases, and so feels it"
    assert len(text[OWN]) == 18


def test_profiles_by_the_name_they_belong_to():
    assert sensitivity.profile_of("sensitivity", repeats=4).repeats == 4 and MINI.repeats == 2
    with pytest.raises(
        ValueError, match="'imagenet' has no sensitivity study; those that have: mini, quick, paper, sensitivity"
    ):
        sensitivity.profile_of("imagenet")
    with pytest.raises(ValueError, match="'companions'"):
        sensitivity.profile_of("companions")


def test_the_command_line_knows_the_grid():
    assert grid(MINI) == sensitivity.grid(MINI)
    assert {run.architecture for run in grid(MINI, ["vit"])} == {"mini_vit"}
    assert {run.case for run in grid(QUICK, cases=["10Z"])} == {"10Z"}
    with pytest.raises(ValueError, match="'sensitivity' has no architecture 'resnet50'"):
        grid(MINI, ["resnet50"])
    for run in grid(PAPER):
        methods.build(run.case)


# --- one folder with the main grid and the companions ---------------------------------------------------------------------
def touch(runs, folder):
    """Records with nothing in them but their configuration, as far as a refusal looks."""
    for run in runs:
        records.save(run, {"status": "failed", "message": "", "traceback": "", "seconds": 0.0}, folder)


def test_all_three_studies_share_a_folder_in_any_order(tmp_path):
    """What `engine.run_all` lets through: `records.refuse_other_protocols` with the runs around these."""
    quick, companions = grid(get_profile("quick")), grid(studies.companion("quick"))
    grids = {"main": quick, "sensitivity": sensitivity.grid(QUICK), "companions": companions}
    every = sensitivity.profile_of("mini", repeats=1)
    grids |= {
        "main, mini": grid(get_profile("mini", repeats=1), ["vit"], ("base", "10M")),
        "sensitivity, mini": grid(every, ["vit"]),
    }
    for first, then in (
        ("main", "sensitivity"),
        ("sensitivity", "main"),
        ("sensitivity", "companions"),
        ("companions", "sensitivity"),
        ("sensitivity, mini", "main, mini"),
    ):
        folder = tmp_path / f"{first}-{then}"
        touch(grids[first], folder)
        known = companions if then == "companions" else ()  # as notebooks 50 to 54 pass it
        records.refuse_other_protocols(grids[then], folder, {*known, *sensitivity.around(grids[then])})


def test_a_profile_that_was_changed_half_way_is_refused_still(tmp_path):
    quick = grid(get_profile("quick"))
    touch([LEVELS["learning rate", "a third"](quick[0])], tmp_path / "altered")
    with pytest.raises(records.RecordError, match="lr was 0.00333, is 0.01"):
        # it is the runs around these that make the difference
        records.refuse_other_protocols(quick, tmp_path / "altered")
    changed = [config.replace(run, lr=0.017) for run in quick]
    touch(changed[:1], tmp_path / "runs")
    with pytest.raises(records.RecordError, match="records of another protocol.*lr was 0.017"):
        records.refuse_other_protocols(quick, tmp_path / "runs", sensitivity.around(quick))


def test_around_names_what_the_study_adds_whatever_the_repeats():
    wide = sensitivity.profile_of("mini", repeats=3)
    beside = sensitivity.around(grid(get_profile("mini")))
    assert {run for runs in sensitivity.study(wide).values() for run in runs if run.case in ("base", "10M")} <= beside
    source = source_run("mini_vit", "source")
    assert sensitivity.around([source]) == set() and {run.case for run in beside} == {"base", "10M"}


# --- the tables ---------------------------------------------------------------------------------------------------------
def part(effects, base=0.5, case="10M", **settings):
    """Base and a case, which is ahead by so many points, by seed."""
    made = []
    for seed, points in enumerate(effects):
        made += [
            record("base", seed, base, "transfer", **settings),
            record(case, seed, base + points / 100, "transfer", **settings),
        ]
    return made


def framed(**parts):
    return {name.replace("__", ": "): run_table(made) for name, made in parts.items()}


def frames_of(**levels):
    return {OWN: run_table(part([1, 3], best_accuracy=0.5))} | framed(**levels)


def test_effects_worked_out_by_hand():
    frames = frames_of(rate__three=part([4, 8], base=0.6, lr=0.03))
    table = sensitivity_tables.effects(frames)
    default, row, best = (table.iloc[i] for i in range(3))
    assert (default.factor, default.n, default["mean"]) == (OWN, 2, pytest.approx(2)) and default.p != default.p
    assert (default.low, default.high) == (pytest.approx(2 - T[1]), pytest.approx(2 + T[1])), (
        "1 and 3: standard error 1"
    )
    assert (row.factor, row.level, row.n, row["mean"], row.low) == (
        "rate",
        "three",
        2,
        pytest.approx(6),
        pytest.approx(6 - 2 * T[1]),
    )
    assert (row.base_n, row.base_mean, row.base_low) == (2, pytest.approx(10), pytest.approx(10))
    assert (row.change_mean, row.change_low) == (pytest.approx(4), pytest.approx(4 - T[1])), "3 and 5"
    assert row.p == pytest.approx(2 * np.arctan(1 / 4) / np.pi), (
        "Student's t of 4 with one degree of freedom is Cauchy's"
    )
    assert (best.factor, best.level, best["mean"]) == ("tested weights", "best", pytest.approx(0))
    assert table.p_holm.notna().sum() == 2 and row.p_holm == pytest.approx(2 * row.p)
    assert row.verdict == "10M not shown to differ from base; no change shown"


def test_a_level_that_base_does_not_feel_says_so_and_pairs_are_those_that_both_have():
    scope = [*part([1, 3])[::2], *part([5, 6], scope="global")[1::2]]
    table = sensitivity_tables.effects(frames_of(scope__global=scope, optimiser__sgd=part([7], lr=0.2))).set_index(
        "factor"
    )
    assert (
        table.base_mean.isna()["scope"]
        and table.base_n["scope"] == 0
        and table.change_mean["scope"] == pytest.approx(3.5)
    )
    assert (table.n["optimiser"], table.change_n["optimiser"], table.change_mean["optimiser"]) == (
        1,
        1,
        pytest.approx(6),
    )
    assert table.base_mean["optimiser"] == pytest.approx(0), "other runs, if equal ones"
    assert table.verdict["optimiser"] == "not tested: fewer than two pairs"
    shown = sensitivity_tables.written(table.reset_index())
    assert list(shown["base, minus base by default"])[1:3] == ["-", "+0.00"]
    assert "p (Holm of 2)" in shown and list(shown.p)[2] == "-"


def test_effects_by_network():
    both = part([1, 3], best_accuracy=0.5) + part([5, 5], network="mini_vit_tiny", best_accuracy=0.5)
    table = sensitivity_tables.by_network({OWN: run_table(both)} | framed(lr__low=part([2, 2], lr=0.1)))
    assert table.iloc[0].tolist() == [
        OWN,
        "",
        f"+2.0 [{2 - T[1]:+.1f}, {2 + T[1]:+.1f}] (n = 2)",
        "+5.0 [+5.0, +5.0] (n = 2)",
    ]
    assert table.iloc[1].tolist() == ["lr", "low", "+2.0 [+2.0, +2.0] (n = 2)", "-"]
    assert list(table.columns[2:]) == ["miniature ResNet-18", "miniature ViT-Tiny"]


def test_verdicts_follow_the_interval_and_holms_p():
    steady = [2.0, 2.1, 1.9, 2.0, 2.05]
    frames = {OWN: run_table(part(steady, best_accuracy=0.5))} | framed(
        a__more=part([6.0, 6.2, 5.9, 6.1, 6.0], lr=0.1),
        b__less=part([-2.0, -2.1, -1.9, -2.2, -1.8], lr=0.2),
        c__same=part(steady, lr=0.3),
    )
    found = sensitivity_tables.effects(frames).set_index("factor")
    assert found.verdict["a"] == "10M ahead of base; more than by default"
    assert found.verdict["b"] == "10M behind base; less than by default"
    assert found.verdict["c"] == "10M ahead of base; no change shown" and found.p["c"] == 1
    assert found.verdict[OWN] == "10M ahead of base"


def test_holm_by_hand():
    corrected = sensitivity_tables.holm(pd.Series([0.01, np.nan, 0.04, 0.03]))
    assert corrected.dropna().tolist() == pytest.approx([0.03, 0.06, 0.06]) and np.isnan(corrected[1])
    assert sensitivity_tables.holm(pd.Series([np.nan])).isna().all()


def test_what_10m_consists_of():
    consists = (
        part([2, 4])
        + part([1, 1], case="10Z")[1::2]
        + part([0, 2], case="biases")[1::2]
        + part([-3, 3], case="base + other_head")[1::2]
    )
    frames = framed(biases__kept=[*part([2, 4])[::2], *part([1, 2], biases="keep")[1::2]]) | {
        CONSISTS: run_table(consists)
    }
    table = sensitivity_tables.gain_parts(frames).set_index("compared")
    assert table["mean"].to_dict() == pytest.approx(
        {
            "10M minus base": 3,
            "10Z minus base": 1,
            "biases minus base": 1,
            "another head minus base": 0,
            "10M minus 10Z": 2,
            "10M minus biases": 2,
            "10M, biases kept, minus base": 1.5,
            "10M minus 10M, biases kept": 1.5,
        }
    )
    assert table.spread["another head minus base"] == pytest.approx(3 * 2**0.5)
    assert table.low["10M minus 10Z"] == pytest.approx(2 - T[1]), "1 and 3: standard error 1"
    assert set(sensitivity_tables.written(table.reset_index())) == {"compared", "difference", "n", "spread"}


def test_what_the_test_items_flatter():
    def monitored(best, last, epochs, monitor):
        return [
            record(case, seed, last + shift, "transfer", best_accuracy=best + shift, epochs=epochs, monitor=monitor)
            for case, shift in (("base", 0.0), ("10M", 0.01))
            for seed in (0, 1)
        ]

    frames = framed(stopped_and_chosen_by__test_items=monitored(0.54, 0.51, 9, "test"))
    frames = {sensitivity_tables.MONITORED: frames.popitem()[1], OWN: run_table(monitored(0.5, 0.5, 12, "validation"))}
    table = sensitivity_tables.flatter(frames).set_index("compared")
    assert table["mean"][["best weights, base", "best weights, both"]].tolist() == pytest.approx([4, 4])
    assert table["mean"]["last weights, 10M"] == pytest.approx(1) and table["mean"]["epochs, both"] == -3
    assert set(table.n) == {2}


def test_several_runs_of_one_pair_are_refused():
    with pytest.raises(ValueError, match="several runs of case '10M'.*'seed': 0.*choose one part"):
        sensitivity_tables.gains(run_table(part([1]) + part([1], lr=0.5)))
