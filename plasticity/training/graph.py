"""A training step as one CUDA graph: a GPU that is asked once for all of a step's kernels does not wait for the host.

At batches of 32 the host needs longer to ask for a step's thousand kernels than the GPU to run them. Shapes stay the
same within a phase, so all that a step asks of the device (batch, augmentation, forward and backward pass, clipping,
optimiser) is captured in the phase's first step and replayed in each. What a method does after a step stays outside.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3  # steps before the capture, in which libraries choose their kernels and the optimiser makes its state


class Graph:
    """``update(training, index, table)``, which returns a loss, captured for one phase; the training is left as it was.

    Raises RuntimeError for what can't be captured, such as a penalty that asks for a number.
    """

    def __init__(self, training: Any, update: Callable[..., Tensor], index: Tensor, table: Tensor):
        self.index, self.table = index.clone(), table.clone()  # each step's are copied into these
        self.lr = torch.zeros((), device=index.device)
        before, present, side = _state(training), torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(present)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                update(training, self.index, self.table)
        present.wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        try:
            with _captured(training.optimizer.param_groups, self.lr), torch.cuda.graph(self.graph):
                self.loss = update(training, self.index, self.table)
        except RuntimeError as error:
            raise RuntimeError(f"{training.run} can't be captured as a CUDA graph; use graph=False: {error}") from error
        _take_back(training, before)

    def __call__(self, index: Tensor, table: Tensor, lr: float) -> Tensor:
        """One step on the items ``index`` [batch]; the loss is good until the next."""
        self.lr.fill_(lr)
        self.index.copy_(index)
        self.table.copy_(table)
        self.graph.replay()
        return self.loss


@contextlib.contextmanager
def _captured(groups: list[dict], lr: Tensor) -> Iterator[None]:
    """A learning rate that is a number would stay as it is in the graph; AdamW wants to be told that it is captured."""
    before = [dict(group) for group in groups]
    for group in groups:
        group |= {"lr": lr} | ({"capturable": True} if "capturable" in group else {})
    yield
    for group, old in zip(groups, before, strict=True):
        group |= {name: old[name] for name in ("lr", "capturable") if name in old}


def _state(training: Any) -> tuple[dict, dict, Tensor]:
    """Copies of all that a step changes on the device."""
    memory = {
        parameter: {name: value.clone() for name, value in state.items()}
        for parameter, state in training.optimizer.state.items()
    }
    model = {name: value.clone() for name, value in training.model.state_dict().items()}
    return model, memory, torch.cuda.get_rng_state(training.batches.images.device)


@torch.no_grad()
def _take_back(training: Any, before: tuple[dict, dict, Tensor]) -> None:
    """In place, as the graph knows these tensors alone. What a new optimiser remembers of the warm-up becomes zero."""
    model, memory, random = before
    for name, value in training.model.state_dict().items():
        value.copy_(model[name])
    for parameter, state in training.optimizer.state.items():
        for name, value in state.items():
            value.copy_(memory[parameter][name]) if parameter in memory else value.zero_()
    torch.cuda.set_rng_state(random, training.batches.images.device)
