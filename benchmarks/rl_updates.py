"""Milliseconds per update (gradient step) of each agent at full size: DrQ, Rainbow, BBF, BBF with SSL; in turns, each
in a process of its own. Needs the extra ``rl``.

    python benchmarks/rl_updates.py [--rounds 7] [--threads 1] [--device cuda]

An update is ``online.update`` whole: drawing from a replay of 100 real steps of Breakout, augmentation, forward and
backward passes, the optimiser, the slow copy. Batch 32, float32. Wall time says how busy the machine was, CPU time of
the process hardly does. The last line is the miniature's update on MinAtar. (In one process, the memory that a large
network leaves behind would make the updates of a small one faster.)
"""

import argparse
import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from plasticity.rl import online
from plasticity.running import provenance
from plasticity.studies.rl.runs import PLAIN, mini_rows, rehearsal_rows

TITLES = ("DrQ", "Rainbow (PLASTIC's DrQ)", "BBF", "BBF, SSL")
LEAST = 0.5  # seconds of a round, of at least one update
learning: online.Learning  # of this process


def runs() -> dict:
    """{title: its run}."""
    rows = {row.title: row for row in rehearsal_rows()}
    mini = next(row for row in mini_rows(10_000, 9000, 1) if row.title == PLAIN)
    found = {title: rows[title].run("atari_breakout", 0) for title in TITLES}
    return found | {"MinAtar, EMA": mini.run("minatar_breakout", 0)}


def begin(run, device: str, threads: int) -> None:
    """Play the random steps, and update once for all that is done once."""
    global learning
    torch.set_num_threads(threads)
    learning = online.begin(run, device)
    online.begin_phase(learning, 1)
    learning.model.train()
    measure()


def measure() -> tuple[float, float]:
    """(wall, CPU) milliseconds per update of one round."""
    wait = torch.cuda.synchronize if learning.device.type == "cuda" else lambda: None
    wait()
    wall, cpu, count = time.perf_counter(), time.process_time(), 0
    while not count or time.perf_counter() - wall < LEAST:
        online.update(learning)
        wait()
        count += 1
    return 1000 * (time.perf_counter() - wall) / count, 1000 * (time.process_time() - cpu) / count


def main():
    """Print where this ran and how busy it was, then a line per agent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    load, spawn, times = os.getloadavg()[0], multiprocessing.get_context("spawn"), {}
    more = (options.device, options.threads)
    pools = {title: ProcessPoolExecutor(1, spawn, begin, (run, *more)) for title, run in runs().items()}
    for pool in pools.values():
        pool.submit(measure).result()  # begins the process; not counted
    for i in range(options.rounds):
        for title in list(pools)[:: 1 if i % 2 else -1]:
            times.setdefault(title, []).append(pools[title].submit(measure).result())
    where = f"{provenance.machine()}, threads {options.threads}, {options.device}, torch {torch.__version__}"
    print(f"{where}, n = {options.rounds}; load {load:.1f} at the beginning, {os.getloadavg()[0]:.1f} at the end")
    for title in pools:
        wall, cpu = (sorted(pair[i] for pair in times[title]) for i in (0, 1))
        spread = f"{wall[0]:.1f} to {wall[-1]:.1f}"
        print(f"{title:26} {statistics.median(wall):8.1f} ms ({spread}); CPU {statistics.median(cpu):8.1f} ms")


if __name__ == "__main__":
    main()
