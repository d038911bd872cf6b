"""The evidence for the claims as pictures: pure functions of tables of `evidence`, each a ``Figure`` that a phone's
width can show."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from ...analysis.evidence import MEAN_CASES
from ...analysis.figures import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    RED,
    finish,
    forest,
    network_title,
    span,
    style,
    subplots,
)
from ...analysis.verdict import MARGINS
from ...analysis.writing import in_words
from ...data import TITLES
from ...reinit import Case

TESTS = {"mann_whitney": ("Mann-Whitney U test", RED, "-"), "paired_t": ("t test of the pairs", BLUE, "--")}


def by_chance(table: pd.DataFrame) -> Figure:
    """The gain of each cell's best case (`evidence.best_of`) beside what the best of so many reaches by chance."""
    looks = {"best case": (BLUE, "o"), "best case, beyond chance": (GREEN, "D")}
    within, beyond = looks
    said = [f"{row.best}\np = {row.p:.2g}" if row.p == row.p else "no complete\nseed" for row in table.itertuples()]
    verdict = [beyond if over else within for over in table.gain > table.high_by_chance]
    cells = zip(table.architecture, table.dataset, strict=True)
    rows = pd.DataFrame(
        {
            "label": [f"{network_title(name)}\n{TITLES.get(dataset, dataset)}" for name, dataset in cells],
            "unit": "gain over base (points)",
            "mean": table.gain.where(table.p.notna()),
            "low": table.median_by_chance,
            "high": table.high_by_chance,
        }
    )
    counts = span(table.cases), span(table.n)
    title = "best of {} cases, n = {} seeds".format(*counts) if len(table) else "no runs"
    caption = "Bar: the largest mean gain when labels are exchanged within each seed;"
    caption += " p: how often it is at least the observed one."
    bar = {"color": "#BBBBBB", "linewidth": 6, "label": "by chance, median to 95%"}
    return forest(rows.assign(said=said, verdict=verdict), title, caption, looks, **bar)


@style()
def effects(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy minus base with its interval (`findings.effects`): a column for each profile; M, MN and `biases` above,
    what moves an accuracy by far more below, on another scale."""
    figure, axes = subplots(2, len(tables), 4.8, 5.5)
    for (name, table), (above, below) in zip(tables.items(), axes.T, strict=True):
        mild = table.case.isin((*MEAN_CASES, "biases"))
        for ax, rows in ((above, table[mild]), (below, table[~mild])):
            margin = MARGINS["points"]
            ax.axvspan(-margin, margin, color="#E8E8E8", label=f"less than {margin:g} points from base")
            ax.axvline(0, color=COLOURS["base"], linewidth=0.8)
            for place, row in enumerate(rows.itertuples()):
                colour = COLOURS[row.case if row.case in COLOURS else Case.parse(row.case).method]
                ax.plot([row.low, row.high], [place, place], color=colour, linewidth=1.6)
                ax.plot(row.mean, place, "o", color=colour, markersize=5)
            ax.set(
                yticks=range(len(rows)), yticklabels=[in_words(case).removesuffix(" (control)") for case in rows.case]
            )
            ax.set_ylim(len(rows) - 0.4, -0.6)
        above.set_title(f"profile {name}\nn = {span(table.n)} pairs a case")
    caption = "Dot: mean difference in test accuracy of runs that share their seed; line: 95% interval."
    return finish(figure, axes, "minus base (points)", "", caption)


@style()
def powers(table: pd.DataFrame) -> Figure:
    """The chance to find a true gain (`power.power_table`): a panel for each n, a line for each cell."""
    ns = sorted(table.n.unique()) or [0]
    figure, axes = subplots(1, len(ns), 6, 11 / len(ns), sharey=True, sharex=True)
    for ax, n in zip(axes.flat, ns, strict=True):
        here, cell = table[table.n == n].dropna(subset="power"), ["architecture", "dataset"]
        for test, (title, colour, line) in TESTS.items():
            lines = 100 * here[here.test == test].pivot_table(index="gain", columns=cell, values="power")
            if lines.size:
                look = {"color": colour, "linestyle": line}
                ax.plot(lines.index, lines, linewidth=0.6, alpha=0.5, **look)
                ax.plot(lines.index, lines.median(axis=1), linewidth=2.2, label=title, **look)
        ax.axhline(80, color=GREY, linewidth=0.8, linestyle=":")
        ax.set(title=f"n = {n} runs a side\n{here.groupby(cell).ngroups} cells", ylim=(0, 103))
    caption = (
        "Thin: one architecture on one data set, with the spread of its own runs; thick: their median; dotted: 80%."
    )
    return finish(figure, axes, "true gain (points)", "chance of p < 0.05 (%)", caption)


def verdicts(table: pd.DataFrame) -> Figure:
    """Claims with effect, interval and verdict: columns claim, effect, low, high, n, unit, verdict; a panel for each
    unit.

    Without an effect only the verdict is written. Raises ValueError for the verdict of an effect that
    `figures.LOOKS` lacks.
    """
    rows = table.rename(columns={"claim": "label", "effect": "mean"}).assign(said=[*map(_numbers, table.itertuples())])
    return forest(rows, caption="Mark: effect; line: its interval." if len(table) else "No claims.")


def _numbers(row):
    if row.effect != row.effect:
        return row.verdict
    return f"{row.effect:+.2f}" + (f"\n[{row.low:+.2f}, {row.high:+.2f}]" if row.low == row.low else "")
