"""MNIST, CIFAR-10, CIFAR-100 and Tiny ImageNet, the companion papers' sets: from the files that are published to arrays.

    plasticity prepare cifar10 --data data [--source FOLDER OR ARCHIVE] [--any-count]

The official test parts are the test items, of Tiny ImageNet its validation images (its own test part has no labels). Images
keep their 28, 32 or 64 pixels. Nothing is unpacked to the disk. CIFAR's batches are pickles, which may run any code when they
are loaded; here they are read by `Batch`, which knows lists, texts, numbers and arrays of bytes and runs nothing.
"""

import gzip
import hashlib
import io
import pickle
import re
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100, MNIST

from ..files import NotDownloaded, offline, require_space
from . import archives as fetch
from . import decode
from .world import Arrays

MAX_BYTES = 400 * 10**6  # of one file within an archive, unpacked: twice the largest batch; more is refused
TINY_JPEG = re.compile(r"train/(n\d{8})/images/[^/]+\.JPEG|val/images/([^/]+\.JPEG)")


@dataclass(frozen=True)
class Published:
    """One file that is published: its name, where below raw/ it belongs, its md5 and where it is downloaded from, in turn."""

    name: str
    md5: str
    urls: tuple[str, ...]
    folder: str = "."


@dataclass(frozen=True)
class ClassicSet:
    """What is published of a data set.

    files: the archives; inside: the folder in the archive, or its name unpacked; md5s: of the files in there, where published.
    """

    title: str
    page: str
    files: tuple[Published, ...]
    read: Callable  # (this, where, complete) -> a context with the `Parts`
    classes: int
    pixels: int
    train: int
    test: int
    archive_bytes: int  # about, all files together
    inside: str = ""
    md5s: dict[str, str] | None = None

    @property
    def total(self) -> int:
        """Train and test images."""
        return self.train + self.test


@dataclass(frozen=True, eq=False)
class Parts:
    """What a reader gives: items in any order, the image of each made by ``image(i)``, uint8 [pixels, pixels] or [.., .., 3]."""

    labels: np.ndarray  # int64 [n]
    test: np.ndarray  # bool [n]
    class_names: tuple[str, ...]
    sources: list[str]
    image: Callable[[int], np.ndarray]


# --- where the files are ----------------------------------------------------------------------------------------------
def found(folder: Path, known: ClassicSet, source: str | Path | None) -> dict[str, Path]:
    """The published files by name, or {"": folder} of an unpacked archive: in ``source`` if given, else in ``folder/raw``, else
    downloaded to there. ``source`` may be the archive under any name. FileNotFoundError names what to put where."""
    raw = folder / "raw"
    root = raw if source is None else Path(source).expanduser()
    if not root.exists() and source is not None:
        raise FileNotFoundError(f"source {root} does not exist")
    if root.is_file():
        if len(known.files) > 1:
            raise FileNotFoundError(
                f"source {root} is one file; {known.title} is the {len(known.files)} files {_names(known)}: "
                f"give the folder that holds them"
            )
        return {known.files[0].name: root}
    there = {
        file.name: path
        for file in known.files
        for path in (root / file.folder / file.name, root / file.name)
        if path.is_file()
    }
    if len(there) == len(known.files):
        return there
    if known.inside and (
        unpacked := next((p for p in (root / known.inside, root) if p.name == known.inside and p.is_dir()), None)
    ):
        return {"": unpacked}
    if source is not None:
        missing = [file.name for file in known.files if file.name not in there]
        raise FileNotFoundError(
            f"source {root} does not hold {', '.join(missing)}" + (f" or {known.inside}" if known.inside else "")
        )
    try:
        return there | {file.name: download(file, raw, known) for file in known.files if file.name not in there}
    except NotDownloaded as error:
        raise FileNotFoundError(instructions(known, raw, str(error))) from None


def instructions(known: ClassicSet, raw: Path, reason: str) -> str:
    """What a person can do who has no network here."""
    files = "; ".join(f"{file.urls[0]} (md5 {file.md5}) as {raw / file.folder / file.name}" for file in known.files)
    unpacked = f", or unpack it to {raw / known.inside}" if known.inside else ""
    return (
        f"its raw files are not in {raw}. Download {files} (about {known.archive_bytes / 1e6:.0f} MB in all, see {known.page})"
        f"{unpacked}, or give source=, a folder or an archive. It was not downloaded from here: {reason}"
    )


def download(file: Published, raw: Path, known: ClassicSet) -> Path:
    """One file into ``raw``, whole and of the published md5, from the first address that has it, or fetch.NotDownloaded."""
    if offline():
        raise NotDownloaded("PLASTICITY_OFFLINE is set")
    import pooch
    import requests

    folder = raw / file.folder
    folder.mkdir(parents=True, exist_ok=True)
    require_space(folder, known.archive_bytes, f"downloading {known.title}")
    get, problems = pooch.HTTPDownloader(progressbar=True, timeout=(5, 60)), []
    for url in file.urls:
        try:  # pooch downloads to another name and moves what has the right hash
            return Path(pooch.retrieve(url, f"md5:{file.md5}", file.name, folder, downloader=get))
        except (requests.RequestException, ValueError) as error:
            problems.append(f"{url}: {error}")
    raise NotDownloaded("; ".join(problems))


def _names(known: ClassicSet) -> str:
    return ", ".join(file.name for file in known.files)


def check(what: str | Path, md5: str, published: str | None, complete: bool) -> None:
    """ValueError naming both hashes, unless they are equal, none is published, or ``complete`` is False."""
    if complete and published and md5 != published:
        raise ValueError(f"{what} has md5 {md5}, published is {published}: broken or another file; get it again")


def file_md5(path: Path) -> str:
    """The md5 of a file, in hex: as it was published, against accidents, not against forgers."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


# --- readers ----------------------------------------------------------------------------------------------------------
@contextmanager
def read_mnist(known: ClassicSet, where: dict[str, Path], complete: bool) -> Iterator[Parts]:
    """The four IDX files: two of images, two of labels, each gzipped."""
    arrays = {}
    for file in known.files:
        path = where[file.name]
        check(path, file_md5(path), file.md5, complete)
        try:
            with gzip.open(path) as unpacked:
                content = unpacked.read(MAX_BYTES + 1)
        except fetch.DAMAGED as error:
            raise ValueError(f"{path} cannot be unpacked ({type(error).__name__}: {error}); get it again") from error
        arrays[file.name] = idx(content, path, (28, 28) if "images" in file.name else ())
    (train, train_labels), (test, test_labels) = [
        (arrays[f"{part}-images-idx3-ubyte.gz"], arrays[f"{part}-labels-idx1-ubyte.gz"]) for part in ("train", "t10k")
    ]
    for images, labels, part in ((train, train_labels, "train"), (test, test_labels, "t10k")):
        if len(images) != len(labels):
            raise ValueError(f"{known.title}: {len(images)} {part} images, but {len(labels)} labels")
    images, labels = np.concatenate([train, test]), np.concatenate([train_labels, test_labels]).astype(np.int64)
    sources = [f"{part} {i}" for part, n in (("train", len(train)), ("t10k", len(test))) for i in range(n)]
    yield Parts(labels, np.arange(len(labels)) >= len(train), tuple("0123456789"), sources, images.__getitem__)


def idx(content: bytes, path: Path, inner: tuple[int, ...]) -> np.ndarray:
    """The array uint8 [n, *inner] of an IDX file: two zeros, 8 (bytes), the number of dimensions, each size in four bytes."""
    start = 4 + 4 * (1 + len(inner))
    sizes = tuple(np.frombuffer(content[4:start], ">u4").tolist()) if len(content) >= start else ()
    if (
        content[:4] != bytes((0, 0, 8, 1 + len(inner)))
        or sizes[1:] != inner
        or len(content) != start + int(np.prod(sizes))
    ):
        expected = " x ".join(map(str, ("n", *inner)))
        raise ValueError(
            f"{path} is not an IDX file of {expected} bytes: begins with {content[:4].hex()}, has {len(content):,} bytes"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


class Batch(pickle.Unpickler):
    """Reads a pickle of lists, dicts, texts, numbers and numpy arrays; anything else in it is refused before it is called."""

    class Array:
        """What is written of an array. numpy's own code is not trusted with what a stranger wrote."""

        state = None

        def __init__(self, *ignored):
            pass

        def __setstate__(self, state):
            self.state = state

        def bytes(self) -> np.ndarray:
            """The array, uint8, if it is one of bytes; else an exception of any kind."""
            _, shape, kind, by_columns, content = self.state
            if kind.name != "u1":
                raise TypeError(f"an array of {kind.name}")
            content = content.encode("latin1") if isinstance(content, str) else content  # Python 2's bytes
            return np.frombuffer(content, np.uint8).reshape(shape, order="F" if by_columns else "C")

    class Kind:
        """What is written of a type of numbers."""

        def __init__(self, name, *ignored):
            self.name = name

        def __setstate__(self, ignored):
            pass

    @staticmethod
    def from_buffer(content, kind, shape, order) -> "Batch.Array":
        """An array as pickle's protocol 5 writes it."""
        array = Batch.Array()
        array.__setstate__((1, shape, kind, order != "C", bytes(content)))
        return array

    @staticmethod
    def encode(text, encoding) -> bytes:
        """Bytes as Python 3 writes them in protocol 2, which is texts."""
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it holds a text to be encoded as {encoding!r}")
        return text.encode("latin1")

    def find_class(self, module: str, name: str):
        """What a name in the pickle stands for; UnpicklingError for all but these."""
        core = module in (
            "numpy.core.multiarray",
            "numpy._core.multiarray",
            "numpy.core.numeric",
            "numpy._core.numeric",
        )
        if core and name == "_reconstruct" or (module, name) == ("numpy", "ndarray"):
            return Batch.Array
        if core and name == "_frombuffer":
            return Batch.from_buffer
        if (module, name) == ("numpy", "dtype"):
            return Batch.Kind
        if (module, name) == ("_codecs", "encode"):
            return Batch.encode
        raise pickle.UnpicklingError(f"it names {module}.{name}, which has no place in it")


def unpickled(content: bytes, what: str) -> dict:
    """A dict with text keys from a pickle, nothing in it run. ValueError, naming ``what``, for anything else."""
    try:
        loaded = Batch(io.BytesIO(content), encoding="latin1").load()
        return {key.decode() if isinstance(key, bytes) else str(key): value for key, value in loaded.items()}
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything
        raise ValueError(f"{what} is not read: {error or type(error).__name__}") from None


@contextmanager
def read_cifar(known: ClassicSet, where: dict[str, Path], complete: bool) -> Iterator[Parts]:
    """The pickled batches and their class names, from the archive or its folder."""
    ((name, path),) = where.items()
    contents = (
        {file: (path / file).read_bytes() for file in known.md5s if (path / file).is_file()} if name == "" else {}
    )
    if name:
        check(path, file_md5(path), known.files[0].md5 if path.name == name else None, complete)
        contents = from_tar(path, known)
    if missing := [file for file in known.md5s if file not in contents]:
        raise ValueError(f"{path} does not hold {', '.join(missing)} of {known.title}")
    fine = "" if known.classes == 10 else "fine_"
    images, labels, test, sources, class_names = [], [], [], [], ()
    for file, published in known.md5s.items():
        what = f"{path}: {known.inside}/{file}"
        check(what, hashlib.md5(contents[file], usedforsecurity=False).hexdigest(), published, complete)
        loaded = unpickled(contents.pop(file), what)
        try:
            if file.endswith("meta"):
                class_names = tuple(str(name) for name in loaded[f"{fine}label_names"])
                if len(set(class_names)) != known.classes:
                    raise ValueError(f"{len(set(class_names))} names of classes")
                continue
            pixels, classes = loaded["data"].bytes(), loaded[f"{fine}labels"]
            if pixels.shape != (len(classes), 3 * 32 * 32) or any(type(label) is not int for label in classes):
                raise ValueError(f"array of {pixels.shape}, {len(classes)} labels")
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{what} is not as {known.title}'s are ({type(error).__name__}: {error})") from None
        images.append(pixels.reshape(-1, 3, 32, 32))
        labels += classes
        test += [file.startswith("test")] * len(classes)
        sources += [f"{file} {i}" for i in range(len(classes))]
    images = np.concatenate(images)
    yield Parts(
        np.array(labels, np.int64), np.array(test, bool), class_names, sources, lambda i: images[i].transpose(1, 2, 0)
    )


def from_tar(path: Path, known: ClassicSet) -> dict[str, bytes]:
    """The files of a data set from its archive, into the memory; members of other names are passed over."""
    contents = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                folder, _, file = member.name.removeprefix("./").rpartition("/")
                if folder == known.inside and file in known.md5s and member.isfile():
                    if member.size > MAX_BYTES:
                        raise ValueError(
                            f"{path}: {member.name} declares {member.size:,} bytes, more than the {MAX_BYTES:,} allowed"
                        )
                    contents[file] = archive.extractfile(member).read()
    except fetch.DAMAGED as error:
        raise ValueError(f"{path} cannot be unpacked ({type(error).__name__}: {error}); get it again") from error
    return contents


@contextmanager
def _zip_or_folder(path: Path, inside: str) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    """The names of the files below the folder ``inside`` of a zip, or below a folder; and what reads one."""
    if path.is_dir():
        names = [
            f.relative_to(path).as_posix() for part in ("train", "val") for f in (path / part).rglob("*") if f.is_file()
        ]
        yield names, lambda name: (path / name).read_bytes()
        return
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}

            def read(name: str) -> bytes:
                if sizes[f"{inside}/{name}"] > MAX_BYTES // 100:
                    raise ValueError(f"{path}: {name} declares {sizes[f'{inside}/{name}']:,} bytes")
                return archive.read(f"{inside}/{name}")

            yield [name.removeprefix(inside + "/") for name in sizes if name.startswith(inside + "/")], read
    except fetch.DAMAGED as error:
        raise ValueError(f"{path} cannot be unpacked ({type(error).__name__}: {error}); get it again") from error


@contextmanager
def read_tiny(known: ClassicSet, where: dict[str, Path], complete: bool) -> Iterator[Parts]:
    """Tiny ImageNet from its zip or folder; its classes are the WordNet ids in alphabetical order."""
    ((name, path),) = where.items()
    if name:
        check(path, file_md5(path), known.files[0].md5 if path.name == name else None, complete)
    with _zip_or_folder(path, known.inside) as (names, read):
        if "val/val_annotations.txt" not in names:
            raise ValueError(f"{path} does not hold {known.title}: no {known.inside}/val/val_annotations.txt")
        lines = [
            line.split()
            for line in read("val/val_annotations.txt").decode("utf-8", "replace").splitlines()
            if line.strip()
        ]
        validation = {line[0]: line[1] for line in lines if len(line) > 1}
        wnids = {}  # of each image
        for file in sorted(names):
            if match := TINY_JPEG.fullmatch(file):
                wnids[file] = match[1] or validation.pop(match[2], "")
        if odd := [file for file, wnid in wnids.items() if not wnid] + [f"val/images/{file}" for file in validation]:
            raise ValueError(f"{path}: val_annotations.txt and val/images do not agree about {_few(odd)}")
        class_names = tuple(sorted({wnid for file, wnid in wnids.items() if file.startswith("train/")}))
        if strange := sorted(set(wnids.values()) - set(class_names)):
            raise ValueError(f"{path}: {_few(strange)} in val_annotations.txt have no images in train")
        files, label = list(wnids), {wnid: i for i, wnid in enumerate(class_names)}

        def image(i: int) -> np.ndarray:
            try:
                with Image.open(io.BytesIO(read(files[i]))) as opened:
                    if opened.size != (known.pixels, known.pixels):  # known before the pixels are decoded
                        raise ValueError(f"{opened.size[0]} x {opened.size[1]} pixels")
                    return np.asarray(decode.rgb(opened))
            except (MemoryError, *fetch.DAMAGED):
                raise
            except Exception as error:  # Pillow's plugins raise nearly anything for damaged files
                raise ValueError(f"{path}: {files[i]} is no whole image of {known.pixels} pixels ({error})") from error

        labels = np.array([label[wnids[file]] for file in files], np.int64)
        yield Parts(labels, np.array([file.startswith("val/") for file in files], bool), class_names, files, image)


def _few(items: list[str]) -> str:
    return ", ".join(items[:5]) + (f" and {len(items) - 5} more" if len(items) > 5 else "")


def _cifar(kind: type[CIFAR10], title: str, classes: int, archive_bytes: int) -> ClassicSet:
    """torchvision knows the address and the hashes."""
    return ClassicSet(
        title,
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (Published(kind.filename, kind.tgz_md5, (kind.url,)),),
        read_cifar,
        classes,
        32,
        50_000,
        10_000,
        archive_bytes,
        kind.base_folder,
        {**dict(kind.train_list), **dict(kind.test_list), kind.meta["filename"]: kind.meta["md5"]},
    )


SETS = {
    "mnist": ClassicSet(
        "MNIST",
        "https://github.com/cvdfoundation/mnist",
        tuple(
            Published(name, md5, tuple(mirror + name for mirror in MNIST.mirrors), "MNIST/raw")
            for name, md5 in MNIST.resources
        ),
        read_mnist,
        10,
        28,
        60_000,
        10_000,
        11_600_000,
    ),
    "cifar10": _cifar(CIFAR10, "CIFAR-10", 10, 170_500_000),
    "cifar100": _cifar(CIFAR100, "CIFAR-100", 100, 169_000_000),
    "tiny_imagenet": ClassicSet(
        "Tiny ImageNet",
        "http://cs231n.stanford.edu/",
        (
            Published(
                "tiny-imagenet-200.zip",
                "90528d7ca1a48142e341f4ef8d21d0de",  # as others publish it; its makers give none
                ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
            ),
        ),
        read_tiny,
        200,
        64,
        100_000,
        10_000,
        248_000_000,
        "tiny-imagenet-200",
    ),
}


# --- into arrays ------------------------------------------------------------------------------------------------------
def assemble(folder: Path, name: str, source: str | Path | None, complete: bool, scratch: Path) -> tuple[Arrays, dict]:
    """A set's arrays, from raw files found or downloaded, and what its manifest says about them.

    The images, uint8 [n, pixels, pixels, 3], sorted by class and the train ones first, are a memory map of
    ``scratch/images.npy``. ``complete=False`` accepts fewer images than published, under other hashes. Raises FileNotFoundError
    that says what to put where; ValueError for wrong hashes and counts (naming found and published) and for files that are
    damaged or not what they should be (named); OSError if the disk has no room.
    """
    known = SETS[name]
    where = found(folder, known, source)
    with known.read(known, where, complete) as parts:
        whole = counted(parts, known, complete, next(iter(where.values())))
        order = np.lexsort((parts.test, parts.labels))  # stable
        n = len(order)
        require_space(scratch, n * 3 * known.pixels**2, f"packing {name!r}")
        images = decode.reserve(scratch / "images.npy", n, known.pixels)
        for i, item in enumerate(order.tolist()):
            one = parts.image(item)
            images[i] = one if one.ndim == 3 else one[..., None]
    labels, test = parts.labels[order], parts.test[order]
    if "" in where:
        origin = {"folder": str(where[""].resolve())}
    else:
        md5s = {file: file_md5(path) for file, path in where.items()}
        origin = {
            "archive": ", ".join(path.name for path in where.values()),
            "md5": md5s,
            "published": all(md5s[file.name] == file.md5 for file in known.files),
        }
    by_class = [np.bincount(each, minlength=known.classes).tolist() for each in (labels, labels[test])]
    facts = {
        "split": {"kind": "official"},
        "counts": dict(zip(parts.class_names, by_class[0], strict=True)),
        "test_counts": dict(zip(parts.class_names, by_class[1], strict=True)),
        "expected": known.total,
        "complete": whole,
        "origin": origin,
        "versions": {package: version(package) for package in ("numpy", "pillow")},
    }
    return Arrays(images, labels, test, parts.class_names, [parts.sources[i] for i in order]), facts


def counted(parts: Parts, known: ClassicSet, complete: bool, path: Path) -> bool:
    """Whether all published images are there. ValueError if not and ``complete``, for more than published, for labels that are
    no class, and for a class without train or test images."""
    if len(parts.class_names) != known.classes:
        raise ValueError(f"{path} has {len(parts.class_names)} classes, {known.title} has {known.classes}")
    if len(parts.labels) and not 0 <= parts.labels.min() <= parts.labels.max() < known.classes:
        raise ValueError(
            f"{path} has labels {parts.labels.min()} to {parts.labels.max()}, {known.title} has 0 to {known.classes - 1}"
        )
    problems, more = [], False
    for part, chosen, published in (("train", ~parts.test, known.train), ("test", parts.test, known.test)):
        counts = Counter(parts.labels[chosen].tolist())
        if empty := [parts.class_names[i] for i in range(known.classes) if not counts[i]]:
            raise ValueError(f"{path} has no {part} images of {_few(empty)}")
        if counts.total() != published:
            problems.append(f"{counts.total():,} {part} images (published {published:,})")
            more |= counts.total() > published
    if problems and (complete or more):
        raise ValueError(f"{path} is not the whole of {known.title}: {', '.join(problems)}; copy or download it again")
    return not problems


def published(name: str) -> int:
    """How many images a set has if nothing is missing."""
    return SETS[name].total
