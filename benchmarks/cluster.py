"""A Dask cluster on this machine under attack: workers killed, one that joins late, the scheduler killed and started
anew.

    python benchmarks/cluster.py --truth results/mini

60 runs of the mini grid (one network, four cases, three data sets, five seeds) go to a scheduler and two workers, each
under a supervisor that starts it again when it ends, as Slurm or systemd would. Ten times a worker is killed by
SIGKILL; after the third kill one more worker joins; after the fifth the scheduler is killed and comes back two seconds
later. Every record must then equal that of the undisturbed grid. With ``--apart`` the workers can't see the results
folder (a mount namespace hides it, which takes root): records come back through the client. ``--overhead`` measures
milliseconds per job of jobs that do nothing.
"""

import argparse
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from plasticity import profiles
from plasticity.profiles import get_profile
from plasticity.running import records

DASK = str(Path(sys.executable).with_name("dask"))
CASES, ARCHITECTURE, PROFILE = ("base", "10M", "25N", "scratch"), "resnet", "mini"


class Supervised:
    """A command that is started again when it ends, until ``stop``."""

    def __init__(self, command, log, pause=2.0):
        self.command, self.log, self.pause, self.stopped = command, log, pause, False
        self.process = self._start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _start(self):
        return subprocess.Popen(self.command, stdout=self.log, stderr=self.log, start_new_session=True)

    def _watch(self):
        while not self.stopped:
            self.process.wait()
            time.sleep(self.pause)
            if not self.stopped:
                self.process = self._start()

    def stop(self):
        """End it and all that it started."""
        self.stopped = True
        for process in [*family(self.process.pid), self.process]:
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                process.kill()


def family(pid) -> list[psutil.Process]:
    """All that a process started."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).children(recursive=True)
    return []


def training(workers) -> list[psutil.Process]:
    """The workers' processes that are at a run: they hold its lock."""
    found = []
    for member in (member for worker in workers for member in family(worker.process.pid)):
        with contextlib.suppress(psutil.Error):
            found += [member] if any(file.path.endswith("/lock") for file in member.open_files()) else []
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scheduler(port, log):
    return Supervised([DASK, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"], log)


def worker(port, folder, log, hidden=None):
    """A worker under a nanny; ``hidden``: a folder that it must not see."""
    options = ["--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]
    command = [DASK, "worker", f"tcp://127.0.0.1:{port}", *options]
    if hidden:
        command = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none {hidden} && exec "$@"', "sh", *command]
    return Supervised(command, log)


def attack(options, folder, log) -> int:
    """The exit code of the grid under attack."""
    port = free_port()
    results, hidden = Path(options.results), options.results if options.apart else None
    results.mkdir(parents=True)
    boss = scheduler(port, log)
    workers = [worker(port, folder, log, hidden) for _ in range(2)]
    command = f"run {PROFILE} --results {options.results} --data {options.data} --engine tcp://127.0.0.1:{port}"
    part = ["--architectures", ARCHITECTURE, "--cases", *CASES]
    often = os.environ | {"PLASTICITY_CHECKPOINT_SECONDS": "0"}  # a miniature's run ends before a state is due
    grid = subprocess.Popen([sys.executable, "-m", "plasticity", *command.split(), *part], env=often)
    kills = 0
    try:
        while grid.poll() is None:
            time.sleep(random.uniform(1, 4))
            if kills < options.kills and (victims := training(workers)):
                random.choice(victims).send_signal(signal.SIGKILL)
                kills += 1
                print(f"--- kill {kills}", flush=True)
                if kills == 3:
                    workers.append(worker(port, folder, log, hidden))
                if kills == 5:
                    print("--- the scheduler is killed", flush=True)
                    boss.process.kill()
    finally:
        for supervised in [*workers, boss]:
            supervised.stop()
        grid.kill()
    scenes = "a third worker from kill 3 on, the scheduler killed after kill 5"
    print(f"{kills} kills of workers, {scenes}; exit code {grid.returncode}")
    return grid.returncode


def check(options) -> list[str]:
    """What is wrong with the records, a line for each fault."""
    runs = profiles.grid(get_profile(PROFILE), [ARCHITECTURE], CASES)
    faults, resumed = [], 0
    for run in runs:
        mine, truth = (records.load_run(run, Path(folder) / "runs") for folder in (options.results, options.truth))
        names = ("status", "metrics", "history", "histogram", "resets", "inputs")
        if not mine or any(mine[name] != truth[name] for name in names):
            faults.append(f"{run} {'differs' if mine else 'has no record'}")
        resumed += len(mine["resumed"]) if mine else 0
    equal = f"{len(runs) - len(faults)} of {len(runs)} records equal those of the undisturbed grid"
    print(f"{equal}; taken up again {resumed} times")
    return faults


def overhead(options, folder, log):
    """Milliseconds per job, of jobs that do nothing, on two workers."""
    from plasticity.running.dask import Cluster
    from plasticity.running.workers import carry_out

    port = free_port()
    boss = scheduler(port, log)
    workers = [worker(port, folder, log) for _ in range(2)]
    try:
        with Cluster(f"tcp://127.0.0.1:{port}", timeout=30) as pool:
            for number in range(4):
                jobs, started = {f"{number}-{job}": (job, 7) for job in range(500)}, time.perf_counter()
                if len(dict(carry_out(divmod, jobs, pool))) != 500:
                    raise AssertionError("jobs were lost")
                print(f"round {number}: {(time.perf_counter() - started) / 500 * 1000:.1f} ms per job")
    finally:
        for supervised in [*workers, boss]:
            supervised.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", default="results/mini", help="results of the undisturbed grid")
    parser.add_argument("--results", default="results/mini_cluster")
    parser.add_argument("--data", default="data")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--apart", action="store_true")
    parser.add_argument("--overhead", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        open(Path(folder) / "log", "w", encoding="utf-8") as log,
    ):
        if options.overhead:
            overhead(options, folder, log)
            return 0
        attack(options, folder, log)
    faults = check(options)
    print("\n".join(faults[:20]))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
