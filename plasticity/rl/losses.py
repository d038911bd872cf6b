"""Losses of agents: categorical value distributions (Bellemare et al. 2017) and predicted features (Schwarzer et al.
2021, "SPR")."""

from torch import Tensor
from torch.nn import functional as F


def project(probabilities: Tensor, returned: Tensor, discount: Tensor, support: Tensor) -> Tensor:
    """The distribution of returned + discount x value, on the same atoms (Bellemare et al. 2017, equation 7).

    probabilities [b, atoms], returned [b], discount [b], support [atoms], equally spaced -> [b, atoms]. What falls
    beyond the ends goes to them; what falls between two atoms is shared by closeness.
    """
    apart = support[1] - support[0]
    moved = (returned[:, None] + discount[:, None] * support).clamp(support[0], support[-1])
    shares = 1 - (moved[:, None] - support[:, None]).abs() / apart  # [b, atom to, atom from]
    return (shares.clamp_(0, 1) * probabilities[:, None]).sum(2)


def cross_entropy(log_probabilities: Tensor, target: Tensor) -> Tensor:
    """-sum target x log p for each item: [b, atoms], [b, atoms] -> [b]."""
    return -(target * log_probabilities).sum(1)


def feature_loss(predicted: Tensor, target: Tensor, alive: Tensor) -> Tensor:
    """How far predicted features point from those that came: the squared distance of unit vectors, 2 - 2 cos, summed
    over the jumps within the episode and divided by all jumps.

    predicted, target [b, jumps, d]; alive [b, jumps], 1 where the episode went on until then -> [b].
    """
    distance = 2 - 2 * F.cosine_similarity(predicted.float(), target.float(), dim=2)
    return (distance * alive).mean(1)
