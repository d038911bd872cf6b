"""The audit of the published numbers as pictures: pure functions, each a ``Figure``."""

import numpy as np
from matplotlib.figure import Figure

from ...analysis.figures import BLACK, BLUE, GREY, RED, WIDTH, finish, style, subplots
from ..main_paper.numbers import RUNS
from .rows import SIZES, TRIED, Line, Settled, by_group, pairs, rows_that_fit, runs_by_accuracy, runs_by_epochs


@style()
def runs_of_rows(lines: list[Line], settled: dict[str, Settled]) -> Figure:
    """For each row the numbers of runs that its epochs allow, that its accuracy allows, and both; `RUNS` is shaded."""
    groups = by_group(lines)
    heights, size = [len(members) for members in groups.values()], (0.43 * len(lines) + 3.5) / len(groups)
    figure, axes = subplots(len(groups), 1, size, WIDTH - 1, sharex=True, height_ratios=heights)
    for ax, (group, members) in zip(axes[:, 0], groups.items(), strict=True):
        for place, line in enumerate(members):
            _row(ax, place, line, settled[group])
        ax.axvspan(RUNS - 0.4, RUNS + 0.4, color=GREY, alpha=0.2, linewidth=0, label=f"{RUNS} runs")
        ax.set_title(f"{group}, {settled[group].size} test items, n = {len(members)} rows")
        ax.set_yticks(range(len(members)), [line.name for line in members])
        ax.set(xticks=TRIED, xlim=(TRIED[0] - 0.6, TRIED[-1] + 0.6), ylim=(len(members) - 0.4, -0.6))
    caption = "Ring: the epochs allow this number of runs; dot: the accuracy does; square: both."
    caption += " Bar: the accuracy fits only with one run fewer than the epochs. Shaded: as stated."
    return finish(figure, axes, "number of runs", "", caption)


def _row(ax, place, line, settled):
    """Rings, dots and what both have in common; a bar where only unequal numbers go together."""
    found = pairs(line, settled.size, missing=settled.missing)
    equal = [n for m, n in found if m == n]
    ring = {"s": 42, "facecolors": "none", "edgecolors": BLUE, "linewidths": 1, "label": "epochs"}
    dot = {"s": 8, "color": RED, "linewidths": 0, "label": "accuracy"}
    square = {"s": 46, "color": BLACK, "linewidths": 0, "label": "both", "marker": "s"}
    epochs, accuracy = sorted(runs_by_epochs(line)), sorted(runs_by_accuracy(line, settled.size))
    for values, look in ((epochs, ring), (accuracy, dot), (equal, square)):
        ax.scatter(values, [place] * len(values), **look)
    for m, n in found if not equal else ():
        ax.plot([m, n], [place, place], color=BLACK, linewidth=3.5, solid_capstyle="round")


@style()
def sizes_of_groups(lines: list[Line], settled: dict[str, Settled], sizes=SIZES) -> Figure:
    """For each possible number of test items, how many of a group's rows allow it; those that all allow are named."""
    groups, sizes = by_group(lines), np.array(sizes)
    figure, axes = subplots(len(groups), 1, 3.6 + 0.5 / len(groups), WIDTH - 1, sharex=True)
    for ax, (group, members) in zip(axes[:, 0], groups.items(), strict=True):
        count = rows_that_fit(members, sizes, missing=settled[group].missing)
        whole = count == len(members)
        ax.plot(sizes[~whole], count[~whole], ".", color=GREY, markersize=1.5, rasterized=True)
        ax.plot(sizes[whole], count[whole], "D", color=RED, markersize=4)
        for size in sizes[whole]:
            ax.annotate(str(size), (size, len(members)), (0, 5), textcoords="offset points", ha="center")
        fewer = ", some with one accuracy fewer" if settled[group].missing else ""
        ax.set(ylim=(-0.5, 1.25 * len(members)), yticks=range(0, len(members) + 1, 3))
        ax.set_title(f"{group}, n = {len(members)} rows{fewer}")
    caption = "Red: sizes that fit every row. If one does, so do most of its multiples."
    return finish(figure, axes, "test items", "rows that fit", caption)
