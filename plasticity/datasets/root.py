"""Where the project is: relative folders count from there, wherever in it a notebook or command is started."""

import contextlib
import tomllib
from pathlib import Path


def project_root() -> Path | None:
    """The checkout that the working folder is in: the nearest folder whose pyproject.toml names this project."""
    for folder in (here := Path.cwd(), *here.parents):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # none there, or somebody's own
            if tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["name"] == "plasticity":
                return folder
    return None
