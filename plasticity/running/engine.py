"""Run many, in local processes or on a Dask cluster. The records on disk are the only truth about what is done."""

import contextlib
import errno
import os
import sys
import time
import uuid
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from .. import data as data_sets
from .. import train
from ..datasets import prepare as prepare_
from ..datasets.root import project_root
from ..files import file_sha256
from ..profiles import Profile, source_run
from ..rl import games, online
from ..run import SOURCES, Run
from ..training.games import GAME
from ..weights import fetch_weights, weights_file
from . import identity, records
from .checkpoints import Busy, Checkpoint, default_seconds
from .device_errors import is_out_of_memory
from .pretrain import make_ready, pretrain, require
from .room import choose_workers
from .workers import InProcess, JobFailed, Processes, Unready, carry_out, first_line


@dataclass(frozen=True)
class Place:
    """Where runs read and write, and what does them.

    data: packed data sets and weights; results: everything a profile makes (``results/<profile>``); workers: local
    processes, 0 for 2 on a CPU and on GPUs for as many as there is room for; device: "auto", "cpu" or "cuda"; engine:
    "local", or a Dask scheduler: its address ("tcp://host:8786"), the path of its scheduler file (*.json), or "dask"
    for the address in the environment variable DASK_SCHEDULER_ADDRESS; token: a file in ``results`` by which a worker
    elsewhere can tell that it sees the same folder; checkpoint_seconds: between two states of a run. Relative folders
    count from the root of the checkout that the working folder is in, as it is for a kernel in ``notebooks/``; outside
    of a checkout, from the working folder.
    """

    data: str
    results: str
    workers: int = 0
    device: str = "auto"
    engine: str = "local"
    token: str = ""
    checkpoint_seconds: float = field(default_factory=default_seconds)

    def __post_init__(self):
        if not isinstance(self.workers, int) or self.workers < 0:
            raise ValueError(f"workers={self.workers!r} must be an integer; 0 stands for as many as there is room for")
        train.pick_device(self.device)
        object.__setattr__(self, "engine", _engine(self.engine))
        root = project_root() or Path.cwd()
        object.__setattr__(self, "data", str(root / self.data))
        object.__setattr__(self, "results", str(root / self.results))
        writable(self.results)

    def at_once(self, runs) -> int:
        """Local processes for these runs."""
        return self.workers or choose_workers(runs, self.data, self.device)

    @property
    def runs(self) -> Path:
        """The folder of the records."""
        return Path(self.results) / "runs"

    def checkpoint(self, run: Run) -> Checkpoint:
        """Where the state of a run in progress is."""
        return Checkpoint(Path(self.results) / "running" / str(run), self.checkpoint_seconds)


def _engine(name: str) -> str:
    if name == "dask":
        if "DASK_SCHEDULER_ADDRESS" not in os.environ:
            raise ValueError("engine='dask' needs the scheduler's address in DASK_SCHEDULER_ADDRESS, or as the engine")
        return os.environ["DASK_SCHEDULER_ADDRESS"]
    if name != "local" and "://" not in name and not name.endswith(".json"):
        allowed = "'local', 'dask', a scheduler's address such as 'tcp://host:8786', or its scheduler file (*.json)"
        raise ValueError(f"engine={name!r} is unknown; allowed: {allowed}")
    return name


def writable(folder: str | Path) -> Path:
    """Make the folder if need be. Raises PermissionError, before anything is spent, if it can't be written."""
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


def fingerprint(place: Place, inputs: tuple[tuple[str, str, str], ...]) -> dict[str, str]:
    """What must be the same wherever the runs of one grid are done: the source, PyTorch, the data and the weights."""
    folder = data_folder(place)
    facts = {"plasticity source": identity.source(), "torch": str(torch.__version__)}
    for dataset, architecture, weights in inputs:
        make_ready(folder, dataset, architecture, weights)
        game = GAME.fullmatch(dataset)
        facts[f"data {dataset}"] = games.input_sha256(dataset) if game else data_sets.load(folder, dataset).sha256
        if weights != "none":
            path, sha256 = weights_file(architecture, weights, folder)
            facts[f"weights {path.name}"] = sha256 or file_sha256(path)
    return facts


def data_folder(place: Place) -> Path:
    """The place's data folder; on a machine that has it elsewhere, what PLASTICITY_DATA says."""
    return Path(os.environ.get("PLASTICITY_DATA", place.data))


class Progress:
    """``kinds``: {run: what tells how long it takes, such as architecture and data set}, for all runs there are to do.

    The time left is the finished runs' mean duration by kind (over all, while a kind has none) for those that are not
    finished, over the runs at a time, of which each is taken to be half-way, now and when the last one ends. It asks no
    wall clock: one that jumps does no harm.
    """

    def __init__(self, kinds: dict):
        live = "JPY_SESSION_NAME" in os.environ or sys.stderr.isatty()
        self.bar = tqdm(total=len(kinds), unit="run") if live and kinds else None
        self.kinds, self.done, self.at_once = kinds, 0, 1
        self.seconds, self.timed, self.open = defaultdict(float), Counter(), Counter(kinds.values())

    def step(self, run, line: str, seconds: float | None, at_once: int) -> None:
        """A run is finished, after ``seconds`` (None: another process did it), while ``at_once`` were in progress."""
        kind = self.kinds[run]
        if seconds is not None:
            self.seconds[kind] += seconds
            self.timed[kind] += 1
        self.open[kind] -= 1
        self.done, self.at_once = self.done + 1, max(1, at_once)
        left = f"{self.left() / 60:.1f} min left"
        if self.bar:
            self.bar.update()
            self.bar.set_postfix_str(left)
        else:
            print(f"{self.done}/{len(self.kinds)} {line}; {left}", flush=True)

    def left(self) -> float:
        """Seconds until all is done, as far as one can tell; NaN before a run has told its duration."""
        if not self.timed:
            return float("nan")
        overall = sum(self.seconds.values()) / sum(self.timed.values())
        mean = {kind: self.seconds[kind] / self.timed[kind] if self.timed[kind] else overall for kind in self.open}
        runs, work = sum(self.open.values()), sum(mean[kind] * count for kind, count in self.open.items())
        if not runs:
            return 0.0
        begun = min(self.at_once - 1, runs)  # the one that has just ended is not among them
        places = min(self.at_once, runs)
        idle = (places - 1) / 2  # runs that would fit in at the end, while the last one goes on
        return work * (1 - begun / 2 / runs + idle / runs) / places

    def say(self, line: str) -> None:
        """A line between the others."""
        if self.bar:
            self.bar.write(line)
        else:
            print(line, flush=True)

    def close(self) -> None:
        """No more runs."""
        if self.bar:
            self.bar.close()


def plan(runs, place: Place, seconds_a_run: float | None = None) -> pd.DataFrame:
    """What there is to do, before anything is spent, by architecture x data set: runs, recorded, to do, minutes.

    The estimate takes the mean seconds of recorded runs of the same architecture, else ``seconds_a_run``, else is NaN.
    """
    rows = []
    for run in runs:
        record = records.load_whole(run, place.runs) or {"status": "missing", "seconds": None}
        facts = {"recorded": record["status"] != "missing", "failed": record["status"] == "failed"}
        rows.append({"architecture": run.architecture, "dataset": run.dataset, "seconds": record["seconds"]} | facts)
    table = pd.DataFrame(rows)
    known = table.groupby("architecture")["seconds"].mean().astype(float).fillna(seconds_a_run or float("nan"))
    grouped = table.groupby(["architecture", "dataset"], sort=False)
    result = grouped.agg(runs=("recorded", "size"), recorded=("recorded", "sum"), failed=("failed", "sum"))
    result["to_do"] = result["runs"] - result["recorded"]
    seconds = result["to_do"] * result.index.get_level_values("architecture").map(known)
    result["minutes"] = (seconds / 60 / place.at_once(runs)).where(result["to_do"] > 0, 0.0).round(1)
    return result.reset_index()


def prepare(profile: Profile, place: Place, architectures=(), meanwhile=()) -> pd.DataFrame:
    """Make or find the profile's data sets and weights; returns what the weights are, one row per architecture.

    ``architectures``: of these only, by name; else of all that it has. ``meanwhile``: runs that need no weights; where
    networks are pretrained here, the processes that would wait for the slowest one do them. Raises FileNotFoundError,
    saying what to put where, for real data or weights that are missing and can't be downloaded.
    """
    names = [name for name in profile.architectures if not architectures or name in architectures]
    for name in profile.all_datasets:
        if GAME.fullmatch(name):
            games.require(name)
        else:
            prepare_.prepare(place.data, name, complete=profile.complete)
    if profile.weights == "none":
        return pd.DataFrame(columns=["architecture", "weights", "sha256"])
    if profile.weights not in SOURCES:
        files = {name: fetch_weights(name, profile.weights, place.data) for name in names}
        rows = [(name, file.name, file_sha256(file)) for name, file in files.items()]
        return pd.DataFrame(rows, columns=["architecture", "weights", "sha256"])
    slowest_first = [source_run(name, profile.weights) for name in reversed(names)]
    jobs = {run: (run.architecture, profile.weights, place.data, place.device) for run in slowest_first}
    todo = missing(meanwhile, place) if place.engine == "local" else []
    done = perform_all(todo, replace(place, engine="local"), 0, jobs)
    done = {run.architecture: outcome for run, outcome in done.items()}
    if lacking := {name: outcome.message for name, outcome in done.items() if isinstance(outcome, JobFailed)}:
        raise RuntimeError(f"pretraining did not succeed: {lacking}")
    rows = []
    for name in names:
        metrics, seconds = done[name]["metrics"], round(done[name]["seconds"], 1)
        rows.append((name, profile.weights, metrics["epochs"], metrics["accuracy"], seconds))
    return pd.DataFrame(rows, columns=["architecture", "pretraining", "epochs", "held-out accuracy", "seconds"])


def run_all(runs, place: Place, retries: int = 0, failed: bool = False) -> list[dict]:
    """Do the runs that have no record yet; returns the records of all. What is done stays done, however this ends.

    Runs in progress go on from their last state. Files in a record's place that are none are set aside and named. A run
    that raises is tried again ``retries`` times, then recorded as failed with its traceback; workers that die under it
    cost it nothing but the epochs since its last state. ``failed``: runs recorded as failed are set aside and tried
    again. Several processes may call this for the same folder at once: they share the runs.

    Raises RecordError, before anything is done, if some of the runs were recorded on other data than there is now;
    OSError as soon as the disk is full; and at the end RuntimeError, naming the first, for runs that this place could
    not do, such as for missing weights.
    """
    runs = list(runs)
    if todo := missing(runs, place, failed):
        perform_all(todo, place, retries)
    return records.load_runs(runs, place.runs)


def missing(runs, place: Place, failed: bool = False) -> list[Run]:
    """Which of the runs have to be done, when what is in their way is out of it. Raises RecordError as `run_all`."""
    runs = list(runs)
    for line in records.clear_the_way(runs, place.runs, failed):
        print(line, flush=True)
    tidy(runs, place)
    todo = next_jobs_interleaved(records.missing(runs, place.runs))
    if todo:
        require_same_data(runs, {run.dataset for run in todo}, place)
    return todo


def require_same_data(runs: list[Run], datasets: set[str], place: Place) -> None:
    """Raise RecordError if records of these runs began from other ``datasets`` than those packed here: with new ones
    beside them, none could be read."""
    for path in (Path(data_folder(place)) / name for name in datasets):
        now, kind = present_input(path), "game" if GAME.fullmatch(path.name) else "data"
        for record in records.load_runs([run for run in runs if run.dataset == path.name], place.runs):
            if now and (then := record.get("inputs", {}).get(kind, now)) != now:
                todo = f"move them away ({Path(place.runs) / '*' / path.name}-*), or give another results folder"
                raise records.RecordError(
                    f"records began from other data than {path} has now ({then[:8]}, {now[:8]}): {todo}"
                )


def present_input(path: Path) -> str | None:
    """The SHA-256 of the data packed at ``path``, None where there are none; of a game its program's."""
    if GAME.fullmatch(path.name):
        return games.input_sha256(path.name)
    if data_sets.outdated(path):
        prepare_.ensure(path.parent, path.name)
    return data_sets.manifest(path)["sha256"] if data_sets.is_packed(path) else None


def recorded(runs, place: Place, command: str) -> list[dict]:
    """The records of all these runs, none of which is done here.

    Raises FileNotFoundError that says how many are missing, where, and the ``command`` that makes them; RecordError as
    ``records.load_runs`` does.
    """
    runs = list(runs)
    if missing := records.missing(runs, place.runs):
        lacking = ", ".join(f"{n} of {name}" for name, n in Counter(run.architecture for run in missing).items())
        there = f"only {len(runs) - len(missing)}" if len(missing) < len(runs) else "none"
        what = f"{there} of {len(runs)} records; missing are {lacking}, such as {missing[0]}"
        raise FileNotFoundError(f"{place.runs} has {what}: `{command}` makes them")
    return records.load_runs(runs, place.runs)


def perform_all(todo: list[Run], place: Place, retries: int, pretraining: dict[Run, tuple] | None = None) -> dict:
    """Do and record these runs, showing how it goes; after ``pretraining`` {source run: arguments of `pretrain`} has
    begun, of which the outcomes are returned."""
    progress, not_done = Progress({run: (run.architecture, run.dataset) for run in todo}), []
    jobs, trained = {run: (pretrain, *given) for run, given in (pretraining or {}).items()}, {}
    with marked(place) as place, pool(place, [*jobs, *todo]) as workers:
        jobs |= {run: (perform, run, place) for run in todo}
        try:
            for run, outcome in carry_out(call, jobs, workers, retries, progress.say):
                if jobs[run][0] is pretrain:
                    trained[run] = outcome
                elif isinstance(outcome, JobFailed) and outcome.kind != "job":
                    not_done.append(f"{run}: {outcome.message}")
                    progress.say(f"{run} not done: {outcome.message}")
                else:
                    done = _keep(run, outcome, place)
                    progress.step(run, done.line, done.seconds, workers.at_once)
        except KeyboardInterrupt:
            progress.say(f"interrupted: {progress.done} of {len(todo)} done and recorded; start again to go on")
            raise
        finally:
            progress.close()
    if not_done:
        raise RuntimeError(f"{len(not_done)} of {len(todo)} could not be done; the first: {not_done[0]}")
    return trained


def call(function, *arguments):
    """What a worker does: one pool has jobs of two kinds."""
    return function(*arguments)


def _keep(run: Run, outcome, place: Place) -> "Done":
    """Record here what the worker could not: that the run failed, or all of it where it has another results folder."""
    if isinstance(outcome, JobFailed):
        with contextlib.suppress(FileExistsError):
            records.save(run, records.failure(outcome.message, outcome.seconds, outcome.traceback), place.runs)
        tidy([run], place)
        return Done(f"{run} FAILED: {outcome.message}", outcome.seconds)
    if outcome.record:
        records.adopt(run, outcome.record, place.runs)
    return outcome


@dataclass(frozen=True)
class Done:
    """A run that was done: a line for the log, its seconds (None: another process did it), and the text of its record,
    where the worker has another results folder than the process that asked."""

    line: str
    seconds: float | None
    record: str | None = None


def tidy(runs, place: Place) -> None:
    """Remove what is left of the states of recorded runs, as by a kill between the record and the removal."""
    for run in runs:
        if (checkpoint := place.checkpoint(run)).folder.exists() and records.is_recorded(run, place.runs):
            with contextlib.suppress(Busy), checkpoint:
                checkpoint.remove()


def next_jobs_interleaved(runs: list[Run]) -> list[Run]:
    """One run of each architecture and data set in turn, so that soon the time left of all of them can be told."""
    groups: dict[tuple, deque] = {}
    for run in runs:
        groups.setdefault((run.architecture, run.dataset), deque()).append(run)
    # A large group takes its turns as often as its share, so that all end together.
    places = [((i + 0.5) / len(group), run) for group in groups.values() for i, run in enumerate(group)]
    return [run for _, run in sorted(places, key=lambda item: item[0])]


def pool(place: Place, runs=()):
    """What does the work: this process, local ones, or a cluster whose workers must agree with it about ``runs``."""
    if place.engine == "local":
        workers = 1 if len(runs) == 1 else place.at_once(runs)
        if workers == 1 and train.pick_device(place.device).type == "cpu":
            return InProcess()
        return Processes(workers, place.device)  # a GPU that fails takes its process along
    from .dask import Cluster  # its library is needed only here

    inputs = tuple(sorted({(run.dataset, run.architecture, run.weights) for run in runs}))
    return Cluster(place.engine, fingerprint, (place, inputs))


def perform(run: Run, place: Place) -> Done:
    """Do one run, or go on with it, and record it.

    Raises `Busy` if another process is at it, `Unready` for data or weights that are missing or damaged, MemoryError if
    memory, the GPU's or the machine's, runs out, OSError if the disk is full.
    """
    started, folder = time.perf_counter(), data_folder(place)
    shared = not place.token or (Path(place.results) / place.token).exists()
    try:
        train.pick_device(place.device)
        if not shared:
            place = replace(place, results=str(folder / "elsewhere" / identity.source()), token="")
        require(run, folder)
    except (OSError, ValueError, ImportError) as error:
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
        metrics = body["metrics"]
        found = f"score {metrics['score']:.4g}" if run.agent else f"accuracy {metrics['accuracy']:.3f}"
        line = f"{run} {found} after {metrics['epochs']} epochs, {seconds:.1f} s"
    return Done(line, seconds, None if shared else records.path_of(run, place.runs).read_text("utf-8"))


def _body(run: Run, place: Place, checkpoint: Checkpoint) -> dict:
    try:
        if run.agent:
            return records.from_fitted(online.fit(run, place.device, checkpoint=checkpoint))
        return records.from_fitted(train.fit(run, data_folder(place), place.device, checkpoint=checkpoint))
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        # No property of the run, so no record: it can be done with more memory.
        kind = "memory" if isinstance(error, (MemoryError, OSError)) or "CPU" in str(error) else "GPU memory"
        todo = "" if place.workers == 1 else "lower workers, or "
        todo += "choose precision bf16 (profile paper_bf16)"
        todo += ", a GPU with more or device='cpu'" if kind == "GPU memory" else ""
        kept = f"batch_size {run.batch_size} is part of the protocol"
        raise MemoryError(f"out of {kind} ({first_line(str(error))}): {todo}; {kept}") from None
