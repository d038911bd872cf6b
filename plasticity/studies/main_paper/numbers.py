"""Every number that Coetzer, Schreuder and Bosman 2026 (arXiv 2603.20860) publish, as data, with table and row.

Digits are kept as printed (`Decimal`), so that what follows from them follows exactly (see `contradictions` and `audit`). Accuracies
are percent, gains points, lengths epochs.
"""

import re
from collections import namedtuple
from dataclasses import asdict, dataclass
from decimal import Decimal
from statistics import mean

import pandas as pd


def number(text: str, where: str) -> Decimal:
    """A number as printed, all digits kept. Raises ValueError that says where it stands and what is expected."""
    if not re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text.strip()):
        raise ValueError(f"{where}: {text.strip()!r} is no number; expected digits as printed, such as 60.355")
    return Decimal(text.strip())


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


# A number in the text: `quantity`, say "10M - base", should round to `stated`, whose exponent is its precision.
Claim = namedtuple("Claim", "section architecture dataset metric quantity stated says")

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

TABLES = {  # Tables 3 to 5: data set, case, accuracy and std, epochs and std, in the printed order
    (3, "SimpleNet"): """
        DTD          10 M   60.355 ± 1.148    96.000 ±  9.110
        DTD          10 MN  59.734 ± 1.684    88.000 ± 20.736
        DTD          5 MN   59.220 ± 0.251    88.500 ±  6.364
        DTD          Base   57.926 ± 1.463    89.400 ±  5.899
        Brain Tumor  Base   96.087 ± 0.781   169.167 ± 61.411
        Brain Tumor  10 MN  95.304 ± 0.583   107.200 ± 18.102
        Brain Tumor  10 M   94.885 ± 1.355    85.600 ± 33.471
        Brain Tumor  5 M    94.822 ± 1.136    89.364 ± 35.192
        Fruit 25     10 M   82.720 ± 0.226   100.667 ± 41.284
        Fruit 25     25 M   82.320 ± 0.905   100.333 ± 57.143
        Fruit 25     Base   82.256 ± 0.694   118.600 ± 12.178
        Fruit 25     5 MN   82.120 ± 0.057    84.333 ± 59.282""",
    (4, "ResNet-50"): """
        DTD          5 M    72.030 ± 0.564   129.000 ± 58.387
        DTD          Base   71.738 ± 1.915   218.400 ± 69.984
        DTD          10 MN  71.223 ± 1.083   139.400 ± 26.557
        DTD          10 M   70.626 ± 1.242   133.667 ± 35.698
        Brain Tumor  10 M   95.584 ± 0.581   113.800 ± 14.822
        Brain Tumor  25 M   95.312 ± 1.434   115.167 ± 44.640
        Brain Tumor  10 MN  95.295 ± 1.370    91.250 ± 48.417
        Brain Tumor  Base   95.082 ± 1.629   117.500 ± 40.806
        Fruit 25     10 MN  89.733 ± 0.281   125.000 ± 74.579
        Fruit 25     5 MN   89.520 ± 0.000   183.000 ± 26.870
        Fruit 25     25 M   89.200 ± 0.339   147.000 ±  7.071
        Fruit 25     10 M   89.147 ± 0.521   126.500 ± 45.822
        Fruit 25     Base   88.813 ± 0.519   134.000 ± 41.905""",
    (5, "ViT-B16"): """
        DTD          5 M    71.809 ± 0.862    95.600 ± 15.010
        DTD          Base   71.649 ± 0.887    97.800 ± 18.185
        DTD          5 MN   71.596 ± 0.563    89.400 ±  5.814
        DTD          25 MN  71.241 ± 0.437    90.000 ±  6.745
        Brain Tumor  25 M   98.001 ± 0.390    70.100 ± 17.559
        Brain Tumor  5 MN   97.918 ± 0.415    65.200 ± 15.959
        Brain Tumor  10 M   97.890 ± 0.286    65.600 ± 11.459
        Brain Tumor  Base   97.652 ± 0.458    65.600 ± 19.867
        Fruit 25     25 M   90.700 ± 0.528    78.200 ± 21.936
        Fruit 25     5 M    90.480 ± 0.577    88.200 ±  5.975
        Fruit 25     25 MN  90.440 ± 0.273    75.200 ± 20.067
        Fruit 25     Base   89.904 ± 0.677    74.400 ± 12.341""",
}
TABLE6 = {  # the best case's gain in accuracy and in epochs, as printed
    "DTD": {"SimpleNet": ("2.4", "+7"), "ResNet-50": ("0.3", "-90"), "ViT-B16": ("0.15", "-2")},
    "Brain Tumor": {"SimpleNet": ("-0.7", "-62"), "ResNet-50": ("0.5", "-5"), "ViT-B16": ("0.4", "+5")},
    "Fruit25": {"SimpleNet": ("0.5", "-18"), "ResNet-50": ("0.9", "-9"), "ViT-B16": ("0.7", "+4")},
}
P_TEXT = """
    4.1  SimpleNet  DTD          10M   0.03836*  -
    4.1  SimpleNet  Brain Tumor  10MN  0.2109    0.09342
    4.1  SimpleNet  Fruit25      10M   0.2946    0.46812
    4.2  ResNet-50  DTD          5M    0.38209   0.03005*
    4.2  ResNet-50  Brain Tumor  10M   0.35942   0.23885
    4.2  ResNet-50  Fruit25      10MN  0.00964*  0.3409
    4.3  ViT-B16    DTD          5MN   -         0.04363*
    4.3  ViT-B16    DTD          5M    0.04457*  -
    4.3  ViT-B16    Brain Tumor  25M   0.04093*  -
    4.3  ViT-B16    Fruit25      25M   0.06426   -"""  # case against base: accuracy, epochs; * called significant
CLAIMS_TEXT = """
    4.1  SimpleNet  DTD          10M - base   2     -      largest gain
    4.1  SimpleNet  Brain Tumor  base - 10MN  1     -      lead of the base case
    4.1  SimpleNet  Brain Tumor  10MN+10M+5M  -     1E+2   mean length of the best re-initialised cases
    4.1  SimpleNet  Brain Tumor  base         -     17E+1  length of the base case
    4.1  SimpleNet  Fruit25      10M - base   0.5   -18    largest gain, in fewer epochs
    4.2  ResNet-50  DTD          5M - base    0.3   -      marginal gain
    4.2  ResNet-50  DTD          base         -     218    length of the base case
    4.2  ResNet-50  DTD          5M           -     13E+1  length of the best case
    4.2  ResNet-50  Brain Tumor  10M - base   0.5   -5     gain, in fewer epochs
    4.2  ResNet-50  Fruit25      10MN - base  0.9   -9     largest gain, in fewer epochs
    4.3  ViT-B16    DTD          5M - base    0.2   -      modest gain
    4.3  ViT-B16    DTD          5MN - base   -0.1  -8     second best case: cost and fewer epochs
    4.3  ViT-B16    Brain Tumor  25M - base   0.4   -      more pronounced gain
    4.3  ViT-B16    Fruit25      25M - base   0.8   -      largest gain
    4.3  ViT-B16    Fruit25      5M - base    -     14     the one case that takes longer"""  # accuracy, epochs
METRICS = "accuracy", "epochs"


def _split(text: str) -> list[list[str]]:
    return [re.split(r" *± *|  +", line.strip()) for line in text.strip().splitlines()]


def read_row(table: int, place: int, architecture: str, line: str) -> Row:
    """A line of `TABLES`, the ``place``-th of its table. Raises ValueError that names the row and what is expected."""
    where, (parts,) = f"Table {table}, row {place}", _split(line)
    if len(parts) != 6:
        raise ValueError(
            f"{where}: {line.strip()!r} has {len(parts)} parts; expected 6: data set  case  accuracy ± std  epochs ± std"
        )
    dataset, case, *digits = parts
    named = zip(("accuracy", "its std", "epochs", "their std"), digits, strict=True)
    return Row(
        table,
        place,
        architecture,
        dataset.replace("Fruit 25", "Fruit25"),
        case.replace(" ", "").replace("Base", "base"),
        *(number(text, f"{where}, {name}") for name, text in named),
    )


RESULTS = tuple(
    read_row(table, place, architecture, line)
    for (table, architecture), text in TABLES.items()
    for place, line in enumerate(text.strip().splitlines(), start=1)
)
P_VALUES = tuple(
    PValue(
        *cell,
        "base",
        metric,
        Decimal(p.strip("*")),
        "*" in p,
        "less" if metric == "epochs" or cell[1:3] == ["SimpleNet", "Brain Tumor"] else "greater",
    )
    for *cell, accuracy, epochs in _split(P_TEXT)
    for metric, p in zip(METRICS, (accuracy, epochs), strict=True)
    if p != "-"
)
CLAIMS_IN_TEXT = tuple(
    Claim(section, architecture, dataset, metric, quantity, Decimal(stated), says)
    for section, architecture, dataset, quantity, accuracy, epochs, says in _split(CLAIMS_TEXT)
    for metric, stated in zip(METRICS, (accuracy, epochs), strict=True)
    if stated != "-"
)


def frame() -> pd.DataFrame:
    """Tables 3 to 5 of Coetzer et al. 2026, a row each, numbers as floats."""
    numbers = ("accuracy", "accuracy_std", "epochs", "epochs_std")
    return pd.DataFrame([asdict(row) for row in RESULTS]).astype(dict.fromkeys(numbers, float))


def best_rows() -> dict[tuple[str, str], Row]:
    """The most accurate case but base for each (architecture, dataset) of Coetzer et al. 2026, Tables 3 to 5."""
    cells = dict.fromkeys((row.architecture, row.dataset) for row in RESULTS)
    return {
        cell: max(
            (row for row in RESULTS if (row.architecture, row.dataset) == cell and row.case != "base"),
            key=lambda row: row.accuracy,
        )
        for cell in cells
    }


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
