"""What running many costs beside the training: per run, epoch and record, in memory, and what a second worker brings.

    python benchmarks/grid.py [overhead checkpoint scaling records memory] [--data data] [--rounds 3]

overhead    milliseconds per run: the engine's whole way (lock, record with fsync, pipe) around a training of no time
checkpoint  the share of a miniature's run that writing its state after each epoch would take
scaling     the same part of the mini grid by one worker and by two, in turns, from empty results
records     status (the whole command) and frame at 10,000 records of a real run's size
memory      the parent's memory over 10,000 runs that take no time

Wants the data and weights of profile mini in --data (``make reproduce`` makes them).
"""

import argparse
import contextlib
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil

from plasticity import train
from plasticity.analysis.frames import frame
from plasticity.profiles import get_profile, grid
from plasticity.running import engine, provenance, records
from plasticity.running.checkpoints import Checkpoint
from plasticity.running.engine import Progress
from plasticity.running.workers import InProcess, Processes, carry_out

PROFILE = get_profile("mini")
MINI = grid(PROFILE)
FIT = train.fit
MANY = grid(replace(PROFILE, repeats=75))[:10_000]


def seconds(function, *arguments) -> float:
    """How long a call takes, its output aside."""
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        function(*arguments)
    return time.perf_counter() - started


def said(values, digits=2) -> str:
    """Median, range and n."""
    median, low, high = (f"{f(values):.{digits}f}" for f in (statistics.median, min, max))
    return f"{median} ({low} to {high}, n = {len(values)})"


def one_fitted(data: str) -> SimpleNamespace:
    """What a real run gave, less its networks."""
    fitted = train.fit(replace(MINI[0], max_epochs=12, patience=0), data, "cpu")
    return SimpleNamespace(**{name: getattr(fitted, name) for name in vars(fitted) if "model" not in name})


def at_once(run, place, fitted):
    """``engine.perform`` with a training that takes no time."""
    train.fit = lambda *_, **__: fitted
    return engine.perform(run, place)


def overhead(options, folder):
    fitted = one_fitted(options.data)
    pools = {"this process": InProcess, "1 worker": lambda: Processes(1), "2 workers": lambda: Processes(2)}
    for name, make in pools.items():
        values = []
        for number in range(options.rounds):
            place, done = engine.Place(options.data, str(folder / f"{name} {number}")), []
            with make() as pool, contextlib.redirect_stdout(io.StringIO()):
                progress = Progress({run: (run.architecture, run.dataset) for run in MANY[:420]})
                for run, outcome in carry_out(at_once, {run: (run, place, fitted) for run in MANY[:420]}, pool):
                    progress.step(run, outcome.line, outcome.seconds, pool.at_once)
                    done.append(time.perf_counter())
            values.append(1000 * (done[-1] - done[19]) / 400)  # the first ones see the workers start
        print(f"overhead, {name}: {said(values)} ms per run")


def checkpoint(options, folder):
    for name in PROFILE.architectures:
        run, shares = replace(next(run for run in MINI if run.architecture == name), max_epochs=12, patience=0), []
        for number in range(options.rounds * 3):
            with Checkpoint(folder / f"{name}-{number}", every=0) as state:
                save, spent = state.save, []
                state.save = lambda *arguments, save=save, spent=spent: spent.append(seconds(save, *arguments))
                took = seconds(lambda run=run, state=state: train.fit(run, options.data, "cpu", checkpoint=state))
                size = (state.folder / "state-12.pt").stat().st_size
            shares.append(100 * sum(spent) / took)
        print(f"checkpoint, {name}: {said(shares)} % of a run of 12 epochs; {size / 1e6:.1f} MB per state")


def scaling(options, folder):
    part = [run for run in MINI if run.seed == 0 and run.case in ("base", "10M", "25MN", "scratch")]
    ratios = []
    for number in range(options.rounds):
        took = {}
        for workers in (1, 2) if number % 2 else (2, 1):
            place = engine.Place(options.data, str(folder / f"{workers}-{number}"), workers, "cpu")
            took[workers] = seconds(engine.run_all, part, place)
        ratios.append(took[1] / took[2])
        print(
            f"scaling: {len(part)} runs, one worker {took[1]:.1f} s, two {took[2]:.1f} s: {ratios[-1]:.2f}", flush=True
        )
    print(f"scaling, 1 to 2 workers: {said(ratios)}")


def many_records(options, folder):
    place, body = engine.Place(options.data, str(folder / "many")), records.from_fitted(one_fitted(options.data))
    fsync, os.fsync = os.fsync, lambda _: None  # only to make them quickly
    for run in MANY:
        path = records.save(run, body, place.runs)
    os.fsync = fsync
    command = [sys.executable, "-m", "plasticity", "status", "mini", "--repeats", "75", "--results", place.results]
    subprocess.run(command, check=True, capture_output=True)  # works out the grid, once for each source
    status = [
        seconds(lambda: subprocess.run(command, check=True, capture_output=True)) for _ in range(options.rounds * 3)
    ]
    print(f"status at {len(MANY):,} records of {path.stat().st_size / 1000:.0f} kB: {said(status)} s")
    loads = [seconds(records.missing, MANY, place.runs) for _ in range(options.rounds)]
    print(f"finding what is missing among them: {said(loads)} s")
    frames = [seconds(lambda: frame(records.load_runs(MANY, place.runs))) for _ in range(options.rounds)]
    print(f"frame of them, reading included: {said(frames)} s")


def memory(options, folder):
    fitted, place, pool = one_fitted(options.data), engine.Place(options.data, str(folder / "memory")), Processes(2)
    progress, size, seen = (
        Progress({run: (run.architecture, run.dataset) for run in MANY}),
        psutil.Process().memory_info,
        {},
    )
    with pool, contextlib.redirect_stdout(io.StringIO()):
        for run, outcome in carry_out(at_once, {run: (run, place, fitted) for run in MANY}, pool):
            progress.step(run, outcome.line, outcome.seconds, pool.at_once)
            if progress.done in (100, 1_000, 2_500, 5_000, 7_500, 10_000):
                seen[progress.done] = size().rss / 1e6
    print("memory of the parent, MB after so many runs:", ", ".join(f"{done:,}: {mb:.0f}" for done, mb in seen.items()))
    done = records.load_runs(MANY, place.runs)
    print(f"and with all {len(done):,} records read at the end: {size().rss / 1e6:.0f}")


JOBS = {"overhead": overhead, "checkpoint": checkpoint, "scaling": scaling, "records": many_records, "memory": memory}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jobs", nargs="*", metavar="job", default=list(JOBS), choices=[*JOBS, []])
    parser.add_argument("--data", default="data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", help="where to write; it counts what disk that is (a temporary folder here unless said)"
    )
    options = parser.parse_args()
    train.torch.set_num_threads(1)
    print(f"{provenance.machine()}; {' '.join(sys.argv)}")
    for name in options.jobs or JOBS:
        train.fit = FIT  # which jobs in this process replace
        with tempfile.TemporaryDirectory(dir=options.folder or ".") as folder:
            JOBS[name](options, Path(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
