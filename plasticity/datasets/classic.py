"""MNIST, CIFAR-10, CIFAR-100 and Tiny ImageNet, the companion papers' sets: from the published files to arrays.

    plasticity prepare cifar10 --data data [--source FOLDER OR ARCHIVE] [--any-count]

torchvision reads the first three. The official test parts are the test items, of Tiny ImageNet its validation images
(its own test part has no labels). Images keep their 28, 32 or 64 pixels.
"""

import gzip
import pickle
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pooch
from torchvision.datasets import CIFAR10, CIFAR100, MNIST

from ..files import NotDownloaded, require_space
from . import archives, decode
from .archives import Remote, few
from .world import Arrays

MAX_IDX_BYTES = 10**8  # of one of MNIST's files, unpacked: twice the largest; more is refused
TINY_JPEG = re.compile(r"train/(n\d{8})/images/[^/]+\.JPEG|val/images/([^/]+\.JPEG)")


@dataclass(frozen=True)
class ClassicSet:
    """What is published of a data set: its archives, and how many classes, pixels and images it has."""

    title: str
    remotes: tuple[Remote, ...]
    read: Callable  # (this, folder, source, complete) -> `Parts`
    classes: int
    pixels: int
    train: int
    test: int

    @property
    def total(self) -> int:
        """Train and test images."""
        return self.train + self.test

    @property
    def archive_bytes(self) -> int:
        """About, all archives together."""
        return sum(remote.archive_bytes for remote in self.remotes)


@dataclass(frozen=True, eq=False)
class Parts:
    """What a reader gives, in any order: n images and their labels, test items and sources; and where they are from."""

    images: np.ndarray | list[Path]  # uint8 [n, height, width, channels], or files to be decoded
    labels: np.ndarray  # int64 [n]
    test: np.ndarray  # bool [n]
    sources: list[str]
    class_names: tuple[str, ...]
    origin: dict
    path: Path  # for messages


# --- MNIST ------------------------------------------------------------------------------------------------------------
def read_mnist(known: ClassicSet, folder: Path, source: str | Path | None, complete: bool) -> Parts:
    """The four gzipped IDX files, images and labels of train and of t10k."""
    files = mnist_files(known, folder / "raw", source)
    md5s = {path.name: archives.verified(path, remote, complete) for remote, path in files.items()}
    path = next(iter(files.values())).parent
    with tempfile.TemporaryDirectory() as scratch:
        for packed in files.values():
            gunzip(packed, Path(scratch, "MNIST", "raw", packed.stem))
        try:
            parts = [MNIST(scratch, train) for train in (True, False)]
        except (ArithmeticError, AssertionError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is not as MNIST's files are ({type(error).__name__}: {error})") from error
    for part in parts:
        if part.data.shape != (len(part.targets), 28, 28):
            raise ValueError(f"{path}: images of shape {tuple(part.data.shape)}, but {len(part.targets)} labels")
    images, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("data", "targets"))
    sources = [f"{name} {i}" for name, part in zip(("train", "t10k"), parts, strict=True) for i in range(len(part))]
    published = all(md5s[path.name] == remote.hash[1] for remote, path in files.items())
    origin = {"archive": ", ".join(md5s), "md5": md5s, "published": published}
    test = np.arange(len(labels)) >= len(parts[0])
    return Parts(images[..., None], labels, test, sources, tuple("0123456789"), origin, path)


def mnist_files(known: ClassicSet, raw: Path, source: str | Path | None) -> dict[Remote, Path]:
    """The published files in ``source`` if given, else in ``raw`` as torchvision has them, else downloaded to there."""
    root = raw if source is None else Path(source).expanduser()
    names = {remote: Path(remote.archive).name for remote in known.remotes}
    if source is not None and not root.is_dir():
        problem = f"is one file; MNIST is the files {', '.join(names.values())}" if root.exists() else "does not exist"
        raise FileNotFoundError(f"source {root} {problem}: give the folder that holds them")
    places = [(remote, path) for remote, name in names.items() for path in (root / remote.archive, root / name)]
    found = {remote: path for remote, path in places if path.is_file()}
    missing = [remote for remote in names if remote not in found]
    if missing and source is not None:
        raise FileNotFoundError(f"source {root} does not hold {', '.join(names[remote] for remote in missing)}")
    try:
        found |= {remote: archives.download(remote, raw) for remote in missing}
    except NotDownloaded as error:
        raise FileNotFoundError(archives.instructions(missing, raw, str(error))) from None
    return {remote: found[remote] for remote in names}


def gunzip(packed: Path, path: Path) -> None:
    """Unpack a gzipped file, in memory. ValueError for one that is damaged or too large."""
    try:
        with gzip.open(packed) as file:
            content = file.read(MAX_IDX_BYTES + 1)
    except archives.DAMAGED as error:
        raise ValueError(f"{packed} cannot be unpacked ({type(error).__name__}: {error}); get it again") from error
    if len(content) > MAX_IDX_BYTES:
        raise ValueError(f"{packed} is not unpacked: it holds more than the {MAX_IDX_BYTES:,} bytes allowed")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


# --- CIFAR ------------------------------------------------------------------------------------------------------------
def read_cifar(
    kind: type[CIFAR10], known: ClassicSet, folder: Path, source: str | Path | None, complete: bool
) -> Parts:
    """The pickled batches and the names of the classes, from their archive or folder."""
    raw = archives.find(folder, known.remotes[0], source, complete)
    root = raw.path.parent if raw.path.name == kind.base_folder else raw.path
    meta, batches = kind.meta["filename"], [*kind.train_list, *kind.test_list]
    for file, md5 in [*batches, (meta, kind.meta["md5"])]:
        check_pickle(root / kind.base_folder / file, md5, complete)
    images, labels, test, sources = [], [], [], []
    for file, _ in batches:  # one at a time, to tell which is not as it should be
        checked = {"train_list": [[file, None]], "test_list": [], "meta": kind.meta | {"md5": None}}
        try:
            batch = type(kind.__name__, (kind,), checked)(root)
            expected = (len(batch.targets), 32, 32, 3)
            if batch.data.shape != expected or batch.data.dtype != np.uint8 or set(map(type, batch.targets)) - {int}:
                raise ValueError(f"images {batch.data.shape} of {batch.data.dtype}, {len(batch.targets)} labels")
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}"
            raise ValueError(
                f"{root / kind.base_folder}: {file} or {meta} is not as {known.title}'s are ({problem})"
            ) from None
        images.append(batch.data)
        labels += batch.targets
        test += [file.startswith("test")] * len(batch.targets)
        sources += [f"{file} {i}" for i in range(len(batch.targets))]
    labels, test = np.array(labels, np.int64), np.array(test, bool)
    return Parts(np.concatenate(images), labels, test, sources, tuple(batch.classes), raw.origin, raw.path)


def check_pickle(path: Path, md5: str, complete: bool) -> None:
    """Raise ValueError for a pickle that is not as published, or, unless ``complete``, that might do harm."""
    if not path.is_file():
        raise ValueError(f"{path} is missing")
    found = pooch.file_hash(str(path), "md5")
    if found != md5 and complete:
        raise ValueError(f"{path} has md5 {found}, published is {md5}: broken or another file; get it again")
    if found != md5:
        try:
            with path.open("rb") as file:
                Harmless(file, encoding="latin1").load()
        except MemoryError:
            raise
        except Exception as error:  # a damaged pickle raises almost anything
            raise ValueError(f"{path} is not read: {error or type(error).__name__}") from None


class Array:
    """Stands for an array, while `Harmless` looks at how it is written."""

    def __init__(self, *written):
        pass

    def __setstate__(self, state):
        pass


class Bytes:
    """Stands for the type of an array's numbers, which must be bytes: reading others can do harm."""

    def __new__(cls, name, *ignored):
        if name != "u1":
            raise pickle.UnpicklingError(f"it holds an array of {name}")
        return super().__new__(cls)

    def __setstate__(self, state):
        if state != (3, "|", None, None, None, -1, -1, 0):
            raise pickle.UnpicklingError("it holds an array of a strange type")


class Harmless(pickle.Unpickler):
    """Looks at a pickle and runs nothing: UnpicklingError if it names more than it takes to make arrays of bytes."""

    NAMES = {
        ("numpy", "ndarray"): Array(),  # no class, so that it can't be called
        ("numpy", "dtype"): Bytes,
        ("_codecs", "encode"): Array,  # bytes, which protocol 2 writes as text
        ("numpy.core.multiarray", "_reconstruct"): Array,
        ("numpy.core.numeric", "_frombuffer"): Array,
    }

    def find_class(self, module, name):
        named = module.replace("numpy._core", "numpy.core"), name
        if named not in self.NAMES:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which has no place in it")
        return self.NAMES[named]


# --- Tiny ImageNet ----------------------------------------------------------------------------------------------------
def read_tiny(known: ClassicSet, folder: Path, source: str | Path | None, complete: bool) -> Parts:
    """Tiny ImageNet's files; its classes are the WordNet ids in alphabetical order."""
    raw = archives.find(folder, known.remotes[0], source, complete)
    inner = raw.path / known.remotes[0].key
    root = inner if inner.is_dir() else raw.path
    if not (notes := root / "val/val_annotations.txt").is_file():
        raise ValueError(f"{raw.path} does not hold {known.title}: no {known.remotes[0].key}/val/val_annotations.txt")
    lines = [line.split() for line in notes.read_text("utf-8", errors="replace").splitlines()]
    validation = {line[0]: line[1] for line in lines if len(line) > 1}
    wnids = {}  # of each image
    for file in sorted(
        path.relative_to(root).as_posix() for part in ("train", "val") for path in (root / part).rglob("*")
    ):
        if match := TINY_JPEG.fullmatch(file):
            wnids[file] = match[1] or validation.pop(match[2], "")
    if odd := [file for file, wnid in wnids.items() if not wnid] + [f"val/images/{file}" for file in validation]:
        raise ValueError(f"{root}: val_annotations.txt and val/images do not agree about {few(odd)}")
    class_names = tuple(sorted({wnid for file, wnid in wnids.items() if file.startswith("train/")}))
    if strange := sorted(set(wnids.values()) - set(class_names)):
        raise ValueError(f"{root}: {few(strange)} in val_annotations.txt have no images in train")
    label = {wnid: i for i, wnid in enumerate(class_names)}
    labels = np.array([label[wnid] for wnid in wnids.values()], np.int64)
    test = np.array([file.startswith("val/") for file in wnids], bool)
    return Parts([root / file for file in wnids], labels, test, list(wnids), class_names, raw.origin, root)


# --- the sets ---------------------------------------------------------------------------------------------------------
def _mnist(name: str, md5: str) -> Remote:
    urls = tuple(mirror + name for mirror in MNIST.mirrors)
    page = "https://github.com/cvdfoundation/mnist"
    return Remote("MNIST", f"MNIST/raw/{name}", page, urls, f"md5:{md5}", archive_bytes=2_900_000)


def _cifar(kind: type[CIFAR10], title: str, classes: int, size: int) -> ClassicSet:
    """torchvision knows the address and the hashes."""
    page = "https://www.cs.toronto.edu/~kriz/cifar.html"
    names = (kind.base_folder, kind.filename, page, (kind.url,), f"md5:{kind.tgz_md5}")
    remote = Remote(*names, archive_bytes=size, max_bytes=10**9)
    return ClassicSet(title, (remote,), partial(read_cifar, kind), classes, 32, 50_000, 10_000)


TINY = Remote(
    key="tiny-imagenet-200",
    archive="tiny-imagenet-200.zip",
    page="http://cs231n.stanford.edu/",
    urls=("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
    digest="md5:90528d7ca1a48142e341f4ef8d21d0de",  # as others publish it; its makers give none
    archive_bytes=248_000_000,
    max_bytes=10**9,
)
SETS = {
    "mnist": ClassicSet("MNIST", tuple(_mnist(*file) for file in MNIST.resources), read_mnist, 10, 28, 60_000, 10_000),
    "cifar10": _cifar(CIFAR10, "CIFAR-10", 10, 170_500_000),
    "cifar100": _cifar(CIFAR100, "CIFAR-100", 100, 169_000_000),
    "tiny_imagenet": ClassicSet("Tiny ImageNet", (TINY,), read_tiny, 200, 64, 100_000, 10_000),
}


# --- into arrays ------------------------------------------------------------------------------------------------------
def assemble(folder: Path, name: str, source: str | Path | None, complete: bool, target: Path) -> tuple[Arrays, dict]:
    """A set's arrays, from raw files found or downloaded, and what its manifest says about them.

    The images, uint8 [n, pixels, pixels, 3], sorted by class and the train ones first, are a memory map of
    ``target/images.npy``. ``complete=False`` accepts fewer images than published, under other hashes.

    Raises FileNotFoundError that says what to put where; ValueError for wrong hashes and counts (naming found and
    published) and for files that are damaged or not what they should be (named); OSError if the disk has no room.
    """
    known = SETS[name]
    parts = known.read(known, folder, source, complete)
    whole = is_whole(parts, known, complete)
    order = np.lexsort((parts.test, parts.labels))  # stable
    require_space(target, len(order) * 3 * known.pixels**2, f"packing {name!r}")
    images = decode.reserve(target / "images.npy", len(order), known.pixels)
    if isinstance(parts.images, list):
        decode.decode([parts.images[i] for i in order], images, resize=False)
    else:
        images[:] = parts.images[order]
    sources = [parts.sources[i] for i in order]
    facts = {"split": {"kind": "official"}, "expected": known.total, "complete": whole, "origin": parts.origin}
    return Arrays(images, parts.labels[order], parts.test[order], parts.class_names, sources), facts


def is_whole(parts: Parts, known: ClassicSet, complete: bool) -> bool:
    """Whether all published images are there. ValueError if not and ``complete``, for more than published, for labels
    that are no class, and for a class without train or test images."""
    path, names, labels = parts.path, parts.class_names, parts.labels
    if len(set(names)) != known.classes:
        raise ValueError(f"{path} has {len(set(names))} classes, {known.title} has {known.classes}")
    if len(labels) and not 0 <= labels.min() <= labels.max() < known.classes:
        raise ValueError(
            f"{path} has labels {labels.min()} to {labels.max()}, {known.title} has 0 to {known.classes - 1}"
        )
    problems, more = [], False
    for part, chosen, published in (("train", ~parts.test, known.train), ("test", parts.test, known.test)):
        counts = np.bincount(labels[chosen], minlength=known.classes)
        if not counts.all():
            raise ValueError(f"{path} has no {part} images of {few(names[i] for i in np.flatnonzero(counts == 0))}")
        if counts.sum() != published:
            problems.append(f"{counts.sum():,} {part} images (published {published:,})")
            more |= counts.sum() > published
    if problems and (complete or more):
        raise ValueError(f"{path} is not the whole of {known.title}: {', '.join(problems)}; copy or download it again")
    return not problems


def published(name: str) -> int:
    """How many images a set has if nothing is missing."""
    return SETS[name].total
