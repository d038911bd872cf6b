"""Kill a grid again and again, at random moments, and compare what comes out with a grid that was left alone.

    python benchmarks/kills.py --profile mini --kills 200 --truth results/mini

Each round starts ``plasticity run`` in a process group of its own, waits a random time and kills with SIGKILL: a worker
(the grid goes on), the parent (the workers have to end by themselves), or the whole group. After the last kill the grid
is let finish. States are written after each epoch. Before each kill every record is noted, and the newest epoch on disk
of the runs it will hit; afterwards:

* each record's metrics, history, histogram and resets are those of the undisturbed grid, number by number;
* each time a run was taken up again, it was at the newest epoch on disk at the kill, so that no more than one was
  repeated;
* a record that was there at a kill is the same file (inode and content) at the end: nothing was lost or done twice.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from plasticity.cli import status
from plasticity.profiles import get_profile, grid
from plasticity.running import records

KINDS = ("worker", "parent", "both")
LATE = 10.0  # seconds in which orphans have to end by themselves, on a machine that does other work as well


def start(options, log):
    """The grid, in a process group of its own."""
    where = f"--results {options.results} --data {options.data} --workers {options.workers}"
    part = ["--architectures", *options.architectures] if options.architectures else []
    command = [sys.executable, "-m", "plasticity", "run", options.profile, *where.split(), *part]
    often = os.environ | {"PLASTICITY_CHECKPOINT_SECONDS": "0"}  # a miniature's run ends before a state is due
    return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=often)


def workers_of(process) -> dict[psutil.Process, str]:
    """The processes that train, and the run whose lock each of them holds."""
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            locks = [Path(file.path).parent for file in child.open_files() if file.path.endswith("/lock")]
        except psutil.Error:
            continue
        for lock in locks:
            found[child] = f"{lock.parent.name}/{lock.name}"
    return found


def kill(process, kind: str, results: Path) -> dict[str, int]:
    """Kill the parent, a worker, or all; returns the runs that this hit, with the newest epoch on disk of each."""
    try:
        working = workers_of(process)
        if not working:
            return {}  # still importing: nothing is at stake yet
        victim = random.choice(list(working))
        hit = [working[victim]] if kind == "worker" else list(working.values())
        epochs = {run: status.epoch(results / "running" / run) for run in hit}
        if kind == "worker":
            victim.kill()
            victim.wait(5)
        elif kind == "parent":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    except (psutil.Error, ProcessLookupError):
        return {}
    return epochs


def outliving(family: list[psutil.Process]) -> str:
    """Who of these processes was there longer than `LATE`, and for how long.

    Orphans may stay zombies where nobody reaps them.
    """
    started, late = time.monotonic(), []
    while time.monotonic() < started + 30:
        alive = [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]
        if not alive:
            break
        late = alive
        time.sleep(0.05)
    took = time.monotonic() - started
    return f"{took:.1f} s: {late}" if took > LATE else ""


def disturb(options) -> dict:
    """Kill until the number of kills is reached or the grid is done; returns what was seen."""
    results = Path(options.results)
    seen = {"kills": dict.fromkeys(KINDS, 0), "epochs": {}, "files": {}, "outlived": []}
    with open(results.parent / f"{results.name}.log", "w", encoding="utf-8") as log:
        process = start(options, log)
        while sum(seen["kills"].values()) < options.kills and process.poll() is None:
            time.sleep(random.uniform(*options.wait))
            for path in (results / "runs").glob("*/*.json"):
                if path not in seen["files"]:
                    seen["files"][path] = path.stat().st_ino, path.read_bytes()
            kind = random.choice(KINDS)
            family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
            hit = kill(process, kind, results)
            seen["kills"][kind] += bool(hit)
            if hit and kind != "worker":
                process.wait()
                seen["outlived"] += filter(None, [outliving(family)])
            for run, epoch in hit.items():
                if not (results / "runs" / f"{run}.json").exists():  # else it was recorded just before
                    seen["epochs"].setdefault(run, []).append(epoch)
            if hit and kind != "worker":
                process = start(options, log)
        print(f"the last start ended with exit code {process.wait()}")
    return seen


def check(options, seen) -> list[str]:
    """What is wrong with the grid, a line for each fault."""
    faults, resumed = [], 0
    runs = grid(get_profile(options.profile), options.architectures)
    for run in runs:
        mine, truth = (records.load_run(run, Path(folder) / "runs") for folder in (options.results, options.truth))
        if not mine or not truth:
            faults.append(f"{run} has no record in {'the disturbed' if truth else 'the undisturbed'} grid")
            continue
        faults += [
            f"{run}: {what} differs"
            for what in ("status", "metrics", "history", "histogram", "resets", "inputs")
            if mine[what] != truth[what]
        ]
        at, on_disk = mine["resumed"], seen["epochs"].get(str(run), [])
        resumed += len(at)
        # An epoch may end between look and kill, so at least; a kill before the next epoch's end leaves no trace.
        if at != sorted(at) or len(at) > len(on_disk) or not all(any(a >= b for a in at) for b in on_disk if b):
            faults.append(f"{run} was taken up after epochs {at}, but {on_disk} were on disk at the kills")
    for path, (inode, content) in seen["files"].items():
        if not path.exists() or path.stat().st_ino != inode or path.read_bytes() != content:
            faults.append(f"{path} is not the record that was there")
    rows, about = status.table(Path(options.results), options.profile)
    rows = [row for row in rows if row["architecture"] in {run.architecture for run in runs}]
    faults += [f"{count} runs are {state}" for state in status.STATES[1:] if (count := sum(row[state] for row in rows))]
    faults += [f"left behind: {run}" for run in status.in_progress(Path(options.results))]
    faults += [f"outlived the parent {who}" for who in seen["outlived"]]
    faults += [f"{about['aside']} files were set aside"] if about["aside"] else []
    print(f"{len(runs)} runs, kills {seen['kills']}, runs taken up again {resumed} times, {len(faults)} faults")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--architectures", nargs="+", help="only these, by name or family")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--truth", default="results/mini", help="results of the undisturbed grid")
    parser.add_argument("--results", default="results/mini_killed")
    parser.add_argument("--data", default="data")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--wait", type=float, nargs=2, default=(0.5, 6.0), help="seconds between looks, drawn uniformly"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    Path(options.results).mkdir(parents=True, exist_ok=True)
    faults = check(options, disturb(options))
    print("\n".join(faults[:20]))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
