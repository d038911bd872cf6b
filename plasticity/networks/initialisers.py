"""How a layer draws its own parameters anew: PyTorch calls it ``reset_parameters``, in attention with an underscore."""

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

INITIALISERS = ("reset_parameters", "_reset_parameters")


def owner(model: nn.Module, name: str) -> nn.Module:
    """The layer that the parameter ``name`` belongs to."""
    return model.get_submodule(name.rpartition(".")[0])


def has_initialiser(model: nn.Module, name: str) -> bool:
    """Whether that layer can draw the parameter anew: methods R and RM need that."""
    return any(hasattr(owner(model, name), reset) for reset in INITIALISERS)


def require_initialisers(model: nn.Module, names: Iterable[str], method: str) -> None:
    """Raise ValueError if a method would draw parameters whose layer cannot."""
    for name in names:
        if not has_initialiser(model, name):
            why = f"{name!r} belongs to {type(owner(model, name)).__name__}, which has no reset_parameters()"
            raise ValueError(f"method {method!r}: {why}; exclude it or choose another method")


def draw_whole(model: nn.Module, name: str, generator: torch.Generator) -> Tensor:
    """All values of a parameter as its layer initialises it; neither model nor global stream takes notice.

    Raises ValueError if the layer's initialiser fails or leaves any entry of the parameter as it was.
    """
    layer, leaf = copy.deepcopy(owner(model, name)).float().cpu(), name.rpartition(".")[2]
    reset = next(reset for reset in INITIALISERS if hasattr(layer, reset))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        # Unlike torch.manual_seed, this leaves the streams of other devices alone.
        torch.default_generator.manual_seed(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
        layer.get_parameter(leaf).data.fill_(torch.nan)
        try:
            getattr(layer, reset)()
        except Exception as error:
            raise ValueError(f"{name!r} can't be drawn: {type(layer).__name__}.{reset}() failed: {error}") from error
    fresh = layer.get_parameter(leaf).detach()
    if fresh.isnan().any():
        raise ValueError(f"{name!r} can't be drawn: {type(layer).__name__}.{reset}() does not set it; exclude it")
    return fresh


def draw_initial(model: nn.Module, name: str, count: int, generator: torch.Generator, pick=torch.flatten) -> Tensor:
    """``count`` of these values [count], in random order; ``pick`` gives those that may be drawn from, flat."""
    fresh = pick(draw_whole(model, name, generator))
    return fresh[torch.randperm(len(fresh), generator=generator, device=generator.device)[:count].cpu()]
