"""The device that a run uses: its choice, its precision, and the state of every random stream."""

import re
import warnings
from functools import cache

import torch
from torch import Tensor


def pick_device(name: str) -> torch.device:
    """ "auto" is the first CUDA device, or the CPU where there is none. Raises ValueError for what is not there.

    Warns where "auto" takes the CPU though there is a GPU, whose driver is too old.
    """
    if name not in ("auto", "cpu", "cuda") and not name.startswith("cuda:"):
        raise ValueError(f"device={name!r} is unknown; allowed: 'auto', 'cpu', 'cuda', 'cuda:<number>'")
    if torch.cuda.is_available():
        return torch.device("cuda" if name == "auto" else name)
    if name.startswith("cuda"):
        raise ValueError(f"device={name!r}, but PyTorch can use no CUDA device here: {why_no_gpu()}; use 'cpu'")
    if name == "auto" and "driver is too old" in why_no_gpu():
        warnings.warn(f"training on the CPU, not on the GPU: {why_no_gpu()}", stacklevel=2)
    return torch.device("cpu")


@cache
def why_no_gpu() -> str:
    """Why PyTorch can use no GPU here, in one line that says what to do about it, if anything."""
    if not torch.version.cuda:
        return "this torch is built without CUDA"
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        said = str(error)
        if knows := re.search(r"driver on your system is too old \(found version (\d+)", said):
            version = f"{int(knows[1]) // 1000}.{int(knows[1]) % 1000 // 10}"
            todo = f"update it, or install a torch for CUDA {version}"
            return f"its driver is too old, of CUDA {version}, and this torch wants {torch.version.cuda}: {todo}"
        return said.partition(". ")[0]
    return "CUDA finds no device"


def require_able(device: torch.device, precision: str) -> None:
    """Raise ValueError for a card that this PyTorch has no kernels for, or one without bf16 where it is asked for.

    bf16 that is emulated is slower than float32. Without TF32 "tf32" gives full float32, as the released code does on
    such a card: one warning.
    """
    if device.type != "cuda":
        return
    major, minor = torch.cuda.get_device_capability(device)
    card = f"{torch.cuda.get_device_name(device)} (compute capability {major}.{minor})"
    known = torch.cuda.get_arch_list()
    if known and not any(_runs(arch, 10 * major + minor) for arch in known):
        todo = "install one for its CUDA version, or use device='cpu'"
        raise ValueError(f"{card}: torch {torch.__version__} has no kernels for it, only {', '.join(known)}; {todo}")
    if major < 8 and precision == "bf16":
        raise ValueError(f"precision='bf16', but {card} has no bf16; use precision='fp32' (profile paper)")
    if major < 8 and precision == "tf32":
        warnings.warn(f"precision='tf32', but {card} has no TF32: it computes in full float32", stacklevel=2)


def _runs(arch: str, capability: int) -> bool:
    """Binaries run on cards of the same generation that are not older; PTX (compute_) on all that are not older."""
    kind, _, number = arch.partition("_")
    of = int(re.match(r"\d+", number)[0])
    return of <= capability and (kind == "compute" or of // 10 == capability // 10)


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
