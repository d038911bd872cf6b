"""The evidence for the claims as pictures: pure functions of tables of `evidence`, each a ``Figure`` that a phone's width can show."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...analysis.figures import BLUE, GREEN, GREY, RED, _finish, _grid, _n, style
from ...data import TITLES
from ...networks.table import ARCHITECTURES

BAND = "#BBBBBB"
TESTS = {"mann_whitney": ("Mann-Whitney U test", RED, "-"), "paired_t": ("t test of the pairs", BLUE, "--")}
VERDICTS = {  # colour and mark: each tells them apart alone
    "supported": (GREEN, "o"),
    "not supported": ("#E69F00", "s"),
    "contradicted": (RED, "X"),
    "undecided": (BLUE, "D"),
    "not tested": (GREY, "v"),
}
COLUMNS = ("claim", "effect", "low", "high", "n", "unit", "verdict")
WIDTH, LINE = 12, 0.38  # centimetres: of a figure, of a line of text
LETTERS = 32  # in a line of a label


@style()
def by_chance(table: pd.DataFrame, unit: str = "points") -> Figure:
    """The gain of each cell's best case (`evidence.best_of`) beside what the best of so many reaches by chance, median to 95%."""
    figure, axes = _grid(1, 1, 1.6 + 0.95 * max(1, len(table)), WIDTH - 1)
    ax, places, known = axes[0, 0], np.arange(len(table)), table.p.notna()
    beyond = table.gain > table.high_by_chance
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.hlines(
        places, table.median_by_chance, table.high_by_chance, color=BAND, linewidth=6, label="by chance, median to 95%"
    )
    for chosen, colour, mark, said in (
        (known & ~beyond, BLUE, "o", "best case"),
        (beyond, GREEN, "D", "best case, beyond chance"),
    ):
        if chosen.any():
            ax.plot(table.gain[chosen], places[chosen], mark, color=colour, markersize=5, label=said)
    for place, row in zip(places, table.itertuples(), strict=True):
        said = f"{row.best}\np = {row.p:.2g}" if row.p == row.p else "no complete\nseed"
        ax.text(1.02, place, said, size=8, va="center", transform=ax.get_yaxis_transform())
    count = f"best of {_range(table.cases)} cases, {_n(table.n)} seeds" if len(table) else "no runs"
    ax.set(yticks=places, yticklabels=[*map(_cell, table.architecture, table.dataset)], title=count)
    ax.set_ylim(max(1, len(table)) - 0.4, -0.6)
    return _finish(
        figure,
        axes,
        f"gain over base ({unit})",
        "",
        "Bar: the largest mean gain when labels are exchanged within each "
        "seed; p: how often it is at least the observed one.",
    )


@style()
def powers(table: pd.DataFrame, unit: str = "points") -> Figure:
    """The chance to find a true gain (`evidence.power_table`): a panel for each n, a line for each cell and test, medians thick."""
    ns = sorted(table.n.unique()) or [0]
    figure, axes = _grid(1, len(ns), 6, (WIDTH - 1) / len(ns), sharey=True, sharex=True)
    for ax, n in zip(axes.flat, ns, strict=True):
        here = table[table.n == n].dropna(subset="power")
        cells = here.groupby(["architecture", "dataset"]).ngroups
        for test, (title, colour, line) in TESTS.items():
            lines = 100 * here[here.test == test].pivot_table(
                index="gain", columns=["architecture", "dataset"], values="power"
            )
            if lines.size:
                ax.plot(lines.index, lines, color=colour, linestyle=line, linewidth=0.6, alpha=0.5)
                ax.plot(lines.index, lines.median(axis=1), color=colour, linestyle=line, linewidth=2.2, label=title)
        ax.axhline(80, color=GREY, linewidth=0.8, linestyle=":")
        ax.set(title=f"n = {n} runs a side\n{cells} cells", ylim=(0, 103))
    return _finish(
        figure,
        axes,
        f"true gain ({unit})",
        "chance of p < 0.05 (%)",
        "Thin: one architecture on one data set, with the spread of its own runs; thick: their median; dotted: 80%.",
    )


@style()
def verdicts(table: pd.DataFrame) -> Figure:
    """Claims with effect, interval and verdict: columns `COLUMNS`, a panel a unit. Without an effect only the verdict is written.

    Raises ValueError for a verdict that `VERDICTS` lacks.
    """
    if unknown := set(table.verdict) - set(VERDICTS):
        raise ValueError(f"verdicts {sorted(unknown)} are unknown; allowed: {', '.join(VERDICTS)}")
    parts = [part for _, part in table.groupby("unit", sort=False)] or [table]
    heights = [1.6 + LINE * sum(map(_lines, part.itertuples())) for part in parts]
    figure, axes = _grid(len(parts), 1, sum(heights) / len(parts), WIDTH - 1, height_ratios=heights)
    for ax, part in zip(axes.flat, parts, strict=True):
        _forest(ax, part)
    shown = [verdict for verdict in VERDICTS if (table.verdict == verdict).any()]
    marks = [
        Line2D([], [], color=VERDICTS[verdict][0], marker=VERDICTS[verdict][1], markersize=5, linewidth=1.6)
        for verdict in shown
    ]
    if shown:
        figure.legend(marks, shown, loc="outside upper center", ncols=3)
    return _finish(
        figure, axes, axes[-1, 0].get_xlabel(), "", "Mark: effect; line: its interval." if shown else "No claims."
    )


def _forest(ax, part):
    """One panel of `verdicts`: rows as high as their labels need, numbers at the right."""
    heights = np.array([_lines(row) for row in part.itertuples()])
    places = np.cumsum(heights) - heights / 2
    ax.axvline(0, color=GREY, linewidth=0.8)
    for place, row in zip(places, part.itertuples(), strict=True):
        colour, mark = VERDICTS[row.verdict]
        ax.hlines(place, row.low, row.high, color=colour, linewidth=1.6, gid="interval")
        ax.plot(row.effect, place, mark, color=colour, markersize=5)
        ax.text(1.03, place, _numbers(row), size=8, va="center", transform=ax.get_yaxis_transform())
    ax.set(
        yticks=places,
        yticklabels=[_label(row) for row in part.itertuples()],
        ylim=(heights.sum() or 1, 0),
        xlabel=part.unit.iloc[0] if len(part) else "",
    )
    ax.margins(x=0.08)
    ax.grid(visible=False, axis="y")
    if part.effect.notna().any():
        ax.locator_params(axis="x", nbins=4)
    else:
        ax.set_xticks([])


def _numbers(row):
    if row.effect != row.effect:
        return row.verdict
    return f"{row.effect:+.2f}" + (f"\n[{row.low:+.2f}, {row.high:+.2f}]" if row.low == row.low else "")


def _lines(row):
    """The height of a row, in lines: two of numbers, or its label, and a line between the rows."""
    return 1 + max(2, 1 + _label(row).count("\n"))


def _label(row):
    count = f" (n\u00a0=\u00a0{row.n:g})" if row.n == row.n and row.n else ""
    return textwrap.fill(f"{row.claim}{count}", LETTERS, break_on_hyphens=False)


def _cell(architecture, dataset):
    name = ARCHITECTURES[architecture].title if architecture in ARCHITECTURES else architecture
    return f"{name}\n{TITLES.get(dataset, dataset)}"


def _range(counts):
    low, high = counts.min(), counts.max()
    return f"{low}" + (f" to {high}" if high > low else "")
