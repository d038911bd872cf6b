"""The one rule, case by case."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasticity.analysis.figures import LOOKS
from plasticity.analysis.paired import Difference
from plasticity.analysis.verdict import MARGINS, UNTESTED, VERDICTS, Line, of_claim, of_count, verdict

NAN = math.nan
TABLE = [  # low, high, side, margin: what it says
    (0.2, 2.0, 1, 0.5, "supported"),
    (0.1, 0.2, 1, 0.5, "supported"),  # a small effect is one
    (-2.0, -0.2, 1, 0.5, "contradicted"),
    (-0.2, 0.4, 1, 0.5, "not supported"),
    (-0.2, 0.5, 1, 0.5, "undecided"),  # on the edge nothing is decided
    (-0.2, 0.6, 1, 0.5, "undecided"),
    (-1.0, 0.0, 1, 0.5, "not supported"),
    (0.0, 1.0, 1, 0.5, "undecided"),
    (0.0, 0.0, 1, 0.5, "not supported"),
    (-0.2, 0.4, 1, 0.0, "undecided"),  # a margin of zero rules nothing out
    (0.0, 0.0, 1, 0.0, "undecided"),
    (-2.0, -0.2, -1, 0.5, "supported"),
    (0.2, 2.0, -1, 0.5, "contradicted"),
    (-0.4, 0.2, -1, 0.5, "not supported"),
    (-0.6, 0.2, -1, 0.5, "undecided"),
    (-1.9, 1.9, 0, 2.0, "supported"),
    (0.5, 1.9, 0, 2.0, "supported"),  # off zero, but within the margin
    (-2.0, 2.0, 0, 2.0, "undecided"),
    (1.0, 3.0, 0, 2.0, "undecided"),
    (2.1, 9.0, 0, 2.0, "contradicted"),
    (-9.0, -2.1, 0, 2.0, "contradicted"),
    *((NAN, NAN, side, 0.5, UNTESTED) for side in (-1, 0, 1)),
]


@pytest.mark.parametrize(("low", "high", "side", "margin", "says"), TABLE)
def test_the_rule(low, high, side, margin, says):
    assert verdict(low, high, side, margin) == says


@given(st.tuples(st.floats(-9, 9), st.floats(-9, 9)).map(sorted), st.floats(0, 5))
def test_a_claim_turned_round_is_judged_by_the_turned_interval(bounds, margin):
    low, high = bounds
    assert verdict(low, high, 1, margin) == verdict(-high, -low, -1, margin) in VERDICTS
    assert verdict(low, high, 0, margin) == verdict(-high, -low, 0, margin) in VERDICTS
    assert (verdict(low, high, 1, margin) == "supported") == (verdict(low, high, -1, margin) == "contradicted")


def test_margins_are_above_zero_and_every_verdict_has_a_look_of_its_own():
    assert min(MARGINS.values()) > 0
    assert set(LOOKS) == {*VERDICTS, UNTESTED} and len(set(LOOKS.values())) == len(LOOKS)


def line(mean, half, freedom=1000, **fields):
    return Line(Difference(9, mean, mean - half, mean + half, freedom), **({"margin": 0.5} | fields))


YES, NO, LITTLE, WIDE, NONE = line(3, 1), line(-3, 1), line(0, 0.1), line(0, 3), Line(Difference(0, NAN, NAN, NAN))
BARELY = line(-1.05, 1)  # of one: below zero; of three, with intervals of 98.3%: -1.05 +- 1.22
CLAIMS = [
    ([YES, YES], "supported"),
    ([YES, NO], "contradicted"),
    ([YES, LITTLE], "not supported"),
    ([YES, WIDE], "undecided"),
    ([LITTLE, NO, WIDE], "contradicted"),
    ([BARELY], "contradicted"),
    ([BARELY, YES, YES], "not supported"),
    ([line(-1.05, 1, margin=0), YES, YES], "undecided"),
    ([line(1.05, 1)] * 20, "supported"),  # all must be: no correction
    ([YES, NONE], "undecided"),  # not all of it was tested
    ([BARELY, NONE], "contradicted"),  # what was not tested is no line
    ([NONE, NONE], UNTESTED),
    ([], UNTESTED),
    ([line(0.5, 0.4, margin=0, bound=0.5)], "undecided"),  # at least half a point?
    ([line(1.0, 0.4, margin=0, bound=0.5)], "supported"),
    ([line(0.0, 0.4, margin=0, bound=0.5)], "contradicted"),
    ([line(-5, 1, side=-1, margin=0, bound=2)], "supported"),  # gains less than two points
]


@pytest.mark.parametrize(("lines", "says"), CLAIMS)
def test_a_claim_holds_if_all_its_lines_do_and_fails_by_one_corrected_for_their_number(lines, says):
    assert of_claim(lines) == says


COUNTS = [  # significant cells of nine, each by luck 5%; each with the effect: what it says
    (3, 0.9, "supported"),  # three or more by luck: 0.8%
    (2, 0.1, "undecided"),  # two or more: 7%
    (0, 0.33, "undecided"),  # none of nine at a third: 2.7%
    (0, 0.34, "not supported"),  # 2.4%
    (5, 0.9, "supported"),
]


@pytest.mark.parametrize(("count", "power", "says"), COUNTS)
def test_a_count_needs_more_than_luck_and_its_absence_the_power_to_see_it(count, power, says):
    assert of_count(count, [0.05] * 9, [power] * 9) == says


def test_none_of_two_cells_decides_nothing_without_power():
    assert of_count(0, [0.05] * 2, [0.2, 0.6]) == "undecided"
    assert of_count(0, [0.05] * 2, [0.9, 0.8]) == "not supported"  # 0.1 x 0.2 = 2%
