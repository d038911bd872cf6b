"""The paper's three data sets: their layouts, published counts, labels and test splits; from raw files to arrays.

    plasticity prepare dtd --data data [--source FOLDER OR ARCHIVE] [--any-count]

DTD (Cimpoi et al. 2014), Brain Tumor (Kaggle, four classes) and Fruit25, 25 classes of Kaggle's Fruits-100. The paper's
own test splits are not published. The printed digits fit 1,128, 1,431 and 1,250 test items (notebook 40): a stratified
fifth of DTD's 5,640 and Brain Tumor's 7,153, and Fruits-100's folder val, 50 images a class. Each has variants: that
split, the same with duplicates kept on one side, and for DTD the official partition 1.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import require_space
from . import decode, duplicates
from .archives import Remote, few, find, visible
from .splits import SEED, TEST_SHARE, grouped, stratified, without_duplicates
from .world import Arrays

DTD_CLASSES = tuple(
    """banded blotchy braided bubbly bumpy chequered cobwebbed cracked crosshatched crystalline dotted fibrous flecked
    freckled frilly gauzy grid grooved honeycombed interlaced knitted lacelike lined marbled matted meshed paisley
    perforated pitted pleated polka-dotted porous potholed scaly smeared spiralled sprinkled stained stratified
    striped studded swirly veined waffled woven wrinkled zigzagged""".split()
)
BRAIN_CLASSES = ("glioma", "meningioma", "pituitary", "no_tumor")
BRAIN_FOLDERS = {name: "no_tumor" for name in ("notumor", "no", "healthy")}
BRAIN_FOLDERS |= {name + end: name for name in BRAIN_CLASSES[:3] for end in ("", "tumor")}
FRUITS_100 = tuple(  # spelled as its folders are
    """abiu acai acerola ackee ambarella apple apricot avocado banana barbadine barberry betel_nut bitter_gourd
    black_berry black_mullberry brazil_nut camu_camu cashew cempedak chenet cherimoya chico chokeberry cluster_fig
    coconut corn_kernel cranberry cupuacu custard_apple damson dewberry dragonfruit durian eggplant elderberry
    emblic feijoa fig finger_lime gooseberry goumi grape grapefruit greengage grenadilla guava hard_kiwi hawthorn
    hog_plum horned_melon indian_strawberry jaboticaba jackfruit jalapeno jamaica_cherry jambul jocote jujube
    kaffir_lime kumquat lablab langsat longan mabolo malay_apple mandarine mango mangosteen medlar mock_strawberry
    morinda mountain_soursop oil_palm olive otaheite_apple papaya passion_fruit pawpaw pea pineapple plumcot
    pomegranate prikly_pear quince rambutan raspberry redcurrant rose_hip rose_leaf_bramble salak santol sapodilla
    sea_buckthorn strawberry_guava sugar_apple taxus_baccata ugli_fruit white_currant yali_pear yellow_plum""".split()
)


@dataclass(frozen=True)
class RealSet:
    """What is published of a data set, and how its folder looks.

    parts: the folders that hold one folder a class each -> images in each of those (None: not published, only the total
    is); home: the usual name of the root, which decides if several folders look like it.
    """

    title: str
    remote: Remote
    classes: tuple[str, ...]
    parts: dict[str, int | None]
    total: int
    home: str = ""
    spellings: dict[str, str] | None = None  # folder name, lower case without _, - and spaces -> class; None: the same
    draw: int | None = None  # so many of the classes are drawn with SEED
    held_out: str = ""  # the part that is the test split; "": none is

    def class_of(self, folder: str) -> str | None:
        """The class that a folder name means, or None."""
        if self.spellings:
            return self.spellings.get(folder.lower().replace("_", "").replace("-", "").replace(" ", ""))
        return folder if folder in self.classes else None

    @property
    def drawn(self) -> tuple[str, ...]:
        """The classes that are used, in the order of their labels."""
        if self.draw is None:
            return self.classes
        drawn = np.random.default_rng(SEED).choice(sorted(self.classes), self.draw, replace=False)
        return tuple(sorted(drawn.tolist()))


SETS = {
    "dtd": RealSet(
        title="DTD",
        remote=Remote(
            key="dtd",
            archive="dtd-r1.0.1.tar.gz",
            page="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
            urls=("https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",),
            digest="sha256:e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
            archive_bytes=625_000_000,  # about
            max_bytes=2 * 10**9,
        ),
        classes=DTD_CLASSES,
        parts={"images": 120},
        total=5640,
        home="dtd",
    ),
    "brain_tumor": RealSet(
        title="Brain Tumor",
        remote=Remote(
            key="brain_tumor",
            archive="brain-tumor-mri-data.zip",
            page="https://www.kaggle.com/datasets/tombackert/brain-tumor-mri-data",
            handle="tombackert/brain-tumor-mri-data/versions/1",
            max_bytes=4 * 10**9,
        ),
        classes=BRAIN_CLASSES,
        parts={".": None},
        total=7153,
        home="brain-tumor-mri-dataset",  # beside it, users leave splits of their own, which look the same
        spellings=BRAIN_FOLDERS,
    ),
    "fruits100": RealSet(
        title="Fruit25",
        remote=Remote(
            key="fruits100",
            archive="fruits-100.zip",
            page="https://www.kaggle.com/datasets/marquis03/fruits-100",
            handle="marquis03/fruits-100/versions/1",  # which versions exist could not be checked when this was written
            max_bytes=40 * 10**9,
        ),
        classes=FRUITS_100,
        parts={"train": 400, "val": 50},  # not test/: its folders are numbers, and that test/7 is class 7 is not proven
        total=45_000,
        draw=25,  # which 25 the authors drew is not known
        held_out="val",
    ),
}
VARIANTS = {  # name -> its set, its test split
    "dtd": ("dtd", "stratified"),
    "dtd_official": ("dtd", "official"),
    "dtd_grouped": ("dtd", "grouped"),
    "brain_tumor": ("brain_tumor", "stratified"),
    "brain_tumor_grouped": ("brain_tumor", "grouped"),
    "fruit25": ("fruits100", "official"),
    "fruit25_grouped": ("fruits100", "grouped"),
}


@dataclass(frozen=True)
class Listing:
    """The images of the drawn classes: files relative to root, by class, then by name; their labels int64 [n]."""

    root: Path
    files: list[str]
    labels: np.ndarray
    complete: bool  # all classes of the set, also those not drawn, have as many images as published


def locate(path: Path, real_set: RealSet) -> Path:
    """The root of a data set: ``path`` or a folder one or two levels below. Raises ValueError if not exactly one is."""
    level = [path]
    for _ in range(3):
        roots = [folder for folder in level if any(_class_folders(folder / part, real_set) for part in real_set.parts)]
        roots = [folder for folder in roots if folder.name == real_set.home] or roots
        if len(roots) == 1:
            return roots[0]
        if roots:
            found = f"{len(roots)} folders in {path} look like {real_set.title}"
            raise ValueError(f"{found}: {few(map(str, roots))}; name one")
        level = [inner for folder in level for inner in visible(folder) if inner.is_dir()]
    expected = " and ".join(str(Path(part) / "<class>/") for part in real_set.parts)
    wanted = f"no {expected} with a class like {real_set.classes[0]!r} in it or below"
    raise ValueError(f"{path} does not hold {real_set.title}: {wanted}")


def read(root: Path, real_set: RealSet, complete: bool = True) -> Listing:
    """The images in the class folders below ``root``, counted.

    Raises one ValueError that names missing and unknown class folders and, unless ``complete`` is False, wrong counts.
    Without ``complete``, fewer images than published will do, as long as a class has 2.
    """
    found: dict[str, list[str]] = {name: [] for name in real_set.classes}
    problems, miscounted = [], []
    for part, published in real_set.parts.items():
        folders = _class_folders(root / part, real_set)
        inner = Path(part)
        problems += [f"no {inner / name}" for name in real_set.classes if name not in folders.values()]
        problems += [f"unknown {inner / f.name}" for f in visible(root / part) if f.is_dir() and f not in folders]
        problems += [f"{n} folders for {name} in {inner}" for name, n in Counter(folders.values()).items() if n > 1]
        for folder, name in folders.items():
            files = [f.relative_to(root).as_posix() for f in visible(folder) if f.suffix.lower() in decode.SUFFIXES]
            found[name] += files
            if published is not None and len(files) != published:
                miscounted.append(f"{inner / folder.name} has {len(files)} (published {published})")
                problems += miscounted[-1:] if len(files) > published else []
    if problems:
        raise ValueError(f"{root} is not {real_set.title} as published: {few(problems)}")
    total = sum(map(len, found.values()))
    if total != real_set.total:
        miscounted.append(f"{total:,} images in all (published {real_set.total:,})")
    if miscounted and (complete or total > real_set.total):
        raise ValueError(f"{root} is not the whole of {real_set.title}: {few(miscounted)}; copy or unpack it again")
    if small := [name for name in real_set.drawn if len(found[name]) < 2]:
        raise ValueError(f"{root} has fewer than 2 images of {few(small)}")
    labels = np.repeat(np.arange(len(real_set.drawn)), [len(found[name]) for name in real_set.drawn])
    return Listing(root, [file for name in real_set.drawn for file in sorted(found[name])], labels, not miscounted)


def _class_folders(folder: Path, real_set: RealSet) -> dict[Path, str]:
    """The folders in ``folder`` whose names mean a class, and which."""
    return {f: name for f in visible(folder) if (name := real_set.class_of(f.name)) and f.is_dir()}


def held_out(listing: Listing, part: str) -> np.ndarray:
    """True for the items of a part. Raises ValueError for classes that have none in it, or none elsewhere."""
    test = np.array([file.startswith(f"{part}/") for file in listing.files])
    for chosen, where in ((test, f"in {part}"), (~test, f"but in {part}")):
        if len(lacking := np.setdiff1d(listing.labels, listing.labels[chosen])):
            names = [Path(listing.files[np.argmax(listing.labels == label)]).parent.name for label in lacking]
            raise ValueError(f"{listing.root} has no images of {few(names)} {where}; copy or unpack it again")
    return test


def official(listing: Listing) -> np.ndarray:
    """DTD's partition 1: True for the items of labels/test1.txt; train1.txt and val1.txt have the rest.

    Raises ValueError if the three files are not there, or do not name every image once. They may name more than a
    scaled-down copy has.
    """
    named = Counter()
    for part in ("train", "val", "test"):
        file = listing.root / "labels" / f"{part}1.txt"
        if not file.is_file():
            raise ValueError(f"{file} is missing; it comes with DTD")
        lines = {f"images/{line.strip()}" for line in file.read_text("utf-8").splitlines() if line.strip()}
        named.update(lines)
    odd = [f for f in listing.files if named[f] != 1]
    odd += sorted(set(named) - set(listing.files)) if listing.complete else []
    if odd:
        raise ValueError(f"{listing.root / 'labels'}: train1, val1 and test1 do not name each image once: {few(odd)}")
    return np.array([f in lines for f in listing.files])  # the last lines are test1's


def assemble(folder: Path, name: str, source: str | Path | None, complete: bool, target: Path) -> tuple[Arrays, dict]:
    """A variant's arrays, from raw files found or downloaded, and what its manifest says about them.

    The images are a memory map of ``target/images.npy``. Raises what `archives.find`, `locate`, `read`, `decode.decode`
    and the splits raise.
    """
    key, kind = VARIANTS[name]
    real_set = SETS[key]
    raw = find(folder, real_set.remote, source, complete)
    listing = read(locate(raw.path, real_set), real_set, complete)
    labels, n = listing.labels, len(listing.files)
    require_space(target, n * 3 * decode.SIZE**2, f"packing {name!r}")
    split, test = {"kind": kind, "seed": SEED, "share": TEST_SHARE}, None
    if real_set.held_out:  # before decoding, since it may find faults
        split, test = {"kind": kind, "part": real_set.held_out}, held_out(listing, real_set.held_out)
    elif kind == "official":
        split, test = {"kind": kind, "partition": 1}, official(listing)
    images = decode.reserve(target / "images.npy", n)
    digests, hashes = decode.decode([listing.root / file for file in listing.files], images)
    exact, near = duplicates.exact_groups(digests), duplicates.near_groups(hashes)
    remedy = f"use {name.removesuffix('_grouped')}, the same without groups"
    if kind == "grouped" and test is not None:
        test = without_duplicates(test, labels, near, real_set.drawn, remedy)
    elif kind == "grouped":
        test = grouped(labels, near, real_set.drawn, remedy)
    elif kind == "stratified":
        test = stratified(labels)
    found = {name: duplicates.report(groups, labels, test) for name, groups in (("exact", exact), ("near", near))}
    facts = {
        "split": split,
        "expected": published(name),
        "complete": listing.complete,
        "origin": raw.origin,
        "duplicates": {"threshold": duplicates.THRESHOLD} | found,
    }
    if real_set.draw:
        facts["drawn"] = {"seed": SEED, "from": len(real_set.classes)}
    return Arrays(images, labels, test, real_set.drawn, listing.files), facts


def published(name: str) -> int:
    """How many images a variant has if nothing is missing."""
    real_set = SETS[VARIANTS[name][0]]
    return real_set.total * len(real_set.drawn) // len(real_set.classes)


def published_test(name: str) -> int:
    """How many of them are test items; at most, where duplicates are kept on one side."""
    real_set = SETS[VARIANTS[name][0]]
    if real_set.held_out:
        return real_set.parts[real_set.held_out] * len(real_set.drawn)
    return published(name) // 3 if VARIANTS[name][1] == "official" else round(TEST_SHARE * published(name))
