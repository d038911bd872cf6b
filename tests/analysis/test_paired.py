"""Differences, intervals, correlations and tables against numbers that can be worked out by hand; records made by hand."""

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from plasticity.analysis import paired as comparisons
from plasticity.analysis.frames import COLUMNS, METRICS, among, by_part, learning_curves, plain, run_table, without
from plasticity.analysis.paired import Difference, difference, interval
from plasticity.networks.table import ARCHITECTURES
from plasticity.studies.companions import numbers as companion_papers
from plasticity.studies.companions import tables as companion_tables

pytestmark = pytest.mark.filterwarnings("error")
T = {1: 12.706204736, 2: 4.302652730}  # the 97.5% quantiles of Student's t with so many degrees of freedom


def record(
    case="base",
    seed=0,
    accuracy=0.5,
    scenario="warm_start",
    network="mini_resnet18",
    dataset="world_10",
    history=(),
    **metrics,
):
    """A finished run's record, as `records.load_runs` gives it."""
    config = {
        "architecture": network,
        "dataset": dataset,
        "case": case,
        "seed": seed,
        "scenario": scenario,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
    }
    settings = {name: metrics.pop(name) for name in tuple(metrics) if name in config}
    return {
        "status": "done",
        "config": config | settings,
        "metrics": {"accuracy": accuracy, "epochs": 12} | metrics,
        "history": list(history),
        "seconds": 1.0,
    }


def failed(**config):
    """A failed run's record; it has neither metrics nor a history."""
    return {"status": "failed", "config": record(**config)["config"], "message": "diverged", "seconds": 1.0}


def runs(values, network="mini_resnet18", **fields):
    """A frame of one case from accuracies by seed; None: no such run."""
    made = [
        record(seed=seed, accuracy=value, network=network, **fields)
        for seed, value in enumerate(values)
        if value is not None
    ]
    return run_table(made)


def test_a_row_has_the_configuration_the_metrics_and_the_phases_ends():
    history = [
        {"epoch": 1, "phase": 1, "train_loss": 1.0, "test_accuracy": 0.2},
        {"epoch": 2, "phase": 1, "train_loss": 1.0, "weight_magnitude": 3.0, "srank": 7.0},
        {"epoch": 3, "phase": 2, "train_loss": 1.0, "test_accuracy": 0.6, "weight_magnitude": 5.0},
    ]
    case = "hare_tortoise(momentum=0.99, every=2) + l2 + crop"
    frame = run_table([record(case, 4, 0.6, "warm_start(subset=0.2)", history=history, train_accuracy=0.9)])
    row = frame.iloc[0]
    assert (row.network, row.method, row.kind) == (
        "miniature ResNet-18",
        "hare_tortoise + l2 + augmentation",
        "warm_start",
    )
    assert (row.case, row.seed, row.subset, row.noise, row.equal) == (case, 4, 0.2, 0.5, True)
    assert (row.accuracy, row.train_accuracy, row.online_accuracy, row.epochs) == (0.6, 0.9, pytest.approx(0.4), 12)
    assert (row.first_weight_magnitude, row.weight_magnitude, row.first_srank) == (3, 5, 7) and math.isnan(row.srank)


def test_a_failed_run_never_counts():
    frame = run_table([record(seed=0), failed(seed=1), record(seed=2)])
    assert list(frame.seed) == [0, 2] and set(frame.status) == {"done"}
    history = [{"epoch": 1, "phase": 1, "test_accuracy": 0.5}]
    both = learning_curves(["a", "b"], ["a", "b"], [record(history=history), failed(seed=1)])
    assert list(both.seed) == [0]


@pytest.mark.parametrize("recorded", [[], [failed()]], ids=["none", "failed"])
def test_without_runs_the_columns_are_there_and_every_function_copes(recorded):
    frame = run_table(recorded)
    assert frame.empty and set(COLUMNS) <= set(frame.columns) and frame.accuracy.dtype == float
    assert {"subset", "noise", "first_srank", "online_accuracy", "network", "kind", "method", "scenario"} <= set(
        COLUMNS
    )
    for made in (
        comparisons.ranking(frame),
        comparisons.against(frame, frame),
        comparisons.correlations(frame),
        among(frame, frame),
    ):
        assert made.empty and len(made.columns)
    assert str(difference(frame, frame)) == "-" and without(frame, "base").empty
    seen, papers = learning_curves([], [], []), companion_papers
    assert companion_tables.drops(seen).empty and "drop" in companion_tables.drops(seen)
    parts = {name: frame for name in ("single task", "single task, decaying", "warm start")}
    tables = [
        companion_tables.beside_warm_start(frame, papers.warm_start_frame()),
        companion_tables.swap(frame, frame, frame),
        companion_tables.beside_methods(frame, frame, papers.methods_frame()),
        companion_tables.continual(frame, seen),
        companion_tables.beside_single_task(parts, papers.single_task_frame()),
        companion_tables.between(frame, frame),
        companion_tables.by_scenario(parts),
        companion_tables.metric_means(frame),
        companion_tables.together(frame),
        companion_tables.written(comparisons.ranking(frame)),
        companion_tables.correlation_table([]),
    ]
    assert all(table.empty and list(table.columns) == ["No Runs"] for table in tables)
    assert "setting" in companion_tables.optimisers(frame) and {"momentum", "every"} <= set(
        companion_tables.hares(frame, frame)
    )


def test_the_frames_of_a_study_are_those_of_its_parts():
    frames = by_part({"one": ["a", "b"], "two": ["b"], "none": []}, ["a", "b"], [record(seed=0), record(seed=1)])
    assert {part: list(frame.seed) for part, frame in frames.items()} == {"one": [0, 1], "two": [1], "none": []}


@pytest.mark.parametrize(
    ("case", "shown"),
    [
        ("base", "base"),
        ("10M + ema(momentum=0.99)", "10M + ema"),
        ("redo(a=0.1, b=1) + l2 + crop", "redo + l2 + augmentation"),
        ("shrink_perturb(keep=0.8)", "shrink_perturb"),
    ],
)
def test_plain_leaves_the_numbers_out(case, shown):
    assert plain(case) == shown


def test_an_interval_of_two_and_of_three_pairs():
    two = difference(runs([0.6, 0.8]), runs([0.5, 0.6]))  # 10 and 20 points: mean 15, s / sqrt(2) = 5
    assert (two.n, two.mean) == (2, pytest.approx(15)) and (two.low, two.high) == pytest.approx(
        (15 - 5 * T[1], 15 + 5 * T[1])
    )
    three = difference(runs([0.6, 0.8, 0.7]), runs([0.5, 0.6, 0.4]))  # 10, 20, 30: s = 10
    half = T[2] * 10 / math.sqrt(3)
    assert (three.n, three.mean) == (3, pytest.approx(20)) and (three.low, three.high) == pytest.approx(
        (20 - half, 20 + half)
    )
    assert str(three) == "+20.0 [-4.8, +44.8] (n = 3)"


def test_only_seeds_that_both_have_make_a_pair():
    found = difference(runs([0.6, None, 0.7, 0.9]), runs([0.5, 0.6, 0.4]))
    assert (found.n, found.mean) == (2, pytest.approx(20))
    one = difference(runs([0.6]), runs([0.5, 0.6]))
    assert (
        (one.n, one.mean, str(one)) == (1, pytest.approx(10), "+10.0 (n = 1)")
        and math.isnan(one.low)
        and math.isnan(one.high)
    )
    assert str(difference(runs([None, 0.6]), runs([0.5]))) == "-"


def test_other_networks_and_data_sets_are_no_partners():
    assert difference(runs([0.6]), runs([0.5], network="mini_vgg")).n == 0
    assert difference(runs([0.6]), runs([0.5], dataset="world_20")).n == 0


def test_missing_values_make_no_pair():
    trained = run_table([record(seed=0, train_accuracy=0.9), record(seed=1)])
    assert (
        difference(trained, trained, "train_accuracy").n == 1 and difference(trained, trained, "online_accuracy").n == 0
    )


def test_ambiguous_pairs_raise():
    frame = pd.concat([runs([0.5, 0.6]), runs([0.7], case="l2")])
    for pair in ((frame, runs([0.5])), (runs([0.5]), frame)):
        with pytest.raises(ValueError, match="several runs of one network.*mini_resnet18.*l2"):
            difference(*pair)


def test_equal_differences_have_an_interval_of_no_width():
    assert interval(np.array([2.0, 2.0, 2.0])) == Difference(3, 2, 2, 2)


seeds = st.dictionaries(st.integers(0, 6), st.floats(0, 1), max_size=7)


@given(seeds, seeds)
def test_the_other_way_round_the_sign_changes(one, other):
    left, right = (run_table([record(seed=s, accuracy=a) for s, a in values.items()]) for values in (one, other))
    there, back = difference(left, right), -difference(right, left)
    assert there.n == back.n == len(one.keys() & other.keys())
    assert (there.mean, there.low, there.high) == pytest.approx((back.mean, back.low, back.high), abs=1e-9, nan_ok=True)
    assert there.n < 2 or there.low <= there.mean <= there.high


def test_against_is_ranked_by_the_mean_over_all():
    frame = pd.concat(
        [
            runs([0.5, 0.6], case="l2"),
            runs([0.7, 0.8], case="redo"),
            runs([0.5], "mini_vgg", case="redo"),
            runs([None, None, None, 0.9], case="ema"),
        ]
    )
    reference = pd.concat([runs([0.5, 0.5]), runs([0.5], "mini_vgg")])
    table = comparisons.against(frame, reference)
    assert list(table.columns) == ["case", "miniature ResNet-18", "miniature VGG", "all"] and list(table.case) == [
        "redo",
        "l2",
        "ema",
    ]
    assert list(table["miniature VGG"]) == ["+0.0 (n = 1)", "-", "-"] and table.iloc[2].tolist() == [
        "ema",
        "-",
        "-",
        "-",
    ]
    assert table["all"][0].startswith("+16.7 [") and table["all"][0].endswith("(n = 3)")


def test_ranking_orders_and_counts_cells_ties_in_order_of_appearance():
    cells = [("mini_resnet18", "world_10"), ("mini_vgg", "world_40")]
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
    ]  # without partners
    table = comparisons.ranking(run_table(made))
    assert list(table.case) == ["l2", "redo", "ema", "25M"] and list(table["cells higher"]) == [
        "2 of 2",
        "2 of 2",
        "1 of 2",
        "0 of 0",
    ]
    assert list(table.n) == [4, 4, 4, 0] and list(table["mean"])[:3] == pytest.approx([15, 15, -10])
    written = companion_tables.written(table)
    assert written.iloc[3].tolist() == ["25M", "-", "-", "0 of 0", "0"]
    half = 3.182446305 * np.std([20, 20, 10, 10], ddof=1) / 2  # t with 3 degrees of freedom
    assert written.iloc[0].tolist() == ["l2", "+15.00", f"[{15 - half:+.2f}, {15 + half:+.2f}]", "2 of 2", "4"]


def test_correlations_are_pearsons_with_fishers_interval():
    rng = np.random.default_rng(0)
    metric, accuracy = rng.normal(size=12), rng.uniform(0.4, 0.6, 12)
    made = [
        record(
            seed=seed, accuracy=float(a), history=[{"epoch": 1, "phase": 1, "weight_magnitude": float(m), "srank": 3.0}]
        )
        for seed, (m, a) in enumerate(zip(metric, accuracy, strict=True))
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = comparisons.correlations(run_table(made)).set_index("metric")
    expected = scipy_stats.pearsonr(metric, accuracy)
    ours = table.loc["weight_magnitude"]
    assert (ours.n, ours.r) == (12, pytest.approx(expected.statistic))
    assert (ours.low, ours.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert list(table.index) == list(METRICS)
    constant, absent = table.loc["srank"], table.loc["dormant_never"]
    assert (
        constant.n == 12
        and absent.n == 0
        and np.isnan([constant.r, constant.low, constant.high, absent.r, absent.high]).all()
    )


def test_correlations_by_network_need_four_runs_and_perfect_ones_have_an_interval():
    def of(network, count):
        return [
            record(
                seed=s,
                accuracy=s / 10,
                network=network,
                history=[{"epoch": 1, "phase": 1, "weight_magnitude": float(s)}],
            )
            for s in range(count)
        ]

    table = comparisons.correlations(run_table(of("mini_vgg", 3) + of("mini_resnet18", 4))).dropna(subset="r")
    assert table[["network", "metric", "n"]].values.tolist() == [["miniature ResNet-18", "weight_magnitude", 4]]
    assert table.r.item() == pytest.approx(1) and 0.99 < table.low.item() <= table.high.item() <= 1


def phases(*accuracies, case="l2 + augmentation", seed=0, network="mini_resnet18"):
    """A history of phases with these test accuracies; None where an epoch was not evaluated."""
    epochs = [(phase, accuracy) for phase, part in enumerate(accuracies, start=1) for accuracy in part]
    title = ARCHITECTURES[network].title
    run = {"architecture": network, "dataset": "world_10", "network": title, "scenario": "continual", "case": case}
    rows = [
        run | {"seed": seed, "epoch": epoch, "phase": phase, "test_accuracy": np.nan if accuracy is None else accuracy}
        for epoch, (phase, accuracy) in enumerate(epochs, start=1)
    ]
    return pd.DataFrame(rows)


def test_drops_are_from_a_phases_end_to_the_next_ones_first_evaluation():
    history = pd.concat(
        [
            phases([0.1, 0.5], [None, 0.3, 0.6], [0.5, 0.7]),
            phases([0.5, 0.9], case="base").iloc[::-1],
            phases([0.9], [0.4], case="l2 + crop", seed=1).iloc[::-1],
        ]
    )
    table = companion_tables.drops(history)
    assert list(table["drop"])[::2] == pytest.approx([(0.2 + 0.1) / 2, 0.5]) and math.isnan(table["drop"][1]), (
        "one phase alone"
    )
    assert list(table.method) == ["l2 + augmentation", "base", "l2 + augmentation"]


def test_continual_joins_the_networks_though_the_digits_have_another_augmentation():
    def run(case, seed, accuracy, network):
        return record(
            case,
            seed,
            accuracy,
            "continual",
            network,
            history=[{"epoch": 1, "phase": 1, "test_accuracy": accuracy / 2}],
        )

    sides = [("mini_mlp_bn", "crop"), ("mini_resnet18", "augmentation")]
    frame = run_table(
        [
            run(f"{method}l2 + {kind}", s, 0.5 + gain + s / 100, name)
            for name, kind in sides
            for method, gain in (("", 0), ("shrink_perturb + ", 0.1))
            for s in range(2)
        ]
    )
    history = pd.concat(
        [
            phases([0.5], [0.5 - fall], case=f"{method}l2 + {kind}", seed=s, network=name)
            for name, kind in sides
            for method, fall in (("", 0.1), ("shrink_perturb + ", 0.3))
            for s in range(2)
        ]
    )
    table = companion_tables.continual(frame, history)
    assert table.values.tolist() == [
        ["l2 + augmentation", "50.5", "-", "-", "10.0", "-"],
        [
            "shrink_perturb + l2 + augmentation",
            "60.5",
            "+10.0 [+10.0, +10.0] (n = 4)",
            "+5.0 [+5.0, +5.0] (n = 4)",
            "30.0",
            "+20.0 [+20.0, +20.0] (n = 4)",
        ],
    ]


def test_beside_the_papers_tables_stand_our_means():
    cells = runs([0.5, 0.6], scenario="warm_start(noise=0)", train_accuracy=1.0)
    row = companion_tables.beside_warm_start(cells, companion_papers.warm_start_frame()).iloc[0]
    assert row.tolist() == [
        "ResNet-18",
        "0.1",
        "0",
        "100.0",
        "74.0",
        "miniature ResNet-18",
        "100.0 ± 0.0",
        "55.0 ± 7.1",
        "2",
    ]
    frame = run_table([record(train_accuracy=0.9), record("redo", train_accuracy=0.9), record("25M", accuracy=0.7)])
    fresh = run_table([record(accuracy=0.8, scenario="single", network=name) for name in ("mini_resnet18", "mini_vgg")])
    table = companion_tables.beside_methods(frame, fresh, companion_papers.methods_frame())
    assert table.drop(columns="Network").values.tolist() == [
        ["base", "99.8", "70.4", "90.0", "50.0", "1"],
        ["redo", "99.8", "68.2", "90.0", "50.0", "1"],
        ["25M", "-", "-", "-", "70.0", "1"],
        ["fresh", "99.8", "83.5", "-", "80.0", "1"],
    ]


def test_beside_the_single_task_each_network_has_its_own_paper_numbers():
    names = ("mini_mlp", "mini_cnn", "mini_cnn_bn", "mini_vgg")
    frame = run_table(
        [record("base", network=name, scenario="single") for name in names]
        + [
            record(f"soft_rescaling{end}", network="mini_mlp", scenario="single", accuracy=value)
            for end, value in (("", 0.6), ("(reinit=true)", 0.9))
        ]
    )
    frames = {"single task": frame, "single task, decaying": frame[:0]}
    table = companion_tables.beside_single_task(frames, companion_papers.single_task_frame())
    base = table[table.Method == "base"]
    assert list(base.Paper) == [
        "97.9 (MNIST)",
        "65.0 (CIFAR-10), 32.8 (CIFAR-100)",
        "32.3 (CIFAR-100)",
        "39.1 (Tiny ImageNet)",
    ]
    assert table[table.Method == "soft_rescaling"].iloc[0].tolist()[3:] == ["98.2 (MNIST)", "60.0", "1"]


def test_swap_takes_each_networks_own_data_from_the_other_parts():
    def of(network, dataset, scenario, accuracy):
        return record(accuracy=accuracy, scenario=scenario, network=network, dataset=dataset)

    swapped = run_table(
        [
            of("mini_resnet18", "world_40", "single", 0.6),
            of("mini_resnet18", "world_40", "warm_start", 0.4),
            of("mini_vgg", "world_10", "single", 0.7),
        ]
    )
    fresh = run_table([of("mini_resnet18", "world_10", "single", 0.8), of("mini_mlp_bn", "digits", "single", 0.9)])
    warm = run_table([of("mini_resnet18", "world_10", "warm_start", 0.5)])
    assert companion_tables.swap(swapped, fresh, warm).values.tolist() == [
        ["miniature ResNet-18", "world_40", "60.0", "40.0", "-20.0 (n = 1)"],
        ["miniature VGG", "world_10", "70.0", "-", "-"],
        ["miniature ResNet-18", "world_10", "80.0", "50.0", "-30.0 (n = 1)"],
    ]


def test_together_subtracts_each_part_that_was_run_alone():
    frame = run_table(
        [record("10M + ema", accuracy=0.7), record("10M", accuracy=0.6), record("redo + ema", accuracy=0.5)]
    )
    assert companion_tables.together(frame).values.tolist() == [["10M + ema", "10M", "+10.0 (n = 1)"]]


def test_between_and_by_scenario_pair_by_method_and_network():
    one = pd.concat([runs([0.5], case="l2"), runs([0.9], "mini_vgg", case="l2")])
    other = pd.concat([runs([0.6], case="l2"), runs([0.6], case="ema")])
    assert companion_tables.between(one, other).values.tolist() == [
        ["l2", "miniature ResNet-18", "-10.0 (n = 1)"],
        ["l2", "miniature VGG", "-"],
    ]
    soft = [
        runs([value], name, case=f"soft_rescaling(features={value}{end})")
        for name, value in (("mini_vgg", 0.9), ("mini_resnet18", 0.8))
        for end in ("", ", reinit=true")
    ]
    frame = pd.concat([runs([0.5]), runs([0.5], "mini_vgg"), *soft])
    table = companion_tables.by_scenario({"a": frame, "b": runs([0.5, 0.6])})
    assert list(table.Method) == ["soft_rescaling", "soft_rescaling, re-init"] and set(table.Scenario) == {"a"}
    assert table["miniature VGG"][0] == "+40.0 (n = 1)" and table.All[0].startswith("+35.0 [")


def test_optimisers_are_named_by_what_is_not_default_and_hares_by_their_numbers():
    frame = run_table([record(beta1=0.0), record(epsilon=1e-4)])
    assert list(companion_tables.optimisers(frame).setting) == ["beta1 0", "epsilon 0.0001"]
    hare = run_table(
        [record(f"{text} + l2") for text in ("hare_tortoise(momentum=0.9, every=2)", "ema", "hare_tortoise")]
    )
    found = companion_tables.hares(hare, hare)
    assert found[["momentum", "every"]].values.tolist()[0] == [0.9, 2] and len(found) == 2


def test_metric_means_and_correlations_as_text():
    rows = [
        record(case, seed, history=[{"epoch": 1, "phase": 1, "weight_magnitude": value}])
        for seed, (case, value) in enumerate([("base", 1.0), ("base", 2.0), ("crelu", 1234.5)])
    ]
    table = companion_tables.metric_means(run_table(rows))
    assert table[["Method", "weight magnitude", "srank", "Networks", "n"]].values.tolist() == [
        ["base", "1.5", "-", "1", "2"],
        ["crelu", "1.23e+03", "-", "1", "1"],
    ]
    rows = pd.DataFrame(
        [
            {"network": "N", "metric": "zero_gradient", "n": 9, "r": r, "low": r, "high": r, "over": "x"}
            for r in (0.5, math.nan)
        ]
    )
    assert companion_tables.correlation_table([rows]).values.tolist() == [
        ["x", "N", "zero gradient", "0.5", "[+0.50, +0.50]", "9"],
        ["x", "N", "zero gradient", "-", "-", "9"],
    ]


def test_among_keeps_rows_of_networks_on_data_sets_that_the_other_has():
    pairs = itertools.product(("mini_resnet18", "mini_vgg"), ("world_10", "world_40"))
    frame = run_table([record(network=name, dataset=data) for name, data in pairs])
    other = run_table(
        [record(network="mini_vgg", dataset="world_10"), record(network="mini_resnet18", dataset="world_40")]
    )
    kept = among(frame, other)
    assert kept[["architecture", "dataset"]].values.tolist() == [
        ["mini_resnet18", "world_40"],
        ["mini_vgg", "world_10"],
    ]
    assert among(frame, other[:0]).empty
