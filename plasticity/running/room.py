"""How many runs a GPU has room for, and what one of them takes of its memory."""

import os
from functools import lru_cache
from pathlib import Path

import torch
from torch import nn

from .. import data as data_sets
from ..datasets.cores import usable_cores
from ..networks import table as networks
from ..run import Run
from ..training.device import pick_device

ON_CPU = 2  # workers
EACH, WITH_MPS = 4, 8  # workers that a GPU gets at most: without MPS their kernels take turns (reference/gpu.md)
CONTEXT = 0.6e9  # bytes of the driver and the libraries in each process: assumed
GAME = 3e9  # bytes of a game's networks and batches: assumed, for BBF
USABLE = 0.9  # of a GPU's memory: the rest is for evaluation, fragments and whoever else is there


def choose_workers(runs, folder: str | Path, device: str) -> int:
    """2 on a CPU; on GPUs as many as fit in their memory, as there are cores, and as pay: 4 a GPU, 8 where MPS runs."""
    if pick_device(device).type == "cpu":
        return ON_CPU
    gpus = [int(device[5:])] if device[5:] else range(torch.cuda.device_count())
    memory = min(torch.cuda.get_device_properties(number).total_memory for number in gpus)
    each = min(int(USABLE * memory / largest(runs, folder)), WITH_MPS if mps() else EACH, usable_cores() // len(gpus))
    return max(1, each) * len(gpus)


def explained(runs, folder: str | Path, device: str) -> str:
    """How many workers these runs get unless told otherwise, and why."""
    count = f"{choose_workers(runs, folder, device)} workers, unless WORKERS says otherwise"
    if pick_device(device).type == "cpu":
        return count
    most = f"the largest run takes an estimated {largest(runs, folder) / 1e9:.1f} GB of a GPU's memory"
    return f"{count}: {most}; MPS is {'' if mps() else 'not '}there"


def largest(runs, folder: str | Path) -> float:
    """What the run takes that takes most: one of each kind is looked at."""
    kinds = {(run.architecture, run.dataset, run.batch_size, run.optimizer): run for run in runs}
    return max((taken(run, folder) for run in kinds.values()), default=CONTEXT)


def taken(run: Run, folder: str | Path) -> float:
    """Bytes of a GPU's memory that a run takes, estimated: the process, images, weights, and what autograd keeps."""
    if run.agent:
        return CONTEXT + GAME
    path = Path(folder) / run.dataset
    pixels, images = networks.architecture(run.architecture).image_size, 0
    if data_sets.is_packed(path):
        items, pixels, *_ = data_sets.manifest(path)["shape"]
        images = 3 * items * pixels**2
    about = size(run.architecture, pixels, 1000, run.batch_size)
    copies = 6 if run.optimizer == "adamw" else 5  # weights, gradients, moments, the best epoch's, a method's own
    augmented = 10 * 4 * 3 * run.batch_size * pixels**2  # copies of the batch
    return CONTEXT + images + 4 * copies * about["parameters"] + about["kept"] + augmented


@lru_cache
def size(architecture: str, pixels: int, classes: int, batch_size: int) -> dict[str, int]:
    """`counted` of an architecture, once."""
    return counted(networks.build(architecture, classes, seed=0), pixels, batch_size)


def counted(model: nn.Module, pixels: int, batch_size: int) -> dict[str, int]:
    """Without computing it: the parameters of a network, and the bytes that autograd keeps of a batch in float32."""
    model, kept = model.to("meta").train(), {}

    def keep(tensor):
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(torch.empty(batch_size, 3, pixels, pixels, device="meta"))
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": parameters, "kept": sum(kept.values()) - 4 * parameters}


def mps() -> bool:
    """Whether NVIDIA's Multi-Process Service is there: then kernels of several processes run at the same time."""
    return (Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps")) / "control").exists()
