"""Playing: while learning, one game step by step; for the test, many games side by side."""

import numpy as np
import torch
from torch import Tensor, nn

from ..networks.rl import quiet
from . import games
from .replay import Replay

CAP = {"minatar": 2500, "atari": 27_000}  # agent steps of a test game; Atari's are 108,000 frames (Machado et al. 2018)


class Player:
    """The game of a run in progress: its actions are its whole history, so a resumed run plays them again."""

    def __init__(self, name: str, seed: int, steps: int):
        self.game = games.open_game(name, seed)
        self.replay = Replay(steps, self.game.shape, self.game.frames)
        self.scores: list[float] = []  # of whole games, since they were last taken
        self.seen = self.game.see()
        self.replay.begin(self.seen)

    def act(self, action: int) -> None:
        """One step."""
        reward, ended, score = self.game.act(action)
        self.seen = self.game.see()
        self.replay.add(action, reward, ended, self.seen)
        if score is not None:
            self.scores.append(score)

    def again(self, actions: Tensor, crc: int) -> bool:
        """Play these actions, uint8 [steps]; whether the game went the same way. Forgets the scores, which the history
        has."""
        for action in actions.tolist():
            self.act(action)
        self.scores.clear()
        return self.replay.crc == crc


def greedy(network: nn.Module, observation: Tensor) -> int:
    """The best action for an observation float32 [1, c, h, w]."""
    with torch.inference_mode():
        return int(network(observation).argmax())


def play(network: nn.Module | None, prepare, name: str, episodes: int, explore: float, draws: torch.Generator):
    """(scores float [episodes], how many were capped): games played side by side, each with its own seed.

    network: Q-values of observations as ``prepare`` makes them of uint8; None plays at random. explore: share of random
    actions.
    """
    seeds = torch.randint(2**31 - 1, (episodes,), generator=draws).tolist()
    table = [games.open_game(name, seed, testing=True) for seed in seeds]
    actions, scores, running = table[0].actions, np.zeros(episodes), list(range(episodes))
    for _ in range(CAP[name.partition("_")[0]]):
        chosen = torch.randint(actions, (len(running),), generator=draws)
        if network is not None:
            with torch.inference_mode(), quiet(network):
                seen = torch.from_numpy(np.stack([table[i].see() for i in running]))
                best = network(prepare(seen)).argmax(1)
            chosen = torch.where(torch.rand(len(running), generator=draws) < explore, chosen, best)
        still = []
        for i, action in zip(running, chosen.tolist(), strict=True):
            reward, over, _ = table[i].act(action)
            scores[i] += reward
            if not over:
                still.append(i)
        running = still
        if not running:
            break
    return scores, len(running)
