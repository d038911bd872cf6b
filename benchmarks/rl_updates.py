"""Milliseconds per update (gradient step) of each agent at full size: DrQ, Rainbow, BBF, BBF with SSL, in turns, in one
process. Needs the extra ``rl``.

    python benchmarks/rl_updates.py [--rounds 7] [--threads 1] [--device cuda]

An update is ``online.update`` whole: drawing from a replay of 100 real steps of Breakout, augmentation, forward and
backward passes, the optimiser, the slow copy. Batch 32, float32. Wall time says how busy the machine was, CPU time of
this process hardly does. The last line is the miniature's update on MinAtar.
"""

import argparse
import os
import statistics
import time

import torch

from plasticity.rl import online
from plasticity.running import provenance
from plasticity.studies.rl.runs import PLAIN, mini_rows, rehearsal_rows

TITLES = ("DrQ", "Rainbow (PLASTIC's DrQ)", "BBF", "BBF, SSL")
LEAST = 0.3  # seconds of a round, of at least one update


def learnings(device: str) -> dict[str, online.Learning]:
    """{title: a run with its random steps played}."""
    rows = {row.title: row for row in rehearsal_rows() if row.title in TITLES}
    runs = {title: rows[title].run("atari_breakout", 0) for title in TITLES}
    mini = next(row for row in mini_rows(10_000, 9000, 1) if row.title == PLAIN)
    runs["MinAtar, EMA"] = mini.run("minatar_breakout", 0)
    found = {}
    for title, run in runs.items():
        found[title] = online.begin(run, device)
        online.begin_phase(found[title], 1)
        found[title].model.train()
    return found


def measure(learning: online.Learning) -> tuple[float, float]:
    """(wall, CPU) seconds per update of one round."""
    wait = torch.cuda.synchronize if learning.device.type == "cuda" else lambda: None
    wait()
    wall, cpu, count = time.perf_counter(), time.process_time(), 0
    while not count or time.perf_counter() - wall < LEAST:
        online.update(learning)
        wait()
        count += 1
    return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


def main():
    """Print where this ran and how busy it was, then a line per agent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = f"load {os.getloadavg()[0]:.1f} at the beginning"
    found, times = learnings(options.device), {}
    for learning in found.values():
        measure(learning)  # the first is not counted
    for i in range(options.rounds):
        for title in list(found)[:: 1 if i % 2 else -1]:
            times.setdefault(title, []).append(measure(found[title]))
    where = f"{provenance.machine()}, {options.threads} thread, {options.device}, torch {torch.__version__}"
    print(f"{where}, n = {options.rounds}; {load}, {os.getloadavg()[0]:.1f} at the end")
    for title in found:
        wall, cpu = (sorted(1000 * pair[i] for pair in times[title]) for i in (0, 1))
        spread = f"{wall[0]:.1f} to {wall[-1]:.1f}"
        print(f"{title:26} {statistics.median(wall):8.1f} ms ({spread}); CPU {statistics.median(cpu):8.1f} ms")


if __name__ == "__main__":
    main()
