"""What the runs mean: summaries, the paper's test and the paper's tables, as pure functions of a frame; and one writer.

A table is a DataFrame of strings to display. ``attrs["bold"]`` lists its bold cells as (row, column); with
``attrs["grouped"]`` the first column is printed once a group. Data sets and architectures keep the paper's order.
"""

from collections import namedtuple

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from ..data import PAPER_NAMES, TITLES
from ..networks.table import ARCHITECTURES, FAMILIES
from ..profiles import CASES, CONTROL_CASES
from ..studies.main_paper.numbers import P_VALUES
from .writing import _number, _shown, _table

KEYS = ["architecture", "dataset", "case"]
METRICS = "accuracy", "best_accuracy"
RESULTS = {"simplenet": "table3", "resnet": "table4", "vit": "table5"}  # the paper's tables of results, by family
FAMILY = {name: FAMILIES[network.family] for name, network in ARCHITECTURES.items()}
BESIDE = [
    "Architecture",
    "Dataset",
    "Paper: Case",
    "Paper: Gain",
    "Paper: Epochs",
    "Paper: p",
    "Our Model",
    "Our Data",
    "Ours: Case",
    "Ours: Gain",
    "Ours: Epochs",
    "Ours: p",
    "Ours: n",
]
MARKS = {"case > base": "", "base > case": " (base > case)"}  # which accuracy the test takes to be the greater one
Row = namedtuple("Row", "architecture dataset case n failed accuracy accuracy_std epochs epochs_std")
Versus = namedtuple(
    "Versus", "architecture dataset case n failed base_n base_failed gain epochs_change alternative p_accuracy p_epochs"
)


def summary(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """One line per architecture, data set and case, by accuracy, as in section 3.4 of Coetzer et al. 2026.

    n done and failed runs; mean and std (n - 1) of ``metric`` in percent (accuracy, accuracy_std) and of epochs. Failed
    runs are counted, never averaged. Raises ValueError for another metric, or if a seed occurs twice in a case.
    """
    return pd.DataFrame([row for _, cell in _cells(frame, metric)[1] for row in cell.values()], columns=Row._fields)


def versus_base(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Section 4 of Coetzer et al. 2026: the best of the twelve cases against base, one-sided Mann-Whitney U.

    ``alternative`` is "case > base" in accuracy, and "base > case" where base is on top (section 4.1); in epochs it is
    always that the case takes fewer. p as by scipy's "auto": exact if a side has at most 8 runs and nothing ties; NaN
    with fewer than two runs on a side. gain in points, epochs_change in epochs. Raises as ``summary`` does.
    """
    runs, cells = _cells(frame, metric)
    return pd.DataFrame([_against(runs, *key, cell) for key, cell in cells], columns=Versus._fields)


def table1(datasets) -> pd.DataFrame:
    """Table 1 of Coetzer et al. 2026: classes, images per class (a number or a range) and total, of data sets."""
    rows = []
    for data in datasets:
        counts = np.bincount(np.asarray(data.labels), minlength=len(data.class_names))
        each = "-".join(map(str, sorted({counts.min(), counts.max()})))
        rows.append([_shown(data.name), len(data.class_names), each, counts.sum()])
    return _table(rows, ["Dataset", "Number of Classes", "Images per Class", "Total Images"])


def table2(architectures: dict[str, int]) -> pd.DataFrame:
    """Table 2 of Coetzer et al. 2026: name of an architecture -> its number of trainable parameters."""
    rows = [[_shown(name), f"{n / 1e6:.{1 if n >= 1e6 else 3}f} million"] for name, n in architectures.items()]
    return _table(rows, ["Model", "Number of Parameters"])


def results_name(architecture: str) -> str:
    """ "table3" to "table5" for the families of the paper's tables, ``table_<architecture>`` for others."""
    return RESULTS.get(ARCHITECTURES[architecture].family, f"table_{architecture}")


def results_table(frame: pd.DataFrame, architecture: str, metric: str = "accuracy") -> pd.DataFrame:
    """Tables 3 to 5 of Coetzer et al. 2026: per data set the three most accurate cases and base (bold), by accuracy."""
    return _results(frame, architecture, metric, lambda cell: [*_ranked(cell)[:3], *_some(cell, ["base"])])


def all_cases(frame: pd.DataFrame, architecture: str, metric: str = "accuracy") -> pd.DataFrame:
    """Tables 3 to 5 of Coetzer et al. 2026 with all thirteen cases; below them, unranked, the controls."""
    return _results(frame, architecture, metric, lambda cell: _some(cell, (*CASES, *CONTROL_CASES)))


def table6(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Table 6 of Coetzer et al. 2026: [gain in accuracy; in epochs] of the best case; bold if both are improvements."""
    cells = {v[:2]: v for v in versus_base(frame, metric).itertuples(index=False)}
    names, datasets = (dict.fromkeys(key[part] for key in cells) for part in (0, 1))
    rows = [[_shown(data), *(_gains(cells.get((name, data))) for name in names)] for data in datasets]
    numbers = [(number, data, name) for number, data in enumerate(datasets) for name in names if (name, data) in cells]
    bold = [
        (number, _shown(name))
        for number, data, name in numbers
        if cells[name, data].gain > 0 and cells[name, data].epochs_change < 0
    ]
    return _table(rows, ["Dataset", *map(_shown, names)], bold)


def beside_paper(frame, paper_frame, metric: str = "accuracy", p_values=P_VALUES) -> pd.DataFrame:
    """The best case against base in Coetzer et al. 2026 (Tables 3 to 5; p of accuracy, section 4) beside ``frame``'s.

    Data sets of the miniature world stand beside those they mirror, networks the paper lacks at the end. n: the best
    case's, base's. "-": there is none.
    """
    tested = {(p.architecture, p.dataset, p.case): p for p in p_values if p.metric == "accuracy"}
    ours, rows = list(versus_base(frame, metric).itertuples(index=False)), []
    for key, cell in paper_frame.groupby(["architecture", "dataset"], sort=False):
        cell = cell.set_index("case")[["accuracy", "epochs"]]
        top = cell.drop("base").accuracy.idxmax()
        gain, change = cell.loc[top] - cell.loc["base"]
        theirs = [*key, _shown(top), f"{gain:.2f}", f"{change:+.1f}", "-"]
        if p := tested.get((*key, top)):
            theirs[-1] = f"{p.p}{MARKS['base > case' if p.alternative == 'less' else 'case > base']}"
        found = [v for v in ours if (FAMILY.get(v.architecture), PAPER_NAMES.get(v.dataset)) == key]
        rows += [theirs + _ours(v) for v in found] or [theirs + ["-"] * 7]
    others = [v for v in ours if FAMILY.get(v.architecture) not in set(paper_frame.architecture)]
    rows += [
        [FAMILY.get(v.architecture, v.architecture), PAPER_NAMES.get(v.dataset, v.dataset), *"----", *_ours(v)]
        for v in others
    ]
    return _table(rows, BESIDE)


def transfer(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Base against the control ``scratch``, a row an architecture and data set: mean ± std in percent, n, and the gain."""
    rows = []
    for key, cell in _cells(frame, metric)[1]:
        sides = [cell[case] for case in ("base", "scratch") if case in cell and cell[case].n]
        if len(sides) == 2:
            texts = [f"{side.accuracy:.2f} ± {_number(side.accuracy_std, '.2f')}" for side in sides]
            gain = sides[0].accuracy - sides[1].accuracy
            rows.append([*map(_shown, key), *texts, f"{gain:+.2f}", ", ".join(str(side.n) for side in sides)])
    return _table(rows, ["Architecture", "Dataset", "Base ± Std", "Scratch ± Std", "Gain", "n"], grouped=True)


def effects(frame: pd.DataFrame, metric: str = "accuracy") -> pd.DataFrame:
    """Accuracy minus base of the same seed, in points: by architecture and over all, for each case and control.

    ``Cells Above Base`` counts the architecture x data set cells whose mean difference is positive; n counts pairs.
    """
    runs = _runs(frame, metric).dropna(subset="value")
    wide = runs.pivot_table(index=["architecture", "dataset", "seed"], columns="case", values="value")
    networks = [name for name in ARCHITECTURES if name in set(runs.architecture)]
    rows = []
    for case in [case for case in (*CASES[1:], *CONTROL_CASES) if case in wide and "base" in wide]:
        pairs = (100 * (wide[case] - wide["base"])).dropna()
        cells = pairs.groupby(["architecture", "dataset"]).mean()
        means = [_number(pairs.xs(name).mean(), "+.2f") if name in pairs.index.levels[0] else "-" for name in networks]
        rows.append(
            [_shown(case), *means, _number(pairs.mean(), "+.2f"), f"{(cells > 0).sum()} of {len(cells)}", len(pairs)]
        )
    return _table(rows, ["Case", *map(_shown, networks), "All", "Cells Above Base", "n"])


def _runs(frame, metric):
    """A column value, NaN like epochs unless the run is done; by seed: sums must not depend on the rows' order."""
    if metric not in METRICS:
        raise ValueError(f"metric={metric!r} is unknown; allowed: {', '.join(METRICS)}")
    runs = frame.reindex(columns=[*KEYS, "seed", "status", metric, "epochs"]).rename(columns={metric: "value"})
    if (twice := runs.duplicated([*KEYS, "seed"])).any():
        raise ValueError(f"more than one run of {tuple(runs[twice].iloc[0, :4])}: choose one configuration")
    numbers = runs[["value", "epochs"]].astype(float)
    runs[["value", "epochs"]] = numbers.where((runs.status == "done") & numbers.value.notna())
    return runs.sort_values("seed", kind="stable")


def _cells(frame, metric):
    """The runs, and [((architecture, dataset), {case: Row})] in the paper's order, cases ranked, controls last."""
    runs, cells = _runs(frame, metric), {}
    for key, group in runs.groupby(KEYS, sort=False):
        n, percent, epochs = int(group.value.count()), 100 * group.value, group.epochs
        row = Row(*key, n, len(group) - n, percent.mean(), percent.std(), epochs.mean(), epochs.std())
        cells.setdefault(key[:2], []).append(row)
    orders = list(ARCHITECTURES), list(TITLES)

    def place(key):
        return [(o.index(x) if x in o else len(o), x) for x, o in zip(key, orders, strict=True)]

    return runs, [(key, {row.case: row for row in sorted(cells[key], key=_rank)}) for key in sorted(cells, key=place)]


def _rank(row):
    """Most accurate first; ties but for rounding in section 3.1's order, base after a case that equals it."""
    if row.case in CASES:
        return row.n == 0, -round(row.accuracy, 9) if row.n else 0, row.case == "base", CASES.index(row.case), ""
    return True, 1, True, CONTROL_CASES.index(row.case) if row.case in CONTROL_CASES else 99, row.case


def _ranked(cell):
    return [row for row in cell.values() if row.case in CASES[1:] and row.n]


def _some(cell, cases):
    return [cell[case] for case in cases if case in cell]


def _against(runs, architecture, dataset, cell):
    empty = Row(architecture, dataset, "", 0, 0, *[np.nan] * 4)
    top, base = next(iter(_ranked(cell)), empty), cell.get("base", empty)
    here = runs[(runs.architecture == architecture) & (runs.dataset == dataset)].dropna(subset="value")
    of_top, of_base = (here[here.case == row.case] for row in (top, base))
    gain, change = round(top.accuracy - base.accuracy, 9), round(top.epochs - base.epochs, 9)
    alternative, side = ("base > case", "less") if gain < 0 else ("case > base", "greater")
    p = _p(of_top.value, of_base.value, side), _p(of_top.epochs, of_base.epochs, "less")
    counts = top.n, top.failed, base.n, base.failed
    return Versus(architecture, dataset, top.case, *counts, gain, change, alternative, *p)


def _p(values, others, alternative):
    if min(len(values), len(others)) < 2:
        return np.nan
    return mannwhitneyu(values, others, alternative=alternative).pvalue


def _results(frame, architecture, metric, choose):
    rows, bold = [], []
    for (name, dataset), cell in _cells(frame, metric)[1]:
        for row in sorted(choose(cell), key=_rank) if name == architecture else ():
            bold += [(len(rows), "Experimental Case")] if row.case == "base" else []
            spread = [f"{m:.3f} ± {_number(s, '.3f')}" if row.n else "-" for m, s in (row[5:7], row[7:])]
            failed = f" ({row.failed} failed)" if row.failed else ""
            rows.append([_shown(dataset), _shown(row.case), *spread, f"{row.n}{failed}"])
    return _table(rows, ["Dataset", "Experimental Case", "Accuracy ± Std", "Epochs ± Std", "n"], bold, grouped=True)


def _gains(v):
    return f"[{v.gain:.2f}; {v.epochs_change:+.1f}]" if v and v.n and v.base_n else "-"


def _ours(v):
    p = _number(v.p_accuracy, ".5f", MARKS[v.alternative])
    return [*map(_shown, v[:3]), _number(v.gain, ".2f"), _number(v.epochs_change, "+.1f"), p, f"{v.n}, {v.base_n}"]
