"""The main paper's findings, worked out by hand on frames of a few runs."""

import numpy as np
import pandas as pd
import pytest
from helpers import frame_of

from plasticity.studies.main_paper import findings

BASE = [0.50, 0.52]


def grid(**cases):
    """Two cells of a network with two seeds of base and of these cases, the same in both."""
    cells = {"base": BASE} | cases
    return pd.concat([frame_of(cells, dataset="photos"), frame_of(cells, dataset="fruits")], ignore_index=True)


def test_an_effect_is_the_mean_of_the_cases_that_are_there():
    frame = grid(**{"5M": [0.51, 0.53], "10M": [0.53, 0.55]})
    found = findings.effect(frame, ["5M", "10M", "25M"])  # 25M was not run
    assert (found.n, found.mean) == (4, pytest.approx(2)) and found.low == found.high == pytest.approx(2)
    assert findings.effect(frame, ["25M"]).n == 0
    assert findings.means(frame, ["5M", "25M", "10M"]) == pytest.approx([1, 3])


def test_the_recommendation_is_judged_where_it_was_run():
    assert findings.recommended(grid(**{"5M": BASE, "10M": BASE})) == "10M"
    assert findings.recommended(grid(**{"25MN": BASE, "25N": BASE})) == "25MN"


def test_a_network_is_behind_by_two_points_and_its_best_case_ahead_by_one():
    frame = grid(**{"10M": [0.48, 0.50], "25N": [0.51, 0.53]})
    first, second = findings.network(frame, "mini_resnet")
    assert first == "On the miniature ResNet 10 M is behind base (-2.00 points [-2.00, -2.00], n = 4)"
    assert second.startswith("The best of all cases gains +1.00 points, by data set;")
    assert second.endswith("calls 0 of 2 of these gains significant")  # of two runs a side none can be


def test_methods_are_named_in_the_papers_order_and_only_if_run():
    said = findings.methods(grid(**{"25N": [0.3, 0.32], "10M": BASE, "biases": [0.51, 0.51]}))
    assert [line.split(" (")[0] for line in said] == [
        "the mean of M and MN is as good as base",
        "N is behind base",
        "the control `biases` can't be told from base",  # +1 and -1
    ]


def test_the_analysis_says_spans_and_the_control():
    said = findings.analysis(grid(**{"5M": [0.49, 0.51], "10M": [0.51, 0.53], "5N": [0.4, 0.42], "biases": BASE}))
    spans = "M and MN come to -1.00 to +1.00 and N to -10.00 points of test accuracy"
    assert said[0] == f"Against base {spans} (means over 2 cells of network and data set)"
    assert said[1] == "10 M is ahead of base (+1.00 points [+1.00, +1.00], n = 4)"
    assert said[2] == "the control `biases`, which touches no weight, comes to 0.00 points [0.00, 0.00], n = 4"
    assert len(findings.analysis(grid(**{"10M": BASE}))) == 2  # no control, no sentence about it


def test_transfer_names_the_cells_where_nothing_was_transferred():
    good = frame_of({"base": [0.5, 0.5], "scratch": [0.4, 0.4]}, dataset="photos")
    bad = frame_of({"base": [0.5, 0.5], "scratch": [0.52, 0.52]}, dataset="fruits")
    first, second = findings.transfer(pd.concat([good, bad], ignore_index=True))
    assert "in 1 of 2 cells" in first and "(by -2.00 to +10.00 points of test accuracy, n = 2 and 2 runs" in first
    assert second.startswith("Read with care what follows on miniature ResNet on fruits")
    assert len(findings.transfer(good)) == 1
    assert "whether pretraining helps is open" in findings.transfer(frame_of({"base": [0.5]}))[0]


def test_spreads_compare_a_cells_seeds_with_what_a_case_moves():
    base = [0.50, 0.52]  # one standard deviation is 1.41 points
    frame = grid(**{"10M": [0.51, 0.53], "5MN": [0.54, 0.56]})
    first, second = findings.spreads(frame)
    assert np.std(base, ddof=1) == pytest.approx(0.01414, abs=1e-5)
    assert "lie 1.4 points apart" in first and first.endswith("by less in 2 of 4 comparisons")
    assert second == "In length M and MN differ from base by 0.0% of base's epochs [0.0, 0.0], n = 4"
    assert "one seed" in findings.spreads(frame_of({"base": [0.5], "10M": [0.5]}))[0]


def test_half_of_the_difference_of_two_histograms_has_moved():
    said = findings.histograms(np.array([2.0, 2.0, 0.0]), {"25M": np.array([2, 2, 0]), "25N": np.array([1, 0, 1])})
    assert said[0].endswith("elsewhere than base's is 0.0% with 25 M and 50.0% with 25 N")


def test_claims_are_counted_once_and_the_recommendation_is_quoted():
    rows = [
        ("CNNs gain", "-", "3", "supported"),
        ("", "-", "3", ""),  # a further line of the same claim
        ("10M is worth recommending: it beats base", "-1.00 [-2.00, +0.00]", "9", "undecided"),
    ]
    table = pd.DataFrame(rows, columns=["Claim", "Effect", "n", "Verdict"])
    assert findings.judged(table) == [
        "of the paper's 2 claims 1 is supported and 1 is undecided",
        "That 10 M beats base is undecided (-1.00 [-2.00, +0.00] points, n = 9)",
        "Supported: CNNs gain",
    ]
    table = table.assign(Effect="-", Verdict=["not tested", "", "not tested"])
    assert findings.judged(table)[1:] == ["That 10 M beats base is not tested"]


def test_beside_the_paper_signs_and_cases_are_compared():
    columns = ["Paper: Case", "Paper: Gain", "Ours: Case", "Ours: Gain"]
    table = pd.DataFrame(
        [("5 M", "0.5", "5 M", "-1.00"), ("5 M", "-0.5", "10 M", "2.00"), ("5 M", "1", "-", "-")], columns=columns
    )
    first, second = findings.beside(table)
    assert "ahead of base in 1 of 2 cells here and in 1 in the paper; it is the same case in 1" in first
    assert second == "Its gain is -1.00 to +2.00 points here, -0.50 to +0.50 in the paper"
    assert "has none of these networks" in findings.beside(table[table["Ours: Case"] == "-"])[0]


def test_chance_counts_cells_below_one_in_twenty():
    table = pd.DataFrame({"p": ["0.04", "0.05", "-"], "Cases": ["6", "6", "6"]})
    assert "The best of 6" in findings.chance(table)[0] and "in 1 of 2 cells" in findings.chance(table)[0]
    assert findings.chance(table.assign(p="-")) == ["No cell has enough runs for this test"]


def test_what_the_published_cells_would_give_by_chance():
    rows = [("12", "10", "9", "0.231", "2.08", "4", "0.132"), ("6", "10", "9", "0.159", "1.43", "4", "0.041")]
    table = pd.DataFrame(rows, columns=["Cases", "n", "Cells", "Rate", "Expected", "Printed", "Chance"])
    first, second = findings.selection(table)
    assert "significant in 23% of cells, and the best of the six M and MN in 16%" in first
    assert "2.1 of 9 cells by chance (of M and MN 1.4); the paper prints 4" in second and second.endswith("0.13 (0.04)")
