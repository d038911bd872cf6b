"""The augmentation of the authors' released code, drawn for each image and done to whole batches.

In this order ColorJitter(.5, .3, .3, .3), RandomVerticalFlip, RandomHorizontalFlip, RandomRotation(180) and
RandomResizedCrop((height, width), scale=(.8, 1)): what torchvision's v1 transforms do image by image. The tests hand
both the same parameters. Measured on photographs of 32 to 224 pixels:

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

from . import at_once

JITTER = {"brightness": 0.5, "contrast": 0.3, "saturation": 0.3, "hue": 0.3}  # half widths, around 1 or, for the hue, 0
SCALE, RATIO = (0.8, 1.0), (3 / 4, 4 / 3)  # of the crop: its share of the area, its width by its height
GROUPS = (9, 1, 1, at_once.COLUMNS)  # of columns: three blends of three numbers, the hue's shift, its turn, a GPU's
CHUNK = 40_000  # pixels that a CPU works on at a time: larger temporaries would leave its caches


def draw_released(batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """The `parameters` of a `draw`."""
    return parameters(draw(batch, height, width, generator), height, width)


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


def parameters(draws: Draws, height: int, width: int) -> Tensor:
    """The draws as the table of `apply`: the columns of ``GROUPS``, then the places that are read, as x and y."""
    kinds = draws.order[draws.order != 3].view(-1, 3)
    turn = (draws.order == 3).int().argmax(1)  # how many of the other adjustments come before the hue's
    factor = draws.factors.gather(1, kinds)
    blends = torch.stack([factor, (1 - factor) * (kinds == 2), (1 - factor) * (kinds == 1)], 2)
    shift = 6 * draws.factors[:, 3:]
    places = [*turned_places(draws, height, width), *box_places(draws.box.float(), height, width)]
    groups = [blends.flatten(1), shift, turn[:, None], at_once.colours(blends, shift, turn)]
    groups += [torch.view_as_real(each).flatten(1) for each in places]
    return torch.cat([group.float() for group in groups], 1)


def apply(images: Tensor, table: Tensor) -> Tensor:
    """What ``released`` returns, float32 [batch, height, width, 3] in 0..255: a permuted [batch, 3, height, width]."""
    return (apply_in_parts if images.device.type == "cpu" else apply_at_once)(images, table)


def apply_at_once(images: Tensor, table: Tensor) -> Tensor:
    """In few kernels, for a GPU."""
    *_, colours, places = _grouped(table)
    return _read(at_once.jittered(_planes(images), colours), places).permute(0, 2, 3, 1)


def apply_in_parts(images: Tensor, table: Tensor) -> Tensor:
    """As much at a time as a CPU's caches hold."""
    batch, height, width, _ = images.shape
    # images whose hue has the same turn become neighbours, and a slice needs no index list
    turn, index = table[:, GROUPS[0] + GROUPS[1]].int().sort(stable=True)
    table, turn = table[index], turn.tolist()
    chunk = max(1, CHUNK // (height * width))
    result = torch.empty(batch, 3, height, width)
    for start in range(0, batch, chunk):
        part = slice(start, start + chunk)
        blends, shift, *_, places = _grouped(table[part])
        x = _planes(images.index_select(0, index[part]))
        jitter(x, blends, shift, turn[part])
        result.index_copy_(0, index[part], _read(x, places))
    return result.permute(0, 2, 3, 1)


def _grouped(table: Tensor) -> tuple[Tensor, ...]:
    return table.split([*GROUPS, table.shape[1] - sum(GROUPS)], 1)


def _planes(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)


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
    red, green, blue = at_once.GREY
    grey = (x[:, :1] * red).add_(x[:, 1:2], alpha=green).add_(x[:, 2:], alpha=blue)
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


def turned_places(draws: Draws, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where an image flipped and turned about the middle is read: torchvision's grid, along [n, width] + across
    [n, height], in -1..1. Places are complex numbers, x + iy: their sum is fast."""
    cos, sin = torch.deg2rad(-draws.angle).cos(), torch.deg2rad(-draws.angle).sin()
    matrix = torch.stack([cos, sin, -sin, cos], 1).view(-1, 2, 2).float() / torch.tensor([[width / 2], [height / 2]])
    # mirrored: read from the other side
    matrix *= 1 - 2 * torch.stack([draws.horizontal, draws.vertical], 1)[:, :, None].float()
    column, row = (torch.arange(size) - (size - 1) / 2 for size in (width, height))
    xx, xy, yx, yy = matrix.flatten(1).split(1, 1)
    return torch.complex(xx * column, yx * column), torch.complex(xy * row, yy * row)


def box_places(box: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """The same where the box [n, 4] of an image is enlarged to the whole size."""
    top, left, rows, columns = box.split(1, 1)
    column, row = positions(left, columns, width), positions(top, rows, height)
    return torch.complex(column, column * 0), torch.complex(row * 0, row)


def positions(start: Tensor, size: Tensor, full: int) -> Tensor:
    """Where along an axis ``full`` pixels are read to enlarge ``size`` of them from ``start``: [n, full] in -1..1."""
    inside = (torch.arange(full) + 0.5) * (size / full) - 0.5
    return (torch.minimum(inside.clamp_(min=0), size - 1) + start + 0.5) * (2 / full) - 1


def _read(x: Tensor, places: Tensor) -> Tensor:
    """Turned, by the nearest pixel, black outside; then enlarged, bilinearly; never reduced, so nothing is antialiased.
    x [n, 3, height, width]; places: x and y of all four `turned_places` and `box_places`, flat."""
    along, across, column, row = torch.view_as_complex(places.view(len(x), -1, 2)).split(
        2 * [x.shape[3], x.shape[2]], 1
    )
    x = sampled(x, along, across, mode="nearest")
    return sampled(x, column, row, mode="bilinear", padding_mode="border")


def sampled(x: Tensor, along: Tensor, across: Tensor, **options) -> Tensor:
    """Read x at along [n, width] + across [n, height]."""
    return F.grid_sample(x, torch.view_as_real(along[:, None] + across[:, :, None]), align_corners=False, **options)
