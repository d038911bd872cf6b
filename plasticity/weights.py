"""Pretrained weights: found, checked by their hash, loaded strictly, never unpickled as code."""

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from . import data as data_sets
from .files import NotDownloaded, atomic, installed, retrieve
from .networks import hub
from .networks import table as networks
from .networks.loading import read_weights
from .profiles import source_run
from .run import Run


def weights_file(architecture: str, weights: str, folder: str | Path) -> tuple[Path, str | None]:
    """Path and expected SHA-256 of an architecture's pretrained weights under ``folder/weights``.

    Raises FileNotFoundError, saying what to do, where pretraining has not been done yet; ValueError if there are none.
    """
    folder = Path(folder) / "weights"
    if weights == "random":
        return folder / f"{architecture}-random.pth", None
    if source := source_run(architecture, weights):
        path = source_path(source, folder.parent)
        if not path.with_suffix(".json").is_file():
            raise FileNotFoundError(f"{path} is missing: run notebook 00_data_prep first, or `plasticity run`")
        return path, json.loads(path.with_suffix(".json").read_text("utf-8"))["sha256"]
    arch = networks.architecture(architecture)
    if arch.weights_file is None:
        raise ValueError(f"there are no {weights!r} weights of {architecture!r}; choose other weights or architecture")
    if arch.package:
        return installed(f"{arch.package}/{arch.weights_file}"), arch.sha256
    path = folder / arch.weights_file
    pickled = path.with_suffix(".pth")  # will do where timm's .safetensors are expected
    return (pickled if not path.is_file() and pickled.is_file() else path), arch.sha256


def fetch_weights(architecture: str, weights: str, folder: str | Path) -> Path:
    """The file of an architecture's weights, downloaded into ``folder/weights`` if it is not there; verified.

    "random" weights, for rehearsals, are written there in the format of the others: a state dict with 1000 classes.
    Raises FileNotFoundError, saying what to put where, without a network; ValueError for another hash.
    """
    path, sha256 = weights_file(architecture, weights, folder)
    if path.is_file():
        pass
    elif weights == "random":
        with atomic(path) as partial:
            torch.save(networks.build(architecture, 1000, seed=0).state_dict(), partial)
    elif architecture.startswith(networks.TIMM):
        hub.fetch(architecture.removeprefix(networks.TIMM), path)
    else:
        _download(networks.architecture(architecture).url, path, sha256)
    read_weights(path, sha256)
    return path


def _download(url: str, path: Path, sha256: str) -> None:
    try:
        retrieve(url, path, sha256)
    except NotDownloaded as error:
        begins = "" if len(sha256) == 64 else "..."
        raise FileNotFoundError(
            f"weights {path} are missing: put the file {path.name} there (sha256 {sha256}{begins}, from {url}). "
            f"It was not downloaded from here: {error}"
        ) from None


def source_path(source: Run, folder: str | Path) -> Path:
    """Where the weights of a pretraining run lie, named by its recipe and by the content of its data set."""
    content = data_sets.load(Path(folder), source.dataset).sha256
    key = hashlib.sha256((source.key + content).encode()).hexdigest()[:8]
    return Path(folder) / "weights" / f"{source.architecture}-{source.dataset}-{key}.pt"


@lru_cache(maxsize=4)
def cached_weights(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """`read_weights`, kept in memory for the next run; not to be written to."""
    return read_weights(path, sha256)
