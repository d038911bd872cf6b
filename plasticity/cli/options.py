"""The arguments that several commands share."""

import argparse
import shlex
import shutil
import sys
from pathlib import Path

from ..datasets.root import project_root


def from_root(folder: str | Path) -> str:
    """A relative folder counts from the root of the checkout that the working folder is in, as in notebooks."""
    root = project_root()
    return str(folder if root in (None, Path.cwd()) else root / folder)


SHARED = {
    "profile": {
        "nargs": "?",
        "default": "mini",
        "help": "which runs: plasticity/profiles.py has them all (default: mini)",
    },
    "--results": {"default": "", "help": "folder of all that a profile makes; results/<profile> unless said"},
    "--data": {
        "default": "data",
        "type": from_root,
        "help": "folder of the packed data sets and the weights (default: data)",
    },
    "--repeats": {"type": int, "default": 0, "help": "seeds of each case; 0 for the profile's own"},
    "--reading": {"default": "", "help": '"code" or "text"; the profile\'s own unless said'},
    "--workers": {"type": int, "default": 0, "help": "local processes (default: 2; on GPUs as many as fit)"},
    "--device": {"default": "auto", "help": '"auto", "cpu" or "cuda"'},
    "--engine": {"default": "local", "help": '"local", a Dask scheduler\'s address or scheduler file, or "dask"'},
}


def add(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add shared arguments by their names."""
    for name in names:
        parser.add_argument(name, **SHARED[name])


def results_of(options: argparse.Namespace) -> Path:
    """The results folder that was asked for."""
    return Path(from_root(options.results or f"results/{options.profile}"))


def reproduce(profile: str, **said: str | Path) -> str:
    """The command that makes a profile, with the options that are not the usual ones. Without a checkout, and so
    without notebooks, it does the runs."""
    usual = {"results": from_root(f"results/{profile}"), "data": from_root("data")}
    said = {name: str(value) for name, value in said.items() if str(value) != usual[name]}
    root = project_root()
    if root and shutil.which("make") and (root / "Makefile").is_file():
        there = [] if root == Path.cwd() else ["-C", str(root)]
        given = [f"{name.upper()}={value}" for name, value in said.items()]
        return shlex.join(["make", *there, "reproduce", f"PROFILE={profile}", *given])
    parts = [part for name, value in said.items() for part in (f"--{name}", value)]
    return shlex.join([sys.executable, "-m", "plasticity", "reproduce" if root else "run", profile, *parts])
