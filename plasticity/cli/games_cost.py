"""What a profile of games costs: environment steps, updates with their launches and arithmetic, test games."""

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ..profiles import Profile
from ..rl import online
from ..run import Run
from ..running import records
from ..studies.all import grid
from ..training import games, scenarios
from .cost import ASSUMED, GPUS

LAUNCH = 6e-6  # seconds from one small kernel to the next, assumed: what PyTorch takes to launch it
STEPS_A_SECOND = 3000  # of Atari on one core: reference/benchmarks.md
FREE = {"view", "_unsafe_view", "reshape", "transpose", "t", "permute", "expand", "slice", "select", "unsqueeze"}
FREE |= {"detach", "alias", "as_strided", "split", "unbind", "squeeze", "lift_fresh"}
FREE |= {"empty", "empty_like", "empty_strided"}
SAMPLE = 2  # items of the batch on which an update is counted


class Launches(TorchDispatchMode):
    """Counts the operators that compute: on a GPU each is a kernel or more."""

    count = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function.overloadpacket.__name__
        self.count += name not in FREE
        return function(*arguments, **(keywords or {}))


def work(profile: Profile, results: str | Path) -> pd.DataFrame:
    """One row per architecture and agent: runs, to do, and of the runs to do environment steps, updates and test games;
    ``run``: one of them."""
    runs = grid(profile)
    left, rows = set(records.missing(runs, Path(results) / "runs")), []
    for (architecture, agent), here in _grouped(runs).items():
        chosen = [run for run in here if run in left]
        named = agent if len(agent) < 20 else agent.partition("(")[0]
        row = {"architecture": architecture, "agent": named, "runs": len(here), "to do": len(chosen)}
        rows.append(row | _sums(chosen) | {"run": here[0]})
    return pd.DataFrame(rows)


def _grouped(runs: Iterable[Run]) -> dict[tuple[str, str], list[Run]]:
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.architecture, run.agent), []).append(run)
    return groups


def _sums(runs: list[Run]) -> dict[str, int]:
    steps = updates = tests = 0
    for run in runs:
        online_, agent = scenarios.build(run.scenario), games.build(run.agent)
        learns = agent.needs > 0
        steps, updates = steps + learns * online_.steps, updates + learns * online_.updates(agent.warmup)
        tests += online_.tests
    return {"environment steps": steps, "updates": updates, "test games": tests}


def of_update(run: Run) -> dict[str, float]:
    """Launches and GFLOP of one update, counted on a batch of 2, and the seconds that one takes here with the run's
    own."""
    learning = _begun(replace(run, batch_size=SAMPLE))
    online.update(learning)
    with FlopCounterMode(display=False) as counter, Launches() as launches:
        online.update(learning)
    gflop = counter.get_total_flops() / 1e9 * run.batch_size / SAMPLE
    parameters = sum(parameter.numel() for parameter in learning.model.parameters())
    return {"launches": launches.count, "gflop": gflop, "parameters": parameters}


def seconds_here(run: Run, device: str) -> float:
    """Seconds of an update here: the median of three after one to warm up."""
    learning, seconds = _begun(run, device), []
    for _ in range(4):
        started = time.perf_counter()
        online.update(learning).item()  # waits for the device
        seconds.append(time.perf_counter() - started)
    return sorted(seconds[1:])[1]


def _begun(run: Run, device: str = "cpu") -> online.Learning:
    """A run before its first update, with one phase and a replay of the first random steps."""
    warmup = games.build(run.agent).warmup
    short = replace(run, scenario=f"online(steps={warmup + 100}, epoch=1)", case="base")
    learning = online.begin(short, device)
    online.begin_phase(learning, 1)
    return learning


def by_agent(table: pd.DataFrame, device: str = "") -> tuple[pd.DataFrame, str]:
    """Hours of the runs left to do, one row per architecture and agent; ``device``: where to measure an update."""
    rows, total = [], 0.0
    for row in table.to_dict("records"):
        if not row["updates"]:
            continue
        about = of_update(row["run"])
        assumed = about["launches"] * LAUNCH + about["gflop"] * 1e9 / ASSUMED["fp32"]
        seconds = seconds_here(row["run"], device) if device else assumed
        hours = (row["updates"] * seconds + row["environment steps"] / STEPS_A_SECOND) / 3600
        total += hours
        shown = {"million parameters": round(about["parameters"] / 1e6, 2), "launches an update": about["launches"]}
        shown |= {"GFLOP an update": round(about["gflop"], 3), "ms an update": round(1000 * seconds, 2)}
        rows.append({"architecture": row["architecture"], "agent": row["agent"]} | shown | _hours(hours, device))
    rows.append({"architecture": "all"} | _hours(total, device))
    where = f"measured now on {device}" if device else f"assumed: {1e6 * LAUNCH:g} us a launch, one update at a time"
    return pd.DataFrame(rows).astype(object).fillna(""), f"{where}; test games not counted"


def _hours(hours: float, device: str) -> dict[str, float]:
    if device == "cpu":
        return {"hours": round(hours, 2)}
    return {f"hours, {n} GPU{'s' * (n > 1)}": round(hours / n, 1) for n in GPUS}
