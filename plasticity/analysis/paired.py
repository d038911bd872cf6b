"""What paired runs mean: differences by seed with their intervals, rankings, and correlations.

Two runs of a pair share the network's initial weights, the batch order, the subset and its wrong labels, and differ in
nothing but what is compared. Every interval is `interval`'s: stratified by cell (network x data set), 95%, uncorrected
for how many comparisons a table has; it tells of these cells, not of others. Accuracies in percent, differences in
points.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from ..networks.table import architecture
from .frames import METRICS, PAIR, only, without
from .verdict import CONFIDENCE

CLOSE = 1e-9  # differences below it are rounding


@dataclass(frozen=True)
class Difference:
    """Mean difference over n pairs and its interval with ``freedom`` degrees of freedom; NaN bounds where there is
    none. ``pairs``: the differences themselves, by what names a pair."""

    n: int
    mean: float
    low: float
    high: float
    freedom: float = field(default=np.nan, compare=False)
    pairs: pd.Series | None = field(default=None, repr=False, compare=False)

    def __add__(self, shift: float) -> "Difference":
        pairs = None if self.pairs is None else self.pairs + shift
        return Difference(self.n, self.mean + shift, self.low + shift, self.high + shift, self.freedom, pairs)

    def __str__(self) -> str:
        bounds = f" [{self.low:+.1f}, {self.high:+.1f}]" if self.low == self.low else ""
        return f"{self.mean:+.1f}{bounds} (n = {self.n})" if self.n else "-"

    def row(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("n", "mean", "low", "high")}

    @property
    def error(self) -> float:
        """The standard error."""
        return (self.high - self.low) / 2 / _quantile(CONFIDENCE, self.freedom)

    def within(self, confidence: float) -> tuple[float, float]:
        """The interval's ends at another confidence."""
        if confidence == CONFIDENCE:
            return self.low, self.high
        half = self.error * _quantile(confidence, self.freedom)
        return self.mean - half, self.mean + half

    def p(self, bound: float = 0.0) -> float:
        """One-sided p of "the mean is above ``bound``"; NaN without an interval, 0 or 1 where no pair differs from
        another."""
        if not self.high > self.low:
            return float(not self.mean > bound) if self.low == self.low else np.nan
        return float(scipy_stats.t.sf((self.mean - bound) / self.error, self.freedom))

    def by_network(self, form: str = "+.1f") -> str:
        """The mean of each network, where there are several: "ResNet-18 -4.5, VGG -6.3"; else "-"."""
        if self.pairs is None or "architecture" not in self.pairs.index.names:
            return "-"
        means = self.pairs.groupby(level=_strata(self.pairs), sort=False).mean()
        means = means.groupby(level="architecture", sort=False).mean()
        named = [f"{short_title(name)} {mean:{form}}" for name, mean in means.items()]
        return ", ".join(named) if len(named) > 1 else "-"


def difference(one: pd.DataFrame, other: pd.DataFrame, value: str = "accuracy", scale: float = 100) -> Difference:
    """``one`` minus ``other``, paired by network, data set and seed (one run of each per pair). ValueError for
    ambiguous pairs."""
    for rows in (one, other):
        if rows.duplicated(PAIR).any():
            double = rows[rows.duplicated(PAIR)].iloc[0][[*PAIR, "case", "scenario"]].to_dict()
            raise ValueError(f"several runs of one network, data set and seed: choose one case and scenario; {double}")
    values = (rows.set_index(PAIR)[value].astype(float) for rows in (one, other))
    pairs = pd.concat(dict(zip("ab", values, strict=True)), axis=1, join="inner").dropna()
    return interval(scale * (pairs.a - pairs.b))


def interval(differences: pd.Series | np.ndarray) -> Difference:
    """The mean of paired differences [n] with its interval, stratified by all that names a pair but its seed.

    Every stratum counts the same: the mean of the strata's means, with a standard error from what seeds differ by
    within a stratum alone, since networks and data sets were chosen, not drawn. Student's t with the degrees of freedom
    of Welch (1947) and Satterthwaite (1946), rounded down: each stratum has a spread of its own, and with three seeds
    in each of three the interval holds the truth in 97% of experiments with equal spreads and in 95% where one is ten
    times the others (of one pooled spread: 95% and 88%; without rounding: 97% and 94%). rliable's stratified bootstrap
    (Agarwal et al. 2021) resamples runs within tasks for the same reason, but needs more of them than three. An array
    is one stratum. NaN bounds where a stratum has a single pair.
    """
    pairs = pd.Series(differences, dtype=float)
    levels = _strata(pairs)
    strata = [part.to_numpy() for _, part in pairs.groupby(level=levels, sort=False)] if levels else [pairs.to_numpy()]
    mean = float(np.mean([part.mean() for part in strata])) if len(pairs) else np.nan
    counts = np.array([len(part) for part in strata])
    if not len(pairs) or counts.min() < 2:
        return Difference(len(pairs), mean, np.nan, np.nan, pairs=pairs)
    variances = np.array([part.var(ddof=1) if np.ptp(part) > CLOSE else 0.0 for part in strata])
    error, freedom = standard_error(variances, counts)
    half = float(_quantile(CONFIDENCE, freedom) * error)
    return Difference(len(pairs), mean, mean - half, mean + half, float(freedom), pairs)


def standard_error(variances: np.ndarray, counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Of a mean of strata's means: its standard error and Welch and Satterthwaite's degrees of freedom, rounded down,
    from the variances [..., strata] within them and how many pairs each has."""
    counts = np.asarray(counts)
    parts = variances / counts
    total, spread = parts.sum(-1), (parts**2 / (counts - 1)).sum(-1)
    freedom = np.divide(total**2, spread, out=np.full(np.shape(total), 1.0 * (counts - 1).sum()), where=spread > 0)
    return np.sqrt(total) / len(counts), np.floor(freedom + CLOSE)


def short_title(name: str) -> str:
    """A network's title without "miniature"."""
    return architecture(name).title.removeprefix("miniature ")


def _strata(pairs: pd.Series) -> list[str]:
    return [name for name in pairs.index.names if name not in (None, "seed")]


def _quantile(confidence: float, freedom: float) -> float:
    return scipy_stats.t.ppf(0.5 + confidence / 2, freedom)


def holm(p: pd.Series) -> pd.Series:
    """The p-values by Holm's correction (1979) for as many as there are; NaN stays NaN and counts for none.

    statsmodels' multipletests gives the same, but collects garbage at each call: half a second beside torch.
    """
    ranked = p.dropna().sort_values(kind="stable")
    return (ranked * np.arange(len(ranked), 0, -1)).cummax().clip(upper=1).reindex(p.index)


def against(frame: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Each case against ``reference``, by network and over all: one text per cell, ranked by the mean over all."""
    rows, networks = [], list(frame.network.unique())
    for case, part in frame.groupby("case", sort=False):
        each = {title: str(difference(only(part, network=title), reference)) for title in networks}
        rows.append({"case": case} | each | {"all": difference(part, reference)})
    rows.sort(key=lambda row: -row["all"].mean if row["all"].n else np.inf)
    return pd.DataFrame(rows, columns=["case", *networks, "all"]).astype(str)


def ranking(frame: pd.DataFrame, value: str = "accuracy", scale: float = 100) -> pd.DataFrame:
    """Every case against base: case, n, mean, low, high, and in how many cells (network x data set) its mean is higher;
    ranked."""
    rows, reference = [], only(frame, case="base")
    for case, part in without(frame, "base").groupby("case", sort=False):
        cells = [difference(cell, reference, value, scale) for _, cell in part.groupby(PAIR[:2])]
        higher = f"{sum(cell.mean > 0 for cell in cells)} of {sum(cell.n > 0 for cell in cells)}"
        rows.append({"case": case} | difference(part, reference, value, scale).row() | {"cells higher": higher})
    ranked = pd.DataFrame(rows, columns=["case", "n", "mean", "low", "high", "cells higher"])
    ranked = ranked.sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)
    return ranked.astype(dict.fromkeys(("mean", "low", "high"), float))


def correlations(frame: pd.DataFrame, confidence: float = CONFIDENCE) -> pd.DataFrame:
    """Pearson's r of each metric at the end of the first phase with the final accuracy, by network (Lee et al. 2024,
    figure 8): network, metric, n, r, and the interval by Fisher's z, which takes runs of one seed for independent.
    NaN where one of them is constant or n < 4."""
    rows = []
    for network, part in frame.groupby("network", sort=False):
        for name in METRICS:
            pair = part[[f"first_{name}", "accuracy"]].dropna().astype(float)
            n = len(pair)
            defined = n >= 4 and bool((pair.std() > 1e-9 * pair.abs().max()).all())  # beyond rounding
            r = float(np.corrcoef(pair.to_numpy().T)[0, 1]) if defined else np.nan
            z, half = (
                np.arctanh(np.clip(r, -0.999999, 0.999999)),
                scipy_stats.norm.ppf(0.5 + confidence / 2) / np.sqrt(max(n - 3, 1)),
            )
            rows.append((network, name, n, r, np.tanh(z - half), np.tanh(z + half)))
    return pd.DataFrame(rows, columns=["network", "metric", "n", "r", "low", "high"])
