"""Run many: in this process or in local worker processes, one torch thread each. The records on disk are the only truth."""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from . import data as data_sets
from . import models, records, train
from .config import SOURCES, Profile, Run


@dataclass(frozen=True)
class Place:
    """Where runs read and write, and what does them.

    data: packed data sets and weights; results: everything a profile makes (``results/<profile>``); workers: processes;
    device: "auto", "cpu" or "cuda". Relative folders count from the project's root, also for a kernel in ``notebooks/``.
    """

    data: str
    results: str
    workers: int = 2
    device: str = "auto"

    def __post_init__(self):
        if not isinstance(self.workers, int) or self.workers < 1:
            raise ValueError(f"workers={self.workers!r} must be an integer of at least 1")
        train.pick_device(self.device)
        root = Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()
        object.__setattr__(self, "data", str(root / self.data))
        object.__setattr__(self, "results", str(root / self.results))
        writable(self.results)

    @property
    def runs(self) -> Path:
        """The folder of the records."""
        return Path(self.results) / "runs"


def writable(folder: str | Path) -> Path:
    """Make the folder if need be. Raises PermissionError, naming it, before anything is spent, if it can't be written."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PermissionError(f"results folder {folder} cannot be written ({error.strerror}); choose another with results=") from None
    return folder


def plan(runs, place: Place, seconds_a_run: float | None = None) -> pd.DataFrame:
    """What there is to do, before anything is spent: runs, recorded, to do and estimated minutes, by architecture x data set.

    The estimate takes the mean seconds of recorded runs of the same architecture, else ``seconds_a_run``, else is NaN.
    """
    rows = []
    for run in runs:
        record = records.load_run(run, place.runs)
        rows.append({"architecture": run.architecture, "dataset": run.dataset, "recorded": record is not None,
                     "failed": bool(record) and record["status"] == "failed",
                     "seconds": record["seconds"] if record else None})  # fmt: skip
    table = pd.DataFrame(rows)
    known = table.groupby("architecture")["seconds"].mean().astype(float).fillna(seconds_a_run or float("nan"))
    grouped = table.groupby(["architecture", "dataset"], sort=False)
    result = grouped.agg(runs=("recorded", "size"), recorded=("recorded", "sum"), failed=("failed", "sum"))
    result["to_do"] = result["runs"] - result["recorded"]
    seconds = result["to_do"] * result.index.get_level_values("architecture").map(known)
    result["minutes"] = (seconds / 60 / place.workers).where(result["to_do"] > 0, 0.0).round(1)
    return result.reset_index()


def inventory(profile: Profile, place: Place) -> pd.DataFrame:
    """Which data sets and pretrained weights a profile needs, and whether they are there: kind, name, there."""
    rows = [("data set", name, (Path(place.data) / name / "manifest.json").is_file()) for name in profile.all_datasets]
    for name in profile.architectures:
        generated = not all(there for _, _, there in rows) and profile.weights in SOURCES
        rows.append(("weights", name, not generated and train.has_weights(name, profile.weights, place.data)))
    return pd.DataFrame(rows, columns=["kind", "name", "there"])


def prepare(profile: Profile, place: Place) -> pd.DataFrame:
    """Make or find the profile's data sets and pretrained weights; returns what the weights are, a row an architecture.

    Raises FileNotFoundError, saying what to put where, for real data or weights that are missing and can't be downloaded.
    """
    for name in profile.all_datasets:
        data_sets.prepare(place.data, name, complete=profile.complete)
    if profile.weights not in SOURCES:
        files = [train.fetch_weights(name, profile.weights, place.data) for name in profile.architectures]
        return pd.DataFrame({"architecture": profile.architectures, "weights": [file.name for file in files],
                             "sha256": [models.file_sha256(file) for file in files]})  # fmt: skip
    jobs = {name: (name, profile.weights, place.data, place.device) for name in reversed(profile.architectures)}  # slowest first
    done = dict(in_processes(train.pretrain, jobs, place.workers, place.device))
    return pd.DataFrame([{"architecture": name, "pretraining": profile.weights, "epochs": done[name]["metrics"]["epochs"],
                          "held-out accuracy": done[name]["metrics"]["accuracy"], "seconds": round(done[name]["seconds"], 1)}
                         for name in profile.architectures])  # fmt: skip


def duplicates(profile: Profile, place: Place) -> pd.DataFrame:
    """Groups of equal and of nearly equal images in the profile's real data sets, from their manifests; empty for offline ones.

    ``equal``, ``near``: groups; ``images``: how many images are in near groups; ``across test``: near groups on both sides.
    """
    rows = []
    for name in [name for name in profile.datasets if name in data_sets.real.VARIANTS]:
        facts = data_sets.manifest(Path(place.data) / name)
        equal, near = facts["duplicates"]["exact"], facts["duplicates"]["near"]
        rows.append({"dataset": name, "of": facts["shape"][0], "published": facts["expected"], "equal": equal["number"],
                     "near": near["number"], "images": near["images"], "across test": near["across_test"]})  # fmt: skip
    return pd.DataFrame(rows)


def run_all(runs, place: Place) -> list[dict]:
    """Do the runs that have no record yet; returns the records of all. What is done stays done if this is interrupted.

    A run that diverges is recorded as failed. Raises RuntimeError at the end, naming the first error, if a run could not
    be recorded at all; the others are.
    """
    todo = records.missing(runs, place.runs)
    progress = Progress(len(todo))
    for _, line in in_processes(perform, {run: (run, place) for run in todo}, place.workers, place.device):
        progress.step(line)
    progress.close()
    return records.load_runs(runs, place.runs)


def in_processes(function, jobs: dict, workers: int, device: str = "cpu"):
    """Yield (key, result) of ``function(*arguments)`` for jobs {key: arguments}, as they finish, from worker processes.

    Where ``device`` names no particular GPU, the workers take the visible ones in turn. One worker means this process. An
    error in a job does not stop the others; RuntimeError names the first at the end.
    """
    errors = []
    if workers == 1 or len(jobs) < 2:
        for key, arguments in jobs.items():
            try:
                yield key, function(*arguments)
            except Exception as error:  # one broken job must not cost the others
                errors.append(f"{key}: {type(error).__name__}: {error}")
    else:
        context, gpus = multiprocessing.get_context("spawn"), visible_gpus() if device in ("auto", "cuda") else []
        with ProcessPoolExecutor(min(workers, len(jobs)), context, _begin, (context.Value("i", 0), gpus)) as pool:
            futures = {pool.submit(function, *arguments): key for key, arguments in jobs.items()}
            for future in as_completed(futures):
                try:
                    yield futures[future], future.result()
                except BrokenProcessPool:
                    raise RuntimeError("a worker process died (out of memory? then fewer workers may do); what is recorded stays: "
                                       "start again to go on") from None  # fmt: skip
                except Exception as error:
                    errors.append(f"{futures[future]}: {type(error).__name__}: {error}")
    if errors:
        raise RuntimeError(f"{len(errors)} of {len(jobs)} could not be done; the first: {errors[0]}")


def perform(run: Run, place: Place) -> str:
    """Do one run and record it; returns a line for the log."""
    started = time.perf_counter()
    try:
        fitted = train.fit(run, place.data, place.device)
        outcome = f"accuracy {fitted.metrics['accuracy']:.3f} after {fitted.metrics['epochs']} epochs"
        body = records.from_fitted(fitted)
    except train.Diverged as error:
        body, outcome = records.failure(str(error), time.perf_counter() - started), "FAILED: diverged"
    except torch.OutOfMemoryError as error:  # no property of the run, so no record: it can be done with more memory
        reason = next(iter(str(error).splitlines()), "")
        raise RuntimeError(f"out of GPU memory with {place.workers} workers ({reason}): lower workers, or choose precision bf16 "
                           f"(profile paper_bf16); batch_size {run.batch_size} is part of the protocol") from None  # fmt: skip
    records.save(run, body, place.runs)
    return f"{run} {outcome}, {time.perf_counter() - started:.1f} s"


def assert_made(place: Place, names: list[str]) -> None:
    """What a notebook's title promised exists and is not empty. Raises AssertionError naming what is not."""
    lacking = [name for name in names if not (path := Path(place.results) / name).is_file() or not path.stat().st_size]
    assert not lacking, f"not made in {place.results}: {', '.join(lacking)}"


def visible_gpus() -> list[str]:
    """The CUDA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named else [str(number) for number in range(torch.cuda.device_count())]


def _begin(counter, gpus: list[str]):
    """A worker's start: one thread, because two processes with a thread each beat one with two for small networks; and
    its own GPU in turn, so that more workers than GPUs share them evenly."""
    torch.set_num_threads(1)
    with counter.get_lock():
        number, counter.value = counter.value, counter.value + 1
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[number % len(gpus)]


class Progress:
    """A bar in a live notebook; one line a finished run, with done/total and the time left, in a headless one."""

    def __init__(self, total: int):
        live = "JPY_SESSION_NAME" in os.environ or sys.stderr.isatty()
        self.bar = tqdm(total=total, unit="run") if live and total else None
        self.total, self.done, self.started = total, 0, time.perf_counter()

    def step(self, line: str):
        """One more run is finished."""
        self.done += 1
        if self.bar:
            self.bar.update()
            return
        left = (time.perf_counter() - self.started) / self.done * (self.total - self.done)
        print(f"{self.done}/{self.total} {line}; {left / 60:.1f} min left", flush=True)

    def close(self):
        """No more runs."""
        if self.bar:
            self.bar.close()
