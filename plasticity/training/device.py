"""The device that a run uses: its choice, its precision, and the state of every random stream."""

import torch
from torch import Tensor


def pick_device(name: str) -> torch.device:
    """ "auto" is the first CUDA device, or the CPU where there is none. Raises ValueError for what is not there."""
    if name not in ("auto", "cpu", "cuda") and not name.startswith("cuda:"):
        raise ValueError(f"device={name!r} is unknown; allowed: 'auto', 'cpu', 'cuda', 'cuda:<number>'")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={name!r}, but PyTorch sees no CUDA device here; use 'cpu' or 'auto'")
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device. From pinned memory a GPU fetches it by itself, and nothing waits."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def set_precision(precision: str) -> None:
    """Whether a GPU may round float32 to TF32 in matrix products and convolutions: only under "tf32".

    PyTorch's own default, and so the released code's on recent GPUs, is TF32 in convolutions alone.
    """
    # The older of PyTorch's two ways to say so: torch.compile still asks by it, and mixing them is an error.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"


def random_states(order: torch.Generator, draws: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """The state of every random stream that training goes on to draw from."""
    states = {"order": order.get_state(), "draws": draws.get_state(), "cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_random_states(
    states: dict[str, Tensor], order: torch.Generator, draws: torch.Generator, device: torch.device
) -> None:
    """Take up the states that ``random_states`` gave."""
    order.set_state(states["order"])
    draws.set_state(states["draws"])
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
