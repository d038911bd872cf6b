"""Data sets by name: decoded once into one packed uint8 array in a folder, with a manifest; split by a recorded seed."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .offline import OFFLINE, Arrays

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
    "brain_tumor": "Brain Tumor",
    "fruit25": "Fruit25",
}
PAPER_NAMES = {"photos": "DTD", "elpv": "Brain Tumor", "fruits": "Fruit25",
               "photos_64": "DTD", "elpv_64": "Brain Tumor", "photos_128": "DTD", "elpv_128": "Brain Tumor",
               "dtd": "DTD", "brain_tumor": "Brain Tumor", "fruit25": "Fruit25"}  # fmt: skip


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


def prepare(folder: str | Path, name: str) -> Path:
    """Make sure the packed data set is in ``folder``; generates what can be made offline, once.

    Raises ValueError for an unknown name, FileNotFoundError for a real data set that nobody has packed there yet.
    """
    if name not in TITLES:
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(TITLES)}")
    path = Path(folder) / name
    if not (path / "manifest.json").is_file():
        if name not in OFFLINE:
            raise FileNotFoundError(f"data set {name!r} is not in {path}; pack it there with plasticity.data.pack (only "
                                    f"{', '.join(OFFLINE)} are made offline)")  # fmt: skip
        pack(folder, name, OFFLINE[name]())
    return path


def pack(folder: str | Path, name: str, arrays: Arrays) -> Path:
    """Write ``arrays`` as ``folder/name/{images,labels,test}.npy`` and ``manifest.json``; whole or not at all."""
    path = Path(folder) / name
    if path.exists():
        raise FileExistsError(f"{path} exists; move it away before packing {name!r} again")
    partial = path.with_name(f".{name}-{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        digest = hashlib.sha256()
        for part in ("images", "labels", "test"):
            array = np.ascontiguousarray(getattr(arrays, part))
            digest.update(array)
            np.save(partial / f"{part}.npy", array)
        train = arrays.images[~arrays.test]
        manifest = {
            "name": name,
            "shape": list(arrays.images.shape),
            "class_names": list(arrays.class_names),
            "mean": (train.mean((0, 1, 2), dtype=np.float64) / 255).tolist(),
            "std": (train.std((0, 1, 2), dtype=np.float64) / 255).tolist(),
            "sha256": digest.hexdigest(),
            "sources": list(arrays.sources),
        }
        (partial / "manifest.json").write_text(json.dumps(manifest))
        try:
            partial.rename(path)
        except OSError:  # another process was faster; its content is the same
            if not (path / "manifest.json").is_file():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


@lru_cache(maxsize=4)
def load(folder: str | Path, name: str) -> Dataset:
    """The packed data set ``name``, prepared first if it can be. Raises ValueError if a file of it is damaged."""
    path = prepare(folder, name)
    try:
        manifest = json.loads((path / "manifest.json").read_text())
        images, labels, test = (np.load(path / f"{part}.npy") for part in ("images", "labels", "test"))
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"packed data set {path} is damaged ({error}); move the folder away and prepare it again") from None
    if list(images.shape) != manifest["shape"]:
        raise ValueError(f"packed data set {path} is damaged: its manifest says {manifest['shape']}, its images {images.shape}")
    return Dataset(
        name=name,
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        test=torch.from_numpy(test),
        class_names=tuple(manifest["class_names"]),
        sources=tuple(manifest["sources"]),
        mean=torch.tensor(manifest["mean"]),
        std=torch.tensor(manifest["std"]),
        sha256=manifest["sha256"],
    )


def split(dataset: Dataset, validation: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices (train, validation) among the items that are not test; ``validation`` is the share, drawn at random."""
    items = (~dataset.test).nonzero().flatten()
    items = items[torch.randperm(len(items), generator=generator)]
    count = round(validation * len(items))
    return items[count:], items[:count]
