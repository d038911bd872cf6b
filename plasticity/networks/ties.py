"""Parameters that share memory: one object in two places, or a view, as where a decoder's weight is an encoder's
transposed (``decoder.weight = nn.Parameter(encoder.weight.T)``), which ``named_parameters`` takes for another one.
"""

from collections import defaultdict
from collections.abc import Iterable

from torch import Tensor, nn

from .competitors import entries, extent


def distinct(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors by name, each memory once, under its first name."""
    found = {}
    for name, tensor in named:
        found.setdefault(entries(tensor), (name, tensor))
    return dict(found.values())


def tied(model: nn.Module) -> set[int]:
    """The identities of the parameters whose memory, or a part of it, is a parameter in more than one place."""
    found, known = set(), defaultdict(list)
    own = (parameter for module in model.modules() for parameter in module._parameters.values())
    for parameter in filter(lambda parameter: parameter is not None, own):
        storage, first, last = _span(parameter)
        for other, start, end in known[storage]:
            if start <= last and first <= end:
                found |= {id(other), id(parameter)}
        known[storage].append((parameter, first, last))
    return found


def _span(parameter: Tensor) -> tuple:
    """(storage, first place, last place) of a parameter's entries."""
    place = entries(parameter)
    return (*place[:2], place[1] + extent(parameter) - 1) if isinstance(place, tuple) else (place, 0, 0)
