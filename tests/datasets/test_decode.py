"""Decoding: any kind of image file, bit for bit what torchvision's Resize gives; files that are none are named."""

import hashlib
import os

import imagehash
import numpy as np
import pytest
from layouts import largest_file, picture, write
from PIL import Image
from torchvision.transforms import Resize

from plasticity.datasets import decode


def image(pixels=60, label=0):
    return picture(np.random.default_rng(label), label, 4, pixels)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("shape", [(300, 411), (100, 50), (224, 224), (1000, 640)])
def test_bit_equal_to_torchvision(tmp_path, mode, shape):
    write(np.asarray(Image.fromarray(image(360)).resize(shape)), tmp_path / "a.jpg", mode)
    expected = Resize((224, 224))(Image.open(tmp_path / "a.jpg").convert("RGB"))
    assert np.array_equal(decode.read(tmp_path / "a.jpg"), expected)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    values = np.array([[0, 257, 128, 129, 32896, 65535]], np.uint16)  # 129 / 257 rounds up
    Image.fromarray(values).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.mode.startswith("I") and np.asarray(decode.rgb(opened))[0, :, 0].tolist() == [
            0,
            1,
            0,
            1,
            128,
            255,
        ]
    big_endian = Image.fromarray(values.astype(">u2"))
    assert np.asarray(decode.rgb(big_endian))[0, :, 2].tolist() == [0, 1, 0, 1, 128, 255]


def test_transparency_is_laid_on_black():
    half = Image.fromarray(np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [255, 255, 255, 51]]], np.uint8))
    assert np.asarray(decode.rgb(half)).tolist() == [[[200, 100, 50], [0, 0, 0], [51, 51, 51]]]
    grey = Image.fromarray(np.array([[[90, 255], [90, 0]]], np.uint8))
    assert grey.mode == "LA" and np.asarray(decode.rgb(grey))[0, :, 1].tolist() == [90, 0]


def test_palette_with_a_transparent_colour(tmp_path):
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 240, 230, 220])
    palette.putdata([0, 1])
    palette.save(tmp_path / "a.png", transparency=1)
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.mode == "P" and np.asarray(decode.rgb(opened)).tolist() == [[[10, 20, 30], [0, 0, 0]]]
    assert np.asarray(decode.rgb(palette)).tolist() == [[[10, 20, 30], [240, 230, 220]]]


def test_bilevel_and_unknown_ranges():
    assert np.asarray(decode.rgb(Image.fromarray(np.array([[True, False]]))))[0, :, 0].tolist() == [255, 0]
    with pytest.raises(ValueError, match="floats"):
        decode.rgb(Image.fromarray(np.ones((2, 2), np.float32)))
    with pytest.raises(ValueError, match="beyond 16 bits"):
        decode.rgb(Image.fromarray(np.full((2, 2), 70_000, np.int32)))


def test_orientation_is_left_as_stored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to show"
    Image.fromarray(image(224)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(decode.read(tmp_path / "a.png"), image(224))


def damaged(kind, path):
    write(image(200), path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "a page of text":
        path.write_text("<html>Not found</html>")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "missing":
        path.unlink()


@pytest.mark.parametrize("kind", ["truncated", "a page of text", "empty", "missing"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_damaged_files_are_named(tmp_path, kind, suffix):
    damaged(kind, tmp_path / f"bad.{suffix}")
    with pytest.raises(ValueError, match=f"bad.{suffix} is no whole image.*restore this file"):
        decode.read(tmp_path / f"bad.{suffix}")


def test_a_pixel_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (8_001, 8_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 20_000
    with pytest.raises(ValueError, match="bomb.png.*8001 x 8000 pixels, more than the 64,000,000 allowed"):
        decode.read(tmp_path / "bomb.png")


@pytest.mark.parametrize("workers", [1, 3])
def test_decode_fills_the_file_and_hashes(tmp_path, workers):
    files = [tmp_path / f"{i}.jpg" for i in range(12)]
    for i, file in enumerate(files):
        write(image(48, label=i % 3), file)
    out = decode.reserve(tmp_path / "images.npy", len(files))
    digests, hashes = decode.decode(files, out, workers)
    out.flush()
    stored = np.load(tmp_path / "images.npy")
    assert stored.shape == (12, 224, 224, 3) and stored.dtype == np.uint8
    for i, file in enumerate(files):
        expected = decode.read(file)
        assert np.array_equal(stored[i], expected) and digests[i] == hashlib.sha256(np.asarray(expected)).digest()
        assert f"{hashes[i]:016x}" == str(imagehash.phash(expected))
    assert len(set(digests)) == 3


def test_one_bad_file_among_many_stops_it(tmp_path):
    files = [tmp_path / f"{i}.jpg" for i in range(40)]
    for file in files:
        write(image(48), file)
    damaged("empty", files[3])
    with pytest.raises(ValueError, match="3.jpg is no whole image"):
        decode.decode(files, np.zeros((40, 224, 224, 3), np.uint8), 2)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="elsewhere the room is not reserved")
def test_room_on_the_disk_is_taken_at_once(tmp_path):
    """Or refused at once: a mapped file on a disk that fills up later would kill the process with SIGBUS."""
    decode.reserve(tmp_path / "a.npy", 4)
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 4 * 224 * 224 * 3
    with largest_file(10**6), pytest.raises(OSError):
        decode.reserve(tmp_path / "b.npy", 40)
