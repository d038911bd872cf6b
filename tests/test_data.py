"""Packed data sets: whole or not at all, and clear about what is missing or damaged."""

import json

import numpy as np
import pytest
import torch
from conftest import tiny_arrays

from plasticity import data


def test_round_trip_and_statistics(tmp_path):
    arrays = tiny_arrays()
    data.pack(tmp_path, "photos", arrays)
    packed = data.load(tmp_path, "photos")
    assert np.array_equal(packed.images.numpy(), arrays.images) and packed.class_names == arrays.class_names
    train_pixels = arrays.images[~arrays.test].reshape(-1, 3) / 255
    torch.testing.assert_close(packed.mean, torch.tensor(train_pixels.mean(0), dtype=torch.float32))
    torch.testing.assert_close(packed.std, torch.tensor(train_pixels.std(0), dtype=torch.float32))


def test_content_decides_the_hash(tmp_path):
    for name, arrays in (("a", tiny_arrays()), ("b", tiny_arrays()), ("c", tiny_arrays(seed=1))):
        data.pack(tmp_path / name, "photos", arrays)
    a, b, c = (data.load(tmp_path / name, "photos").sha256 for name in "abc")
    assert a == b != c


def test_never_overwrites_and_leaves_no_partial(tmp_path):
    data.pack(tmp_path, "photos", tiny_arrays())
    with pytest.raises(FileExistsError, match="move it away"):
        data.pack(tmp_path, "photos", tiny_arrays(seed=1))
    broken = tiny_arrays()
    object.__setattr__(broken, "images", "no array")
    with pytest.raises(TypeError):
        data.pack(tmp_path, "elpv", broken)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos"]


def test_damage_is_named(tmp_path):
    data.pack(tmp_path, "photos", tiny_arrays())
    file = tmp_path / "photos" / "images.npy"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="photos is damaged.*move the folder away"):
        data.load(tmp_path, "photos")


def test_a_manifest_of_other_images_is_named(tmp_path):
    data.pack(tmp_path, "photos", tiny_arrays())
    manifest = tmp_path / "photos" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"shape": [1, 2, 2, 3]}))
    with pytest.raises(ValueError, match="manifest says"):
        data.load(tmp_path, "photos")


def test_unknown_and_missing_sets_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="unknown data set 'cats'; known: .*photos"):
        data.prepare(tmp_path, "cats")
    with pytest.raises(FileNotFoundError, match="'dtd' is not in .*plasticity.data.pack"):
        data.prepare(tmp_path, "dtd")
