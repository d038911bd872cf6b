"""Networks that value actions: Q-values [batch, actions] for observations [batch, channels, height, width].

Each has an ``encoder`` and a ``head``, all that follows it, and the head is dueling: a value, and the actions'
advantages less their mean (Wang et al. 2016, equation 9). With ``atoms`` above 1 it gives distributions of values
(Bellemare et al. 2017).
"""

import contextlib
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class QNetwork(nn.Module):
    """An encoder that gives [batch, features], and a head of two linear layers.

    atoms: of the distributions, 1 for plain values; v_max: the largest value that they hold, -v_max the smallest;
    noise: of noisy linear layers in the head, 0 for plain ones; streams: whether value and advantages have a hidden
    layer each, and the encoder gets their gradients over the root of 2 (Wang et al. 2016, 4.2), or share one.
    """

    def __init__(
        self,
        encoder: nn.Sequential,
        features: int,
        hidden: int,
        actions: int,
        atoms: int = 1,
        v_max: float = 10.0,
        noise: float = 0.0,
        streams: bool = False,
    ):
        super().__init__()
        self.encoder, self.atoms, self.streams = encoder, atoms, streams

        def layers(outputs: int) -> nn.Sequential:
            sizes = ((features, hidden), (hidden, outputs))
            first, last = (NoisyLinear(*size, noise) if noise else nn.Linear(*size) for size in sizes)
            return nn.Sequential(first, nn.ReLU(), last)

        counts = (atoms, actions * atoms)
        self.head = Streams(map(layers, counts)) if streams else layers(sum(counts))
        self.register_buffer("support", torch.linspace(-v_max, v_max, atoms) if atoms > 1 else None, persistent=False)

    def forward(self, observations: Tensor) -> Tensor:
        """[batch, channels, height, width] -> [batch, actions]."""
        return self.values(self.from_features(self.encoder(observations)))

    def distribution(self, observations: Tensor) -> Tensor:
        """Logarithms of probabilities, [batch, actions, atoms] float32."""
        return self.from_features(self.encoder(observations))

    def from_features(self, features: Tensor) -> Tensor:
        """What the head says of features [batch, d]: values [batch, actions], or logarithms of probabilities."""
        if self.streams and features.requires_grad:
            features = features.view_as(features)  # so that other gradients stay as they are
            features.register_hook(lambda gradient: gradient * 0.5**0.5)
        out = self.head(features)
        if self.atoms == 1:
            return _dueling(out[:, :1], out[:, 1:])
        out = out.float().view(len(out), -1, self.atoms)
        return _dueling(out[:, :1], out[:, 1:]).log_softmax(2)

    def values(self, said: Tensor) -> Tensor:
        """The Q-values [batch, actions] of what ``from_features`` gave."""
        return said if self.atoms == 1 else said.exp() @ self.support


class Streams(nn.ModuleList):
    """Heads side by side."""

    def forward(self, features: Tensor) -> Tensor:
        """[batch, features] -> [batch, outputs of all]."""
        return torch.cat([head(features) for head in self], 1)


def _dueling(value: Tensor, advantage: Tensor) -> Tensor:
    return value + advantage - advantage.mean(1, keepdim=True)


class NoisyLinear(nn.Linear):
    """A linear layer with learned noise, factorised (Fortunato et al. 2018, 3b), drawn for each batch anew.

    noise: sigma_0, of the noise at the beginning. In `quiet` the mean weights are taken alone.
    """

    def __init__(self, inputs: int, outputs: int, noise: float):
        self.noise, self.is_quiet = noise, False
        super().__init__(inputs, outputs)
        self.weight_noise = nn.Parameter(torch.empty(outputs, inputs))
        self.bias_noise = nn.Parameter(torch.empty(outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As the paper's 3.2: uniform within 1 / sqrt(inputs), noise sigma_0 / sqrt(inputs)."""
        bound = 1 / math.sqrt(self.in_features)
        for values in (self.weight, self.bias):
            nn.init.uniform_(values, -bound, bound)
        for values in (getattr(self, "weight_noise", None), getattr(self, "bias_noise", None)):
            if values is not None:
                nn.init.constant_(values, self.noise * bound)

    def forward(self, inputs: Tensor) -> Tensor:
        """[batch, inputs] -> [batch, outputs]."""
        if self.is_quiet:
            return super().forward(inputs)
        before, behind = (_scaled(torch.randn(n, device=inputs.device)) for n in (self.in_features, self.out_features))
        noise = F.linear(inputs * before, self.weight_noise, self.bias_noise)  # no matrix of noise is made
        return super().forward(inputs) + noise * behind


def _scaled(noise: Tensor) -> Tensor:
    return noise.sign() * noise.abs().sqrt()


@contextlib.contextmanager
def quiet(network: nn.Module):
    """Within, noisy layers take their mean weights."""
    layers = [layer for layer in network.modules() if isinstance(layer, NoisyLinear)]
    for layer in layers:
        layer.is_quiet = True
    try:
        yield network
    finally:
        for layer in layers:
            layer.is_quiet = False


def mini_dqn(channels: int, actions: int, **of_agent) -> QNetwork:
    """For MinAtar's 10 x 10 cells: one layer of 16 3x3 convolutions, a hidden layer of 64 units."""
    encoder = nn.Sequential(nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.Flatten())
    return QNetwork(encoder, 16 * 8 * 8, 64, actions, **of_agent)


def nature_cnn(channels: int, actions: int, **of_agent) -> QNetwork:
    """For Atari's 84 x 84 pixels: the three convolutions of Mnih et al. 2015, a hidden layer of 512 units."""
    layers = [nn.Conv2d(channels, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3)]
    return QNetwork(nn.Sequential(*layers, nn.ReLU(), nn.Flatten()), 64 * 7 * 7, 512, actions, **of_agent)
