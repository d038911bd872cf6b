"""Whether runs are long enough to say something: what the fresh network fits, and what depends on a phase's length."""

import pandas as pd

from ...analysis.frames import only, run_table
from ...analysis.paired import difference
from ...datasets.root import project_root
from .sizes import FITS
from .tables import NOTHING, format_spread, text_table

COMMITTED = "reference/companions/runs_55.csv"


def fitted(fresh: pd.DataFrame) -> pd.DataFrame:
    """One row per network and case of runs without a warm start: its training accuracy, and whether it reaches `FITS`,
    mean over seeds."""
    rows = []
    for (network, dataset, method), runs in fresh.groupby(["network", "dataset", "method"], sort=False):
        fits = "yes" if runs.train_accuracy.mean() >= FITS else "no"
        row = {"Network": network, "Data Set": dataset, "With": "nothing" if method == "base" else method}
        row |= {"Fits (%)": format_spread(runs.train_accuracy), "At Least 80%": fits}
        rows.append(row | {"Test (%)": format_spread(runs.accuracy), "n": len(runs)})
    return text_table(rows)


def in_words(fresh: pd.DataFrame) -> str:
    """What the fresh networks' fit means for the verdicts below, as a sentence or two."""
    means = fresh.groupby(["network", "method"], sort=False).train_accuracy.mean().dropna()
    if means.empty:
        return "**No fresh network was trained, so nothing below says anything about a loss of plasticity.**"
    short = [
        f"{name} ({'nothing' if method == 'base' else method}: {100 * fit:.3g}%)"
        for (name, method), fit in means.items()
        if fit < FITS
    ]
    if not short:
        return f"Every fresh network fits at least {FITS:.0%} of its training data, the least {100 * means.min():.0f}%."
    return (
        f"**Too short: {len(short)} of {len(means)} fresh networks fit less than {FITS:.0%} of their training data: "
        f"{', '.join(short)}. What has not learned yet has no plasticity to lose: the verdicts below say nothing about "
        f"them.** Train longer, or take fewer data (plasticity/studies/companions/sizes.py)."
    )


def committed() -> pd.DataFrame:
    """The `run_table` of the study of lengths as it is in the checkout; no rows where there is none."""
    root = project_root()
    path = root / COMMITTED if root else None
    return pd.read_csv(path) if path and path.is_file() else run_table([])


def by_length(frame: pd.DataFrame) -> pd.DataFrame:
    """One row per network and length of a phase (epochs): what the fresh network fits, test accuracies, and each method
    minus nothing more, points."""
    rows = []
    for (network, epochs), runs in frame.groupby(["network", "max_epochs"], sort=False):
        fresh, warm = only(runs, kind="single"), only(runs, kind="warm_start")
        plain = only(warm, method=NOTHING)
        row = {"Network": network, "Epochs": str(epochs), "Fresh Fits (%)": format_spread(fresh.train_accuracy)}
        row |= {
            "Nothing More (%)": format_spread(plain.accuracy),
            "Fresh, Minus Nothing More": str(difference(fresh, plain)),
        }
        for method, part in warm[warm.method != NOTHING].groupby("method", sort=False):
            row[f"{named(method)}, Minus Nothing More"] = str(difference(part, plain))
        rows.append(row | {"n": len(plain)})
    return text_table(rows)


def named(method: str) -> str:
    """A method of the study of lengths without what all have."""
    return method.replace(f" + {NOTHING}", "").replace(NOTHING, "nothing more")
