"""What a table of means and standard deviations says of the runs behind it: how many, and on how many test items.

A run's accuracy is a count out of the test items, its length a whole number of epochs, so only some numbers of runs and
of items can give the printed digits (`grim`). Exact where it excludes; that a size fits may be luck
(`expected_by_luck`). `report` audits anybody's table.
"""

from collections import namedtuple
from collections.abc import Iterable
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pandas as pd

from ..main_paper.numbers import DATASETS, RESULTS, RUNS
from . import grim
from .reading import COLUMNS, read_table

# A row of a table: `group` (a data set: one test set), `name`, and numbers as printed; epochs None if there are none.
Line = namedtuple("Line", "group name accuracy accuracy_std epochs epochs_std")
Settled = namedtuple("Settled", "size missing")  # the test items of a group, and how many accuracies its rows may lack
TRIED, SIZES = range(2, 13), range(50, 4001)  # numbers of runs, and of test items, that are tried
ASSUMPTIONS = {  # what is taken for granted about every row; ddof 1 is the divisor n - 1
    "one n a row, divisor n - 1": {"ddofs": (1,)},
    "one n a row, divisor n": {"ddofs": (0,)},
    "one n a row, either divisor": {"ddofs": (1, 0)},
    "as the first, or one accuracy fewer than lengths": {"missing": 1},
}
SOURCES = {  # sizes of the test set that the text or the public data suggest
    ("DTD", 1128): "24 of 120 images a class (96 are for training: section 5)",
    ("DTD", 1880): "the official test partition, 40 a class",
    ("Brain Tumor", 1430): "a fifth of Table 1's 7150",
    ("Brain Tumor", 1431): "a fifth of the 7153 published images",
    ("Fruit25", 1250): "a published folder with 50 images a class",
    ("Fruit25", 2250): "a fifth of Table 1's 450 a class",
}
WINDOW = 201  # sizes around one, whose share that fits is its chance to fit
ENUMERATED = 5  # the most runs of a row of which all possible results are listed


def published() -> list[Line]:
    """Tables 3 to 5 of Coetzer et al. 2026, grouped by data set."""
    lines = [
        Line(row.dataset, f"{row.architecture}, {row.case}", *(getattr(row, name) for name in Line._fields[2:]))
        for row in RESULTS
    ]
    return sorted(lines, key=lambda line: list(DATASETS).index(line.group))


def audit_rows(table: str | Path) -> list[Line]:
    """Lines of a csv file: columns group or dataset, name, accuracy, accuracy_std and, if known, epochs, epochs_std,
    with all printed digits. Raises ValueError that names the row and what is expected, or OSError."""
    return [_line(place, row) for place, row in enumerate(read_table(table), start=1)]


def _line(place: int, row: dict[str, str]) -> Line:
    group, where = row.get("group") or row.get("dataset", ""), f"row {place} ({row['name'].strip()})"
    no_epochs = not (row.get("epochs", "") + row.get("epochs_std", "")).strip()
    wanted = Line._fields[2:4] if no_epochs else Line._fields[2:]
    numbers = {name: grim.number(row.get(name, ""), f"{where}, {name}") for name in wanted}
    for name, value in numbers.items():
        if value < 0:
            raise ValueError(f"{where}, {name}: {value} is negative; expected a number of at least 0")
    return Line(group.strip(), row["name"].strip(), *(numbers.get(name) for name in Line._fields[2:]))


def by_group(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """The lines of each group, in order."""
    groups = dict.fromkeys(line.group for line in lines)
    return {group: [line for line in lines if line.group == group] for group in groups}


# --- how many runs ----------------------------------------------------------------------------------------------------
def runs_by_epochs(line: Line, tried: Iterable[int] = TRIED, ddof: int = 1, least: int = 1) -> set[int]:
    """The numbers of runs that the mean and std of the epochs allow; all that are tried where a line has no epochs."""
    if line.epochs is None:
        return set(tried)
    return grim.possible_epochs(line.epochs, line.epochs_std, tried, ddof, least)


def runs_by_accuracy(line: Line, size: int, tried: Iterable[int] = TRIED, whole: int = 100) -> set[int]:
    """The numbers of runs on ``size`` test items that the mean and std of the accuracy allow."""
    return {n for n in tried if grim.possible_counts(line.accuracy, line.accuracy_std, n, size, whole=whole)}


def pairs(line: Line, size: int, tried: Iterable[int] = TRIED, missing: int = 0, whole: int = 100) -> list[tuple]:
    """(accuracies, lengths) that a line may be the means of, if up to ``missing`` accuracies are lost."""
    accuracies = runs_by_accuracy(line, size, range(2, max(tried) + 1), whole)
    lengths = sorted(runs_by_epochs(line, tried))
    return [(n - lost, n) for lost in range(missing + 1) for n in lengths if n - lost in accuracies]


# --- how many test items ----------------------------------------------------------------------------------------------
def sizes_of(line: Line, sizes=SIZES, tried=TRIED, ddofs=(1,), missing: int = 0, whole: int = 100) -> np.ndarray:
    """Which numbers of test items a line allows, with some number of runs that its epochs allow, too: bool [sizes]."""
    fits = np.zeros(len(sizes), bool)
    for ddof in ddofs:
        lengths = runs_by_epochs(line, tried, ddof)
        for n in sorted({n - lost for n in lengths for lost in range(missing + 1)}):
            fits |= grim.possible_sizes(line.accuracy, line.accuracy_std, n, sizes, ddof, whole)
    return fits


def candidates(lines: list[Line], sizes=SIZES, **assumed) -> list[int]:
    """The numbers of test items that every line allows, each with its own number of runs."""
    left = np.asarray(sizes)
    for line in lines:
        left = left[sizes_of(line, left, **assumed)]
    return left.tolist()


def rows_that_fit(lines: list[Line], sizes=SIZES, **assumed) -> np.ndarray:
    """How many of the lines allow each size, int [sizes]."""
    return np.sum([sizes_of(line, sizes, **assumed) for line in lines], axis=0)


def settle(lines: list[Line]) -> dict[str, Settled]:
    """For each group the smallest size that fits all its lines, if need be with one accuracy missing."""
    found = {}
    for group, members in by_group(lines).items():
        for missing in (0, 1):
            fits = candidates(members, missing=missing) if group not in found else []
            found |= {group: Settled(fits[0], missing)} if fits else {}
    return found


def expected_by_luck(lines: list[Line], **assumed) -> float:
    """How many sizes would fit all lines if each fitted by luck alone: a size's chance with a line is the share of the
    `WINDOW` sizes around it that the line allows, and lines are independent."""
    box, chance = np.ones(WINDOW), 1.0
    for line in lines:
        fits = sizes_of(line, **assumed).astype(float)
        chance = chance * np.convolve(fits, box, "same") / np.convolve(np.ones(len(SIZES)), box, "same")
    return float(np.sum(chance))


# --- tables -----------------------------------------------------------------------------------------------------------
def steps(line: Line) -> pd.DataFrame:
    """The audit of a line's epochs by hand: the whole sums and sums of squares that its digits leave."""
    rows, (low, high) = [], grim.interval(line.epochs)
    below, above = (max(end, 0) ** 2 for end in grim.interval(line.epochs_std))
    for n in TRIED:
        sums, left = range(ceil(low * n), floor(high * n) + 1), []
        for total in sums:
            first, last = (end * (n - 1) + Fraction(total**2, n) for end in (below, above))
            left += [(total, squares) for squares in range(ceil(first), floor(last) + 1)]
        said = "yes" if n in runs_by_epochs(line, [n]) else f"no: {_reason(sums, left)}"
        squares = listed((squares for _, squares in left), 4)
        rows.append({"Runs": n, "Sum": listed(sums), "Sum of squares": squares, "Possible": said})
    return pd.DataFrame(rows)


def _reason(sums, left):
    if not left:
        return "no whole sum of squares" if sums else "no whole sum"
    return (
        "no such numbers"
        if any((total + squares) % 2 == 0 for total, squares in left)
        else "one is odd, the other even"
    )


def rows_table(lines: list[Line], settled: dict[str, Settled]) -> pd.DataFrame:
    """What each line allows, given its group's test items: runs by epochs, by accuracy, by both, and if `RUNS` is among
    them.

    "4 of 5" under both: the mean accuracy is of four runs, the mean length of five.
    """
    rows = []
    for line in lines:
        size, missing = settled[line.group]
        found = pairs(line, size, missing=missing)
        both = [str(n) if m == n else f"{m} of {n}" for m, n in found]
        lengths = {n for _, n in found}
        row = {
            "Dataset": line.group,
            "Row": line.name,
            "Runs by epochs": listed(runs_by_epochs(line)),
            "Runs by accuracy": listed(runs_by_accuracy(line, size)),
            "Runs by both": ", ".join(both) or "none",
            f"{RUNS} runs": "no" if RUNS not in lengths else "yes" if lengths == {RUNS} else "possible",
        }
        rows.append(row)
    return pd.DataFrame(rows)


def sizes_table(lines: list[Line]) -> pd.DataFrame:
    """For each group and each of `ASSUMPTIONS`: the sizes that fit all its lines, and how many would by luck."""
    rows = []
    for group, members in by_group(lines).items():
        for name, assumed in ASSUMPTIONS.items():
            found, luck = listed(candidates(members, **assumed), 6), f"{expected_by_luck(members, **assumed):.1g}"
            rows.append([group, len(members), name, found, luck])
    return pd.DataFrame(rows, columns=["Dataset", "Rows", "Assumed", "Test items", "Expected by luck"])


def sources_table(lines: list[Line]) -> pd.DataFrame:
    """The sizes that the text or the public data suggest, and how many of the data set's rows each fits."""
    rows, groups = [], by_group(lines)
    for (group, size), source in SOURCES.items():
        fits = [int(rows_that_fit(groups[group], [size], missing=missing)[0]) for missing in (0, 1)]
        rows.append([group, size, source, len(groups[group]), *fits])
    columns = ["Dataset", "Test items", "Where from", "Rows", "Rows that fit", "Or one accuracy fewer"]
    return pd.DataFrame(rows, columns=columns)


def recovered(line: Line, n: int, size: int) -> list[tuple[int, ...]]:
    """All sets of n counts of right answers, out of ``size`` items, that give the printed numbers; slow above 5."""
    found = grim.possible_counts(line.accuracy, line.accuracy_std, n, size)
    return [counts for total, squares in found for counts in grim.multisets(n, total, squares, 0, size)]


def recovered_epochs(line: Line, n: int) -> list[tuple[int, ...]]:
    """All sets of n numbers of epochs that give the printed mean and std; slow above 5."""
    found = grim.moments(line.epochs, line.epochs_std, n, least=1)
    return [lengths for total, squares in found for lengths in grim.multisets(n, total, squares, 1, total)]


def recovered_table(lines: list[Line], settled: dict[str, Settled]) -> pd.DataFrame:
    """For each line that may be of `ENUMERATED` runs or fewer: how many sets of counts its accuracy can be, of its
    fewest runs, and one of them."""
    rows = []
    for line in lines:
        size, missing = settled[line.group]
        n = min(accuracies for accuracies, _ in pairs(line, size, missing=missing))
        if n <= ENUMERATED:
            found = recovered(line, n, size)
            rows.append([line.group, line.name, str(n), str(len(found)), ", ".join(map(str, found[0]))])
    return pd.DataFrame(rows, columns=["Dataset", "Row", "Runs", "Sets", "One of them"])


def listed(values: Iterable[int], most: int = 99) -> str:
    """Numbers in words: "5, 10", "2 to 12", "none"."""
    values = sorted(set(values))
    if len(values) > 3 and values == [*range(values[0], values[-1] + 1)]:
        return f"{values[0]} to {values[-1]}"
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more or "none"


def report(table: str | Path, tried=TRIED, sizes=SIZES, missing: int = 0, whole: int = 100) -> list[str]:
    """What fits a csv file (see `audit_rows`), in lines of text: test items of each group, runs of each row.

    ``tried`` and ``sizes``: the numbers of runs and of test items that are tried; ``missing``: accuracies that a row
    may have fewer than lengths; ``whole``: how a perfect accuracy is printed, 100 or 1. Raises ValueError, or OSError.
    """
    rows = read_table(table)
    lines = [_line(place, row) for place, row in enumerate(rows, start=1)]
    _check_whole(lines, whole)
    unused = [name for name in rows[0] if name and name not in COLUMNS]
    said = [f"columns that are not used: {', '.join(unused)}"] if unused else []
    assumed = {"tried": tried, "missing": missing, "whole": whole}
    for group, members in by_group(lines).items():
        found = candidates(members, sizes, **assumed)
        said.append(f"{group or 'all rows'}: test items that fit all {len(members)} rows: {listed(found, 12)}")
        for line in members:
            fits = pairs(line, found[0], **assumed) if found else []
            shown = ", ".join(f"{n}" if m == n else f"{n} (accuracies {m})" for m, n in fits)
            also = f"; with {found[0]} test items: {shown}" if found else ""
            said.append(f"  {line.name}: runs by epochs: {listed(runs_by_epochs(line, tried))}{also}")
    return said


def _check_whole(lines: list[Line], whole: int) -> None:
    """Raises ValueError for accuracies in percent where shares are expected, or the other way round."""
    best = max(lines, key=lambda line: line.accuracy)
    if best.accuracy > whole or best.accuracy <= 1 < whole:
        allowed = "whole 1 (--whole) for shares up to 1, whole 100 for accuracies in percent"
        raise ValueError(f"the best accuracy is {best.accuracy} ({best.name}), with whole {whole}; expected {allowed}")
