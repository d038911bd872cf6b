"""The sensitivity study's findings on tables of a few rows, worked out by hand."""

import pandas as pd

from plasticity.studies.sensitivity import findings

COLUMNS = ["factor", "level", "10M minus base", "n", "p", "p (Holm of 2)"]
OWN = ("the profile's own", "", "-0.20 [-1.45, +1.06]", "18", "-", "-")


def test_changes_count_after_the_correction_alone():
    rows = [OWN, ("rate", "low", "+1.00 [+0.50, +1.50]", "18", "0.030", "0.060"), ("rate", "high", "-", "0", "-", "-")]
    said = findings.effects(pd.DataFrame(rows, columns=COLUMNS))
    assert said[0] == "Of 2 altered settings 0 change the effect of 10 M, after a correction for their number"
    assert said[1].endswith("settings 10 M can't be told from base (-0.20 points [-1.45, +1.06], n = 18)")
    assert said[2] == "The smallest p before the correction is 0.03"


def test_a_change_is_named():
    rows = [OWN, ("rate", "low", "-2.00 [-2.50, -1.50]", "18", "0.001", "0.002")]
    said = findings.effects(pd.DataFrame(rows, columns=COLUMNS))[0]
    assert said.startswith("Of 1 altered setting 1 change") and said.endswith("for their number: rate: low")


def test_parts_compare_the_mean_with_zero_and_the_head_with_10m():
    rows = [
        ("10M minus base", "-0.20 [-1.45, +1.06]", "18", "1.04"),
        ("another head minus base", "-0.21 [-1.90, +1.48]", "18", "2.58"),
        ("10M minus 10Z", "-0.39 [-4.02, +3.24]", "18", "1.32"),
    ]
    table = pd.DataFrame(rows, columns=["compared", "difference", "n", "spread"])
    first, second = findings.parts(table)
    assert first == "Whether the weights get their mean or zero makes -0.39 points [-4.02, +3.24], n = 18"
    assert second.endswith("moves a run by 2.6 points (standard deviation over pairs), 10 M by 1.0")
    assert len(findings.parts(table.assign(spread="-"))) == 1  # one seed has no spread


def test_flattery_is_that_of_the_best_weights():
    rows = [("best weights, both", "+0.56 [-0.37, +1.49]", "18"), ("last weights, both", "+9.00 [+8.00, +10.00]", "18")]
    said = findings.flattery(pd.DataFrame(rows, columns=["compared", "difference", "n"]))
    assert said == ["To stop and choose by the test items gives +0.56 points [-0.37, +1.49], n = 18"]


def test_networks_off_zero_are_named():
    rows = [
        ("rate", "low", "+1.0 [+0.5, +1.5] (n = 6)", "-0.2 [-1.0, +0.6] (n = 6)"),
        ("rate", "high", "-", "+1.0 (n = 1)"),
    ]
    table = pd.DataFrame(rows, columns=["factor", "level", "ResNet", "ViT"])
    said = findings.networks(table)
    assert said == ["The interval of 10 M lies off zero in 1 of 3 pairs of network and setting: ResNet, rate low"]
    assert findings.networks(table[1:])[0].endswith("in 0 of 1 pair of network and setting")
