"""How large an effect a number of runs can show."""

from collections import namedtuple

import numpy as np
import pandas as pd
from numpy.random import Generator
from statsmodels.stats.power import TTestPower

from .evidence import CLOSE, DRAWS, MEAN_CASES, cells, p_by_u
from .verdict import ALPHA

TESTS = ("mann_whitney", "paired_t")
GAINS, NS = (0.5, 1, 1.5, 2, 3, 4, 5), (5, 10)  # of the tables of power: points, and runs a side
SEEN = 0.8  # the power that `detectable` asks for
Spread = namedtuple("Spread", "architecture dataset mann_whitney paired_t")  # by test
Chance = namedtuple("Chance", "architecture dataset test spread n gain power")
Smallest = namedtuple("Smallest", "architecture dataset test spread n detectable")


def power(spread: float, gain: float, n: int, generator: Generator, test: str, draws: int = DRAWS) -> float:
    """The chance that a one-sided test with n runs a side finds a true ``gain``, in the unit of ``spread``, at p <
    `ALPHA`.

    "mann_whitney": ``spread`` is the standard deviation of the runs, taken as normal; simulated, with the exact p.
    "paired_t": that of the paired differences; exact (statsmodels). NaN with fewer than two runs, or an unknown spread.
    ValueError for another test.
    """
    if _untestable(test, spread, n):
        return np.nan
    if spread < CLOSE:
        return float(gain > 0 and (test == "paired_t" or (p_by_u(n, n) < ALPHA).any()))
    if test == "paired_t":
        return float(TTestPower().power(gain / spread, n, ALPHA, alternative="larger"))
    return float((_needed(n, generator, draws) < gain / spread).mean())


def detectable(spread: float, n: int, generator: Generator, test: str, draws: int = DRAWS) -> float:
    """The smallest true gain, in the unit of ``spread``, that the test of `power` finds in 80% of such experiments; inf
    if none is."""
    if _untestable(test, spread, n):
        return np.nan
    if test == "paired_t":
        return spread * float(TTestPower().solve_power(None, n, ALPHA, SEEN, alternative="larger"))
    return spread * float(np.quantile(_needed(n, generator, draws), SEEN, method="higher"))


def power_of_best(spread: float, gain: float, n: int, cases: int, generator: Generator, draws: int = DRAWS) -> float:
    """The chance that `evidence.best_of` finds, at p < `ALPHA`, a true ``gain`` that so many ``cases`` all have over
    base, in the unit of ``spread``, the standard deviation of a case's differences from base. Simulated, n seeds of
    normal noise, with the largest gain that chance alone exceeds so often. 0 with fewer than two runs, or an unknown
    spread."""
    if n < 2 or not np.isfinite(spread):
        return 0.0
    means = generator.standard_normal((draws, 1 + cases)) * spread / np.sqrt(2 * n)
    largest = means[:, 1:].max(1) - means[:, 0]
    return float((largest + gain > max(np.quantile(largest, 1 - ALPHA), CLOSE)).mean())


def spreads(frame: pd.DataFrame) -> pd.DataFrame:
    """The noise that each test meets, cell by cell, in points: ``mann_whitney``, the standard deviation of the runs of
    a case (of base and `MEAN_CASES`, variances pooled by degrees of freedom), and ``paired_t``, that of differences
    from base."""
    rows = []
    for key, cell in cells(frame, MEAN_CASES):
        runs = 100 * cell[["base", *MEAN_CASES]]
        rows.append(Spread(*key, _pooled(runs), _pooled(runs[[*MEAN_CASES]].sub(runs["base"], axis=0))))
    return pd.DataFrame(rows, columns=Spread._fields)


def power_table(frame: pd.DataFrame, generator: Generator, draws: int = DRAWS) -> pd.DataFrame:
    """The `power` of the paper's test and of the paired one with the `spreads` of the frame's runs: one row per cell,
    test, n, gain."""
    rows = [
        Chance(*key, test, spread, n, gain, power(spread, gain, n, generator, test, draws))
        for key, test, spread in _tests(frame)
        for n in NS
        for gain in GAINS
    ]
    return pd.DataFrame(rows, columns=Chance._fields)


def detectable_table(frame: pd.DataFrame, generator: Generator, draws: int = DRAWS) -> pd.DataFrame:
    """The `detectable` gain of both tests with the `spreads` of the frame's runs: one row per cell, test and n."""
    rows = [
        Smallest(*key, test, spread, n, detectable(spread, n, generator, test, draws))
        for key, test, spread in _tests(frame)
        for n in NS
    ]
    return pd.DataFrame(rows, columns=Smallest._fields)


def _untestable(test: str, spread: float, n: int) -> bool:
    if test not in TESTS:
        raise ValueError(f"test={test!r} is unknown; allowed: {', '.join(TESTS)}")
    return n < 2 or not np.isfinite(spread)


def _needed(n: int, generator: Generator, draws: int) -> np.ndarray:
    """By how many standard deviations two normal samples of n must lie apart to get p < `ALPHA`, once for each draw.

    U counts the pairs whose difference is below the shift, so the shift needed for a U is an order statistic of the
    differences.
    """
    enough = np.flatnonzero(p_by_u(n, n) < ALPHA)
    if not len(enough):
        return np.full(draws, np.inf)
    runs, base = generator.standard_normal((2, draws, n))
    differences = (base[:, None, :] - runs[:, :, None]).reshape(draws, -1)
    return np.partition(differences, enough[0] - 1, axis=1)[:, enough[0] - 1]


def _pooled(columns: pd.DataFrame) -> float:
    freedom = columns.count() - 1
    kept = freedom > 0
    return float(np.sqrt((columns.var()[kept] * freedom[kept]).sum() / freedom[kept].sum())) if kept.any() else np.nan


def _tests(frame: pd.DataFrame) -> list[tuple]:
    return [
        ((row.architecture, row.dataset), test, getattr(row, test))
        for row in spreads(frame).itertuples()
        for test in TESTS
    ]
