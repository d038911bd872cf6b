"""The batched augmentation against torchvision's own functions and distributions, image by image."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torchvision import transforms
from torchvision.transforms import functional as vision

from plasticity.datasets.world import PHOTOS, installed
from plasticity.training import augment

ADJUST = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation, vision.adjust_hue)
SHAPES = [(32, 32, 32), (5, 64, 64), (5, 48, 64), (1, 32, 32), (1, 224, 224), (5, 224, 224)]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def photographs(batch, height, width, seed=0):
    """Random squares of three colour photographs: uint8 [batch, height, width, 3]."""
    rng, images = np.random.default_rng(seed), []
    for i in range(batch):
        photo = Image.open(installed(PHOTOS[("astronaut", "chelsea", "coffee")[i % 3]])).convert("RGB")
        side = int(min(photo.size) * rng.uniform(0.4, 1))
        left, top = rng.integers(0, photo.width - side + 1), rng.integers(0, photo.height - side + 1)
        images.append(np.array(photo.crop((left, top, left + side, top + side)).resize((width, height))))
    return torch.from_numpy(np.stack(images))


def by_torchvision(image, draws, i, size):
    """Image i of a batch with its draws, by torchvision's functions; a float tensor [3, height, width] or a Pillow
    image."""
    for kind in draws.order[i].tolist():
        image = ADJUST[kind](image, float(draws.factors[i, kind]))
    image = vision.vflip(image) if draws.vertical[i] else image
    image = vision.hflip(image) if draws.horizontal[i] else image
    return vision.resized_crop(vision.rotate(image, float(draws.angle[i])), *draws.box[i].tolist(), size)


def both(batch, height, width, seed, still=False):
    """|ours - torchvision's| on float images, in shares of full scale; ``still``: without the rotation."""
    images, draws = photographs(batch, height, width, seed), augment.draw(batch, height, width, seeded(seed))
    draws = draws._replace(angle=draws.angle * 0) if still else draws
    floats = images.permute(0, 3, 1, 2) / 255
    theirs = torch.stack([by_torchvision(image, draws, i, (height, width)) for i, image in enumerate(floats)])
    return (augment.apply(images, draws).permute(0, 3, 1, 2) / 255 - theirs).abs()


@pytest.mark.parametrize("shape", SHAPES)
def test_same_as_torchvision_on_float_images(shape):
    """Everywhere to 1e-4 of full scale, but where the rotation's nearest pixel is a tie within float32's precision."""
    assert both(*shape, seed=1, still=True).max() < 1e-4
    assert (both(*shape, seed=2) > 1e-4).float().mean() < 3e-4


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_that_the_rotation_reads_elsewhere_are_ties(shape):
    batch, height, width = shape
    draws = augment.draw(batch, height, width, seeded(3))
    x = torch.rand(batch, 3, height, width, generator=seeded(4))
    matrix = augment.parameters(draws, height, width)[:, 10:14]
    flip = ((vision.vflip, draws.vertical), (vision.hflip, draws.horizontal))
    theirs = []
    for i, image in enumerate(x):
        for function, whether in flip:
            image = function(image) if whether[i] else image
        theirs.append(vision.rotate(image, float(draws.angle[i])))
    differs = (augment.rotated(x, matrix) != torch.stack(theirs)).any(1)
    column, row = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2 for size in (width, height))
    cos, sin = torch.deg2rad(-draws.angle).cos()[:, None, None], torch.deg2rad(-draws.angle).sin()[:, None, None]
    read_x, read_y = cos * column + sin * row[:, None] + width / 2, cos * row[:, None] - sin * column + height / 2
    from_tie = torch.minimum((read_x - read_x.round()).abs(), (read_y - read_y.round()).abs())
    assert differs.float().mean() < 1e-4 and (from_tie[differs] < 1e-4).all()


@pytest.mark.parametrize("shape", [(32, 32, 32), (6, 48, 64), (6, 224, 224)])
def test_close_to_torchvision_on_pillow_images(shape):
    """They round to whole numbers after each step, and the hue to 256 steps: in the mean less than 2 of 255 apart, 99 %
    within 9."""
    images, draws = photographs(*shape), augment.draw(*shape, seeded(5))
    theirs = [
        np.array(by_torchvision(Image.fromarray(image), draws, i, shape[1:])) for i, image in enumerate(images.numpy())
    ]
    apart = np.abs(augment.apply(images, draws).numpy() - np.stack(theirs))
    assert apart.mean() < 2 and np.quantile(apart, 0.99) < 9


def same_distribution(ours, theirs):
    assert stats.ks_2samp(np.asarray(ours), np.asarray(theirs)).pvalue > 1e-3


def test_jitter_flips_and_angle_are_distributed_as_torchvisions():
    n = 4000
    draws = augment.draw(n, 32, 32, seeded(6))
    jitter = transforms.ColorJitter(brightness=0.5, contrast=0.3, saturation=0.3, hue=0.3)
    bounds = (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = [jitter.get_params(*bounds) for _ in range(n)]
        angles = [transforms.RandomRotation.get_params([-180, 180]) for _ in range(n)]
    for kind in range(4):
        same_distribution(draws.factors[:, kind], [each[1 + kind] for each in theirs])
        low, high = bounds[kind]
        assert low <= draws.factors[:, kind].min() < low + 0.01 and high - 0.01 < draws.factors[:, kind].max() <= high
    same_distribution(draws.angle, angles)
    counts = torch.unique(draws.order, dim=0, return_counts=True)[1]
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > 1e-3
    columns = [*draws.factors.T, draws.angle, draws.vertical, draws.horizontal, *draws.order.T[:1], draws.box[:, 2]]
    correlation = np.corrcoef([np.asarray(each, float) for each in columns]) - np.eye(len(columns))
    assert np.abs(correlation).max() < 0.07
    for flipped in (draws.vertical, draws.horizontal):
        assert abs(flipped.double().mean() - 0.5) < 0.03


@pytest.mark.parametrize("height, width", [(32, 32), (48, 64), (224, 224), (40, 96), (100, 20)])
def test_crops_are_distributed_as_torchvisions(height, width):
    """Also where hardly an attempt fits, so that the middle is taken: 40 x 96, 100 x 20."""
    n, image = 3000, torch.empty(3, height, width)
    boxes = augment.draw(n, height, width, seeded(7)).box
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torch.tensor(
            [transforms.RandomResizedCrop.get_params(image, augment.SCALE, augment.RATIO) for _ in range(n)]
        )
    for ours, other in zip(boxes.T, theirs.T, strict=True):
        same_distribution(ours, other)
    top, left, rows, columns = boxes.T
    assert (boxes[:, :2] >= 0).all() and (top + rows <= height).all() and (left + columns <= width).all()


def test_draws_come_from_the_generator_alone():
    images, black = photographs(5, 32, 32), torch.zeros(5, 32, 32, 3, dtype=torch.uint8)
    one, other = seeded(8), seeded(8)
    first = augment.released(images, one)
    assert torch.equal(first, augment.released(images, seeded(8)))
    augment.released(black, other)
    assert torch.equal(one.get_state(), other.get_state())
    assert not torch.equal(first, augment.released(images, one))
    assert first.dtype == torch.float32 and first.shape == images.shape and first.permute(0, 3, 1, 2).is_contiguous()
    assert first.min() >= 0 and first.max() <= 255.001


def test_an_image_does_not_depend_on_the_others():
    images, draws = photographs(5, 64, 64), augment.draw(5, 64, 64, seeded(9))
    batch = augment.apply(images, draws)
    for i in range(5):
        alone = augment.apply(images[i : i + 1], augment.Draws(*(each[i : i + 1] for each in draws)))
        torch.testing.assert_close(alone[0], batch[i], rtol=0, atol=1e-3)


def test_grey_images_stay_grey_and_black_ones_black():
    grey = photographs(8, 32, 32)[..., :1].expand(-1, -1, -1, 3)
    result = augment.released(grey, seeded(10))
    assert (result.amax(-1) - result.amin(-1)).max() < 1e-3 and result.std() > 10
    assert augment.released(torch.zeros_like(grey), seeded(10)).abs().max() < 1e-20


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
    corner, ours = augment.draw_shifts(images, generator)
    assert ours == padding
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
    corner, padding = augment.draw_shifts(images, seeded(14))
    for each in corner.T:
        assert stats.chisquare(each.bincount(minlength=9)).pvalue > 1e-3 and each.max() == 2 * padding
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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_does_the_same_without_synchronising():
    images, one, other = photographs(32, 64, 64), seeded(12), seeded(12)
    on_cpu, moved = augment.released(images, one), images.cuda()
    augment.released(moved, seeded(0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_gpu = augment.released(moved, other)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(one.get_state(), other.get_state())
    assert ((on_gpu.cpu() - on_cpu).abs() > 0.0255).float().mean() < 3e-4
