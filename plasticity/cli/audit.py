"""Which numbers of runs, and of test items, fit a table of published means and standard deviations.

Example:
    plasticity audit table.csv --runs 2 12 --sizes 50 4000

The table is a csv file in UTF-8 with the columns group, name, accuracy, accuracy_std, epochs, epochs_std; digits as
printed, with a decimal point, without % and ±.
"""

REFUSED = (ValueError, FileNotFoundError, IsADirectoryError, PermissionError)


def arguments(parser):
    limits = {"nargs": 2, "type": int, "metavar": ("LEAST", "MOST")}
    parser.add_argument("table", help="the csv file")
    parser.add_argument("--runs", default=(2, 12), help="numbers of runs to try (default: 2 12)", **limits)
    parser.add_argument("--sizes", default=(50, 4000), help="numbers of test items to try (default: 50 4000)", **limits)
    whole = "how the accuracy of a perfect run is printed (default: 100)"
    parser.add_argument("--whole", type=int, default=100, choices=(1, 100), help=whole)
    parser.add_argument("--missing", type=int, default=0, help="accuracies that a row may have fewer than lengths")


def main(options) -> None:
    from ..studies.audit.rows import report

    for name, (least, most) in {"runs": (2, 100), "sizes": (1, 1_000_000)}.items():
        low, high = getattr(options, name)
        if not least <= low <= high <= most:
            raise ValueError(f"--{name} {low} {high}: expected two numbers from {least} to {most:,}, the smaller first")
    if not 0 <= options.missing < options.runs[1]:
        raise ValueError(f"--missing {options.missing}: expected a number from 0 to {options.runs[1] - 1}")
    tried, sizes = (range(low, high + 1) for low, high in (options.runs, options.sizes))
    print("\n".join(report(options.table, tried, sizes, options.missing, options.whole)))
