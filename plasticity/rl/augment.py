"""Augmented observations: random shifts (Kostrikov et al. 2020, "DrQ") and brightness (Laskin et al. 2020; SPR)."""

import torch
from torch import Tensor


def random_shift(images: Tensor, draws: torch.Generator, pad: int = 4) -> Tensor:
    """Images [b, c, h, w], each padded by its edge and cropped to its size at a random place: moved by at most ``pad``
    pixels along each axis."""
    batch, _, height, width = images.shape
    by = torch.randint(-pad, pad + 1, (2, batch, 1), generator=draws)[..., 0].to(images.device) + pad
    rows, columns = (torch.arange(-pad, n + pad, device=images.device).clamp_(0, n - 1) for n in (height, width))
    padded = images.index_select(2, rows).index_select(3, columns)
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: [b, c, 2 pad + 1, 2 pad + 1, height, width]
    return crops[torch.arange(batch, device=images.device), :, by[0], by[1]]


def intensity(images: Tensor, draws: torch.Generator, scale: float = 0.05) -> Tensor:
    """Images float [b, c, h, w], each times 1 + ``scale`` x a standard normal draw cut at 2."""
    noise = torch.randn(len(images), 1, 1, 1, generator=draws).clamp_(-2, 2)
    return images * (1 + scale * noise).to(images)
