"""The companion notebooks' tables against texts that can be worked out by hand."""

import math

import pandas as pd
import pytest
from helpers import failed, phases, record, runs

from plasticity.analysis import frames, paired
from plasticity.analysis.frames import run_table
from plasticity.studies.companions import numbers, tables

# "ignore": pipes that earlier tests left to the garbage collector
pytestmark = pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("recorded", [[], [failed()]], ids=["none", "failed"])
def test_without_runs_a_table_says_so(recorded):
    frame, seen = run_table(recorded), frames.learning_curves([], [], [])
    assert tables.drops(seen).empty and "drop" in tables.drops(seen)
    parts = dict.fromkeys(("single task", "single task, decaying", "warm start"), frame)
    made = [
        tables.beside_warm_start(frame, numbers.warm_start_frame()),
        tables.beside_methods(frame, frame, numbers.methods_frame()),
        tables.beside_single_task(parts, numbers.single_task_frame()),
        tables.swap(frame, frame, frame),
        tables.continual(frame, seen),
        tables.between(frame, frame),
        tables.by_scenario(parts),
        tables.metric_means(frame),
        tables.together(frame),
        tables.written(paired.ranking(frame)),
        tables.correlation_table([]),
    ]
    assert all(table.empty and list(table.columns) == ["No Runs"] for table in made)
    assert "setting" in tables.optimisers(frame) and {"momentum", "epochs"} <= set(tables.hares(frame, frame))


def test_a_ranking_as_text():
    names = ["case", "n", "mean", "low", "high", "cells higher"]
    rows = [("l2", 4, 15.0, 6.2, 23.8, "2 of 2"), ("25M", 0, math.nan, math.nan, math.nan, "0 of 0")]
    assert tables.written(pd.DataFrame(rows, columns=names)).values.tolist() == [
        ["l2", "+15.00", "[+6.20, +23.80]", "2 of 2", "4"],
        ["25M", "-", "-", "0 of 0", "0"],
    ]


def test_drops_are_from_a_phases_end_to_the_next_ones_first_evaluation():
    parts = phases([0.1, 0.5], [None, 0.3, 0.6], [0.5, 0.7]), phases([0.5, 0.9], case="base").iloc[::-1]
    table = tables.drops(pd.concat([*parts, phases([0.9], [0.4], case="l2 + crop", seed=1).iloc[::-1]]))
    assert list(table["drop"])[::2] == pytest.approx([(0.2 + 0.1) / 2, 0.5])
    assert math.isnan(table["drop"][1]), "one phase alone"
    assert list(table.method) == ["l2 + augmentation", "base", "l2 + augmentation"]


def test_continual_joins_the_networks_though_the_digits_have_another_augmentation():
    made, histories = [], []
    for network, kind in (("mini_mlp_bn", "crop"), ("mini_resnet18", "augmentation")):
        for method, gain, fall in (("", 0, 0.1), ("shrink_perturb + ", 0.1, 0.3)):
            for seed in range(2):
                case, accuracy = f"{method}l2 + {kind}", 0.5 + gain + seed / 100
                seen = [{"epoch": 1, "phase": 1, "test_accuracy": accuracy / 2}]
                made.append(record(case, seed, accuracy, "continual", network, history=seen))
                histories.append(phases([0.5], [0.5 - fall], case=case, seed=seed, network=network))
    gains = [f"{gain} [{gain}, {gain}] (n = 4)" for gain in ("+10.0", "+5.0", "+20.0")]
    assert tables.continual(run_table(made), pd.concat(histories)).values.tolist() == [
        ["l2 + augmentation", "50.5", "-", "-", "10.0", "-"],
        ["shrink_perturb + l2 + augmentation", "60.5", *gains[:2], "30.0", gains[2]],
    ]


def test_beside_the_papers_tables_stand_our_means():
    cells = runs([0.5, 0.6], scenario="warm_start(noise=0)", train_accuracy=1.0)
    row = tables.beside_warm_start(cells, numbers.warm_start_frame()).iloc[0].tolist()
    assert row == ["ResNet-18", "0.1", "0", "100.0", "74.0", "miniature ResNet-18", "100.0 ± 0.0", "55.0 ± 7.1", "2"]
    cases = record(train_accuracy=0.9), record("redo", train_accuracy=0.9), record("25M", accuracy=0.7)
    fresh = [record(accuracy=0.8, scenario="single", network=name) for name in ("mini_resnet18", "mini_vgg")]
    table = tables.beside_methods(run_table(cases), run_table(fresh), numbers.methods_frame())
    assert table.drop(columns="Network").values.tolist() == [
        ["base", "99.8", "70.4", "90.0", "50.0", "1"],
        ["redo", "99.8", "68.2", "90.0", "50.0", "1"],
        ["25M", "-", "-", "-", "70.0", "1"],
        ["fresh", "99.8", "83.5", "-", "80.0", "1"],
    ]


def test_beside_the_single_task_each_network_has_its_own_paper_numbers():
    made = [record(network=name, scenario="single") for name in ("mini_mlp", "mini_cnn", "mini_cnn_bn", "mini_vgg")]
    for end, accuracy in (("", 0.6), ("(reinit=true)", 0.9)):
        made.append(record(f"soft_rescaling{end}", 0, accuracy, "single", "mini_mlp"))
    frame = run_table(made)
    parts = {"single task": frame, "single task, decaying": frame[:0]}
    table = tables.beside_single_task(parts, numbers.single_task_frame())
    papers = ["97.9 (MNIST)", "65.0 (CIFAR-10), 32.8 (CIFAR-100)", "32.3 (CIFAR-100)", "39.1 (Tiny ImageNet)"]
    assert list(table[table.Method == "base"].Paper) == papers
    assert table[table.Method == "soft_rescaling"].iloc[0].tolist()[3:] == ["98.2 (MNIST)", "60.0", "1"]


def test_swap_takes_each_networks_own_data_from_the_other_parts():
    def of(*rows):
        return run_table([record("base", 0, accuracy, kind, name, data) for name, data, kind, accuracy in rows])

    resnet, vgg = "mini_resnet18", "mini_vgg"
    swapped = of(
        (resnet, "world_20_few", "single", 0.6),
        (resnet, "world_20_few", "warm_start", 0.4),
        (vgg, "world_10", "single", 0.7),
    )
    fresh = of((resnet, "world_10", "single", 0.8), ("mini_mlp_bn", "digits", "single", 0.9))
    assert tables.swap(swapped, fresh, of((resnet, "world_10", "warm_start", 0.5))).values.tolist() == [
        ["miniature ResNet-18", "world_20_few", "60.0", "40.0", "-20.0 (n = 1)"],
        ["miniature VGG", "world_10", "70.0", "-", "-"],
        ["miniature ResNet-18", "world_10", "80.0", "50.0", "-30.0 (n = 1)"],
    ]


def test_together_subtracts_each_part_that_was_run_alone():
    frame = run_table([record("10M + ema", 0, 0.7), record("10M", 0, 0.6), record("redo + ema", 0, 0.5)])
    assert tables.together(frame).values.tolist() == [["10M + ema", "10M", "+10.0 (n = 1)"]]


def test_between_and_by_scenario_pair_by_method_and_network():
    one = pd.concat([runs([0.5], case="l2"), runs([0.9], "mini_vgg", case="l2")])
    other = pd.concat([runs([0.6], case="l2"), runs([0.6], case="ema")])
    rows = [["l2", "miniature ResNet-18", "-10.0 (n = 1)"], ["l2", "miniature VGG", "-"]]
    assert tables.between(one, other).values.tolist() == rows
    soft = [
        runs([value], name, case=f"soft_rescaling(features={value}{end})")
        for name, value in (("mini_vgg", 0.9), ("mini_resnet18", 0.8))
        for end in ("", ", reinit=true")
    ]
    frame = pd.concat([runs([0.5]), runs([0.5], "mini_vgg"), *soft])
    table = tables.by_scenario({"a": frame, "b": runs([0.5, 0.6])})
    assert list(table.Method) == ["soft_rescaling", "soft_rescaling, re-init"] and set(table.Scenario) == {"a"}
    assert table["miniature VGG"][0] == "+40.0 (n = 1)" and table.All[0] == "+35.0 (n = 2)"


def test_optimisers_are_named_by_what_is_not_default_and_hares_by_their_numbers():
    frame = run_table([record(beta1=0.0), record(epsilon=1e-4)])
    assert list(tables.optimisers(frame).setting) == ["beta1 0", "epsilon 0.0001"]
    cases = "hare_tortoise(momentum=0.9, epochs=2)", "ema", "hare_tortoise"
    hare = run_table([record(f"{case} + l2") for case in cases])
    found = tables.hares(hare, hare)
    assert found[["momentum", "epochs"]].values.tolist()[0] == [0.9, 2] and len(found) == 2


def test_metric_means_and_correlations_as_text():
    values = [("base", 1.0), ("base", 2.0), ("crelu", 1234.5)]
    ends = [[{"epoch": 1, "phase": 1, "weight_magnitude": value}] for _, value in values]
    table = tables.metric_means(run_table([record(values[i][0], i, history=ends[i]) for i in range(3)]))
    shown = table[["Method", "weight magnitude", "srank", "Networks", "n"]].values.tolist()
    assert shown == [["base", "1.5", "-", "1", "2"], ["crelu", "1.23e+03", "-", "1", "1"]]
    row = {"network": "N", "metric": "zero_gradient", "n": 9, "over": "x"}
    rows = pd.DataFrame([row | dict.fromkeys(("r", "low", "high"), r) for r in (0.5, math.nan)])
    assert tables.correlation_table([rows]).values.tolist() == [
        ["x", "N", "zero gradient", "0.5", "[+0.50, +0.50]", "9"],
        ["x", "N", "zero gradient", "-", "-", "9"],
    ]
