"""The paper's three data sets from their true layouts, small: labels, counts, splits, and what the manifest says."""

import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import layouts
import numpy as np
import pytest

from plasticity import data
from plasticity.__main__ import main
from plasticity.datasets import decode, splits
from plasticity.datasets import main_paper as real
from plasticity.datasets.prepare import prepare
from plasticity.files import file_sha256


@pytest.fixture(autouse=True)
def no_downloads(monkeypatch):
    monkeypatch.setenv("PLASTICITY_OFFLINE", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The three layouts, read-only for the tests: {set: root}."""
    folder = tmp_path_factory.mktemp("layouts")
    brain = layouts.brain_tumor(folder, 6)
    return {"dtd": layouts.dtd(folder), "brain_tumor": brain, "fruits100": layouts.fruits100(folder)}


@pytest.fixture
def small(monkeypatch):
    """Published counts made as small as the layouts, so that those are complete."""

    sizes = {"dtd": ({"images": 5}, 235), "brain_tumor": ({".": None}, 24), "fruits100": ({"train": 4, "val": 1}, 500)}
    for key, (parts, total) in sizes.items():
        monkeypatch.setitem(real.SETS, key, replace(real.SETS[key], parts=parts, total=total))


def packed(folder, name, source=None):
    path = prepare(folder, name, source)
    return data.load(folder, name), data.manifest(path)


def test_dtd(made, tmp_path, small):
    dataset, manifest = packed(tmp_path, "dtd", made["dtd"])
    names = tuple(sorted(real.DTD_CLASSES))
    assert dataset.images.shape == (235, 224, 224, 3) and dataset.class_names == real.DTD_CLASSES == names
    assert dataset.sources[:2] == ("images/banded/banded_0002.jpg", "images/banded/banded_0005.jpg")
    assert len(set(dataset.sources)) == 235
    for i in (0, 100, 234):
        assert np.array_equal(dataset.images[i], decode.read(made["dtd"] / dataset.sources[i]))
        assert dataset.class_names[dataset.labels[i]] == dataset.sources[i].split("/")[1]
    assert dataset.labels[dataset.test].tolist() == list(range(47))  # a fifth: one of five in every class
    assert manifest["counts"] == {name: 5 for name in real.DTD_CLASSES} and set(manifest["test_counts"].values()) == {1}
    assert manifest["split"] == {"kind": "stratified", "seed": 0, "share": 0.2}
    assert manifest["expected"] == 235 and manifest["complete"] is True
    assert manifest["origin"] == {"folder": str(made["dtd"])}
    assert set(manifest["versions"]) == {"numpy", "pillow", "imagehash"}
    assert manifest["duplicates"]["exact"]["number"] == 0 and manifest["duplicates"]["threshold"] == 4
    pixels = dataset.images[~dataset.test].numpy().reshape(-1, 3) / 255
    assert np.allclose(manifest["mean"], pixels.mean(0), atol=1e-12)
    assert np.allclose(manifest["std"], pixels.std(0), atol=1e-12)
    assert [p.name for p in tmp_path.iterdir()] == ["dtd"]


def test_dtd_official_is_partition_1(made, tmp_path, small):
    dataset, manifest = packed(tmp_path, "dtd_official", made["dtd"])
    lines = (made["dtd"] / "labels/test1.txt").read_text().split()
    assert {s for s, t in zip(dataset.sources, dataset.test, strict=True) if t} == {f"images/{line}" for line in lines}
    assert len(lines) == 47 and lines[0] == "banded/banded_0008.jpg"
    assert manifest["split"] == {"kind": "official", "partition": 1}


@pytest.mark.parametrize("none", ["notumor", "healthy", "no_tumor", "No Tumor"])
def test_brain_tumor_labels_mean_the_same_however_the_folder_is_called(tmp_path, none, small):
    dataset, manifest = packed(tmp_path / "data", "brain_tumor", layouts.brain_tumor(tmp_path, 6, none))
    assert dataset.class_names == ("glioma", "meningioma", "pituitary", "no_tumor")
    folders = [source.split("/")[0] for source in dataset.sources]
    assert folders == [f for f in ("glioma", "meningioma", "pituitary", none) for _ in range(6)]
    assert dataset.labels.tolist() == [i for i in range(4) for _ in range(6)] and manifest["complete"]
    # the layout's classes differ in it, whatever the mode
    brightness = dataset.images.float().mean((1, 2, 3)).reshape(4, 6)
    assert (brightness.diff(dim=0) > 0).all()


def test_fruit25_takes_train_and_val_and_never_the_numbered_test(made, tmp_path, small):
    dataset, manifest = packed(tmp_path, "fruit25", made["fruits100"])
    assert dataset.class_names == tuple(sorted(dataset.class_names)) and len(set(dataset.class_names)) == 25
    assert len(dataset.images) == 125 == manifest["expected"] and manifest["drawn"] == {"seed": 0, "from": 100}
    assert Counter(source.split("/")[0] for source in dataset.sources) == {"train": 100, "val": 25}
    assert [source.startswith("val/") for source in dataset.sources] == dataset.test.tolist()
    assert manifest["split"] == {"kind": "official", "part": "val"} and set(manifest["test_counts"].values()) == {1}
    for source, label in zip(dataset.sources, dataset.labels, strict=True):
        assert source.split("/")[1] == dataset.class_names[label]
    assert (dataset.images.float().mean((1, 2, 3)) < 200).all()  # the decoys are white


def test_grouped_fruit25_learns_from_the_val_images_that_train_has_too(tmp_path, small):
    root = layouts.fruits100(tmp_path, 5)
    sets = replace(real.SETS["fruits100"], parts={"train": 4, "val": 2}, total=600)
    for name in real.FRUITS_100:  # a second image in val, which is one of train's
        shutil.copy(root / "train" / name / "1.jpg", root / "val" / name / "copy.jpg")
    real.SETS["fruits100"] = sets  # `small` puts it back
    plain, grouped = (packed(tmp_path / "d", name, root) for name in ("fruit25", "fruit25_grouped"))
    assert plain[1]["duplicates"]["exact"]["across_test"] == 25 and plain[0].test.sum() == 50
    assert grouped[1]["duplicates"]["near"]["across_test"] == 0 and grouped[1]["split"]["part"] == "val"
    kept = {source for source, test in zip(grouped[0].sources, grouped[0].test, strict=True) if test}
    assert kept == {f"val/{name}/0.jpg" for name in grouped[0].class_names}


def test_without_duplicates_by_hand():
    labels, groups = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 1, 2, 3, 4, 4])
    test = np.array([True, False, True, True, False, False])
    assert splits.without_duplicates(test, labels, groups).tolist() == [False, False, True, True, False, False]
    with pytest.raises(ValueError, match="class 'b' would have no test item: .* groups with items that are learned"):
        splits.without_duplicates(test, labels, np.array([1, 1, 2, 4, 4, 4]), ["a", "b"])


def test_a_copy_of_fruits_needs_images_of_each_class_on_both_sides(tmp_path):
    root = layouts.fruits100(tmp_path, 2)
    (root / "train/abiu/1.jpg").rename(root / "val/abiu/1.jpg")
    with pytest.raises(ValueError, match="no images of abiu but in val"):
        prepare(tmp_path / "d", "fruit25", root, complete=False)
    for file in ("0.jpg", "1.jpg"):
        (root / "val/abiu" / file).rename(root / "train/abiu" / file)
    with pytest.raises(ValueError, match="no images of abiu in val"):
        prepare(tmp_path / "d", "fruit25", root, complete=False)
    (root / "train/abiu/1.jpg").rename(root / "val/abiu/1.jpg")
    assert data.manifest(prepare(tmp_path / "d", "fruit25", root, complete=False))["test_counts"]["abiu"] == 1


def test_the_fruits_drawn_stay_the_same():
    drawn = """abiu acai ackee apricot black_mullberry chico coconut cranberry gooseberry grenadilla horned_melon
        indian_strawberry jackfruit jalapeno jambul kaffir_lime malay_apple mandarine mango mock_strawberry pineapple
        rose_hip rose_leaf_bramble ugli_fruit yellow_plum"""
    assert list(real.SETS["fruits100"].drawn) == drawn.split()
    assert len(real.FRUITS_100) == len(set(real.FRUITS_100)) == 100 and list(real.FRUITS_100) == sorted(real.FRUITS_100)


def test_published_counts():
    published = {name: (real.published(name), real.published_test(name)) for name in real.VARIANTS}
    assert published["dtd"] == published["dtd_grouped"] == (5640, 1128) and published["dtd_official"] == (5640, 1880)
    assert published["brain_tumor"] == (7153, 1431) and published["fruit25"] == (11_250, 1250)  # the audit's sizes


def empty_layout(root, real_set, parts=None):
    """A layout with as many files as published, all empty: enough to be listed and counted."""
    for part, count in (parts or real_set.parts).items():
        for name in real_set.classes:
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                (root / part / name / f"{i}.jpg").touch()
    return root


@pytest.mark.slow
def test_the_full_dtd_is_complete_and_one_file_less_is_not(tmp_path):
    root = empty_layout(tmp_path / "dtd", real.SETS["dtd"])
    listing = real.read(root, real.SETS["dtd"])
    assert listing.complete and np.bincount(listing.labels).tolist() == [120] * 47
    assert np.bincount(listing.labels[~splits.stratified(listing.labels)]).tolist() == [96] * 47  # the paper's number
    (root / "images/woven/7.jpg").unlink()
    with pytest.raises(ValueError, match=r"woven has 119 \(published 120\), 5,639 images in all \(published 5,640\)"):
        real.read(root, real.SETS["dtd"])
    assert not real.read(root, real.SETS["dtd"], complete=False).complete


def test_brain_tumor_is_counted_in_all(tmp_path):
    folders = replace(real.SETS["brain_tumor"], classes=("glioma", "meningioma", "pituitary", "healthy"))
    root = empty_layout(tmp_path / "b", folders, {".": 9})
    with pytest.raises(ValueError, match=r"not the whole of Brain Tumor: 36 images in all \(published 7,153\)"):
        real.read(root, real.SETS["brain_tumor"])
    with pytest.raises(ValueError, match="36 images in all"):  # more than published is wrong in any case
        real.read(root, replace(real.SETS["brain_tumor"], total=35), complete=False)


def test_missing_unknown_and_double_classes_are_named_together(tmp_path):
    root = layouts.dtd(tmp_path)
    shutil.rmtree(root / "images/woven")
    (root / "images/banded").rename(root / "images/bandde")
    with pytest.raises(ValueError, match="no images/banded, no images/woven, unknown images/bandde"):
        real.read(root, real.SETS["dtd"], complete=False)
    brain = layouts.brain_tumor(tmp_path)
    shutil.copytree(brain / "notumor", brain / "healthy")
    with pytest.raises(ValueError, match="2 folders for no_tumor"):
        real.read(brain, real.SETS["brain_tumor"], complete=False)
    fruits = layouts.fruits100(tmp_path)
    shutil.rmtree(fruits / "val")
    with pytest.raises(ValueError, match="no val/abiu, no val/acai.* and 95 more"):
        real.read(fruits, real.SETS["fruits100"], complete=False)


def test_too_many_or_too_few_images_are_refused_in_any_case(tmp_path, small):
    root = layouts.dtd(tmp_path)
    layouts.write(np.zeros((9, 9, 3), np.uint8), root / "images/woven/extra.jpg")
    with pytest.raises(ValueError, match=r"images/woven has 6 \(published 5\)"):
        real.read(root, real.SETS["dtd"], complete=False)
    for file in sorted((root / "images/woven").iterdir())[1:]:
        file.unlink()
    with pytest.raises(ValueError, match="fewer than 2 images of woven"):
        real.read(root, real.SETS["dtd"], complete=False)


@pytest.mark.parametrize("key", ["dtd", "brain_tumor", "fruits100"])
def test_the_root_is_found_from_above(made, key, tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    shutil.copytree(made[key], outer / made[key].name)
    for start in (made[key], outer, tmp_path):
        assert real.locate(start, real.SETS[key]).name == made[key].name
    with pytest.raises(ValueError, match=f"does not hold {real.SETS[key].title}"):
        (tmp_path / "empty").mkdir()
        real.locate(tmp_path / "empty", real.SETS[key])


def test_splits_that_users_left_beside_the_root_are_not_taken_for_it(made, tmp_path):
    for name in ("brain-tumor-mri-dataset", "train", "val"):
        shutil.copytree(made["brain_tumor"], tmp_path / name)
    assert real.locate(tmp_path, real.SETS["brain_tumor"]).name == "brain-tumor-mri-dataset"
    shutil.rmtree(tmp_path / "brain-tumor-mri-dataset")
    with pytest.raises(ValueError, match="2 folders in .*train.*val; name one"):
        real.locate(tmp_path, real.SETS["brain_tumor"])


def test_stratified_by_hand():
    labels = np.repeat([0, 1, 2], [10, 3, 7])
    test = splits.stratified(labels)
    assert np.bincount(labels[test]).tolist() == [2, 1, 1] and np.array_equal(test, splits.stratified(labels))
    assert not np.array_equal(test, splits.stratified(labels, seed=1))


@pytest.mark.parametrize(
    "sizes, expected",
    [
        ([120] * 47, [24] * 47),  # DTD
        ([1772, 1788, 1791, 1802], [355, 358, 358, 360]),  # .4 .6 .2 .4: rounded each for itself, 1,430 of 7,153
        ([1787, 1788, 1789, 1789], [357, 358, 358, 358]),  # .4 .6 .8 .8
        ([13, 13, 13], [3, 3, 2]),  # 7.8 of 39; ties by class
        ([6, 11, 16], [2, 2, 3]),  # 6.6 of 33
        ([2, 1, 7], [1, 1, 1]),  # at least one each
    ],
)
def test_test_items_are_allotted_by_largest_remainder(sizes, expected):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    assert (
        splits.allotted(np.array(sizes)).tolist() == np.bincount(labels[splits.stratified(labels)]).tolist() == expected
    )


def test_a_class_whose_count_stays_keeps_its_test_items():
    """The draw of each class is its own: only how much of it is taken may change."""
    labels = np.repeat([0, 1], [1772, 5381])
    rng, test = np.random.default_rng(0), splits.stratified(labels)
    first, second = (rng.permutation(np.flatnonzero(labels == label)) for label in (0, 1))
    assert set(np.flatnonzero(test)) == {*first[:355], *second[:1076]}  # .4 .2 of 1,430.6


def test_groups_stay_whole_and_a_giant_one_is_trained_on():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 100)
    groups = np.arange(300)
    groups[:30] = 1000  # too large for class 0's 20 test items
    groups[50:56] = groups[150:156] = 2000  # across two classes
    for _ in range(20):
        a, b = rng.integers(0, 300, 2)
        groups[groups == groups[a]] = groups[b]
    test = splits.grouped(labels, groups)
    for group in np.unique(groups):
        assert len(set(test[groups == group].tolist())) == 1
    assert not test[:30].any() and np.bincount(labels[test]).tolist() == [20, 20, 20]
    with pytest.raises(ValueError, match="class 1 would have no test item"):
        splits.grouped(np.repeat([0, 1], 10), np.r_[np.arange(10), np.full(10, 99)])


def test_duplicates_are_reported_and_kept_together(tmp_path):
    root = layouts.brain_tumor(tmp_path, 10)
    files = sorted((root / "glioma").glob("*.png"))
    for i, file in enumerate(files[:3]):
        shutil.copy(file, root / "glioma" / f"Te-{i}.png")
    shutil.copy(files[0], root / "pituitary" / "Te-0.png")
    variants = ("brain_tumor", "brain_tumor_grouped")
    manifests = [data.manifest(prepare(tmp_path / "d", name, root, complete=False)) for name in variants]
    for manifest in manifests:
        found = manifest["duplicates"]["exact"]
        assert (found["number"], found["images"], found["largest"], found["across_classes"]) == (3, 7, 3, 1)
        names = [[Path(manifest["sources"][i]).name for i in group] for group in found["groups"]]
        assert sorted(map(len, names)) == [2, 2, 3] and all(any(n.startswith("Te") for n in group) for group in names)
    grouped = manifests[1]
    assert grouped["duplicates"]["near"]["across_test"] == grouped["duplicates"]["exact"]["across_test"] == 0
    assert grouped["split"]["kind"] == "grouped" and min(grouped["test_counts"].values()) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_from_an_archive_shared_by_variants(made, tmp_path, suffix, small):
    archive = layouts.archive(made["dtd"], tmp_path / f"mine.{suffix}")
    sha256 = file_sha256(archive)
    a, manifest = packed(tmp_path / "data", "dtd", archive)
    unpacked = tmp_path / "data/raw" / f"dtd-{sha256[:8]}"
    before = unpacked.stat().st_mtime_ns
    b, _ = packed(tmp_path / "data", "dtd_official", archive)
    assert unpacked.stat().st_mtime_ns == before and np.array_equal(a.images, b.images) and a.sha256 != b.sha256
    assert manifest["origin"] == {"archive": f"mine.{suffix}", "sha256": sha256, "published": False}


def test_found_in_raw_without_being_told(made, tmp_path, small):
    shutil.copytree(made["brain_tumor"], tmp_path / "raw" / "brain_tumor" / "brain-tumor-mri-dataset")
    assert len(packed(tmp_path, "brain_tumor")[0].images) == 24
    layouts.archive(made["fruits100"], tmp_path / "raw" / "fruits-100.zip")
    assert len(packed(tmp_path, "fruit25")[0].images) == 125


def test_a_smaller_copy_is_only_taken_when_allowed_and_stays_marked(made, tmp_path):
    with pytest.raises(ValueError, match=r"not the whole of DTD: images/banded has 5 \(published 120\).* and 43 more"):
        prepare(tmp_path, "dtd", made["dtd"])
    assert list(tmp_path.iterdir()) == []
    path = prepare(tmp_path, "dtd", made["dtd"], complete=False)
    assert data.manifest(path)["complete"] is False and prepare(tmp_path, "dtd", complete=False) == path
    with pytest.raises(ValueError, match="packed from 235 images, DTD has 5,640; move the folder away"):
        prepare(tmp_path, "dtd")
    assert len(data.load(tmp_path, "dtd").images) == 235


def test_the_second_time_nothing_is_read(tmp_path, small):
    root = layouts.dtd(tmp_path)
    path = prepare(tmp_path / "data", "dtd", root)
    shutil.rmtree(root)
    started = time.perf_counter()
    assert prepare(tmp_path / "data", "dtd", root) == path
    assert time.perf_counter() - started < 0.5


def test_a_corrupt_image_is_named_and_leaves_nothing(tmp_path, small):
    root = layouts.dtd(tmp_path)
    file = root / "images/woven/woven_0008.jpg"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match="woven_0008.jpg is no whole image"):
        prepare(tmp_path / "data", "dtd", root)
    assert list((tmp_path / "data").iterdir()) == []


def test_labels_that_do_not_fit_are_refused(tmp_path, small):
    root = layouts.dtd(tmp_path)
    file = root / "labels/test1.txt"
    lines = file.read_text().splitlines()
    wrong = {"banded/banded_0008.jpg": lines[1:], "woven/woven_9999.jpg": [*lines, "woven/woven_9999.jpg"]}
    for odd, named in wrong.items():
        file.write_text("\n".join(named))
        with pytest.raises(ValueError, match=f"do not name each image once: images/{odd}"):
            prepare(tmp_path / "data", "dtd_official", root)
    file.unlink()
    with pytest.raises(ValueError, match="test1.txt is missing"):
        prepare(tmp_path / "data", "dtd_official", root)


def test_command_line(made, tmp_path, capsys):
    arguments = ["dtd", "--data", str(tmp_path), "--source", str(made["dtd"])]
    assert main(["prepare", *arguments]) == 2
    refused = capsys.readouterr()
    assert refused.out == "" and refused.err.count("\n") == 1 and "not the whole of DTD" in refused.err
    assert main(["prepare", *arguments, "--any-count"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [str(tmp_path / "dtd"), "235 images of 5,640 published, 47 of them test"]
    assert lines[2].startswith("exact duplicates: 0 groups of 0 images (largest 0), 0 across the test split")


@pytest.mark.slow
def test_command_line_as_users_call_it(made, tmp_path):
    arguments = ["prepare", "dtd", "--data", str(tmp_path), "--source", str(made["dtd"])]
    result = subprocess.run([sys.executable, "-m", "plasticity", *arguments], capture_output=True, text=True)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "not the whole of DTD" in result.stderr


@pytest.mark.slow
def test_killed_while_decoding(tmp_path):
    """Nothing is taken for packed that is not, and the next attempt does it all."""
    root = layouts.dtd(tmp_path, 12)
    call = f"prepare({str(tmp_path / 'data')!r}, 'dtd', {str(root)!r}, complete=False)"
    code = f"from plasticity.datasets.prepare import prepare; {call}"
    process = subprocess.Popen([sys.executable, "-c", code])
    while not list(tmp_path.glob("data/.dtd-*.partial/dtd/images.npy")):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "data/dtd").exists() and list(tmp_path.glob("data/.dtd-*.partial"))
    prepare(tmp_path / "data", "dtd", root, complete=False)
    assert len(data.load(tmp_path / "data", "dtd").images) == 564
