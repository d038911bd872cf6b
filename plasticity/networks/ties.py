"""Parameters that share memory: one object in two places, or a view, as where a decoder's weight is an encoder's
transposed (``decoder.weight = nn.Parameter(encoder.weight.T)``), which ``named_parameters`` takes for another one.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def distinct(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors by name, each memory once, under the first name that covers it.

    Raises ValueError that names two which overlap in part, so that none can stand for both.
    """
    found, storages = {}, defaultdict(list)
    for name, tensor in named:
        known = storages[_storage(tensor)]
        inside = False
        for other in known:
            shared = 1.0 if found[other] is tensor else _share(tensor, found[other])
            if 0 < shared < 1:
                raise ValueError(f"parameters {other!r} and {name!r} share a part of their memory; make them apart")
            inside = inside or shared == 1
        if not inside:
            found[name] = tensor
            known.append(name)
    return found


def tied(model: nn.Module) -> set[int]:
    """The identities of the parameters whose memory, or some of it, is a parameter in more than one place."""
    storages, found = defaultdict(list), set()
    for module in model.modules():
        for parameter in filter(lambda p: p is not None, module._parameters.values()):
            known = storages[_storage(parameter)]
            for other in known:
                if other is parameter or _share(parameter, other):
                    found |= {id(other), id(parameter)}
            known.append(parameter)
    return found


def _storage(tensor: Tensor) -> tuple:
    """What tensors that may share memory have in common."""
    if tensor.layout is not torch.strided or tensor.is_meta or not tensor.numel():
        return ("alone", id(tensor))
    return (tensor.device, tensor.untyped_storage().data_ptr())


def _share(tensor: Tensor, other: Tensor) -> float:
    """The share of a tensor's entries that lie in the memory of another one of the same storage."""
    (low, high), (start, end) = _span(tensor), _span(other)
    if high <= start or end <= low:  # as for the weights of an LSTM, which are laid out in one storage
        return 0.0
    return torch.isin(_places(tensor), _places(other)).double().mean().item()


def _span(tensor: Tensor) -> tuple[int, int]:
    first = tensor.storage_offset()
    return first, first + 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))


def _places(tensor: Tensor) -> Tensor:
    """Where the entries lie within the storage, [numel]."""
    return (
        torch.arange(_span(tensor)[1], device="cpu")
        .as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())
        .flatten()
    )
