"""The colours of `released` on a GPU, where to start a kernel costs more than to run it.

How many steps come before the turn of the hue differs from image to image. A CPU sorts the images by it. Here all of
them go through three blends, the turn of the hue and three more blends, of which those that are not an image's own
leave it as it is: no shape depends on what was drawn, so that a CUDA graph can hold it all, in few kernels.
"""

import torch
from torch import Tensor

GREY = (0.2989, 0.587, 0.114)  # of red, green and blue
SLOTS = 6
COLUMNS = SLOTS * 18 + 3


def colours(blends: Tensor, shift: Tensor, turn: Tensor) -> Tensor:
    """What `jittered` takes, [n, COLUMNS], from blends [n, 3, 3] (factor, of the grey image, of its mean), the hue's
    shift [n, 1] in sixths of a turn, and how many of the blends come before it, [n]."""
    factor, of_grey, of_mean = blends.repeat(1, 2, 1)[..., None].split(1, 2)  # each [n, 6, 1, 1]
    slot = torch.arange(SLOTS)
    own = ((slot < 3) == (slot % 3 < turn[:, None]))[..., None, None]
    same, grey = torch.eye(3), torch.tensor(GREY).expand(3, 3)
    matrices = torch.where(own, factor * same + of_grey * grey, same)
    means = torch.where(own, of_mean * grey, 0.0)
    return torch.cat([matrices.flatten(1), means.flatten(1), shift - torch.tensor([-2, 0, 2])], 1)


def jittered(images: Tensor, colours: Tensor) -> Tensor:
    """ColorJitter of images [n, 3, height, width] in 0..255, float32, with ``colours`` [n, COLUMNS]."""
    x, matrices = images.flatten(2), colours[:, :-3].view(len(images), 2, SLOTS, 3, 3)
    tf32, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False  # it has too few digits
    for slot in range(SLOTS):
        if slot == 3:
            x = turned(x, colours[:, -3:, None])
        blend, of_mean = matrices[:, :, slot].unbind(1)
        x = torch.bmm(blend, x).add_(torch.bmm(of_mean, x.mean(2, keepdim=True))).clamp_(0, 255)
    torch.backends.cuda.matmul.allow_tf32 = tf32
    return x.view_as(images)


def turned(x: Tensor, offset: Tensor) -> Tensor:
    """`released.shift_hue` of x [n, 3, pixels] by offset [n, 3, 1], the shift less each channel's own place."""
    red, green, blue = x.unbind(1)
    low, high = torch.aminmax(x, dim=1)
    chroma = high.sub_(low).clamp_min_(1e-30)  # a grey has no hue, but may not become NaN
    hue = torch.add(red, blue).sub_(green).sub_(low).add_(chroma).div_(chroma).copysign_(blue - red)
    x = (hue[:, None] + offset).abs_().sub_(3).abs_().clamp_(1, 2)
    return torch.addcmul(low.sub_(chroma)[:, None], x, chroma[:, None])
