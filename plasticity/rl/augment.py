"""Augmented observations: random shifts (Kostrikov et al. 2020, "DrQ") and brightness (Laskin et al. 2020; SPR)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def random_shift(images: Tensor, draws: torch.Generator, pad: int = 4) -> Tensor:
    """Images [b, c, h, w], each padded by its edge and cropped to its size at a random place: moved by at most ``pad``
    pixels along each axis."""
    batch, _, height, width = images.shape
    down, right = torch.randint(2 * pad + 1, (2, batch), generator=draws).to(images.device)
    padded = F.pad(images, (pad,) * 4, "replicate")
    crops = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: [b, c, 2 pad + 1, 2 pad + 1, height, width]
    return crops[torch.arange(batch, device=images.device), :, down, right]


def intensity(images: Tensor, draws: torch.Generator, scale: float = 0.05) -> Tensor:
    """Images float [b, c, h, w], each times 1 + ``scale`` x a standard normal draw cut at 2."""
    noise = torch.randn(len(images), 1, 1, 1, generator=draws).clamp_(-2, 2)
    return images * (1 + scale * noise).to(images)
