"""The one rule, case by case."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plasticity.analysis.figures import LOOKS
from plasticity.analysis.verdict import MARGINS, UNTESTED, VERDICTS, verdict

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
