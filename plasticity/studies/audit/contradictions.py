"""Where Coetzer et al. 2026 disagrees with itself: table against table, text against table, and ten runs against the
printed digits."""

from collections import namedtuple
from decimal import Decimal
from statistics import mean

import pandas as pd

from ..main_paper.numbers import (
    CLAIMS_IN_TEXT,
    DATASETS,
    GAINS,
    LARGEST_MEAN_GAIN,
    METRICS,
    NEAREST_IMAGENET,
    NOISE_MEAN,
    P_VALUES,
    RESULTS,
    RUNS,
    TABLE6,
    best_rows,
    table6,
    value,
)
from .grim import possible_epochs

Contradiction = namedtuple("Contradiction", "kind where printed derived why")  # all strings


def _half(printed: Decimal) -> Decimal:
    return Decimal(5).scaleb(printed.as_tuple().exponent - 1)


def _agree(printed: Decimal, derived: Decimal, error: Decimal = Decimal("0.001")) -> bool:
    """Whether `derived`, off by less than `error` (by default: two means of three decimals), can round to `printed`."""
    return abs(printed - derived) < _half(printed) + error


def _table6():
    """Of each number of Table 6: architecture, data set, metric, as printed, by Tables 3 to 5."""
    for (architecture, dataset), gains in table6().items():
        for metric, printed, gain in zip(METRICS, TABLE6[dataset][architecture], gains, strict=True):
            yield architecture, dataset, metric, printed, gain


def _cells():
    best = best_rows()
    for *cell, metric, printed, gain in _table6():
        if not _agree(Decimal(printed), gain):
            top = best[tuple(cell)]
            where = f"Table 6, {', '.join(cell)}, {metric}"
            yield "table against table", where, printed, gain, f"Table {top.table}: {top.case} - base"
    for section, *cell, metric, quantity, stated, _ in CLAIMS_IN_TEXT:
        where, row = f"Section {section}, {', '.join(cell)}, {metric} {quantity}", best[tuple(cell)]
        derived, in_table6 = value(*cell, metric, quantity), Decimal(TABLE6[cell[1]][cell[0]][METRICS.index(metric)])
        if not _agree(stated, derived):
            yield "text against table", where, stated, derived, f"Table {row.table}"
        if quantity == f"{row.case} - base" and not _agree(stated, in_table6, _half(in_table6)):
            yield "text against table", where, stated, in_table6, "Table 6"
    for p in P_VALUES:
        if p.case != (top := best[p.architecture, p.dataset].case):
            where = f"Section {p.section}, {p.architecture}, {p.dataset}, p of {p.metric}"
            yield "text against text", where, p.case, top, "section 4: it is the top case that is tested against base"


def _runs():
    """Rows whose epochs ten runs cannot give, whichever divisor the std has; `audit` adds what the accuracies say."""
    for row in RESULTS:
        fits = set.union(*(possible_epochs(row.epochs, row.epochs_std, ddof=ddof) for ddof in (0, 1)))
        if RUNS not in fits:
            where = f"Section 3.4, Table {row.table}, {row.architecture}, {row.dataset}, {row.case}"
            too = "" if row.epochs * RUNS % 1 else f" with std {row.epochs_std}"  # the mean alone may rule ten out
            yield (
                "arithmetic",
                where,
                RUNS,
                " or ".join(map(str, sorted(fits))),
                f"runs for mean epochs {row.epochs}{too}",
            )


def _summaries():
    gains = {cell: gain for cell, (gain, _) in table6().items()}
    means = {name: mean(gain for cell, gain in gains.items() if cell[1] == name) for name in DATASETS}
    low, high = (bound + sign * _half(bound) for bound, sign in zip(GAINS, (-1, 1), strict=True))
    if outside := [gain for gain in gains.values() if not low <= gain <= high]:
        derived, why = f"{min(gains.values())} to {max(gains.values())}", f"{len(outside)} of {len(gains)} lie outside"
        yield "text against table", "Section 5.1, gains in accuracy", " to ".join(map(str, GAINS)), derived, why
    if (largest := max(means, key=means.get)) != LARGEST_MEAN_GAIN:
        why = "mean gains: " + ", ".join(f"{name} {gain:.3f}" for name, gain in means.items())
        yield "text against table", "Section 5, largest mean gain", LARGEST_MEAN_GAIN, largest, why
    if LARGEST_MEAN_GAIN == NEAREST_IMAGENET:
        why = "section 5 credits that gain to the likeness to ImageNet"
        yield "text against text", "Section 1, gains", "most far from ImageNet", f"most on {LARGEST_MEAN_GAIN}", why
    if NOISE_MEAN == 0:
        why = "equation 1 multiplies the draw by mu, which the text just before sets to 0"
        yield "text against text", "Section 3.1, noise of MN", "N(0, 1), scaled", "none", why


def contradictions() -> list[Contradiction]:
    """Every place known to us where Coetzer et al. 2026 disagrees with itself, computed from the data in `paper`.

    Left out, since they can be read without conflict: "~1400" images a class in section 5 (80% of Table 1, as DTD's 96
    are), DTD "typically" best at 5% (2 of 3), N and NS that "degraded" (never tested), Table 4's fifth row on Fruit25
    (only Table 3 promises the top three); and Table 2's SimpleNet, which disagrees with the released code alone.
    """
    return [Contradiction(*map(str, found)) for found in (*_cells(), *_runs(), *_summaries())]


def contradictions_frame() -> pd.DataFrame:
    """``contradictions()`` as a table: kind, where, printed, derived, why."""
    return pd.DataFrame(contradictions())


def sentences() -> pd.DataFrame:
    """Every number that the text of section 4 states beside what Tables 3 to 5 give."""
    rows = []
    for claim in CLAIMS_IN_TEXT:
        derived = value(claim.architecture, claim.dataset, claim.metric, claim.quantity)
        of, agrees = f"{claim.architecture}, {claim.dataset}, {claim.metric}", _agree(claim.stated, derived)
        numbers = {"Stated": f"{claim.stated:f}", "By the tables": f"{derived:f}"[:8]}
        row = {"Section": claim.section, "Of": of, "Says": claim.says} | numbers
        rows.append(row | {"Agrees": "yes" if agrees else "no"})
    return pd.DataFrame(rows)


def cells_of_table6() -> pd.DataFrame:
    """Every number of Table 6 beside what Tables 3 to 5 give."""
    rows = []
    for *where, printed, gain in _table6():
        agrees = "yes" if _agree(Decimal(printed), gain) else "no"
        rows.append({"Of": ", ".join(where), "Printed": printed, "By the tables": f"{gain:+f}", "Agrees": agrees})
    return pd.DataFrame(rows)
