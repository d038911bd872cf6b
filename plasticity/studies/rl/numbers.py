"""The published numbers of Lee et al. 2024, section 5.3, as data, and the statistics of Atari-100k.

Tables 1 and 8 as printed; the scores of humans and of random play are those of Mnih et al. 2015 that Agarwal et al.
2021 normalise by; ``noise`` comes from the public files of 100 runs of each of their algorithms: how far apart two IQMs
of one algorithm are, by chance alone. Scores are normalised as (score - random) / (human - random).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import trim_mean

from ..main_paper.numbers import Statement, read_published

PUBLISHED = Path(__file__).parent / "published"
STATISTICS = ("IQM", "Median", "Mean", "OG")
CLAIMS = read_published(PUBLISHED / "claims.csv", Statement)
DRAWS = 2000  # of the bootstrap


def published(name: str) -> pd.DataFrame:
    """ "table_1" (row, iqm, median, mean, og), "table_8" (game; a column for each row of Table 1), "human_random"
    (game, random, human) or "noise" (algorithm, seeds, sd, apart: the 95% of differences, p_<difference>)."""
    return pd.read_csv(PUBLISHED / f"{name}.csv")


def normalised(score, random, human):
    """0 for random play, 1 for the human, or whichever reference there is."""
    return (score - random) / (human - random)


def statistics(scores: Sequence[np.ndarray]) -> dict[str, float]:
    """IQM, median, mean and optimality gap (OG) of normalised scores, an array of runs for each game (Agarwal et al.
    2021, section 4.3).

    IQM: the mean of all runs' middle half, one outlying game does not carry it. Median and mean: over games, of their
    means. OG: by how much runs fall short of 1, on average.
    """
    return {name: float(values[0]) for name, values in _of([np.asarray(one, float)[None] for one in scores]).items()}


def intervals(scores: Sequence[np.ndarray], generator: np.random.Generator) -> dict[str, tuple[float, float]]:
    """95% intervals of `statistics` by a stratified bootstrap: runs are drawn again within each game, percentiles of
    2,000 draws. With few runs they are too narrow; NaN with a single run of a game."""
    if min(map(len, scores)) < 2:
        return dict.fromkeys(STATISTICS, (np.nan, np.nan))
    again = [np.asarray(one)[generator.integers(len(one), size=(DRAWS, len(one)))] for one in scores]
    return {name: tuple(np.percentile(values, (2.5, 97.5)).tolist()) for name, values in _of(again).items()}


def _of(scores: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The statistics [draws] of scores [draws, runs] of each game."""
    runs, games = np.concatenate(scores, 1), np.stack([one.mean(1) for one in scores], 1)
    short = np.stack([np.maximum(1 - one, 0).mean(1) for one in scores], 1)
    values = (trim_mean(runs, 0.25, axis=1), np.median(games, 1), games.mean(1), short.mean(1))
    return dict(zip(STATISTICS, values, strict=True))


def table_8() -> pd.DataFrame:
    """Table 8 computed again: one row per row of Table 1, ``IQM`` to ``OG`` of the games' means, and as printed.

    Median and mean are what they must be. IQM and OG are over runs, which means can't give: the recomputed IQM is
    higher and the OG lower.
    """
    scores, scale = published("table_8"), published("human_random")
    rows = []
    for printed in published("table_1").itertuples(index=False):
        ours = statistics([[value] for value in normalised(scores[printed.row], scale.random, scale.human)])
        theirs = dict(zip(STATISTICS, printed[1:], strict=True))
        rows.append({"row": printed.row} | ours | {f"{name} printed": value for name, value in theirs.items()})
    return pd.DataFrame(rows)
