"""Data sets by name: packed once as one uint8 array in a folder, with a manifest; split by a recorded seed."""

import torch
from torch import Tensor

from .training.catalogue import FOLDER, RECIPES, TITLES
from .training.packed import Dataset, damaged, is_packed, known_path, load, manifest, missing, outdated

__all__ = ["FOLDER", "RECIPES", "TITLES", "Dataset", "damaged", "is_packed", "known_path"]
__all__ += ["load", "manifest", "missing", "outdated", "split"]


def split(dataset: Dataset, validation: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices (train, validation) among the items that are not test; ``validation`` is the share, drawn at random.

    Where there are groups, whole ones: that share of each class's, but at least one on each side.
    """
    items = (~dataset.test).nonzero().flatten()
    items = items[torch.randperm(len(items), generator=generator)]
    if dataset.groups is None or not validation:
        count = round(validation * len(items))
        return items[count:], items[:count]
    groups, labels = dataset.groups[items], dataset.labels[items]
    held = torch.zeros(len(items), dtype=torch.bool)
    for label in labels.unique():
        own = groups[labels == label].unique()
        count = min(max(1, round(validation * len(own))), len(own) - 1)
        held |= torch.isin(groups, own[torch.randperm(len(own), generator=generator)[:count]])
    return items[~held], items[held]
