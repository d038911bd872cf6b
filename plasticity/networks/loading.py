"""State dicts from local files, checked and never unpickled as code, into a network, all but its head."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ..files import file_sha256


def read_weights(path: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """A state dict from a local file: hash first, then loaded without ever running code from it.

    Raises FileNotFoundError if it is missing; ValueError if its SHA-256 does not begin with ``sha256``, or if it holds
    anything but a plain dict of tensors.
    """
    path = Path(path)
    if not path.is_file():
        hint = f" (SHA-256 {sha256}...)" if sha256 else ""
        raise FileNotFoundError(f"weights file {path} is missing; put it there{hint}")
    if sha256 and not (found := file_sha256(path)).startswith(sha256):
        raise ValueError(f"weights file {path} has SHA-256 {found}, expected {sha256}: damaged, or another file")
    try:
        safe = path.suffix == ".safetensors"
        state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises almost anything: IndexError, KeyError, struct.error, ...
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"weights file {path} is not a plain state dict of tensors: {reason}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"weights file {path} is not a plain state dict of tensors: found {type(state).__name__}")
    return state


def load_backbone(model: nn.Module, state: dict[str, Tensor], head: str) -> None:
    """Copy all but the head from ``state`` into ``model``, in place; the head stays as initialised.

    Names may differ (other releases number or name their layers otherwise), but order and shapes must agree, every one.
    Raises ValueError naming the first tensor that does not fit.
    """
    own = model.state_dict()
    mine = {name: value for name, value in own.items() if not name.startswith(head + ".")}
    theirs = [(name, value) for name, value in state.items() if not name.startswith(head + ".")]
    if len(theirs) == len(own):  # their head has another name: it is where the model's is
        theirs = [item for item, name in zip(theirs, own, strict=True) if name in mine]
    if set(mine) == {name for name, _ in theirs}:  # then the names decide, not the order
        theirs = [(name, state[name]) for name in mine]
    if len(mine) != len(theirs):
        raise ValueError(
            f"the weights hold {len(theirs)} tensors besides the head {head!r}, the model {len(mine)}: another network"
        )
    for (name, target), (other, value) in zip(mine.items(), theirs, strict=True):
        if target.shape != value.shape:
            raise ValueError(
                f"weights {other!r} have shape {tuple(value.shape)}, the model's {name!r} {tuple(target.shape)}"
            )
    with torch.no_grad():
        for target, (_, value) in zip(mine.values(), theirs, strict=True):
            target.copy_(value)
