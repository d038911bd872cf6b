"""Which whole numbers can have a printed mean and standard deviation: decided exactly, never in floats.

Brown & Heathers 2017 (GRIM) for means, Anaya 2016 and Allard 2018 (GRIMMER) for standard deviations; here with the
proof that n whole numbers with such a sum and sum of squares exist.
"""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, isqrt

import numpy as np


def number(text: str, where: str) -> Decimal:
    """A number as printed, all digits kept. Raises ValueError that says where it stands and what is expected."""
    if not re.fullmatch(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?", text.strip()):
        raise ValueError(f"{where}: {text.strip()[:40]!r} is no number; expected digits as printed, such as 60.355")
    return Decimal(text.strip())


def interval(printed: Decimal) -> tuple[Fraction, Fraction]:
    """The numbers that can be printed so: half of the last digit to each side, both ends included."""
    half = Fraction(1, 2) * Fraction(10) ** printed.as_tuple().exponent
    return Fraction(printed) - half, Fraction(printed) + half


# --- n whole numbers with a given sum and sum of squares --------------------------------------------------------------
def realizable(n: int, total: int, squares: int, least: int | None = None, most: int | None = None) -> bool:
    """Whether there are n whole numbers from ``least`` to ``most`` (None: any) with these sums."""
    if not _exist(n, total, squares):
        return False
    if least is None and most is None:
        return True
    far = isqrt(squares)  # no number is farther from 0
    return _exist_within(n, total, squares, -far if least is None else least, far if most is None else most)


def smallest_squares(n: int, total):
    """The least sum of squares of n whole numbers with this sum (or an array of sums): they differ by at most one."""
    each, over = total // n, total % n
    return n * each**2 + over * (2 * each + 1)


def _exist(n, total, squares):
    """Without bounds. x and x^2 are both odd or both even, so the sums are; the spread sums (x - y)^2 over all pairs.

    n = 2: x - y is the root of the spread. n = 3: the spread is 2 (a^2 + ab + b^2) with a = x - y and b = y - z. n = 4:
    four times the sum of squares is total^2 + u^2 + v^2 + w^2 for the sums u, v, w with two signs turned, so three
    squares must have the rest (Legendre): always, if the total is odd. n = 5: a spread of 7 or more leaves room, 2
    wide, for one number that makes the other four's sum odd, and the smaller ones are the evenest split. n + 1 from n:
    shift all numbers until the sum is 0 to n, set one to 0.
    """
    spread = n * squares - total**2
    if spread < 0 or (squares - total) % 2:
        return False
    if n < 3:
        return isqrt(spread) ** 2 == spread if n == 2 else spread == 0
    if n == 3:
        return _is_loeschian(spread // 2)
    if n == 4:
        return total % 2 == 1 or _is_three_squares(squares - (total // 2) ** 2)
    return squares >= smallest_squares(n, total)


def _is_three_squares(value):
    while value and value % 4 == 0:
        value //= 4
    return value % 8 != 7


def _is_loeschian(value):
    """Whether a^2 + ab + b^2 takes the value: each prime factor that is 2 modulo 3 occurs an even number of times."""
    prime = 2
    while prime**2 <= value:
        times = 0
        while value % prime == 0:
            value, times = value // prime, times + 1
        if prime % 3 == 2 and times % 2:
            return False
        prime += 1
    return value % 3 != 2


@lru_cache(100_000)
def _exist_within(n, total, squares, least, most):
    """Search for the number that lies farthest from the mean, as soon as the bounds could matter."""
    spread = n * squares - total**2
    if not n * least <= total <= n * most or not _exist(n, total, squares):
        return False
    room = min(total - n * least, n * most - total)
    if (n - 1) * spread <= room**2:  # no deviation from the mean exceeds the root of (n - 1) spread / n^2
        return True
    if n <= 2:
        return n == 2 and (total - isqrt(spread)) // 2 >= least and (total + isqrt(spread)) // 2 <= most
    if squares > _largest_squares(n, total, least, most):
        return False
    for x in _farthest(n, total, spread, least, most):
        away = abs(n * x - total)  # no other may lie farther, so from some x on the squares are out of reach
        inner = max(least, -((away - total) // n)), min(most, (total + away) // n)
        if squares > _largest_squares(n, total, *inner):
            return False
        if _exist_within(n - 1, total - x, squares - x * x, least, most):
            return True
    return False


def _farthest(n, total, spread, least, most):
    """What the number farthest from the mean can be, farthest first: (n x - total)^2 is 1 to n - 1 times the spread."""
    reach = isqrt((n - 1) * spread) // n + 1
    below, above = max(least, total // n - reach), min(most, total // n + 1 + reach)
    while below <= above:
        lower = total - n * below >= n * above - total
        x = below if lower else above
        if (n * x - total) ** 2 < spread:
            return
        yield x
        below, above = below + lower, above - (not lower)


def _largest_squares(n, total, least, most):
    """Of n numbers within the bounds: all but one of them at a bound."""
    if least == most:
        return n * least**2
    at_most, rest = divmod(total - n * least, most - least)
    return at_most * most**2 + (n - at_most) * least**2 + rest * (2 * least + rest)


def multisets(n: int, total: int, squares: int, least: int, most: int) -> Iterator[tuple[int, ...]]:
    """All ascending n-tuples of whole numbers within the bounds with these sums; slow for n above 5."""
    spread = n * squares - total**2
    if n < 3:
        root = isqrt(max(spread, 0))
        found = (total,) if n == 1 else ((total - root) // 2, (total + root) // 2)
        exact = sum(found) == total and sum(x * x for x in found) == squares
        yield from [found] if exact and least <= found[0] and found[-1] <= most else []
    elif spread >= 0:
        lowest = max(least, (total - isqrt((n - 1) * spread) - 1) // n)
        for x in range(lowest, min(most, total // n) + 1):
            yield from ((x, *rest) for rest in multisets(n - 1, total - x, squares - x * x, x, most))


# --- printed means and standard deviations ----------------------------------------------------------------------------
def moments(mean, std, n: int, unit=Fraction(1), ddof: int = 1, least: int = 0, most: int | None = None) -> Iterator:
    """(sum, sum of squares) of each kind of n counts, ``unit`` each, that have this printed mean and std (divisor n -
    ``ddof``).

    None if n - ``ddof`` is below 1: a single number has no standard deviation.
    """
    if n - ddof < 1 or std < 0:
        return
    low, high = (end / unit for end in interval(mean))
    below, above = (max(end, Fraction(0)) ** 2 * (n - ddof) / unit**2 for end in interval(std))
    for total in range(ceil(low * n), floor(high * n) + 1):
        first, last = ceil(below + Fraction(total**2, n)), floor(above + Fraction(total**2, n))
        yield from ((total, q) for q in range(first, last + 1) if realizable(n, total, q, least, most))


def possible_epochs(
    mean: Decimal, std: Decimal, runs: Iterable[int] = range(2, 13), ddof: int = 1, least: int = 1
) -> set[int]:
    """The n of ``runs`` for which n whole numbers of epochs, each at least ``least``, can be printed so."""
    return {n for n in runs if any(moments(mean, std, n, ddof=ddof, least=least))}


def possible_counts(
    mean: Decimal, std: Decimal, n: int, size: int, ddof: int = 1, whole: int = 100
) -> list[tuple[int, int]]:
    """The `moments` of the right answers of n runs on ``size`` test items; all right is printed as ``whole``."""
    return list(moments(mean, std, n, Fraction(whole, size), ddof, 0, size))


def possible_sizes(mean: Decimal, std: Decimal, n: int, sizes, ddof: int = 1, whole: int = 100) -> np.ndarray:
    """For which numbers of test items `possible_counts` finds some, bool [sizes]: the same, for all sizes at once."""
    (low, high), (below, above), top = interval(mean), interval(std), int(max(sizes, default=1))
    if n - ddof < 1 or std < 0:
        return np.zeros(len(sizes), bool)
    largest = max(above.numerator**2 * n * (n - ddof) * top**2, n * top * abs(high.numerator), 2 * (n * top) ** 2)
    size = np.array(sizes, np.int64 if largest < 2**62 else object)
    lowest, highest = (
        _up(low.numerator * n * size, low.denominator * whole),
        high.numerator * n * size // (high.denominator * whole),
    )
    pairs = n * (n - ddof) * size**2
    below = max(below, Fraction(0))
    spreads = (
        _up(below.numerator**2 * pairs, below.denominator**2 * whole**2),
        above.numerator**2 * pairs // (above.denominator**2 * whole**2),
    )
    fits = np.zeros(len(size), bool)
    for step in range(int(max(highest - lowest, default=-1)) + 1):
        fits |= _fits(n, lowest + step, highest, spreads, size, ~fits)
    return fits


def _fits(n, total, highest, spreads, size, asked):
    """For which of the sizes asked for that total is possible; often, with over four runs, it needs no search."""
    first, last = _up(spreads[0] + total**2, n), (spreads[1] + total**2) // n
    first = np.maximum(first + (first - total) % 2, smallest_squares(n, total))
    possible = asked & (total <= highest) & (first <= last)
    room = np.minimum(total, n * size - total)
    fits = possible & (n > 4) & (room >= 0) & ((n - 1) * (n * last - total**2) <= room**2)
    for i in np.flatnonzero(possible & ~fits):
        choices = range(int(first[i]), int(last[i]) + 1, 2)
        fits[i] = any(realizable(n, int(total[i]), squares, 0, int(size[i])) for squares in choices)
    return fits


def _up(above, below):
    """A quotient of whole numbers (arrays) rounded up."""
    return -(-above // below)
