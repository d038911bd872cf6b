"""Which data sets and weights a profile needs, and which are there."""

from pathlib import Path

import pandas as pd

from ..data import is_packed, manifest
from ..datasets import main_paper
from ..profiles import Profile
from ..rl import games
from ..run import SOURCES
from ..running.engine import Place
from ..training.games import GAME
from ..weights import weights_file


def inventory(profile: Profile, place: Place) -> pd.DataFrame:
    """Which data sets, games and pretrained weights a profile needs, and whether they are there: kind, name, there."""
    rows = []
    for name in profile.all_datasets:
        game = GAME.fullmatch(name)
        there = is_playable(name) if game else is_packed(Path(place.data) / name)
        rows.append(("game" if game else "data set", name, there))
    for name in profile.architectures if profile.weights != "none" else ():
        generated = not all(there for _, _, there in rows) and profile.weights in SOURCES
        rows.append(("weights", name, not generated and has_weights(name, profile.weights, place.data)))
    return pd.DataFrame(rows, columns=["kind", "name", "there"])


def duplicates(profile: Profile, place: Place) -> pd.DataFrame:
    """Groups of equal and nearly equal images in a profile's real data sets, from the manifests; none for offline ones.

    ``equal``, ``near``: groups; ``images``: how many are in near groups; ``across test``: near groups on both sides.
    """
    rows = []
    for name in [name for name in profile.datasets if name in main_paper.VARIANTS]:
        facts = manifest(Path(place.data) / name)
        equal, near = facts["duplicates"]["exact"], facts["duplicates"]["near"]
        row = {"dataset": name, "of": facts["shape"][0], "published": facts["expected"], "equal": equal["number"]}
        rows.append(row | {"near": near["number"], "images": near["images"], "across test": near["across_test"]})
    return pd.DataFrame(rows)


def is_playable(game: str) -> bool:
    """Whether a game's package is installed and has it."""
    try:
        games.require(game)
    except (ModuleNotFoundError, ValueError):
        return False
    return True


def has_weights(architecture: str, weights: str, folder: str | Path) -> bool:
    """Whether the pretrained weights are there."""
    try:
        return weights_file(architecture, weights, folder)[0].is_file()
    except FileNotFoundError:
        return False
