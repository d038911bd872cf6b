"""Data sets by name: decoded once into one packed uint8 array in a folder, with a manifest; split by a recorded seed."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

TITLES = {
    "source": "source task of the miniature world",
    "source_small": "a fifth of the source task",
    "photos": "photographs (mirrors DTD)",
    "elpv": "solar cells (mirrors Brain Tumor)",
    "fruits": "fruits (mirrors Fruit25)",
    "photos_64": "photographs, 64 pixels",
    "elpv_64": "solar cells, 64 pixels",
    "photos_128": "photographs, 128 pixels",
    "elpv_128": "solar cells, 128 pixels",
    "dtd": "DTD",
    "dtd_official": "DTD, official partition 1",
    "dtd_grouped": "DTD, duplicates kept together",
    "brain_tumor": "Brain Tumor",
    "brain_tumor_grouped": "Brain Tumor, duplicates kept together",
    "fruit25": "Fruit25",
    "fruit25_grouped": "Fruit25, duplicates kept together",
    "digits": "digits (mirrors MNIST)",
    "world_10": "world, 10 classes (mirrors CIFAR-10)",
    "world_20": "world, 20 classes (mirrors CIFAR-100)",
    "world_40": "world, 40 classes (mirrors Tiny ImageNet)",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "tiny_imagenet": "Tiny ImageNet",
}
PAPER_NAMES = {
    "photos": "DTD",
    "elpv": "Brain Tumor",
    "fruits": "Fruit25",
    "photos_64": "DTD",
    "elpv_64": "Brain Tumor",
    "photos_128": "DTD",
    "elpv_128": "Brain Tumor",
    "dtd": "DTD",
    "dtd_official": "DTD",
    "dtd_grouped": "DTD",
    "brain_tumor": "Brain Tumor",
    "brain_tumor_grouped": "Brain Tumor",
    "fruit25": "Fruit25",
    "fruit25_grouped": "Fruit25",
}
FOLDER = re.compile(r"folder_[a-z0-9_]+-[0-9a-f]{8}")  # what `own.pack_folder` names a user's images


@dataclass(frozen=True)
class Dataset:
    """A packed data set in memory.

    images: uint8 [n, height, width, 3]; labels: int64 [n]; test: bool [n], True for the held-out test items;
    mean, std: float32 [3], of the items that are not test, in 0..1; sha256 identifies the content.
    """

    name: str
    images: Tensor
    labels: Tensor
    test: Tensor
    class_names: tuple[str, ...]
    sources: tuple[str, ...]
    mean: Tensor
    std: Tensor
    sha256: str


def manifest(path: Path) -> dict:
    """What is known of the data set packed at ``path``. Raises ValueError if that file is damaged."""
    try:
        return json.loads((path / "manifest.json").read_text())
    except (ValueError, OSError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error) -> ValueError:
    return ValueError(f"packed data set {path} is damaged ({error}); move the folder away and prepare it again")


@lru_cache(maxsize=4)
def load(folder: str | Path, name: str) -> Dataset:
    """The packed data set ``name``, prepared first if it can be. Raises ValueError if a file of it is damaged.

    The images are mapped, so that processes share the memory; what one writes to them stays its own. A set that was packed
    with fewer images than published is loaded like any other.
    """
    from .datasets.prepare import prepare

    path = prepare(folder, name, complete=not (Path(folder) / name / "manifest.json").is_file())
    facts = manifest(path)
    try:
        images = np.load(path / "images.npy", mmap_mode="c")
        labels, test = (np.load(path / f"{part}.npy") for part in ("labels", "test"))
    except (ValueError, EOFError, OSError) as error:
        raise _damaged(path, error) from None
    if list(images.shape) != facts["shape"]:
        raise ValueError(
            f"packed data set {path} is damaged: its manifest says {facts['shape']}, its images {images.shape}"
        )
    return Dataset(
        name=name,
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        test=torch.from_numpy(test),
        class_names=tuple(facts["class_names"]),
        sources=tuple(facts["sources"]),
        mean=torch.tensor(facts["mean"]),
        std=torch.tensor(facts["std"]),
        sha256=facts["sha256"],
    )


def split(dataset: Dataset, validation: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices (train, validation) among the items that are not test; ``validation`` is the share, drawn at random."""
    items = (~dataset.test).nonzero().flatten()
    items = items[torch.randperm(len(items), generator=generator)]
    count = round(validation * len(items))
    return items[count:], items[:count]
