"""A folder of images, with a folder for each class, as a data set."""

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .. import data
from ..files import file_sha256, installed, require_space
from . import decode, duplicates
from .archives import atomic_folder, visible
from .cores import usable_cores
from .prepare import packing, write
from .splits import SEED, TEST_SHARE, grouped
from .world import PHOTOS, Arrays

FEWEST = 5  # images of a class, so that training, validation and test get some
PARTS = ("train", "val", "valid", "validation", "test")  # subfolders that are a split, not classes
EXAMPLE = ("astronaut", "china", "coffee", "rocket", "tissue")  # of world.PHOTOS
EXAMPLE_IMAGES, EXAMPLE_PIXELS = 40, 64  # per class, and their edge
FLAT = 5.0  # the least standard deviation of a tile, of 255
LAYOUT = "with one subfolder of images per class"


# --- the images -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Listing:
    """Image files by class, then by name, relative to ``root``; labels int64 [n]; test bool [n] unless to be drawn."""

    root: Path
    files: list[str]
    labels: np.ndarray
    test: np.ndarray | None
    class_names: tuple[str, ...]


def listing(images: str | Path) -> Listing:
    """The images of a folder with one subfolder per class, or with ``train`` and ``test`` (or ``val``) folders of such.

    Of three parts, ``val`` joins ``train``: validation images are drawn anew for each seed. Relative folders count from
    the project's root.

    Raises FileNotFoundError if the folder is not there; ValueError that names it, or the class, for a file, no images,
    a single class, fewer than `FEWEST` images of a class to learn from, or a class that train or test lacks.
    """
    root = (Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()) / Path(images).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"images={str(images)!r}: {root} does not exist; give a folder {LAYOUT}")
    if not root.is_dir():
        raise ValueError(f"images={str(images)!r} is a file; give a folder (an archive: unpacked) {LAYOUT}")
    parts = {folder.name: folder for folder in visible(root) if folder.is_dir()}
    parts = parts if "train" in parts and set(parts) <= set(PARTS) else {"": root}
    held_out = next((part for part in reversed(PARTS) if part in parts), "") if len(parts) > 1 else None
    found: dict[str, list[tuple[str, bool]]] = {}
    for part, folder in parts.items():
        for name, file in _images(folder):
            found.setdefault(name, []).append((file.relative_to(root).as_posix(), part == held_out))
    _refuse(root, found, held_out)
    names = tuple(sorted(found))
    items = [item for name in names for item in sorted(found[name])]
    labels = np.repeat(np.arange(len(names)), [len(found[name]) for name in names])
    test = None if held_out is None else np.array([tested for _, tested in items])
    return Listing(root, [file for file, _ in items], labels, test, names)


def _images(folder: Path) -> Iterator[tuple[str, Path]]:
    """(class, file) of all image files in the subfolders, at any depth."""
    for inner in (inner for inner in visible(folder) if inner.is_dir()):
        for file in inner.rglob("*"):
            if file.suffix.lower() in decode.SUFFIXES and file.is_file() and not file.name.startswith("."):
                yield inner.name, file


def _refuse(root: Path, found: dict[str, list[tuple[str, bool]]], held_out: str | None):
    if len(found) < 2:
        layout = f"{root} should hold one subfolder per class with its images in it"
        only = f"only one class was found, {next(iter(found))!r}" if found else "no images were found in its subfolders"
        raise ValueError(f"{layout} ({', '.join(sorted(decode.SUFFIXES))}); {only}")
    learned = {name: sum(not tested for _, tested in items) for name, items in found.items()}
    if few := {name: count for name, count in learned.items() if count < FEWEST}:
        name, count = next(iter(sorted(few.items())))
        where = root / "train" if held_out else root
        needed = f"at least {FEWEST} are needed ({len(few)} such classes)"
        raise ValueError(f"{where}: class {name!r} has {count} images, {needed}; add images or move the class away")
    if held_out and (lacking := [name for name, items in found.items() if learned[name] == len(items)]):
        none = f"{root / held_out} has no images of class {min(lacking)!r}"
        raise ValueError(f"{none}; add some, or give a folder without a split")


def pack_folder(images: str | Path, folder: str | Path, size: int) -> str:
    """Pack a folder of images as ``folder/folder_<name>-<digest>`` at ``size`` pixels, once; returns that name.

    Each image is resized to a square as the paper's recipe does (`decode.read`). Without a test part, a fifth of each
    class is drawn with seed `SEED`, equal images on one side. The digest is of the files' names and bytes, and the
    size: a changed folder is another data set. Raises as `listing` does, and ValueError with the count and the first of
    unreadable images.
    """
    found, folder = listing(images), Path(folder)
    name = f"folder_{_plain(found.root)}-{_digest(found, size)}"
    if (folder / name / "manifest.json").is_file():
        return name
    files = [found.root / file for file in found.files]
    with packing(folder, name) as target:
        require_space(target, 3 * len(files) * size**2, f"packing {found.root}")
        packed = decode.reserve(target / "images.npy", len(files), size)
        try:
            equal = duplicates.exact_groups(decode.decode(files, packed)[0])
        except ValueError:
            raise ValueError(_unreadable(found.root, files)) from None
        test, split = found.test, {"kind": "given"}
        if test is None:
            test, split = grouped(found.labels, equal), {"kind": "drawn", "seed": SEED, "share": TEST_SHARE}
        report = duplicates.report(equal, found.labels, test)
        facts = {"origin": {"folder": str(found.root.resolve())}, "split": split, "duplicates": report}
        write(target, Arrays(packed, found.labels, test, found.class_names, found.files), facts)
    return name


def _plain(root: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "_", root.resolve().name.lower()).strip("_")[:32] or "images"


def _digest(found: Listing, size: int) -> str:
    with ThreadPoolExecutor(usable_cores()) as pool:
        contents = pool.map(file_sha256, [found.root / file for file in found.files])
        lines = [f"{content} {file}" for content, file in zip(contents, found.files, strict=True)]
    lines.insert(0, f"{size} {SEED}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def _unreadable(root: Path, files: list[Path]) -> str:
    """How many images can't be decoded, the first of them, and what to do."""

    def trouble(file: Path) -> str:
        try:
            return str(decode.read(file, 1))[:0]
        except ValueError as error:
            return str(error).partition("; ")[0]

    with ThreadPoolExecutor(usable_cores()) as pool:
        found = [text for text in pool.map(trouble, files) if text]
    count = f"{len(found)} of {len(files)} images in {root} can't be read; the first: {found[0]}"
    return f"{count}. Replace them, or move them out of the folder, and start again"


def about(folder: str | Path, dataset: str) -> str:
    """One sentence on a packed folder: counts, size, split and equal images."""
    packed, facts = data.load(folder, dataset), data.manifest(Path(folder) / dataset)
    equal, test = facts["duplicates"], int(packed.test.sum())
    split = f"drawn with seed {SEED}" if facts["split"]["kind"] == "drawn" else "as the folder has them"
    across = f", of them both in training and in test: {equal['across_test']}" if equal["number"] else ""
    images = (
        f"{len(packed.labels)} images of {len(packed.class_names)} classes, brought to {packed.images.shape[1]} pixels"
    )
    return f"{images}; {test} of them for testing ({split}); groups of equal images: {equal['number']}{across}."


def example_folder(folder: str | Path) -> Path:
    """A small image folder, ``folder/example_images``, written once: 64-pixel tiles of photographs that packages carry.

    Forty per class, no two overlapping; which photograph is a tile from? Raises FileNotFoundError where a package lacks
    one.
    """
    target = Path(folder) / "example_images"
    if target.is_dir():
        return target
    rng = np.random.default_rng(0)
    with atomic_folder(target) as partial:
        for name in EXAMPLE:
            (partial / name).mkdir()
            tiles = _tiles(np.asarray(Image.open(installed(PHOTOS[name])).convert("RGB")), EXAMPLE_PIXELS)
            for i, tile in enumerate(rng.permutation(len(tiles))[:EXAMPLE_IMAGES]):
                Image.fromarray(tiles[tile]).save(partial / name / f"{i:02}.png")
    return target


def _tiles(picture: np.ndarray, edge: int) -> np.ndarray:
    """The squares [n, edge, edge, 3] of a grid over a picture [height, width, 3] that are not nearly flat."""
    rows, columns = (length // edge for length in picture.shape[:2])
    grid = picture[: rows * edge, : columns * edge].reshape(rows, edge, columns, edge, 3)
    tiles = grid.swapaxes(1, 2).reshape(-1, edge, edge, 3)
    return tiles[tiles.std((1, 2)).mean(-1) > FLAT]
