"""How large an effect a number of runs can show."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.random import Generator
from statsmodels.stats.power import TTestPower

from .evidence import CLOSE, SEEN, TESTS, TO_MEAN, Chance, Smallest, Spread, _cells, _sense, p_by_u


def power(
    spread: float,
    gain: float,
    n: int,
    generator: Generator,
    draws: int = 10_000,
    test: str = "mann_whitney",
    level: float = 0.05,
) -> float:
    """The chance that a one-sided test with n runs a side finds a true ``gain``, in the unit of ``spread``, at p < ``level``.

    "mann_whitney": ``spread`` is the standard deviation of the runs, taken as normal; simulated, with the exact p. "paired_t": that of
    the paired differences; exact (statsmodels). NaN with fewer than two runs, or an unknown spread. ValueError for another test.
    """
    if _untestable(test, spread, n):
        return np.nan
    if spread < CLOSE:
        return float(gain > 0) if np.isfinite(_needed(n, generator, 1, level)[0]) or test == "paired_t" else 0.0
    if test == "paired_t":
        return float(TTestPower().power(gain / spread, n, level, alternative="larger"))
    return float((_needed(n, generator, draws, level) < gain / spread).mean())


def detectable(
    spread: float, n: int, generator: Generator, draws: int = 10_000, test: str = "mann_whitney", level: float = 0.05
) -> float:
    """The smallest true gain, in the unit of ``spread``, that the test of `power` finds in 80% of such experiments; inf if none is."""
    if _untestable(test, spread, n):
        return np.nan
    if test == "paired_t":
        return spread * float(TTestPower().solve_power(None, n, level, SEEN, alternative="larger"))
    return spread * float(np.quantile(_needed(n, generator, draws, level), SEEN, method="higher"))


def spreads(frame: pd.DataFrame, cases: Sequence[str] = TO_MEAN, value: str = "accuracy") -> pd.DataFrame:
    """The noise that each test meets, cell by cell, in points: ``mann_whitney``, the standard deviation of the runs of a case (of base
    and ``cases``, variances pooled by degrees of freedom), and ``paired_t``, that of differences from base. Raises as `paired`."""
    rows = []
    for key, cell in _cells(frame, value, cases):
        runs = _sense(value)[1] * cell[["base", *cases]]
        rows.append(Spread(*key, _pooled(runs), _pooled(runs[[*cases]].sub(runs["base"], axis=0))))
    return pd.DataFrame(rows, columns=Spread._fields)


def power_table(
    frame: pd.DataFrame,
    generator: Generator,
    gains: Sequence[float] = (0.5, 1, 1.5, 2, 3, 4, 5),
    ns: Sequence[int] = (5, 10),
    cases: Sequence[str] = TO_MEAN,
    value: str = "accuracy",
    draws: int = 10_000,
) -> pd.DataFrame:
    """The `power` of the paper's test and of the paired one with the `spreads` of the frame's runs: a row a cell, test, n and gain."""
    return pd.DataFrame(
        [
            Chance(*key, test, spread, n, gain, power(spread, gain, n, generator, draws, test))
            for key, test, spread in _tests(frame, cases, value)
            for n in ns
            for gain in gains
        ],
        columns=Chance._fields,
    )


def detectable_table(
    frame: pd.DataFrame,
    generator: Generator,
    ns: Sequence[int] = (5, 10),
    cases: Sequence[str] = TO_MEAN,
    value: str = "accuracy",
    draws: int = 10_000,
) -> pd.DataFrame:
    """The `detectable` gain of both tests with the `spreads` of the frame's runs: a row a cell, test and n."""
    return pd.DataFrame(
        [
            Smallest(*key, test, spread, n, detectable(spread, n, generator, draws, test))
            for key, test, spread in _tests(frame, cases, value)
            for n in ns
        ],
        columns=Smallest._fields,
    )


def _untestable(test, spread, n):
    if test not in TESTS:
        raise ValueError(f"test={test!r} is unknown; allowed: {', '.join(TESTS)}")
    return n < 2 or not np.isfinite(spread)


def _needed(n, generator, draws, level):
    """By how many standard deviations two normal samples of n must lie apart to get p < ``level``, once for each draw.

    U counts the pairs whose difference is below the shift, so the shift needed for a U is an order statistic of the differences.
    """
    enough = np.flatnonzero(p_by_u(n, n) < level)
    if not len(enough):
        return np.full(draws, np.inf)
    runs, base = generator.standard_normal((2, draws, n))
    differences = (base[:, None, :] - runs[:, :, None]).reshape(draws, -1)
    return np.partition(differences, enough[0] - 1, axis=1)[:, enough[0] - 1]


def _pooled(columns):
    freedom = columns.count() - 1
    kept = freedom > 0
    return float(np.sqrt((columns.var()[kept] * freedom[kept]).sum() / freedom[kept].sum())) if kept.any() else np.nan


def _tests(frame, cases, value):
    table = spreads(frame, cases, value)
    return [((row.architecture, row.dataset), test, getattr(row, test)) for row in table.itertuples() for test in TESTS]
