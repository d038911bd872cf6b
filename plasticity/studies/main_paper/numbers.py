"""Every number that Coetzer, Schreuder and Bosman 2026 (arXiv 2603.20860) publish, as data, with table and row.

Digits are kept as printed (`Decimal`), so that what follows from them follows exactly (see `studies.audit`).
Accuracies are percent, gains points, lengths epochs.
"""

import csv
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from statistics import mean
from typing import NamedTuple, get_type_hints

import pandas as pd


@dataclass(frozen=True)
class Row:
    """One line of Tables 3 to 5 of Coetzer et al. 2026; `row` counts from 1 within its table."""

    table: int
    row: int
    architecture: str
    dataset: str
    case: str
    accuracy: Decimal
    accuracy_std: Decimal
    epochs: Decimal
    epochs_std: Decimal


@dataclass(frozen=True)
class PValue:
    """One Mann-Whitney p-value of Coetzer et al. 2026, sections 4.1 to 4.3; `significant` is the paper's verdict."""

    section: str
    architecture: str
    dataset: str
    case: str
    against: str
    metric: str
    p: Decimal
    significant: bool
    alternative: str  # of `case`; that epochs were tested for "less" is our reading, the text is silent


class Claim(NamedTuple):
    """A number in the text: `quantity`, say "10M - base", should round to `stated`, whose exponent is its precision."""

    section: str
    architecture: str
    dataset: str
    metric: str
    quantity: str
    stated: Decimal
    says: str


class Gain(NamedTuple):
    """A cell of Table 6: the best case's gain in accuracy and in epochs, as printed."""

    dataset: str
    architecture: str
    accuracy: str
    epochs: str


@dataclass(frozen=True)
class Statement:
    """What a companion paper says, in our words, one line; `key` names it here, `section` is where the paper has it."""

    paper: str
    section: str
    key: str
    says: str


def read_published(path: Path, kind: type) -> tuple:
    """The rows of a csv file of published numbers as ``kind``, a class with a typed field for each column."""
    convert = {bool: "True".__eq__}
    with open(path, newline="", encoding="utf-8") as file:
        rows, types = list(csv.DictReader(file)), get_type_hints(kind).items()
    return tuple(kind(**{name: convert.get(of, of)(row[name]) for name, of in types}) for row in rows)


DATASETS = {  # Table 1: classes, images per class (low, high), total
    "DTD": (47, (120, 120), 5640),
    "Brain Tumor": (4, (1600, 2000), 7150),
    "Fruit25": (25, (450, 450), 11250),
}
PARAMETERS = {"SimpleNet": Decimal("0.5"), "ResNet-50": Decimal("25.6"), "ViT-B16": Decimal("86.6")}  # Table 2, 1e6
RUNS = 10  # section 3.4
GAINS = Decimal("0.5"), Decimal("2")  # section 5.1: range of the accuracy gains
LARGEST_MEAN_GAIN = "Fruit25"  # section 5, over the architectures
NEAREST_IMAGENET = "Fruit25"  # section 3.2
NOISE_MEAN = 0  # section 3.1: the mu of MN's normal draw, and the symbol by which equation 1 scales that draw
METRICS = "accuracy", "epochs"

PUBLISHED = Path(__file__).parent / "published"
RESULTS = read_published(PUBLISHED / "results.csv", Row)  # Tables 3 to 5
P_VALUES = read_published(PUBLISHED / "p_values.csv", PValue)
CLAIMS_IN_TEXT = read_published(PUBLISHED / "statements.csv", Claim)
_BEST = read_published(PUBLISHED / "table6.csv", Gain)
TABLE6 = {name: {row.architecture: row[2:] for row in _BEST if row.dataset == name} for name in DATASETS}


def as_frame(rows: tuple) -> pd.DataFrame:
    """Dataclass rows as a table, numbers as floats."""
    plain = ({n: float(v) if isinstance(v, Decimal) else v for n, v in asdict(row).items()} for row in rows)
    return pd.DataFrame(plain)


def frame() -> pd.DataFrame:
    """Tables 3 to 5 of Coetzer et al. 2026, numbers as floats."""
    return as_frame(RESULTS)


def best_rows() -> dict[tuple[str, str], Row]:
    """The most accurate case but base for each (architecture, dataset) of Coetzer et al. 2026, Tables 3 to 5."""
    best = {}
    for row in RESULTS:
        cell = row.architecture, row.dataset
        if row.case != "base" and (cell not in best or row.accuracy > best[cell].accuracy):
            best[cell] = row
    return best


def table6() -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    """Coetzer et al. 2026, Table 6, from Tables 3 to 5: gain in accuracy and in epochs of the best case, exact."""
    return {
        cell: tuple(value(*cell, metric, f"{row.case} - base") for metric in METRICS)
        for cell, row in best_rows().items()
    }


def value(architecture: str, dataset: str, metric: str, quantity: str) -> Decimal:
    """What a `Claim`'s quantity, such as "10M - base", comes to by Tables 3 to 5."""
    rows = {row.case: row for row in RESULTS if (row.architecture, row.dataset) == (architecture, dataset)}
    terms = [mean(getattr(rows[case], metric) for case in side.split("+")) for side in quantity.split(" - ")]
    return terms[0] - sum(terms[1:])
