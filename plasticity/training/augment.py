"""Augmentation of uint8 image batches [batch, height, width, 3], on the device they lie on.

Every random number comes from the CPU generator given and belongs to one image, so that a run sees the same
augmentations wherever it runs. All that is drawn for a batch is one table, which goes to a device in one copy.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from . import released as recipe
from .device import send


class Augmentation(NamedTuple):
    """``draw(batch, height, width, generator)``: what happens to each image, float32 [batch, columns], on the CPU.
    ``apply(images, table)``: that, done to images [batch, height, width, 3]; the table on their device."""

    draw: Callable[[int, int, int, torch.Generator], Tensor]
    apply: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The images, augmented."""
        return self.apply(images, send(self.draw(*images.shape[:3], generator), images.device))


def draw_nothing(batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """No column."""
    return torch.empty(batch, 0)


def draw_flips(batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """1 for an image that is to be mirrored, as one half are: [batch, 1]."""
    return (torch.rand(batch, generator=generator) < 0.5).float()[:, None]


def mirrored(images: Tensor, flips: Tensor) -> Tensor:
    """Left to right where ``flips`` [batch, 1] says so."""
    return torch.where(flips.bool()[:, :, None, None], images.flip(2), images)


def draw_shifts(batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Where in the padded image each crop begins, [batch, 2] (top, left)."""
    return torch.randint(0, 2 * padding(height, width) + 1, (batch, 2), generator=generator).float()


def padding(height: int, width: int) -> int:
    """An eighth of the size, at least 1 pixel and at most 4."""
    return max(1, min(4, min(height, width) // 8))


def shifted(images: Tensor, corner: Tensor) -> Tensor:
    """The crops of the original size that begin at ``corner`` [batch, 2] of the images with black pixels around."""
    batch, height, width, _ = images.shape
    around = 4 * [padding(height, width)]
    windows = F.pad(images, (0, 0, *around)).unfold(1, height, 1).unfold(2, width, 1)  # a view of them all
    top, left = corner.long().T
    return windows[torch.arange(batch, device=images.device), top, left].permute(0, 2, 3, 1)


def draw_shifts_and_flips(batch: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """The columns of `draw_shifts` and that of `draw_flips`."""
    return torch.cat([draw(batch, height, width, generator) for draw in (draw_shifts, draw_flips)], 1)


none = Augmentation(draw_nothing, lambda images, table: images)
flip = Augmentation(draw_flips, mirrored)
crop = Augmentation(draw_shifts, shifted)  # torchvision's RandomCrop
crop_flip = Augmentation(  # the companion papers'
    draw_shifts_and_flips, lambda images, table: mirrored(shifted(images, table[:, :2]), table[:, 2:])
)
released = Augmentation(recipe.draw_released, recipe.apply)  # the authors' released code
AUGMENTATIONS = {"none": none, "flip": flip, "crop": crop, "crop_flip": crop_flip, "released": released}
