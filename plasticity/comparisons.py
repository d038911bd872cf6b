"""What the companion studies' runs mean: differences paired by seed with their intervals, and correlations.

Two runs of a pair share the network's initial weights, the batch order, the subset and its wrong labels, and differ in nothing but what is
compared. Intervals are Student's t over the pairs, 95%, uncorrected for how many comparisons a table has; with pairs from
several networks they tell of these networks, not of others. Accuracies in percent, differences in points.
"""

import re
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from . import records, scenarios
from .config import Run
from .models import ARCHITECTURES

LEVEL = 0.95
PAIR = ["architecture", "dataset", "seed"]  # what two runs of a pair have in common
METRICS = ("weight_magnitude", "weight_distance", "zero_gradient", "zero_activation", "srank", "effective_rank", "stable_rank",
           "dormant_normalised", "dormant_rarely", "dormant_never")  # fmt: skip


def table(recorded: list[dict]) -> pd.DataFrame:
    """A row a finished run: its configuration, metrics, ``network`` (title), ``method`` (case without numbers), the scenario's
    parameters, the last phase's plasticity metrics, and those at the end of the first phase as ``first_<metric>``."""
    frame = records.frame(recorded)
    rows = []
    for record, row in zip(recorded, frame.to_dict("records"), strict=True):
        scenario = scenarios.build(row["scenario"])
        ends = [entry for entry in record.get("history", []) if "weight_magnitude" in entry]
        row |= {"kind": row["scenario"].partition("(")[0], "network": ARCHITECTURES[row["architecture"]].title,
                "method": plain(row["case"])} | asdict(scenario)  # fmt: skip
        if ends:
            row |= {name: ends[-1].get(name) for name in METRICS} | {f"first_{name}": ends[0].get(name) for name in METRICS}
        seen = [entry["test_accuracy"] for entry in record.get("history", []) if "test_accuracy" in entry]
        row["online_accuracy"] = float(np.mean(seen)) if seen else None
        rows.append(row)
    result = pd.DataFrame(rows)
    return result[result.status == "done"].reset_index(drop=True)


def by_part(parts: dict[str, list[Run]], runs: list[Run], recorded: list[dict]) -> dict[str, pd.DataFrame]:
    """The `table` of each part of a study whose ``runs`` have these records, in this order."""
    record_of = dict(zip(runs, recorded, strict=True))
    return {part: table([record_of[run] for run in chosen]) for part, chosen in parts.items()}


def histories(chosen: list[Run], runs: list[Run], recorded: list[dict]) -> pd.DataFrame:
    """A row an epoch of the chosen runs: network, scenario, case, seed, epoch, phase, test accuracy (NaN where not evaluated)."""
    record_of = dict(zip(runs, recorded, strict=True))
    rows = records.histories([record_of[run] for run in dict.fromkeys(chosen)])
    return rows.assign(network=[ARCHITECTURES[name].title for name in rows.architecture])


def only(frame: pd.DataFrame, **values) -> pd.DataFrame:
    """The rows whose columns have these values."""
    for name, value in values.items():
        frame = frame[frame[name] == value]
    return frame


def without(frame: pd.DataFrame, *methods: str) -> pd.DataFrame:
    """The rows of other methods."""
    return frame[~frame.method.isin(methods)]


def among(frame: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The rows of networks and data sets that ``other`` has, too."""
    return frame.merge(other[PAIR[:2]].drop_duplicates(), on=PAIR[:2])


def plain(case: str) -> str:
    """A case without its methods' numbers in parentheses; ``crop`` is the digits' augmentation."""
    return re.sub(r"\bcrop\b", "augmentation", re.sub(r"\([^)]*\)", "", case))


def means(frame: pd.DataFrame, by: list[str], value: str = "accuracy", scale: float = 100) -> pd.DataFrame:
    """n, mean, std (n - 1) of a column by group, in its order of appearance; times ``scale``."""
    grouped = frame.dropna(subset=value).groupby(by, sort=False)[value]
    return (grouped.agg(n="size", mean="mean", std="std").mul({"n": 1, "mean": scale, "std": scale})).reset_index()


@dataclass(frozen=True)
class Difference:
    """Mean difference over n pairs and its interval; NaN bounds with fewer than two pairs."""

    n: int
    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        bounds = f" [{self.low:+.1f}, {self.high:+.1f}]" if self.low == self.low else ""
        return f"{self.mean:+.1f}{bounds} (n = {self.n})" if self.n else "-"


def difference(one: pd.DataFrame, other: pd.DataFrame, value: str = "accuracy", scale: float = 100) -> Difference:
    """``one`` minus ``other``, paired by network, data set and seed (one run of each a pair). ValueError if a pair is ambiguous."""
    for rows in (one, other):
        if rows.duplicated(PAIR).any():
            double = rows[rows.duplicated(PAIR)].iloc[0][[*PAIR, "case", "scenario"]].to_dict()
            raise ValueError(f"several runs of one network, data set and seed: choose one case and scenario; {double}")
    pairs = one.merge(other, on=PAIR, suffixes=("", "_other"))
    return interval(scale * (pairs[value] - pairs[f"{value}_other"]).dropna().to_numpy(float))


def interval(differences: np.ndarray) -> Difference:
    """The mean of paired differences [n] with its t interval."""
    n = len(differences)
    if n < 2:
        return Difference(n, float(differences.mean()) if n else np.nan, np.nan, np.nan)
    half = scipy_stats.t.ppf(0.5 + LEVEL / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    return Difference(n, float(differences.mean()), float(differences.mean() - half), float(differences.mean() + half))


def against(frame: pd.DataFrame, reference: pd.DataFrame, by: str = "case", value: str = "accuracy", scale: float = 100) -> pd.DataFrame:
    """Each value of ``by`` against ``reference``, by network and over all: one text a cell, ranked by the mean over all."""
    rows = []
    for name, part in frame.groupby(by, sort=False):
        each = {title: difference(part[part.network == title], reference[reference.network == title], value, scale)
                for title in frame.network.unique()}  # fmt: skip
        rows.append({by: name} | {title: str(found) if found.n else "-" for title, found in each.items()}
                    | {"all": difference(part, reference, value, scale)})  # fmt: skip
    result = pd.DataFrame(rows).sort_values("all", key=lambda column: [-d.mean if d.n else np.inf for d in column], kind="stable")
    return result.assign(all=[str(d) for d in result["all"]]).reset_index(drop=True)


def ranking(frame: pd.DataFrame, value: str = "accuracy", scale: float = 100) -> pd.DataFrame:
    """Every case against base: case, n, mean, low, high, and in how many cells (network x data set) its mean is higher; ranked."""
    rows, reference = [], only(frame, case="base")
    for case, part in without(frame, "base").groupby("case", sort=False):
        cells = [difference(cell, reference, value, scale).mean for _, cell in part.groupby(["architecture", "dataset"])]
        rows.append({"case": case} | asdict(difference(part, reference, value, scale)) | {"cells higher": f"{sum(c > 0 for c in cells)} of {len(cells)}"})
    columns = ["case", "n", "mean", "low", "high", "cells higher"]
    return pd.DataFrame(rows, columns=columns).sort_values("mean", ascending=False, kind="stable").reset_index(drop=True)


def correlations(frame: pd.DataFrame, value: str = "accuracy") -> pd.DataFrame:
    """Pearson's r of each metric at the end of the first phase with the final accuracy, by network (Lee et al. 2024, figure 8):
    network, metric, n, r, and the 95% interval by Fisher's z. NaN where one of them is constant or n < 4."""
    rows = []
    for network, part in frame.groupby("network", sort=False):
        for name in METRICS:
            pair = part[[f"first_{name}", value]].dropna().astype(float)
            n, spread = len(pair), pair.std()
            defined = n >= 4 and bool((spread > 1e-12).all())
            r = float(np.corrcoef(pair.to_numpy().T)[0, 1]) if defined else np.nan
            z, half = np.arctanh(np.clip(r, -0.999999, 0.999999)), scipy_stats.norm.ppf(0.5 + LEVEL / 2) / np.sqrt(max(n - 3, 1))
            rows.append({"network": network, "metric": name, "n": n, "r": r, "low": np.tanh(z - half), "high": np.tanh(z + half)})
    return pd.DataFrame(rows)
