"""The companion studies' findings on tables of a few rows, worked out by hand."""

import pandas as pd
import pytest

from plasticity.studies.companions import findings
from plasticity.studies.companions.tables import text_table

CLAIMS = ["Claim", "Decided by", "Difference", "By Network", "n", "Verdict"]
AHEAD, BEHIND, OPEN = "+2.0 [+1.0, +3.0] (n = 6)", "-2.0 [-3.0, -1.0] (n = 6)", "+0.5 [-1.0, +2.0] (n = 6)"


def frame(columns, *rows):
    return pd.DataFrame(rows, columns=columns)


def test_what_a_warm_start_costs_comes_before_the_claims():
    train, test = (f"{what} accuracy, hardest warm start minus none" for what in ("training", "test"))
    rows = [
        ("One.", f"{train} (above -2)", "+0.08 [-0.11, +0.27]", "-", "6", "supported"),
        ("", test, "-4.13 [-7.39, -0.88]", "ResNet-18 +0.1, VGG -8.4", "6", ""),
        ("Two.", test, "-4.13 [-7.39, -0.88]", "ResNet-18 +0.1, VGG -8.4", "6", "contradicted"),
    ]
    said = findings.warm_start(frame(CLAIMS, *rows))
    assert said[0].startswith(
        "After the hardest warm start test accuracy differs from that without one by -4.13 points"
    )
    assert said[0].endswith("(ResNet-18 +0.1, VGG -8.4), training accuracy by +0.08 points [-0.11, +0.27], n = 6")
    assert said[1] == "of the 2 claims of Lee et al. about warm starts 1 is supported and 1 is contradicted"
    assert said[2:] == ["Supported: One", "Contradicted: Two"]
    untested = [(f"{i}.", *row[1:2], "-", "-", "0", "not tested") for i, row in enumerate(rows)]
    assert findings.warm_start(frame(CLAIMS, *untested)) == [
        "of the 3 claims of Lee et al. about warm starts 3 are not tested"
    ]


def test_methods_lose_what_all_of_them_have():
    both = [f"{name} + l2 + augmentation" for name in ("ema(momentum=0.9)", "shrink_perturb")]
    assert findings.names(pd.Series([*both, "l2 + augmentation"])) == ["ema", "shrink_perturb", "l2 + augmentation"]
    assert findings.names(pd.Series([*both, "l2"])) == [*(both[0].replace("(momentum=0.9)", ""), both[1]), "l2"]


def test_who_is_ahead_and_who_is_best():
    table = frame(["case", "all"], ("l2", OPEN), ("ema(momentum=0.95)", AHEAD), ("redo", BEHIND), ("crelu", "-"))
    assert findings.against(table) == [
        "1 of 3 methods and combinations (ema) is ahead of nothing done, and redo is behind it",
        "The best, ema, comes to +2.0 points [+1.0, +3.0], n = 6",
    ]
    assert findings.against(table[:1])[0].startswith("none of 1 methods and combinations is ahead")


def test_continual_learning_by_access_and_the_furthest_fall():
    columns = ["Method", "Final, Minus Nothing More", "Drop, Minus Nothing More"]
    full = frame(columns, ("l2", "-", "-"), ("ema", AHEAD, OPEN), ("redo", OPEN, AHEAD))
    said = findings.continual(full, frame(columns, ("ema", BEHIND, "-")))
    assert said == [
        "with full access ema is ahead of nothing more at the end, and none is behind; "
        "with limited access none is ahead of nothing more at the end, and ema is behind",
        "At new phases redo falls furthest, further than nothing more by +2.0 points [+1.0, +3.0], n = 6",
    ]


def test_soft_rescaling_by_scenario():
    columns = ["Scenario", "Method", "All"]
    table = frame(
        columns, ("warm", "soft_rescaling", AHEAD), ("warm", "l2", BEHIND), ("single", "soft_rescaling", OPEN)
    )
    first, second = findings.rescaling(table)
    assert first == "Soft rescaling is ahead of doing nothing in 1 of 2 scenarios (warm), and behind in 0"
    assert second.startswith("warm: +2.0 points [+1.0, +3.0], n = 6; single: +0.5 points")


def test_metrics_are_named_or_nothing_is_tested():
    row = ("C", "metrics whose correlation lies beyond 0.5 in all 2 networks: none", "-", "-", "36", "undecided")
    first, second = findings.metrics(frame(CLAIMS, row))
    assert first == "Metrics whose correlation lies beyond 0.5 in all 2 networks: none (n = 36 warm starts)"
    assert second == "That no metric foretells test accuracy everywhere is undecided"
    assert findings.metrics(frame(CLAIMS, (*row[:5], "not tested"))) == [
        "No correlation can be computed from so few runs"
    ]


def test_transfer_leaves_the_control_out_and_quotes_10m():
    columns = ["Method", "Difference", "95% Interval", "n"]
    rows = [("ema(momentum=0.95)", "+0.96", "[+0.33, +1.60]", "27"), ("10M", "-0.32", "[-0.94, +0.30]", "27")]
    said = findings.transfer(
        frame(columns, *rows, ("scratch", "-10.41", "[-12.03, -8.80]", "27"), ("l2", "-", "-", "0"))
    )
    assert said == [
        "1 of 2 methods and combinations (ema) is ahead of base on transfer, and none is behind it",
        "The best, ema, comes to +0.96 points [+0.33, +1.60], n = 27",
        "10 M can't be told from base (-0.32 points [-0.94, +0.30], n = 27)",
    ]


def test_combinations_against_their_parts():
    columns = ["Combination", "Minus", "Difference"]
    table = frame(columns, ("10M + ema", "10M", AHEAD), ("10M + ema", "ema", BEHIND), ("10M + l2", "l2", OPEN))
    assert findings.together(table) == ["Ahead of one of their parts: 10M + ema of 10M; behind: 10M + ema of ema"]


def test_signs_that_turn_between_the_shortest_and_the_longest_phase():
    name = ", Minus Nothing More"
    columns = ["Network", "Epochs", f"Fresh{name}", f"ema{name}", "n"]
    rows = [("A", "48", "-", "+9.0 [+8.0, +10.0] (n = 3)", "3"), ("A", "12", "-1.0 (n = 3)", "+1.0 (n = 3)", "3")]
    said = findings.lengths(frame(columns, *rows, ("A", "192", "+2.0 (n = 3)", "+1.5 (n = 3)", "3")))
    assert said == [
        "From 12 to 192 epochs a phase the difference from nothing more changes its sign in 1 of 2 cases of method and "
        "network",
        "These are no warm start in A (-1.0 to +2.0)",
    ]


@pytest.mark.parametrize(
    "say", [findings.against, findings.rescaling, findings.transfer, findings.together, findings.lengths]
)
def test_without_runs_nothing_is_said(say):
    assert say(text_table([])) == findings.NO_RUNS
    assert findings.continual(text_table([]), text_table([])) == findings.NO_RUNS
