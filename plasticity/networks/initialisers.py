"""New values for parameters from the distribution that they began with.

Where the initial state is known, values are picked at random from the tensor's own: that is the network's initialiser,
whichever it was. Else the layer draws them: PyTorch calls it ``reset_parameters``, in attention with an underscore.
"""

import copy
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

INITIALISERS = ("reset_parameters", "_reset_parameters")


def owner(model: nn.Module, name: str) -> nn.Module:
    """The layer that the parameter ``name`` belongs to."""
    return model.get_submodule(name.rpartition(".")[0])


def redraw(module: nn.Module) -> None:
    """Each layer of a module as new, in place, from the global stream: for a head, or all layers of one."""
    for layer in module.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()


def require_drawable(
    model: nn.Module, names: Iterable[str], method: str, initial: Mapping[str, Tensor] | None = None
) -> None:
    """Raise ValueError for a parameter that ``initial`` does not hold; or, without it, that its layer can't draw."""
    if not isinstance(initial, Mapping | None):
        raise ValueError(f"initial={type(initial).__name__} must be a state dict of the network as it was initialised")
    for name in names:
        layer, shape = owner(model, name), model.get_parameter(name).shape
        given = None if initial is None else initial.get(name)
        if initial is None and not any(hasattr(layer, reset) for reset in INITIALISERS):
            why = f"{name!r} belongs to {type(layer).__name__}, which has no reset_parameters()"
            what = "give the network's initial state dict as initial, exclude it or choose another method"
            raise ValueError(f"method {method!r}: {why}; {what}")
        if initial is not None and not (isinstance(given, Tensor) and given.shape == shape and given.isfinite().all()):
            has = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else "none"
            wants = f"method {method!r}: initial must hold finite values of shape {tuple(shape)} for {name!r}"
            raise ValueError(f"{wants}, has {has}: give the state dict of the same network as it was initialised")


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


def sample(values: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` entries [count] of a tensor, each picked at random; how large the tensor is costs nothing."""
    places = torch.randint(values.numel(), (count,), generator=generator, device=generator.device)
    places = places.pin_memory() if values.is_cuda and not places.is_cuda else places  # so that nothing waits
    return values.flatten()[places.to(values.device, non_blocking=True)]


def draw_initial(
    model: nn.Module, name: str, count: int, generator: torch.Generator, initial=None, pick=torch.flatten
) -> Tensor:
    """``count`` new values [count] of a parameter; ``pick`` gives the entries that may be drawn from, flat."""
    if initial is not None:
        return sample(pick(initial[name]), count, generator)
    fresh = pick(draw_whole(model, name, generator))
    return fresh[torch.randperm(len(fresh), generator=generator, device=generator.device)[:count].cpu()]


def initial_mean(model: nn.Module, name: str, generator: torch.Generator, initial=None, pick=torch.flatten) -> float:
    """The mean of the distribution of a parameter: initialisers fill a tensor or draw it symmetrically about zero."""
    values = pick(draw_whole(model, name, generator) if initial is None else initial[name])
    return values[0].item() if bool((values == values[0]).all()) else 0.0
