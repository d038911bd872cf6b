"""The network of BBF (Schwarzer et al. 2023): IMPALA's 15 convolutions (Espeholt et al. 2018), four times as wide."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .rl import QNetwork


class Residual(nn.Module):
    """Two convolutions around which the input goes, too."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """[batch, channels, h, w], the same."""
        return inputs + self.layers(inputs)


class Transition(nn.Module):
    """Features after an action from features before it: two convolutions, the action as planes of ones."""

    def __init__(self, channels: int, actions: int):
        super().__init__()
        self.actions = actions
        self.layers = nn.Sequential(
            nn.Conv2d(channels + actions, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, features: Tensor, action: Tensor) -> Tensor:
        """[batch, channels, h, w] and int64 [batch] -> [batch, channels, h, w], scaled to 0..1."""
        planes = F.one_hot(action, self.actions).to(features)[:, :, None, None].expand(-1, -1, *features.shape[2:])
        return scaled(F.relu(self.layers(torch.cat([features, planes], 1))))


class Encoder(nn.Sequential):
    """Layers in a row. Without gradients a CPU takes eight observations at a time: what is between the layers then fits
    into memory at hand, while that of hundreds would come new from the system with each layer."""

    def forward(self, observations: Tensor) -> Tensor:
        """[batch, channels, h, w] -> [batch, features]."""
        if torch.is_grad_enabled() or observations.device.type != "cpu":
            return super().forward(observations)
        return torch.cat([super(Encoder, self).forward(part) for part in observations.split(8)])


class Head(nn.Sequential):
    """Three layers in a row, and a predictor, which is reset with them; no value goes through it."""

    def forward(self, features: Tensor) -> Tensor:
        """[batch, features] -> [batch, outputs]."""
        return self[2](self[1](self[0](features)))


class Bbf(QNetwork):
    """With ``ssl`` also what predicts features: a transition model, and a predictor behind the hidden layer."""

    def __init__(self, encoder: nn.Sequential, shape: tuple[int, int, int], actions: int, ssl: bool, **of_agent):
        channels, height, width = shape
        super().__init__(encoder, channels * height * width, 2048, actions, **of_agent)
        self.shape = shape
        if ssl:
            self.head = Head(*self.head)
            self.transition, self.head.predictor = Transition(channels, actions), nn.Linear(2048, 2048)

    def projected(self, features: Tensor) -> Tensor:
        """Features [batch, d] behind the hidden layer, [batch, 2048]: where they are compared."""
        return self.head[0](features)

    def predicted(self, features: Tensor, actions: Tensor) -> Tensor:
        """From features [batch, d] and the actions int64 [batch, jumps] behind them, those to come, as they are
        compared: [batch, jumps, 2048]."""
        states = [features.unflatten(1, self.shape)]
        for action in actions.unbind(1):
            states.append(self.transition(states[-1], action))
        found = torch.stack(states[1:], 1).flatten(2)
        return self.head.predictor(self.projected(found))


class Scaled(nn.Module):
    """`scaled` as a layer."""

    def forward(self, features: Tensor) -> Tensor:
        """[batch, channels, h, w], the same shape."""
        return scaled(features)


def scaled(features: Tensor) -> Tensor:
    """Each item's features from 0 to 1 (SPR): [batch, ...]."""
    flat = features.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - low) / (high - low + 1e-5)).view_as(features)


def impala_x4(channels: int, actions: int, ssl: bool = False, **of_agent) -> Bbf:
    """For Atari's 84 x 84 pixels: three stages of 64, 128, 128 channels, a hidden layer of 2048 units."""
    layers, before = [], channels
    for width in (64, 128, 128):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.MaxPool2d(3, 2, 1), Residual(width), Residual(width)]
        before = width
    encoder = Encoder(*layers, nn.ReLU(), Scaled(), nn.Flatten())
    return Bbf(encoder, (128, 11, 11), actions, ssl, **of_agent).apply(_initialise)


@torch.no_grad()
def _initialise(layer: nn.Module) -> None:
    """As BBF's: uniformly drawn weights (Glorot & Bengio 2010), no biases."""
    if type(layer) in (nn.Conv2d, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
