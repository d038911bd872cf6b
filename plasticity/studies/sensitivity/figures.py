"""A sensitivity study as pictures: pure functions of the tables of `sensitivity_tables`, each a ``Figure`` for a phone's width."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...analysis.figures import BLUE, CM, GREY, RED, _finish, style
from .runs import OWN

PAIRS = "Dot: mean of the pairs (same network, data set and seed); line: 95% t interval, uncorrected; in parentheses: how many."


def effects(table: pd.DataFrame, title: str = "") -> Figure:
    """10M minus base at each level of each factor, a row each; the band is its interval by the profile's own setting.

    Red: the effect differs from that of the same pairs by default (Holm's p < 0.05). Columns as of `sensitivity_tables.effects`.
    """
    default, rows = table[table.factor == OWN], table[table.factor != OWN]
    caption = (
        f"Band: by the profile's own setting (n = {int(default.n.iloc[0])}). {PAIRS} Red: another effect "
        f"than by default, Holm's p < 0.05."
    )
    labels = (rows.factor + ": " + rows.level).tolist()
    return _forest(rows, labels, title, "10M minus base (points)", caption, default.iloc[0], rows.p_holm < 0.05)


def parts(table: pd.DataFrame, title: str = "") -> Figure:
    """What 10M consists of: a row a comparison of `sensitivity_tables.gain_parts`; thin: one standard deviation of the pairs."""
    caption = f"{PAIRS} Thin: the pairs' mean and standard deviation."
    return _forest(table, table.compared.tolist(), title, "difference (points)", caption, wide=table.spread)


def flattery(table: pd.DataFrame, title: str = "") -> Figure:
    """What stopping and choosing by the test items gives, in points: `sensitivity_tables.flatter` without its epochs."""
    rows = table[~table.compared.str.startswith("epochs")]
    return _forest(rows, rows.compared.tolist(), title, "by test items minus by validation (points)", PAIRS)


@style()
def _forest(rows, labels, title, label, caption, default=None, clear=None, wide=None):
    figure = Figure(figsize=(12 * CM, (2.6 + 0.52 * len(rows)) * CM), layout="constrained")
    ax, places = figure.subplots(), np.arange(len(rows))
    if default is not None:
        ax.axvspan(default.low, default.high, color=BLUE, alpha=0.12, linewidth=0, gid="default")
        ax.axvline(default["mean"], color=BLUE, linewidth=0.8, linestyle="--")
    ax.axvline(0, color=GREY, linewidth=0.8)
    if wide is not None:
        ax.hlines(places, rows["mean"] - wide, rows["mean"] + wide, color=GREY, linewidth=0.6)
    colours = [RED if one else BLUE for one in (clear if clear is not None else [False] * len(rows))]
    ax.hlines(places, rows.low, rows.high, color=colours, linewidth=1.6)
    ax.scatter(rows["mean"], places, color=colours, s=18, zorder=3)
    shown = [f"{text} ({int(n)})" for text, n in zip(labels, rows.n, strict=True)]
    ax.set(yticks=places, yticklabels=shown, ylim=(len(rows) - 0.4, -0.6), title=title)
    return _finish(figure, np.array([[ax]]), label, "", caption)
