"""Summaries, tests and tables against numbers that can be worked out by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from plasticity.analysis import tables
from plasticity.analysis.writing import write
from plasticity.profiles import CASES
from plasticity.studies.main_paper import numbers

NAMES = ["architecture", "dataset", "case", "seed", "status", "accuracy", "epochs"]


def runs(cells, architecture="mini_resnet", dataset="photos", failed=()):
    """A frame from case -> accuracies, or (accuracies, epochs); one failed run for each of ``failed``."""
    rows = []
    for case, values in cells.items():
        accuracies, epochs = values if isinstance(values, tuple) else (values, [10] * len(values))
        for seed, both in enumerate(zip(accuracies, epochs, strict=True)):
            rows.append((architecture, dataset, case, seed, "done", *both))
    rows += [(architecture, dataset, case, 90 + i, "failed", np.nan, np.nan) for i, case in enumerate(failed)]
    return pd.DataFrame(rows, columns=NAMES)


def only(table):
    assert len(table) == 1
    return table.iloc[0]


def cases_of(table):
    return list(table["Experimental Case"])


APART = {"base": ([0.1, 0.2, 0.3], [9, 10, 11]), "10M": ([0.5, 0.55, 0.6], [5, 6, 7])}


# --- summaries --------------------------------------------------------------------------------------------------------
def test_summary_is_mean_and_sample_std_in_percent():
    row = only(tables.summary(runs({"5M": ([0.5, 0.6, 0.7], [10, 20, 60])})))
    assert tuple(row[:5]) == ("mini_resnet", "photos", "5M", 3, 0)
    assert list(row[5:]) == pytest.approx([60, 10, 30, math.sqrt(700)])  # (400 + 100 + 900) / 2


def test_failed_runs_are_counted_but_never_numbers():
    frame = runs({"5M": [0.5, 0.7]}, failed=["5M", "25N"])
    frame.loc[frame.status == "failed", ["accuracy", "epochs"]] = 1.0, 999.0  # even if a number stands there
    ours, lost = tables.summary(frame).itertuples()
    assert (ours.n, ours.failed, lost.case, lost.n, lost.failed) == (2, 1, "25N", 0, 1)
    assert (ours.accuracy, ours.epochs) == pytest.approx((60, 10)) and math.isnan(lost.accuracy)
    table = tables.all_cases(frame, "mini_resnet")
    assert list(table["n"]) == ["2 (1 failed)", "0 (1 failed)"] and table.iloc[1, 2] == table.iloc[1, 3] == "-"
    assert tables.versus_base(frame).case.item() == "5M"


def test_a_single_run_has_no_std_and_no_p():
    frame = runs({"5M": [0.5]})
    assert math.isnan(only(tables.summary(frame)).accuracy_std)
    assert list(only(tables.results_table(frame, "mini_resnet"))[1:]) == ["5 M", "50.000 ± -", "10.000 ± -", "1"]
    assert math.isnan(only(tables.versus_base(runs(APART | {"10M": [0.5]}))).p_accuracy)


def test_a_done_run_without_accuracy_does_not_count():
    row = only(tables.summary(runs({"5M": ([0.5, np.nan], [10, 30])})))
    assert (row.n, row.failed, row.epochs) == (1, 1, 10)


def test_two_configurations_in_one_cell_are_refused():
    with pytest.raises(ValueError, match="more than one run of .*photos.*10M"):
        tables.summary(pd.concat([runs({"10M": [0.5]}), runs({"10M": [0.6]})]))


# --- the best case against base ---------------------------------------------------------------------------------------
def test_separated_samples_have_the_exact_p():
    row = only(tables.versus_base(runs(APART)))
    assert (row.case, row.n, row.base_n, row.alternative) == ("10M", 3, 3, "case > base")
    assert (row.gain, row.epochs_change, row.p_accuracy, row.p_epochs) == pytest.approx((35, -4, 1 / 20, 1 / 20))


def test_p_of_a_known_u_with_unequal_n():
    # U = 5 of 6: of the 10 ways to place two of five ranks, those with U >= 5 are {4, 5} and {3, 5}
    row = only(tables.versus_base(runs({"base": [0.1, 0.2, 0.5], "5M": [0.4, 0.6]})))
    assert (row.n, row.base_n) == (2, 3) and row.p_accuracy == pytest.approx(2 / 10)


def test_more_epochs_are_no_success():
    slow = {"base": ([0.1, 0.2, 0.3], [1, 2, 3]), "5M": ([0.5, 0.6, 0.7], [4, 5, 6])}
    assert only(tables.versus_base(runs(slow))).p_epochs == pytest.approx(1)


def test_base_on_top_reverses_the_alternative_of_accuracy_alone():
    cells = {"base": ([0.7, 0.8, 0.9], [9, 10, 11]), "10MN": ([0.4, 0.5, 0.6], [5, 6, 7])}
    row = only(tables.versus_base(runs(cells)))
    assert (row.case, row.alternative, row.gain) == ("10MN", "base > case", pytest.approx(-30))
    assert (row.p_accuracy, row.p_epochs) == pytest.approx((1 / 20, 1 / 20))


def test_an_equal_base_is_not_on_top():
    frame = runs({"base": [0.1 + 0.2, 0.1 + 0.2], "25M": [0.3, 0.3]})  # 0.1 + 0.2 is above 0.3, by rounding alone
    assert only(tables.versus_base(frame)).alternative == "case > base"
    assert cases_of(tables.results_table(frame, "mini_resnet")) == ["25 M", "Base"]


def test_controls_and_other_methods_never_win():
    frame = runs(APART | {"scratch": [0.9, 0.9], "biases": [0.8, 0.8], "10M + ema": [0.99, 0.99]})
    assert only(tables.versus_base(frame)).case == "10M"
    assert cases_of(tables.results_table(frame, "mini_resnet")) == ["10 M", "Base"]
    assert cases_of(tables.all_cases(frame, "mini_resnet")) == ["10 M", "Base", "Scratch (control)", "Biases (control)"]


def test_ties_keep_the_papers_order_whatever_the_rows_order():
    frame = runs({case: [0.5, 0.6, 0.7] for case in reversed(CASES)})
    for seed in range(5):
        shuffled = frame.sample(frac=1, random_state=seed)
        assert cases_of(tables.results_table(shuffled, "mini_resnet")) == ["5 M", "5 MN", "5 NS", "Base"]
        assert tables.versus_base(shuffled).equals(tables.versus_base(frame))


# --- the paper's tables -----------------------------------------------------------------------------------------------
def test_results_table_has_the_top_three_and_base_by_data_set():
    accuracies = {"25N": [0.1], "base": [0.3], "5M": [0.4], "10NS": [0.2], "25MN": [0.5]}
    frame = pd.concat([runs(accuracies, dataset=name) for name in ("elpv", "photos")] + [runs(APART, "mini_vit")])
    table = tables.results_table(frame, "mini_resnet")
    assert list(table.columns) == ["Dataset", "Experimental Case", "Accuracy ± Std", "Epochs ± Std", "n"]
    assert cases_of(table) == ["25 MN", "5 M", "Base", "10 NS"] * 2
    assert [name.split()[0] for name in table["Dataset"]] == ["photographs"] * 4 + ["solar"] * 4
    assert table.attrs["bold"] == [(2, "Experimental Case"), (6, "Experimental Case")]


def test_all_cases_ranks_the_thirteen():
    frame = runs({case: [i / 100] for i, case in enumerate((*CASES, "biases", "scratch"))})
    shown = cases_of(tables.all_cases(frame, "mini_resnet"))
    assert len(shown) == 15 and shown[0] == "25 N" and shown[12:] == ["Base", "Scratch (control)", "Biases (control)"]


def test_incomplete_grids_give_what_is_there():
    frame = pd.concat([runs(APART), runs({"5M": [0.5]}, dataset="elpv"), runs({"base": [0.5]}, "mini_vit", "fruits")])
    photos, elpv, fruits = tables.versus_base(frame).itertuples()
    assert (photos.base_n, elpv.case, elpv.n, elpv.base_n, fruits.case, fruits.n) == (3, "5M", 1, 0, "", 0)
    assert all(math.isnan(value) for value in (elpv.p_accuracy, fruits.p_epochs, elpv.gain))
    assert tables.table6(frame).iloc[:, 1:].values.tolist() == [["[35.00; -4.0]", "-"], ["-", "-"], ["-", "-"]]
    assert cases_of(tables.results_table(frame, "mini_vit")) == ["Base"] and tables.all_cases(frame, "resnet50").empty
    assert all(made(frame[:0]).empty for made in (tables.summary, tables.versus_base, tables.table6))
    without = runs({}, failed=["5M", "base"]).drop(columns=["accuracy", "epochs"])
    assert list(tables.results_table(without, "mini_resnet")["n"]) == ["0 (1 failed)"]
    assert only(tables.versus_base(without)).base_failed == 1


def test_table1_counts_images_as_the_paper_prints_them():
    even = SimpleNamespace(name="fruits", class_names=("a", "b"), labels=np.array([0, 1, 0, 1]))
    uneven = SimpleNamespace(name="own", class_names=("a", "b", "c"), labels=np.array([0, 1, 1, 2, 2, 2]))
    table = tables.table1([even, uneven])
    assert list(table.columns) == ["Dataset", "Number of Classes", "Images per Class", "Total Images"]
    assert table.values.tolist() == [["fruits (mirrors Fruit25)", "2", "2", "4"], ["own", "3", "1-3", "6"]]


def test_table2_speaks_of_millions():
    table = tables.table2({"resnet50": 25_557_032, "mini_vit": 97_321})
    assert list(table.columns) == ["Model", "Number of Parameters"]
    assert table.values.tolist() == [["ResNet-50", "25.6 million"], ["miniature ViT", "0.097 million"]]


def test_table6_marks_gains_in_both():
    slower = {"base": ([0.1, 0.2], [1, 2]), "5M": ([0.5, 0.6], [4, 6])}
    worse = {"base": ([0.5, 0.6], [4, 5]), "5M": ([0.1, 0.2], [1, 2])}
    table = tables.table6(pd.concat([runs(APART), runs(slower, "mini_vit"), runs(worse, dataset="fruits")]))
    assert list(table.columns) == ["Dataset", "miniature ResNet", "miniature ViT"]
    assert list(table["miniature ResNet"]) == ["[35.00; -4.0]", "[-40.00; -3.0]"]
    assert list(table["miniature ViT"]) == ["[40.00; +3.5]", "-"]
    assert table.attrs["bold"] == [(0, "miniature ResNet")]


def test_beside_paper_pairs_the_miniatures_with_what_they_mirror():
    frame = pd.concat([runs(APART), runs({"base": [0.5, 0.6], "5M": [0.1, 0.2]}, "mini_simplenet", "elpv")])
    table = tables.beside_paper(frame, numbers.frame(), numbers.P_VALUES).set_index(["Architecture", "Dataset"])
    ours = ["miniature ResNet", "photographs (mirrors DTD)", "10 M", "35.00", "-4.0", "0.05000", "3, 3"]
    assert len(table) == 9 and list(table.loc[("ResNet-50", "DTD")]) == ["5 M", "0.29", "-89.4", "0.38209", *ours]
    turned = list(table.loc[("SimpleNet", "Brain Tumor")])
    assert turned[:4] == ["10 MN", "-0.78", "-62.0", "0.2109 (base > case)"]
    assert turned[6:] == ["5 M", "-40.00", "+0.0", "0.16667 (base > case)", "2, 2"]
    assert list(table.loc[("ViT-B16", "Fruit25")][4:]) == ["-"] * 7


def test_effects_and_transfer_by_hand():
    cells = {"base": [0.5, 0.6], "10M": [0.52, 0.66], "scratch": [0.4, 0.4]}
    frame = pd.concat([runs(cells), runs({"base": [0.5], "10M": [0.4]}, dataset="elpv")])
    effects = tables.effects(frame)
    assert effects.values.tolist() == [
        ["10 M", "-0.67", "-0.67", "1 of 2", "3"],
        ["Scratch (control)", "-15.00", "-15.00", "0 of 1", "2"],
    ]
    row = only(tables.transfer(frame))
    assert list(row)[2:] == ["55.00 ± 7.07", "40.00 ± 0.00", "+15.00", "2, 2"]


def test_equal_runs_give_equal_bytes(tmp_path):
    frame = runs({case: np.random.default_rng(0).random(7) for case in CASES})
    made = []
    for seed in (1, 2):
        table = tables.all_cases(frame.sample(frac=1, random_state=seed), "mini_resnet")
        made.append([path.read_bytes() for path in write(table, tmp_path / str(seed), "t", "c")])
    assert made[0] == made[1] and all(made[0])
