"""What printed digits allow: by hand, against a list of everything for tiny numbers, and never against the truth."""

from collections import Counter
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import combinations_with_replacement
from statistics import mean, pstdev, stdev

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from plasticity.studies.audit.grim import (
    interval,
    moments,
    multisets,
    number,
    possible_counts,
    possible_epochs,
    possible_sizes,
    realizable,
    smallest_squares,
)

D = Decimal


@cache
def everything(n, least, most):
    """(sum, sum of squares) of all multisets of n whole numbers within the bounds, and how many have it."""
    return Counter((sum(x), sum(i * i for i in x)) for x in combinations_with_replacement(range(least, most + 1), n))


# --- numbers that exist -----------------------------------------------------------------------------------------------
def test_existence_by_hand():
    assert realizable(2, 177, 84**2 + 93**2) and not realizable(2, 177, 84**2 + 93**2 + 2)
    assert not realizable(2, 3, 4)  # one sum is odd, the other even
    assert realizable(3, 0, 6) and not realizable(3, 0, 4)  # 2, -1, -1; but a^2 + ab + b^2 is never 2
    assert not realizable(4, 0, 28)  # 28 - 0 = 4 x 7 is no sum of three squares
    assert realizable(5, 0, 28) and realizable(1, 7, 49) and not realizable(1, 7, 50)
    assert not realizable(2, 10, 100, 1, 9) and realizable(2, 10, 100, 0, 10)  # 0 and 10


@pytest.mark.parametrize("n, reach", [(1, 20), (2, 20), (3, 12), (4, 9), (5, 7), (6, 5), (7, 4)])
def test_existence_without_bounds_is_what_a_list_of_everything_says(n, reach):
    known = everything(n, -reach, reach)
    for total in range(-2 * n, 2 * n + 1):
        for squares in range(reach**2 + 1):  # no number beyond the list has so small a square
            assert realizable(n, total, squares) == ((total, squares) in known), (total, squares)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("least, most", [(0, 6), (2, 7), (-3, 2), (4, 4)])
def test_existence_within_bounds_and_the_multisets_are_what_a_list_of_everything_says(n, least, most):
    known = everything(n, least, most)
    for total in range(n * least - 2, n * most + 3):
        for squares in range(max(least**2, most**2) * n + 3):
            assert realizable(n, total, squares, least, most) == ((total, squares) in known), (total, squares)
            assert len(set(multisets(n, total, squares, least, most))) == known[total, squares], (total, squares)


def test_one_bound_alone():
    assert realizable(3, 0, 6, least=-1) and not realizable(3, 0, 6, least=0)
    assert realizable(3, 0, 6, most=2) and not realizable(3, 0, 6, most=0)


def test_the_evenest_split():
    assert [smallest_squares(3, total) for total in (0, 1, 2, 3, 7, -1)] == [0, 1, 2, 3, 17, 1]


# --- printed digits ---------------------------------------------------------------------------------------------------
def test_printed_digits_stand_for_half_of_the_last_to_each_side():
    assert interval(D("88.50")) == (Fraction(88495, 1000), Fraction(88505, 1000))
    assert interval(D("5")) == (Fraction(9, 2), Fraction(11, 2))


def test_epochs_by_hand():
    assert possible_epochs(D("88.500"), D("6.364")) == {
        2,
        10,
    }  # 84 and 93; of 6 the sum is odd, and that of squares even
    assert possible_epochs(D("89.364"), D("35.192")) == {11}  # 983 / 11
    assert possible_epochs(D("1.500"), D("0.250")) == set()  # whole numbers about 1.5 spread by 0.5 or more
    assert possible_epochs(D("1.500"), D("0.707")) == {2, 10}
    assert possible_epochs(D("1.500"), D("0.500"), ddof=0) == {2, 4, 6, 8, 10, 12}
    assert possible_epochs(D("12.000"), D("1.414"), [2], least=11) == {2}  # 11 and 13
    assert possible_epochs(D("12.000"), D("1.414"), [2], least=12) == set()


def test_one_run_has_no_standard_deviation():
    assert possible_epochs(D("5.000"), D("0.000"), [1, 2]) == {2} and not list(moments(D("5.000"), D("0.000"), 1))


def test_counts_by_hand():
    assert possible_counts(D("59.220"), D("0.251"), 2, 1128) == [(1336, 666**2 + 670**2)]
    assert possible_counts(D("89.520"), D("0.000"), 3, 1250) == [(3 * 1119, 3 * 1119**2)]
    assert possible_counts(D("89.520"), D("0.000"), 3, 1240) == []
    assert possible_counts(D("0.5"), D("0.7"), 2, 1, whole=1) == [(1, 1)]
    assert possible_counts(D("99.950"), D("0.100"), 2, 1000) == []  # 999.5 items on average, 1 apart or 3


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("n, size", [(2, 9), (3, 7), (4, 6), (5, 5)])
def test_tiny_tables_are_what_a_list_of_everything_says(n, size, ddof):
    """Every mean and std on a grid of printed digits: possible if and only if some counts round to both."""
    known = everything(n, 0, size)
    spread = {(t, q): (Fraction(q) - Fraction(t * t, n)) / (n - ddof) * Fraction(100, size) ** 2 for t, q in known}
    for percent in range(0, 101, 3):
        for std in range(0, 60, 4):
            mean_ends, std_ends = interval(D(percent)), interval(D(std))
            truth = any(
                mean_ends[0] <= Fraction(100 * t, n * size) <= mean_ends[1]
                and max(std_ends[0], 0) ** 2 <= spread[t, q] <= std_ends[1] ** 2
                for t, q in known
            )
            assert bool(possible_counts(D(percent), D(std), n, size, ddof)) == truth, (percent, std)
            assert possible_sizes(D(percent), D(std), n, [size], ddof)[0] == truth, (percent, std)


runs = st.lists(st.integers(1, 200), min_size=2, max_size=12)


@given(runs, st.integers(0, 4), st.sampled_from([0, 1]))
@example([84, 93], 3, 1)
@settings(max_examples=150, deadline=None)
def test_the_truth_about_epochs_is_never_excluded(epochs, digits, ddof):
    printed = D(f"{mean(epochs):.{digits}f}"), D(f"{(stdev if ddof else pstdev)(epochs):.{digits}f}")
    assert len(epochs) in possible_epochs(*printed, ddof=ddof), printed
    assert len(epochs) in possible_epochs(*printed, ddof=ddof, least=min(epochs))


@given(
    st.integers(1, 300),
    st.lists(st.floats(0, 1), min_size=2, max_size=9),
    st.sampled_from([0, 1]),
    st.sampled_from([1, 100]),
)
@example(1250, [0.5, 0.5, 0.5], 1, 100)
@settings(max_examples=150, deadline=None)
def test_the_truth_about_accuracies_is_never_excluded(size, shares, ddof, whole):
    counts = np.rint(size * np.array(shares)).astype(int)
    values = whole * counts / size
    printed = D(f"{values.mean():.3f}"), D(f"{values.std(ddof=ddof):.3f}")
    assert (counts.sum(), (counts**2).sum()) in possible_counts(*printed, len(counts), size, ddof, whole), printed
    assert possible_sizes(*printed, len(counts), [size], ddof, whole)[0]


@given(
    st.integers(0, 100_000),
    st.integers(0, 3000),
    st.integers(2, 14),
    st.lists(st.integers(1, 1500), min_size=1, max_size=4),
)
@settings(max_examples=100, deadline=None)
def test_all_sizes_at_once_are_each_size_for_itself(percent, std, n, sizes):
    printed = D(percent) / 1000, D(std) / 1000
    one_by_one = [bool(possible_counts(*printed, n, size)) for size in sizes]
    assert possible_sizes(*printed, n, sizes).tolist() == one_by_one


def test_digits_beyond_64_bits_are_decided_as_exactly():
    thirds = D("33.333333333333"), D("57.735026918963")  # none, none, all of three items: 100 / root 3
    assert possible_sizes(*thirds, 3, np.arange(1, 400)).tolist() == [True] * 399  # one run of three got all right
    assert not possible_sizes(thirds[0], thirds[1] + D("1e-12") * 2, 3, range(1, 400)).any()


@pytest.mark.parametrize("text", ["", "nan", "1e3", "60,355", "six", "60.355 ±", "1.", ".5", "٣"])
def test_what_is_no_printed_number(text):
    with pytest.raises(ValueError, match="^row 3, std: .* is no number; expected digits as printed, such as 60.355$"):
        number(text, "row 3, std")


def test_printed_numbers_keep_their_digits():
    assert [str(number(text, "")) for text in (" 60.350 ", "-3", "+0.10")] == ["60.350", "-3", "0.10"]
