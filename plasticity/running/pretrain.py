"""Pretraining on a source task of the miniature world, once, resumable."""

import json
from dataclasses import asdict
from pathlib import Path

import torch

from .. import data as data_sets
from ..datasets.prepare import ensure
from ..files import atomic, file_sha256
from ..profiles import source_run
from ..rl import games
from ..run import SOURCES, Run
from ..train import fit
from ..training.games import GAME
from ..weights import cached_weights, source_path, weights_file
from .checkpoints import Checkpoint


def require(run: Run, folder: str | Path) -> None:
    """Raise FileNotFoundError or ValueError, saying what to do, if the data or weights that ``fit`` needs are missing
    or damaged."""
    make_ready(folder, run.dataset, run.architecture, run.weights)
    if run.agent:
        return
    data_sets.load(Path(folder), run.dataset)
    if run.weights != "none" and run.intervention().pretrained:
        cached_weights(*weights_file(run.architecture, run.weights, folder))


def make_ready(folder: str | Path, dataset: str, architecture: str, weights: str) -> None:
    """Prepare the data set of a run, and the one that its weights come from, unless they are packed already."""
    if GAME.fullmatch(dataset):
        return games.require(dataset)
    ensure(folder, dataset)
    if source := source_run(architecture, weights):
        ensure(folder, source.dataset)


def pretrain(architecture: str, weights: str, folder: str | Path = "data", device: str = "auto") -> dict:
    """Train an architecture on a source task of the miniature world, unless that is done; returns its log. Resumes if
    killed.

    The log (config, metrics, history, seconds, sha256) lies beside the weights as JSON; both are named by their
    content's key, so that another recipe or another source task never passes for this one.
    """
    source = source_run(architecture, weights)
    if source is None:
        raise ValueError(f"{architecture!r} is not pretrained on {weights!r} here; source tasks: {', '.join(SOURCES)}")
    ensure(folder, source.dataset)
    path = source_path(source, folder)
    log = path.with_suffix(".json")
    running = path.with_suffix(".running")
    if log.is_file() and not running.exists():  # done, perhaps in a folder that can only be read
        return json.loads(log.read_text("utf-8"))
    with Checkpoint(running) as checkpoint:
        if not log.is_file():
            fitted = fit(source, folder, device, checkpoint=checkpoint)
            with atomic(path) as partial, open(partial, "wb") as file:
                torch.save(fitted.model.state_dict(), file)  # to a path, the path's name would go into the file's hash
            entry = {
                "config": asdict(source),
                "metrics": fitted.metrics,
                "history": fitted.history,
                "seconds": fitted.seconds,
                "sha256": file_sha256(path),
            }
            with atomic(log) as partial:
                partial.write_text(json.dumps(entry), "utf-8")
        checkpoint.remove()
    return json.loads(log.read_text("utf-8"))
