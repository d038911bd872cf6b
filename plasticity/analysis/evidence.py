"""Statistics that respect the question: the best of twelve was chosen, runs of one seed are pairs, "not found" is not
"not there".

Input is `frames.frame`'s: one row per run; failed runs (status other than "done", or NaN) are never numbers.
Accuracies 0..1, differences in points. Cells are architecture x data set. Every function of a frame raises ValueError
for an unknown case, for a cell without runs of base, and for several runs of one case and seed.
"""

import warnings
from collections import namedtuple
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy import stats as scipy_stats
from statsmodels.formula.api import mixedlm, ols

from ..data import TITLES
from ..networks.table import ARCHITECTURES
from ..profiles import CASES, CONTROL_CASES
from ..reinit import Case
from .frames import PAIR
from .paired import CLOSE, Difference, holm, interval
from .verdict import CONFIDENCE

TWELVE = CASES[1:]
MEAN_CASES = tuple(case for case in TWELVE if case.endswith(("M", "MN")))  # six: those that the paper recommends
CELL = PAIR[:2]
DRAWS = 10_000
ORDERS = {"architecture": list(ARCHITECTURES), "dataset": list(TITLES)}
Tested = namedtuple("Tested", "architecture dataset case n n_base gain p")
Best = namedtuple("Best", "architecture dataset best gain median_by_chance high_by_chance p n dropped cases")


def paired(frame: pd.DataFrame, case: str, value: str = "accuracy", scale: float = 100) -> pd.DataFrame:
    """``case`` minus base for every complete pair of runs: architecture, dataset, seed, difference (``scale`` x value).

    A case that the frame lacks has no pairs.
    """
    wide = scale * _wide(frame, (case,), value)
    return (wide[case] - wide["base"]).dropna().rename("difference").reset_index()


def mann_whitney(frame: pd.DataFrame, cases: Sequence[str]) -> pd.DataFrame:
    """The paper's one-sided Mann-Whitney U test (Coetzer et al. 2026, section 4) of every case against base, not of the
    best alone.

    One row per cell and case: n, n_base, gain (points), p of "the case is more accurate", holm and bh, which correct it
    for all cases of the cell (family-wise error; false discoveries), and whether the case is the best of its cell. p as
    by scipy's "auto"; NaN with fewer than two runs a side, and then outside the correction. The question is not turned
    round where base is ahead, as the paper does once.
    """
    rows = []
    for key, cell in cells(frame, cases):
        base = cell["base"].dropna()
        for case in cases:
            runs, p = cell[case].dropna(), np.nan
            if min(len(runs), len(base)) > 1:
                p = scipy_stats.mannwhitneyu(runs, base, alternative="greater").pvalue
            rows.append(Tested(*key, case, len(runs), len(base), 100 * (runs.mean() - base.mean()), p))
    table = pd.DataFrame(rows, columns=Tested._fields).astype({"gain": float, "p": float})
    groups = table.groupby(CELL, sort=False)
    table["holm"], table["bh"] = groups.p.transform(holm), groups.p.transform(_benjamini_hochberg)
    table["best"] = groups.gain.transform(_is_first_best).astype(bool)
    return table


def best_of(frame: pd.DataFrame, generator: Generator, cases: Sequence[str], draws: int = DRAWS) -> pd.DataFrame:
    """A permutation test of the maximum, cell by cell: is the best of ``cases`` further ahead of base than one of so
    many is by chance?

    Statistic: the largest mean gain over base (points). Null hypothesis: base and the cases are exchangeable within a
    seed, so labels are permuted there ``draws`` times. Columns: best, gain, median_by_chance and high_by_chance (95th
    percentile) of that maximum, p = (1 + #(>= gain)) / (1 + draws), n complete seeds, how many were dropped for a run
    missing, and how many cases competed (those with any run in the cell). NaN without complete seeds; with one seed p
    can hardly be small.

    N and NS damage the network, so that with all twelve the null hypothesis is false whatever M and MN do, and what is
    permuted is far noisier than base: gains by chance come out huge. Ask it of `MEAN_CASES` as well, where only
    harmless labels are exchanged.
    """
    rows = []
    for key, cell in cells(frame, cases):
        competing, runs = complete(cell, cases)
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


def complete(cell: pd.DataFrame, cases: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Of a cell (one row per seed, one column per case): the cases with any number, and the percentages of base and of
    them [seeds, 1 + cases] for the seeds that have all of them; no seeds if base or the cases have no number."""
    competing = [case for case in cases if cell[case].notna().any()]
    runs = 100 * cell[["base", *competing]].dropna().to_numpy()
    return competing, runs if competing else runs[:0]


def permuted(runs: np.ndarray, generator: Generator, draws: int) -> np.ndarray:
    """``runs`` [seeds, labels] with labels exchanged within each seed, ``draws`` times: [draws, seeds, labels]."""
    return generator.permuted(np.broadcast_to(runs, (draws, *runs.shape)), axis=2)


def sign_flip_max(frame: pd.DataFrame, generator: Generator, cases: Sequence[str], draws: int = DRAWS) -> pd.DataFrame:
    """One test for each case over all cells at once, corrected for their number (max-T, Westfall and Young 1993): case,
    t, p of that case alone, p_family, n pairs.

    One-sided: a case is better. Null hypothesis: the vector of a pair's differences is symmetric about zero in every
    cell, so its sign is flipped as a whole, which keeps how the cases hang together through their common base. t is
    studentised, so noisy cases do not drown the others. It tells of these cells, not of others. NaN with fewer than two
    pairs.
    """
    wide = 100 * _wide(frame, cases)
    pairs = wide[[*cases]].sub(wide["base"], axis=0).dropna(how="all").to_numpy()
    t, p, p_family = max_t(pairs, generator, draws)
    return pd.DataFrame({"case": list(cases), "t": t, "p": p, "p_family": p_family, "n": (~np.isnan(pairs)).sum(0)})


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


def bootstrap_by_cell(pairs: pd.DataFrame, generator: Generator, draws: int = DRAWS) -> Difference:
    """The mean over cells of `paired`'s differences, with an interval for architectures and data sets like these, not
    for these alone.

    Cells are resampled, then pairs within each; every cell counts the same; percentiles. It takes cells for a random
    sample of all there could be, which three networks on the same three data sets are not: read it as the least that
    such a claim must survive. n counts pairs. NaN bounds with fewer than two cells.
    """
    parts = [part.difference.to_numpy() for _, part in pairs.groupby(CELL)]
    mean = float(np.mean([part.mean() for part in parts])) if parts else np.nan
    if len(parts) < 2:
        return Difference(len(pairs), mean, np.nan, np.nan)
    resampled = np.stack([generator.choice(part, (draws, len(parts), len(part))).mean(2) for part in parts])
    chosen = generator.integers(len(parts), size=(1, draws, len(parts)))
    drawn = np.take_along_axis(resampled, chosen, 0)[0].mean(1)
    return Difference(len(pairs), mean, *map(float, np.quantile(drawn, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])))


def cliffs_delta(a, b) -> float:
    """(#(a > b) - #(a < b)) / (len(a) len(b)), from -1 to 1 (Cliff 1993): 1 if every a is above every b. NaN if one is
    empty."""
    return float(np.sign(np.subtract.outer(np.asarray(a), np.asarray(b))).mean()) if len(a) and len(b) else np.nan


def cliffs_deltas(frame: pd.DataFrame, cases: Sequence[str]) -> pd.Series:
    """`cliffs_delta` of each case's runs against base's: the mean of the cells, by case."""
    deltas = [
        {case: cliffs_delta(cell[case].dropna(), cell["base"].dropna()) for case in cases}
        for _, cell in cells(frame, cases)
    ]
    return pd.DataFrame(deltas).mean()


def p_equivalent(differences: pd.Series | np.ndarray, margin: float) -> float:
    """p of two one-sided t tests (TOST, Schuirmann 1987) that the mean of paired differences, as `paired.interval` has
    it, is within ``margin`` of zero: the larger of the two. NaN without an interval."""
    values = pd.Series(differences, dtype=float)
    return max(interval(values).p(-margin), interval(-values).p(-margin))


def mixed_model(frame: pd.DataFrame, cases: Sequence[str]) -> pd.DataFrame:
    """All pairs in one model: difference from base ~ method, and method x log2(fraction / 10%), with random intercepts
    for the cell and for the seed in it (statsmodels' MixedLM, REML).

    Two terms a method: its difference at 10% (points), and what each doubling of the fraction adds. estimate, low, high
    and p by Student's t with one degree of freedom fewer than there are cells, since it is cells that a general claim
    is about; n counts differences; ``converged``. ``attrs["note"]`` says which model it was and every warning of the
    fit; "" is never all of it. The model has one noise for all methods: with N's damage (`TWELVE`) the intervals of M
    and MN get far too wide; ask it of `MEAN_CASES` as well. Where the mixed model cannot be fitted, it is least squares
    with errors clustered by cell, and the note says so; where nothing can, estimates are NaN. ValueError for a case
    that re-initialises no fraction.
    """
    data = _long(frame, cases)
    terms = _terms(data)
    clusters, converged = data.cell.nunique(), False
    estimates = errors = np.full(len(terms), np.nan)
    if len(data) <= len(terms) or clusters < 2:
        note = f"not fitted: {len(data)} differences in {clusters} cells do not determine {len(terms)} terms and "
        note += "their errors"
    else:
        fitted, note = _fit(data, terms)
        estimates, errors = np.asarray(fitted.params)[: len(terms)], np.asarray(fitted.bse)[: len(terms)]
        converged = bool(getattr(fitted, "converged", False))
    freedom = max(clusters - 1, 1)
    half = scipy_stats.t.ppf(0.5 + CONFIDENCE / 2, freedom) * errors
    t = np.divide(estimates, errors, out=np.full(len(terms), np.nan), where=errors > 0)
    table = pd.DataFrame({"term": [*terms], "estimate": estimates, "low": estimates - half, "high": estimates + half})
    table = table.assign(p=2 * scipy_stats.t.sf(np.abs(t), freedom), n=len(data), converged=converged)
    table.attrs["note"] = note
    return table


@lru_cache
def p_by_u(n: int, others: int) -> np.ndarray:
    """The exact one-sided p of each U = 0 .. n x ``others`` without ties, by scipy, from one made-up sample for each
    U."""
    u, i = np.arange(n * others + 1)[:, None], np.arange(n)
    full, rest = np.divmod(u, others)  # so many values above all others, and one above the first few
    values = np.where(i < full, others + 1 + i, np.where(i == full, rest - 0.5, -1 - i))
    against = np.broadcast_to(np.arange(others), (len(u), others))
    p = scipy_stats.mannwhitneyu(values, against, alternative="greater", method="exact", axis=1).pvalue
    p.setflags(write=False)
    return p


def _wide(frame: pd.DataFrame, cases: Sequence[str], value: str = "accuracy") -> pd.DataFrame:
    """Numbers by (architecture, dataset, seed), in the paper's order, one column per case: of done runs, NaN for
    others."""
    allowed = dict.fromkeys((*CASES, *CONTROL_CASES, *frame["case"]))
    if unknown := [case for case in cases if case not in allowed]:
        raise ValueError(f"case={unknown[0]!r} is unknown; allowed: {', '.join(allowed)}")
    runs = frame[[*PAIR, "case", "status", value]]
    if (twice := runs.duplicated([*PAIR, "case"])).any():
        raise ValueError(f"more than one run of {tuple(runs[twice].iloc[0, :4])}: choose one configuration")
    if runs.empty:
        raise ValueError("the frame has no run at all, of 'base' neither: run it first")
    names, have = (pd.MultiIndex.from_frame(rows[CELL]).unique() for rows in (runs, runs[runs.case == "base"]))
    if missing := list(names[~names.isin(have)]):
        raise ValueError(f"case 'base' is missing in {'; '.join(map(' on '.join, missing))}: run it first")
    numbers = pd.to_numeric(runs[value]).where(runs.status == "done").astype(float)
    wide = runs.assign(number=numbers).pivot(index=PAIR, columns="case", values="number")
    return wide.reindex(columns=dict.fromkeys((*wide.columns, *cases))).sort_index(key=_place)


def _place(level: pd.Index) -> pd.Index:
    """The names of a level by rank: the known in their order, then the unknown; seeds as they are."""
    order = ORDERS.get(level.name)
    return (
        level
        if order is None
        else level.map({name: i for i, name in enumerate([*order, *sorted(set(level).difference(order))])})
    )


def cells(frame: pd.DataFrame, cases: Sequence[str]) -> Iterator:
    """((architecture, dataset), its part of `_wide`) one after the other."""
    return _wide(frame, cases).groupby(level=CELL, sort=False)


def _benjamini_hochberg(p: pd.Series) -> pd.Series:
    tested = p.dropna()
    return pd.Series(scipy_stats.false_discovery_control(tested), tested.index, float).reindex(p.index)


def _is_first_best(gains: pd.Series) -> pd.Series:
    """Whether it is the first of the best, up to rounding (as `tables` ranks cases)."""
    best = gains.round(9) == gains.round(9).max()
    return best & (best.cumsum() == 1)


def _studentised(sums: np.ndarray, n: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """t of values from their sum, number and sum of squares; infinite where they all agree, zero where they are all
    zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / n
        variance = np.maximum(squares - n * means**2, 0) / (n - 1)
        t = means / np.sqrt(np.where(variance < CLOSE**2 + 1e-12 * means**2, 0, variance) / n)
    return np.where((n > 1) & (np.abs(means) < CLOSE), 0, np.where(n > 1, t, np.nan))


def _long(frame: pd.DataFrame, cases: Sequence[str]) -> pd.DataFrame:
    """One row per difference from base: method, doublings of the fraction from 10%, cell, seed in its cell, difference
    in points."""
    wide, parsed = _wide(frame, cases), {case: Case.parse(case) for case in cases}
    if wrong := [case for case, each in parsed.items() if each.fraction in (None, 0)]:
        raise ValueError(f"cases={wrong} re-initialise no fraction; allowed: {', '.join(TWELVE)}")
    differences = 100 * wide[[*cases]].sub(wide["base"], axis=0)
    rows = differences.melt(var_name="case", value_name="difference", ignore_index=False).dropna().reset_index()
    chosen, cells = [parsed[case] for case in rows["case"]], rows.architecture + " on " + rows.dataset
    doublings = [np.log2(case.fraction / 0.1) for case in chosen]
    return rows.assign(method=[case.method for case in chosen], doublings=doublings, cell=cells)


def _terms(data: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns of the model's design: for each method one at 10%, and where it has several fractions, one by
    doubling."""
    terms = {}
    for method, rows in data.groupby("method", sort=False):
        terms[f"{method} at 10%"] = (data.method == method).astype(float)
        if rows.doublings.nunique() > 1:
            terms[f"{method} by doubling"] = data.doublings.where(data.method == method, 0.0)
    return terms


def _fit(data: pd.DataFrame, terms: dict[str, pd.Series]):
    """The mixed model, or where it fails least squares; and a sentence on which it is, with what it warned of."""
    formula = "difference ~ 0 + " + " + ".join(f"Q({term!r})" for term in terms)
    data = data.assign(**terms)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted, note = _fit_mixed(formula, data, len(terms))
        except (np.linalg.LinAlgError, ValueError) as error:
            clusters = {"groups": data.cell.astype("category").cat.codes}
            fitted = ols(formula, data).fit(cov_type="cluster", cov_kwds=clusters)
            note = f"least squares with errors clustered by cell, since the mixed model had {error}"
    return fitted, "; warned: ".join([note, *dict.fromkeys(str(each.message).splitlines()[0] for each in caught)])


def _fit_mixed(formula: str, data: pd.DataFrame, terms: int):
    """ValueError without standard errors; powell, since a variance of zero is no place for methods that follow
    gradients."""
    seeds = {"seed": "0 + C(seed)"} if data.groupby("cell").seed.nunique().max() > 1 else None  # one seed is its cell
    fitted = mixedlm(formula, data, groups="cell", re_formula="1", vc_formula=seeds).fit(method="powell")
    if not np.isfinite(np.asarray(fitted.bse)[:terms]).all():
        raise ValueError("standard errors that are no numbers")
    variances = {"cell": fitted.cov_re.iloc[0, 0], **dict.fromkeys(seeds or (), *fitted.vcomp), "rest": fitted.scale}
    spreads_of = ", ".join(f"{name} {each**0.5:.2f}" for name, each in variances.items())
    return fitted, f"mixed model; standard deviations: {spreads_of}"
