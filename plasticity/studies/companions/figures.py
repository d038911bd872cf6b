"""The companion studies as pictures: pure functions of a `frames.run_table` (or of learning curves), each a ``Figure``.

At most 16 cm wide. Networks are panels; a subset, a method, has one colour and mark in all of them.
"""

import textwrap

import pandas as pd
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ...analysis.figures import BLACK, BLUE, GREY, MARKS, RED, SERIES, finish, forest, span, spread, style, subplots
from ...analysis.frames import METRICS, only, plain
from .lengths import named
from .tables import NOTHING

SIGNED = LinearSegmentedColormap.from_list("signed", (RED, "#FFFFFF", BLUE))
LABELS = {
    "accuracy": "test accuracy",
    "train_accuracy": "training accuracy",
    "online_accuracy": "mean test accuracy over all epochs",
}
LINES = "warm start, nothing done", "no warm start"


@style()
def by_noise(frame: pd.DataFrame, fresh: pd.DataFrame, value: str = "accuracy") -> Figure:
    """Figure 2 of Lee et al. 2024: accuracy by label noise, a line for each subset ratio, a panel for each network."""
    figure, axes, panels = _networks(frame, value, ["subset", "noise"], height=5.5)
    for ax, name, rows in panels:
        for i, subset in enumerate(sorted(frame.subset.unique())):
            line = 100 * only(rows, subset=subset).groupby("noise")[value].mean()
            if len(line):
                look = {"color": SERIES[i % 8], "markersize": 4, "linewidth": 1}
                ax.plot(line.index, line, f"-{MARKS[i % 8]}", label=f"subset {subset:g}", **look)
        _level(ax.axhline, 100 * only(fresh, network=name)[value], "no warm start")
        ax.ticklabel_format(axis="y", useOffset=False)
    caption = "Mean over seeds, after the second phase, on all, clean data; wrong labels in the first phase;"
    caption += " dashed: the same network without a warm start."
    return finish(figure, axes, "share of wrong labels", f"{LABELS.get(value, value)} (%)", caption)


@style()
def by_method(frame, lower, upper, by="method", value="accuracy", scale=100.0, label="", lines=LINES) -> Figure:
    """Figures 3 to 5 and 7 of Lee et al. 2024: every run of ``frame`` a dot, means as bars, a row for each value of the
    column ``by``, a panel for each network, between two reference ``lines``: the means of the frames ``lower`` and
    ``upper``. One without a name is not drawn.

    Shown is the column ``value`` times ``scale``, with ``label`` below (default: the accuracy's, in percent).
    """
    groups = list(frame[by].unique())
    shared = bool(groups) and all(str(group).endswith(f" + {NOTHING}") for group in groups)
    figure, axes, panels = _networks(frame, value, [by], height=2.5 + 0.55 * max(3, len(groups)), sharey=True)
    for ax, name, rows in panels:
        for i, group in enumerate(groups):
            values = scale * rows[rows[by] == group][value].dropna()
            ax.scatter(values, i + spread(len(values), 0.2), s=9, color=BLUE, alpha=0.6, linewidths=0)
            ax.vlines(values.mean() if len(values) else [], i - 0.35, i + 0.35, color=BLUE, linewidth=1.8)
        for reference, said, colour in zip((lower, upper), lines, (GREY, BLACK), strict=True):
            if said:
                _level(ax.axvline, scale * only(reference, network=name)[value], said, colour)
        ax.locator_params(axis="x", nbins=4)
    shown = names_of(groups).values() if shared else map(_wrapped, groups)
    axes[0, 0].set_yticks(range(len(groups)), [*shown], linespacing=0.85)
    axes[0, 0].set_ylim(len(groups) - 0.4, -0.6)
    label = label or f"{LABELS.get(value, value)} (%)"
    label = label if len(label) < 24 else label.replace(" (", "\n(")  # not into the next panel's
    caption = "Dot: one run; bar and dashed line: mean." + f" All with {NOTHING}." * shared
    return finish(figure, axes, label, "", caption)


@style()
def curves(histories: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """Figures 5 and 6 of Lee et al. 2024: test accuracy along the phases, a line for each method (mean over seeds), a
    panel for each network.

    ``titles``: case -> its name in the legend; cases of one name share their line's colour. A phase has unit length
    however many epochs it takes.
    """
    seen = histories.dropna(subset="test_accuracy")
    runs = seen.drop_duplicates(["network", "case", "seed"])
    colours = dict(zip(dict.fromkeys(titles.values()), 3 * SERIES, strict=False))
    figure, axes, panels = _networks(runs, "test_accuracy", ["case"], height=6.5)
    for ax, name, _ in panels:
        rows = only(seen, network=name)
        for case, title in titles.items():
            part = only(rows, case=case)
            if len(part):
                line = 100 * part.groupby(along(part)).test_accuracy.mean()
                ax.plot(line.index, line, color=colours[title], linewidth=1, label=title)
        for phase in range(1, int(rows.phase.max()) if len(rows) else 1):
            ax.axvline(phase, color=GREY, linewidth=0.4)
    caption = "Mean over seeds, of the network that predicts. Vertical: a new phase begins."
    return finish(figure, axes, "phases done", "test accuracy (%)", caption)


def along(part: pd.DataFrame) -> pd.Series:
    """Where in its phases each epoch of one case is: 0.5 is the middle of the first."""
    ends = part.groupby("phase").epoch.max()
    starts = ends.shift(1, fill_value=0)
    return (part.phase - 1 + (part.epoch - part.phase.map(starts)) / part.phase.map(ends - starts)).round(6)


@style()
def ablation(frame: pd.DataFrame, lower: pd.DataFrame, upper: pd.DataFrame) -> Figure:
    """Figure 9 of Lee et al. 2024: accuracy of hare and tortoise by momentum and by interval (columns momentum and
    epochs), a row for each network; the other parameter has its most frequent value."""
    names = list(frame.network.unique()) or [""]
    figure, axes = subplots(len(names), 2, height=5, width=7, sharey="row")
    for name, row in zip(names, axes, strict=True):
        runs = only(frame, network=name)
        for ax, column, other in zip(row, ("momentum", "epochs"), ("epochs", "momentum"), strict=True):
            part = runs[runs[other].isin(runs[other].mode()[:1])].dropna(subset="accuracy")
            _varied(ax, part, column)
            _level(ax.axhline, 100 * only(lower, network=name).accuracy, "EMA alone", GREY)
            _level(ax.axhline, 100 * only(upper, network=name).accuracy, "no warm start")
            fixed = "".join(f"{other} {value:g}, " for value in part[other].unique())
            ax.set_title(f"{_narrow(name, 36)}\n{fixed}n = {span(part.groupby(column).size())}")
    finish(figure, axes, "", "test accuracy (%)", "Dot: one run; line: mean.")
    axes[-1, 0].set_xlabel("momentum")
    axes[-1, 1].set_xlabel("epochs between resets")
    return figure


def _varied(ax, part, column):
    """Accuracy by the values of a column: every run a dot, a line through the means."""
    groups = [(f"{value:g}", 100 * rows.accuracy) for value, rows in part.groupby(column)]
    for place, (_, values) in enumerate(groups):
        ax.scatter(place + spread(len(values), 0.1), values, s=9, color=BLUE, alpha=0.6, linewidths=0)
    ax.plot(range(len(groups)), [values.mean() for _, values in groups], "-", color=BLUE, linewidth=1)
    ax.set_xticks(range(len(groups)), [value for value, _ in groups])


@style()
def correlation_map(table: pd.DataFrame) -> Figure:
    """Figure 8 of Lee et al. 2024 as numbers: the table of `paired.correlations`, metrics by networks."""
    names = list(table.network.unique()) or [""]
    cells = [
        f"{row.r:+.2f}\n[{row.low:+.2f}, {row.high:+.2f}]" if row.r == row.r else "-" for row in table.itertuples()
    ]
    table = table.assign(cell=cells)
    r, texts = (table.pivot(index="metric", columns="network", values=name) for name in ("r", "cell"))
    r, texts = (grid.reindex(index=METRICS, columns=names) for grid in (r.astype(float), texts))
    figure, axes = subplots(1, 1, height=1.5 + 0.75 * len(METRICS), width=3 * len(names) + 3)
    ax, look = axes[0, 0], {"cmap": SIGNED, "vmin": -1, "vmax": 1, "cbar": False, "annot_kws": {"size": 7}}
    sns.heatmap(r.fillna(0), annot=texts.astype(object).fillna("-"), fmt="", ax=ax, **look)
    counts = [f"{_narrow(name, 16)}\nn = {span(only(table, network=name).n)}" for name in names]
    ax.set_xticks([i + 0.5 for i in range(len(names))], counts, rotation=0)
    ax.set_yticks([i + 0.5 for i in range(len(METRICS))], [name.replace("_", " ") for name in METRICS])
    caption = "Pearson's r with the final test accuracy, and its 95% interval (Fisher's z); metrics at the end of the"
    return finish(
        figure, axes, "", "", caption + " first phase. -: fewer than four runs, or one of the two is constant."
    )


def ranked(ranking: pd.DataFrame, title: str, label: str = "accuracy minus base (points)") -> Figure:
    """Methods ranked by their difference from base, with intervals: the table of `paired.ranking`."""
    caption = "Dot: mean of the pairs (same network, data set and seed); line: 95% t interval, uncorrected."
    return forest(ranking.assign(label=ranking.case, unit=label), title, caption)


@style()
def lengths(frame: pd.DataFrame) -> Figure:
    """Test accuracy by the length of a phase (column max_epochs): a line of means for each method and, dashed, for the
    network without a warm start; every run a dot; a panel for each network."""
    frame = frame.assign(
        label=[
            "no warm start" if kind == "single" else named(m) for kind, m in zip(frame.kind, frame.method, strict=True)
        ]
    )
    figure, axes, panels = _networks(frame, "accuracy", ["label", "max_epochs"], height=6.5)
    for ax, _, rows in panels:
        for i, (label, runs) in enumerate(rows.groupby("label", sort=False)):
            line, look = 100 * runs.groupby("max_epochs").accuracy.mean(), {"color": SERIES[i % 8], "linewidth": 1}
            style = "--" if label == "no warm start" else "-"
            ax.plot(line.index, line, f"{style}{MARKS[i % 8]}", markersize=4, label=label, **look)
            ax.scatter(runs.max_epochs, 100 * runs.accuracy, s=5, color=SERIES[i % 8], alpha=0.4, linewidths=0)
        if len(rows):
            epochs = sorted(rows.max_epochs.unique())
            ax.set_xscale("log")
            ax.set_xticks(epochs, [str(n) for n in epochs])
            ax.minorticks_off()
    caption = "Line: mean over seeds; dot: one run. All with l2 + augmentation; averages scaled with the length."
    return finish(figure, axes, "epochs of the second phase", "test accuracy (%)", caption)


def names_of(cases) -> dict[str, str]:
    """case -> its short name, in order."""
    return {case: plain(case).replace(f" + {NOTHING}", "").replace(NOTHING, "nothing more") for case in cases}


def _networks(frame, value, by, height, **sharing):
    """A titled panel for each network, its name and its rows: abreast up to three, four as two by two, within 16 cm."""
    names = list(frame.network.unique()) or [""]
    columns = 2 if len(names) in (2, 4) else min(3, len(names))
    figure, axes = subplots(-(-len(names) // columns), columns, height, 15 / columns, **sharing)
    panels = [(ax, name, only(frame, network=name)) for ax, name in zip(axes.flat, names, strict=False)]
    for ax, name, rows in panels:
        count = span(rows.dropna(subset=value).groupby(by).size())
        ax.set_title(f"{_narrow(name, 36 if columns < 3 else 24)}\nn = {count}")
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    return figure, axes, panels


def _level(line, values, label, colour=BLACK):
    if values.notna().any():
        line(values.mean(), color=colour, linestyle="--", linewidth=0.9, label=label)


def _narrow(name: str, width: int) -> str:
    """A network's title on as many lines as it needs; ViT-Tiny is one word."""
    return name if len(name) <= width else textwrap.fill(name, 16, break_on_hyphens=False)


def _wrapped(text) -> str:
    text = str(text)
    return text if len(text) <= 30 else text.replace(" + ", "\n+ ", 1)
