"""Packed data sets: whole or not at all, and clear about what is missing or damaged."""

import hashlib
import json
import shutil
from dataclasses import replace

import layouts
import numpy as np
import pytest
import torch
from helpers import fill, tiny_arrays
from layouts import largest_file

from plasticity import data
from plasticity.__main__ import main
from plasticity.analysis.tables import PAPER_NAMES
from plasticity.cli.inventory import inventory
from plasticity.datasets import main_paper as real
from plasticity.datasets.prepare import ensure, pack, packing, prepare, statistics, write
from plasticity.profiles import PROFILES
from plasticity.running.engine import Place


def test_round_trip_and_statistics(tmp_path):
    arrays = tiny_arrays()
    pack(tmp_path, "photos", arrays)
    packed = data.load(tmp_path, "photos")
    assert np.array_equal(packed.images.numpy(), arrays.images) and packed.class_names == arrays.class_names
    train_pixels = arrays.images[~arrays.test].reshape(-1, 3) / 255
    torch.testing.assert_close(packed.mean, torch.tensor(train_pixels.mean(0), dtype=torch.float32))
    torch.testing.assert_close(packed.std, torch.tensor(train_pixels.std(0), dtype=torch.float32))


def test_content_decides_the_hash(tmp_path):
    for name, arrays in (("a", tiny_arrays()), ("b", tiny_arrays()), ("c", tiny_arrays(seed=1))):
        pack(tmp_path / name, "photos", arrays)
    a, b, c = (data.load(tmp_path / name, "photos").sha256 for name in "abc")
    assert a == b != c


def test_never_overwrites_and_leaves_no_partial(tmp_path):
    pack(tmp_path, "photos", tiny_arrays())
    with pytest.raises(FileExistsError, match="move it away"):
        pack(tmp_path, "photos", tiny_arrays(seed=1))
    broken = tiny_arrays()
    object.__setattr__(broken, "images", "no array")
    with pytest.raises(TypeError):
        pack(tmp_path, "elpv", broken)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos"]


def test_damage_is_named(tmp_path):
    pack(tmp_path, "photos", tiny_arrays())
    file = tmp_path / "photos" / "images.npy"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="photos is damaged.*move the folder away"):
        data.load(tmp_path, "photos")


def test_a_manifest_of_other_images_is_named(tmp_path):
    pack(tmp_path, "photos", tiny_arrays())
    manifest = tmp_path / "photos" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"shape": [1, 2, 2, 3]}))
    with pytest.raises(ValueError, match="manifest says"):
        data.load(tmp_path, "photos")


def test_unknown_and_missing_sets_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PLASTICITY_OFFLINE", "1")
    with pytest.raises(ValueError, match="unknown data set 'cats'; known: .*photos"):
        prepare(tmp_path, "cats")
    with pytest.raises(
        FileNotFoundError, match="'dtd' is not in .*https://www.robots.*sha256 e42855a.*put the file at .*/raw/dtd-r"
    ):
        prepare(tmp_path, "dtd")
    with pytest.raises(
        FileNotFoundError, match="'brain_tumor' is not in .*kaggle.com/datasets/tombackert.*brain-tumor-mri-data.zip"
    ):
        prepare(tmp_path, "brain_tumor")
    with pytest.raises(ValueError, match="'photos' is made offline"):
        prepare(tmp_path, "photos", source=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_loading_only_reads_and_names_the_command_that_prepares(tmp_path):
    command = "'digits' is not packed.*`plasticity prepare digits --data .*00_data_prep"
    for name, error, words in [
        ("digits", FileNotFoundError, command),
        ("folder_mine-0123abcd", FileNotFoundError, "'folder_mine-0123abcd' is not packed.*pack these images again"),
        ("cats", ValueError, "unknown data set 'cats'"),
    ]:
        with pytest.raises(error, match=words):
            data.load(tmp_path, name)
    assert list(tmp_path.iterdir()) == []
    assert ensure(tmp_path, "digits") == tmp_path / "digits" and len(data.load(tmp_path, "digits").images) == 1797
    pack(tmp_path, "dtd", tiny_arrays(), {"complete": False, "expected": 5640})
    assert ensure(tmp_path, "dtd") == tmp_path / "dtd"  # `prepare` would refuse it


def test_every_set_has_a_title_and_every_variant_a_paper_name():
    assert set(real.VARIANTS) <= set(data.TITLES) and len(set(data.TITLES.values())) == len(data.TITLES)
    assert {PAPER_NAMES[name] for name in real.VARIANTS} == {"DTD", "Brain Tumor", "Fruit25"}


def test_the_hash_is_that_of_the_bytes_in_order(tmp_path):
    arrays = tiny_arrays()
    pack(tmp_path, "photos", arrays)
    bytes_ = arrays.images.tobytes() + arrays.labels.tobytes() + arrays.test.tobytes()
    assert data.load(tmp_path, "photos").sha256 == hashlib.sha256(bytes_).hexdigest()


def test_a_memory_map_is_moved_not_copied(tmp_path):
    arrays = tiny_arrays()
    with packing(tmp_path / "a", "photos") as target:
        np.save(target / "images.npy", arrays.images)
        inode = (target / "images.npy").stat().st_ino
        write(target, replace(arrays, images=np.load(target / "images.npy", mmap_mode="r+")), {"extra": 1})
    pack(tmp_path / "b", "photos", arrays)
    assert (tmp_path / "a" / "photos" / "images.npy").stat().st_ino == inode
    a, b = (data.manifest(tmp_path / name / "photos") for name in "ab")
    assert a == b | {"extra": 1}


def test_statistics_by_hand():
    images = np.zeros((3, 1, 2, 3), np.uint8)
    images[0, 0, :, 0], images[1, 0, :, 0], images[2] = (0, 255), (255, 255), 77  # the last is test
    mean, std = statistics(images, np.array([True, True, False]))
    assert mean == [0.75, 0, 0] and std == pytest.approx([0.1875**0.5, 0, 0])


def test_no_room_is_found_before_anything_is_written(tmp_path):
    huge = replace(tiny_arrays(), images=np.broadcast_to(np.uint8(1), (10**13, 1, 1, 3)))
    with pytest.raises(OSError, match="packing 'photos' needs 30,000,000,000,000 bytes in .* are free"):
        pack(tmp_path, "photos", huge)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(tmp_path):
    with largest_file(50_000), pytest.raises(OSError):
        pack(tmp_path, "photos", tiny_arrays())
    assert list(tmp_path.iterdir()) == []


def test_writing_to_loaded_images_changes_no_file(tmp_path):
    pack(tmp_path, "photos", tiny_arrays())
    before = (tmp_path / "photos" / "images.npy").read_bytes()
    data.load(tmp_path, "photos").images.zero_()
    assert (tmp_path / "photos" / "images.npy").read_bytes() == before


@pytest.mark.parametrize("file", ["labels.npy", "test.npy", "images.npy", "manifest.json"])
def test_an_empty_file_is_named(tmp_path, file):
    pack(tmp_path, "photos", tiny_arrays())
    (tmp_path / "photos" / file).write_bytes(b"")
    with pytest.raises(ValueError, match="photos is damaged.*move the folder away"):
        data.load(tmp_path, "photos")


def test_a_disk_that_fills_while_packing_leaves_what_was_there(small_disk, tmp_path, monkeypatch):
    arrays = tiny_arrays(per_class=100)  # 0.9 MB
    kept = pack(small_disk, "photos", arrays)
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    filler = fill(small_disk, leave=500_000)
    with pytest.raises(OSError, match="packing 'elpv' needs .* bytes"):
        pack(small_disk, "elpv", arrays)
    # room that another process takes after we looked
    monkeypatch.setattr("plasticity.datasets.prepare.require_space", lambda *_: None)
    with pytest.raises(OSError, match="No space left|requested and .* written"):
        pack(small_disk, "elpv", arrays)
    assert sorted(path.name for path in small_disk.iterdir()) == ["filler", "photos"]
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before
    filler.unlink()
    pack(small_disk, "elpv", arrays)
    assert data.load(small_disk, "elpv").images.shape == (300, 32, 32, 3)


def packed_by_an_older_version(folder, name, facts=None):
    """A set as it was before its manifest named its recipe; returns its bytes."""
    path = pack(folder, name, tiny_arrays(), facts)
    manifest = data.manifest(path)
    manifest.pop("recipe", None)
    (path / "manifest.json").write_text(json.dumps(manifest))
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize(
    "again", [prepare, ensure, lambda *where: main(["prepare", where[1], "--data", str(where[0])])]
)
def test_what_an_older_version_packed_in_another_way_is_refused_then_packed_again_and_kept(tmp_path, capsys, again):
    before = packed_by_an_older_version(tmp_path, "photos")
    with pytest.raises(FileNotFoundError, match="'photos' was packed by another version.*`plasticity prepare photos"):
        data.load(tmp_path, "photos")
    assert not inventory(PROFILES["mini"], Place(str(tmp_path), ""))["there"].any()
    again(tmp_path, "photos")
    (line,) = capsys.readouterr().err.splitlines()
    assert "photos was packed by another version, and is packed again; the old one is now" in line
    assert {file.name: file.read_bytes() for file in (tmp_path / "photos-recipe1").iterdir()} == before
    packed = data.load(tmp_path, "photos")
    assert len(packed.images) == 980 and packed.groups[~packed.test].unique().tolist() == list(range(120))
    assert (packed.groups[packed.test] == -1).all() and data.manifest(tmp_path / "photos")["recipe"] == 2
    again(tmp_path, "photos")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos", "photos-recipe1"]
    assert capsys.readouterr().err == ""


def test_two_old_ones_are_both_kept(tmp_path):
    for _ in range(2):
        shutil.rmtree(tmp_path / "elpv", ignore_errors=True)
        packed_by_an_older_version(tmp_path, "elpv")
        pack(tmp_path, "elpv", tiny_arrays(seed=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elpv", "elpv-recipe1", "elpv-recipe1~"]


@pytest.mark.parametrize("name", ["fruits", "source", "digits", "world_10", "dtd", "cifar10"])
def test_sets_that_are_packed_as_ever_are_left_as_they_are(tmp_path, name):
    before = packed_by_an_older_version(tmp_path, name)
    assert prepare(tmp_path, name) == ensure(tmp_path, name) == tmp_path / name
    assert len(data.load(tmp_path, name).images) == 72
    assert {file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} == before


def test_an_old_real_set_stays_where_its_raw_files_are_gone_and_an_incomplete_one_may_be_so_again(tmp_path):
    before = packed_by_an_older_version(tmp_path, "fruit25", {"complete": False, "expected": 11_250})
    for again in (ensure, prepare):
        with pytest.raises(FileNotFoundError, match="'fruit25' was packed by another version.*raw files are not in"):
            again(tmp_path, "fruit25")
    assert {file.name: file.read_bytes() for file in (tmp_path / "fruit25").iterdir()} == before
    layouts.fruits100(tmp_path / "raw", 2).rename(tmp_path / "raw" / "fruits100")
    with pytest.raises(ValueError, match="not the whole of Fruit25"):
        prepare(tmp_path, "fruit25")
    ensure(tmp_path, "fruit25")
    assert data.manifest(tmp_path / "fruit25")["recipe"] == 2 and (tmp_path / "fruit25-recipe1").is_dir()


def test_a_failure_while_packing_again_leaves_the_old_one(tmp_path):
    before = packed_by_an_older_version(tmp_path, "photos")
    with largest_file(50_000), pytest.raises(OSError):
        prepare(tmp_path, "photos")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    assert {file.name: file.read_bytes() for file in (tmp_path / "photos").iterdir()} == before


def test_groups_come_back_and_decide_the_hash(tmp_path):
    arrays = tiny_arrays()
    grouped = replace(arrays, groups=np.where(arrays.test, -1, np.arange(72) // 6))
    for name, each in (("a", arrays), ("b", grouped)):
        pack(tmp_path / name, "photos", each)
    a, b = (data.load(tmp_path / name, "photos") for name in "ab")
    assert a.groups is None and np.array_equal(b.groups, grouped.groups) and a.sha256 != b.sha256
