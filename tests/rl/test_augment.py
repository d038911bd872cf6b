"""Random shifts and brightness."""

import torch

from plasticity.rl.augment import intensity, random_shift


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_shift_moves_each_image_by_its_own_amount_and_repeats_the_edge():
    images = torch.arange(2 * 36, dtype=torch.uint8).view(1, 2, 6, 6).repeat(64, 1, 1, 1)
    moved = random_shift(images, stream(), pad=2)
    padded = torch.nn.functional.pad(images[:1].float(), (2,) * 4, "replicate")
    crops = {(y, x): padded[0, :, y : y + 6, x : x + 6] for y in range(5) for x in range(5)}
    places = [next(place for place, crop in crops.items() if (crop == one).all()) for one in moved]
    assert moved.shape == images.shape and moved.dtype == torch.uint8
    assert len(set(places)) > 15 and {y for y, _ in places} == {x for _, x in places} == set(range(5))


def test_no_shift_and_no_brightness_change_nothing():
    images = torch.rand(3, 4, 8, 8)
    assert (random_shift(images, stream(), pad=0) == images).all()
    assert (intensity(images, stream(), 0.0) == images).all()


def test_brightness_is_one_factor_an_image_within_two_deviations():
    factors = intensity(torch.ones(4000, 2, 3, 3), stream(), 0.05)
    assert (factors == factors[:, :1, :1, :1]).all()
    one = factors[:, 0, 0, 0]
    assert 0.9 <= one.min() < 0.902 and 1.098 < one.max() <= 1.1
    assert abs(one.mean() - 1) < 0.003 and abs(one.std() - 0.05 * 0.88**0.5) < 0.003


def test_the_stream_decides():
    images = torch.rand(8, 1, 10, 10)
    assert (random_shift(images, stream(1)) == random_shift(images, stream(1))).all()
    assert (random_shift(images, stream(1)) != random_shift(images, stream(2))).any()
