"""Augmentation of uint8 image batches [batch, height, width, 3], on the device they lie on.

Every random number comes from the CPU generator given and belongs to one image, so that a run sees the same
augmentations wherever it runs. ``released`` does in batches what torchvision's v1 transforms do image by image; the
tests hand both the same parameters. Measured on photographs of 32 to 224 pixels:

* torchvision on float images: the same to 2e-5 of full scale. Where the rotation reads from within float32's precision
  of the border between two pixels it may choose the other one: 1 value in 10 000 of 224-pixel images, fewer of smaller.
* torchvision on Pillow images rounds to whole numbers after each step and knows 256 hues: in the mean 1.3 to 1.6 of 255
  apart (the farthest image 2.7), 99 % of the values within 7, 99.9 % within 12.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

JITTER = {"brightness": 0.5, "contrast": 0.3, "saturation": 0.3, "hue": 0.3}  # half widths, around 1 or, for the hue, 0
SCALE, RATIO = (0.8, 1.0), (3 / 4, 4 / 3)  # of the crop: its share of the area, its width by its height
CHUNK = 40_000  # pixels that a CPU works on at a time: larger temporaries would leave its caches


def none(images: Tensor, generator: torch.Generator) -> Tensor:
    """As they are."""
    return images


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(mirrored.to(images.device, non_blocking=True)[:, None, None, None], images.flip(2), images)


def crop(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by up to an eighth of its size, at most 4 pixels, black coming in: torchvision's RandomCrop."""
    return shifted(images, *draw_shifts(images, generator))


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """`crop`, then mirrored left to right with probability one half: the companion papers' augmentation."""
    corner, padding = draw_shifts(images, generator)
    return flip(shifted(images, corner, padding), generator)


def draw_shifts(images: Tensor, generator: torch.Generator) -> tuple[Tensor, int]:
    """Where in the padded image each crop begins, int64 [batch, 2] (top, left); and the padding."""
    padding = max(1, min(4, min(images.shape[1:3]) // 8))
    return torch.randint(0, 2 * padding + 1, (len(images), 2), generator=generator), padding


def shifted(images: Tensor, corner: Tensor, padding: int) -> Tensor:
    """The crops of the original size that begin at ``corner`` of the images with so many black pixels around."""
    batch, height, width, _ = images.shape
    # a view of them all
    windows = F.pad(images, (0, 0, padding, padding, padding, padding)).unfold(1, height, 1).unfold(2, width, 1)
    top, left = corner.to(images.device, non_blocking=True).T
    return windows[torch.arange(batch, device=images.device), top, left].permute(0, 2, 3, 1)


def released(images: Tensor, generator: torch.Generator) -> Tensor:
    """The recipe of the authors' released code, drawn for each image: float32 [batch, height, width, 3], 0..255.

    In this order ColorJitter(.5, .3, .3, .3), RandomVerticalFlip, RandomHorizontalFlip, RandomRotation(180) and
    RandomResizedCrop((height, width), scale=(.8, 1)). The result is a permuted [batch, 3, height, width].
    """
    return apply(images, draw(*images.shape[:3], generator))


class Draws(NamedTuple):
    """What happens to each image of a batch, on the CPU; first dimension: images."""

    order: Tensor  # int64 [batch, 4]: the order of the adjustments; 0 brightness, 1 contrast, 2 saturation, 3 hue
    factors: Tensor  # float64 [batch, 4]: of brightness, contrast, saturation; the hue's shift in turns
    vertical: Tensor  # bool [batch]: upside down
    horizontal: Tensor  # bool [batch]: left to right
    angle: Tensor  # float64 [batch]: degrees, counter-clockwise
    box: Tensor  # int64 [batch, 4]: the crop's top, left, height, width in pixels


def draw(batch: int, height: int, width: int, generator: torch.Generator) -> Draws:
    """Parameters for ``batch`` images, distributed as torchvision's ``get_params``; the only place that draws."""
    order = torch.rand(batch, 4, generator=generator).argsort(1)
    signed = torch.rand(batch, 5, generator=generator, dtype=torch.float64) * 2 - 1
    factors = signed[:, :4] * torch.tensor(list(JITTER.values()), dtype=torch.float64) + torch.tensor([1, 1, 1, 0])
    vertical, horizontal = torch.rand(2, batch, generator=generator) < 0.5
    return Draws(order, factors, vertical, horizontal, 180 * signed[:, 4], draw_boxes(batch, height, width, generator))


def draw_boxes(batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Crops [batch, 4] as RandomResizedCrop.get_params draws them: the first of ten that fits, or the middle."""
    full = torch.tensor([height, width])
    area, ratio = torch.rand(2, batch, 11, generator=generator, dtype=torch.float64)
    corner = torch.rand(batch, 11, 2, generator=generator, dtype=torch.float64)
    area.mul_(SCALE[1] - SCALE[0]).add_(SCALE[0]).mul_(height * width)
    ratio.mul_(math.log(RATIO[1] / RATIO[0])).add_(math.log(RATIO[0])).exp_()
    size = torch.stack([area / ratio, area * ratio], 2).sqrt_().round_()
    # The eleventh attempt always fits: as much of the image as the bounds of the ratio allow, from its middle.
    size[:, 10] = torch.tensor([min(height, round(width / RATIO[0])), min(width, round(height * RATIO[1]))])
    corner.mul_(full - size + 1).floor_()
    corner[:, 10] = (full - size[:, 10]) // 2
    first = ((size > 0) & (size <= full)).all(2).int().argmax(1)
    return torch.cat([corner, size], 2)[torch.arange(batch), first].long()


def apply(images: Tensor, draws: Draws) -> Tensor:
    """What ``released`` returns, for given draws. No loop over images and no synchronisation on a GPU."""
    batch, height, width, _ = images.shape
    turn = (draws.order == 3).int().argmax(1)  # how many of the other adjustments come before the hue's
    # images whose hue has the same turn become neighbours, and a slice needs no index list
    turn, index = turn.sort(stable=True)
    table = parameters(draws, height, width)[index].to(images.device, non_blocking=True)
    turn, index = turn.tolist(), index.to(images.device, non_blocking=True)
    chunk = max(1, CHUNK // (height * width)) if images.device.type == "cpu" else batch
    result = torch.empty(batch, 3, height, width, device=images.device)
    for start in range(0, batch, chunk):
        part = slice(start, start + chunk)
        blends, shift, matrix, box = table[part].split([9, 1, 4, 4], 1)
        x = (
            images.index_select(0, index[part])
            .permute(0, 3, 1, 2)
            .to(torch.float32, memory_format=torch.contiguous_format)
        )
        jitter(x, blends, shift, turn[part])
        result.index_copy_(0, index[part], cropped(rotated(x, matrix), box))
    return result.permute(0, 2, 3, 1)


def parameters(draws: Draws, height: int, width: int) -> Tensor:
    """The draws as one float32 [batch, 18]: three blends of three numbers, hue shift, rotation, crop."""
    kinds = draws.order[draws.order != 3].view(-1, 3)
    factor = draws.factors.gather(1, kinds)
    blends = torch.stack([factor, (1 - factor) * (kinds == 2), (1 - factor) * (kinds == 1)], 2).flatten(1)
    cos, sin = torch.deg2rad(-draws.angle).cos(), torch.deg2rad(-draws.angle).sin()
    matrix = torch.stack([cos, sin, -sin, cos], 1).view(-1, 2, 2).float() / torch.tensor([[width / 2], [height / 2]])
    # mirrored: read from the other side
    matrix *= 1 - 2 * torch.stack([draws.horizontal, draws.vertical], 1)[:, :, None].float()
    return torch.cat([blends, 6 * draws.factors[:, 3:], matrix.flatten(1), draws.box], 1).float()


def jitter(x: Tensor, blends: Tensor, shift: Tensor, turn: list[int]) -> None:
    """ColorJitter in place: x [n, 3, height, width] in 0..255; blends [n, 9]; ``turn`` is sorted, see ``apply``."""
    for step in range(4):
        if step in turn:
            those = slice(turn.index(step), turn.index(step) + turn.count(step))
            shift_hue(x[those], shift[those, :, None])
        if step < 3:
            blend(x, *blends[:, 3 * step : 3 * step + 3, None, None].split(1, 1))


def blend(x: Tensor, factor: Tensor, of_grey: Tensor, of_mean: Tensor) -> None:
    """Brightness, saturation or contrast in place: with black, with the grey image or with its mean."""
    grey = (x[:, :1] * 0.2989).add_(x[:, 1:2], alpha=0.587).add_(x[:, 2:], alpha=0.114)
    mean = grey.mean((2, 3), keepdim=True)
    x.mul_(factor).add_(grey.mul_(of_grey).add_(mean.mul_(of_mean))).clamp_(0, 255)


def shift_hue(x: Tensor, shift: Tensor) -> None:
    """Turn the hue in place by ``shift`` [n, 1, 1] sixths of a turn, at most 2; the same as by way of HSV.

    A hue's distance from green, in sixths of a turn, is (red + blue - green + max - 2 min) / (max - min), and each
    channel depends on the hue's distance d from its own colour alone: max up to d = 1, min from d = 2, linear between.
    """
    red, green, blue = x.unbind(1)
    high, low, hue = torch.maximum(red, green), torch.minimum(red, green), red + blue
    torch.maximum(high, blue, out=high)
    torch.minimum(low, blue, out=low)
    hue.sub_(green).add_(high).sub_(low, alpha=2)
    chroma = high.sub_(low).clamp_min_(1e-30)  # a grey has no hue, but may not become NaN
    hue.div_(chroma).copysign_(blue - red).add_(shift)  # -5..5: green at 0, blue at 2, red at -2
    torch.sub(hue[:, None], torch.arange(-2, 4, 2, device=x.device).view(3, 1, 1), out=x)
    # 3 - d the short way round; beyond 6 it is no distance, but clamped to 2 as it must be
    x.abs_().sub_(3).abs_().clamp_(1, 2)
    x.mul_(chroma[:, None]).add_(low.sub_(chroma)[:, None])


def rotated(x: Tensor, matrix: Tensor) -> Tensor:
    """Flipped and rotated about the middle, the nearest pixel, black outside: torchvision's grid for matrix [n, 4]."""
    column, row = (torch.arange(size, device=x.device) - (size - 1) / 2 for size in (x.shape[3], x.shape[2]))
    xx, xy, yx, yy = matrix.split(1, 1)
    return sampled(x, torch.complex(xx * column, yx * column), torch.complex(xy * row, yy * row), mode="nearest")


def cropped(x: Tensor, box: Tensor) -> Tensor:
    """The box [n, 4] of each image, bilinearly enlarged to the whole size; never reduced, so nothing is antialiased."""
    top, left, rows, columns = box.split(1, 1)
    column, row = positions(left, columns, x.shape[3]), positions(top, rows, x.shape[2])
    return sampled(
        x, torch.complex(column, column * 0), torch.complex(row * 0, row), mode="bilinear", padding_mode="border"
    )


def positions(start: Tensor, size: Tensor, full: int) -> Tensor:
    """Where along an axis ``full`` pixels are read to enlarge ``size`` of them from ``start``: [n, full] in -1..1."""
    inside = (torch.arange(full, device=start.device) + 0.5) * (size / full) - 0.5
    return (torch.minimum(inside.clamp_(min=0), size - 1) + start + 0.5) * (2 / full) - 1


def sampled(x: Tensor, along: Tensor, across: Tensor, **options) -> Tensor:
    """Read x at along [n, width] + across [n, height]; places are complex numbers, x + iy: their sum is fast."""
    return F.grid_sample(x, torch.view_as_real(along[:, None] + across[:, :, None]), align_corners=False, **options)


AUGMENTATIONS = {"none": none, "flip": flip, "crop": crop, "crop_flip": crop_flip, "released": released}
