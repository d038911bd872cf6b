"""Games by name, each with one small interface: ``actions``, ``shape``, ``frames``, ``see()``, ``act(action)``."""

import numpy as np


class MinAtar:
    frames = 1

    def __init__(self, name, seed):
        from minatar import Environment

        self.env = Environment(name)
        self.env.seed(seed)
        self.env.reset()
        self._actions = self.env.minimal_action_set()
        self.actions, self.shape, self.total = len(self._actions), (self.env.n_channels, 10, 10), 0.0

    def see(self):
        return np.ascontiguousarray(self.env.state().transpose(2, 0, 1)).view(np.uint8)

    def act(self, action):
        reward, ended = self.env.act(self._actions[action])
        self.total += reward
        score = self.total if ended else None
        if ended:
            self.env.reset()
            self.total = 0.0
        return reward, ended, score


def open_game(name, seed, testing=False):
    return MinAtar(name.partition("_")[2], seed)


def input_sha256(name):
    return name


def require(name):
    pass
