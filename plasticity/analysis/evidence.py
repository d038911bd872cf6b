"""Statistics that respect the question: the best of twelve was chosen, runs of one seed are pairs, "not found" is not "not there".

Input is `records.frame`'s: a row a run; failed runs (status other than "done", or NaN) are never numbers. Accuracies 0..1,
differences in points. `SENSES` says which values count: more accuracy is better, fewer epochs are. Cells are architecture x data set.
"""

import warnings
from collections import namedtuple
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy import stats as scipy_stats
from statsmodels.formula.api import mixedlm, ols
from statsmodels.stats.weightstats import DescrStatsW

from ..data import TITLES
from ..networks.table import ARCHITECTURES
from ..profiles import CASES, CONTROL_CASES
from ..reinit import Case
from .frames import PAIR
from .paired import LEVEL, Difference, holm

TWELVE = CASES[1:]
TO_MEAN = tuple(case for case in TWELVE if case.endswith(("M", "MN")))  # six: those that the paper recommends
SENSES = {"accuracy": (1, 100), "best_accuracy": (1, 100), "epochs": (-1, 1)}  # value: its better direction, its scale
CELL = PAIR[:2]
TESTS = ("mann_whitney", "paired_t")
SEEN = 0.8  # the power that `detectable` asks for
CLOSE = 1e-9  # differences below it are rounding
ORDERS = {"architecture": list(ARCHITECTURES), "dataset": list(TITLES)}
Equivalence = namedtuple("Equivalence", "n mean low high p equivalent")
Tested = namedtuple("Tested", "architecture dataset case n n_base gain p")
Best = namedtuple("Best", "architecture dataset best gain median_by_chance high_by_chance p n dropped cases")
Effect = namedtuple("Effect", "architecture dataset case n n_base gain delta d")
Spread = namedtuple("Spread", "architecture dataset mann_whitney paired_t")  # by test
Chance = namedtuple("Chance", "architecture dataset test spread n gain power")
Smallest = namedtuple("Smallest", "architecture dataset test spread n detectable")


def paired(
    frame: pd.DataFrame, case: str, against: str = "base", value: str = "accuracy", scale: float = 100
) -> pd.DataFrame:
    """``case`` minus ``against`` for every complete pair of runs: architecture, dataset, seed, difference (``scale`` x value).

    A case that the frame lacks has no pairs. Raises ValueError for an unknown case or value, for cells in which nothing of
    ``against`` was run, and for several runs of one case and seed.
    """
    wide = scale * _wide(frame, value, (case,), against)
    return (wide[case] - wide[against]).dropna().rename("difference").reset_index()


def mann_whitney(frame: pd.DataFrame, value: str = "accuracy", cases: Sequence[str] = TWELVE) -> pd.DataFrame:
    """The paper's one-sided Mann-Whitney U test (Coetzer et al. 2026, section 4) of every case against base, not of the best alone.

    A row a cell and case: n, n_base, gain (points, or epochs), p of "the case is better" (more accurate; in epochs: fewer), holm and
    bh, which correct it for all cases of the cell (family-wise error; false discoveries), and whether the case is the best of its
    cell. p as by scipy's "auto"; NaN with fewer than two runs a side, and then outside the correction. The question is not
    turned round where base is ahead, as the paper does once. Raises as `paired`.
    """
    sign, scale = _sense(value)
    rows = []
    for key, cell in _cells(frame, value, cases):
        base = cell["base"].dropna()
        for case in cases:
            runs, side = cell[case].dropna(), "greater" if sign > 0 else "less"
            p = (
                scipy_stats.mannwhitneyu(runs, base, alternative=side).pvalue
                if min(len(runs), len(base)) > 1
                else np.nan
            )
            rows.append(Tested(*key, case, len(runs), len(base), scale * (runs.mean() - base.mean()), p))
    table = pd.DataFrame(rows, columns=Tested._fields).astype({"gain": float, "p": float})
    groups = table.groupby(CELL, sort=False)
    table["holm"], table["bh"] = groups.p.transform(holm), groups.p.transform(_benjamini_hochberg)
    table["best"] = groups.gain.transform(_is_first_best, sign).astype(bool)
    return table


def best_of(
    frame: pd.DataFrame,
    generator: Generator,
    cases: Sequence[str] = TWELVE,
    value: str = "accuracy",
    draws: int = 10_000,
) -> pd.DataFrame:
    """A permutation test of the maximum, cell by cell: is the best of ``cases`` further ahead of base than one of so many is by chance?

    Statistic: the largest mean gain over base (points; in epochs: fewest against base, a saving counts as positive). Null
    hypothesis: base and the cases are exchangeable within a seed, so labels are permuted there ``draws`` times. Columns:
    best, gain, median_by_chance and high_by_chance (95th percentile) of that maximum, p = (1 + #(>= gain)) / (1 + draws), n
    complete seeds, how many were dropped for a run missing, and how many cases competed (those with any run in the cell). NaN
    without complete seeds; with one seed p can hardly be small. Raises as `paired`.

    N and NS damage the network, so that with all twelve the null hypothesis is false whatever M and MN do, and what is permuted is
    far noisier than base: gains by chance come out huge. Ask it of `TO_MEAN` as well, where only harmless labels are exchanged.
    """
    rows = []
    for key, cell in _cells(frame, value, cases):
        competing, runs = complete(cell, cases, value)
        counts = len(runs), len(cell) - len(runs), len(competing)
        if not runs.size:
            rows.append(Best(*key, "", *[np.nan] * 4, *counts))
            continue
        gains, means = runs.mean(0)[1:] - runs.mean(0)[0], permuted(runs, generator, draws).mean(1)
        gain, null = gains.max(), means[:, 1:].max(1) - means[:, 0]
        p = (1 + (null >= gain - CLOSE).sum()) / (1 + draws)
        best = competing[np.flatnonzero(gains >= gain - CLOSE)[0]]
        rows.append(Best(*key, best, gain, np.median(null), np.quantile(null, 0.95), p, *counts))
    return pd.DataFrame(rows, columns=Best._fields)


def complete(cell: pd.DataFrame, cases: Sequence[str], value: str) -> tuple[list[str], np.ndarray]:
    """Of a cell (a row a seed, a column a case): the cases with any number, and base and they [seeds, 1 + cases] of the seeds that have
    all of them, times scale and better direction of ``value``; no seeds if base or the cases have no number."""
    sign, scale = _sense(value)
    competing = [case for case in cases if cell[case].notna().any()]
    runs = sign * scale * cell[["base", *competing]].dropna().to_numpy()
    return competing, runs if competing else runs[:0]


def permuted(runs: np.ndarray, generator: Generator, draws: int) -> np.ndarray:
    """``runs`` [seeds, labels] with labels exchanged within each seed, so many times: [draws, seeds, labels]."""
    return generator.permuted(np.broadcast_to(runs, (draws, *runs.shape)), axis=2)


def sign_flip_max(
    frame: pd.DataFrame,
    generator: Generator,
    cases: Sequence[str] = TWELVE,
    value: str = "accuracy",
    draws: int = 10_000,
) -> pd.DataFrame:
    """One test for each case over all cells at once, corrected for their number (max-T, Westfall and Young 1993): case, difference
    from base (points), t, p of that case alone, p_family, n pairs.

    One-sided: a case is better. Null hypothesis: the vector of a pair's differences is symmetric about zero in every cell, so its
    sign is flipped as a whole, which keeps how the cases hang together through their common base. t is studentised, so noisy cases
    do not drown the others. It tells of these cells, not of others. NaN with fewer than two pairs. Raises as `paired`.
    """
    sign, scale = _sense(value)
    wide = scale * _wide(frame, value, cases)
    pairs = sign * wide[[*cases]].sub(wide["base"], axis=0).dropna(how="all").to_numpy()
    n = (~np.isnan(pairs)).sum(0)
    means = np.nansum(pairs, axis=0) / np.where(n, n, np.nan)
    t, p, p_family = max_t(pairs, generator, draws)
    return pd.DataFrame({"case": list(cases), "difference": sign * means, "t": t, "p": p, "p_family": p_family, "n": n})


def max_t(pairs: np.ndarray, generator: Generator, draws: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """t, p and p_family [cases] of `sign_flip_max` for differences [pairs, cases], NaN where a run is missing."""
    n, values = (~np.isnan(pairs)).sum(0), np.nan_to_num(pairs)
    signs = generator.choice((-1.0, 1.0), (draws, len(values)))
    t, null = (_studentised(sums, n, (values**2).sum(0)) for sums in (values.sum(0), signs @ values))
    largest = np.fmax.reduce(null, axis=1, initial=-np.inf, keepdims=True)
    p, p_family = (
        np.where(n > 1, (1 + (drawn >= t - CLOSE).sum(0)) / (1 + draws), np.nan) for drawn in (null, largest)
    )
    return t, p, p_family


def bootstrap(differences, generator: Generator, level: float = LEVEL, draws: int = 10_000) -> Difference:
    """The mean of paired differences [n] with a bootstrap interval: what other pairs from the very cells of these would give.

    Pairs are resampled. BCa (scipy), since N's differences are skewed, which percentiles ignore. A bootstrap of few pairs is too
    narrow (of 600 normal samples of five, 85% of the intervals held the truth, of twenty 94%): `comparisons.interval`, Student's t,
    is the better one there. NaN bounds with fewer than two pairs, a point where all pairs agree.
    """
    values = _numbers(differences)
    if len(values) < 2 or np.ptp(values) < CLOSE:
        return _degenerate(values)
    found = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=draws, confidence_level=level, method="BCa", random_state=generator
    )
    return Difference(len(values), float(values.mean()), *map(float, found.confidence_interval))


def bootstrap_by_cell(
    pairs: pd.DataFrame, generator: Generator, level: float = LEVEL, draws: int = 10_000
) -> Difference:
    """The mean over cells of `paired`'s differences, with an interval for architectures and data sets like these, not for these alone.

    Cells are resampled, then pairs within each; every cell counts the same; percentiles. It takes cells for a random sample of
    all there could be, which three networks on the same three data sets are not: read it as the least that such a claim must
    survive. n counts pairs. NaN bounds with fewer than two cells.
    """
    cells = [part.difference.to_numpy() for _, part in pairs.groupby(CELL)]
    mean = float(np.mean([cell.mean() for cell in cells])) if cells else np.nan
    if len(cells) < 2:
        return Difference(len(pairs), mean, np.nan, np.nan)
    # should it be drawn
    resampled = np.stack([generator.choice(cell, (draws, len(cells), len(cell))).mean(2) for cell in cells])
    chosen = generator.integers(len(cells), size=(1, draws, len(cells)))
    drawn = np.take_along_axis(resampled, chosen, 0)[0].mean(1)
    return Difference(len(pairs), mean, *map(float, np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])))


def cliffs_delta(a, b) -> float:
    """(#(a > b) - #(a < b)) / (len(a) len(b)), from -1 to 1 (Cliff 1993): 1 if every a is above every b. NaN if one is empty."""
    a, b = _numbers(a), _numbers(b)
    return float(np.sign(np.subtract.outer(a, b)).mean()) if len(a) and len(b) else np.nan


def effect_sizes(frame: pd.DataFrame, cases: Sequence[str] = TWELVE, value: str = "accuracy") -> pd.DataFrame:
    """How far each case lies from base: n, n_base, gain (points), Cliff's delta of the runs, and d, the mean of the pairs' differences
    over their standard deviation (NaN if that is zero or there is one pair). Raises as `paired`."""
    rows = []
    for key, cell in _cells(frame, value, cases):
        base, scale = cell["base"].dropna(), _sense(value)[1]
        for case in cases:
            runs, pairs = cell[case].dropna(), (cell[case] - cell["base"]).dropna()
            d = pairs.mean() / pairs.std() if pairs.std() > CLOSE else np.nan
            gain, delta = scale * (runs.mean() - base.mean()), cliffs_delta(runs, base)
            rows.append(Effect(*key, case, len(runs), len(base), gain, delta, d))
    return pd.DataFrame(rows, columns=Effect._fields)


def equivalence(differences, margin: float, level: float = LEVEL) -> Equivalence:
    """Two one-sided t tests (TOST, Schuirmann 1987): is the mean of paired differences [n] within ``margin`` points of zero?

    p is the larger of the two; low and high the interval of level 2 ``level`` - 1 (90% for 95%), which lies within the margin just when
    p < 1 - ``level``. NaN, and not equivalent, with fewer than two pairs. Raises ValueError unless the margin is above zero.
    """
    if not margin > 0:
        raise ValueError(f"margin={margin!r} must be above zero: so many points count as no difference")
    values = _numbers(differences)
    if len(values) < 2 or np.ptp(values) < CLOSE:
        n, mean, low, high = vars(_degenerate(values)).values()
        p = np.nan if n < 2 else float(not abs(mean) < margin)
    else:
        found = DescrStatsW(values)
        p, (low, high) = float(found.ttost_mean(-margin, margin)[0]), map(float, found.tconfint_mean(2 * (1 - level)))
        n, mean = len(values), float(values.mean())
    return Equivalence(n, mean, low, high, p, bool(p < 1 - level))


def mixed_model(
    frame: pd.DataFrame, value: str = "accuracy", cases: Sequence[str] = TWELVE, level: float = LEVEL
) -> pd.DataFrame:
    """All pairs in one model: difference from base ~ method, and method x log2(fraction / 10%), with random intercepts for the cell
    and for the seed in it (statsmodels' MixedLM, REML).

    Two terms a method: its difference at 10% (points), and what each doubling of the fraction adds. estimate, low, high and p by
    Student's t with one degree of freedom fewer than there are cells, since it is cells that a general claim is about; n counts
    differences; ``converged``. ``attrs["note"]`` says which model it was and every warning of the fit; "" is never all of it.
    The model has one noise for all methods: with N's damage (`TWELVE`) the intervals of M and MN get far too wide; ask it of
    `TO_MEAN` as well. Where the mixed model cannot be fitted, it is least squares with errors clustered by cell, and the note
    says so; where nothing can, estimates are NaN. Raises as `paired`.
    """
    data = _long(frame, value, cases)
    terms = [f"{method}{part}" for method in data.method.unique() for part in _parts(data[data.method == method])]
    clusters = data.cell.nunique()
    if len(data) <= len(terms) or clusters < 2:
        note = f"not fitted: {len(data)} differences in {clusters} cells do not determine {len(terms)} terms and their errors"
        return _terms(terms, *[np.full(len(terms), np.nan)] * 2, clusters, level, len(data), False, note)
    design = pd.DataFrame({term: _column(data, term) for term in terms})
    formula = "difference ~ 0 + " + " + ".join(f"Q({term!r})" for term in terms)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted, note = _fit(formula, pd.concat([data, design], axis=1), len(terms))
    said = dict.fromkeys(str(each.message).splitlines()[0] for each in caught)
    note = "; warned: ".join([note, *said])
    estimates, errors = np.asarray(fitted.params)[: len(terms)], np.asarray(fitted.bse)[: len(terms)]
    return _terms(terms, estimates, errors, clusters, level, len(data), bool(getattr(fitted, "converged", False)), note)


@lru_cache
def p_by_u(n: int, others: int) -> np.ndarray:
    """The exact one-sided p of each U = 0 .. n x ``others`` without ties, by scipy, from one made-up sample for each U."""
    u, i = np.arange(n * others + 1)[:, None], np.arange(n)
    full, rest = np.divmod(u, others)  # so many values above all others, and one above the first few
    values = np.where(i < full, others + 1 + i, np.where(i == full, rest - 0.5, -1 - i))
    against = np.broadcast_to(np.arange(others), (len(u), others))
    p = scipy_stats.mannwhitneyu(values, against, alternative="greater", method="exact", axis=1).pvalue
    p.setflags(write=False)
    return p


def _wide(frame, value, cases=(), against="base"):
    """Numbers by (architecture, dataset, seed), in the paper's order, a column a case: of done runs, NaN for others."""
    allowed = dict.fromkeys((*CASES, *CONTROL_CASES, *frame["case"]))
    for case in (*cases, against):
        if case not in allowed:
            raise ValueError(f"case={case!r} is unknown; allowed: {', '.join(allowed)}")
    if value not in frame:
        raise ValueError(f"value={value!r} is no column; allowed: {', '.join(SENSES)}")
    runs = frame[[*PAIR, "case", "status", value]]
    if (twice := runs.duplicated([*PAIR, "case"])).any():
        raise ValueError(f"more than one run of {tuple(runs[twice].iloc[0, :4])}: choose one configuration")
    have = set(runs[CELL][runs.case == against].itertuples(index=False, name=None))
    if missing := [cell for cell in dict.fromkeys(runs[CELL].itertuples(index=False, name=None)) if cell not in have]:
        raise ValueError(f"case {against!r} is missing in {'; '.join(map(' on '.join, missing))}: run it first")
    if not have:
        raise ValueError(f"the frame has no run at all, of {against!r} neither: run it first")
    numbers = pd.to_numeric(runs[value]).where(runs.status == "done").astype(float)
    wide = runs.assign(number=numbers).pivot(index=PAIR, columns="case", values="number")
    return wide.reindex(columns=dict.fromkeys((*wide.columns, *cases))).sort_index(key=_place)


def _place(level):
    """The names of a level by rank: the known in their order, then the unknown; seeds as they are."""
    order = ORDERS.get(level.name)
    return (
        level
        if order is None
        else level.map({name: i for i, name in enumerate([*order, *sorted(set(level).difference(order))])})
    )


def _cells(frame, value, cases):
    """((architecture, dataset), its part of `_wide`) one after the other."""
    _sense(value)
    return _wide(frame, value, cases).groupby(level=CELL, sort=False)


def _sense(value):
    if value not in SENSES:
        raise ValueError(f"value={value!r} is unknown; allowed: {', '.join(SENSES)}")
    return SENSES[value]


def _benjamini_hochberg(p):
    tested = p.dropna()
    return pd.Series(scipy_stats.false_discovery_control(tested), tested.index, float).reindex(p.index)


def _is_first_best(gains, sign):
    """Whether it is the first of the best, up to rounding (as `stats` ranks cases)."""
    ranked = (sign * gains).round(9)
    return (ranked == ranked.max()) & ~((ranked == ranked.max()).cumsum() > 1)


def _studentised(sums, n, squares):
    """t of values from their sum, number and sum of squares; infinite where they all agree, zero where they are all zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / n
        variance = np.maximum(squares - n * means**2, 0) / (n - 1)
        t = means / np.sqrt(np.where(variance < CLOSE**2 + 1e-12 * means**2, 0, variance) / n)
    return np.where((n > 1) & (np.abs(means) < CLOSE), 0, np.where(n > 1, t, np.nan))


def _numbers(values):
    values = np.asarray(values, float)
    return values[~np.isnan(values)]


def _degenerate(values):
    """No pairs, one, or pairs that agree: then the interval is a point."""
    mean = float(values.mean()) if len(values) else np.nan
    return Difference(len(values), mean, *[mean if len(values) > 1 else np.nan] * 2)


def _long(frame, value, cases):
    """A row a difference from base: method, doublings of the fraction from 10%, cell, seed in its cell, difference in points."""
    scale, wide = _sense(value)[1], _wide(frame, value, cases)
    parsed = {case: Case.parse(case) for case in cases}
    if wrong := [case for case, each in parsed.items() if each.fraction in (None, 0)]:
        raise ValueError(f"cases={wrong} re-initialise no fraction; allowed: {', '.join(TWELVE)}")
    differences = scale * wide[[*cases]].sub(wide["base"], axis=0)
    rows = differences.melt(var_name="case", value_name="difference", ignore_index=False).dropna().reset_index()
    return rows.assign(
        method=[parsed[case].method for case in rows["case"]],
        cell=rows.architecture + " on " + rows.dataset,
        doublings=[np.log2(parsed[case].fraction / 0.1) for case in rows["case"]],
    )


def _parts(rows):
    return (" at 10%", " by doubling") if rows.doublings.nunique() > 1 else (" at 10%",)


def _column(data, term):
    method, _, part = term.partition(" ")
    return np.where(data.method == method, data.doublings if part == "by doubling" else 1.0, 0.0)


def _fit(formula, data, terms):
    """The mixed model, or where it fails least squares; and a sentence on which it is."""
    seeds = {"seed": "0 + C(seed)"} if data.groupby("cell").seed.nunique().max() > 1 else None  # one seed is its cell
    try:  # powell: a variance of zero, as found here, is no place for methods that follow gradients
        fitted = mixedlm(formula, data, groups="cell", re_formula="1", vc_formula=seeds).fit(method="powell")
        if np.isfinite(np.asarray(fitted.bse)[:terms]).all():
            parts = {
                "cell": fitted.cov_re.iloc[0, 0],
                **dict.fromkeys(seeds or (), *fitted.vcomp),
                "rest": fitted.scale,
            }
            return fitted, "mixed model; standard deviations: " + ", ".join(
                f"{part} {each**0.5:.2f}" for part, each in parts.items()
            )
        why = "standard errors that are no numbers"
    except (np.linalg.LinAlgError, ValueError) as error:
        why = str(error)
    fitted = ols(formula, data).fit(cov_type="cluster", cov_kwds={"groups": data.cell.astype("category").cat.codes})
    return fitted, f"least squares with errors clustered by cell, since the mixed model had {why}"


def _terms(terms, estimates, errors, clusters, level, n, converged, note):
    freedom = max(clusters - 1, 1)
    half = scipy_stats.t.ppf(0.5 + level / 2, freedom) * errors
    p = 2 * scipy_stats.t.sf(
        np.abs(np.divide(estimates, errors, out=np.full(len(terms), np.nan), where=errors > 0)), freedom
    )
    table = pd.DataFrame(
        {"term": terms, "estimate": estimates, "low": estimates - half, "high": estimates + half, "p": p}
    )
    table = table.assign(n=n, converged=converged)
    table.attrs["note"] = note
    return table
