"""Which numbers of runs, and of test items, fit a table of published means and standard deviations.

    plasticity audit table.csv --runs 2 12 --sizes 50 4000

The table is a csv file with the columns group, name, accuracy, accuracy_std, epochs, epochs_std; digits as printed.
"""

from pathlib import Path

REFUSED = (ValueError, OSError)


def arguments(parser):
    limits = {"nargs": 2, "type": int, "metavar": ("LEAST", "MOST")}
    parser.add_argument("table", help="the csv file")
    parser.add_argument("--runs", default=(2, 12), help="numbers of runs to try (default: 2 12)", **limits)
    parser.add_argument("--sizes", default=(50, 4000), help="numbers of test items to try (default: 50 4000)", **limits)
    whole = "how the accuracy of a perfect run is printed (default: 100)"
    parser.add_argument("--whole", type=int, default=100, choices=(1, 100), help=whole)
    parser.add_argument("--missing", type=int, default=0, help="accuracies that a row may have fewer than lengths")


def main(options) -> None:
    from ..studies.audit.rows import audit_rows, by_group, candidates, listed, pairs, runs_by_epochs

    tried, sizes = (range(low, high + 1) for low, high in (options.runs, options.sizes))
    assumed = {"tried": tried, "missing": options.missing, "whole": options.whole}
    for group, members in by_group(audit_rows(Path(options.table))).items():
        found = candidates(members, sizes, **assumed)
        print(f"{group or 'all rows'}: test items that fit all {len(members)} rows: {listed(found, 12)}")
        for line in members:
            shown = (
                [f"{n}" if m == n else f"{n} (accuracies {m})" for m, n in pairs(line, found[0], **assumed)]
                if found
                else []
            )
            also = f"; with {found[0]} test items: {', '.join(shown)}" if found else ""
            print(f"  {line.name}: runs by epochs: {listed(runs_by_epochs(line, tried))}{also}")
