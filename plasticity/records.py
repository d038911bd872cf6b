"""One JSON a run, written atomically, never rewritten: the only truth about what has been done."""

import hashlib
import json
import os
import platform
import subprocess
from dataclasses import MISSING, asdict, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torchvision

from .config import Run
from .reinit import Case
from .train import Fitted

SCHEMA = 1
DEFAULTS = {field.name: field.default for field in fields(Run) if field.default is not MISSING}


class RecordError(ValueError):
    """A record file that is torn, foreign or from another configuration. Nothing was changed; the file is named."""


def path_of(run: Run, folder: str | Path) -> Path:
    """``folder/<architecture>/<dataset>-<case>-s<seed>-<key>.json``"""
    return Path(folder) / f"{run}.json"


def from_fitted(fitted: Fitted) -> dict:
    """The record of a finished run."""
    return {
        "status": "done",
        "metrics": fitted.metrics,
        "history": fitted.history,
        "resets": fitted.resets,
        "histogram": fitted.histogram,
        "seconds": fitted.seconds,
        "inputs": fitted.inputs,
    }


def failure(message: str, seconds: float) -> dict:
    """The record of a run that failed by itself, such as by a diverging loss; nothing ever counts it as a number."""
    return {"status": "failed", "message": message, "seconds": seconds}


def save(run: Run, body: dict, folder: str | Path) -> Path:
    """Write a record whole or not at all. An existing one stays as it is: FileExistsError."""
    path = path_of(run, folder)
    record = {"schema": SCHEMA, "config": asdict(run), **body, "environment": environment()}
    record["sha256"] = _checksum(record)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w") as file:
            json.dump(record, file)
            file.flush()
            os.fsync(file.fileno())
        os.link(partial, path)  # unlike a rename, a link never replaces a record that another process wrote meanwhile
    finally:
        partial.unlink(missing_ok=True)
    return path


def load(path: str | Path) -> dict:
    """A record as written. Raises RecordError if it is torn, or no record of this project."""
    path = Path(path)
    try:
        record = json.loads(path.read_text())
        whole = record["sha256"] == _checksum({k: v for k, v in record.items() if k != "sha256"})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path} is no whole record ({type(error).__name__}: {error}); move it away to run it again") from None
    if not whole:
        raise RecordError(f"{path} does not match its own checksum: torn or edited; move it away to run it again")
    if record["schema"] != SCHEMA:
        raise RecordError(f"{path} has record schema {record['schema']}, this version reads {SCHEMA}; use the version that wrote it")
    return record


def load_run(run: Run, folder: str | Path) -> dict | None:
    """The record of a run, or None. Raises RecordError if the file found is of another configuration."""
    path = path_of(run, folder)
    if not path.exists():
        return None
    record = load(path)
    record["config"] = DEFAULTS | record["config"]  # a field that came later had its default then
    if record["config"] != asdict(run):
        differ = {k: (record["config"].get(k), v) for k, v in asdict(run).items() if record["config"].get(k) != v}
        raise RecordError(f"{path} is of another configuration; (recorded, wanted): {differ}; move it away to run it again")
    return record


def missing(runs, folder: str | Path) -> list[Run]:
    """The runs that have no record yet, in order. A failed run has one; move it away to try again."""
    return [run for run in runs if load_run(run, folder) is None]


def load_runs(runs, folder: str | Path) -> list[dict]:
    """The records there are of these runs. Raises RecordError if runs that belong together began from other data or weights."""
    records = [record for run in runs if (record := load_run(run, folder)) is not None]
    seen: dict[tuple, tuple] = {}
    for record in records:
        config = record["config"]
        for what, sha256 in record.get("inputs", {}).items():
            key = (what, config["dataset"]) if what == "data" else (what, config["architecture"], config["weights"])
            first = seen.setdefault(key, (sha256, config)) if sha256 else (sha256, config)
            if first[0] != sha256:
                raise RecordError(f"records in {folder} began from different {what} for {key[1:]} ({first[0][:8]}, {sha256[:8]}): "
                                  f"move the older ones away")  # fmt: skip
    return records


def frame(records: list[dict]) -> pd.DataFrame:
    """One row a record: the configuration's fields, status, the metrics (NaN for a failed run) and seconds."""
    rows = []
    for record in records:
        case = record["config"]["case"]
        parts = Case.parse(case) if "+" not in case else Case()
        rows.append(record["config"] | {"method": parts.method, "fraction": parts.fraction, "status": record["status"],
                    "message": record.get("message", ""), "seconds": record["seconds"]}
                    | record.get("metrics", {}))  # fmt: skip
    columns = ["architecture", "dataset", "case", "seed", "status", "accuracy", "best_accuracy", "epochs", "best_epoch", "seconds"]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=columns)


def histories(records: list[dict]) -> pd.DataFrame:
    """One row an epoch of every finished run: architecture, dataset, case, seed, epoch, losses and validation accuracy."""
    names = ("architecture", "dataset", "case", "seed")
    return pd.DataFrame([{name: record["config"][name] for name in names} | row
                         for record in records for row in record.get("history", [])])  # fmt: skip


def histogram(records: list[dict], **config) -> np.ndarray:
    """Counts of all weights between train.HISTOGRAM_EDGES, summed over the finished runs whose config has these values."""
    chosen = [np.array(record["histogram"]) for record in records if record["status"] == "done"
              and all(record["config"][name] == value for name, value in config.items())]  # fmt: skip
    if not chosen:
        raise ValueError(f"no finished run has {config}; run it first")
    return np.sum(chosen, axis=0)


@lru_cache(maxsize=1)
def environment() -> dict:
    """What made a record: commit, versions, machine, threads."""
    here = Path(__file__).resolve().parent

    def git(*arguments):
        result = subprocess.run(["git", "-C", here, *arguments], capture_output=True, text=True, check=False)
        return result.stdout.strip() if result.returncode == 0 else None

    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "machine": machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
    }


def machine() -> str:
    """The processor's name and the number of cores this process may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def _checksum(record: dict) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


