"""The companion studies as pictures: pure functions of a frame of `comparisons.table` (or of histories), each returning a ``Figure``."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from .comparisons import METRICS, plain
from .figures import BLUE, GREEN, GREY, RED, _finish, _grid, style

SERIES = ("#000000", BLUE, RED, GREEN, "#CC79A7", "#E69F00", "#56B4E9", GREY)
MARKS = "osD^vPX*"


@style()
def by_noise(frame: pd.DataFrame, fresh: pd.DataFrame, value: str = "accuracy") -> Figure:
    """Figure 2 of Lee et al. 2024: accuracy by label noise, a line for each subset ratio, a panel for each network; dashed: fresh."""
    names = list(frame.network.unique()) or [""]
    figure, axes = _grid(1, len(names), height=6, sharey=False)
    for ax, name in zip(axes.flat, names, strict=True):
        rows = frame[frame.network == name]
        for i, (subset, part) in enumerate(rows.groupby("subset")):
            line = 100 * part.groupby("noise")[value].mean()
            ax.plot(line.index, line, MARKS[i % 8] + "-", color=SERIES[i % 8], markersize=4, linewidth=1, label=f"subset {subset:g}")
        _level(ax, fresh[fresh.network == name], value, "no warm start")
        ax.set_title(f"{name}\n{_n(rows.groupby(['subset', 'noise']).size())}")
    return _finish(figure, axes, "share of wrong labels in the first phase", f"{LABELS.get(value, value)} (%)",
                   "Mean over seeds, after the second phase on all, clean data; dashed: the same network without a warm start.")  # fmt: skip


@style()
def by_method(frame: pd.DataFrame, lower: pd.DataFrame, upper: pd.DataFrame, by: str = "method", value: str = "accuracy", scale: float = 100,
              label: str = "", lines: tuple[str, str] = ("warm start, nothing done", "no warm start")) -> Figure:  # fmt: skip
    """Figures 3 to 5 and 7 of Lee et al. 2024: every run a dot, means as bars, between the two reference lines, a panel a network."""
    names, groups = list(frame.network.unique()) or [""], list(frame[by].unique())
    figure, axes = _grid(1, len(names), height=1.5 + 0.55 * max(4, len(groups)), width=6, sharey=True)
    for ax, name in zip(axes.flat, names, strict=True):
        rows = frame[frame.network == name]
        for i, group in enumerate(groups):
            values = scale * rows[rows[by] == group][value].dropna().astype(float)
            if len(values):
                ax.scatter(values, i + np.linspace(-0.2, 0.2, len(values)), s=9, color=BLUE, alpha=0.6, linewidths=0)
                ax.vlines(values.mean(), i - 0.35, i + 0.35, color=BLUE, linewidth=1.8)
        _level(ax, lower[lower.network == name], value, lines[0], across=False, colour=GREY, scale=scale)
        _level(ax, upper[upper.network == name], value, lines[1], across=False, scale=scale)
        ax.set_title(f"{name}\n{_n(rows.groupby(by).size())}")
    axes[0, 0].set(yticks=range(len(groups)), yticklabels=[_wrapped(group) for group in groups], ylim=(len(groups) - 0.4, -0.6))
    return _finish(figure, axes, label or f"{LABELS.get(value, value)} (%)", "", "Dot: one run; bar: mean.")


@style()
def curves(histories: pd.DataFrame, titles: dict[str, str], last_phases: int = 0) -> Figure:
    """Figures 5 and 6 of Lee et al. 2024: test accuracy along the phases, a line a method (mean over seeds), a panel a network.

    ``titles``: case -> its name in the legend. A phase has unit length however many epochs it takes.
    """
    seen = histories.dropna(subset="test_accuracy")
    names = list(seen.network.unique()) or [""]
    figure, axes = _grid(1, len(names), height=6.5, width=6, sharey=False)
    for ax, name in zip(axes.flat, names, strict=True):
        rows = seen[seen.network == name]
        for i, (case, part) in enumerate((case, rows[rows.case == case]) for case in titles):
            if len(part):
                line = 100 * part.groupby(_along(part)).test_accuracy.mean()
                ax.plot(line.index, line, color=SERIES[i % 8], linewidth=1.1, label=titles[case])
        for phase in range(1, int(rows.phase.max() or 1) if len(rows) else 1):
            ax.axvline(phase, color=GREY, linewidth=0.4)
        ax.set_title(f"{name}\n{_n(rows.groupby('case').seed.nunique())}")
    return _finish(figure, axes, "phases done", "test accuracy (%)", "Mean over seeds, of the network that predicts. Vertical: a new phase begins.")


def _along(part: pd.DataFrame) -> pd.Series:
    """Where in its phases each epoch of one case is: 0.5 is the middle of the first."""
    ends = part.groupby("phase").epoch.max()
    starts = ends.shift(1, fill_value=0)
    return (part.phase - 1 + (part.epoch - part.phase.map(starts)) / part.phase.map(ends - starts)).round(6)


@style()
def ablation(frame: pd.DataFrame, lower: pd.DataFrame, upper: pd.DataFrame) -> Figure:
    """Figure 9 of Lee et al. 2024: accuracy of hare and tortoise by momentum and by interval; columns momentum and every in ``frame``."""
    figure, axes = _grid(1, 2, height=6, width=6, sharey=True)
    fixed = {"momentum": frame.every.mode().iloc[0], "every": frame.momentum.mode().iloc[0]}
    for ax, (name, other) in zip(axes.flat, (("momentum", "every"), ("every", "momentum")), strict=True):
        rows = frame[frame[other] == fixed[name]]
        values = sorted(rows[name].unique())
        for i, (network, part) in enumerate(rows.groupby("network", sort=False)):
            for j, value in enumerate(values):
                seen = 100 * part[part[name] == value].accuracy
                ax.scatter(j + np.linspace(-0.1, 0.1, len(seen)), seen, s=9, color=SERIES[i + 1], alpha=0.5, linewidths=0)
            ax.plot([100 * part[part[name] == value].accuracy.mean() for value in values], MARKS[i] + "-", color=SERIES[i + 1], label=network)
        _level(ax, lower, "accuracy", "EMA alone")
        _level(ax, upper, "accuracy", "no warm start", colour=GREY)
        ax.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        ax.set_title(f"{other} {fixed[name]:g}, {_n(rows.groupby(['network', name]).size())}")
        ax.set_xlabel({"momentum": "momentum", "every": "epochs between resets"}[name])
    figure = _finish(figure, axes, "", "test accuracy (%)", "Dot: one run; line: mean.")
    axes[0, 0].set_xlabel("momentum")
    axes[0, 1].set_xlabel("epochs between resets")
    return figure


@style()
def correlation_map(table: pd.DataFrame) -> Figure:
    """Figure 8 of Lee et al. 2024 as numbers: Pearson's r of each metric (row) with the final accuracy by network; of `comparisons.correlations`."""
    names = list(table.network.unique()) or [""]
    figure, axes = _grid(1, 1, height=1.5 + 0.65 * len(METRICS), width=3 * len(names) + 3)
    ax, grid = axes[0, 0], table.pivot(index="metric", columns="network", values="r").reindex(index=METRICS, columns=names).to_numpy(float)
    ax.imshow(grid, cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    for (i, j), r in np.ndenumerate(grid):
        row = table[(table.metric == METRICS[i]) & (table.network == names[j])].iloc[0]
        text = f"{r:+.2f}\n[{row.low:+.2f}, {row.high:+.2f}]" if r == r else "constant"
        ax.text(j, i, text, ha="center", va="center", size=6.5, color="white" if abs(r) > 0.7 else "black")
    ax.set_xticks(range(len(names)), [f"{name.replace(' ', chr(10))}\nn = {table[table.network == name].n.max()}" for name in names])
    ax.set_yticks(range(len(METRICS)), [name.replace("_", " ") for name in METRICS])
    ax.grid(False)
    return _finish(figure, axes, "", "", "Pearson's r with the final test accuracy, and its 95% interval (Fisher's z); metrics at the end of the first phase.")


@style()
def forest(ranking: pd.DataFrame, title: str, label: str = "accuracy minus base (points)") -> Figure:
    """Methods ranked by their difference from base, with intervals; columns case, n, mean, low, high of `comparisons.ranking`."""
    figure, axes = _grid(1, 1, height=2 + 0.5 * len(ranking), width=14)
    ax, places = axes[0, 0], np.arange(len(ranking))
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.hlines(places, ranking.low, ranking.high, color=BLUE, linewidth=1.2)
    ax.plot(ranking["mean"], places, "o", color=BLUE, markersize=4)
    ax.set(yticks=places, yticklabels=[_wrapped(case, 44) for case in ranking.case], ylim=(len(ranking) - 0.4, -0.6), title=title)
    return _finish(figure, axes, label, "", "Dot: mean of the pairs (same network, data set and seed); line: 95% t interval, uncorrected.")


LABELS = {"accuracy": "test accuracy", "train_accuracy": "training accuracy", "online_accuracy": "mean test accuracy over all epochs"}


def _level(ax, rows, value, label, across=True, colour="#000000", scale=100):
    if len(rows.dropna(subset=value)):
        line = ax.axhline if across else ax.axvline
        line(scale * rows[value].astype(float).mean(), color=colour, linestyle="--", linewidth=0.9, label=label)


def _n(counts) -> str:
    low, high = (counts.min(), counts.max()) if len(counts) else (0, 0)
    return f"n = {low}" + (f" to {high}" if high > low else "") + " a mark"


def _wrapped(text: str, width: int = 30) -> str:
    text = str(text)
    return text if len(text) <= width else text.replace(" + ", "\n+ ", 1)


def names_of(cases) -> dict[str, str]:
    """case -> its short name, in order."""
    return {case: plain(case).replace(" + l2 + augmentation", "").replace("l2 + augmentation", "nothing more") for case in cases}
