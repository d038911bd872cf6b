"""Your network on your images: a folder packed once, base against a case over some seeds, and what the difference says.

    dataset = own.pack_folder("photos", "data", 64)                    # photos/<class>/*.jpg
    train.fetch_weights(own.architecture("resnet18"), "imagenet", "data")
    done = run_all(own.runs("resnet18", dataset), Place("data", "results/own"))
    print(own.sentence(records.frame(done)))
"""

import contextlib
import hashlib
import math
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats as scipy_stats

from . import comparisons, data, decode, duplicates, figures, models, offline, real, train
from .comparisons import Difference
from .config import Run
from .fetch import file_sha256, require_space
from .reinit import reinitialize

FEWEST = 5  # images of a class, so that training, validation and test get some
PARTS = ("train", "val", "valid", "validation", "test")  # subfolders that are a split, not classes
# Chosen on the base case alone, two seeds on the example folder (when one of its classes was another photograph): with half of
# profile imagenet's learning rate the validation loss fell more steadily. Constant, as in the paper, so that early stopping tells how
# fast a case is. Small batches, as such folders are small: 160 images, 128 of them to learn from, make 8 steps an epoch.
TRAINING = {"optimizer": "sgd", "momentum": 0.9, "lr": 0.005, "batch_size": 16, "augment": "flip"}
EXAMPLE = ("astronaut", "china", "coffee", "rocket", "tissue")  # of offline.PHOTOS
EXAMPLE_IMAGES, EXAMPLE_PIXELS, FLAT = 40, 64, 5.0  # a class; their edge; the least standard deviation of a tile, of 255


@dataclass(frozen=True)
class Protocol:
    """How a profile treats an own network: pixels (0: the network's own size), seeds of each case, and fields of `Run`."""

    pixels: int
    repeats: int
    training: dict = field(hash=False)


PROTOCOLS = {
    "mini": Protocol(64, 5, TRAINING | {"max_epochs": 10, "patience": 3}),
    "quick": Protocol(64, 2, TRAINING | {"max_epochs": 2, "patience": 1}),
    "paper": Protocol(0, 10, TRAINING | {"batch_size": 32, "augment": "released", "max_epochs": 200, "patience": 10}),
}
PROTOCOLS |= {"imagenet": PROTOCOLS["mini"], "imagenet_quick": PROTOCOLS["quick"]}


def protocol(profile: str, repeats: int = 0) -> Protocol:
    """The protocol of that profile; ``repeats`` above zero replace its own. Raises ValueError for others."""
    if profile not in PROTOCOLS:
        raise ValueError(f"profile={profile!r} has no protocol for your own network; allowed: {', '.join(map(repr, PROTOCOLS))}")
    if not isinstance(repeats, int) or repeats < 0:
        raise ValueError(f"repeats={repeats!r} must be an integer; 0 stands for the profile's own")
    chosen = PROTOCOLS[profile]
    return Protocol(chosen.pixels, repeats or chosen.repeats, chosen.training)


def architecture(model: str) -> str:
    """The name by which `Run` knows a network: one of models.ARCHITECTURES, else timm's. Raises ValueError if neither has it."""
    name = model if model in models.ARCHITECTURES or model.startswith(models.TIMM) else models.TIMM + model
    models.architecture(name)
    return name


def pixels(model: str, wanted: int = 0) -> int:
    """Edge of the images for a network: its own if it takes no other, or if ``wanted`` is 0."""
    network = models.architecture(architecture(model))
    return network.image_size if network.fixed or not wanted else wanted


# --- the images -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Listing:
    """Image files by class, then by name: relative to ``root``; labels int64 [n]; test bool [n], or None: to be drawn."""

    root: Path
    files: list[str]
    labels: np.ndarray
    test: np.ndarray | None
    class_names: tuple[str, ...]


def listing(images: str | Path) -> Listing:
    """The images of a folder with one subfolder a class, or with ``train`` and ``test`` (else ``val``) folders of such.

    Of three parts, ``val`` joins ``train``: validation images are drawn anew for each seed. Relative folders count from the
    project's root. Raises FileNotFoundError if the folder is not there; ValueError that names it, or the class, for a file,
    no images, a single class, fewer than `FEWEST` images of a class to learn from, or a class that train or test lacks.
    """
    root = (Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()) / Path(images).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"images={str(images)!r}: {root} does not exist; give a folder with one subfolder of images a class")
    if not root.is_dir():
        raise ValueError(f"images={str(images)!r} is a file; give a folder (an archive: unpacked) with one subfolder of images a class")
    parts = {folder.name: folder for folder in _visible(root) if folder.is_dir()}
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


def _visible(folder: Path) -> list[Path]:
    """What a folder holds, by name, without hidden files and what zip programs add."""
    return sorted(file for file in folder.iterdir() if not file.name.startswith((".", "__MACOSX")))


def _images(folder: Path) -> Iterator[tuple[str, Path]]:
    """(class, file) of all image files in the subfolders, at any depth."""
    for inner in (inner for inner in _visible(folder) if inner.is_dir()):
        for file in inner.rglob("*"):
            if file.suffix.lower() in decode.SUFFIXES and file.is_file() and not file.name.startswith("."):
                yield inner.name, file


def _refuse(root: Path, found: dict[str, list[tuple[str, bool]]], held_out: str | None):
    layout = f"{root} should hold one subfolder a class with its images in it ({', '.join(sorted(decode.SUFFIXES))})"
    if not found:
        raise ValueError(f"{layout}; no images were found in its subfolders")
    if len(found) == 1:
        raise ValueError(f"{layout}; only one class was found, {next(iter(found))!r}, and one can't be told from another")
    learned = {name: sum(not tested for _, tested in items) for name, items in found.items()}
    if few := {name: count for name, count in learned.items() if count < FEWEST}:
        name, count = next(iter(sorted(few.items())))
        where = root / "train" if held_out else root
        raise ValueError(f"{where}: class {name!r} has {count} images, at least {FEWEST} are needed ({len(few)} such classes); add "
                         f"images or move the class away")  # fmt: skip
    if held_out and (lacking := [name for name, items in found.items() if learned[name] == len(items)]):
        raise ValueError(f"{root / held_out} has no images of class {sorted(lacking)[0]!r}; add some, or give a folder without a split")


def pack_folder(images: str | Path, folder: str | Path, size: int) -> str:
    """Pack a folder of images as ``folder/folder_<name>-<digest>`` at ``size`` pixels, once; returns that name, a `Run`'s dataset.

    Each image is resized to a square as the paper's recipe does (`decode.read`). Without a test part, a fifth of each class is
    drawn with seed `real.SEED`, equal images on one side. The digest is of the files' names and bytes, and the size: a changed
    folder is another data set. Raises as `listing` does, and ValueError with the count and the first of unreadable images.
    """
    found, folder = listing(images), Path(folder)
    name = f"folder_{_plain(found.root)}-{_digest(found, size)}"
    if (folder / name / "manifest.json").is_file():
        return name
    folder.mkdir(parents=True, exist_ok=True)
    files = [found.root / file for file in found.files]
    with tempfile.TemporaryDirectory(".partial", f".{name}-", folder) as scratch:
        require_space(Path(scratch), 3 * len(files) * size**2, f"packing {found.root}")
        packed = decode.reserve(Path(scratch) / "images.npy", len(files), size)
        try:
            equal = duplicates.exact_groups(decode.decode(files, packed)[0])
        except ValueError:
            raise ValueError(_unreadable(found.root, files)) from None
        test = real.grouped(found.labels, equal) if found.test is None else found.test
        split = {"kind": "drawn", "seed": real.SEED, "share": real.TEST_SHARE} if found.test is None else {"kind": "given"}
        facts = {"origin": {"folder": str(found.root.resolve())}, "split": split,
                 "duplicates": duplicates.report(equal, found.labels, test)}  # fmt: skip
        with contextlib.suppress(FileExistsError):  # another process was faster
            data.pack(folder, name, offline.Arrays(packed, found.labels, test, found.class_names, found.files), facts, move=True)
    return name


def _plain(root: Path) -> str:
    return re.sub(r"[^a-z0-9]+", "_", root.resolve().name.lower()).strip("_")[:32] or "images"


def _digest(found: Listing, size: int) -> str:
    with ThreadPoolExecutor() as pool:
        contents = pool.map(file_sha256, [found.root / file for file in found.files])
        lines = [f"{size} {real.SEED}", *(f"{content} {file}" for content, file in zip(contents, found.files, strict=True))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]


def _unreadable(root: Path, files: list[Path]) -> str:
    """How many images can't be decoded, the first of them, and what to do."""
    def trouble(file: Path) -> str:
        try:
            return str(decode.read(file, 1))[:0]
        except ValueError as error:
            return str(error).partition("; ")[0]

    with ThreadPoolExecutor() as pool:
        found = [text for text in pool.map(trouble, files) if text]
    return (f"{len(found)} of {len(files)} images in {root} can't be read; the first: {found[0]}. Replace them, or move them out of "
            f"the folder, and start again")  # fmt: skip


def about(folder: str | Path, dataset: str) -> str:
    """One sentence on a packed folder: counts, size, split and equal images."""
    packed, facts = data.load(folder, dataset), data.manifest(Path(folder) / dataset)
    equal, test = facts["duplicates"], int(packed.test.sum())
    split = "as the folder has them" if facts["split"]["kind"] == "given" else f"drawn with seed {facts['split']['seed']}"
    across = f", of them both in training and in test: {equal['across_test']}" if equal["number"] else ""
    return (f"{len(packed.labels)} images of {len(packed.class_names)} classes, brought to {packed.images.shape[1]} pixels; {test} of "
            f"them for testing ({split}); groups of equal images: {equal['number']}{across}.")  # fmt: skip


def contact_sheet(folder: str | Path, dataset: str) -> Figure:
    """Some training images of a packed folder, by class, under the folder's name."""
    packed = data.load(folder, dataset)
    return figures.contact_sheet(replace(packed, name=dataset.removeprefix("folder_").rpartition("-")[0]))


def example_folder(folder: str | Path) -> Path:
    """A small image folder, ``folder/example_images``, written once: 64-pixel tiles of five photographs that packages carry.

    Forty a class, no two overlapping; which photograph is a tile from? Raises FileNotFoundError where a package lacks one.
    """
    target = Path(folder) / "example_images"
    if target.is_dir():
        return target
    Path(folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(".partial", ".example_images-", folder) as scratch:
        for name in EXAMPLE:
            inner = Path(scratch) / target.name / name
            inner.mkdir(parents=True)
            tiles = _tiles(np.asarray(Image.open(offline.installed(offline.PHOTOS[name])).convert("RGB")), EXAMPLE_PIXELS)
            for i, tile in enumerate(rng.permutation(len(tiles))[:EXAMPLE_IMAGES]):
                Image.fromarray(tiles[tile]).save(inner / f"{i:02}.png")
        with contextlib.suppress(OSError):  # another process was faster
            (Path(scratch) / target.name).rename(target)
    return target


def _tiles(picture: np.ndarray, edge: int) -> np.ndarray:
    """The squares [n, edge, edge, 3] of a grid over a picture [height, width, 3], without those that are nearly flat."""
    rows, columns = (length // edge for length in picture.shape[:2])
    tiles = picture[: rows * edge, : columns * edge].reshape(rows, edge, columns, edge, 3).swapaxes(1, 2).reshape(-1, edge, edge, 3)
    return tiles[tiles.std((1, 2)).mean(-1) > FLAT]


# --- the runs ---------------------------------------------------------------------------------------------------------
def runs(model: str, dataset: str, repeats: int = 5, case: str = "10M", **training) -> tuple[Run, ...]:
    """Base and ``case`` with seeds 0 to ``repeats`` - 1 on a packed folder; ``training``: fields of `Run` that replace `TRAINING`'s.

    A pair of one seed shares head, validation images, batch order and augmentation. Raises ValueError as `Run` does.
    """
    settings = PROTOCOLS["mini"].training | training
    return tuple(Run(architecture(model), dataset, each, seed, **settings) for seed in range(repeats) for each in ("base", case))


def resets(run: Run, record: dict, folder: str | Path) -> dict[str, list[dict]]:
    """Rows for figures.resets_by_layer: what the run reset, and where as many of the smallest weights of the whole network lie."""
    report = reinitialize(train.build(run, folder)[0], run.case, reading=run.reading, scope="global", dry_run=True)
    return {f"{run.case}, as run": record["resets"],
            "the smallest of all weights": [asdict(tensor) for tensor in report.tensors]}  # fmt: skip


# --- the verdict ------------------------------------------------------------------------------------------------------
def verdict(frame: pd.DataFrame) -> pd.DataFrame:
    """Base against the other case of a frame of runs, as strings: accuracy (%) and epochs, their paired difference with its 95%
    interval (Student's t over seeds), n pairs, and the verdict in words. Raises ValueError unless there are base and one other case.

    An interval is never taken for narrower than the grain of the numbers allows: one test image, one epoch.
    """
    case = _case(frame)
    grain = 100 / frame.test_items.min() if "test_items" in frame else 0.0
    rows = [_row(frame, case, "Test accuracy (%)", "accuracy", 100, grain, (f"{case} helps", f"{case} hurts", "points")),
            _row(frame, case, "Epochs until stopped", "epochs", 1, 1.0, (f"{case} stops later", f"{case} stops earlier", "epochs"))]
    return pd.DataFrame(rows)


def _row(frame: pd.DataFrame, case: str, title: str, value: str, scale: float, grain: float, words: tuple[str, str, str]) -> dict:
    base, other = (_done(frame, each).reindex(columns=[*comparisons.PAIR, "case", "scenario", value]) for each in ("base", case))
    found = widened(comparisons.difference(other, base, value, scale), grain)
    means = {name: scale * rows[value].mean() for name, rows in (("Base", base), (case, other))}
    shown = {name: f"{mean:.1f}" if mean == mean else "-" for name, mean in means.items()}
    text = str(found).partition(" (n")[0]
    return {"Measure": title} | shown | {"Difference": text, "n": str(found.n), "Verdict": says(found, *words)}


def sentence(frame: pd.DataFrame) -> str:
    """The first line of `verdict` in words, failed runs counted."""
    case, row = _case(frame), verdict(frame).iloc[0]
    failed = int((frame.status != "done").sum())
    return (f"Base reaches {row['Base']}%, {case} {row[case]}%: {row['Difference']} points over {row['n']} seeds; {row['Verdict']}."
            + (f" {failed} runs failed and count nowhere." if failed else ""))  # fmt: skip


def widened(found: Difference, grain: float) -> Difference:
    """The difference with an interval at least as wide as that of numbers which are known to ``grain`` alone.

    Where each of five seeds gains exactly one test image, the spread is zero only because images can't be split.
    """
    if found.n < 2:
        return found
    half = scipy_stats.t.ppf(0.5 + comparisons.LEVEL / 2, found.n - 1) * grain / math.sqrt(12 * found.n)
    return Difference(found.n, found.mean, min(found.low, found.mean - half), max(found.high, found.mean + half))


def says(found: Difference, more: str, less: str, unit: str) -> str:
    """What an interval says, in plain words."""
    if found.n < 2:
        return "not tested: it takes two pairs of finished runs"
    if found.low > 0 or found.high < 0:
        return more if found.low > 0 else less
    return f"no difference seen; {found.n} seeds show one only beyond about {(found.high - found.low) / 2:.1f} {unit}"


def _case(frame: pd.DataFrame) -> str:
    others = sorted(set(frame.case) - {"base"})
    if "base" not in set(frame.case) or len(others) != 1:
        raise ValueError(f"a verdict needs runs of base and of one other case, got: {', '.join(sorted(set(frame.case))) or 'none'}")
    return others[0]


def _done(frame: pd.DataFrame, case: str) -> pd.DataFrame:
    return frame[(frame.case == case) & (frame.status == "done")]


@figures.style()
def by_seed(frame: pd.DataFrame) -> Figure:
    """Test accuracy of base and of the other case, a pair of dots a seed side by side, and both means."""
    case, figure = _case(frame), Figure(figsize=(12 * figures.CM, 7.5 * figures.CM), layout="constrained")
    axes = figure.subplots()
    table = (100 * frame[frame.status == "done"].pivot(index="seed", columns="case", values="accuracy")).reindex(columns=["base", case])
    for seed, pair in table.iterrows():
        axes.plot([seed - 0.1, seed + 0.1], pair, color=figures.GREY, linewidth=0.8, zorder=1)
    for name, shift, colour, marker in (("base", -0.1, figures.COLOURS["base"], "o"), (case, 0.1, figures.BLUE, "s")):
        axes.plot(table.index + shift, table[name], marker, color=colour, label=name, markersize=5)
        axes.axhline(table[name].mean(), color=colour, linestyle="--", linewidth=0.8)
    axes.set(xlabel="seed", ylabel="test accuracy (%)", xticks=sorted(set(frame.seed)))
    axes.set_title(f"{figures._title(frame.architecture.iloc[0])}, n = {len(table.dropna())} pairs; dashed: means")
    axes.margins(y=0.15)
    figure.legend(loc="outside upper center", ncols=2)
    return figure


def example(name: str) -> str:
    """A script of the ``examples`` folder as Markdown. Raises FileNotFoundError, naming the known, for another name."""
    folder = Path(__file__).resolve().parents[1] / "examples"
    if not (folder / f"{name}.py").is_file():
        raise FileNotFoundError(f"{folder / name}.py is missing; there are: {', '.join(sorted(f.stem for f in folder.glob('*.py')))}")
    return f"```python\n{(folder / f'{name}.py').read_text()}```"
