"""A folder of images becomes a data set once."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from plasticity import data
from plasticity.datasets import decode
from plasticity.datasets.folder import EXAMPLE, about, example_folder, listing, pack_folder
from plasticity.datasets.prepare import prepare
from plasticity.files import file_sha256

# "ignore": pipes that earlier tests left to the garbage collector
pytestmark = pytest.mark.filterwarnings("error", "ignore::pytest.PytestUnraisableExceptionWarning")


def write(path, seed=0):
    """An image of noise, 24 x 16 pixels, at ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, *"/".join(path.parts[-3:]).encode()])
    Image.fromarray(rng.integers(0, 256, (16, 24, 3), np.uint8)).save(path)


@pytest.fixture
def images(tmp_path):
    """Three classes of ten images, two of them one level deeper, beside what is none."""
    folder = tmp_path / "My Photos"
    for name in ("ant", "bee", "cow"):
        for i in range(10):
            write(folder / name / ("more" if i > 7 else "") / f"{i}.png")
    (folder / "ant" / ".hidden.png").write_text("no image")
    (folder / "ant" / "notes.txt").write_text("no image")
    (folder / "__MACOSX" / "ant").mkdir(parents=True)
    return folder


def test_a_folder_is_listed_by_class_then_by_name(images):
    found = listing(images)
    assert (
        found.class_names == ("ant", "bee", "cow")
        and found.test is None
        and found.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    )
    assert found.files[:2] == ["ant/0.png", "ant/1.png"] and found.files[9] == "ant/more/9.png"


def test_a_packed_folder_is_a_data_set_with_a_stratified_test_fifth(images, tmp_path):
    name = pack_folder(images, tmp_path / "data", 8)
    assert data.FOLDER.fullmatch(name) and name.startswith("folder_my_photos-")
    packed = data.load(tmp_path / "data", name)
    assert packed.images.shape == (30, 8, 8, 3) and packed.class_names == ("ant", "bee", "cow")
    assert packed.sources[9] == "ant/more/9.png"
    assert torch.bincount(packed.labels[packed.test]).tolist() == [2, 2, 2]
    expected = Image.open(images / "bee" / "3.png").resize((8, 8), Image.Resampling.BILINEAR)
    assert np.array_equal(packed.images[13], np.asarray(expected))
    assert about(tmp_path / "data", name) == (
        "30 images of 3 classes, brought to 8 pixels; 6 of them for testing (drawn with "
        "seed 0); groups of equal images: 0.\nClasses (images): 0 ant (10), 1 bee (10), 2 cow (10)."
    )


def test_a_folder_is_packed_once_and_a_changed_one_is_another(images, tmp_path):
    folder = tmp_path / "data"
    name = pack_folder(images, folder, 8)
    before = (folder / name / "images.npy").stat().st_mtime_ns
    assert pack_folder(images, folder, 8) == name and (folder / name / "images.npy").stat().st_mtime_ns == before
    larger = pack_folder(images, folder, 12)
    write(images / "ant" / "0.png", seed=1)
    assert len({name, larger, pack_folder(images, folder, 8)}) == 3
    assert sorted(path.name.partition("-")[0] for path in folder.iterdir()) == ["folder_my_photos"] * 3


def test_a_folder_whose_classes_round_to_another_total_is_another_set_than_before(tmp_path):
    """Three classes of 13 had 3 test items each, 9 of 39; of 10, they had and have 2, and keep their name."""
    for each, tested, same in ((10, 6, True), (13, 8, False)):
        root = tmp_path / f"of{each}"
        for i in range(3 * each):
            write(root / "abc"[i % 3] / f"{i}.png")
        name, found = pack_folder(root, tmp_path, 8), listing(root)
        assert data.load(tmp_path, name).test.sum() == tested
        lines = ["8 0", *(f"{file_sha256(found.root / file)} {file}" for file in found.files)]
        assert name.endswith(hashlib.sha256("\n".join(lines).encode()).hexdigest()[:8]) == same


def test_equal_images_stay_on_one_side(images, tmp_path):
    for i in range(5):
        shutil.copy(images / "cow" / "0.png", images / "cow" / f"copy{i}.png")
    name = pack_folder(images, tmp_path / "data", 8)
    packed = data.load(tmp_path / "data", name)
    alike = [i for i, source in enumerate(packed.sources) if source.startswith("cow/copy") or source == "cow/0.png"]
    assert len(alike) == 6 and not packed.test[alike].any() and packed.test[packed.labels == 2].sum() == 3
    assert "groups of equal images: 1, of them both in training and in test: 0." in about(tmp_path / "data", name)


@pytest.mark.parametrize(
    ("parts", "tested"),
    [
        (("train", "test"), "test"),
        (("train", "val"), "val"),
        (("train", "val", "test"), "test"),
        (("train", "validation"), "validation"),
    ],
)
def test_a_folders_own_split_is_kept(tmp_path, parts, tested):
    for part in parts:
        for name in ("ant", "bee"):
            for i in range(6 if part == "train" else 2):
                write(tmp_path / "set" / part / name / f"{part}{i}.png")
    name = pack_folder(tmp_path / "set", tmp_path / "data", 8)
    packed = data.load(tmp_path / "data", name)
    assert {source for source, test in zip(packed.sources, packed.test, strict=True) if test} == {
        f"{tested}/{each}/{tested}{i}.png" for each in ("ant", "bee") for i in range(2)
    }
    assert "4 of them for testing (as the folder has them)" in about(tmp_path / "data", name)


def test_a_class_may_be_called_train(images):
    (images / "ant").rename(images / "train")
    assert listing(images).class_names == ("bee", "cow", "train")


def test_a_packed_folder_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'folder_gone-0123abcd'.*: pack these images again"):
        prepare(tmp_path, "folder_gone-0123abcd")


def remove(*names):
    return lambda folder: [shutil.rmtree(folder / name) for name in names]


def few(folder):
    for i in range(4):
        write(folder / "dog" / f"{i}.png")


def as_split(folder, test=("ant", "bee", "cow")):
    inner = [folder / name for name in ("ant", "bee", "cow")]
    for path in inner:
        path.rename(folder.parent / path.name)
        for part in ("train", "test") if path.name in test else ("train",):
            shutil.copytree(folder.parent / path.name, folder / part / path.name)


def unlearnable(folder):
    as_split(folder)
    for i in range(7):
        (folder / "train" / "bee" / f"{i}.png").unlink()


WRONG = {
    r"My Photos'.* does not exist; give a folder with one subfolder": shutil.rmtree,
    "My Photos' is a file; give a folder": lambda folder: (shutil.rmtree(folder), folder.write_text("")),
    r"My Photos should hold one subfolder .*class .*\.jpg.*no images were found": remove("ant", "bee", "cow"),
    "only one class was found, 'cow'": remove("ant", "bee"),
    r"My Photos: class 'dog' has 4 images, at least 5 are needed \(1 such classes\)": few,
    "My Photos/test has no images of class 'cow'": lambda folder: as_split(folder, ("ant", "bee")),
    "My Photos/train: class 'bee' has 3 images": unlearnable,
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_folder_is_one_error_that_names_it(images, tmp_path, message):
    WRONG[message](images)
    with pytest.raises(FileNotFoundError if "not exist" in message else ValueError, match=message):
        pack_folder(images, tmp_path / "data", 8)
    assert not (tmp_path / "data").exists()


def test_unreadable_images_are_counted_and_the_first_is_named(images, tmp_path):
    (images / "bee" / "3.png").write_bytes((images / "bee" / "3.png").read_bytes()[:200])
    (images / "cow" / "5.png").write_text("this is no image")
    first = r"2 of 30 images in .*My Photos can't be read; the first: .*bee/3\.png is no whole image"
    with pytest.raises(ValueError, match=first + r".*\. Replace them, or move them out of the folder, and start again"):
        pack_folder(images, tmp_path / "data", 8)
    assert not list((tmp_path / "data").iterdir())


def test_the_example_folder_is_written_once_and_holds_what_it_says(tmp_path):
    folder = example_folder(tmp_path)
    files = sorted(folder.rglob("*.png"))
    contents = {file: file.read_bytes() for file in files}
    assert len(set(contents.values())) == 200 and {path.name for path in folder.iterdir()} == set(EXAMPLE)
    assert all(np.array_equal(decode.read(file, 64), np.asarray(Image.open(file))) for file in files)
    assert np.bincount(listing(folder).labels).tolist() == [40] * 5
    files[0].write_bytes(b"changed by its owner")
    assert example_folder(tmp_path) == folder and files[0].read_bytes() == b"changed by its owner"
    shutil.rmtree(folder)
    assert {file: file.read_bytes() for file in sorted(example_folder(tmp_path).rglob("*.png"))} == contents


# --- names ------------------------------------------------------------------------------------------------------------
