"""The miniature world: a generated source and three targets of 32 x 32 pixels that need no network and no download.

`source` is what the small networks are pretrained on; `photos` and `elpv` are photographs that pip packages carry, and
exist at 64 and 128 pixels, too, for networks with ImageNet weights; `fruits` is generated. For the companion papers
there are scikit-learn's digits at 8 pixels and three worlds at 16, drawn like the source. Equal arguments give
identical bytes (with the same numpy, scikit-image and Pillow).
"""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.transform import resize

from ..files import installed
from .render import SHAPES, TEXTURES, drop, finish, halve, object_on_background, paint, polygon
from .splits import stratified

SIZE = 32  # pixels of the miniature world
# The source: surfaces of the shape classes as (texture, shaded), and the shapes and hues of the shape x hue classes.
SURFACES = ((None, True), ("noise_smooth", False), ("checks_fine", True), ("bars", False))
HUES = {"red": 0.0, "yellow": 0.14, "green": 0.33, "violet": 0.75}  # in turns; yellow and violet objects get a stem
HUED_SHAPES = ("disc", "pear", "crescent", "ellipse")

PHOTOS = {  # name -> file inside an installed package
    "astronaut": "skimage/data/astronaut.png",
    "brick": "skimage/data/brick.png",
    "camera": "skimage/data/camera.png",
    "chelsea": "skimage/data/chelsea.png",
    "coffee": "skimage/data/coffee.png",
    "coins": "skimage/data/coins.png",
    "grass": "skimage/data/grass.png",
    "gravel": "skimage/data/gravel.png",
    "hubble_deep_field": "skimage/data/hubble_deep_field.jpg",
    "tissue": "skimage/data/ihc.png",
    "moon": "skimage/data/moon.png",
    "page": "skimage/data/page.png",
    "retina": "skimage/data/retina.jpg",
    "rocket": "skimage/data/rocket.jpg",
    "text": "skimage/data/text.png",
    "clock": "skimage/data/clock_motion.png",
    "cell": "skimage/data/cell.png",
    "microaneurysms": "skimage/data/microaneurysms.png",
    "china": "sklearn/datasets/images/china.jpg",
    "flower": "sklearn/datasets/images/flower.jpg",
}
HALVED_PHOTOS = ("hubble_deep_field", "retina", "china")  # too fine in detail for patches of 32 to 72 pixels

FRUIT_SHAPES = SHAPES | {"drop": drop, "hexagon": polygon(6)}
FRUITS = {  # name -> shape, hue, skin, what grows at the top
    "apple": ("disc", 0.00, None, "stem"),
    "lime": ("disc", 0.30, None, "stem"),
    "orange": ("disc", 0.08, "noise_white", ""),
    "grapefruit": ("disc", 0.15, "noise_white", ""),
    "lemon": ("ellipse", 0.15, None, ""),
    "banana": ("crescent", 0.15, None, ""),
    "pear": ("pear", 0.22, None, "stem"),
    "loquat": ("pear", 0.09, None, "stem"),
    "grapes": ("bunch", 0.78, None, ""),
    "white_grapes": ("bunch", 0.25, None, ""),
    "redcurrants": ("bunch", 0.00, None, ""),
    "strawberry": ("heart", 0.98, "dots_fine", "leaf"),
    "pineapple": ("drop", 0.13, "grid", "leaf"),
    "watermelon": ("disc", 0.33, "bars_upright", ""),
    "courgette": ("ellipse", 0.33, "bars_upright", ""),
    "mangosteen": ("disc", 0.83, None, ""),
    "plum": ("ellipse", 0.78, None, ""),
    "cherries": ("pair", 0.99, None, "stem"),
    "melon_slice": ("half_disc", 0.33, "rings", ""),
    "orange_slice": ("half_disc", 0.05, "rays", ""),
    "mango": ("ellipse", 0.07, "noise_smooth", ""),
    "peach": ("disc", 0.06, "noise_cloud", "leaf"),
    "carambola": ("star_5", 0.16, None, ""),
    "sugar_apple": ("hexagon", 0.30, "dots_wide", ""),
    "papaya": ("drop", 0.06, "noise_white", "leaf"),
}


@dataclass(frozen=True, eq=False)
class Arrays:
    """A data set of n items in memory, sorted by class."""

    images: np.ndarray  # uint8 [n, height, width, 3], RGB
    labels: np.ndarray  # int64 [n], indices into class_names
    test: np.ndarray  # bool [n], True = test item
    class_names: tuple[str, ...]  # unique
    sources: list[str]  # what each image is from, and for the photographs, where
    groups: np.ndarray | None = None  # int64 [n], of items that belong on one side of the validation split; -1: none


def quantise(images: np.ndarray) -> np.ndarray:
    """Planar float images [n, 3, size, size], clipped to 0..1 and rounded -> uint8 [n, size, size, 3]."""
    return np.ascontiguousarray(np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1))


def drawn_objects(rng: np.random.Generator, n: int, *args, **kwargs) -> np.ndarray:
    """`object_on_background` at twice the size, averaged and finished: float32 [n, 3, 32, 32]."""
    return finish(rng, halve(object_on_background(rng, n, 2 * SIZE, *args, **kwargs)))


CLASSES = {name: "texture" for name in TEXTURES} | {name: "shape" for name in SHAPES}  # of the source: name -> kind
CLASSES |= {f"{hue}_{name}": "object" for name, hue in product(HUED_SHAPES, HUES)}


def drawn_class(rng: np.random.Generator, kind: str, name: str, n: int, **placement) -> np.ndarray:
    """n images of one of `CLASSES`, a shape's by its four surfaces: float32 [n, 3, 32, 32] in 0..1."""
    if kind == "texture":
        fields = halve(TEXTURES[name](rng, n, 2 * SIZE))  # painting is linear, so averaging may come first
        return finish(rng, paint(rng, fields))
    if kind == "shape":
        parts = []
        for i, (skin, shaded) in enumerate(SURFACES):
            look = {"skin": skin and TEXTURES[skin], "shaded": shaded}
            parts.append(drawn_objects(rng, (n + i) // len(SURFACES), SHAPES[name], **look, **placement))
        return np.concatenate(parts)
    hue, shape = name.split("_", 1)
    return drawn_objects(rng, n, SHAPES[shape], hue=HUES[hue], stem=hue in ("yellow", "violet"), **placement)


def source(per_class: int = 200, seed: int = 0) -> Arrays:
    """The generated pretraining set: 41 textures, 18 shapes of any hue and surface, and 16 shape x hue classes.

    One item in 15 is a test item, drawn over all classes. Raises ValueError for fewer than 4 images a class.
    """
    if per_class < len(SURFACES):
        raise ValueError(f"per_class={per_class}: at least {len(SURFACES)}, one for each surface of a shape")
    rng = np.random.default_rng(seed)
    classes = {name: (kind, quantise(drawn_class(rng, kind, name, per_class))) for name, kind in CLASSES.items()}
    labels = np.repeat(np.arange(len(classes)), per_class)
    test = np.zeros(len(labels), bool)
    test[rng.permutation(len(labels))[: len(labels) // 15]] = True
    sources = [f"generated {kind} {name}" for name, (kind, _) in classes.items() for _ in range(per_class)]
    return Arrays(np.concatenate([images for _, images in classes.values()]), labels, test, tuple(classes), sources)


# The worlds: classes that 16 pixels can tell apart, so no texture with more than about four periods across the image.
WORLD_TEXTURES = ("grating_wide", "checks_wide", "noise_white", "noise_cloud", "discs_large", "rings")
WORLD_OBJECTS = tuple(f"{hue}_{shape}" for shape, hue in product(HUED_SHAPES, HUES))
WORLD_PLACEMENT = {"turn": 0.3, "scale": (0.75, 1.0)}  # larger and more upright than the source's: fewer pixels
WORLD_20 = (*WORLD_TEXTURES, *tuple(SHAPES)[4:10], *WORLD_OBJECTS[:8])
WORLDS = {  # name -> classes, train and test images a class, seed
    "world_10": (tuple(SHAPES)[:10], 100, 50, 10),
    "world_20": (WORLD_20, 50, 25, 20),
    "world_20_few": (WORLD_20, 20, 25, 21),
}


def world(name: str) -> Arrays:
    """One of `WORLDS`: classes of the source drawn anew and brought to 16 pixels by the mean of each 2 x 2 block."""
    names, train, test, seed = WORLDS[name]
    rng, images, n = np.random.default_rng(seed), [], train + test
    for each in names:
        drawn = drawn_class(rng, CLASSES[each], each, n, **WORLD_PLACEMENT)
        images.append(quantise(halve(drawn[rng.permutation(n)])))  # shuffled, as a shape's come surface by surface
    labels, tested = np.repeat(np.arange(len(names)), n), np.tile(np.arange(n) >= train, len(names))
    sources = [f"generated {CLASSES[each]} {each}" for each in names for _ in range(n)]
    return Arrays(np.concatenate(images), labels, tested, names, sources)


def digits(seed: int = 0) -> Arrays:
    """scikit-learn's 1,797 digits of 8 x 8 grey pixels: values 0..16 times 16, at most 255, as three equal channels.

    A third of each class, drawn at random, is test. Source: UCI, Optical Recognition of Handwritten Digits (Alpaydin
    and Kaynak 1998, CC BY 4.0), its test part. Raises FileNotFoundError where scikit-learn lacks the file.
    """
    table = np.loadtxt(installed("sklearn/datasets/data/digits.csv.gz"), delimiter=",")  # numpy reads .gz, too
    order = np.argsort(table[:, -1], kind="stable")
    labels = table[order, -1].astype(np.int64)
    test = stratified(labels, seed, share=1 / 3)
    grey = np.minimum(16 * table[order, :-1], 255).astype(np.uint8).reshape(-1, 8, 8)
    sources = [f"digits.csv.gz line {line + 1}" for line in order]
    return Arrays(np.stack([grey] * 3, -1), labels, test, tuple("0123456789"), sources)


def fruits(seed: int = 1) -> Arrays:
    """25 generated classes, named after fruits, of the source's renderer; 16 train and 20 test images each."""
    rng = np.random.default_rng(seed)
    images, sources = [], []
    for name, (shape, hue, skin, top) in FRUITS.items():
        look = dict(hue=hue, skin=skin and TEXTURES[skin], stem=top == "stem", leaf=top == "leaf")
        images.append(drawn_objects(rng, 36, FRUIT_SHAPES[shape], turn=1.2, scale=(0.4, 0.75), **look))
        sources += [f"generated fruit {name}"] * 36
    labels, test = np.repeat(np.arange(25), 36), np.tile(np.arange(36) >= 16, 25)
    return Arrays(quantise(np.concatenate(images)), labels, test, tuple(FRUITS), sources)


def photograph(name: str, halve: bool = True) -> np.ndarray:
    """One of PHOTOS in grey, those of HALVED_PHOTOS at half their size: float32 [height, width] in 0..1."""
    grey = np.asarray(Image.open(installed(PHOTOS[name])).convert("RGB"), np.float32).mean(-1) / 255
    if name == "retina":
        grey = grey[250:1150, 250:1150]  # the eye without the black around it
    if halve and name in HALVED_PHOTOS:
        grey = resize(grey, (grey.shape[0] // 2, grey.shape[1] // 2), anti_aliasing=True)
    return grey


Box = tuple[int, int, int, int]  # top, bottom, left, right, in pixels of a photograph


def cells(height: int, width: int) -> list[Box]:
    """Six boxes side by side, 3 x 2 or 2 x 3, whichever has the larger squares in it."""
    rows, columns = max(((3, 2), (2, 3)), key=lambda grid: min(height // grid[0], width // grid[1]))
    tall, wide = height // rows, width // columns
    return [(y * tall, (y + 1) * tall, x * wide, (x + 1) * wide) for y in range(rows) for x in range(columns)]


def patches(rng: np.random.Generator, grey: np.ndarray, box: Box, n: int, limit: int, name: str, pixels: int = SIZE):
    """n grey images [pixels, pixels] from a box of a photograph, and what each is from.

    Squares of ``pixels`` to 2.25 times as many, at most ``limit``, and from two thirds of that where it allows no more:
    squares as large as their box would all be one. Flat ones (std below .03) are refused while fewer than 20 n have
    been tried. Each gets a mean of .5 and, where it has that much contrast, a std of .14 to .26.
    """
    images, sources, tries = [], [], 0
    top, bottom, left, right = box
    while len(images) < n:
        size = int(rng.integers(min(pixels, 2 * limit // 3), min(9 * pixels // 4, limit + 1)))
        y, x = int(rng.integers(top, bottom - size + 1)), int(rng.integers(left, right - size + 1))
        patch = grey[y : y + size, x : x + size]
        tries += 1
        if patch.std() < 0.03 and tries < 20 * n:
            continue
        patch = resize(patch, (pixels, pixels), anti_aliasing=True, order=1)
        patch = (patch - patch.mean()) / max(patch.std(), 0.08) * 0.2 * rng.uniform(0.7, 1.3) + 0.5
        images.append(patch.astype(np.float32))
        sources.append(f"{name} y={y} x={x} size={size}")
    return images, sources


def photos(seed: int = 0, pixels: int = SIZE) -> Arrays:
    """Grey patches of 20 photographs that come with scikit-image and scikit-learn, one class each; 24 train, 25 test.

    Train patches lie in the left 55% of a photograph, four in each of six `cells`, which are its `groups`: patches of
    two cells share no pixel, so neither do train and validation patches. Test patches lie in the right 40% and are of
    the same sizes. Places and sizes in `sources` are pixels of the photograph, but for those of `HALVED_PHOTOS`, which
    are first brought to half their size if ``pixels`` is 32 (and retina is always cut to its rows and columns 250 to
    1150). Raises FileNotFoundError where an installed package lacks a photograph.
    """
    rng = np.random.default_rng(seed)
    images, sources = [], []
    for name, path in PHOTOS.items():
        grey = photograph(name, halve=pixels == SIZE)
        height, width = grey.shape
        inner = cells(height, int(0.55 * width))
        limit = min(inner[0][1], inner[0][3])  # the first cell's sides
        for box, n in (*((cell, 4) for cell in inner), ((0, height, int(0.6 * width), width), 25)):
            new_images, new_sources = patches(rng, grey, box, n, limit, Path(path).name, pixels)
            images, sources = images + new_images, sources + new_sources
    labels, test = np.repeat(np.arange(len(PHOTOS)), 49), np.tile(np.arange(49) >= 24, len(PHOTOS))
    groups = np.where(test, -1, 6 * labels + np.tile(np.arange(49) // 4, len(PHOTOS)))
    return Arrays(quantise(np.stack([images] * 3, 1)), labels, test, tuple(PHOTOS), sources, groups)


def elpv(seed: int = 0, pixels: int = SIZE, train: int = 100) -> Arrays:
    """Electroluminescence photographs of solar cells: mono- or polycrystalline x functional or defective.

    ``train`` (at most 213) train and 100 test images per class, of the cells that the experts were sure of (defect
    probability 0 or 1); the test images are the same for any ``train``. Source: the package elpv-dataset, CC BY-NC-SA
    4.0. Cite Buerhop-Lutz et al. 2018 ("A benchmark
    for visual identification of defective solar cells in electroluminescence imagery", EU PVSEC) and Deitsch et al.
    2019 ("Automatic classification of defective photovoltaic module cells in electroluminescence images", Solar Energy)
    and 2021 ("Segmentation of photovoltaic module cells in uncalibrated electroluminescence images", MVA).
    """
    rng = np.random.default_rng(seed)
    table = installed("elpv_dataset/data/labels.csv")  # not through the package: its loader decodes all 2,624 images
    with open(table, encoding="utf-8", newline="") as lines:
        cells = [row for row in csv.reader(lines, delimiter=" ", skipinitialspace=True) if row]
    images, sources = [], []
    for kind, defective in product(("mono", "poly"), (0.0, 1.0)):
        paths = [path for path, probability, cell in cells if (cell, float(probability)) == (kind, defective)]
        for path in rng.permutation(paths)[: 100 + train]:
            cell = Image.open(table.parent / path).convert("L")
            resized = cell.resize((pixels, pixels), Image.Resampling.BILINEAR)  # Pillow's is antialiased
            images.append(np.asarray(resized))
            sources.append(f"elpv {Path(path).name}")
    names = ("mono_functional", "mono_defective", "poly_functional", "poly_defective")
    labels, test = np.repeat(np.arange(4), 100 + train), np.tile(np.arange(100 + train) < 100, 4)
    return Arrays(np.stack([images] * 3, -1), labels, test, names, sources)


OFFLINE: dict[str, Callable[..., Arrays]] = {
    "source": source,
    "source_small": partial(source, per_class=20),
    "photos": photos,
    "elpv": elpv,
    "fruits": fruits,
    "photos_64": partial(photos, pixels=64),
    "elpv_64": partial(elpv, pixels=64, train=200),
    "photos_128": partial(photos, pixels=128),
    "elpv_128": partial(elpv, pixels=128, train=200),
    "digits": digits,
    **{name: partial(world, name) for name in WORLDS},
}
