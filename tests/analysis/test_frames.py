"""Frames of records, and what chooses rows of them."""

import itertools
import math

import numpy as np
import pytest
from helpers import failed, record

from plasticity.analysis import frames, paired
from plasticity.analysis.frames import COLUMNS, run_table

pytestmark = pytest.mark.filterwarnings("error")


def test_a_row_has_the_configuration_the_metrics_and_the_phases_ends():
    first = {"epoch": 1, "phase": 1, "train_loss": 1.0, "test_accuracy": 0.2}
    end = {"epoch": 2, "phase": 1, "train_loss": 1.0, "weight_magnitude": 3.0, "srank": 7.0}
    last = {"epoch": 3, "phase": 2, "train_loss": 1.0, "test_accuracy": 0.6, "weight_magnitude": 5.0}
    case = "hare_tortoise(momentum=0.99, steps=2) + l2 + crop"
    made = record(case, 4, 0.6, "warm_start(subset=0.2)", history=[first, end, last], train_accuracy=0.9)
    (row,) = run_table([made]).itertuples()
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
    done = record(history=[{"epoch": 1, "phase": 1, "test_accuracy": 0.5}])
    assert list(frames.learning_curves(["a", "b"], ["a", "b"], [done, failed(seed=1)]).seed) == [0]


@pytest.mark.parametrize("recorded", [[], [failed()]], ids=["none", "failed"])
def test_without_runs_the_columns_are_there_and_every_function_copes(recorded):
    frame = run_table(recorded)
    assert frame.empty and set(COLUMNS) <= set(frame.columns) and frame.accuracy.dtype == float
    names = {"subset", "noise", "first_srank", "online_accuracy", "network", "kind", "method", "scenario"}
    assert names <= set(COLUMNS)
    tables = paired.ranking(frame), paired.against(frame, frame), paired.correlations(frame), frames.among(frame, frame)
    assert all(table.empty and len(table.columns) for table in tables)
    assert str(paired.difference(frame, frame)) == "-" and frames.without(frame, "base").empty


def test_the_frames_of_a_study_are_those_of_its_parts():
    parts = {"one": ["a", "b"], "two": ["b"], "none": []}
    found = frames.by_part(parts, ["a", "b"], [record(seed=0), record(seed=1)])
    assert {part: list(frame.seed) for part, frame in found.items()} == {"one": [0, 1], "two": [1], "none": []}


PLAIN = {"base": "base", "10M + ema(momentum=0.99)": "10M + ema", "shrink_perturb(keep=0.8)": "shrink_perturb"}
PLAIN |= {"redo(a=0.1, b=1) + l2 + crop": "redo + l2 + augmentation"}


@pytest.mark.parametrize(("case", "shown"), PLAIN.items())
def test_plain_leaves_the_numbers_out(case, shown):
    assert frames.plain(case) == shown


def test_among_keeps_rows_of_networks_on_data_sets_that_the_other_has():
    pairs = list(itertools.product(("mini_resnet18", "mini_vgg"), ("world_10", "world_20_few")))
    frame, other = (
        run_table([record(network=name, dataset=data) for name, data in some]) for some in (pairs, pairs[2:0:-1])
    )
    kept = frames.among(frame, other)
    assert kept[["architecture", "dataset"]].values.tolist() == [
        ["mini_resnet18", "world_20_few"],
        ["mini_vgg", "world_10"],
    ]
    assert frames.among(frame, other[:0]).empty


def test_one_row_per_record_failed_ones_without_numbers():
    table = frames.frame([record("10M", 3, 0.7), failed(case="redo", seed=1)])
    assert table[["case", "seed", "status", "method", "fraction"]].values.tolist()[0] == ["10M", 3, "done", "M", 0.1]
    assert table.accuracy[0] == 0.7 and np.isnan(table.accuracy[1]) and table.method[1] == "redo"
    assert {"architecture", "status", "accuracy", "epochs"} <= set(frames.frame([]).columns)


def test_histograms_are_summed_over_the_finished_runs_that_fit():
    made = [record(seed=seed) | {"histogram": [seed, 1]} for seed in (1, 2)] + [failed(seed=3)]
    assert frames.histogram(made, case="base").tolist() == [3, 2] and frames.histogram(made, seed=2).tolist() == [2, 1]
    with pytest.raises(ValueError, match="no finished run has {'case': '10M'}; run it first"):
        frames.histogram(made, case="10M")
