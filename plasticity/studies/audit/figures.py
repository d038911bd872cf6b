"""The audit of the published numbers as pictures: pure functions, each a ``Figure``."""

import numpy as np
from matplotlib.figure import Figure

from ...analysis.figures import BLUE, CM, GREY, RED, _finish, style
from ..main_paper.numbers import RUNS
from .rows import SIZES, TRIED, Line, Settled, by_group, pairs, rows_that_fit, runs_by_accuracy, runs_by_epochs


@style()
def runs_of_rows(lines: list[Line], settled: dict[str, Settled], claimed: int = RUNS) -> Figure:
    """For each row the numbers of runs that its epochs allow, that its accuracy allows, and both; the claimed number is shaded."""
    groups = by_group(lines)
    figure = Figure(figsize=(12 * CM, (0.43 * len(lines) + 5.5) * CM), layout="constrained")
    axes = figure.subplots(
        len(groups), 1, squeeze=False, sharex=True, height_ratios=[len(members) for members in groups.values()]
    )
    for ax, (group, members) in zip(axes[:, 0], groups.items(), strict=True):
        for place, line in enumerate(members):
            _row(ax, place, line, settled[group])
        ax.axvspan(claimed - 0.4, claimed + 0.4, color=GREY, alpha=0.2, linewidth=0, label=f"{claimed} runs")
        ax.set_title(f"{group}, {settled[group].size} test items, n = {len(members)} rows")
        ax.set_yticks(range(len(members)), [line.name for line in members])
        ax.set(xticks=TRIED, xlim=(TRIED[0] - 0.6, TRIED[-1] + 0.6), ylim=(len(members) - 0.4, -0.6))
    return _finish(
        figure,
        axes,
        "number of runs",
        "",
        "Ring: the epochs allow this number of runs; dot: the accuracy does; square: "
        "both. Bar: the accuracy fits only with one run fewer than the epochs. Shaded: as stated.",
    )


def _row(ax, place, line, settled):
    """Rings, dots and what both have in common; a bar where only unequal numbers go together."""
    found = pairs(line, settled.size, missing=settled.missing)
    equal = [n for m, n in found if m == n]
    for values, mark, look, label in (
        (runs_by_epochs(line), "o", {"s": 42, "facecolors": "none", "edgecolors": BLUE, "linewidths": 1}, "epochs"),
        (runs_by_accuracy(line, settled.size), "o", {"s": 8, "color": RED, "linewidths": 0}, "accuracy"),
        (equal, "s", {"s": 46, "color": "#000000", "linewidths": 0}, "both"),
    ):
        ax.scatter(sorted(values), [place] * len(values), marker=mark, label=label, **look)
    for m, n in found if not equal else ():
        ax.plot([m, n], [place, place], color="#000000", linewidth=3.5, solid_capstyle="round")


@style()
def sizes_of_groups(lines: list[Line], settled: dict[str, Settled], sizes=SIZES) -> Figure:
    """For each possible number of test items, how many of a group's rows allow it; those that all allow are named."""
    groups = by_group(lines)
    figure = Figure(figsize=(12 * CM, (3.6 * len(groups) + 2.5) * CM), layout="constrained")
    axes = figure.subplots(len(groups), 1, squeeze=False, sharex=True)
    for ax, (group, members) in zip(axes[:, 0], groups.items(), strict=True):
        count = rows_that_fit(members, sizes, missing=settled[group].missing)
        whole = count == len(members)
        ax.plot(np.array(sizes)[~whole], count[~whole], ".", color=GREY, markersize=1.5, rasterized=True)
        ax.plot(np.array(sizes)[whole], count[whole], "D", color=RED, markersize=4)
        for size in np.array(sizes)[whole]:
            ax.annotate(str(size), (size, len(members)), (0, 5), textcoords="offset points", ha="center")
        fewer = ", some with one accuracy fewer" if settled[group].missing else ""
        ax.set(ylim=(-0.5, 1.25 * len(members)), yticks=range(0, len(members) + 1, 3))
        ax.set_title(f"{group}, n = {len(members)} rows{fewer}")
    return _finish(
        figure,
        axes,
        "test items",
        "rows that fit",
        "Red: sizes that fit every row. If one does, so do most of its multiples.",
    )
