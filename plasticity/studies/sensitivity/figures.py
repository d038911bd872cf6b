"""A sensitivity study as pictures: pure functions of its `tables`, each a ``Figure`` for a phone's width."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...analysis.figures import BLUE, RED, forest
from ...analysis.verdict import ALPHA
from .runs import OWN

PAIRS = "Dot: mean of the pairs (same network, data set and seed); line: 95% t interval, uncorrected."
CHANGED, SAME = f"changed (Holm's p < {ALPHA:g})", "no change shown"


def effects(table: pd.DataFrame, title: str = "") -> Figure:
    """10M minus base at each level of each factor; shaded: by the profile's own setting; of `tables.effects`.

    Changed: the effect differs from that of the same pairs by default.
    """
    own, rows = table[table.factor == OWN].iloc[0], table[table.factor != OWN]
    changed = np.where(rows.p_holm < ALPHA, CHANGED, SAME)
    rows = rows.assign(label=rows.factor + ": " + rows.level, unit="10M minus base (points)", verdict=changed)
    looks = {SAME: (BLUE, "o"), CHANGED: (RED, "o")}
    caption = f"Band: by the profile's own setting (n = {own.n:g}). {PAIRS}"
    return forest(rows, title, caption, looks, band=(own.low, own["mean"], own.high))


def parts(table: pd.DataFrame, title: str = "") -> Figure:
    """What 10M consists of, as by `tables.gain_parts`; thin: one standard deviation of the pairs."""
    rows = table.assign(label=table.compared, unit="difference (points)")
    return forest(rows, title, f"{PAIRS} Thin: the pairs' mean and standard deviation.")


def flattery(table: pd.DataFrame, title: str = "") -> Figure:
    """What stopping and choosing by the test items gives, in points: of `tables.flatter`."""
    rows = table[~table.compared.str.startswith("epochs")].drop(columns="spread")
    return forest(rows.assign(label=rows.compared, unit="by test items minus by validation (points)"), title, PAIRS)
