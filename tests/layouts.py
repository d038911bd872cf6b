"""The true layouts of the paper's data sets, small: a few tiny images in all the folders there are, traps included.

``dtd``, ``brain_tumor`` and ``fruits100`` write one below a folder and return its root; ``archive`` packs a folder.
Reusable for rehearsals: a class can be learned from its hue and its stripes.
"""

import gzip
import io
import pickle
import resource
import shutil
import tarfile
import zipfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

from plasticity.datasets.main_paper import DTD_CLASSES, FRUITS_100


@contextmanager
def largest_file(size: int):
    """No file of this process may grow beyond ``size`` bytes meanwhile: writing more fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def picture(rng: np.random.Generator, label: int, n_classes: int, pixels: int = 24) -> np.ndarray:
    """An image of a class, uint8 [pixels, pixels, 3]: hue and direction of stripes are the class's, blobs its own."""
    turn, (y, x) = label / n_classes, np.mgrid[:pixels, :pixels] / pixels
    hue = 110 + 70 * np.cos(2 * np.pi * (turn + np.array([0, 1 / 3, 2 / 3])))
    angle = np.pi * (label * 7 % n_classes) / n_classes
    stripes = np.sin(2 * np.pi * (5 * (x * np.cos(angle) + y * np.sin(angle)) + rng.uniform()))
    blobs = np.kron(rng.normal(0, 40, (6, 6)), np.ones((-(-pixels // 6),) * 2))[:pixels, :pixels]
    image = hue + (25 * stripes + blobs)[..., None] + rng.normal(0, 8, (pixels, pixels, 1))
    return image.clip(0, 255).astype(np.uint8)


def write(image: np.ndarray, path: Path, mode: str = "RGB") -> None:
    """Save an image in a mode; "I;16" is 16-bit grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = Image.fromarray(image)
    if mode == "I;16":
        saved = Image.fromarray(np.asarray(saved.convert("L")).astype(np.uint16) * 257)
    elif mode != "RGB":
        saved = saved.convert(mode)
    saved.save(path, **({"quality": 92} if path.suffix == ".jpg" else {}))


def dtd(folder: Path, per_class: int = 5, pixels: int = 24, seed: int = 0) -> Path:
    """``folder/dtd``: images with gaps in their numbers, ten partitions in thirds, the hidden file of the original."""
    root, rng = Path(folder) / "dtd", np.random.default_rng(seed)
    names = []
    for label, name in enumerate(DTD_CLASSES):
        for i in range(per_class):
            file = f"{name}/{name}_{3 * i + 2:04}.jpg"
            write(picture(rng, label, len(DTD_CLASSES), pixels), root / "images" / file)
            names.append((i, file))
    (root / "images" / "waffled" / ".directory").write_text("[Dolphin]")
    (root / "labels").mkdir()
    for k in range(1, 11):
        for j, part in enumerate(("train", "val", "test")):
            lines = [file for i, file in names if (i + k - 1) % 3 == j]
            (root / "labels" / f"{part}{k}.txt").write_text("".join(f"{line}\n" for line in lines))
    return root


def brain_tumor(folder: Path, per_class: int = 5, none: str = "notumor", pixels: int = 24, seed: int = 0) -> Path:
    """``folder/brain-tumor-mri-dataset``: four flat folders, ``none`` the one without tumours, in all modes."""
    root, rng = Path(folder) / "brain-tumor-mri-dataset", np.random.default_rng(seed)
    kinds = (
        ("L", "jpg"),
        ("RGB", "jpg"),
        ("RGBA", "png"),
        ("P", "png"),
        ("I;16", "png"),
        ("CMYK", "jpg"),
        ("LA", "png"),
    )
    for label, name in enumerate(("glioma", "meningioma", "pituitary", none)):
        for i in range(per_class):
            mode, suffix = kinds[i % len(kinds)]
            grey = (picture(rng, label, 4, pixels).mean(-1, keepdims=True) * (0.55 + 0.15 * label)).clip(0, 255)
            write(np.repeat(grey.astype(np.uint8), 3, -1), root / name / f"Tr-{name[:2]}_{i:04}.{suffix}", mode)
    return root


def fruits100(folder: Path, per_class: int = 5, pixels: int = 24, seed: int = 0) -> Path:
    """``folder/fruits-100``: train and val (a fifth) of named classes, and test, whose numbered folders are decoys."""
    root, rng = Path(folder) / "fruits-100", np.random.default_rng(seed)
    for label, name in enumerate(FRUITS_100):
        val = max(1, per_class // 5)
        for i in range(per_class):
            part = "val" if i < val else "train"
            write(picture(rng, label, 100, pixels), root / part / name / f"{i}.jpg")
        write(np.full((pixels, pixels, 3), 255, np.uint8), root / "test" / str(99 - label) / "0.jpg")
    (root / "classname.txt").write_text("\n".join(FRUITS_100))
    for part in ("train", "val", "test"):
        (root / f"{part}.csv").write_text("image:FILE,category\n")
    return root


def archive(folder: Path, path: Path) -> Path:
    """A folder (its own name included) as a .zip or .tar.gz at ``path``."""
    folder, path = Path(folder), Path(path)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for inner in sorted(folder.rglob("*")):
                file.write(inner, inner.relative_to(folder.parent))
        return path
    made = shutil.make_archive(str(path.with_suffix("").with_suffix("")), "gztar", folder.parent, folder.name)
    return Path(made).rename(path)


CIFAR = {"cifar10": CIFAR10, "cifar100": CIFAR100}
WNIDS = [f"n{i:08}" for i in range(200)]


def idx(array: np.ndarray) -> bytes:
    """An array as a gzipped IDX file."""
    head = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return gzip.compress(head + array.astype(np.uint8).tobytes(), mtime=0)


def mnist(folder, train=40, test=20):
    """The four files in ``folder``; returns images and labels by part."""
    rng, made = np.random.default_rng(0), {}
    folder.mkdir(parents=True, exist_ok=True)
    for part, n in (("train", train), ("t10k", test)):
        images, labels = rng.integers(0, 256, (n, 28, 28)), np.arange(n)[::-1] % 10
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
        made[part] = images, labels
    return made


def cifar(path, name="cifar10", protocol=4, replaced=None):
    """The archive at ``path``, one or two images per class and batch, some files ``replaced``; returns the images."""
    kind, rng, made = CIFAR[name], np.random.default_rng(0), {}
    classes, each, key = (10, 2, "labels") if name == "cifar10" else (100, 1, "fine_labels")
    names = {kind.meta["key"]: [f"class_{i}" for i in range(classes)]}
    contents = {}
    for file, _ in kind.train_list + kind.test_list:
        labels = list(range(classes)) * each
        made[file] = np.stack([picture(rng, label, 100, 32) for label in labels])
        rows = made[file].transpose(0, 3, 1, 2).reshape(len(labels), -1)  # red, green and blue planes
        contents[file] = pickle.dumps({"data": rows, key: labels, "batch_label": "a batch"}, protocol)
    contents |= {kind.meta["filename"]: pickle.dumps(names, protocol)} | (replaced or {})
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for file, content in contents.items():
            info = tarfile.TarInfo(f"{kind.base_folder}/{file}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made


def tiny(folder):
    """``folder/tiny-imagenet-200``; the colour of an image is its class's, of test images darker; one image is grey."""
    root = folder / "tiny-imagenet-200"
    for label, wnid in enumerate(WNIDS):
        (root / "train" / wnid / "images").mkdir(parents=True)
        for i in range(2):
            mode = "L" if (label, i) == (3, 0) else "RGB"
            image = Image.new("RGB", (64, 64), (label, 100, 200)).convert(mode)
            image.save(root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", quality=95)
    (root / "val/images").mkdir(parents=True)
    (root / "test/images").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(root / "test/images/test_0.JPEG")
    lines = []
    for i in range(200):
        label = (7 * i) % 200
        Image.new("RGB", (64, 64), (label, 20, 40)).save(root / f"val/images/val_{i}.JPEG", quality=95)
        lines.append(f"val_{i}.JPEG\t{WNIDS[label]}\t0\t0\t62\t62\n")
    (root / "val/val_annotations.txt").write_text("".join(lines))
    (root / "wnids.txt").write_text("\n".join(reversed(WNIDS)))
    return root


def zipped(root: Path) -> Path:
    """A folder as ``tiny-imagenet-200.zip`` beside it."""
    path = root.with_name("tiny-imagenet-200.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root.parent))
    return path
