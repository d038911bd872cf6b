"""What a run trains on, and in which phases: fine-tuning, a warm start, continual learning, a single task, a game.

A phase is a set of items, their labels (some of them wrong on purpose) and a number of epochs. Each phase gets a new
optimiser and its own warm-up of the learning rate; the test labels are never touched. Sources: Lee et al. 2024 ("H&T"),
sections 3.1 and 5.2; Oh et al. 2025 ("SWR"), experiments. Wrong labels: a random share of a phase's items, each given a
uniformly drawn other class, drawn once per phase (Zhang et al. 2021, as H&T run it).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from . import notation

Stream = Callable[[str], torch.Generator]  # purpose -> an independent random stream of the run's seed


@dataclass(frozen=True)
class Phase:
    """Items int64 [k], labels int64 [n] of all items of the data set (noise included), and epochs."""

    items: Tensor
    labels: Tensor
    epochs: int


@dataclass(frozen=True)
class Transfer:
    """Fine-tuning of pretrained weights with early stopping, as Coetzer et al. 2026 do."""

    def phases(self, items: Tensor, labels: Tensor, classes: int, epochs: int, stream: Stream) -> list[Phase]:
        """One phase of all items with their true labels, at most ``epochs`` long."""
        return [Phase(items, labels, epochs)]


@dataclass(frozen=True)
class Single(Transfer):
    """One task from initialisation to the end, without early stopping (SWR's single task; H&T without a warm start)."""


@dataclass(frozen=True)
class WarmStart:
    """First a random subset with label noise, then everything, clean (H&T sections 3 and 5.1; SWR with half the data).

    subset: share of the items in the first phase; noise: share of these with a wrong label; equal: whether the first
    phase gets int(epochs / subset) epochs, for the same number of updates (H&T), or as many epochs as the second (SWR).
    """

    subset: float = 0.1
    noise: float = 0.5
    equal: bool = True

    def __post_init__(self):
        notation.within(self, subset="(0, 1]", noise="[0, 1]")

    def phases(self, items: Tensor, labels: Tensor, classes: int, epochs: int, stream: Stream) -> list[Phase]:
        """Two phases."""
        chosen = items[
            torch.randperm(len(items), generator=stream("subset"))[: max(1, round(self.subset * len(items)))]
        ]
        first = int(epochs / self.subset + 1e-9) if self.equal else epochs
        return [
            Phase(chosen, wrong(labels, chosen, self.noise, classes, stream("noise")), first),
            Phase(items, labels, epochs),
        ]


@dataclass(frozen=True)
class Continual:
    """Chunks of the data, one per phase, with label noise falling in equal steps to zero (H&T 5.2; SWR: no noise).

    access: "full" trains on all chunks so far; "limited" on the newest one and a ``buffer`` of earlier items (0: the
    newest alone, as SWR). The buffer is a true random sample; "collapsed" keeps the first items of the class-sorted
    data instead, as H&T's released code does by mistake, so that it holds hardly more than two classes.
    """

    chunks: int = 10
    noise: float = 0.5
    access: str = "full"
    buffer: int = 5000

    def __post_init__(self):
        notation.within(self, chunks="[1, inf)", noise="[0, 1]", access=("full", "limited", "collapsed"))

    def phases(self, items: Tensor, labels: Tensor, classes: int, epochs: int, stream: Stream) -> list[Phase]:
        """As many phases as chunks, equally large up to one item. Raises ValueError for fewer items than chunks."""
        if len(items) < self.chunks:
            raise ValueError(f"{len(items)} items can't be divided into {self.chunks} chunks")
        parts = items[torch.randperm(len(items), generator=stream("chunks"))].tensor_split(self.chunks)
        result = []
        for number, newest in enumerate(parts):
            earlier = torch.cat([items[:0], *parts[:number]])
            kept = self._keep(earlier, labels, stream(f"buffer/{number}"))
            share = self.noise * (1 - number / max(1, self.chunks - 1))
            chosen = torch.cat([kept, newest])
            result.append(Phase(chosen, wrong(labels, chosen, share, classes, stream(f"noise/{number}")), epochs))
        return result

    def _keep(self, earlier: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        if self.access == "full":
            return earlier
        if self.access == "collapsed":
            return earlier[labels[earlier].argsort(stable=True)][: self.buffer]
        return earlier[torch.randperm(len(earlier), generator=generator)[: self.buffer]]


@dataclass(frozen=True)
class Online:
    """Reinforcement learning: act, store, update (H&T 5.3). An epoch is a number of updates, gradient steps.

    steps: environment steps; replay: updates after each of them, once the agent's random ones are over; epoch: updates
    of an epoch; reset: updates of a phase, at whose start the optimiser is new and methods may reset weights, 0 for one
    phase; tests: games played at the end.
    """

    steps: int = 100_000
    replay: int = 1
    epoch: int = 4000
    reset: int = 0
    tests: int = 100

    def __post_init__(self):
        notation.within(self, steps="[1, inf)", replay="[1, inf)", epoch="[1, inf)", tests="[1, inf)")
        if self.reset % self.epoch:
            raise ValueError(f"Online: reset={self.reset} is no multiple of epoch={self.epoch}, or 0 for one phase")

    def updates(self, warmup: int) -> int:
        """How many there are after so many random steps."""
        return max(0, self.steps - warmup) * self.replay

    def phases(self, warmup: int) -> list[int]:
        """The updates of each phase. ValueError for a reset that never comes, or in the last moment."""
        updates = self.updates(warmup)
        if not self.reset:
            return [updates]
        if self.reset >= updates:
            raise ValueError(f"Online: reset={self.reset} never comes in {updates} updates; 0 is for one phase")
        whole, rest = divmod(updates, self.reset)
        if 0 < rest < self.reset / 2:
            few = f"leaves {rest} updates to the last of {whole + 1} phases, less than half a phase"
            raise ValueError(f"Online: reset={self.reset} of {updates} updates {few}; change reset or steps")
        return [self.reset] * whole + ([rest] if rest else [])


def wrong(labels: Tensor, items: Tensor, share: float, classes: int, generator: torch.Generator) -> Tensor:
    """A copy of ``labels`` [n]: round(share x k) of the k ``items``, at random, have a uniformly drawn other class."""
    chosen = items[torch.randperm(len(items), generator=generator)[: round(share * len(items))]]
    result = labels.clone()
    if len(chosen) and classes > 1:
        result[chosen] = (labels[chosen] + torch.randint(1, classes, (len(chosen),), generator=generator)) % classes
    return result


SCENARIOS = {"transfer": Transfer, "single": Single, "warm_start": WarmStart, "continual": Continual, "online": Online}


def build(text: str):
    """The scenario that is named, such as ``"warm_start(subset=0.2, noise=0.4)"``. ValueError says what is allowed."""
    return notation.parse(text, SCENARIOS, "scenario")


def canonical(text: str) -> str:
    """The one way to write a scenario."""
    return notation.write(build(text), SCENARIOS)
