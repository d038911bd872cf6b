"""The batched augmentation against torchvision's own functions and distributions, image by image."""

import numpy as np
import pytest
import torch
from helpers import photographs, seeded
from PIL import Image
from scipy import stats
from torchvision import transforms
from torchvision.transforms import functional as vision

from plasticity.training import released
from plasticity.training.augment import AUGMENTATIONS

ADJUST = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation, vision.adjust_hue)
SHAPES = [(32, 32, 32), (5, 64, 64), (5, 48, 64), (1, 32, 32), (1, 224, 224), (5, 224, 224)]


def by_torchvision(image, draws, i, size):
    """Image i of a batch with its draws, by torchvision's functions; a float tensor [3, height, width] or a Pillow
    image."""
    for kind in draws.order[i].tolist():
        image = ADJUST[kind](image, float(draws.factors[i, kind]))
    image = vision.vflip(image) if draws.vertical[i] else image
    image = vision.hflip(image) if draws.horizontal[i] else image
    return vision.resized_crop(vision.rotate(image, float(draws.angle[i])), *draws.box[i].tolist(), size)


WAYS = [released.apply_in_parts, released.apply_at_once]  # a CPU's and a GPU's


def applied(images, draws, way=released.apply_in_parts):
    return way(images, released.parameters(draws, *images.shape[1:3]))


def both(way, batch, height, width, seed, still=False):
    """|ours - torchvision's| on float images, in shares of full scale; ``still``: without the rotation."""
    images, draws = photographs(batch, height, width, seed), released.draw(batch, height, width, seeded(seed))
    draws = draws._replace(angle=draws.angle * 0) if still else draws
    floats = images.permute(0, 3, 1, 2) / 255
    theirs = torch.stack([by_torchvision(image, draws, i, (height, width)) for i, image in enumerate(floats)])
    return (applied(images, draws, way).permute(0, 3, 1, 2) / 255 - theirs).abs()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_same_as_torchvision_on_float_images(shape, way):
    """Everywhere to 1e-4 of full scale, but where the rotation's nearest pixel is a tie within float32's precision."""
    assert both(way, *shape, seed=1, still=True).max() < 1e-4
    assert (both(way, *shape, seed=2) > 1e-4).float().mean() < 3e-4


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_that_the_rotation_reads_elsewhere_are_ties(shape):
    batch, height, width = shape
    draws = released.draw(batch, height, width, seeded(3))
    x = torch.rand(batch, 3, height, width, generator=seeded(4))
    along, across = released.turned_places(draws, height, width)
    flip = ((vision.vflip, draws.vertical), (vision.hflip, draws.horizontal))
    theirs = []
    for i, image in enumerate(x):
        for function, whether in flip:
            image = function(image) if whether[i] else image
        theirs.append(vision.rotate(image, float(draws.angle[i])))
    differs = (released.sampled(x, along, across, mode="nearest") != torch.stack(theirs)).any(1)
    column, row = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2 for size in (width, height))
    cos, sin = torch.deg2rad(-draws.angle).cos()[:, None, None], torch.deg2rad(-draws.angle).sin()[:, None, None]
    read_x, read_y = cos * column + sin * row[:, None] + width / 2, cos * row[:, None] - sin * column + height / 2
    from_tie = torch.minimum((read_x - read_x.round()).abs(), (read_y - read_y.round()).abs())
    assert differs.float().mean() < 1e-4 and (from_tie[differs] < 1e-4).all()


@pytest.mark.parametrize("shape", [(32, 32, 32), (6, 48, 64), (6, 224, 224)])
def test_close_to_torchvision_on_pillow_images(shape):
    """They round to whole numbers after each step, and the hue to 256 steps: in the mean less than 2 of 255 apart, 99 %
    within 9."""
    images, draws = photographs(*shape), released.draw(*shape, seeded(5))
    theirs = [
        np.array(by_torchvision(Image.fromarray(image), draws, i, shape[1:])) for i, image in enumerate(images.numpy())
    ]
    apart = np.abs(applied(images, draws).numpy() - np.stack(theirs))
    assert apart.mean() < 2 and np.quantile(apart, 0.99) < 9


def same_distribution(ours, theirs):
    assert stats.ks_2samp(np.asarray(ours), np.asarray(theirs)).pvalue > 1e-3


def test_jitter_flips_and_angle_are_distributed_as_torchvisions():
    n = 4000
    draws = released.draw(n, 32, 32, seeded(6))
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
    boxes = released.draw(n, height, width, seeded(7)).box
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torch.tensor(
            [transforms.RandomResizedCrop.get_params(image, released.SCALE, released.RATIO) for _ in range(n)]
        )
    for ours, other in zip(boxes.T, theirs.T, strict=True):
        same_distribution(ours, other)
    top, left, rows, columns = boxes.T
    assert (boxes[:, :2] >= 0).all() and (top + rows <= height).all() and (left + columns <= width).all()


def test_draws_come_from_the_generator_alone():
    images, black = photographs(5, 32, 32), torch.zeros(5, 32, 32, 3, dtype=torch.uint8)
    one, other = seeded(8), seeded(8)
    first = AUGMENTATIONS["released"](images, one)
    assert torch.equal(first, AUGMENTATIONS["released"](images, seeded(8)))
    AUGMENTATIONS["released"](black, other)
    assert torch.equal(one.get_state(), other.get_state())
    assert not torch.equal(first, AUGMENTATIONS["released"](images, one))
    assert first.dtype == torch.float32 and first.shape == images.shape and first.permute(0, 3, 1, 2).is_contiguous()
    assert first.min() >= 0 and first.max() <= 255.001


def test_an_image_does_not_depend_on_the_others():
    images, draws = photographs(5, 64, 64), released.draw(5, 64, 64, seeded(9))
    batch = applied(images, draws)
    for i in range(5):
        alone = applied(images[i : i + 1], released.Draws(*(each[i : i + 1] for each in draws)))
        torch.testing.assert_close(alone[0], batch[i], rtol=0, atol=1e-3)


@pytest.mark.parametrize("way", WAYS)
def test_grey_images_stay_grey_and_black_ones_black(way):
    grey, table = photographs(8, 32, 32)[..., :1].expand(-1, -1, -1, 3), released.draw_released(8, 32, 32, seeded(10))
    result = way(grey, table)
    assert (result.amax(-1) - result.amin(-1)).max() < 1e-3 and result.std() > 10
    assert way(torch.zeros_like(grey), table).abs().max() < 1e-20


def test_matrix_products_of_colours_never_round_to_tf32_and_leave_the_choice_alone():
    matmul, seen = torch.backends.cuda.matmul, []

    class Watching(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "bmm" in str(func):
                seen.append(matmul.allow_tf32)
            return func(*args, **(kwargs or {}))

    for chosen in (True, False):
        matmul.allow_tf32 = chosen
        with Watching():
            released.apply_at_once(photographs(2, 32, 32), released.draw_released(2, 32, 32, seeded(16)))
        assert matmul.allow_tf32 is chosen
    matmul.allow_tf32 = False
    assert len(seen) == 24 and not any(seen)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_does_the_same_without_synchronising():
    images, one, other = photographs(32, 64, 64), seeded(12), seeded(12)
    on_cpu, moved = AUGMENTATIONS["released"](images, one), images.cuda()
    AUGMENTATIONS["released"](moved, seeded(0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        on_gpu = AUGMENTATIONS["released"](moved, other)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(one.get_state(), other.get_state())
    assert ((on_gpu.cpu() - on_cpu).abs() > 0.0255).float().mean() < 3e-4
