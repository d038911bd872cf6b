"""How a grid stands, read from its folder alone: from another terminal, or another machine that sees the disk.

Standard library only, because importing PyTorch takes longer than checking ten thousand records. The states of a run:

    done      a whole record; of these, stale: made by other source than this one (valid, and never done again by itself)
    failed    a record of a run that raised by itself
    running   in progress, and the process that owns it lives
    lost      in progress, but its process is dead: goes on from its last epoch at the next start
    missing   not begun
    damaged   a torn or foreign file in its place, which the next start sets aside
"""

import argparse
import contextlib
import json
import math
import os
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from ..running.identity import source
from ..running.record_format import head

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

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
    """{run: (whether its process lives, its last whole epoch)} for the runs that were begun and not recorded yet."""
    folders = [Path(entry.path) for entry in files(results / "running")]
    return {f"{folder.parent.name}/{folder.name}": (held(folder), epoch(folder)) for folder in folders}


def held(folder: Path) -> bool:
    """Whether a living process owns the run; the kernel tells, on every machine that shares the disk's locks."""
    try:
        with open(folder / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, AttributeError):
        return False
    return False


def epoch(folder: Path) -> int:
    """The newest epoch that a run's states name; 0 before the first."""
    return max((int(path.stem.partition("-")[2]) for path in folder.glob("state-*.pt")), default=0)


def remember(results: str | Path, profile: str, repeats: int, reading: str, runs) -> None:
    """Note which runs a profile has, so that ``status`` need not import what works it out."""
    content = {
        "source": source(),
        "profile": profile,
        "repeats": repeats,
        "reading": reading,
        "runs": [str(run) for run in runs],
    }
    partial = Path(results) / f".grid.json.{os.getpid()}"
    with contextlib.suppress(OSError):  # a disk that can only be read: then it takes a few seconds each time
        partial.write_text(json.dumps(content))
        partial.replace(Path(results) / "grid.json")


def planned(results: Path, profile: str, repeats: int = 0, reading: str = "", note: bool = True) -> list[str]:
    """The profile's runs, by name; with ``note``, worked out only once. Raises ValueError for an unknown profile."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads((results / "grid.json").read_text())
        if known["source"] == source() and known["profile"] == profile:
            if repeats in (0, known["repeats"]) and reading in ("", known["reading"]):
                return known["runs"]
    from ..profiles import get_profile
    from ..studies.all import grid

    protocol = get_profile(profile, repeats, reading)
    runs = grid(protocol)
    if note:
        remember(results, profile, protocol.repeats, protocol.reading, runs)
    return [str(run) for run in runs]


def table(
    results: str | Path, profile: str, repeats: int = 0, reading: str = "", note: bool = True
) -> tuple[list[dict], dict]:
    """A row for each architecture and data set (counts by state, stale, seconds of work left), and what holds for all.

    The second value: ``running`` {run: epoch}, ``seconds`` (mean of a run), ``left`` (seconds until all is done at the present
    number of runs at a time, NaN if nothing runs or nothing is known), ``others`` (records of no run of this profile), ``aside``.
    """
    results, here = Path(results), source()
    runs = planned(results, profile, repeats, reading, note)
    known, begun = heads(results), in_progress(results)
    counts, seconds, running = defaultdict(Counter), defaultdict(list), {}
    for run in runs:
        group = (run.partition("/")[0], run.partition("/")[2].partition("-")[0])
        about = known.get(run, {})
        if about is None:
            state = "damaged"
        elif about:
            state = about["status"]
            counts[group]["stale"] += about.get("source") != here
            seconds[group].append(about["seconds"])
        elif run in begun:
            state = "running" if begun[run][0] else "lost"
            running |= {run: begun[run][1]} if begun[run][0] else {}
        else:
            state = "missing"
        counts[group][state] += 1
    durations = [value for values in seconds.values() for value in values]
    overall = sum(durations) / len(durations) if durations else math.nan
    rows = []
    for group, count in counts.items():
        mean = sum(seconds[group]) / len(seconds[group]) if seconds[group] else overall
        to_do = count["missing"] + count["lost"] + count["damaged"] + count["running"] / 2
        rows.append(
            {"architecture": group[0], "dataset": group[1], "runs": sum(count[state] for state in STATES)}
            | {state: count[state] for state in (*STATES, "stale")}
            | {"work": to_do * mean if to_do else 0.0}
        )
    left = sum(row["work"] for row in rows) / len(running) if running else math.nan
    aside = sum(len(names) for _, _, names in os.walk(results / "set-aside"))
    return rows, {
        "running": running,
        "seconds": overall,
        "left": left,
        "others": len(known.keys() - set(runs)),
        "aside": aside,
    }


def text(results: str | Path, profile: str, repeats: int = 0, reading: str = "") -> str:
    """The table and what holds for all, to be read."""
    rows, about = table(results, profile, repeats, reading)
    names = ("architecture", "dataset", "runs", *STATES, "stale")
    total = {"architecture": "all", "dataset": ""} | {name: sum(row[name] for row in rows) for name in names[2:]}
    lines = [names, *([str(row[name]) for name in names] for row in [*rows, total])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    said = ["  ".join(f"{cell:{'<' if i < 2 else '>'}{widths[i]}}" for i, cell in enumerate(line)) for line in lines]
    work, at_once = sum(row["work"] for row in rows), len(about["running"])
    said.append("")  # before what is said in words
    if not total["done"] + total["failed"] + at_once + total["lost"]:
        said.append(f"nothing is recorded in {results} yet: make reproduce PROFILE={profile}")
    elif at_once:
        an_hour = 3600 * at_once / about["seconds"]
        said.append(
            f"{at_once} running" + (f", {an_hour:,.0f} runs an hour, {span(about['left'])} left" if an_hour > 0 else "")
        )
        said += [f"  {run}, {last} epochs done" for run, last in list(about["running"].items())[:16]]
    elif total["done"] + total["failed"] < total["runs"]:
        said.append(
            f"nothing is running here; {span(work)} of work for one worker are left: make reproduce PROFILE={profile}"
        )
    else:
        said.append("all runs are recorded")
    if total["stale"]:
        said.append(
            f"{total['stale']} records were made by other source than this ({source()}): valid, but not this code's"
        )
    if total["failed"]:
        said.append(f"to try the failed runs again: python -m plasticity run {profile} --retry-failed")
    if about["others"]:
        said.append(f"{about['others']} records belong to no run of this profile as it is now; they are left alone")
    if about["aside"]:
        said.append(f"{about['aside']} files were set aside: {Path(results) / 'set-aside'}")
    return "\n".join(said)


def span(seconds: float) -> str:
    """A duration to be read."""
    if math.isnan(seconds):
        return "an unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def main(arguments: list[str] | None = None) -> int:
    """The command line: exit 0, or 2 for an unknown profile."""
    parser = argparse.ArgumentParser(
        prog="python -m plasticity status", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("profile", nargs="?", default="mini")
    parser.add_argument("--results", default="", help="results/<profile> unless said")
    parser.add_argument("--repeats", type=int, default=0, help="seeds of each case; 0 for the profile's own")
    parser.add_argument("--reading", default="", help='"code" or "text"; the profile\'s own unless said')
    parser.add_argument(
        "--watch", nargs="?", type=float, const=5.0, metavar="SECONDS", help="refresh every 5 seconds, or SECONDS"
    )
    options = parser.parse_args(arguments)
    results = options.results or f"results/{options.profile}"
    try:
        while True:
            said = text(results, options.profile, options.repeats, options.reading)
            clear = "\x1b[H\x1b[2J" if options.watch and sys.stdout.isatty() else ""
            print(f"{clear}{said}", flush=True)
            if options.watch is None:
                return 0
            time.sleep(max(0.2, options.watch))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
