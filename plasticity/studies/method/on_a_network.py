"""The same on EfficientNet-Lite0 with its ImageNet weights, which come in a pip package, and on photographs that come
with scikit-learn: what the functions do to weights and to the features that the head sees."""

import copy
from collections.abc import Iterable
from functools import cache

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

from ...analysis.writing import text_table
from ...networks import table as networks
from ...networks.competitors import competitors
from ...networks.loading import load_backbone, read_weights
from ...profiles import FRACTIONS
from ...reinit import METHODS, reinitialize
from ...weights import weights_file

NETWORK = "efficientnet_lite0"
PIXELS, PATCHES = 128, 10
SHOWN = 6  # layers in a table


@cache
def network() -> nn.Module:
    """The pretrained network in evaluation mode, with a fresh head of ten classes."""
    model = networks.build(NETWORK, 10, seed=0)
    path, sha256 = weights_file(NETWORK, "imagenet", "data")
    load_backbone(model, read_weights(path, sha256), networks.architecture(NETWORK).head)
    return model.eval()


@cache
def photographs() -> Tensor:
    """Patches of two photographs, normalised: float32 [10, 3, 128, 128]."""
    pictures = [torch.from_numpy(np.array(one)).permute(2, 0, 1) / 255 for one in load_sample_images().images]
    cut = [one.unfold(1, PIXELS, PIXELS).unfold(2, PIXELS, PIXELS).flatten(1, 2).transpose(0, 1) for one in pictures]
    patches = torch.cat(cut)[:: sum(map(len, cut)) // PATCHES][:PATCHES]
    spread, mean = torch.std_mean(patches, (0, 2, 3), keepdim=True)
    return (patches - mean) / spread


def after(case: str, reading: str = "code", seed: int = 0) -> nn.Module:
    """A copy of the network after a case."""
    model = copy.deepcopy(network())
    reinitialize(model, case, reading=reading, generator=torch.Generator().manual_seed(seed))
    return model


def features(model: nn.Module) -> Tensor:
    """What the head sees of the photographs: float64 [10, d]. In float32 the third digit would depend on how many
    threads add up: draws from N(0, 1) make the features huge."""
    seen, model = [], copy.deepcopy(model).double()
    head = model.get_submodule(networks.architecture(NETWORK).head)
    hook = head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].flatten(1)))
    with torch.no_grad():
        model(photographs().double())
    hook.remove()
    return seen[0]


def moved(case: str, reading: str = "code", seed: int = 0) -> float:
    """How far the features move under a case: the norm of the change over the norm of the features."""
    before = _features_before()
    return float((features(after(case, reading, seed)) - before).norm() / before.norm())


@cache
def _features_before() -> Tensor:
    return features(network())


def movements(functions: Iterable[str], reading: str = "code", seeds: int = 1) -> pd.DataFrame:
    """One row per function, percentage and seed: ``moved``, the relative change of the features."""
    rows = []
    for name in functions:
        for percent in (int(p) for p in FRACTIONS):
            for seed in range(seeds):
                rows.append((name, percent, seed, moved(f"{percent}{name}", reading, seed)))
    return pd.DataFrame(rows, columns=["function", "percent", "seed", "moved"])


def shown_movements(table: pd.DataFrame) -> pd.DataFrame:
    """`movements` as texts: percent of the features' norm, mean over seeds, by function and percentage."""
    means = (100 * table.groupby(["function", "percent"], sort=False).moved.mean()).unstack()
    rows = [[name, METHODS[name], *(f"{value:.0f}" for value in row)] for name, row in means.iterrows()]
    return text_table(rows, ["RF", "New Values", *(f"{percent}%" for percent in means.columns)])


def means_and_cuts(percent: float) -> pd.DataFrame:
    """One row per weight tensor that competes: name, size, standard deviation, mean, and ``cut``, the largest |w| that
    is pruned; ``below``: whether the mean would be pruned itself, so that M puts weights where they nearly were."""
    rows = []
    for one in competitors(network())[0]:
        if one.kind == "weight" and not one.name.startswith(networks.architecture(NETWORK).head):
            weights = one.parameter.detach().flatten()
            count = int(percent / 100 * len(weights))
            if count:
                cut, mean = weights.abs().kthvalue(count).values.item(), weights.mean().item()
                rows.append((one.name, len(weights), weights.std().item(), mean, cut, abs(mean) <= cut))
    return pd.DataFrame(rows, columns=["name", "size", "std", "mean", "cut", "below"])


def shown_means(table: pd.DataFrame) -> pd.DataFrame:
    """Some layers of `means_and_cuts`, evenly chosen, as texts; in the last row how many of all."""
    chosen = table.iloc[np.linspace(0, len(table) - 1, SHOWN).round().astype(int)]
    rows = []
    for row in chosen.itertuples(index=False):
        numbers = f"{row.std:.4f}", f"{row.mean:+.4f}", f"{row.cut:.4f}"
        rows.append([row.name, f"{row.size:,}", *numbers, "yes" if row.below else "no"])
    rows.append(["all", f"{table['size'].sum():,}", *"---", f"{int(table.below.sum())} of {len(table)}"])
    heads = ["Tensor", "Weights", "Standard Deviation", "Mean", "Largest Pruned |w|", "Mean Below It"]
    return text_table(rows, heads)


def largest() -> str:
    """The name of the largest weight tensor of the backbone."""
    table = means_and_cuts(100)
    return table.name[table["size"].idxmax()]


def weights(case: str = "") -> np.ndarray:
    """The weights of that tensor, as pretrained or after a case, flat."""
    model = after(case) if case else network()
    return model.get_parameter(largest()).detach().flatten().numpy()
