"""The arguments that several commands share."""

import argparse
import shlex
import shutil
import sys
from pathlib import Path

SHARED = {
    "profile": {
        "nargs": "?",
        "default": "mini",
        "help": "which runs: plasticity/profiles.py has them all (default: mini)",
    },
    "--results": {"default": "", "help": "folder of all that a profile makes; results/<profile> unless said"},
    "--data": {"default": "data", "help": "folder of the packed data sets and the weights (default: data)"},
    "--repeats": {"type": int, "default": 0, "help": "seeds of each case; 0 for the profile's own"},
    "--reading": {"default": "", "help": '"code" or "text"; the profile\'s own unless said'},
    "--workers": {"type": int, "default": 2, "help": "local processes (default: 2)"},
    "--device": {"default": "auto", "help": '"auto", "cpu" or "cuda"'},
    "--engine": {"default": "local", "help": '"local", a Dask scheduler\'s address or scheduler file, or "dask"'},
}


def add(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add shared arguments by their names."""
    for name in names:
        parser.add_argument(name, **SHARED[name])


def results_of(options: argparse.Namespace) -> Path:
    """The results folder that was asked for."""
    return Path(options.results or f"results/{options.profile}")


def reproduce(profile: str, **said: str | Path) -> str:
    """The command that makes a profile, with the options that are not the usual ones."""
    usual = {"results": f"results/{profile}", "data": "data"}
    said = {name: str(value) for name, value in said.items() if str(value) != usual[name]}
    if shutil.which("make") and Path("Makefile").is_file() and Path("notebooks").is_dir():
        return shlex.join(["make", "reproduce", f"PROFILE={profile}", *(f"{k.upper()}={v}" for k, v in said.items())])
    parts = [part for name, value in said.items() for part in (f"--{name}", value)]
    return shlex.join([sys.executable, "-m", "plasticity", "reproduce", profile, *parts])
