"""How far to trust the audit: tables made from known runs, printed as a paper prints them, and audited.

`spoil` breaks what the audit takes for granted: "batches" averages a run's accuracy over batches of 32, "rounded"
rounds each run's accuracy to two decimals first, "float32" computes in single precision.
"""

from decimal import Decimal

import numpy as np
import pandas as pd

from ..main_paper.numbers import RUNS
from . import rows as audit

SPOILS = ("exact", "float32", "rounded", "batches")
BATCH, ROWS, SIZE = 32, 12, 1250  # items of a batch, rows of a table, test items of `claims`
SETTING = {"size": "Test items", "runs": "Runs a row", "spoil": "Accuracies", "missing": "May lack"}
SHARES = {
    "size_kept": "Truth kept",
    "size_told": "Truth told",
    "only_multiples": "Only multiples besides",
    "none_fits": "Nothing fits",
    "n_kept": "Rows: n kept",
    "n_told": "Rows: n told",
    "n_wrong": "Rows: wrong n told",
}


def printed(values: np.ndarray) -> tuple[Decimal, Decimal]:
    """Mean and std (divisor n - 1) to three decimals, as formatting prints them."""
    return Decimal(f"{values.mean():.3f}"), Decimal(f"{values.std(ddof=1):.3f}")


def accuracies(right: np.ndarray, size: int, rng: np.random.Generator, spoil: str = "exact") -> np.ndarray:
    """Each run's accuracy in percent, from its count of right answers; ``spoil``: one of `SPOILS`."""
    if spoil not in SPOILS:
        raise ValueError(f"spoil={spoil!r} is unknown; allowed: {', '.join(SPOILS)}")
    if spoil == "batches":
        batches = np.full(-(-size // BATCH), BATCH)
        batches[-1] -= batches.sum() - size
        return np.array([100 * (rng.multivariate_hypergeometric(batches, count) / batches).mean() for count in right])
    if spoil == "float32":
        return (right.astype(np.float32) / np.float32(size)) * np.float32(100)
    return np.round(100 * right / size, 2) if spoil == "rounded" else 100 * right / size


def row(n: int, size: int, rng: np.random.Generator, spoil: str = "exact", lost: int = 0) -> audit.Line:
    """A line of a table from n runs, ``lost`` of them without an accuracy; levels and spreads as in the paper."""
    mean, std = rng.uniform(57, 98), rng.uniform(0.2, 1.9)
    right = np.clip(np.rint(size / 100 * rng.normal(mean, std, n - lost)), 0, size).astype(int)
    epochs = np.maximum(1, np.rint(rng.normal(rng.uniform(65, 220), rng.uniform(6, 60), n)))
    return audit.Line("", f"n = {n}", *printed(accuracies(right, size, rng, spoil)), *printed(epochs))


def one_table(
    size: int, runs: tuple[int, ...], rng: np.random.Generator, spoil: str = "exact", missing: int = 0
) -> dict:
    """A table of 4 rows x 3 networks, each row with a number of runs out of ``runs``, and what its audit says beside
    the truth.

    size_kept: the truth is among the sizes that fit; size_told: it is the smallest; only_multiples: the others are its
    multiples. Of the rows, n_kept: the truth fits; n_told: nothing else does; n_wrong: something else alone does.
    """
    truth = [int(n) for n in rng.choice(runs, ROWS)]
    lost = [int(rng.integers(missing + 1)) if n > 2 else 0 for n in truth]
    lines = [row(n, size, rng, spoil, gone) for n, gone in zip(truth, lost, strict=True)]
    found = audit.candidates(lines, missing=missing)
    smallest = found[0] if found else size
    fits = [{n for _, n in audit.pairs(line, smallest, missing=missing)} for line in lines]
    beside = list(zip(truth, fits, strict=True))
    setting = {"size": size, "runs": audit.listed(runs), "spoil": spoil, "missing": missing}
    sizes = {
        "none_fits": not found,
        "size_kept": size in found,
        "size_told": found[:1] == [size],
        "only_multiples": size in found and not any(other % size for other in found),
    }
    rows = {
        "n_kept": np.mean([n in fit for n, fit in beside]),
        "n_told": np.mean([fit == {n} for n, fit in beside]),
        "n_wrong": np.mean([len(fit) == 1 and fit != {n} for n, fit in beside]),
    }
    return setting | sizes | rows


def simulate(
    rng: np.random.Generator, tables=20, sizes=(1128, 1250, 1431), runs=range(2, 11), **settings
) -> pd.DataFrame:
    """`one_table` that many times for each size: one row per table."""
    drawn = [one_table(size, tuple(runs), rng, **settings) for size in sizes for _ in range(tables)]
    return pd.DataFrame(drawn)


def summary(simulated: pd.DataFrame) -> pd.DataFrame:
    """Shares of simulated tables (of their rows, for the runs) by setting, in percent; n counts tables."""
    rows = []
    for setting, part in simulated.groupby(list(SETTING), sort=False):
        shares = {title: share(part[name]) for name, title in SHARES.items()}
        rows.append(dict(zip(SETTING.values(), setting, strict=True)) | {"n": len(part)} | shares)
    return pd.DataFrame(rows)


def claims(rng: np.random.Generator, rows: int = 200, true=range(2, 13)) -> pd.DataFrame:
    """How often a claim of `RUNS` runs is refuted, by how many there were: by the epochs alone, and with `SIZE` test
    items known.

    In percent of ``rows`` simulated rows; where the claim is true it must be 0.
    """
    found = []
    for n in true:
        lines = [row(n, SIZE, rng) for _ in range(rows)]
        epochs = [RUNS not in audit.runs_by_epochs(line, [RUNS]) for line in lines]
        accuracy = [RUNS not in audit.runs_by_accuracy(line, SIZE, [RUNS]) for line in lines]
        found.append([n, rows, share(epochs), share(np.logical_or(epochs, accuracy))])
    return pd.DataFrame(found, columns=["Runs", "n", "Refuted by epochs", "Refuted by both"])


def share(values) -> str:
    """The share of the true ones in percent, without decimals where it is none or all."""
    return f"{100 * np.mean(values):.0f}%" if np.mean(values) in (0, 1) else f"{100 * np.mean(values):.1f}%"
