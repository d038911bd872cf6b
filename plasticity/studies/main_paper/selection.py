"""How often the paper's procedure finds something where nothing is: of so many cases the best is tested as if it were
the only one.

Coetzer et al. 2026, section 4. The published rows have no runs, so theirs are drawn from normals; our own runs are
permuted.
"""

from collections import namedtuple
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy.stats import binom, mannwhitneyu

from ...analysis.evidence import MEAN_CASES, TWELVE, cells, complete, p_by_u, permuted
from ...analysis.verdict import ALPHA
from ...analysis.writing import shown
from .numbers import P_VALUES, RESULTS, RUNS, best_rows

COMPETING = (
    len(TWELVE),
    len(MEAN_CASES),
)  # all cases of the paper, and those of M and MN: NS and N may be too bad ever to be best
REPEATS = RUNS, 5  # as section 3.4 states; and what the printed means of epochs allow in most rows (notebook 40)
Procedure = namedtuple(
    "Procedure", "gain p"
)  # arrays, one value per draw: the best minus base, and p of whichever is ahead
Chance = namedtuple(
    "Chance", "architecture dataset case cases n stated gain spread share_stated share_below share_gain median_gain"
)
Count = namedtuple("Count", "cases n cells rate expected printed chance")
Ours = namedtuple("Ours", "architecture dataset cases n share_below median_gain high_gain")


def procedure(cases: int, n: int, generator: Generator, draws: int = 40_000) -> Procedure:
    """The paper's procedure on n runs each of base and so many ``cases``, all drawn from one standard normal: nothing
    is there.

    The case with the highest mean is tested against base; where base is ahead of all, base against that case (section
    4.1). gain is in standard deviations, negative where base is ahead; p is exact and one-sided. ValueError without a
    case or below two runs.
    """
    if cases < 1 or n < 2:
        raise ValueError(f"cases={cases}, n={n}: the procedure needs a case and two runs of it")
    best, base, gain = _best_and_base(generator.standard_normal((draws, 1 + cases, n)))
    u = (best[:, :, None] > base[:, None, :]).sum((1, 2))
    return Procedure(gain, p_by_u(n, n)[np.where(gain < 0, n * n - u, u)])


def _best_and_base(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of runs [draws, 1 + cases, n], base first: the case of the highest mean, base, both [draws, n], and their means'
    difference."""
    means, draws = runs.mean(2), np.arange(len(runs))
    best = 1 + means[:, 1:].argmax(1)
    return runs[draws, best], runs[:, 0], means[draws, best] - means[:, 0]


def by_chance(generator: Generator, draws: int = 40_000) -> pd.DataFrame:
    """What `procedure` gives in the paper's nine cells (Tables 3 to 5), one row per cell, number of cases and n.

    stated: the printed p of accuracy. gain: the printed one (points; negative where base is ahead). spread: the
    standard deviation of a run (points), pooled over the cell's printed rows. share_stated: of draws in which the same
    side is ahead with p at most as stated. share_below: of draws with p < 0.05, the procedure's true rate of false
    positives. share_gain: of draws that are as far ahead on the same side as printed. median_gain: by chance. A rank
    test sees neither mean nor spread, so one simulation serves all cells, times their spread; runs are independent,
    since the paper names no pairs.
    """
    made = {(cases, n): procedure(cases, n, generator, draws) for n in REPEATS for cases in COMPETING}
    rows = [_chance(row, *setting, drawn) for setting, drawn in made.items() for row in best_rows().values()]
    return pd.DataFrame(rows, columns=Chance._fields)


def written(table: pd.DataFrame) -> pd.DataFrame:
    """`by_chance` as a table of strings to show."""
    digits = dict.fromkeys(("share_stated", "share_below", "share_gain"), 3)
    return shown(table, stated=5, gain=2, spread=2, median_gain=2, **digits)


def by_stated(table: pd.DataFrame) -> pd.DataFrame:
    """share_stated of `by_chance` to show: one row per cell, one column per number of cases and n."""
    cell = ["architecture", "dataset", "case", "stated", "gain"]
    wide = table.pivot_table("share_stated", cell, ["cases", "n"], sort=False)
    wide.columns = [f"of {cases}, n = {n}" for cases, n in wide.columns]
    return shown(wide.reset_index(), stated=5, gain=2, **dict.fromkeys(wide.columns, 3))


def over_cells(table: pd.DataFrame) -> pd.DataFrame:
    """`by_chance` over all cells, one row per number of cases and n: the rate of false positives, how many p < 0.05 the
    cells so have by chance alone (expected), how many are printed, and the chance of at least that many (binomial:
    cells are independent)."""
    rows = []
    for (cases, n), part in table.groupby(["cases", "n"], sort=False):
        rate, printed = part.share_below.mean(), int((part.stated < ALPHA).sum())
        rows.append(Count(cases, n, len(part), rate, len(part) * rate, printed, binom.sf(printed - 1, len(part), rate)))
    return pd.DataFrame(rows, columns=Count._fields)


def selection_on(frame: pd.DataFrame, generator: Generator, cases: Sequence[str], draws: int = 2_000) -> pd.DataFrame:
    """The same rate for a frame's own runs: base and ``cases`` change labels within each seed, then comes the paper's
    procedure.

    share_below: of permutations with p < 0.05 (scipy's "auto"); median_gain and high_gain (95th percentile) in points;
    n complete seeds. Runs of one seed are alike, which the unpaired test takes for noise: the rate can lie below 5%
    even for the best of several. Ask it of `MEAN_CASES`: see `evidence.best_of`. NaN with fewer than two complete
    seeds. Raises as `evidence` does.
    """
    rows = []
    for key, cell in cells(frame, cases):
        competing, runs = complete(cell, cases)
        if len(runs) < 2:
            rows.append(Ours(*key, len(competing), len(runs), *[np.nan] * 3))
            continue
        best, base, gain = _best_and_base(permuted(runs, generator, draws).swapaxes(1, 2))
        ahead = gain[:, None] >= 0
        p = mannwhitneyu(np.where(ahead, best, base), np.where(ahead, base, best), alternative="greater", axis=1).pvalue
        rows.append(Ours(*key, len(competing), len(runs), (p < ALPHA).mean(), np.median(gain), np.quantile(gain, 0.95)))
    return pd.DataFrame(rows, columns=Ours._fields)


def _chance(top, cases: int, n: int, drawn: Procedure) -> Chance:
    """A row of `by_chance` for the best case's row of the paper's tables."""
    cell = [row for row in RESULTS if (row.architecture, row.dataset) == (top.architecture, top.dataset)]
    (base,) = (row for row in cell if row.case == "base")
    tested = top.architecture, top.dataset, top.case, "accuracy"
    (stated,) = (float(p.p) for p in P_VALUES if (p.architecture, p.dataset, p.case, p.metric) == tested)
    spread, gain = (
        float(np.sqrt(np.mean([float(row.accuracy_std) ** 2 for row in cell]))),
        float(top.accuracy - base.accuracy),
    )
    side = -1 if gain < 0 else 1
    share_stated = ((side * drawn.gain > 0) & (drawn.p <= stated)).mean()
    shares = share_stated, (drawn.p < ALPHA).mean(), (side * drawn.gain * spread >= side * gain).mean()
    return Chance(*tested[:3], cases, n, stated, gain, spread, *shares, np.median(drawn.gain) * spread)
