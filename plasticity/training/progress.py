"""A run in progress, as `train` goes on with it, and its results."""

import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from . import measures
from .batches import Batches, sum_of_gradients
from .device import random_states
from .scenarios import Phase

MEASURED = 512  # items of a phase on which the plasticity metrics are measured


@dataclass
class Training:
    """A run in progress. ``begin`` makes it; the other pieces change it."""

    run: Any  # a run.Run
    method: Any  # an interventions.Intervention
    model: nn.Module
    network: nn.Module  # the model, compiled where the run says so
    initial: dict[str, Tensor]  # the state as initialised, before weights were loaded
    head: str  # the name of the head's module
    inputs: dict[str, str | None]  # SHA-256 of data and weights
    batches: Batches
    test: Tensor  # item numbers
    watched: Tensor  # the items whose loss is watched
    kind: str  # "validation" or "test": what the watched items are
    chooses: bool  # whether the watched loss stops the run and chooses its best weights
    phases: list[Phase]
    order: torch.Generator  # of the batches
    draws: torch.Generator  # of the augmentation
    started: float
    earlier: float = 0.0  # seconds in processes before this one
    history: list[dict[str, float]] = field(default_factory=list)
    resets: list[dict] = field(default_factory=list)
    number: int = 0  # of the phase, counted from 1
    optimizer: torch.optim.Optimizer | None = None
    graph: Any = None  # a graph.Graph of this phase's steps, if the run asks for one
    labels: Tensor | None = None  # of this phase
    first: int = 1  # epoch of this phase
    step: int = 0  # of this phase
    earlier_steps: int = 0  # of the phases before
    best: dict | None = None  # entry of the history, of this phase
    best_state: dict | None = None
    predictor: nn.Module | None = None

    @property
    def phase(self) -> Phase:
        """The phase in progress."""
        return self.phases[self.number - 1]

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch; the incomplete last batch is left out."""
        return self._steps_of(self.phase)

    def _steps_of(self, phase: Phase) -> int:
        return max(1, len(phase.items) // self.run.batch_size)

    @property
    def shortest(self) -> tuple[int, int]:
        """Steps and epochs of the phase that has least of each."""
        return min(self._steps_of(p) * p.epochs for p in self.phases), min(p.epochs for p in self.phases)

    @property
    def steps(self) -> int:
        """Steps of the phase; early stopping may leave some out."""
        return self.steps_per_epoch * self.phase.epochs

    @property
    def seconds(self) -> float:
        """Spent so far, in this process and earlier ones."""
        return self.earlier + time.perf_counter() - self.started

    def images(self, count: int) -> Tensor:
        """At most ``count`` of the phase's items as the network sees them, without augmentation: [count, 3, h, w]."""
        return self.batches(self.phase.items[:count].to(self.batches.images.device))[0]

    def gradients(self) -> dict[str, Tensor]:
        """The loss gradient summed over the phase's items, by parameter name."""
        run = self.run
        return sum_of_gradients(self.model, self.batches, self.phase.items, run.batch_size, run.precision, self.labels)

    def plasticity(self, epoch: int) -> dict[str, float]:
        """`measures.measure` of the trained network as it is now, if the run asks for it in this epoch."""
        done, run = epoch - self.first + 1, self.run
        if not run.measure or done % run.measure and done != self.phase.epochs:
            return {}
        labels = self.labels[self.phase.items[:MEASURED].to(self.labels.device)]
        return measures.measure(self.model, self.images(MEASURED), labels, self.initial, self.head)

    def state(self) -> dict:
        """All that ``resume`` needs; tensors are live, not copies."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "method": self.method.state_dict(),
            "phase": self.number,
            "random": random_states(self.order, self.draws, self.batches.images.device),
            "history": self.history,
            "best_epoch": self.best["epoch"],
            "best_state": self.best_state,
            "seconds": self.seconds,
        }


class Checkpoint(Protocol):
    """Where the state of a run in progress goes, and where an interrupted run is taken up."""

    resumed: list[int]  # epochs after which the run was taken up again

    def load(self, inputs: dict) -> dict | None:
        """The newest state of a run that began from these inputs, or None."""

    def due(self) -> bool:
        """Whether a state should be saved now."""

    def save(self, epoch: int, state: dict) -> None:
        """Keep the state after ``epoch``."""


@dataclass
class Fitted:
    """The results of a run. ``model`` has the last weights, ``best_model`` those of the lowest loss on what
    ``run.monitor`` names."""

    run: Any  # a run.Run
    model: nn.Module
    best_model: nn.Module
    metrics: dict[str, float]
    history: list[dict[str, float]]
    resets: list[dict]  # rows of the intervention, for reinit one per tensor: name, kind, size, reset
    histogram: list[int]  # counts of all parameters of the last weights between measures.HISTOGRAM_EDGES
    seconds: float  # in all the processes that worked at it
    inputs: dict[str, str | None] = field(default_factory=dict)  # SHA-256 of the data and the weights it began from
    resumed: list[int] = field(default_factory=list)  # epochs after which it was taken up again
