"""The companion studies as pictures: pure functions of a frame of `comparisons.table` (or of histories), each a ``Figure``.

At most 16 cm wide. Networks are panels; a subset, a method, has one colour and mark in all of them.
"""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ...analysis.figures import BLUE, GREEN, GREY, RED, _finish, _grid, _n, style
from ...analysis.frames import METRICS, only, plain
from .tables import NOTHING

SERIES = ("#000000", BLUE, RED, GREEN, "#CC79A7", "#E69F00", "#56B4E9", GREY)
MARKS = "osD^vPX*"
SIGNED = LinearSegmentedColormap.from_list("signed", (RED, "#FFFFFF", BLUE))
LABELS = {
    "accuracy": "test accuracy",
    "train_accuracy": "training accuracy",
    "online_accuracy": "mean test accuracy over all epochs",
}


@style()
def by_noise(frame: pd.DataFrame, fresh: pd.DataFrame, value: str = "accuracy") -> Figure:
    """Figure 2 of Lee et al. 2024: accuracy by label noise, a line for each subset ratio, a panel for each network; dashed: fresh."""
    figure, axes, panels = _networks(frame, value, ["subset", "noise"], height=5.5)
    for ax, name, rows in panels:
        for i, subset in enumerate(sorted(frame.subset.unique())):
            line = 100 * only(rows, subset=subset).groupby("noise")[value].mean()
            if len(line):
                look = {"marker": MARKS[i % 8], "color": SERIES[i % 8], "markersize": 4, "linewidth": 1}
                ax.plot(line.index, line, label=f"subset {subset:g}", **look)
        _level(ax.axhline, 100 * only(fresh, network=name)[value], "no warm start")
        ax.ticklabel_format(axis="y", useOffset=False)
    return _finish(
        figure,
        axes,
        "share of wrong labels",
        f"{LABELS.get(value, value)} (%)",
        "Mean over seeds, after the second phase, "
        "on all, clean data; wrong labels in the first phase; dashed: the same network without a warm start.",
    )


@style()
def by_method(
    frame: pd.DataFrame,
    lower: pd.DataFrame,
    upper: pd.DataFrame,
    by: str = "method",
    value: str = "accuracy",
    scale: float = 100,
    label: str = "",
    lines: tuple[str, str] = ("warm start, nothing done", "no warm start"),
) -> Figure:
    """Figures 3 to 5 and 7 of Lee et al. 2024: every run a dot, means as bars, between two reference lines, a panel a network.

    A line without a name is not drawn.
    """
    groups = list(frame[by].unique())
    shared = bool(groups) and all(str(group).endswith(f" + {NOTHING}") for group in groups)
    shown = names_of(groups).values() if shared else map(_wrapped, groups)
    figure, axes, panels = _networks(frame, value, [by], height=2.5 + 0.55 * max(3, len(groups)), sharey=True)
    for ax, name, rows in panels:
        for i, group in enumerate(groups):
            values = scale * rows[rows[by] == group][value].dropna()
            ax.scatter(values, i + _spread(len(values), 0.2), s=9, color=BLUE, alpha=0.6, linewidths=0)
            ax.vlines(values.mean() if len(values) else [], i - 0.35, i + 0.35, color=BLUE, linewidth=1.8)
        for reference, said, colour in zip((lower, upper), lines, (GREY, "#000000"), strict=True):
            if said:
                _level(ax.axvline, scale * only(reference, network=name)[value], said, colour)
        ax.locator_params(axis="x", nbins=4)
    axes[0, 0].set_yticks(range(len(groups)), [*shown], linespacing=0.85)
    axes[0, 0].set_ylim(len(groups) - 0.4, -0.6)
    label = label or f"{LABELS.get(value, value)} (%)"
    label = label if len(label) < 24 else label.replace(" (", "\n(")  # not into the next panel's
    return _finish(
        figure, axes, label, "", f"Dot: one run; bar and dashed line: mean.{f' All with {NOTHING}.' if shared else ''}"
    )


@style()
def curves(histories: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """Figures 5 and 6 of Lee et al. 2024: test accuracy along the phases, a line a method (mean over seeds), a panel a network.

    ``titles``: case -> its name in the legend; cases of one name share their line's colour. A phase has unit length however many epochs
    it takes.
    """
    seen, places = histories.dropna(subset="test_accuracy"), list(dict.fromkeys(titles.values()))
    figure, axes, panels = _networks(
        seen.drop_duplicates(["network", "case", "seed"]), "test_accuracy", ["case"], height=6.5
    )
    for ax, name, _ in panels:
        rows = only(seen, network=name)
        for case, title in titles.items():
            part = only(rows, case=case)
            if len(part):
                line = 100 * part.groupby(_along(part)).test_accuracy.mean()
                ax.plot(line.index, line, color=SERIES[places.index(title) % 8], linewidth=1, label=title)
        for phase in range(1, int(rows.phase.max()) if len(rows) else 1):
            ax.axvline(phase, color=GREY, linewidth=0.4)
    return _finish(
        figure,
        axes,
        "phases done",
        "test accuracy (%)",
        "Mean over seeds, of the network that predicts. Vertical: a new phase begins.",
    )


def _along(part: pd.DataFrame) -> pd.Series:
    """Where in its phases each epoch of one case is: 0.5 is the middle of the first."""
    ends = part.groupby("phase").epoch.max()
    starts = ends.shift(1, fill_value=0)
    return (part.phase - 1 + (part.epoch - part.phase.map(starts)) / part.phase.map(ends - starts)).round(6)


@style()
def ablation(frame: pd.DataFrame, lower: pd.DataFrame, upper: pd.DataFrame) -> Figure:
    """Figure 9 of Lee et al. 2024: accuracy of hare and tortoise by momentum and by interval (columns momentum and every), a network a
    row; the other parameter has its most frequent value."""
    names = list(frame.network.unique()) or [""]
    figure, axes = _grid(len(names), 2, height=5, width=7, sharey="row")
    for name, row in zip(names, axes, strict=True):
        runs = only(frame, network=name)
        for ax, column, other in zip(row, ("momentum", "every"), ("every", "momentum"), strict=True):
            part = runs[runs[other].isin(runs[other].mode()[:1])].dropna(subset="accuracy")
            means = 100 * part.groupby(column).accuracy.mean()
            for place, value in enumerate(means.index):
                seen = 100 * part[part[column] == value].accuracy
                ax.scatter(place + _spread(len(seen), 0.1), seen, s=9, color=BLUE, alpha=0.6, linewidths=0)
            ax.plot(range(len(means)), means, "-", color=BLUE, linewidth=1)
            _level(ax.axhline, 100 * only(lower, network=name).accuracy, "EMA alone", GREY)
            _level(ax.axhline, 100 * only(upper, network=name).accuracy, "no warm start")
            ax.set_xticks(range(len(means)), [f"{value:g}" for value in means.index])
            fixed = "".join(f"{other} {value:g}, " for value in part[other].unique())
            ax.set_title(f"{_narrow(name, 36)}\n{fixed}{_n(part.groupby(column).size())}")
    _finish(figure, axes, "", "test accuracy (%)", "Dot: one run; line: mean.")
    for ax, label in zip(axes[-1], ("momentum", "epochs between resets"), strict=True):
        ax.set_xlabel(label)
    return figure


@style()
def correlation_map(table: pd.DataFrame) -> Figure:
    """Figure 8 of Lee et al. 2024 as numbers: Pearson's r of each metric (row) with the final accuracy by network (column); of
    `comparisons.correlations`."""
    names = list(table.network.unique())
    figure, axes = _grid(1, 1, height=1.5 + 0.75 * len(METRICS), width=3 * max(1, len(names)) + 3)
    ax, cells = axes[0, 0], table.set_index(["metric", "network"])
    grid = cells.r.unstack().reindex(index=METRICS, columns=names or [""]).to_numpy(float)
    ax.imshow(grid, cmap=SIGNED, vmin=-1, vmax=1, aspect="auto")
    for (i, j), r in np.ndenumerate(grid):
        if r == r:
            low, high = cells.loc[(METRICS[i], names[j]), ["low", "high"]]
            text, colour = f"{r:+.2f}\n[{low:+.2f}, {high:+.2f}]", "white" if abs(r) > 0.7 else "black"
            ax.text(j, i, text, ha="center", va="center", size=7, color=colour)
        else:
            ax.text(j, i, "-", ha="center", va="center", size=7)
    shown = [f"{_narrow(name, 16)}\n{_n(only(table, network=name).n)}" for name in names]
    ax.set_xticks(range(len(names)), shown)
    ax.set_yticks(range(len(METRICS)), [name.replace("_", " ") for name in METRICS])
    ax.grid(False)
    return _finish(
        figure,
        axes,
        "",
        "",
        "Pearson's r with the final test accuracy, and its 95% interval (Fisher's z); metrics at "
        "the end of the first phase. -: fewer than four runs, or one of the two is constant.",
    )


@style()
def forest(ranking: pd.DataFrame, title: str, label: str = "accuracy minus base (points)") -> Figure:
    """Methods ranked by their difference from base, with intervals; columns case, n, mean, low, high of `comparisons.ranking`."""
    figure, axes = _grid(1, 1, height=2 + 0.5 * len(ranking), width=14)
    ax, places = axes[0, 0], np.arange(len(ranking))
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.hlines(places, ranking.low, ranking.high, color=BLUE, linewidth=1.2)
    ax.plot(ranking["mean"], places, "o", color=BLUE, markersize=4)
    ax.set(
        yticks=places,
        yticklabels=[_wrapped(case, 48) for case in ranking.case],
        ylim=(len(ranking) - 0.4, -0.6),
        title=title,
    )
    return _finish(
        figure,
        axes,
        label,
        "",
        "Dot: mean of the pairs (same network, data set and seed); line: 95% t interval, uncorrected.",
    )


def names_of(cases) -> dict[str, str]:
    """case -> its short name, in order."""
    return {case: plain(case).replace(f" + {NOTHING}", "").replace(NOTHING, "nothing more") for case in cases}


def _networks(frame, value, by, height, **sharing):
    """A titled panel a network, its name and its rows: abreast up to three, four as two by two, within 16 cm."""
    names = list(frame.network.unique()) or [""]
    columns = 2 if len(names) in (2, 4) else min(3, len(names))
    figure, axes = _grid(-(-len(names) // columns), columns, height, 15 / columns, **sharing)
    panels = [(ax, name, only(frame, network=name)) for ax, name in zip(axes.flat, names, strict=False)]
    for ax, name, rows in panels:
        ax.set_title(f"{_narrow(name, 36 if columns < 3 else 24)}\n{_n(rows.dropna(subset=value).groupby(by).size())}")
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    return figure, axes, panels


def _level(line, values, label, colour="#000000"):
    if values.notna().any():
        line(values.mean(), color=colour, linestyle="--", linewidth=0.9, label=label)


def _spread(count: int, width: float) -> np.ndarray:
    """Places beside each other about zero."""
    return np.linspace(-width, width, count) if count > 1 else np.zeros(count)


def _narrow(name: str, width: int) -> str:
    """A network's title on as many lines as it needs; ViT-Tiny is one word."""
    return name if len(name) <= width else textwrap.fill(name, 16, break_on_hyphens=False)


def _wrapped(text: str, width: int = 30) -> str:
    text = str(text)
    return text if len(text) <= width else text.replace(" + ", "\n+ ", 1)
