"""What a table of means and standard deviations says of the runs behind it: how many, and on how many test items.

    python -m plasticity.audit TABLE.csv

A run's accuracy is a count out of the test items, its length a whole number of epochs, so only some numbers of runs and of items can
give the printed digits (`grim`). Exact where it excludes; that a size fits may be luck, which `lucky` measures.
"""

import argparse
import csv
import io
import sys
from collections import namedtuple
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from pathlib import Path

import numpy as np
import pandas as pd

from ..main_paper.numbers import DATASETS, RESULTS, RUNS, number
from . import grim

# A row of a table: `group` (a data set: one test set), `name`, and numbers as printed; epochs are None where a table has none.
Line = namedtuple("Line", "group name accuracy accuracy_std epochs epochs_std")
Settled = namedtuple("Settled", "size missing")  # the test items of a group, and how many accuracies its rows may lack
TRIED, SIZES = range(2, 13), range(50, 4001)  # numbers of runs, and of test items, that are tried
ASSUMPTIONS = {  # what is taken for granted about every row; ddof 1 is the divisor n - 1
    "one n a row, divisor n - 1": {"ddofs": (1,)},
    "one n a row, divisor n": {"ddofs": (0,)},
    "one n a row, either divisor": {"ddofs": (1, 0)},
    "as the first, or one accuracy fewer than lengths": {"ddofs": (1,), "missing": 1},
}
SOURCES = {  # sizes of the test set that the text or the public data suggest
    "DTD": {
        1128: "24 of 120 images a class (96 are for training: section 5)",
        1880: "the official test partition, 40 a class",
    },
    "Brain Tumor": {1430: "a fifth of Table 1's 7150", 1431: "a fifth of the 7153 published images"},
    "Fruit25": {1250: "a published folder with 50 images a class", 2250: "a fifth of Table 1's 450 a class"},
}


def published() -> list[Line]:
    """Tables 3 to 5 of Coetzer et al. 2026, grouped by data set."""
    lines = [
        Line(row.dataset, f"{row.architecture}, {row.case}", row.accuracy, row.accuracy_std, row.epochs, row.epochs_std)
        for row in RESULTS
    ]
    return sorted(lines, key=lambda line: list(DATASETS).index(line.group))


def audit_rows(table: str | Path) -> list[Line]:
    """Lines of a csv file (its path or its text): columns group or dataset, name, accuracy, accuracy_std and, if known, epochs,
    epochs_std, with all printed digits. Raises ValueError that names the row and what is expected."""
    text = Path(table).read_text(encoding="utf-8-sig") if "\n" not in str(table) else str(table)
    rows = [
        {(key or "").strip(): value or "" for key, value in row.items() if isinstance(value, str | None)}
        for row in csv.DictReader(io.StringIO(text.strip()))
    ]
    if not rows or (lacking := [name for name in Line._fields[1:4] if name not in rows[0]]):
        lacks = ", ".join(lacking) if rows else "rows"
        raise ValueError(f"the table lacks {lacks}; expected the columns group, {', '.join(Line._fields[1:])}")
    return [_line(place, row) for place, row in enumerate(rows, start=1)]


def _line(place: int, row: dict[str, str]) -> Line:
    group, where = row.get("group") or row.get("dataset", ""), f"row {place} ({row['name'].strip()})"
    no_epochs = not (row.get("epochs", "") + row.get("epochs_std", "")).strip()
    wanted = Line._fields[2:4] if no_epochs else Line._fields[2:]
    numbers = {name: number(row.get(name, ""), f"{where}, {name}") for name in wanted}
    for name, value in numbers.items():
        if value < 0:
            raise ValueError(f"{where}, {name}: {value} is negative; expected a number of at least 0")
    return Line(group.strip(), row["name"].strip(), *(numbers.get(name) for name in Line._fields[2:]))


def by_group(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """The lines of each group, in order."""
    groups = {}
    for line in lines:
        groups.setdefault(line.group, []).append(line)
    return groups


# --- how many runs ------------------------------------------------------------------------------------------------------
def runs_by_epochs(line: Line, tried: Iterable[int] = TRIED, ddof: int = 1, least: int = 1) -> set[int]:
    """The numbers of runs that the mean and std of the epochs allow; all that are tried where a line has no epochs."""
    return set(tried) if line.epochs is None else grim.possible_epochs(line.epochs, line.epochs_std, tried, ddof, least)


def runs_by_accuracy(line: Line, size: int, tried: Iterable[int] = TRIED, ddof: int = 1, whole: int = 100) -> set[int]:
    """The numbers of runs on ``size`` test items that the mean and std of the accuracy allow."""
    return {n for n in tried if grim.possible_counts(line.accuracy, line.accuracy_std, n, size, ddof, whole)}


def pairs(
    line: Line, size: int, tried: Iterable[int] = TRIED, ddof: int = 1, missing: int = 0, whole: int = 100
) -> list[tuple[int, int]]:
    """(accuracies, lengths) that a line may be the means of, if up to ``missing`` accuracies are lost; equal ones first."""
    accuracies = runs_by_accuracy(line, size, range(2, max(tried) + 1), ddof, whole)
    lengths = sorted(runs_by_epochs(line, tried, ddof))
    return [(n - lost, n) for lost in range(missing + 1) for n in lengths if n - lost in accuracies]


# --- how many test items ------------------------------------------------------------------------------------------------
def sizes_of(
    line: Line, sizes=SIZES, tried: Iterable[int] = TRIED, ddofs=(1,), missing: int = 0, whole: int = 100
) -> np.ndarray:
    """Which numbers of test items a line allows, with some number of runs that its epochs allow, too: bool [sizes]."""
    fits = np.zeros(len(sizes), bool)
    for ddof in ddofs:
        lengths = runs_by_epochs(line, tried, ddof)
        for n in sorted({n - lost for n in lengths for lost in range(missing + 1)}):
            fits |= grim.possible_sizes(line.accuracy, line.accuracy_std, n, sizes, ddof, whole)
    return fits


def candidates(lines: list[Line], sizes=SIZES, **assumed) -> list[int]:
    """The numbers of test items that every line allows, each with its own number of runs; ``assumed``: see `sizes_of`."""
    left = np.asarray(sizes)
    for line in lines:
        left = left[sizes_of(line, left, **assumed)]
    return left.tolist()


def rows_that_fit(lines: list[Line], sizes=SIZES, **assumed) -> np.ndarray:
    """How many of the lines allow each size, int [sizes]."""
    return np.sum([sizes_of(line, sizes, **assumed) for line in lines], axis=0)


def settle(lines: list[Line], sizes=SIZES, most_missing: int = 1) -> dict[str, Settled]:
    """For each group the smallest size that fits all its lines, with as few accuracies missing as possible; groups without one lack."""
    found = {}
    for group, members in by_group(lines).items():
        for missing in range(most_missing + 1):
            fits = candidates(members, sizes, missing=missing) if group not in found else []
            found |= {group: Settled(fits[0], missing)} if fits else {}
    return found


def expected_by_luck(lines: list[Line], sizes=SIZES, window: int = 201, **assumed) -> float:
    """How many sizes would fit all lines if each fitted by luck alone: a size's chance with a line is the share of the ``window``
    sizes around it that the line allows, and lines are independent."""
    box, chance = np.ones(min(window, len(sizes))), 1.0
    for line in lines:
        fits = sizes_of(line, sizes, **assumed).astype(float)
        chance = chance * np.convolve(fits, box, "same") / np.convolve(np.ones(len(sizes)), box, "same")
    return float(np.sum(chance))


def lucky(lines: list[Line], rng: np.random.Generator, draws: int = 20, **assumed) -> np.ndarray:
    """How many sizes do fit all lines by luck, int [draws]: the same lines, but digits drawn anew that no one size can have made.

    The mean moves by up to 500 of its last digit and the std by up to 50; the epochs stay, and so do the runs that they allow.
    """
    return np.array([len(candidates([_moved(line, rng) for line in lines], **assumed)) for _ in range(draws)])


def _moved(line, rng):
    def moved(printed, digits):
        last = Decimal(1).scaleb(printed.as_tuple().exponent)
        return abs(printed + int(rng.integers(-digits, digits + 1)) * last)

    std = moved(line.accuracy_std, 50) if line.accuracy_std else line.accuracy_std
    return line._replace(accuracy=moved(line.accuracy, 500), accuracy_std=std)


# --- tables -------------------------------------------------------------------------------------------------------------
def steps(line: Line, tried: Iterable[int] = TRIED, ddof: int = 1) -> pd.DataFrame:
    """The audit of a line's epochs by hand: for each number of runs the whole sums and sums of squares that the digits leave."""
    rows, (low, high) = [], grim.interval(line.epochs)
    below, above = (max(end, 0) ** 2 for end in grim.interval(line.epochs_std))
    for n in tried:
        sums, left = range(ceil(low * n), floor(high * n) + 1), []
        for total in sums:
            first, last = (end * (n - ddof) + Fraction(total**2, n) for end in (below, above))
            left += [(total, squares) for squares in range(ceil(first), floor(last) + 1)]
        said = (
            "yes" if grim.moments(line.epochs, line.epochs_std, n, ddof=ddof, least=1) else f"no: {_reason(sums, left)}"
        )
        rows.append(
            {
                "Runs": n,
                "Sum": listed(sums),
                "Sum of squares": listed((squares for _, squares in left), 4),
                "Possible": said,
            }
        )
    return pd.DataFrame(rows)


def _reason(sums, left):
    if not left:
        return "no whole sum of squares" if sums else "no whole sum"
    return (
        "no such numbers"
        if any((total + squares) % 2 == 0 for total, squares in left)
        else "one is odd, the other even"
    )


def rows_table(lines: list[Line], settled: dict[str, Settled], claimed: int = RUNS) -> pd.DataFrame:
    """What each line allows, given its group's test items: runs by epochs, by accuracy, by both, and if ``claimed`` is among them.

    "4 of 5" under both: the mean accuracy is of four runs, the mean length of five.
    """
    rows = []
    for line in lines:
        size, missing = settled[line.group]
        found = pairs(line, size, missing=missing)
        both = [str(n) if m == n else f"{m} of {n}" for m, n in found]
        lengths = {n for _, n in found}
        rows.append(
            {
                "Dataset": line.group,
                "Row": line.name,
                "Runs by epochs": listed(runs_by_epochs(line)),
                "Runs by accuracy": listed(runs_by_accuracy(line, size)),
                "Runs by both": ", ".join(both) or "none",
                f"{claimed} runs": "no" if claimed not in lengths else "yes" if lengths == {claimed} else "possible",
            }
        )
    return pd.DataFrame(rows)


def sizes_table(lines: list[Line], sizes=SIZES) -> pd.DataFrame:
    """For each group and each of `ASSUMPTIONS`: the sizes that fit all its lines, and how many would by luck (`expected_by_luck`)."""
    rows = []
    for group, members in by_group(lines).items():
        for name, assumed in ASSUMPTIONS.items():
            found = listed(candidates(members, sizes, **assumed), 6)
            rows.append(
                {
                    "Dataset": group,
                    "Rows": len(members),
                    "Assumed": name,
                    "Test items": found,
                    "Expected by luck": f"{expected_by_luck(members, sizes, **assumed):.1g}",
                }
            )
    return pd.DataFrame(rows)


def sources_table(lines: list[Line]) -> pd.DataFrame:
    """The sizes that the text or the public data suggest, and how many of the data set's rows each fits."""
    rows = []
    for group, members in by_group(lines).items():
        for size, source in SOURCES.get(group, {}).items():
            fits = {
                missing: sum(bool(sizes_of(line, [size], missing=missing)[0]) for line in members) for missing in (0, 1)
            }
            rows.append(
                {
                    "Dataset": group,
                    "Test items": size,
                    "Where from": source,
                    "Rows": len(members),
                    "Rows that fit": fits[0],
                    "Or one accuracy fewer": fits[1],
                }
            )
    return pd.DataFrame(rows)


def recovered(line: Line, n: int, size: int, ddof: int = 1) -> list[tuple[int, ...]]:
    """All sets of n counts of right answers, out of ``size`` items, that give the printed accuracy and std. Slow for n above 5."""
    return [
        counts
        for total, squares in grim.possible_counts(line.accuracy, line.accuracy_std, n, size, ddof)
        for counts in grim.multisets(n, total, squares, 0, size)
    ]


def recovered_table(lines: list[Line], settled: dict[str, Settled], most: int = 5) -> pd.DataFrame:
    """For each line that may be of ``most`` runs or fewer: how many sets of counts its accuracy can be, of its fewest runs, and one."""
    rows = []
    for line in lines:
        size, missing = settled[line.group]
        n = min(accuracies for accuracies, _ in pairs(line, size, missing=missing))
        if n <= most:
            found = recovered(line, n, size)
            rows.append(
                {
                    "Dataset": line.group,
                    "Row": line.name,
                    "Runs": str(n),
                    "Sets": str(len(found)),
                    "One of them": ", ".join(map(str, found[0])),
                }
            )
    return pd.DataFrame(rows)


def recovered_epochs(line: Line, n: int, ddof: int = 1, least: int = 1) -> list[tuple[int, ...]]:
    """All sets of n numbers of epochs that give the printed mean and std. Slow for n above 5."""
    return [
        lengths
        for total, squares in grim.moments(line.epochs, line.epochs_std, n, ddof=ddof, least=least)
        for lengths in grim.multisets(n, total, squares, least, total)
    ]


def listed(values: Iterable[int], most: int = 99) -> str:
    """Numbers in words: "5, 10", "2 to 12", "none"."""
    values = sorted(set(values))
    if len(values) > 3 and values == [*range(values[0], values[-1] + 1)]:
        return f"{values[0]} to {values[-1]}"
    return (
        ", ".join(map(str, values[:most])) + (f" and {len(values) - most} more" if len(values) > most else "") or "none"
    )


def main(arguments: list[str] | None = None) -> int:
    """Audit a csv file and print what fits. Exit 0, or 2 for a table that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m plasticity.audit", description=__doc__.split("\n")[0])
    parser.add_argument(
        "table", help="csv with the columns group, name, accuracy, accuracy_std, epochs, epochs_std; digits as printed"
    )
    parser.add_argument("--runs", nargs=2, type=int, default=(TRIED[0], TRIED[-1]), metavar=("LEAST", "MOST"))
    parser.add_argument(
        "--sizes", nargs=2, type=int, default=(SIZES[0], SIZES[-1]), metavar=("LEAST", "MOST"), help="test items"
    )
    parser.add_argument(
        "--whole", type=int, default=100, choices=(1, 100), help="how the accuracy of a perfect run is printed"
    )
    parser.add_argument("--missing", type=int, default=0, help="accuracies that a row may have fewer than lengths")
    options = parser.parse_args(arguments)
    tried, sizes = (range(low, high + 1) for low, high in (options.runs, options.sizes))
    assumed = {"tried": tried, "missing": options.missing, "whole": options.whole}
    try:
        lines = audit_rows(Path(options.table))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for group, members in by_group(lines).items():
        found = candidates(members, sizes, **assumed)
        print(f"{group or 'all rows'}: test items that fit all {len(members)} rows: {listed(found, 12)}")
        for line in members:
            shown = (
                [f"{n} (accuracies {m})" if m != n else f"{n}" for m, n in pairs(line, found[0], **assumed)]
                if found
                else []
            )
            also = f"; with {found[0]} test items: {', '.join(shown)}" if found else ""
            print(f"  {line.name}: runs by epochs: {listed(runs_by_epochs(line, tried))}{also}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
