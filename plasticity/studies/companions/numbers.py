"""Numbers and claims of the two companion papers, as data: Lee et al. 2024 ("H&T") and Oh et al. 2025 ("SWR").

H&T: "Slow and Steady Wins the Race: Maintaining Plasticity with Hare and Tortoise Networks", ICML 2024, PMLR 235. SWR:
"Recovering Plasticity of Neural Networks via Soft Weight Rescaling", arXiv 2507.04683. Digits are kept as printed
(`Decimal`), accuracies as fractions of one; data sets and networks have one spelling, that of H&T's Table 4.
"""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pandas as pd

from ..main_paper.numbers import Statement, as_frame, read_published

HT, SWR = "Lee et al. 2024", "Oh et al. 2025"


@dataclass(frozen=True)
class Cell:
    """Where a number of H&T's tables stands; `row` counts from 1."""

    paper: str
    table: int
    row: int
    metric: str  # "train" or "test"
    dataset: str
    architecture: str


@dataclass(frozen=True)
class WarmStart(Cell):
    """One cell of H&T's Tables 4 (train) and 5 (test): accuracy after a warm start."""

    subset: Decimal  # share of the items in the first phase
    noise: Decimal  # share of these with a wrong label
    mean: Decimal  # over 5 seeds, Tiny ImageNet 3
    std: Decimal


@dataclass(frozen=True)
class Method(Cell):
    """One cell of H&T's Tables 6 (train) and 7 (test): accuracy after a tenth of the items, half mislabelled."""

    method: str  # by this project's names; "fresh" is H&T's "w/o WS", a network without a warm start
    mean: Decimal


@dataclass(frozen=True)
class SingleTask:
    """One test accuracy of SWR's single task, by way of this project's notes: our copy of SWR is its abstract alone."""

    paper: str
    dataset: str
    architecture: str
    schedule: str  # of the learning rate: "constant" or "decay"
    method: str
    mean: Decimal  # over 5 seeds, VGG-16 3


PUBLISHED = Path(__file__).parent / "published"
WARM_START = read_published(PUBLISHED / "warm_start.csv", WarmStart)
METHOD_RESULTS = read_published(PUBLISHED / "methods.csv", Method)
SINGLE_TASK = read_published(PUBLISHED / "single_task.csv", SingleTask)
CLAIMS = read_published(PUBLISHED / "claims.csv", Statement)


def warm_start_frame() -> pd.DataFrame:
    """H&T's Tables 4 and 5: columns as of `WarmStart` without row, numbers as floats."""
    return as_frame(WARM_START).drop(columns="row")


def methods_frame() -> pd.DataFrame:
    """H&T's Tables 6 and 7: columns as of `Method` without row, numbers as floats."""
    return as_frame(METHOD_RESULTS).drop(columns="row")


def single_task_frame() -> pd.DataFrame:
    """SWR's single task: columns as of `SingleTask`, numbers as floats."""
    return as_frame(SINGLE_TASK)
