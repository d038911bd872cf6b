"""Results in words, worked out by hand."""

import numpy as np
import pytest

from plasticity.analysis import sentences
from plasticity.analysis.paired import Difference

NONE = Difference(0, *[np.nan] * 3)


@pytest.mark.parametrize(
    ("value", "said"), [(0.456, "+0.46"), (-0.256, "-0.26"), (-0.001, "0.00"), (0, "0.00"), (np.nan, "-")]
)
def test_numbers_have_a_sign_unless_they_are_zero(value, said):
    assert sentences.signed(value) == said


def test_a_difference_is_quoted_with_its_interval_and_n():
    assert sentences.measured(Difference(45, -0.262, -0.843, 0.314)) == "-0.26 points [-0.84, +0.31], n = 45"
    assert sentences.measured(Difference(9, 12.04, 8, 16.08), "epochs", 1) == "+12.0 epochs [+8.0, +16.1], n = 9"
    assert sentences.measured(Difference(3, 1, np.nan, np.nan)) == "+1.00 points, too few seeds for an interval, n = 3"
    percent = sentences.measured(Difference(9, -1, -2, 0), "% of base's epochs", 1)
    assert percent == "-1.0% of base's epochs [-2.0, 0.0], n = 9"
    assert sentences.measured(NONE) == "nothing measured"


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 2, "10 M is ahead of base"),
        (-2, -0.1, "10 M is behind base"),
        (-0.49, 0.49, "10 M is as good as base"),
        (-0.5, 0.3, "10 M can't be told from base"),  # half a point, the margin, is not excluded
        (-3, 3, "10 M can't be told from base"),
        (0, 3, "10 M can't be told from base"),  # an interval that touches zero holds it
        (np.nan, np.nan, "10 M can't be compared with base"),
    ],
)
def test_an_interval_says_who_is_ahead(low, high, said):
    assert sentences.compared(Difference(5, 0.2, low, high), "10 M").startswith(f"{said} (+0.20 points")


def test_a_unit_without_a_margin_is_never_as_good():
    assert sentences.compared(Difference(5, 0, -0.01, 0.01), "5 M", "base", "epochs").startswith("5 M can't be told")


@pytest.mark.parametrize(
    ("given", "said"),
    [((1, "run"), "1 run"), ((2, "run"), "2 runs"), ((0, "cell", 9), "0 of 9 cells"), ((2, "study"), "2 studies")],
)
def test_counts_agree_with_their_noun(given, said):
    assert sentences.counted(*given) == said


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("-0.26 [-0.84, +0.31] (n = 45)", (45, -0.26, -0.84, 0.31)),
        ("+1.2 [-0.3, +2.7]", (7, 1.2, -0.3, 2.7)),
        ("+1.0 (n = 1)", (1, 1.0, None, None)),
        ("-", (0, None, None, None)),
    ],
)
def test_what_tables_write_is_read_back(text, found):
    read = sentences.parsed(text, 7)
    assert tuple(None if each != each else each for each in (read.n, read.mean, read.low, read.high)) == found
    with pytest.raises(ValueError, match="'12%' is no difference as tables write it"):
        sentences.parsed("12%")


def test_sides_are_told_by_intervals_alone():
    named = {"up": "+1 [+0.1, +2]", "down": "-1 [-2, -0.1]", "open": "+9 [-1, +19]", "none": "-", "bare": "+5 (n = 1)"}
    assert sentences.sides({name: sentences.parsed(text) for name, text in named.items()}) == (["up"], ["down"])


def test_claims_are_tallied_and_the_decided_ones_listed():
    said = sentences.claims({"A.": "supported", "B": "undecided", "C.": "supported"}, "of {} claims")
    assert said == ["of 3 claims 2 are supported and 1 is undecided", "Supported: A; C"]


def test_spans_and_lists():
    assert sentences.span([0.46, -0.26, 0]) == "-0.26 to +0.46" and sentences.span(iter([1, 1.001])) == "+1.00"
    assert [sentences.listed("abc"[:n]) for n in range(4)] == ["none", "a", "a and b", "a, b and c"]


def test_verdicts_are_tallied_in_the_rules_order():
    said = sentences.tally(["undecided", "supported", "undecided", "not tested"], "of {} claims")
    assert said == "of 4 claims 1 is supported, 2 are undecided and 1 is not tested"


def test_a_sentence_begins_and_ends_as_one():
    assert sentences.sentence(" ten M is behind base ") == "Ten M is behind base."
    assert sentences.sentence("Is it?") == "Is it?"
