"""Whether a printed Mann-Whitney p-value can come from the runs that the tables allow, and how plausible it is then.

One-sided throughout, with 1 for the side that is presumed greater. Three ways to a p: the exact distribution (with
ties: a share of all arrangements), the normal approximation with or without the continuity correction of one half, and
that by a table of normal tails, which knows z to two decimals.
"""

from decimal import Decimal
from functools import lru_cache
from itertools import product
from math import comb

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu, norm

from ..main_paper.numbers import METRICS, P_VALUES, PValue
from . import grim
from . import rows as audit

SLACK = 1e-12  # for what floats do to a p on the edge of rounding
ENUMERATED = {"accuracy": 6, "epochs": 5}  # the most runs of which all possible results are listed


# --- what a p can be, whatever the numbers ----------------------------------------------------------------------------
def two_decimals(p: Decimal) -> float | None:
    """The z of two decimals whose upper tail is printed as ``p``; None if there is none."""
    z = round(float(norm.isf(float(p))), 2)
    return z if printed_as(norm.sf(z), p) else None


def by_chance(p: Decimal) -> float:
    """The chance that digits drawn at random near ``p`` are the tail of a z of two decimals."""
    low, high = map(float, grim.interval(p))
    return (high - low) / (0.01 * float(norm.pdf(norm.isf(float(p)))))


def printed_as(p, printed: Decimal):
    """Whether numbers round to the printed one."""
    low, high = map(float, grim.interval(printed))
    return (low - SLACK <= p) & (p <= high + SLACK)


@lru_cache
def exact_tails(n1: int, n2: int) -> np.ndarray:
    """P(U >= u) without ties for u = 0 .. n1 n2, float [n1 n2 + 1]."""
    p = np.empty(n1 * n2 + 1)
    for u in range(n1 * n2 + 1):
        whole, rest = divmod(u, n2)
        above = [n2] * whole + [rest] * (whole < n1)  # how many of the others the first, the second, ... lie above
        ones = np.array(above + [0] * (n1 - len(above))) - 0.5 + np.arange(n1) / 100
        p[u] = mannwhitneyu(ones, np.arange(n2), alternative="greater", method="exact").pvalue
    return p


@lru_cache
def tie_sums(values: int) -> np.ndarray:
    """All that the sum of t^3 - t over groups of t equal values can be among so many values, not all equal."""
    sums = [{0}]
    for n in range(1, values + 1):
        sums.append({t**3 - t + rest for t in range(1, n + 1) for rest in sums[n - t]})
    return np.array(sorted(sums[values] - {values**3 - values}))


def z_of(u, n1: int, n2: int, ties=0, continuity: float = 0.5):
    """The normal approximation's z of U (larger: more for the first side) with the tie sum ``ties``."""
    n = n1 + n2
    return (u - n1 * n2 / 2 - continuity) / np.sqrt(n1 * n2 / 12 * (n + 1 - ties / (n * (n - 1))))


def ways(p: Decimal, n1: int, n2: int) -> list[str]:
    """How so many runs might give ``p``: "exact", "exact, ties" (some share of all arrangements), "normal", "table",
    "normal, ties", "table, ties". Necessary, not sufficient: that some U goes with some ties is not asked."""
    z, arrangements = two_decimals(p), comb(n1 + n2, n1)
    halves, continuity = np.arange(2 * n1 * n2 + 1) / 2, np.array([[0.5], [0]])
    untied = z_of(halves[::2], n1, n2, 0, continuity)
    tied = z_of(halves, n1, n2, tie_sums(n1 + n2)[1:, None, None], continuity)
    found = {
        "exact": printed_as(exact_tails(n1, n2), p).any(),
        "exact, ties": printed_as(round(float(p) * arrangements) / arrangements, p),
        "normal": printed_as(norm.sf(untied), p).any(),
        "table": z is not None and near(untied, z).any(),
        "normal, ties": printed_as(norm.sf(tied), p).any(),
        "table, ties": z is not None and near(tied, z).any(),
    }
    return [name for name, possible in found.items() if possible]


def near(z, printed: float):
    """Whether z is ``printed`` when rounded or cut to two decimals."""
    cut = (np.abs(z) > abs(printed) - SLACK) & (np.abs(z) < abs(printed) + 0.01) & (z * printed >= 0)
    return (np.abs(z - printed) <= 0.005 + SLACK) | cut


# --- what it can be with these means and standard deviations ----------------------------------------------------------
def u_and_ties(ones: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """U and tie sum of each row of [a, n1] against each of [b, n2]: two arrays [a, b]."""
    x, y = ones[:, None, :, None], others[None, :, None, :]
    u = ((x > y) + (x == y) / 2).sum((2, 3))
    n, *shape = ones.shape[1], len(ones), len(others)
    both = np.empty((*shape, n + others.shape[1]), ones.dtype)
    both[..., :n], both[..., n:] = ones[:, None], others
    equal = (both[..., None] == both[..., None, :]).sum(-1)
    return u, (equal**2 - 1).sum(-1)


def possible(p: Decimal, ones: np.ndarray, others: np.ndarray) -> dict:
    """Over all pairs of rows (`rows.recovered`): the ends of all exact and normal p, and if one is the printed."""
    n1, n2 = ones.shape[1], others.shape[1]
    parts = np.array_split(ones, -(-len(ones) * len(others) // 20_000))
    found = [np.stack(u_and_ties(part, others), -1).reshape(-1, 2) for part in parts]
    u, ties = np.unique(np.concatenate(found), axis=0).T
    z = np.concatenate([z_of(u, n1, n2, ties, continuity) for continuity in (0.5, 0)])
    every = np.concatenate([norm.sf(z), exact_tails(n1, n2)[u[ties == 0].astype(int)]])
    read = two_decimals(p)
    said = {"printed": printed_as(every, p).any(), "by table": read is not None and near(z, read).any()}
    return {"least": every.min(), "most": every.max()} | {name: bool(value) for name, value in said.items()}


def plausible(means, stds, n1: int, n2: int, rng: np.random.Generator, draws: int = 2000) -> np.ndarray:
    """Exact one-sided p of ``draws`` pairs of normal samples with exactly these means and stds, float [draws]."""
    sides = []
    for mean, std, n in zip(means, stds, (n1, n2), strict=True):
        sample = rng.standard_normal((draws, n))
        sample -= sample.mean(1, keepdims=True)
        sides.append(float(mean) + float(std) * sample / sample.std(1, ddof=1, keepdims=True))
    u = (sides[0][:, :, None] > sides[1][:, None]).sum((1, 2))
    return exact_tails(n1, n2)[u]


# --- the paper's ------------------------------------------------------------------------------------------------------
def sides(value: PValue) -> tuple[audit.Line, audit.Line]:
    """The lines of the side that is presumed greater, and of the other."""
    lines = {line.name: line for line in audit.published() if line.group == value.dataset}
    case, base = (lines[f"{value.architecture}, {name}"] for name in (value.case, value.against))
    return (case, base) if value.alternative == "greater" else (base, case)


def runs(value: PValue, settled: audit.Settled) -> list[tuple[int, int]]:
    """The (n1, n2) that both lines allow."""
    which, found = METRICS.index(value.metric), []
    for line in sides(value):
        found.append(sorted({pair[which] for pair in audit.pairs(line, settled.size, missing=settled.missing)}))
    return list(product(*found))


def results(line: audit.Line, metric: str, n: int, size: int) -> np.ndarray:
    """All that n runs of a line can have been, in counts or epochs, int [sets, n]."""
    found = audit.recovered(line, n, size) if metric == "accuracy" else audit.recovered_epochs(line, n)
    return np.array(found).reshape(-1, n)


def outcomes(value: PValue, found: list[tuple[int, int]], size: int) -> dict | None:
    """`possible` over all results of all these (n1, n2); None where too many runs make too many results."""
    if max(map(max, found)) > ENUMERATED[value.metric]:
        return None
    each = []
    for pair in found:
        both = (results(line, value.metric, n, size) for line, n in zip(sides(value), pair, strict=True))
        each.append(possible(value.p, *both))
    over = {"least": min, "most": max, "printed": any, "by table": any}
    return {name: of(one[name] for one in each) for name, of in over.items()}


def answer(ways_found: set[str], every: dict | None) -> str:
    """Whether the printed p can come from the rows: "yes", "only by a table of z", "no", or "not excluded"."""
    if every and (every["printed"] or "exact, ties" not in ways_found):
        return "yes" if every["printed"] else "only by a table of z" if every["by table"] else "no"
    return "not excluded" if ways_found else "no"


def judged(value: PValue, settled: audit.Settled, rng: np.random.Generator) -> dict:
    """One printed p-value: a row of `table`. Ranges are over all (n1, n2) that the lines allow."""
    found, z = runs(value, settled), two_decimals(value.p)
    numbers = [[getattr(line, value.metric + end) for line in sides(value)] for end in ("", "_std")]
    drawn = [plausible(*numbers, *pair, rng) for pair in found]
    every, way = outcomes(value, found, settled.size), {way for pair in found for way in ways(value.p, *pair)}
    shares = sorted((p <= float(value.p)).mean() for p in drawn)
    least_and_most = dict.fromkeys(f"{share:.0%}" for share in (shares[0], shares[-1]))
    return {
        "Test": f"{value.architecture}, {value.dataset}, {value.case}, {value.metric}",
        "p": f"{value.p}{'*' * value.significant}",
        "z": "-" if z is None else f"{z:.2f}",
        "n1, n2": "; ".join(f"{a}, {b}" for a, b in found),
        "All that p can be": f"{every['least']:.4f} to {every['most']:.4f}" if every else "-",
        "Is the printed p possible?": answer(way, every),
        "Normal samples: middle 90%": "{:.3f} to {:.3f}".format(*np.quantile(np.concatenate(drawn), (0.05, 0.95))),
        "at most the printed p": " to ".join(least_and_most),
    }


def table(settled: dict[str, audit.Settled], rng: np.random.Generator) -> pd.DataFrame:
    """Every Mann-Whitney p of Coetzer et al. 2026 beside what the rows allow; ``settled``: see `rows.settle`."""
    return pd.DataFrame([judged(value, settled[value.dataset], rng) for value in P_VALUES])


def tails() -> tuple[int, int, float]:
    """How many of the printed p-values are tails of a z of two decimals, of how many, and how many would be."""
    printed = [value.p for value in P_VALUES]
    return sum(two_decimals(p) is not None for p in printed), len(printed), sum(map(by_chance, printed))
