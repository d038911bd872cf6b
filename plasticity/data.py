"""Data sets by name: packed once as one uint8 array in a folder, with a manifest; split by a recorded seed."""

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


def known_path(folder: str | Path, name: str) -> Path:
    """Where the packed data set ``name`` belongs. Raises ValueError for an unknown name."""
    if name not in TITLES and not FOLDER.fullmatch(name):
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(TITLES)}")
    return Path(folder) / name


def missing(path: Path) -> FileNotFoundError:
    """The error for a data set that is not packed at ``path``."""
    remedy = f"run `plasticity prepare {path.name} --data {path.parent}`, or notebook 00_data_prep"
    if path.name not in TITLES:
        remedy = "pack these images again (notebook 46_your_own_model), or give the data folder they were packed into"
    return FileNotFoundError(f"data set {path.name!r} is not packed in {path.parent}: {remedy}")


def damaged(path: Path, error: object) -> ValueError:
    """The error for a packed data set that cannot be read."""
    return ValueError(f"packed data set {path} is damaged ({error}); move the folder away and prepare it again")


def manifest(path: Path) -> dict:
    """What is known of the data set packed at ``path``. Raises ValueError if that file is damaged."""
    try:
        return json.loads((path / "manifest.json").read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise damaged(path, error) from None


@lru_cache(maxsize=4)
def load(folder: str | Path, name: str) -> Dataset:
    """The packed data set ``name``.

    The images are mapped, so that processes share the memory; what one writes to them stays its own. A set that was
    packed with fewer images than published is loaded like any other.

    Raises FileNotFoundError, naming the command that prepares it, if it is not there; ValueError for an unknown name
    and for damaged files.
    """
    path = known_path(folder, name)
    if not (path / "manifest.json").is_file():
        raise missing(path)
    facts = manifest(path)
    try:
        images = np.load(path / "images.npy", mmap_mode="c")
        labels, test = (np.load(path / f"{part}.npy") for part in ("labels", "test"))
    except (ValueError, EOFError, OSError) as error:
        raise damaged(path, error) from None
    if list(images.shape) != facts["shape"]:
        raise damaged(path, f"its manifest says {facts['shape']}, its images {images.shape}")
    arrays = (torch.from_numpy(array) for array in (images, labels, test))
    names = (tuple(facts[part]) for part in ("class_names", "sources"))
    return Dataset(name, *arrays, *names, torch.tensor(facts["mean"]), torch.tensor(facts["std"]), facts["sha256"])


def split(dataset: Dataset, validation: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices (train, validation) among the items that are not test; ``validation`` is the share, drawn at random."""
    items = (~dataset.test).nonzero().flatten()
    items = items[torch.randperm(len(items), generator=generator)]
    count = round(validation * len(items))
    return items[count:], items[:count]
