"""Data sets by name: packed once as one uint8 array in a folder, with a manifest."""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .catalogue import FOLDER, RECIPES, TITLES


@dataclass(frozen=True)
class Dataset:
    """A packed data set in memory.

    images: uint8 [n, height, width, 3]; labels: int64 [n]; test: bool [n], True for the held-out test items;
    mean, std: float32 [3], of the items that are not test, in 0..1; sha256 identifies the content; groups: int64 [n],
    what belongs on one side of the validation split (test items: -1), or None.
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
    groups: Tensor | None = None


def known_path(folder: str | Path, name: str) -> Path:
    """Where the packed data set ``name`` belongs. Raises ValueError for an unknown name."""
    if name not in TITLES and not FOLDER.fullmatch(name):
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(TITLES)}")
    return Path(folder) / name


def missing(path: Path) -> FileNotFoundError:
    """The error for a data set that is not packed at ``path``, or by a version that packed it in another way."""
    remedy = f"run `plasticity prepare {path.name} --data {path.parent}`, or notebook 00_data_prep"
    if path.name not in TITLES:
        remedy = "pack these images again (notebook 46_your_own_model), or give the data folder they were packed into"
    state = "was packed by another version, in another way," if outdated(path) else "is not packed"
    return FileNotFoundError(f"data set {path.name!r} {state} in {path.parent}: {remedy}")


def damaged(path: Path, error: object) -> ValueError:
    """The error for a packed data set that cannot be read."""
    return ValueError(f"packed data set {path} is damaged ({error}); move the folder away and prepare it again")


def manifest(path: Path) -> dict:
    """What is known of the data set packed at ``path``. Raises ValueError if that file is damaged."""
    try:
        return json.loads((path / "manifest.json").read_text("utf-8"))
    except (ValueError, OSError) as error:
        raise damaged(path, error) from None


def outdated(path: Path) -> bool:
    """Whether the data set packed at ``path`` is of another recipe than this version's (`RECIPES`)."""
    known = path.name in RECIPES and (path / "manifest.json").is_file()
    return known and manifest(path).get("recipe") != RECIPES[path.name]


def is_packed(path: Path) -> bool:
    """Whether a data set is packed at ``path`` as this version packs it."""
    return (path / "manifest.json").is_file() and not outdated(path)


@lru_cache(maxsize=4)
def load(folder: str | Path, name: str) -> Dataset:
    """The packed data set ``name``.

    The images are mapped, so that processes share the memory; what one writes to them stays its own. A set that was
    packed with fewer images than published is loaded like any other.

    Raises FileNotFoundError, naming the command that prepares it, if it is not there; ValueError for an unknown name
    and for damaged files.
    """
    path = known_path(folder, name)
    if not is_packed(path):
        raise missing(path)
    facts = manifest(path)
    try:
        images = np.load(path / "images.npy", mmap_mode="c")
        parts = ["labels", "test", *(["groups"] if (path / "groups.npy").is_file() else [])]
        labels, test, *groups = (torch.from_numpy(np.load(path / f"{part}.npy")) for part in parts)
    except (ValueError, EOFError, OSError) as error:
        raise damaged(path, error) from None
    if list(images.shape) != facts["shape"]:
        raise damaged(path, f"its manifest says {facts['shape']}, its images {images.shape}")
    names = (tuple(facts[part]) for part in ("class_names", "sources"))
    mean, std = (torch.tensor(facts[part]) for part in ("mean", "std"))
    return Dataset(name, torch.from_numpy(images), labels, test, *names, mean, std, facts["sha256"], *groups)
