"""Flips and crops against torchvision's own."""

import numpy as np
import pytest
import torch
from helpers import photographs, seeded
from scipy import stats
from torchvision.transforms import functional as vision

from plasticity.training import augment


def test_flip_mirrors_about_half_and_none_leaves_alone():
    images = photographs(40, 8, 12)
    assert augment.none(images, seeded()) is images
    mirrored = augment.flip(images, seeded(11))
    same = (mirrored == images).flatten(1).all(1)
    assert torch.equal(mirrored[~same], images[~same].flip(2)) and 8 < same.sum() < 32 and mirrored.dtype == torch.uint8


@pytest.mark.parametrize(
    "height, width, padding", [(8, 8, 1), (16, 16, 2), (28, 28, 3), (32, 32, 4), (64, 64, 4), (16, 24, 2)]
)
def test_crops_are_torchvisions(height, width, padding):
    """RandomCrop(size, padding) with the same parameters, pixel by pixel; then the flip."""
    images, generator = photographs(12, height, width), seeded(13)
    corner = augment.draw_shifts(*images.shape[:3], generator).int()
    assert augment.padding(height, width) == padding
    mirrored = torch.rand(12, generator=generator) < 0.5
    for function in (augment.crop, augment.crop_flip):
        result = function(images, seeded(13))
        for i, image in enumerate(images.permute(0, 3, 1, 2)):
            theirs = vision.crop(vision.pad(image, padding), *corner[i].tolist(), height, width)
            theirs = vision.hflip(theirs) if function is augment.crop_flip and mirrored[i] else theirs
            assert torch.equal(result[i].permute(2, 0, 1), theirs)
        assert result.dtype == torch.uint8 and result.shape == images.shape


def test_shifts_are_distributed_as_torchvisions_and_their_own():
    images = torch.zeros(9000, 32, 32, 3, dtype=torch.uint8)
    corner = augment.draw_shifts(*images.shape[:3], seeded(14)).int()
    for each in corner.T:
        assert stats.chisquare(each.bincount(minlength=9)).pvalue > 1e-3 and each.max() == 8
    assert abs(np.corrcoef(corner.T)[0, 1]) < 0.05 and abs(np.corrcoef(corner[:-1, 0], corner[1:, 0])[0, 1]) < 0.05


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("function", [augment.crop, augment.crop_flip])
def test_a_gpu_crops_the_same_without_synchronising(function):
    images = photographs(32, 32, 32)
    moved = images.cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_gpu = function(moved, seeded(15))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(on_gpu.cpu(), function(images, seeded(15)))
