"""Data sets by name: decoded once into one packed uint8 array in a folder, with a manifest; split by a recorded seed."""

import hashlib
import json
import os
import re
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import classic, real
from .fetch import require_space
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
PAPER_NAMES = {"photos": "DTD", "elpv": "Brain Tumor", "fruits": "Fruit25",
               "photos_64": "DTD", "elpv_64": "Brain Tumor", "photos_128": "DTD", "elpv_128": "Brain Tumor",
               "dtd": "DTD", "dtd_official": "DTD", "dtd_grouped": "DTD",
               "brain_tumor": "Brain Tumor", "brain_tumor_grouped": "Brain Tumor",
               "fruit25": "Fruit25", "fruit25_grouped": "Fruit25"}  # fmt: skip
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


def prepare(folder: str | Path, name: str, source: str | Path | None = None, complete: bool = True) -> Path:
    """Make sure the packed data set is in ``folder``, once: generates what can be made offline, else finds and decodes raw files.

    The papers' data sets (`real.VARIANTS`, `classic.SETS`) are taken from ``source`` (a folder or archive), else from
    ``folder/raw``, else downloaded; set PLASTICITY_OFFLINE=1 to skip downloads. ``complete=False`` permits copies with fewer
    images than published.

    Raises ValueError for an unknown name, wrong counts or classes (named), a damaged file (named), and for a set that was
    packed with ``complete=False`` if it is not complete; FileNotFoundError that says what to put where; OSError without room.
    """
    path = Path(folder) / name
    if FOLDER.fullmatch(name) and not path.exists():
        raise FileNotFoundError(f"data set {name!r}, a packed folder of images, is not in {folder}: pack the images again by "
                                f"plasticity.own.pack_folder, or give the data folder it was packed into")  # fmt: skip
    if name not in TITLES and not FOLDER.fullmatch(name):
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(TITLES)}")
    if (path / "manifest.json").is_file():
        if name not in OFFLINE and complete:
            _refuse_incomplete(path, manifest(path))
    elif name in OFFLINE:
        if source is not None:
            raise ValueError(f"source={str(source)!r}: data set {name!r} is made offline, from nothing")
        pack(folder, name, OFFLINE[name]())
    else:
        _pack_real(Path(folder), name, source, complete)
    return path


def _pack_real(folder: Path, name: str, source: str | Path | None, complete: bool):
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".partial", f".{name}-", folder) as scratch:
        try:
            room = classic if name in classic.SETS else real
            arrays, facts = room.assemble(folder, name, source, complete, Path(scratch))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"data set {name!r} is not in {folder / name}: {error}") from None
        pack(folder, name, arrays, facts, move=True)


def _refuse_incomplete(path: Path, facts: dict):
    if not facts.get("complete", True):
        raise ValueError(f"{path} was packed from {facts['shape'][0]:,} images, {TITLES[path.name]} has {facts['expected']:,}; move "
                         f"the folder away to pack the whole, or use a profile that allows it (complete=False)")  # fmt: skip


def pack(folder: str | Path, name: str, arrays: Arrays, facts: dict | None = None, move: bool = False) -> Path:
    """Write ``arrays`` as ``folder/name/{images,labels,test}.npy`` and ``manifest.json``; whole or not at all.

    ``facts`` join the manifest. With ``move``, the images are a memory map of an .npy file on the same disk, and that file
    is moved. Raises FileExistsError if the folder is there, OSError if the disk has no room.
    """
    path = Path(folder) / name
    if path.exists():
        raise FileExistsError(f"{path} exists; move it away before packing {name!r} again")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(".partial", f".{name}-", path.parent) as scratch:
        partial = Path(scratch) / name
        partial.mkdir()
        digest = hashlib.sha256()
        for part in ("images", "labels", "test"):
            array = np.asarray(getattr(arrays, part))
            require_space(partial, 0 if move else array.nbytes, f"packing {name!r}")
            array = np.ascontiguousarray(array)
            digest.update(array)
            if part == "images" and move:
                arrays.images.flush()
                os.replace(arrays.images.filename, partial / "images.npy")
            else:
                np.save(partial / f"{part}.npy", array)
        mean, std = statistics(arrays.images, ~arrays.test)
        content = {
            "name": name,
            "shape": list(arrays.images.shape),
            "class_names": list(arrays.class_names),
            "mean": mean,
            "std": std,
            "sha256": digest.hexdigest(),
            "sources": list(arrays.sources),
        }
        (partial / "manifest.json").write_text(json.dumps(content | (facts or {})))
        try:
            partial.rename(path)
        except OSError:  # another process was faster; its content is the same
            if not (path / "manifest.json").is_file():
                raise
    return path


def statistics(images: np.ndarray, chosen: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by channel, in 0..1, of the chosen (bool [n]) of uint8 images [n, height, width, channels].

    Exact, from integer sums over a few images at a time, so that a set larger than the memory will do.
    """
    total = squares = count = 0
    for start in range(0, len(images), 64):
        pixels = images[start : start + 64][chosen[start : start + 64]].reshape(-1, images.shape[-1])
        total = total + pixels.sum(0, dtype=np.int64)
        squares = squares + np.square(pixels, dtype=np.int32).sum(0, dtype=np.int64)
        count += len(pixels)
    mean = total / count
    return (mean / 255).tolist(), (np.sqrt(np.maximum(squares / count - mean**2, 0)) / 255).tolist()


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
    path = prepare(folder, name, complete=not (Path(folder) / name / "manifest.json").is_file())
    facts = manifest(path)
    try:
        images = np.load(path / "images.npy", mmap_mode="c")
        labels, test = (np.load(path / f"{part}.npy") for part in ("labels", "test"))
    except (ValueError, EOFError, OSError) as error:
        raise _damaged(path, error) from None
    if list(images.shape) != facts["shape"]:
        raise ValueError(f"packed data set {path} is damaged: its manifest says {facts['shape']}, its images {images.shape}")
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
