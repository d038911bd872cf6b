"""A folder of images, with a folder for each class, as a data set."""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .. import data
from ..files import file_sha256, installed, require_space
from . import decode, duplicates, layout
from .archives import atomic_folder, few
from .cores import usable_cores
from .layout import shown
from .prepare import packing, write
from .root import project_root
from .splits import SEED, TEST_SHARE, allotted, grouped
from .world import PHOTOS, Arrays

FEWEST = 5  # images of a class, so that training, validation and test get some
EXAMPLE = ("astronaut", "china", "coffee", "rocket", "tissue")  # of world.PHOTOS
EXAMPLE_IMAGES, EXAMPLE_PIXELS = 40, 64  # per class, and their edge
SHOWN = 25  # classes in `about`
FLAT = 5.0  # the least standard deviation of a tile, of 255
LAYOUT = "with one subfolder of images per class"


# --- the images -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Listing:
    """Image files by class, then by name, relative to ``root``; labels int64 [n]; test bool [n] unless to be drawn.

    left_out: what in the folder is not used, and why, in a sentence; inner: folders inside class folders, by class.
    """

    root: Path
    files: list[str]
    labels: np.ndarray
    test: np.ndarray | None
    class_names: tuple[str, ...]
    left_out: str
    inner: dict[str, list[str]]


def listing(images: str | Path) -> Listing:
    """The images of a folder with one subfolder per class, or with ``train`` and ``test`` (or ``val``) folders of such,
    in any usual spelling (`layout`); in class folders, at any depth.

    Of three parts, ``val`` joins ``train``: validation images are drawn anew for each seed. Relative folders count from
    the project's root.

    Raises FileNotFoundError if the folder is not there; ValueError that names it, or the class, for a file, no images,
    a single class, fewer than `FEWEST` images of a class to learn from, a class that train or test lacks, and a layout
    that may mean two things.
    """
    root = (project_root() or Path.cwd()) / Path(images).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"images='{shown(images)}': {shown(root)} does not exist; give a folder {LAYOUT}")
    if not root.is_dir():
        raise ValueError(f"images='{shown(images)}' is a file; give a folder (an archive: unpacked) {LAYOUT}")
    read = layout.read(root)
    found: dict[str, list[tuple[str, bool]]] = {}
    inner: dict[str, set[str]] = {}
    for part, base in read.parts.items():
        for folder in base.folders.values():
            name = unicodedata.normalize("NFC", folder.path.name)  # macOS spells accents as letters of their own
            files = [(file.relative_to(root).as_posix(), part == read.held_out) for file in folder.files()]
            found.setdefault(name, []).extend(files)
            if folder.folders:
                inner.setdefault(shown(name), set()).update(map(shown, folder.folders))
    _refuse(root, found, read)
    names = tuple(sorted(found))
    items = [item for name in names for item in sorted(found[name])]
    labels = np.repeat(np.arange(len(names)), [len(found[name]) for name in names])
    test = None if read.held_out is None else np.array([tested for _, tested in items])
    files = [file for file, _ in items]
    inside = {name: sorted(folders) for name, folders in sorted(inner.items())}
    return Listing(root, files, labels, test, tuple(map(shown, names)), read.unused(), inside)


def _refuse(root: Path, found: dict[str, list[tuple[str, bool]]], read: layout.Layout):
    if len(found) < 2:
        should = f"{shown(root)} should hold one subfolder per class with its images in it"
        only = f"only one class was found, '{shown(min(found))}'" if found else "no images were found in its subfolders"
        raise ValueError(f"{should} ({', '.join(sorted(layout.READ))}); {only}. {read.unused()}".rstrip())
    learned = {name: sum(not tested for _, tested in items) for name, items in found.items()}
    if small := {name: count for name, count in learned.items() if count < FEWEST}:
        name, count = next(iter(sorted(small.items())))
        where = shown(read.parts["train"].path if read.held_out else root)
        needed = f"at least {FEWEST} are needed ({len(small)} such classes)"
        alike = [other for other in found if other != name and other.strip().casefold() == name.strip().casefold()]
        needed += f"; there is {shown(alike[0])!r}, too" if alike else ""
        ways = f"add images or move the class away. {read.unused()}".rstrip()
        raise ValueError(f"{where}: class '{shown(name)}' has {count} images, {needed}; {ways}")
    if read.held_out and (lacking := [name for name, items in found.items() if learned[name] == len(items)]):
        none = f"{shown(read.parts[read.held_out].path)} has no images of class '{shown(min(lacking))}'"
        raise ValueError(f"{none}; add some, or give a folder without a split")


def pack_folder(images: str | Path, folder: str | Path, size: int) -> str:
    """Pack a folder of images as ``folder/folder_<name>-<digest>`` at ``size`` pixels, once; returns that name.

    Each image is resized to a square as the paper's recipe does (`decode.read`). Without a test part, a fifth of each
    class is drawn with seed `SEED`, equal images on one side. The digest is of the files' names and bytes, and the
    size: a changed folder is another data set. Raises as `listing` does, and ValueError with the count and the first of
    unreadable images.
    """
    found, folder = listing(images), Path(folder)
    files = [found.root / file for file in found.files]
    try:
        name = f"folder_{_plain(found.root)}-{_digest(found, size)}"
    except OSError as error:
        raise ValueError(_unreadable(found.root, files, error)) from None
    if (folder / name / "manifest.json").is_file():
        return name
    with packing(folder, name) as target:
        require_space(target, 3 * len(files) * size**2, f"packing {found.root}")
        packed = decode.reserve(target / "images.npy", len(files), size)
        try:
            equal = duplicates.exact_groups(decode.decode(files, packed)[0])
        except ValueError as error:
            raise ValueError(_unreadable(found.root, files, error)) from None
        test, split = found.test, {"kind": "given"}
        if test is None:
            remedy = "add other images to it, move it away, or give train and test folders of your own"
            test = grouped(found.labels, equal, found.class_names, remedy)
            split = {"kind": "drawn", "seed": SEED, "share": TEST_SHARE}
        report = duplicates.report(equal, found.labels, test)
        facts = {"origin": {"folder": shown(found.root.resolve())}, "split": split, "duplicates": report}
        facts["remarks"] = _remarks(files)
        sources = [shown(file) for file in found.files]
        write(target, Arrays(packed, found.labels, test, found.class_names, sources), facts)
    return name


def _plain(root: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "_", root.resolve().name.lower()).strip("_")[:32] or "images"


def _digest(found: Listing, size: int) -> str:
    with ThreadPoolExecutor(usable_cores()) as pool:
        contents = pool.map(file_sha256, [found.root / file for file in found.files])
        lines = [f"{content} {file}" for content, file in zip(contents, found.files, strict=True)]
    lines.insert(0, f"{size} {SEED}")
    sizes = np.bincount(found.labels)
    if found.test is None and (allotted(sizes) != np.maximum(1, np.rint(TEST_SHARE * sizes))).any():
        lines[0] += " by largest remainder"  # before, each class was rounded for itself: another set of test items
    return hashlib.sha256(os.fsencode("\n".join(lines))).hexdigest()[:8]


def _remarks(files: list[Path]) -> dict[str, int]:
    """How many images are not used just as they are stored, by what was done."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return dict(sorted(Counter(remark for each in pool.map(decode.remarks, files) for remark in each).items()))


def _unreadable(root: Path, files: list[Path], error: Exception) -> str:
    """How many images can't be decoded, the first of them, and what to do."""

    def trouble(file: Path) -> str:
        try:
            return str(decode.read(file, 1))[:0]
        except ValueError as error:
            return str(error).partition("; ")[0]

    with ThreadPoolExecutor(usable_cores()) as pool:
        found = [text for text in pool.map(trouble, files) if text] or [str(error)]
    count = f"{len(found)} of {len(files)} images in {shown(root)} can't be read; the first: {shown(found[0])}"
    return f"{count}. Replace them, or move them out of the folder, and start again"


def about(folder: str | Path, dataset: str, images: str | Path = "") -> str:
    """A packed folder in a few lines: counts, size, split, equal images, the classes, what was done to images, and,
    where ``images`` is the folder that it was packed from, what in it is left out and why."""
    packed, facts = data.load(folder, dataset), data.manifest(Path(folder) / dataset)
    equal, test = facts["duplicates"], int(packed.test.sum())
    split = f"drawn with seed {SEED}" if facts["split"]["kind"] == "drawn" else "as the folder has them"
    across = f", of them both in training and in test: {equal['across_test']}" if equal["number"] else ""
    across += f", in several classes: {equal['across_classes']}" if equal["across_classes"] else ""
    size = f"brought to {packed.images.shape[1]} pixels"
    lines = [
        f"{len(packed.labels)} images of {len(packed.class_names)} classes, {size}; {test} of them for testing "
        f"({split}); groups of equal images: {equal['number']}{across}."
    ]
    counts = [f"{i} {name} ({count})" for i, (name, count) in enumerate(facts["counts"].items())]
    lines.append(f"Classes (images): {', '.join(counts[:SHOWN])}{' ...' if len(counts) > SHOWN else ''}.")
    lines += [f"Images with {remark}: {count}." for remark, count in facts.get("remarks", {}).items()]
    found = listing(images) if images else None
    if found and found.inner:
        inner = [f"{name} ({few(folders)})" for name, folders in found.inner.items()]
        lines.append(f"Folders inside class folders belong to the class: {few(inner)}.")
    return "\n".join(lines + ([found.left_out] if found and found.left_out else []))


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
