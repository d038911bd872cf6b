"""The miniature world: what is drawn is well formed, what is real is split cleanly, and nothing touches the network."""

import hashlib
import re
import socket
from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest
import torch

from plasticity import data
from plasticity.datasets import render
from plasticity.datasets import world as offline
from plasticity.datasets.prepare import pack

SEEDED = ("source", "photos", "elpv", "fruits")
EXPECTED = {  # classes, train and test items, pixels; the source with four images per class
    "source": (75, 280, 20, 32),
    "photos": (20, 480, 500, 32),
    "elpv": (4, 400, 400, 32),
    "fruits": (25, 400, 500, 32),
    "world_10": (10, 1000, 500, 16),
    "world_20": (20, 1000, 500, 16),
    "world_20_few": (20, 400, 500, 16),
    "photos_64": (20, 480, 500, 64),
    "elpv_64": (4, 800, 400, 64),
    "photos_128": (20, 480, 500, 128),
    "elpv_128": (4, 800, 400, 128),
}


@cache
def made(name, seed=3):
    """A data set; of those that take one, with that seed."""
    return offline.OFFLINE[name](
        **{"seed": seed} if name in SEEDED else {}, **{"per_class": 4} if name == "source" else {}
    )


def hashes(images):
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def shape_mask(shape):
    """Where a shape is, on a plane wider than the frame: mask, x, y and the area of a pixel."""
    centres = (np.arange(300, dtype=np.float32) + 0.5) / 100 - 1.5
    x, y = np.meshgrid(centres, centres)
    return shape(x, y) > 0, x, y, 0.01**2


# --- render -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", render.TEXTURES)
def test_texture_is_a_field_that_depends_on_the_generator_alone(name):
    field, again, other = (render.TEXTURES[name](np.random.default_rng(seed), 3, 64) for seed in (0, 0, 1))
    assert field.shape == (3, 64, 64) and field.dtype == np.float32
    assert np.isfinite(field).all() and field.min() >= 0 and field.max() <= 1
    assert (field.std((1, 2)) > 0.05).all(), "a constant field shows no texture"
    assert np.array_equal(field, again) and not np.array_equal(field, other)
    assert not np.array_equal(field[0], field[1]), "the images of a batch must differ"


@pytest.mark.parametrize("name", offline.FRUIT_SHAPES)
def test_shape_is_sensible_and_inside_the_frame(name):
    mask, x, y, pixel = shape_mask(offline.FRUIT_SHAPES[name])
    assert 0.15 < mask.sum() * pixel / 4 < 0.8  # share of the frame, -1..1 both ways
    assert not mask[(np.abs(x) > 1.45) | (np.abs(y) > 1.45)].any()  # a triangle's corner is 1.44 from its centre
    assert np.hypot(x[mask].mean(), y[mask].mean()) < 0.55  # the farthest, crescent and half disc, lie on one side


@pytest.mark.parametrize(
    "name, area",
    [
        ("disc", np.pi * 0.95**2),
        ("square", 1.5**2),
        ("rectangle", 1.7 * 1.7 / 1.8),
        ("ring", np.pi * (0.9**2 - 0.4**2)),
        ("triangle", 3 * 3**0.5 * 0.72**2),
        ("pair", 2 * np.pi * 0.45**2),
        ("cross", 2 * 0.6 * 1.9 - 0.6**2),
        ("half_disc", np.pi * 0.95**2 / 2),
        ("ellipse", np.pi * 0.95**2 / 1.8),
        ("star_5", np.pi * (0.62**2 + 0.3**2 / 2)),
        ("pentagon", 5 * np.tan(np.pi / 5) * 0.72**2),
        ("hexagon", 6 * np.tan(np.pi / 6) * 0.72**2),
    ],
)
def test_shape_has_the_area_worked_out_by_hand(name, area):
    mask, _, _, pixel = shape_mask(offline.FRUIT_SHAPES[name])
    assert mask.sum() * pixel == pytest.approx(area, rel=0.01)


def test_no_two_shapes_look_alike():
    masks = [shape_mask(shape)[0] for shape in offline.FRUIT_SHAPES.values()]
    overlaps = [(a & b).sum() / (a | b).sum() for i, a in enumerate(masks) for b in masks[:i]]
    assert max(overlaps) < 0.95


def test_small_pieces_by_hand():
    assert render.step(np.float32([-9, 0, np.log(3) / 8, 9])) == pytest.approx([0, 0.5, 0.75, 1])
    assert render.halve(np.float32([[1, 3, 0, 0], [5, 7, 0, 2]])).tolist() == [[4, 0.5]]
    hues, ones = np.array([0, 1 / 3, -1 / 3]).reshape(3, 1, 1), np.ones((3, 1, 1))
    assert render.colour(hues, ones, ones)[:, :, 0, 0] == pytest.approx(np.eye(3), abs=1e-6)
    x, y = render.axes(4)
    assert x.ravel().tolist() == y.ravel().tolist() == [-0.75, -0.25, 0.25, 0.75]
    planar = np.array([-1, 0.5, 2], np.float32).reshape(1, 3, 1, 1)
    assert offline.quantise(planar).tolist() == [[[[0, 128, 255]]]]  # 127.5 rounds to even


def test_noise_is_normalised_and_falls_off_as_asked():
    field = render.noise(np.random.default_rng(0), 50, 64, alpha=1.5)
    assert np.abs(field.mean((1, 2))).max() < 1e-5 and field.std((1, 2)) == pytest.approx(1, abs=1e-3)
    amplitude = np.abs(np.fft.rfft2(field)).mean(0)[0]
    frequency = np.arange(33) / 64 + 1 / 64
    slope = np.polyfit(np.log(frequency[1:32]), np.log(amplitude[1:32]), 1)[0]
    assert slope == pytest.approx(-1.5, abs=0.1)


def test_paint_gives_two_colours_apart_in_luminance_and_a_quarter_of_greys():
    field = np.zeros((2000, 1, 2), np.float32)
    field[..., 1] = 1
    images = render.paint(np.random.default_rng(0), field)
    assert images.shape == (2000, 3, 1, 2) and images.min() >= 0 and images.max() <= 1
    grey = np.ptp(images, axis=1).max((1, 2)) < 1e-6
    assert 0.21 < grey.mean() < 0.29
    luminance = (images * render.LUMINANCE).sum(1)[:, 0]
    assert (np.abs(luminance[:, 0] - luminance[:, 1]) > 0.249)[~grey].mean() > 0.99


def test_object_has_its_hue_its_stem_and_its_leaf():
    def drawing(**parts):
        look = {"hue": 0.33, "scale": (0.7, 0.7), "turn": 0.0} | parts
        return render.object_on_background(np.random.default_rng(0), 8, 64, render.SHAPES["disc"], **look)

    plain = drawing()
    red, green, blue = plain[:, :, 32, 32].T
    assert (green > red).all() and (green > blue).all()
    for part in ("stem", "leaf"):
        changed = np.abs(drawing(**{part: True}) - plain).max(1) > 0.1
        assert changed.any((1, 2)).all() and changed.mean() < 0.2
        assert changed[:, 48:].sum() == 0, "stems and leaves grow at the top"


def test_finish_stays_in_range_and_varies():
    images = render.finish(np.random.default_rng(0), np.full((20, 3, 32, 32), 0.9, np.float32))
    assert images.dtype == np.float32 and images.min() >= 0 and images.max() <= 1
    assert images.mean((1, 2, 3)).std() > 0.01


# --- offline ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_source_is_41_textures_18_shapes_and_16_hued_shapes():
    kinds = Counter(source.split()[1] for source in made("source").sources)
    assert kinds == {"texture": 41 * 4, "shape": 18 * 4, "object": 16 * 4}
    assert len(render.TEXTURES) == 41 and len(render.SHAPES) == 18


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_sets_have_their_counts_and_types_and_every_image_shows_something(name):
    arrays, (classes, train, test, pixels) = made(name), EXPECTED[name]
    n = train + test
    assert arrays.images.shape == (n, pixels, pixels, 3) and arrays.images.dtype == np.uint8
    assert arrays.images.flags.c_contiguous and arrays.images.std((1, 2, 3)).min() > 3
    assert arrays.labels.shape == (n,) and arrays.labels.dtype == np.int64
    assert arrays.test.shape == (n,) and arrays.test.dtype == bool and arrays.test.sum() == test
    assert len(arrays.sources) == n and all(isinstance(source, str) for source in arrays.sources)
    assert isinstance(arrays.class_names, tuple) and len(set(arrays.class_names)) == classes
    parts = [arrays.labels] if name == "source" else [arrays.labels[arrays.test], arrays.labels[~arrays.test]]
    for part in parts:
        assert np.bincount(part).tolist() == [len(part) // classes] * classes, "classes must be balanced"
    assert len(set(hashes(arrays.images))) == n
    assert len(set(arrays.sources)) > 900 or not name.startswith("photos")


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDED)
def test_a_seed_gives_the_same_bytes_again_without_a_network_and_another_gives_others(name, monkeypatch):
    first, other = made(name), made(name, 4)
    for function in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, function, None)
    again = made.__wrapped__(name)
    assert first.images.tobytes() == again.images.tobytes() and first.sources == again.sources
    assert np.array_equal(first.test, again.test)
    assert not set(hashes(first.images)) >= set(hashes(other.images))
    assert np.array_equal(first.test, other.test) == (name != "source")


def test_source_counts_hold_where_the_surfaces_do_not_divide_them_and_too_few_are_refused():
    for per_class in (5, 6, 7):
        source = offline.source(per_class=per_class)
        assert (np.bincount(source.labels) == per_class).all()
        assert len(source.images) == len(source.sources) == len(source.labels) == 75 * per_class
    with pytest.raises(ValueError, match="per_class=3"):
        offline.source(per_class=3)


def test_source_small_is_the_source_with_40_a_class():
    small = offline.OFFLINE["source_small"]()
    assert (np.bincount(small.labels) == 20).all() and small.test.sum() == 100
    mini = {"source", "source_small", "photos", "elpv", "fruits"}
    assert set(offline.OFFLINE) == mini | {"photos_64", "elpv_64", "photos_128", "elpv_128", "digits", *offline.WORLDS}


def box(source):
    """Where a patch lies: its photograph, and its first and last row and column."""
    name, *place = re.fullmatch(r"(\S+) y=(\d+) x=(\d+) size=(\d+)", source).groups()
    y, x, size = map(int, place)
    return name, (y, y + size - 1), (x, x + size - 1)


def overlap(one, other):
    """Whether two patches share a pixel."""
    return one[0] == other[0] and all(a[0] <= b[1] and b[0] <= a[1] for a, b in zip(one[1:], other[1:], strict=True))


SIZES = [
    "photos",
    pytest.param("photos_64", marks=pytest.mark.slow),
    pytest.param("photos_128", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("name", SIZES)
def test_no_validation_patch_overlaps_a_training_patch(name, tmp_path):
    pack(tmp_path, name, made(name))
    packed = data.load(tmp_path, name)
    boxes = [box(source) for source in packed.sources]
    for seed in range(3):
        learned, held = data.split(packed, 0.2, torch.Generator().manual_seed(seed))
        assert len(held) == 80 and len(learned) == 400 and not packed.test[torch.cat((learned, held))].any()
        for label in range(20):
            fit, checked = (part[packed.labels[part] == label].tolist() for part in (learned, held))
            assert len(checked) == 4 and not any(overlap(boxes[i], boxes[j]) for i in fit for j in checked)


def test_cells_by_hand():
    assert offline.cells(102, 56) == [(y, y + 34, x, x + 28) for y in (0, 34, 68) for x in (0, 28)]
    assert offline.cells(191, 211)[-1] == (95, 190, 140, 210)  # 2 x 3


@pytest.mark.parametrize("name", SIZES)
def test_photos_of_both_parts_have_the_same_sizes(name):
    arrays, pixels = made(name), EXPECTED[name][-1]
    size = np.array([box(source)[1] for source in arrays.sources]) @ [-1, 1] + 1
    for label, photo in enumerate(arrays.class_names):
        height, width = offline.photograph(photo, halve=pixels == 32).shape
        _, tall, _, wide = offline.cells(height, int(0.55 * width))[0]
        limit = min(tall, wide, 9 * pixels // 4 - 1)
        for part in (arrays.test, ~arrays.test):
            found = size[(arrays.labels == label) & part]
            assert (
                min(pixels, 2 * min(tall, wide) // 3) <= found.min() <= found.max() <= limit
                and np.ptp(found) > limit / 5
            )


def test_photos_train_and_test_patches_share_no_column():
    columns = defaultdict(lambda: {False: [], True: []})
    for source, test in zip(made("photos").sources, made("photos").test.tolist(), strict=True):
        name, _, (first, last) = box(source)
        columns[name][test].append((first, last + 1))
    assert len(columns) == 20
    for name, parts in columns.items():
        assert max(end for _, end in parts[False]) <= min(start for start, _ in parts[True]), name


def test_photos_are_what_their_sources_say():
    photos = made("photos")
    brick = offline.photograph("brick")
    for i in np.flatnonzero(photos.labels == photos.class_names.index("brick"))[::8]:
        y, x, size = map(int, re.findall(r"=(\d+)", photos.sources[i]))
        patch = brick[y : y + size, x : x + size]
        small = offline.resize(patch, (32, 32), anti_aliasing=True, order=1)
        assert np.corrcoef(small.ravel(), photos.images[i, ..., 0].ravel())[0, 1] > 0.95
    assert (photos.images == photos.images[..., :1]).all(), "patches are grey"


@pytest.mark.parametrize("path", ["skimage/data/absent.png", "sklearn/absent.jpg"])
def test_a_missing_photograph_is_named(monkeypatch, path):
    monkeypatch.setitem(offline.PHOTOS, "brick", path)
    with pytest.raises(FileNotFoundError, match=path):
        offline.photos()


def test_elpv_cells_are_in_one_part_and_have_their_label():
    elpv = made("elpv")
    parts = [{s for s, t in zip(elpv.sources, elpv.test, strict=True) if t == test} for test in (False, True)]
    assert len(parts[0]) == 400 and len(parts[1]) == 400 and not parts[0] & parts[1]
    with open(offline.installed("elpv_dataset/data/labels.csv"), newline="") as lines:
        truth = {line.split()[0].removeprefix("images/"): line.split()[1:] for line in lines}
    assert len(truth) == 2624
    kinds = {("mono", "0.0"): 0, ("mono", "1.0"): 1, ("poly", "0.0"): 2, ("poly", "1.0"): 3}
    labels = [kinds[tuple(reversed(truth[source.removeprefix("elpv ")]))] for source in elpv.sources]
    assert labels == elpv.labels.tolist()
    assert elpv.class_names == ("mono_functional", "mono_defective", "poly_functional", "poly_defective")


def test_more_elpv_to_learn_from_leaves_the_test_images_as_they_are():
    few, more = offline.elpv(pixels=8, train=1), offline.elpv(pixels=8, train=3)
    for part in ("images", "labels"):
        assert np.array_equal(getattr(few, part)[few.test], getattr(more, part)[more.test])
    assert few.test.sum() == 400 and set(few.sources) < set(more.sources)


def test_fruit_recipes_are_known_and_differ():
    assert all(shape in offline.FRUIT_SHAPES for shape, *_ in offline.FRUITS.values())
    assert all(skin is None or skin in render.TEXTURES for _, _, skin, _ in offline.FRUITS.values())
    assert len(set(offline.FRUITS.values())) == 25, "two fruits have one recipe"


@pytest.mark.slow
@pytest.mark.parametrize("pixels, most, share", [(64, 1.0, 0.85), (128, 1.5, 0.75)])
def test_photographs_at_the_sizes_of_imagenet_networks_are_seldom_enlarged_much(pixels, most, share):
    sizes = [int(text.split("size=")[1]) for text in made(f"photos_{pixels}").sources]
    assert sum(most * size >= pixels for size in sizes) > share * len(sizes)


# --- for the companion papers -----------------------------------------------------------------------------------------
def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    theirs, ours = load_digits(), offline.digits()
    assert ours.images.shape == (1797, 8, 8, 3) and ours.images.dtype == np.uint8 and ours.images.max() == 255
    lines = np.array([int(source.split()[-1]) - 1 for source in ours.sources])
    assert sorted(lines) == list(range(1797)) and np.array_equal(theirs.target[lines], ours.labels)
    assert np.array_equal(np.minimum(16 * theirs.images[lines], 255), ours.images[..., 0])
    assert (ours.images == ours.images[..., :1]).all() and ours.labels.dtype == np.int64
    sizes, tested = np.bincount(ours.labels), np.bincount(ours.labels[ours.test])
    assert np.array_equal(tested, np.rint(sizes / 3)) and (np.diff(ours.labels) >= 0).all()
    assert np.array_equal(offline.digits().test, ours.test) and not np.array_equal(offline.digits(1).test, ours.test)


@pytest.mark.parametrize("name", offline.WORLDS)
def test_worlds_draw_classes_of_the_source_and_always_the_same(name):
    arrays = made(name)
    assert set(arrays.class_names) <= set(offline.CLASSES) and arrays.images.std() > 30
    kinds = {source.split()[1] for source in arrays.sources}
    assert kinds == ({"shape"} if name == "world_10" else {"texture", "shape", "object"})
    assert np.array_equal(offline.world(name).images, arrays.images)


def test_a_worlds_pixel_is_the_mean_of_four(monkeypatch):
    monkeypatch.setitem(offline.WORLDS, "world_10", (("disc",), 3, 1, 10))
    drawn = offline.drawn_class(rng := np.random.default_rng(10), "shape", "disc", 4, **offline.WORLD_PLACEMENT)
    mean = drawn.reshape(4, 3, 16, 2, 16, 2).mean((3, 5))[rng.permutation(4)]
    assert np.abs(offline.world("world_10").images / 255 - mean.transpose(0, 2, 3, 1)).max() < 0.5001 / 255
