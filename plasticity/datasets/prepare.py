"""Packing: raw or generated images become one array with a manifest."""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from ..data import FOLDER, TITLES, manifest
from ..files import require_space
from . import classic
from . import main_paper as real
from .world import OFFLINE, Arrays


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
        raise FileNotFoundError(
            f"data set {name!r}, a packed folder of images, is not in {folder}: pack the images again by "
            f"plasticity.own.pack_folder, or give the data folder it was packed into"
        )
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
        raise ValueError(
            f"{path} was packed from {facts['shape'][0]:,} images, {TITLES[path.name]} has {facts['expected']:,}; move "
            f"the folder away to pack the whole, or use a profile that allows it (complete=False)"
        )


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
