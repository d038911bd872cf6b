"""The paper's tables 1 to 6, its test, and summaries of runs, as pure functions of a frame; `writing` writes them.

Data sets and architectures keep the paper's order.
"""

from collections import namedtuple

import numpy as np
import pandas as pd
from scipy.stats import mannwhitneyu

from ..data import TITLES
from ..networks.table import ARCHITECTURES, FAMILIES
from ..profiles import CASES, CONTROL_CASES
from .writing import format_number, in_words, text_table

KEYS = ["architecture", "dataset", "case"]
RESULTS = {"simplenet": "table3", "resnet": "table4", "vit": "table5"}  # the paper's tables of results, by family
MIRRORS = {
    "DTD": "photos photos_64 photos_128 dtd dtd_official dtd_grouped",
    "Brain Tumor": "elpv elpv_64 elpv_128 brain_tumor brain_tumor_grouped",
    "Fruit25": "fruits fruit25 fruit25_grouped",
}
PAPER_NAMES = {name: paper for paper, names in MIRRORS.items() for name in names.split()}
FAMILY = {name: FAMILIES[network.family] for name, network in ARCHITECTURES.items()}
THEIRS, OURS = ("Case", "Gain", "Epochs", "p"), ("Case", "Gain", "Epochs", "p", "n")
BESIDE = ["Architecture", "Dataset", *(f"Paper: {name}" for name in THEIRS), "Our Model", "Our Data"]
BESIDE += [f"Ours: {name}" for name in OURS]
MARKS = {"case > base": "", "base > case": " (base > case)"}  # which accuracy the test takes to be the greater one
Row = namedtuple("Row", "architecture dataset case n failed accuracy accuracy_std epochs epochs_std")
VERSUS = "architecture dataset case n failed base_n base_failed gain epochs_change alternative p_accuracy p_epochs"
Versus = namedtuple("Versus", VERSUS)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per architecture, data set and case, by accuracy, as in section 3.4 of Coetzer et al. 2026.

    n done and failed runs; mean and std (n - 1) of accuracy in percent (accuracy, accuracy_std) and of epochs. Failed
    runs are counted, never averaged. Raises ValueError if a seed occurs twice in a case.
    """
    return pd.DataFrame([row for cell in _cells(_runs(frame)).values() for row in cell.values()], columns=Row._fields)


def versus_base(frame: pd.DataFrame) -> pd.DataFrame:
    """Section 4 of Coetzer et al. 2026: the best of the twelve cases against base, one-sided Mann-Whitney U.

    ``alternative`` is "case > base" in accuracy, and "base > case" where base is on top (section 4.1); in epochs it is
    always that the case takes fewer. p as by scipy's "auto": exact if a side has at most 8 runs and nothing ties; NaN
    with fewer than two runs on a side. gain in points, epochs_change in epochs. Raises as ``summary`` does.
    """
    runs = _runs(frame)
    return pd.DataFrame([_against(runs, *key, cell) for key, cell in _cells(runs).items()], columns=Versus._fields)


def table1(datasets) -> pd.DataFrame:
    """Table 1 of Coetzer et al. 2026: classes, images per class (a number or a range) and total, of data sets."""
    rows = []
    for data in datasets:
        counts = np.bincount(np.asarray(data.labels), minlength=len(data.class_names))
        each = "-".join(map(str, sorted({counts.min(), counts.max()})))
        rows.append([in_words(data.name), len(data.class_names), each, counts.sum()])
    return text_table(rows, ["Dataset", "Number of Classes", "Images per Class", "Total Images"])


def table2(architectures: dict[str, int]) -> pd.DataFrame:
    """Table 2 of Coetzer et al. 2026: name of an architecture -> its number of trainable parameters."""
    rows = [[in_words(name), f"{n / 1e6:.{1 if n >= 1e6 else 3}f} million"] for name, n in architectures.items()]
    return text_table(rows, ["Model", "Number of Parameters"])


def results_name(architecture: str) -> str:
    """ "table3" to "table5" for the families of the paper's tables, ``table_<architecture>`` for others."""
    return RESULTS.get(ARCHITECTURES[architecture].family, f"table_{architecture}")


def results_table(frame: pd.DataFrame, architecture: str) -> pd.DataFrame:
    """Tables 3 to 5 of Coetzer et al. 2026: per data set the three most accurate cases and base (bold), by accuracy."""
    return _results(frame, architecture, lambda cell: [*_ranked(cell)[:3], *_some(cell, ["base"])])


def all_cases(frame: pd.DataFrame, architecture: str) -> pd.DataFrame:
    """Tables 3 to 5 of Coetzer et al. 2026 with all thirteen cases; below them, unranked, the controls."""
    return _results(frame, architecture, lambda cell: _some(cell, (*CASES, *CONTROL_CASES)))


def table6(frame: pd.DataFrame) -> pd.DataFrame:
    """Table 6 of Coetzer et al. 2026: [gain in accuracy; in epochs] of the best case; bold if both are improvements."""
    cells = {v[:2]: v for v in versus_base(frame).itertuples(index=False)}
    names, datasets = (list(dict.fromkeys(key[part] for key in cells)) for part in (0, 1))
    rows = [[in_words(data), *(_gains(cells.get((name, data))) for name in names)] for data in datasets]
    better = [key for key, v in cells.items() if v.gain > 0 and v.epochs_change < 0]
    return text_table(
        rows, ["Dataset", *map(in_words, names)], sorted((datasets.index(d), in_words(name)) for name, d in better)
    )


def beside_paper(frame: pd.DataFrame, published: pd.DataFrame, p_values) -> pd.DataFrame:
    """The best case against base in Coetzer et al. 2026 (Tables 3 to 5; p of accuracy, section 4) beside ``frame``'s.

    ``published``, ``p_values``: of the main paper (`numbers.frame()`, `numbers.P_VALUES`). Data sets of the miniature
    world stand beside those they mirror, networks the paper lacks at the end. n: the best case's, base's. "-": there is
    none.
    """
    tested = {(p.architecture, p.dataset, p.case): p for p in p_values if p.metric == "accuracy"}
    ours, rows = list(versus_base(frame).itertuples(index=False)), []
    for key, cell in published.groupby(["architecture", "dataset"], sort=False):
        cell = cell.set_index("case")[["accuracy", "epochs"]]
        top = cell.drop("base").accuracy.idxmax()
        gain, change = cell.loc[top] - cell.loc["base"]
        p = tested.get((*key, top))
        p = f"{p.p}{MARKS['base > case' if p.alternative == 'less' else 'case > base']}" if p else "-"
        theirs = [*key, in_words(top), f"{gain:.2f}", f"{change:+.1f}", p]
        found = [v for v in ours if (FAMILY.get(v.architecture), PAPER_NAMES.get(v.dataset)) == key]
        rows += [theirs + _ours(v) for v in found] or [theirs + ["-"] * 7]
    for v in ours:
        family = FAMILY.get(v.architecture, v.architecture)
        if family not in set(published.architecture):
            rows.append([family, PAPER_NAMES.get(v.dataset, v.dataset), *"----", *_ours(v)])
    return text_table(rows, BESIDE)


def transfer(frame: pd.DataFrame) -> pd.DataFrame:
    """Base against the control ``scratch``, one row per architecture and data set: mean ± std in percent, n, and the
    gain."""
    rows = []
    for key, cell in _cells(_runs(frame)).items():
        sides = [row for row in _some(cell, ("base", "scratch")) if row.n]
        if len(sides) == 2:
            texts = [f"{side.accuracy:.2f} ± {format_number(side.accuracy_std, '.2f')}" for side in sides]
            gain = sides[0].accuracy - sides[1].accuracy
            rows.append([*map(in_words, key), *texts, f"{gain:+.2f}", ", ".join(str(side.n) for side in sides)])
    return text_table(rows, ["Architecture", "Dataset", "Base ± Std", "Scratch ± Std", "Gain", "n"], grouped=True)


def effects(frame: pd.DataFrame) -> pd.DataFrame:
    """Accuracy minus base of the same seed, in points: by architecture and over all, for each case and control.

    ``Cells Above Base`` counts the architecture x data set cells whose mean difference is positive; n counts pairs.
    """
    runs = _runs(frame).dropna(subset="accuracy")
    wide = runs.pivot_table(index=["architecture", "dataset", "seed"], columns="case", values="accuracy")
    networks = [name for name in ARCHITECTURES if name in set(runs.architecture)]
    rows = []
    for case in [case for case in (*CASES[1:], *CONTROL_CASES) if case in wide and "base" in wide]:
        pairs = (100 * (wide[case] - wide["base"])).dropna()
        cells = pairs.groupby(["architecture", "dataset"]).mean()
        means = [
            format_number(pairs.xs(name).mean(), "+.2f") if name in pairs.index.levels[0] else "-" for name in networks
        ]
        above = f"{(cells > 0).sum()} of {len(cells)}"
        rows.append([in_words(case), *means, format_number(pairs.mean(), "+.2f"), above, len(pairs)])
    return text_table(rows, ["Case", *map(in_words, networks), "All", "Cells Above Base", "n"])


def _runs(frame):
    """Accuracy and epochs, NaN unless the run is done; by seed: sums must not depend on the rows' order."""
    runs = frame.reindex(columns=[*KEYS, "seed", "status", "accuracy", "epochs"])
    if (twice := runs.duplicated([*KEYS, "seed"])).any():
        raise ValueError(f"more than one run of {tuple(runs[twice].iloc[0, :4])}: choose one configuration")
    numbers = runs[["accuracy", "epochs"]].astype(float)
    runs[["accuracy", "epochs"]] = numbers.where((runs.status == "done") & numbers.accuracy.notna())
    return runs.sort_values("seed", kind="stable")


def _cells(runs):
    """{(architecture, dataset): {case: Row}} in the paper's order, cases ranked, controls last."""
    cells = {}
    for key, group in runs.groupby(KEYS, sort=False):
        n, percent, epochs = int(group.accuracy.count()), 100 * group.accuracy, group.epochs
        row = Row(*key, n, len(group) - n, percent.mean(), percent.std(), epochs.mean(), epochs.std())
        cells.setdefault(key[:2], []).append(row)
    orders = list(ARCHITECTURES), list(TITLES)

    def place(key):
        return [
            (order.index(name) if name in order else len(order), name) for name, order in zip(key, orders, strict=True)
        ]

    return {key: {row.case: row for row in sorted(cells[key], key=_rank)} for key in sorted(cells, key=place)}


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
    here = runs[(runs.architecture == architecture) & (runs.dataset == dataset)].dropna(subset="accuracy")
    of_top, of_base = (here[here.case == row.case] for row in (top, base))
    gain, change = round(top.accuracy - base.accuracy, 9), round(top.epochs - base.epochs, 9)
    alternative, side = ("base > case", "less") if gain < 0 else ("case > base", "greater")
    p = _p(of_top.accuracy, of_base.accuracy, side), _p(of_top.epochs, of_base.epochs, "less")
    return Versus(*top[:5], base.n, base.failed, gain, change, alternative, *p)


def _p(values, others, alternative):
    if min(len(values), len(others)) < 2:
        return np.nan
    return mannwhitneyu(values, others, alternative=alternative).pvalue


def _results(frame, architecture, choose):
    rows, bold = [], []
    for (name, dataset), cell in _cells(_runs(frame)).items():
        for row in sorted(choose(cell), key=_rank) if name == architecture else ():
            bold += [(len(rows), "Experimental Case")] if row.case == "base" else []
            spread = [f"{m:.3f} ± {format_number(s, '.3f')}" if row.n else "-" for m, s in (row[5:7], row[7:])]
            failed = f" ({row.failed} failed)" if row.failed else ""
            rows.append([in_words(dataset), in_words(row.case), *spread, f"{row.n}{failed}"])
    return text_table(rows, ["Dataset", "Experimental Case", "Accuracy ± Std", "Epochs ± Std", "n"], bold, grouped=True)


def _gains(v):
    return f"[{v.gain:.2f}; {v.epochs_change:+.1f}]" if v and v.n and v.base_n else "-"


def _ours(v):
    p = format_number(v.p_accuracy, ".5f", MARKS[v.alternative])
    return [
        *map(in_words, v[:3]),
        format_number(v.gain, ".2f"),
        format_number(v.epochs_change, "+.1f"),
        p,
        f"{v.n}, {v.base_n}",
    ]
