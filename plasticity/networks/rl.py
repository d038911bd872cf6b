"""Networks that value actions: Q-values [batch, actions] for observations [batch, channels, height, width].

Each has an ``encoder`` and a ``head``, all that follows it, and the head is dueling: a value, and the actions'
advantages less their mean (Wang et al. 2016, equation 9).
"""

from torch import Tensor, nn


class QNetwork(nn.Module):
    """An encoder that gives [batch, features], and a head of two linear layers."""

    def __init__(self, encoder: nn.Sequential, features: int, hidden: int, actions: int):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, 1 + actions))

    def forward(self, observations: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, actions]."""
        out = self.head(self.encoder(observations))
        value, advantage = out[:, :1], out[:, 1:]
        return value + advantage - advantage.mean(1, keepdim=True)


def mini_dqn(channels: int, actions: int) -> QNetwork:
    """For MinAtar's 10 x 10 cells: one layer of 16 3x3 convolutions, a hidden layer of 64 units."""
    encoder = nn.Sequential(nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.Flatten())
    return QNetwork(encoder, 16 * 8 * 8, 64, actions)
