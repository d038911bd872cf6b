"""Numbers and claims of the two companion papers, as data: Lee et al. 2024 ("H&T") and Oh et al. 2025 ("SWR").

H&T: "Slow and Steady Wins the Race: Maintaining Plasticity with Hare and Tortoise Networks", ICML 2024, PMLR 235. SWR:
"Recovering Plasticity of Neural Networks via Soft Weight Rescaling", arXiv 2507.04683. Digits are kept as printed
(`Decimal`), accuracies as fractions of one; data sets and networks have one spelling, that of H&T's Table 4.
"""

import re
from dataclasses import asdict, dataclass
from decimal import Decimal

import pandas as pd

HT, SWR = "Lee et al. 2024", "Oh et al. 2025"


@dataclass(frozen=True)
class WarmStart:
    """One cell of H&T's Tables 4 (train) and 5 (test): accuracy after a warm start; `row` counts from 1 within its table."""

    paper: str
    table: int
    row: int
    metric: str  # "train" or "test"
    dataset: str
    architecture: str
    subset: Decimal  # share of the items in the first phase
    noise: Decimal  # share of these with a wrong label
    mean: Decimal  # over 5 seeds, Tiny ImageNet 3
    std: Decimal


@dataclass(frozen=True)
class Method:
    """One cell of H&T's Tables 6 (train) and 7 (test): a method's accuracy after 10% of the items, half of them mislabelled."""

    paper: str
    table: int
    row: int
    metric: str  # "train" or "test"
    dataset: str
    architecture: str
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


@dataclass(frozen=True)
class Claim:
    """What a paper says, in our words, one line; `key` names it within the project, `section` is where the paper has it."""

    paper: str
    section: str
    key: str
    says: str


NETWORKS = {
    "MNIST": "3-layer MLP",
    "CIFAR-10": "ResNet-18",
    "CIFAR-100": "ViT-Tiny",
    "Tiny ImageNet": "VGG-16",
}  # H&T's pairs
METHODS = {  # H&T's columns in Tables 6 and 7, in the printed order, and what this project calls them
    "WS": "base",
    "w/o WS": "fresh",
    "w/o WS + Aug": "fresh + augmentation",
    "L2": "l2",
    "Aug": "augmentation",
    "Spectral": "spectral_decoupling",
    "Regen": "l2_init",
    "ReDo": "redo",
    "CReLU": "crelu",
    "HR": "head_reset",
    "SnP": "shrink_perturb",
    "SnP + L2 + Aug": "shrink_perturb + l2 + augmentation",
}
SINGLE_TASK_METHODS = "base", "l2", "l2_init", "soft_rescaling"  # SWR: vanilla, L2, L2-init and its own

WARM_START_TEXT = {  # H&T, Tables 4 and 5: subset ratio, label noise, then mean and std for each pair of NETWORKS
    (4, "train"): """
        0.1  0.0  1.00 ± 0.0003  1.00 ± 0.0006  0.91 ± 0.0014  0.98 ± 0.0011
        0.1  0.1  1.00 ± 0.0002  1.00 ± 0.0002  0.91 ± 0.0019  0.98 ± 0.0018
        0.1  0.2  1.00 ± 0.0002  1.00 ± 0.0004  0.91 ± 0.0020  0.98 ± 0.0002
        0.1  0.3  1.00 ± 0.0003  1.00 ± 0.0004  0.91 ± 0.0011  0.97 ± 0.0001
        0.1  0.4  1.00 ± 0.0002  1.00 ± 0.0008  0.91 ± 0.0025  0.97 ± 0.0012
        0.1  0.5  1.00 ± 0.0001  1.00 ± 0.0005  0.91 ± 0.0016  0.97 ± 0.0003
        0.2  0.0  1.00 ± 0.0003  1.00 ± 0.0006  0.91 ± 0.0018  0.98 ± 0.0005
        0.2  0.1  1.00 ± 0.0001  1.00 ± 0.0003  0.91 ± 0.0009  0.98 ± 0.0004
        0.2  0.2  1.00 ± 0.0004  1.00 ± 0.0005  0.91 ± 0.0019  0.98 ± 0.0003
        0.2  0.3  1.00 ± 0.0003  1.00 ± 0.0007  0.91 ± 0.0006  0.98 ± 0.0003
        0.2  0.4  1.00 ± 0.0003  1.00 ± 0.0008  0.91 ± 0.0014  0.98 ± 0.0003
        0.2  0.5  1.00 ± 0.0004  1.00 ± 0.0004  0.91 ± 0.0009  0.98 ± 0.0006
        0.4  0.0  1.00 ± 0.0001  1.00 ± 0.0008  0.92 ± 0.0015  0.99 ± 0.0002
        0.4  0.1  1.00 ± 0.0002  1.00 ± 0.0009  0.92 ± 0.0016  0.99 ± 0.0002
        0.4  0.2  1.00 ± 0.0002  1.00 ± 0.0005  0.92 ± 0.0013  0.98 ± 0.0001
        0.4  0.3  1.00 ± 0.0002  1.00 ± 0.0007  0.91 ± 0.0020  0.98 ± 0.0003
        0.4  0.4  1.00 ± 0.0001  1.00 ± 0.0006  0.91 ± 0.0014  0.98 ± 0.0002
        0.4  0.5  1.00 ± 0.0002  1.00 ± 0.0002  0.91 ± 0.0014  0.98 ± 0.0004
        0.6  0.0  1.00 ± 0.0002  1.00 ± 0.0004  0.92 ± 0.0014  0.99 ± 0.0007
        0.6  0.1  1.00 ± 0.0001  1.00 ± 0.0006  0.92 ± 0.0012  0.99 ± 0.0005
        0.6  0.2  1.00 ± 0.0004  1.00 ± 0.0003  0.92 ± 0.0013  0.99 ± 0.0008
        0.6  0.3  1.00 ± 0.0003  1.00 ± 0.0004  0.92 ± 0.0011  0.99 ± 0.0006
        0.6  0.4  1.00 ± 0.0004  1.00 ± 0.0012  0.91 ± 0.0013  0.98 ± 0.0004
        0.6  0.5  1.00 ± 0.0002  1.00 ± 0.0008  0.91 ± 0.0011  0.98 ± 0.0007
        0.8  0.0  1.00 ± 0.0001  1.00 ± 0.0005  0.92 ± 0.0010  0.99 ± 0.0006
        0.8  0.1  1.00 ± 0.0001  1.00 ± 0.0006  0.92 ± 0.0022  0.99 ± 0.0008
        0.8  0.2  1.00 ± 0.0004  1.00 ± 0.0002  0.92 ± 0.0009  0.99 ± 0.0004
        0.8  0.3  1.00 ± 0.0002  1.00 ± 0.0005  0.92 ± 0.0015  0.99 ± 0.0002
        0.8  0.4  1.00 ± 0.0002  1.00 ± 0.0007  0.92 ± 0.0027  0.99 ± 0.0006
        0.8  0.5  1.00 ± 0.0001  1.00 ± 0.0007  0.91 ± 0.0051  0.98 ± 0.0003
        1.0  0.0  1.00 ± 0.0002  1.00 ± 0.0006  0.93 ± 0.0007  0.99 ± 0.0005
        1.0  0.1  1.00 ± 0.0001  1.00 ± 0.0009  0.92 ± 0.0013  0.99 ± 0.0004
        1.0  0.2  1.00 ± 0.0004  1.00 ± 0.0003  0.92 ± 0.0010  0.99 ± 0.0005
        1.0  0.3  1.00 ± 0.0002  1.00 ± 0.0005  0.92 ± 0.0011  0.99 ± 0.0004
        1.0  0.4  1.00 ± 0.0003  1.00 ± 0.0015  0.92 ± 0.0017  0.99 ± 0.0004
        1.0  0.5  1.00 ± 0.0003  1.00 ± 0.0009  0.91 ± 0.0022  0.98 ± 0.0002""",
    (5, "test"): """
        0.1  0.0  0.98 ± 0.0016  0.74 ± 0.0023  0.45 ± 0.0027  0.18 ± 0.0036
        0.1  0.1  0.97 ± 0.0008  0.72 ± 0.0050  0.45 ± 0.0032  0.16 ± 0.0029
        0.1  0.2  0.97 ± 0.0006  0.71 ± 0.0123  0.44 ± 0.0053  0.15 ± 0.0039
        0.1  0.3  0.97 ± 0.0012  0.70 ± 0.0054  0.44 ± 0.0066  0.14 ± 0.0057
        0.1  0.4  0.97 ± 0.0013  0.69 ± 0.0095  0.44 ± 0.0033  0.13 ± 0.0043
        0.1  0.5  0.97 ± 0.0019  0.69 ± 0.0067  0.44 ± 0.0089  0.12 ± 0.0046
        0.2  0.0  0.98 ± 0.0010  0.75 ± 0.0047  0.45 ± 0.0018  0.24 ± 0.0008
        0.2  0.1  0.97 ± 0.0009  0.72 ± 0.0049  0.44 ± 0.0039  0.22 ± 0.0034
        0.2  0.2  0.97 ± 0.0010  0.71 ± 0.0047  0.44 ± 0.0026  0.20 ± 0.0036
        0.2  0.3  0.97 ± 0.0009  0.69 ± 0.0028  0.44 ± 0.0032  0.18 ± 0.0020
        0.2  0.4  0.97 ± 0.0011  0.68 ± 0.0032  0.44 ± 0.0041  0.16 ± 0.0039
        0.2  0.5  0.97 ± 0.0012  0.66 ± 0.0057  0.44 ± 0.0029  0.15 ± 0.0032
        0.4  0.0  0.98 ± 0.0016  0.77 ± 0.0038  0.47 ± 0.0068  0.36 ± 0.0012
        0.4  0.1  0.97 ± 0.0012  0.75 ± 0.0027  0.46 ± 0.0047  0.33 ± 0.0015
        0.4  0.2  0.97 ± 0.0018  0.73 ± 0.0035  0.44 ± 0.0027  0.32 ± 0.0026
        0.4  0.3  0.97 ± 0.0013  0.71 ± 0.0053  0.44 ± 0.0027  0.30 ± 0.0061
        0.4  0.4  0.97 ± 0.0014  0.69 ± 0.0066  0.44 ± 0.0027  0.27 ± 0.0026
        0.4  0.5  0.97 ± 0.0018  0.67 ± 0.0092  0.43 ± 0.0043  0.25 ± 0.0029
        0.6  0.0  0.98 ± 0.0018  0.79 ± 0.0042  0.48 ± 0.0042  0.40 ± 0.0032
        0.6  0.1  0.97 ± 0.0009  0.77 ± 0.0045  0.47 ± 0.0042  0.38 ± 0.0012
        0.6  0.2  0.97 ± 0.0014  0.75 ± 0.0024  0.46 ± 0.0042  0.36 ± 0.0032
        0.6  0.3  0.97 ± 0.0012  0.73 ± 0.0020  0.44 ± 0.0065  0.33 ± 0.0041
        0.6  0.4  0.97 ± 0.0011  0.71 ± 0.0048  0.44 ± 0.0030  0.30 ± 0.0016
        0.6  0.5  0.97 ± 0.0010  0.69 ± 0.0040  0.43 ± 0.0040  0.27 ± 0.0005
        0.8  0.0  0.98 ± 0.0014  0.81 ± 0.0045  0.50 ± 0.0050  0.42 ± 0.0045
        0.8  0.1  0.97 ± 0.0006  0.78 ± 0.0050  0.48 ± 0.0076  0.40 ± 0.0019
        0.8  0.2  0.97 ± 0.0014  0.77 ± 0.0026  0.46 ± 0.0054  0.38 ± 0.0024
        0.8  0.3  0.97 ± 0.0014  0.75 ± 0.0063  0.46 ± 0.0041  0.35 ± 0.0023
        0.8  0.4  0.97 ± 0.0019  0.74 ± 0.0033  0.45 ± 0.0054  0.33 ± 0.0037
        0.8  0.5  0.97 ± 0.0018  0.73 ± 0.0075  0.43 ± 0.0093  0.29 ± 0.0022
        1.0  0.0  0.98 ± 0.0011  0.81 ± 0.0053  0.51 ± 0.0078  0.43 ± 0.0009
        1.0  0.1  0.97 ± 0.0012  0.79 ± 0.0060  0.49 ± 0.0052  0.41 ± 0.0019
        1.0  0.2  0.97 ± 0.0013  0.78 ± 0.0071  0.48 ± 0.0035  0.40 ± 0.0081
        1.0  0.3  0.97 ± 0.0011  0.77 ± 0.0075  0.47 ± 0.0052  0.37 ± 0.0022
        1.0  0.4  0.97 ± 0.0022  0.76 ± 0.0051  0.45 ± 0.0037  0.34 ± 0.0029
        1.0  0.5  0.97 ± 0.0010  0.75 ± 0.0076  0.40 ± 0.0376  0.30 ± 0.0033""",
}
METHODS_TEXT = {  # H&T, Tables 6 and 7: data set, network, then the columns of METHODS
    (6, "train"): """
        CIFAR-10    ResNet-18  0.998  0.998  0.994  0.990  0.993  0.997  0.996  0.998  0.997  0.997  0.997  0.994
        CIFAR-100   ViT-Tiny   0.907  0.912  0.852  0.865  0.867  0.913  0.906  0.908  0.890  0.911  0.915  0.872
        T-ImageNet  VGG-16     0.972  0.984  0.974  0.925  0.963  0.997  0.979  0.972  0.964  0.979  0.981  0.970""",
    (7, "test"): """
        CIFAR-10    ResNet-18  0.704  0.835  0.924  0.735  0.840  0.705  0.701  0.682  0.678  0.693  0.771  0.910
        CIFAR-100   ViT-Tiny   0.442  0.500  0.555  0.457  0.511  0.444  0.447  0.445  0.440  0.445  0.467  0.536
        T-ImageNet  VGG-16     0.115  0.439  0.463  0.221  0.227  0.118  0.127  0.118  0.118  0.177  0.229  0.376""",
}
SINGLE_TASK_TEXT = """
        MNIST          MLP      constant  .9789  .9795  .9793  .9822
        CIFAR-10       CNN      constant  .6500  .7119  .7041  .7158
        CIFAR-100      CNN      constant  .3283  .3882  .3881  .3914
        CIFAR-100      CNN-BN   constant  .3234  .4222  .4030  .4129
        Tiny ImageNet  VGG-16   constant  .3912  .3915  .3870  .4348
        Tiny ImageNet  VGG-16   decay     .4126  .4080  .4199  .5221"""  # SWR, full text
CLAIMS_TEXT = {
    HT: """
        3    two_sides              Plasticity has two sides: being able to train, and being able to generalise.
        3    trains_not_generalises After a warm start, modern networks still train but generalise worse.
        3    less_and_noisier       The fewer the items and the more the wrong labels at first, the greater the loss of generalisation.
        3    optimiser              Tuning Adam's betas and epsilon is not enough against the loss of generalisation.
        3    trainability_methods   Methods that aid trainability need not aid generalisation where a network trains well anyway.
        3    regularisers           Augmentation and weight regularisation generally help to keep generalisation.
        3    reinitialisation       Re-initialisation can restore generalisation, at the risk of losing what was learned.
        5.1  ht_beats_averages      In warm starts, H&T beats both an EMA of the weights and self-distillation.
        5.1  ht_beats_resets        In warm starts, H&T beats re-initialisation and a fresh network on CIFAR-10 and CIFAR-100.
        5.1  resets_beat_ht         In warm starts, re-initialisation does better than H&T on Tiny ImageNet with VGG-16.
        5.2  ht_no_drops            In continual learning, H&T avoids the abrupt drops that follow shrink and perturb.
        5.2  ht_limited_access      With 5,000 items in reach, H&T keeps its lead on both CIFARs and nears the resets on Tiny ImageNet.
        D    ht_robust              H&T does better than the plain warm start over a range of momenta and reset intervals.
        C    no_indicator           No metric of plasticity correlates strongly and consistently with test accuracy.""",
    SWR: """
        abstract  swr_bounds        SWR bounds the magnitude of the weights (proved).
        abstract  swr_balances      SWR balances the magnitude of the weights between layers (proved).
        abstract  swr_warm_start    SWR improves warm starts.
        abstract  swr_continual     SWR improves continual learning.
        abstract  swr_single_task   SWR improves learning a single task.""",
}


def _split(text: str) -> list[list[str]]:
    return [re.split(r" *± *|  +", line.strip()) for line in text.strip().splitlines()]


WARM_START = tuple(
    WarmStart(HT, table, row, metric, dataset, architecture, *map(Decimal, (subset, noise, mean, std)))
    for (table, metric), text in WARM_START_TEXT.items()
    for row, (subset, noise, *digits) in enumerate(_split(text), start=1)
    for (dataset, architecture), mean, std in zip(NETWORKS.items(), digits[::2], digits[1::2], strict=True)
)
METHOD_RESULTS = tuple(
    Method(HT, table, row, metric, dataset.replace("T-ImageNet", "Tiny ImageNet"), architecture, method, Decimal(mean))
    for (table, metric), text in METHODS_TEXT.items()
    for row, (dataset, architecture, *digits) in enumerate(_split(text), start=1)
    for method, mean in zip(METHODS.values(), digits, strict=True)
)
SINGLE_TASK = tuple(
    SingleTask(SWR, dataset, architecture, schedule, method, Decimal(mean))
    for dataset, architecture, schedule, *digits in _split(SINGLE_TASK_TEXT)
    for method, mean in zip(SINGLE_TASK_METHODS, digits, strict=True)
)
CLAIMS = tuple(
    Claim(paper, *re.split(r" +", line.strip(), maxsplit=2))
    for paper, text in CLAIMS_TEXT.items()
    for line in text.strip().splitlines()
)


def _frame(rows: tuple, numbers: tuple[str, ...]) -> pd.DataFrame:
    return (
        pd.DataFrame([asdict(row) for row in rows])
        .drop(columns="row", errors="ignore")
        .astype(dict.fromkeys(numbers, float))
    )


def warm_start_frame() -> pd.DataFrame:
    """H&T's Tables 4 and 5, a row a cell: paper, table, metric, dataset, architecture, subset, noise, mean, std; numbers as floats."""
    return _frame(WARM_START, ("subset", "noise", "mean", "std"))


def methods_frame() -> pd.DataFrame:
    """H&T's Tables 6 and 7, a row a cell: paper, table, metric, dataset, architecture, method, mean; numbers as floats."""
    return _frame(METHOD_RESULTS, ("mean",))


def single_task_frame() -> pd.DataFrame:
    """SWR's single task, a row a cell: paper, dataset, architecture, schedule, method, mean; numbers as floats."""
    return _frame(SINGLE_TASK, ("mean",))
