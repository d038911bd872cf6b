"""Where runs read and write, and what does them."""

import contextlib
import errno
import os
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from . import data as data_sets
from . import identity, models, train
from .checkpoints import Checkpoint
from .config import Run


@dataclass(frozen=True)
class Place:
    """Where runs read and write, and what does them.

    data: packed data sets and weights; results: everything a profile makes (``results/<profile>``); workers: local processes;
    device: "auto", "cpu" or "cuda"; engine: "local", or a Dask scheduler: its address ("tcp://host:8786"), the path of its
    scheduler file (*.json), or "dask" for the address in the environment variable DASK_SCHEDULER_ADDRESS; token: a file in
    ``results`` by which a worker elsewhere can tell that it sees the same folder. Relative folders count from the project's
    root, also for a kernel in ``notebooks/``.
    """

    data: str
    results: str
    workers: int = 2
    device: str = "auto"
    engine: str = "local"
    token: str = ""

    def __post_init__(self):
        if not isinstance(self.workers, int) or self.workers < 1:
            raise ValueError(f"workers={self.workers!r} must be an integer of at least 1")
        train.pick_device(self.device)
        object.__setattr__(self, "engine", _engine(self.engine))
        root = Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()
        object.__setattr__(self, "data", str(root / self.data))
        object.__setattr__(self, "results", str(root / self.results))
        writable(self.results)

    @property
    def runs(self) -> Path:
        """The folder of the records."""
        return Path(self.results) / "runs"

    def checkpoint(self, run: Run) -> Checkpoint:
        """Where the state of a run in progress is."""
        return Checkpoint(Path(self.results) / "running" / str(run))


def _engine(name: str) -> str:
    if name == "dask":
        if "DASK_SCHEDULER_ADDRESS" not in os.environ:
            raise ValueError("engine='dask' needs the scheduler's address in DASK_SCHEDULER_ADDRESS; or give it as the engine")
        return os.environ["DASK_SCHEDULER_ADDRESS"]
    if name != "local" and "://" not in name and not name.endswith(".json"):
        raise ValueError(f"engine={name!r} is unknown; allowed: 'local', 'dask', a scheduler's address such as "
                         f"'tcp://host:8786', or its scheduler file (*.json)")  # fmt: skip
    return name


def writable(folder: str | Path) -> Path:
    """Make the folder if need be. Raises PermissionError, naming it, before anything is spent, if it can't be written."""
    folder = Path(folder)
    probe = folder / f".writable-{uuid.uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(bytes(4096))  # an empty file finds room on a full disk
    except OSError as error:
        todo = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "choose another with results="
        raise PermissionError(f"results folder {folder} cannot be written ({error.strerror}); {todo}") from None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return folder


@contextlib.contextmanager
def marked(place: Place):
    """The place, for a cluster with a file in its results by which workers see whether they share the folder."""
    if place.engine == "local":
        yield place
        return
    token = Path(place.results) / f".shared-{uuid.uuid4().hex}"
    token.touch()
    try:
        yield replace(place, token=token.name)
    finally:
        token.unlink(missing_ok=True)


def origin(place: Place, inputs: list[tuple[str, str, str]]) -> dict[str, str]:
    """What must be the same wherever the runs of one grid are done: the source, PyTorch, the data and the weights."""
    folder = data_folder(place)
    facts = {"plasticity source": identity.source(), "torch": str(torch.__version__)}
    for dataset, architecture, weights in inputs:
        facts[f"data {dataset}"] = data_sets.load(folder, dataset).sha256
        if weights == "none":
            continue
        path, sha256 = train.weights_file(architecture, weights, folder)
        facts[f"weights {path.name}"] = sha256 or models.file_sha256(path)
    return facts


def data_folder(place: Place) -> Path:
    """The place's data folder; on a machine that has it elsewhere, what PLASTICITY_DATA says."""
    return Path(os.environ.get("PLASTICITY_DATA", place.data))
