"""What paired runs mean: differences by seed with their intervals, rankings, and correlations.

Two runs of a pair share the network's initial weights, the batch order, the subset and its wrong labels, and differ in
nothing but what is compared. Intervals are Student's t over the pairs, 95%, uncorrected for how many comparisons a
table has; with pairs from several networks they tell of these networks, not of others. Accuracies in percent,
differences in points.
"""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from .frames import METRICS, PAIR, only, without
from .verdict import CONFIDENCE


@dataclass(frozen=True)
class Difference:
    """Mean difference over n pairs and its interval; NaN bounds with fewer than two pairs."""

    n: int
    mean: float
    low: float
    high: float

    def __add__(self, shift: float) -> "Difference":
        return Difference(self.n, self.mean + shift, self.low + shift, self.high + shift)

    def __str__(self) -> str:
        bounds = f" [{self.low:+.1f}, {self.high:+.1f}]" if self.low == self.low else ""
        return f"{self.mean:+.1f}{bounds} (n = {self.n})" if self.n else "-"


def difference(one: pd.DataFrame, other: pd.DataFrame, value: str = "accuracy", scale: float = 100) -> Difference:
    """``one`` minus ``other``, paired by network, data set and seed (one run of each per pair). ValueError for
    ambiguous pairs."""
    for rows in (one, other):
        if rows.duplicated(PAIR).any():
            double = rows[rows.duplicated(PAIR)].iloc[0][[*PAIR, "case", "scenario"]].to_dict()
            raise ValueError(f"several runs of one network, data set and seed: choose one case and scenario; {double}")
    values = (rows.set_index(PAIR)[value].astype(float) for rows in (one, other))
    pairs = pd.concat(dict(zip("ab", values, strict=True)), axis=1, join="inner").dropna()
    return interval(scale * (pairs.a - pairs.b).to_numpy())


def interval(differences: np.ndarray) -> Difference:
    """The mean of paired differences [n] with its t interval."""
    n = len(differences)
    if n < 2:
        return Difference(n, float(differences.mean()) if n else np.nan, np.nan, np.nan)
    error = differences.std(ddof=1) / np.sqrt(n)
    mean, half = differences.mean(), scipy_stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * error
    return Difference(n, float(mean), float(mean - half), float(mean + half))


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
        rows.append({"case": case} | asdict(difference(part, reference, value, scale)) | {"cells higher": higher})
    ranked = pd.DataFrame(rows, columns=["case", "n", "mean", "low", "high", "cells higher"])
    ranked = ranked.sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)
    return ranked.astype(dict.fromkeys(("mean", "low", "high"), float))


def correlations(frame: pd.DataFrame) -> pd.DataFrame:
    """Pearson's r of each metric at the end of the first phase with the final accuracy, by network (Lee et al. 2024,
    figure 8): network, metric, n, r, and the 95% interval by Fisher's z, which takes runs of one seed for independent.
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
                scipy_stats.norm.ppf(0.5 + CONFIDENCE / 2) / np.sqrt(max(n - 3, 1)),
            )
            rows.append((network, name, n, r, np.tanh(z - half), np.tanh(z + half)))
    return pd.DataFrame(rows, columns=["network", "metric", "n", "r", "low", "high"])
