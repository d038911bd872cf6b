"""Packing: raw or generated images become one array with a manifest."""

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ..data import RECIPES, TITLES, is_packed, known_path, manifest, missing, outdated
from ..files import require_space
from . import classic, main_paper
from .archives import atomic_folder
from .world import OFFLINE, Arrays


def prepare(folder: str | Path, name: str, source: str | Path | None = None, complete: bool = True) -> Path:
    """Make sure the packed data set is in ``folder``, once: generated if it can be made offline, else from raw files.

    The papers' data sets (`main_paper.VARIANTS`, `classic.SETS`) are taken from ``source`` (a folder or archive), else
    from ``folder/raw``, else downloaded; set PLASTICITY_OFFLINE=1 to skip downloads. ``complete=False`` permits copies
    with fewer images than published. A set that another version packed in another way (`data.RECIPES`) is packed
    again, and the old one kept beside it.

    Raises ValueError for an unknown name, wrong counts or classes (named), a damaged file (named), and for a set that
    was packed with ``complete=False`` and is not complete; FileNotFoundError that says what to put where; OSError
    without room.
    """
    path = known_path(folder, name)
    if is_packed(path):
        facts = manifest(path)
        if complete and not facts.get("complete", True):
            raise ValueError(
                f"{path} was packed from {facts['shape'][0]:,} images, {TITLES[name]} has {facts['expected']:,}; move "
                f"the folder away to pack the whole, or use a profile that allows it (complete=False)"
            )
    elif name not in TITLES:
        raise missing(path)
    elif name in OFFLINE and source is not None:
        raise ValueError(f"source={str(source)!r}: data set {name!r} is made offline, from nothing")
    elif name in OFFLINE:
        pack(folder, name, OFFLINE[name]())
    else:
        room = classic if name in classic.SETS else main_paper
        try:
            with packing(folder, name) as target:
                write(target, *room.assemble(Path(folder), name, source, complete, target))
        except FileNotFoundError as error:
            state = "was packed by another version, in another way," if outdated(path) else "is not"
            raise FileNotFoundError(f"data set {name!r} {state} in {path}: {error}") from None
    return path


def ensure(folder: str | Path, name: str) -> Path:
    """The same, but a set that is packed already is left as it is, complete or not."""
    path = known_path(folder, name)
    complete = not outdated(path) or manifest(path).get("complete", True)
    return path if is_packed(path) else prepare(folder, name, complete=complete)


def pack(folder: str | Path, name: str, arrays: Arrays, facts: dict | None = None) -> Path:
    """Write ``arrays`` as ``folder/name``, whole or not at all. Raises as `packing` and `write` do."""
    with packing(folder, name) as target:
        write(target, arrays, facts or {})
    return Path(folder) / name


@contextlib.contextmanager
def packing(folder: str | Path, name: str) -> Iterator[Path]:
    """A temporary folder for `write` that becomes ``folder/name``, in the place of one that another version
    packed in another way. Raises FileExistsError if anything else is there already."""
    path = Path(folder) / name
    if path.exists() and not outdated(path):
        raise FileExistsError(f"{path} exists; move it away before packing {name!r} again")
    with atomic_folder(path) as target:
        yield target
        if outdated(path):
            keep_beside(path)


def keep_beside(path: Path) -> None:
    """Rename a packed set of an older recipe, and say so."""
    kept = path.with_name(f"{path.name}-recipe{manifest(path).get('recipe', 1)}")
    while kept.exists():
        kept = kept.with_name(kept.name + "~")
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        path.rename(kept)
        now = f"{path} was packed by another version, and is packed again; the old one is now {kept}"
        print(f"{now}; runs recorded on it do not go together with new ones", file=sys.stderr)


def write(target: Path, arrays: Arrays, facts: dict) -> None:
    """Write ``{images,labels,test}.npy``, ``groups.npy`` where there are groups, and ``manifest.json``, which ``facts``
    join, to the folder ``target``.

    Images that are a memory map of ``target/images.npy`` are there already. Raises OSError if the disk has no room.
    """
    digest = hashlib.sha256()
    for part in ("images", "labels", "test", *(["groups"] if arrays.groups is not None else [])):
        array, file = np.asarray(getattr(arrays, part)), target / f"{part}.npy"
        mapped = file.is_file()
        require_space(target, 0 if mapped else array.nbytes, f"packing {target.name!r}")
        array = np.ascontiguousarray(array)
        digest.update(array)
        if mapped:
            arrays.images.flush()
        else:
            np.save(file, array)
    mean, std = statistics(arrays.images, ~arrays.test)
    names, labels = arrays.class_names, arrays.labels
    counts, test_counts = (np.bincount(each, minlength=len(names)).tolist() for each in (labels, labels[arrays.test]))
    content = {
        "name": target.name,
        "shape": list(arrays.images.shape),
        "class_names": list(names),
        "mean": mean,
        "std": std,
        "sha256": digest.hexdigest(),
        "sources": list(arrays.sources),
        "counts": dict(zip(names, counts, strict=True)),
        "test_counts": dict(zip(names, test_counts, strict=True)),
        "versions": {package: version(package) for package in ("numpy", "pillow", "imagehash")},
    }
    if target.name in RECIPES:
        content["recipe"] = RECIPES[target.name]
    (target / "manifest.json").write_text(json.dumps(content | facts), "utf-8")


def statistics(images: np.ndarray, chosen: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean and standard deviation by channel, in 0..1, of the ``chosen`` (bool [n]) of uint8 [n, height, width, 3].

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
