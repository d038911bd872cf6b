"""How far a profile is, read from its folder alone: from another terminal, or another machine that sees the disk.

Example:
    plasticity status mini --watch

The states of a run:
    done      a whole record; of these, stale: made by other source (valid, never done again by itself)
    failed    a record of a run that raised by itself
    running   in progress, and the process that owns it lives
    lost      in progress, but its process is dead: goes on from its last state at the next start
    missing   not begun
    damaged   a torn or foreign file in its place, which the next start quarantines
"""

import contextlib
import json
import math
import os
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from ..files import atomic
from ..running.identity import source
from ..running.record_format import head
from . import options as shared

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# Standard library only, because importing PyTorch takes longer than checking ten thousand records.
STATES = ("done", "failed", "running", "lost", "missing", "damaged")


def heads(results: Path) -> dict[str, dict | None]:
    """The head of every record in ``results/runs``, by run; None for a file that is no whole record."""
    found = {}
    for path in files(results / "runs"):
        if path.name.endswith(".json") and not path.name.startswith("."):
            with contextlib.suppress(FileNotFoundError), open(path.path, "rb") as file:
                found[f"{Path(path.path).parent.name}/{path.name[:-5]}"] = head(file.read())
    return found


def files(folder: Path) -> list[os.DirEntry]:
    """What lies in the folders of a folder, one for each architecture."""
    try:
        with os.scandir(folder) as folders:
            return [entry for part in folders if part.is_dir() for entry in os.scandir(part.path)]
    except FileNotFoundError:
        return []


def in_progress(results: Path) -> dict[str, tuple[bool, int]]:
    """{run: (whether its process lives, the epoch of its last state)} of the runs begun and not recorded yet."""
    folders = [Path(entry.path) for entry in files(results / "running")]
    return {f"{folder.parent.name}/{folder.name}": (held(folder), epoch(folder)) for folder in folders}


def held(folder: Path) -> bool:
    """Whether a living process owns the run; the kernel tells, on every machine that shares the disk's locks."""
    try:
        with open(folder / "lock", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, AttributeError):
        return False
    return False


def epoch(folder: Path) -> int:
    """The newest epoch that a run's states name; 0 before the first."""
    return max((int(path.stem.partition("-")[2]) for path in folder.glob("state-*.pt")), default=0)


def remember(results: Path, profile, runs) -> None:
    """Note which runs a profile has, so that they need not be worked out again, nor PyTorch be imported."""
    about = {"source": source(), "profile": profile.name, "repeats": profile.repeats, "reading": profile.reading}
    with contextlib.suppress(OSError), atomic(results / "grid.json") as path:  # a disk that can only be read
        path.write_text(json.dumps(about | {"runs": [str(run) for run in runs]}), "utf-8")


def planned(results: Path, profile: str, repeats: int = 0, reading: str = "", note: bool = True) -> list[str]:
    """The profile's runs, by name: as asked for last, unless said. Raises ValueError for an unknown profile."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads((results / "grid.json").read_text("utf-8"))
        if (known["source"], known["profile"]) == (source(), profile):
            if repeats in (0, known["repeats"]) and reading in ("", known["reading"]):
                return known["runs"]
    from ..profiles import get_profile
    from ..studies.all import grid

    protocol = get_profile(profile, repeats, reading)
    runs = grid(protocol)
    if note and results.is_dir():
        remember(results, protocol, runs)
    return [str(run) for run in runs]


def table(
    results: Path, profile: str, repeats: int = 0, reading: str = "", note: bool = True
) -> tuple[list[dict], dict]:
    """One row per architecture and data set (counts by state, stale, seconds of work left), and what holds for all.

    The second value: ``running`` {run: epoch}, ``seconds`` (mean of a run), ``left`` (seconds until all is done at the
    present number of runs at a time, NaN if nothing runs or nothing is known), ``sources`` {digest: stale records},
    ``others`` (records of no run of this profile), ``aside`` (files in quarantine).
    """
    here, runs = source(), planned(results, profile, repeats, reading, note)
    known, begun = heads(results), in_progress(results)
    counts, seconds, running, sources = defaultdict(Counter), defaultdict(list), {}, Counter()
    for run in runs:
        architecture, _, rest = run.partition("/")
        group, record = (architecture, rest.partition("-")[0]), known.get(run, {})
        if record is None:
            state = "damaged"
        elif record:
            state = record["status"]
            seconds[group].append(record["seconds"])
            if record.get("source") != here:
                counts[group]["stale"] += 1
                sources[record.get("source")] += 1
        else:
            alive, last = begun.get(run, (None, 0))
            state = {True: "running", False: "lost", None: "missing"}[alive]
            running |= {run: last} if alive else {}
        counts[group][state] += 1
    overall = mean([value for values in seconds.values() for value in values])
    rows = []
    for group, count in counts.items():
        to_do = count["missing"] + count["lost"] + count["damaged"] + count["running"] / 2
        work = to_do * mean(seconds[group] or [overall]) if to_do else 0.0
        row = {"architecture": group[0], "dataset": group[1], "runs": sum(count[state] for state in STATES)}
        rows.append(row | {name: count[name] for name in (*STATES, "stale")} | {"work": work})
    about = {"running": running, "seconds": overall, "sources": sources, "others": len(known.keys() - set(runs))}
    about["left"] = sum(row["work"] for row in rows) / len(running) if running else math.nan
    about["aside"] = sum(len(names) for _, _, names in os.walk(results / "set-aside"))
    return rows, about


def mean(values: list[float]) -> float:
    """NaN of nothing."""
    return sum(values) / len(values) if values else math.nan


def text(results: Path, profile: str, repeats: int = 0, reading: str = "") -> str:
    """The table and what holds for all, to be read."""
    rows, about = table(results, profile, repeats, reading)
    names = ("architecture", "dataset", "runs", *STATES, "stale")
    total = {"architecture": "all", "dataset": ""} | {name: sum(row[name] for row in rows) for name in names[2:]}
    lines = [names, *([str(row[name]) for name in names] for row in [*rows, total])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = ["  ".join(f"{cell:{'<' if i < 2 else '>'}{widths[i]}}" for i, cell in enumerate(line)) for line in lines]
    return "\n".join([*shown, "", *sentences(results, profile, rows, about, total)])


def sentences(results: Path, profile: str, rows: list[dict], about: dict, total: dict):
    """What the table does not say, or where something can be done about it."""
    running, recorded = about["running"], total["done"] + total["failed"]
    make = shared.reproduce(profile, results=results)
    if running:
        speed = f", {3600 * len(running) / about['seconds']:,.0f} runs an hour" if about["seconds"] > 0 else ""
        yield f"{len(running)} running{speed}, {span(about['left'])} left"
        yield from (f"  {run}, {last} epochs done" for run, last in list(running.items())[:16])
    elif not recorded + total["lost"]:
        yield f"nothing is recorded in {results} yet: {make}"
    elif recorded < total["runs"]:
        work = span(sum(row["work"] for row in rows))
        yield f"nothing is running here; {work} of work for one worker are left: {make}"
    else:
        yield "all runs are recorded"
    if total["stale"]:
        others = ", ".join(str(digest) for digest, _ in about["sources"].most_common(3))
        yield f"{total['stale']} records are stale: made by other source ({others}) than that of now ({source()})."
        yield "  They count as before; to make them anew, reproduce into another results folder."
    if total["failed"]:
        yield f"to try the failed runs again: plasticity run {profile} --retry-failed"
    if about["others"]:
        yield f"{about['others']} records belong to no run of this profile as it is now; they are left alone"
    if about["aside"]:
        yield f"{about['aside']} files are in quarantine: {results / 'set-aside'}"


def span(seconds: float) -> str:
    """A duration to be read."""
    if math.isnan(seconds):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def arguments(parser):
    shared.add(parser, "profile", "--results", "--repeats", "--reading")
    every = "refresh every 5 seconds, or SECONDS"
    parser.add_argument("--watch", nargs="?", type=float, const=5.0, metavar="SECONDS", help=every)


def main(options) -> None:
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            said = text(shared.results_of(options), options.profile, options.repeats, options.reading)
            clear = "\x1b[H\x1b[2J" if options.watch and sys.stdout.isatty() else ""
            print(f"{clear}{said}", flush=True)
            if options.watch is None:
                return
            time.sleep(max(0.2, options.watch))
