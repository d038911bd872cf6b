"""Run many, in local worker processes or on a Dask cluster. The records on disk are the only truth about what is done."""

import contextlib
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from . import data as data_sets
from . import identity, models, records, sensitivity, status, train
from .checkpoints import Checkpoint
from .config import SOURCES, Profile, Run
from .place import Place, data_folder, marked, origin
from .progress import Progress
from .studies import grid
from .workers import Busy, Here, Processes, Raised, Unready, carry_out


def plan(runs, place: Place, seconds_a_run: float | None = None) -> pd.DataFrame:
    """What there is to do, before anything is spent: runs, recorded, to do and estimated minutes, by architecture x data set.

    The estimate takes the mean seconds of recorded runs of the same architecture, else ``seconds_a_run``, else is NaN.
    """
    rows = []
    for run in runs:
        record = records.load_whole(run, place.runs)
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


def prepare(profile: Profile, place: Place, architectures=()) -> pd.DataFrame:
    """Make or find the profile's data sets and pretrained weights; returns what the weights are, a row an architecture.

    ``architectures``: of these only, by name; else of all that the profile has.

    Raises FileNotFoundError, saying what to put where, for real data or weights that are missing and can't be downloaded.
    """
    status.remember(place.results, profile.name, profile.repeats, profile.reading, grid(profile))
    names = [name for name in profile.architectures if not architectures or name in architectures]
    for name in profile.all_datasets:
        data_sets.prepare(place.data, name, complete=profile.complete)
    if profile.weights not in SOURCES:
        files = [train.fetch_weights(name, profile.weights, place.data) for name in names]
        return pd.DataFrame({"architecture": names, "weights": [file.name for file in files],
                             "sha256": [models.file_sha256(file) for file in files]})  # fmt: skip
    jobs = {name: (name, profile.weights, place.data, place.device) for name in reversed(names)}  # slowest first
    with pool(replace(place, engine="local"), jobs) as workers:
        done = dict(carry_out(train.pretrain, jobs, workers))
    if lacking := {name: outcome.message for name, outcome in done.items() if isinstance(outcome, Raised)}:
        raise RuntimeError(f"pretraining did not succeed: {lacking}")
    return pd.DataFrame([{"architecture": name, "pretraining": profile.weights, "epochs": done[name]["metrics"]["epochs"],
                          "held-out accuracy": done[name]["metrics"]["accuracy"], "seconds": round(done[name]["seconds"], 1)}
                         for name in names])  # fmt: skip


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


def run_all(runs, place: Place, retries: int = 0, failed: bool = False, known=()) -> list[dict]:
    """Do the runs that have no record yet; returns the records of all. What is done stays done, however this ends.

    Runs in progress go on from their last epoch. Files in a record's place that are none are set aside and named. A run that
    raises is tried again ``retries`` times, then recorded as failed with its traceback; workers that die under it cost it
    nothing but the current epoch. ``failed``: runs recorded as failed are set aside and tried again. Several processes may call
    this for the same folder at once: they share the runs. ``known``: other runs that belong in the folder, besides those of
    a sensitivity study of these.

    Raises RecordError if the folder has records of another protocol in these runs' place, OSError as soon as the disk is full,
    and at the end RuntimeError, naming the first, for runs that this place could not do, such as for missing weights.
    """
    runs = list(runs)
    records.refuse_other_protocols(runs, place.runs, {*known, *sensitivity.around(runs)})
    for line in records.clear_the_way(runs, place.runs, failed):
        print(line, flush=True)
    tidy(runs, place)
    todo = in_turn(records.missing(runs, place.runs))
    if todo:
        perform_all(todo, place, retries)
    return records.load_runs(runs, place.runs)


def recorded(runs, place: Place, command: str) -> list[dict]:
    """The records of all these runs, none of which is done here. Raises FileNotFoundError that says how many are missing, where, and
    the ``command`` that makes them; RecordError as ``records.load_runs`` does."""
    runs = list(runs)
    if missing := records.missing(runs, place.runs):
        lacking = ", ".join(f"{sum(run.architecture == name for run in missing)} of {name}" for name in dict.fromkeys(
            run.architecture for run in missing))  # fmt: skip
        there = f"only {len(runs) - len(missing)}" if len(missing) < len(runs) else "none"
        raise FileNotFoundError(f"{place.runs} has {there} of {len(runs)} records; missing are {lacking}, such as {missing[0]}: "
                                f"`{command}` makes them")  # fmt: skip
    return records.load_runs(runs, place.runs)


def perform_all(todo: list[Run], place: Place, retries: int):
    """Do and record these runs, showing how it goes."""
    progress, not_done = Progress({run: (run.architecture, run.dataset) for run in todo}), []
    with marked(place) as place, pool(place, todo) as workers:
        try:
            for run, outcome in carry_out(perform, {run: (run, place) for run in todo}, workers, retries, progress.say):
                if isinstance(outcome, Raised) and outcome.kind == "job":
                    with contextlib.suppress(FileExistsError):
                        records.save(run, records.failure(outcome.message, outcome.seconds, outcome.traceback), place.runs)
                    tidy([run], place)
                    outcome = Done(f"{run} FAILED: {outcome.message}", outcome.seconds)
                elif isinstance(outcome, Raised):
                    not_done.append(f"{run}: {outcome.message}")
                    progress.say(f"{run} not done: {outcome.message}")
                    continue
                elif outcome.record:
                    records.adopt(run, outcome.record, place.runs)
                progress.step(run, outcome.line, outcome.seconds, workers.at_once)
        except KeyboardInterrupt:
            progress.say(f"interrupted: {progress.done} of {len(todo)} done and recorded; start again to go on")
            raise
        finally:
            progress.close()
    if not_done:
        raise RuntimeError(f"{len(not_done)} of {len(todo)} could not be done; the first: {not_done[0]}")


@dataclass(frozen=True)
class Done:
    """A run that was done: a line for the log, its seconds (None: another process did it), and the text of its record where
    the worker has another results folder than who asked."""

    line: str
    seconds: float | None
    record: str | None = None


def tidy(runs, place: Place) -> None:
    """Remove what is left of the states of recorded runs, as by a kill between the record and the removal."""
    for run in runs:
        if (checkpoint := place.checkpoint(run)).folder.exists() and records.is_recorded(run, place.runs):
            with contextlib.suppress(Busy), checkpoint:
                checkpoint.remove()


def in_turn(runs: list[Run]) -> list[Run]:
    """One run of each architecture and data set in turn: all of them are heard of early, and the time left can be told."""
    groups: dict[tuple, deque] = {}
    for run in runs:
        groups.setdefault((run.architecture, run.dataset), deque()).append(run)
    # A large group takes its turns as often as its share, so that all end together.
    places = [((i + 0.5) / len(group), run) for group in groups.values() for i, run in enumerate(group)]
    return [run for _, run in sorted(places, key=lambda item: item[0])]


def pool(place: Place, runs=()):
    """What does the work: this process, local ones, or a cluster whose workers must agree with this process about ``runs``."""
    if place.engine == "local":
        return Here() if place.workers == 1 or len(runs) == 1 else Processes(place.workers, place.device)
    from .cluster import Cluster  # its library is needed only here

    inputs = sorted({(run.dataset, run.architecture, run.weights) for run in runs})
    return Cluster(place.engine, origin, (place, inputs))


def perform(run: Run, place: Place) -> Done:
    """Do one run, or go on with it, and record it.

    Raises `Busy` if another process is at it, `Unready` for data or weights that are missing or damaged, MemoryError if the
    GPU's is too small, OSError if the disk is full.
    """
    started, folder = time.perf_counter(), data_folder(place)
    shared = not place.token or (Path(place.results) / place.token).exists()
    try:
        train.pick_device(place.device)
        if not shared:
            place = replace(place, results=str(folder / "elsewhere" / identity.source()), token="")
        train.require(run, folder)
    except (OSError, ValueError) as error:
        raise Unready(str(error)) from error
    with place.checkpoint(run) as checkpoint:
        known = records.is_recorded(run, place.runs)
        if not known:
            records.save(run, body := _body(run, place, checkpoint), place.runs)
        checkpoint.remove()
    if known:
        line, seconds = f"{run} recorded by another process", None
    else:
        seconds = time.perf_counter() - started
        line = f"{run} accuracy {body['metrics']['accuracy']:.3f} after {body['metrics']['epochs']} epochs, {seconds:.1f} s"
    return Done(line, seconds, None if shared else records.path_of(run, place.runs).read_text())


def _body(run: Run, place: Place, checkpoint: Checkpoint) -> dict:
    try:
        return records.from_fitted(train.fit(run, data_folder(place), place.device, checkpoint=checkpoint))
    except torch.OutOfMemoryError as error:  # no property of the run, so no record: it can be done with more memory
        reason = next(iter(str(error).splitlines()), "")
        raise MemoryError(f"out of GPU memory with {place.workers} workers ({reason}): lower workers, or choose precision bf16 "
                          f"(profile paper_bf16); batch_size {run.batch_size} is part of the protocol") from None  # fmt: skip


def assert_made(place: Place, names: list[str]) -> None:
    """What a notebook's title promised exists and is not empty. Raises AssertionError naming what is not."""
    lacking = [name for name in names if not (path := Path(place.results) / name).is_file() or not path.stat().st_size]
    assert not lacking, f"not made in {place.results}: {', '.join(lacking)}"
