"""Folders of images as people really have them: what is used, what is refused, and what is left out and said."""

import contextlib
import json
import os
import shutil
import socket
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from plasticity.datasets.folder import about, listing, pack_folder
from plasticity.datasets.layout import kinds_of, shown

ANIMALS = ("ant", "bee")


def image(seed=0, mode="RGB"):
    noise = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), np.uint8)
    return Image.fromarray(noise).convert(mode)


def fill(folder, n=5, names=ANIMALS, seed=0):
    """Class folders of ``n`` images, no two equal."""
    for place, name in enumerate(names):
        write(folder / name, n, 100 * seed + 10 * place)
    return folder


def write(folder, n=5, seed=0, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        image(seed + i).save(folder / f"{i}{suffix}")


def split(folder, *parts):
    for seed, part in enumerate(parts, 1):
        fill(folder / part, seed=seed)
    return folder


def used(folder):
    """Classes, items for training, items for testing (0: still to be drawn)."""
    found = listing(folder)
    tested = 0 if found.test is None else int(found.test.sum())
    return "/".join(found.class_names), len(found.files) - tested, tested


# --- layouts ----------------------------------------------------------------------------------------------------------
PARTS = {
    "Training and Testing": ("Training", "Testing"),
    "TRAIN and VAL": ("TRAIN", "VAL"),
    "train and dev": ("train", "dev"),
    "numbered": ("01_train", "02-valid"),
    "with filling words": ("training_set", "test_set"),
    "in one word": ("TrainImages", "TestImages"),
    "prefixed": ("seg_train", "seg_test"),
    "named after the set": ("cars_train", "cars_test"),
    "twice": ("train/train", "test/test"),
    "wrapped": ("archive/data/Train", "archive/data/Test"),
}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
def test_a_split_is_found_however_it_is_spelled(tmp_path, parts):
    assert used(split(tmp_path, *parts)) == ("ant/bee", 10, 10)


@pytest.mark.parametrize("third", ["val", "Validation", "VALID"])
def test_validation_joins_training_where_there_is_a_test_part(tmp_path, third):
    assert used(split(tmp_path, "TRAIN", third, "Testing")) == ("ant/bee", 20, 10)


@pytest.mark.parametrize("name", ["train_station", "test tube", "valley", "developer", "cars_train", "protest"])
def test_a_class_whose_name_has_such_a_word_in_it_is_a_class(tmp_path, name):
    fill(tmp_path, names=("ant", "bee", name))
    assert used(tmp_path)[0] == f"ant/bee/{name}" and not kinds_of(["ant", name])


LEAVINGS = ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "$RECYCLE.BIN", "lost+found", ".thumbnails", "__pycache__"]


@pytest.mark.parametrize("name", LEAVINGS + [name.lower() for name in LEAVINGS])
@pytest.mark.parametrize("place", ["", "ant", "Train", "Train/ant"])
def test_what_programs_leave_behind_is_neither_class_nor_image(tmp_path, name, place):
    whole = split(tmp_path, "Train", "Test") if "Train" in place else fill(tmp_path)
    fill(whole / place / name)
    (whole / "Thumbs.db").write_bytes(b"x")
    image().save(whole / ("Train/ant" if "Train" in place else "ant") / "._0.png")
    assert used(whole) == (("ant/bee", 10, 10) if "Train" in place else ("ant/bee", 10, 0))
    assert "hidden or left by programs: 3 (the first: " in listing(whole).left_out


def test_folders_without_images_are_no_classes_and_are_said(tmp_path):
    split(tmp_path, "train", "test")
    (tmp_path / "annotations" / "xml").mkdir(parents=True)
    (tmp_path / "annotations" / "xml" / "0.xml").write_text("<a/>")
    (tmp_path / "train" / "dog").mkdir()
    assert used(tmp_path) == ("ant/bee", 10, 10)
    assert listing(tmp_path).left_out == (
        "Left out: .xml files: 1 (annotations/xml/0.xml); folders without images: 2 (the first: annotations)."
    )


@pytest.mark.parametrize("parts", [("train", "test", "val"), ("",)])
def test_a_copy_of_the_whole_inside_is_left_out(tmp_path, parts):
    root = split(tmp_path / "chest_xray", *parts)
    if parts == ("",):
        fill(root, names=("cow",), seed=9)
    shutil.copytree(root, tmp_path / "copy")
    shutil.move(tmp_path / "copy", root / "chest_xray")
    fill(root / "__MACOSX")
    expected = ("ant/bee", 20, 10) if len(parts) == 3 else ("ant/bee/cow", 15, 0)
    assert used(root) == used(tmp_path) == expected
    assert "a second copy of everything: 1 (chest_xray)" in listing(root).left_out
    image(999).resize((30, 30)).save(next((root / "chest_xray").rglob("0.png")))
    with pytest.raises(ValueError, match="chest_xray holds folders of the same names .*but other images; give one"):
        listing(root)


def test_one_wrapping_folder_is_looked_through_and_images_outside_are_counted(tmp_path):
    fill(tmp_path / "archive" / "photos")
    image().save(tmp_path / "preview.png")
    assert used(tmp_path) == ("ant/bee", 10, 0)
    assert listing(tmp_path).left_out == "Left out: images outside class folders: 1 (preview.png)."


REFUSED = {
    "split inside a class": (
        lambda root: [split(root / name, "Train", "Test") for name in ANIMALS],
        "ant looks like a split inside a class folder or part .*train/<class>",
    ),
    "split deep inside a class": (
        lambda root: (fill(root), write(root / "bee" / "photos" / "train"), write(root / "bee" / "photos" / "val")),
        "bee/photos looks like a split inside a class",
    ),
    "split inside a part": (lambda root: split(root, "train/train", "train/test", "test"), "train looks like a split"),
    "part beside classes": (
        lambda root: fill(root, names=("ant", "bee", "test")),
        r"looks split \(test\), but ant, bee",
    ),
    "split beside classes": (lambda root: fill(split(root, "train", "test")), r"\(test, train\), but ant, bee beside"),
    "masks beside parts": (lambda root: fill(split(root, "Train", "Test"), names=("masks",)), "but masks beside it"),
    "masks beside images": (
        lambda root: [fill(root / name, names=("images", "masks")) for name in ANIMALS],
        "ant holds images beside masks, which would be learned",
    ),
    "images and labels": (lambda root: fill(root, names=("images", "labels")), "holds images beside labels"),
    "same part twice": (lambda root: split(root, "train", "Training", "test"), "two of these are the same part"),
    "no part to learn from": (lambda root: split(root, "val", "test"), "there is no train folder"),
    "unsorted test images": (lambda root: write(split(root, "train") / "test"), "no class folders are in test: sort"),
    "unsorted parts": (lambda root: fill(root, names=("train", "test")), "no class folders are in test, train:"),
    "copy of a part": (lambda root: split(root, "train", "train - Copy"), "two of these are the same part"),
    "class in other letters": (
        lambda root: (fill(root / "Train", names=("Ant", "bee")), fill(root / "Test", seed=5)),
        r"Train: class 'ant' has 0 images, .*; there is 'Ant', too; add images",
    ),
    "folds": (lambda root: split(root, "fold1", "fold2"), r"looks split \(fold1, fold2\)"),
    "parts and classes in one name": (
        lambda root: fill(root, names=("trainA", "trainB", "testA", "testB")),
        r"looks split \(testA, trainA, testB, trainB\), but two",
    ),
    "one level too deep": (
        lambda root: [fill(root / name) for name in ("color", "grey")],
        r"set: color, grey all hold the same folders \(ant, bee\), and either may be the classes; give .*color alone",
    ),
    "no class folders": (write, "no images were found in its subfolders.*images outside class folders: 5"),
    "one class in folders": (lambda root: fill(root, names=("ant/a",)), "only one class was found, 'ant'"),
    "class of a format not read": (
        lambda root: (fill(root), (root / "cow").mkdir(), (root / "cow" / "1.HEIC").write_bytes(b"x")),
        r"class 'cow' has 0 images.*\.heic files, which are not read \(convert them\): 1 \(cow/1.HEIC\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_mean_two_things_is_refused_by_name(tmp_path, case):
    make, message = REFUSED[case]
    (tmp_path / "set").mkdir()
    make(tmp_path / "set")
    with pytest.raises(ValueError, match=message) as refused:
        pack_folder(tmp_path / "set", tmp_path / "data", 8)
    assert str(tmp_path / "set") in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "data").exists()


def test_folders_inside_class_folders_are_said(tmp_path):
    fill(tmp_path / "set", names=("a/x", "a/y", "b/x", "b/z"))
    name = pack_folder(tmp_path / "set", tmp_path, 8)
    said = about(tmp_path, name, tmp_path / "set")
    assert "Classes (images): 0 a (10), 1 b (10)." in said
    assert "Folders inside class folders belong to the class: a (x, y), b (x, z)." in said


# --- nothing vanishes -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".ppm", ".PGM", ".pbm", ".avif", ".JP2", ".apng", ".JPG"])
def test_suffixes_of_what_pillow_reads_are_used(tmp_path, suffix):
    kind = {".jfif": "JPEG", ".jpe": "JPEG", ".pgm": "PPM", ".pbm": "PPM", ".apng": "PNG"}
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    fill(tmp_path / "set")
    image().save(tmp_path / "set" / "ant" / f"new{suffix}", kind.get(suffix.lower()))
    packed = pack_folder(tmp_path / "set", tmp_path, 8)
    assert f"ant/new{suffix}" in json.loads((tmp_path / packed / "manifest.json").read_text())["sources"]


def test_everything_that_is_not_used_is_counted_by_reason_before_training(tmp_path):
    root = fill(tmp_path / "set")
    for name in ("a.heic", "b.HEIC", "notes.txt", "README"):
        (root / "ant" / name).write_bytes(b"x")
    (root / "cow").mkdir()
    (root / "bee" / "gone.png").symlink_to("nowhere.png")
    (root / "bee" / "self.png").symlink_to("self.png")
    (root / "bee" / "up").symlink_to("..")
    os.mkfifo(root / "bee" / "pipe.png")
    with contextlib.chdir(root / "bee"), socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
    said = about(tmp_path, pack_folder(root, tmp_path, 8), root)
    assert said.splitlines()[-1] == (
        "Left out: .heic files, which are not read (convert them): 2 (the first: ant/a.heic); .txt files: 1 "
        "(ant/notes.txt); broken links: 2 (the first: bee/gone.png); files without a suffix: 1 (ant/README); folders "
        "without images: 1 (cow); links back to a folder around them: 1 (bee/up); neither files nor folders: 2 (the "
        "first: bee/pipe.png)."
    )


def test_linked_folders_and_files_are_used_and_loops_end(tmp_path):
    root = fill(tmp_path / "set")
    write(tmp_path / "elsewhere" / "deep", 5, 50)
    (root / "cow").symlink_to(tmp_path / "elsewhere")
    (root / "ant" / "more").symlink_to(tmp_path / "elsewhere" / "deep")
    (root / "bee" / "link.png").symlink_to(root / "ant" / "0.png")
    (tmp_path / "elsewhere" / "loop").symlink_to(root)
    found = listing(root)
    assert found.class_names == ("ant", "bee", "cow") and np.bincount(found.labels).tolist() == [10, 6, 5]
    assert "links back to a folder around them: 1 (cow/loop)" in found.left_out


@contextlib.contextmanager
def somebody():
    """A folder, and the rights of a user who is not root."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        root, user = Path(folder) / "set", os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield root
        finally:
            os.seteuid(user)
            for path, _, _ in os.walk(folder):
                os.chmod(path, 0o777)


@pytest.mark.parametrize(
    ("path", "mode", "message"),
    [
        ("bee", 0, "1 files or folders in .* can't be opened .first: .*set/bee: Permission denied.; allow yourself"),
        ("bee", 0o400, "5 files or folders in .*first: .*set/bee/0.png: Permission denied"),
        ("bee/3.png", 0, r"1 of 10 images in .*set can't be read; the first: .*bee/3.png .*Permission denied"),
    ],
)
def test_what_may_not_be_read_is_refused_by_name(path, mode, message):
    with somebody() as root:
        fill(root)
        os.chmod(root / path, mode)
        with pytest.raises(ValueError, match=message):
            pack_folder(root, root.parent / "data", 8)


def test_an_empty_file_is_named(tmp_path):
    fill(tmp_path / "set")
    (tmp_path / "set" / "bee" / "3.png").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"1 of 10 images in .*the first: .*bee/3.png is no whole image \(it is empty\)"
    ):
        pack_folder(tmp_path / "set", tmp_path / "data", 8)


def test_images_that_are_not_used_as_they_are_stored_are_counted(tmp_path):
    root = fill(tmp_path / "set")
    turned = Image.Exif()
    turned[0x0112] = 6
    image(1).save(root / "ant" / "turned.jpg", exif=turned)
    image(2, "CMYK").save(root / "ant" / "cmyk.jpg")
    image(3).save(root / "ant" / "moving.gif", save_all=True, append_images=[image(4)])
    image(5, "P").save(root / "ant" / "palette.png", transparency=0)
    for name, scale in (("deep", 600), ("dark", 41)):
        Image.fromarray(np.arange(99, dtype=np.uint16).reshape(9, 11) * scale).save(root / "ant" / f"{name}.png")
    said = about(tmp_path, pack_folder(root, tmp_path, 8))
    for remark in (
        "16-bit grey, scaled to 8 bits: 2.",
        "16-bit grey below 4096, so nearly black in 8 bits: 1.",
        "CMYK, converted without its colour profile: 1.",
        "a camera's rotation mark, which is ignored: 1.",
        "several frames, of which the first is taken: 1.",
        "transparency, laid on black: 1.",
    ):
        assert f"\nImages with {remark}" in said


# --- names ------------------------------------------------------------------------------------------------------------
def test_names_that_are_no_utf8_are_used_and_shown_escaped(tmp_path):
    root = fill(tmp_path / "set")
    latin = Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    write(latin)
    (root / "bee" / os.fsdecode(b"\xe9t\xe9.txt")).write_text("")
    image(77).save(root / "ant" / "two\nlines.png")
    name = pack_folder(root, tmp_path, 8)
    said = about(tmp_path, name, root)
    assert r"2 caf\xe9 (5)" in said and r".txt files: 1 (bee/\xe9t\xe9.txt)" in said and said.encode()
    facts = json.loads((tmp_path / name / "manifest.json").read_text())
    assert "\\xe9" in facts["class_names"][2] and "ant/two\\nlines.png" in facts["sources"]
    (latin / "0.png").write_text("no image")
    with pytest.raises(ValueError, match=r"1 of 16 images .*caf\\xe9/0.png") as refused:
        pack_folder(root, tmp_path, 8)
    assert str(refused.value).encode()


def test_one_accent_spelled_two_ways_is_one_class(tmp_path):
    fill(tmp_path / "train", names=("caf\u00e9", "bee"))
    fill(tmp_path / "test", names=("cafe\u0301", "bee"), seed=5)
    assert used(tmp_path) == ("bee/caf\u00e9", 10, 10) and shown("caf\u00e9 \u732b $x$") == "caf\u00e9 \u732b $x$"


@pytest.mark.parametrize("names", [ANIMALS, ("train/ant", "train/bee")])
def test_a_class_of_equal_images_is_named_with_what_can_be_done(tmp_path, names):
    root = fill(tmp_path / "set", names=names)
    for i in range(1, 5):
        shutil.copy(root / names[1] / "0.png", root / names[1] / f"{i}.png")
    with warnings.catch_warnings(action="error"), pytest.raises(ValueError, match="class 'bee' would") as refused:
        pack_folder(root, tmp_path / "data", 8)
    assert str(refused.value).endswith(
        "add other images to it, move it away, or give train and test folders of your own"
    )


def test_an_image_in_two_classes_is_said(tmp_path):
    root = fill(tmp_path / "set")
    shutil.copy(root / "ant" / "0.png", root / "bee" / "again.png")
    said = about(tmp_path, pack_folder(root, tmp_path, 8))
    assert "groups of equal images: 1, of them both in training and in test: 0, in several classes: 1." in said
