"""Duplicates: hand-made hashes with known distances, real images saved twice, and enough of them in a second."""

import time

import imagehash
import numpy as np
from layouts import picture
from PIL import Image

from plasticity.datasets import duplicates


def test_exact_groups_are_equal_digests():
    groups = duplicates.exact_groups([b"b" * 32, b"a" * 32, b"b" * 32, b"\0" * 31 + b"c", b"\0" * 32])
    assert duplicates.members(groups) == [[0, 2]]


def test_near_groups_by_hand():
    #                  0        4 bits from 0  5 bits from 0   4 bits from item 1: chained to 0      far
    hashes = np.array([0, 0b1111, 0b11111 << 20, 0b1111_1111, 2**64 - 1, 2**64 - 1], np.uint64)
    assert duplicates.members(duplicates.near_groups(hashes)) == [[0, 1, 3], [4, 5]]
    assert duplicates.members(duplicates.near_groups(hashes, 5)) == [[0, 1, 2, 3], [4, 5]]
    assert duplicates.members(duplicates.near_groups(hashes, 0)) == [[4, 5]]


def test_agrees_with_imagehash_on_every_pair_across_chunks():
    rng = np.random.default_rng(0)
    n = duplicates.ROWS + 60
    hashes = rng.integers(0, 2**64, n, np.uint64)
    hashes[-1], hashes[-2] = hashes[0] ^ np.uint64(0b10101), hashes[5] ^ np.uint64(1 << 63)
    groups = duplicates.near_groups(hashes)
    assert duplicates.members(groups) == [[0, n - 1], [5, n - 2]]
    as_hash = [imagehash.hex_to_hash(f"{h:016x}") for h in hashes]
    assert as_hash[0] - as_hash[-1] == 3 and as_hash[5] - as_hash[-2] == 1
    assert min(as_hash[7] - other for i, other in enumerate(as_hash) if i != 7) > duplicates.THRESHOLD


def test_a_brighter_smaller_copy_is_near_and_another_picture_is_not():
    rng = np.random.default_rng(3)
    one, other = (Image.fromarray(picture(rng, 0, 4, 120)) for _ in range(2))
    copy = Image.fromarray((np.asarray(one) * 0.9 + 12).astype(np.uint8)).resize((97, 97))
    hashes = np.array([int(str(imagehash.phash(image)), 16) for image in (one, other, copy)], np.uint64)
    assert duplicates.members(duplicates.near_groups(hashes)) == [[0, 2]]


def test_report_by_hand():
    groups = np.array([7, 7, 1, 2, 2, 2, 3])
    labels, test = np.array([0, 0, 0, 0, 1, 1, 1]), np.array([True, False, False, True, True, True, False])
    assert duplicates.report(groups, labels, test) == {
        "number": 2,
        "images": 5,
        "largest": 3,
        "across_test": 1,
        "across_classes": 1,
        "groups": [[0, 1], [3, 4, 5]],
    }
    assert duplicates.report(np.arange(7), labels, test)["largest"] == 0


def test_eleven_thousand_images_take_seconds():
    hashes = np.random.default_rng(0).integers(0, 2**64, 11_250, np.uint64)
    started = time.perf_counter()
    assert len(np.unique(duplicates.near_groups(hashes))) == 11_250
    assert time.perf_counter() - started < 10
    assert len(np.unique(duplicates.near_groups(np.zeros(11_250, np.uint64)))) == 1
