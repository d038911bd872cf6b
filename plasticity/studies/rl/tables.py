"""The tables of notebook 56: pure functions of ``frame``, one row per run."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ...analysis.paired import Difference, interval
from ...analysis.writing import text_table
from ...run import Run
from . import numbers
from .numbers import STATISTICS
from .runs import PLAIN, RANDOM

COLUMNS = ["row", "replay", "game", "seed", "score", "score_sd", "test_episodes", "capped", "updates", "train_score"]
COLUMNS += ["seconds", "normalised"]
SEED = 0  # of the bootstrap
TITLES = {"minatar": "MinAtar", "atari": "Atari"}


def frame(study: Mapping[tuple[str, int], list[Run]], records: Mapping[Run, dict]) -> pd.DataFrame:
    """One row per finished run, with its row of the table, replay ratio, game, seed and metrics, and its ``normalised``
    score."""
    rows = []
    for (title, replay), runs in study.items():
        for run in runs:
            record = records[run]
            if record["status"] == "done":
                named = {"row": title, "replay": replay, "game": run.dataset, "seed": run.seed}
                rows.append(named | record["metrics"] | {"seconds": record["seconds"]})
    table = pd.DataFrame(rows, columns=COLUMNS)
    zero, one = references(table)
    game = table.game
    return table.assign(normalised=numbers.normalised(table.score, game.map(zero), game.map(one)).astype(float))


def histories(study: Mapping[tuple[str, int], list[Run]], records: Mapping[Run, dict]) -> pd.DataFrame:
    """One row per epoch of every finished run: row, replay, game, seed, and what its history has."""
    rows = []
    for (title, replay), runs in study.items():
        for run in runs:
            named = {"row": title, "replay": replay, "game": run.dataset, "seed": run.seed}
            rows += [named | epoch for epoch in records[run].get("history", [])]
    columns = dict.fromkeys(("row", "replay", "game", "seed", "steps", "train_score"))
    return pd.DataFrame(rows).reindex(columns=columns).astype({"train_score": float})


def references(table: pd.DataFrame) -> tuple[dict[str, float], dict[str, float]]:
    """By game, the scores that are normalised to 0 and to 1: for Atari random play and the human's, as published; for
    MinAtar, which has no human's, random play and the mean of the row `PLAIN` at replay ratio 1, as played here."""
    scale = numbers.published("human_random")
    names = ["atari_" + _snake(game) for game in scale.game]
    zero, one = (dict(zip(names, scale[column], strict=True)) for column in ("random", "human"))
    for row, into in ((RANDOM, zero), (PLAIN, one)):
        chosen = table[(table.row == row) & (table.replay == 1) & table.game.str.startswith("minatar")]
        into |= chosen.groupby("game").score.mean().to_dict()
    return zero, one


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """With a column ``label``: the row, and its replay ratio where the table has several."""
    several = table.replay.nunique() > 1
    labels = [
        f"{row}, RR {replay}" if several and row != RANDOM else row
        for row, replay in zip(table.row, table.replay, strict=True)
    ]
    return table.assign(label=labels)


def by_game(table: pd.DataFrame) -> pd.DataFrame:
    """The test score of each row and game: mean and standard deviation over seeds; n."""
    rows, names = [], list(table.game.unique())
    for label, part in labelled(table).groupby("label", sort=False):
        found = part.groupby("game").score
        spread = [_spread(found.get_group(game)) if game in found.groups else "-" for game in names]
        rows.append([label, *spread, part.groupby("game").size().max()])
    return text_table(rows, ["Row", *map(game_title, names), "n"])


def _spread(scores: pd.Series) -> str:
    return f"{scores.mean():.2f}" + (f" ± {scores.std():.2f}" if len(scores) > 1 else "")


def game_title(name: str) -> str:
    """ "minatar_space_invaders" as people write it."""
    kind, _, game = name.partition("_")
    return f"{game.replace('_', ' ').title()} ({TITLES[kind]})"


def aggregates(table: pd.DataFrame) -> pd.DataFrame:
    """One row per row and replay ratio: label, n (runs), and each of `STATISTICS` of the normalised scores with its
    interval: ``IQM``, ``IQM low``, ``IQM high``."""
    rows = []
    for label, part in labelled(table).groupby("label", sort=False):
        scores = [one.to_numpy() for _, one in part.groupby("game").normalised]
        values, ends = numbers.statistics(scores), numbers.intervals(scores, np.random.default_rng(SEED))
        row = {"label": label, "row": part.row.iloc[0], "replay": part.replay.iloc[0], "n": len(part)}
        for name in STATISTICS:
            row |= {name: values[name], f"{name} low": ends[name][0], f"{name} high": ends[name][1]}
        rows.append(row)
    return pd.DataFrame(rows)


def beside_table_1(table: pd.DataFrame, like: Mapping[str, str]) -> pd.DataFrame:
    """`aggregates` as texts, beside the row of Table 1 that a row is ``like``, as printed. The scales differ: Table 1's
    1 is a human, the miniature's its own agent."""
    printed = numbers.published("table_1").set_index("row")
    rows = []
    for found in aggregates(table).to_dict("records"):
        name = like.get(found["row"], "")
        theirs = [f"{printed.loc[name, s.lower()]:.3f}" if name else "-" for s in STATISTICS]
        ours = [_within(found[s], found[f"{s} low"], found[f"{s} high"]) for s in STATISTICS]
        rows.append([found["label"], *ours, found["n"], name or "-", *theirs])
    return text_table(rows, ["Row", *STATISTICS, "n", "In Table 1", *(f"{name} There" for name in STATISTICS)])


def _within(value: float, low: float, high: float, form: str = ".2f") -> str:
    return f"{value:{form}}" + (f" [{low:{form}}, {high:{form}}]" if low == low else "")


def difference(table: pd.DataFrame, one: str, other: str, replay: int, value: str = "normalised") -> Difference:
    """Row ``one`` minus row ``other`` at a replay ratio, paired by game and seed, with the interval that respects the
    games (`analysis.paired.interval`); random play has replay ratio 1 alone."""

    def of(row):
        ratio = 1 if row == RANDOM else replay
        return table[(table.row == row) & (table.replay == ratio)].set_index(["game", "seed"])[value].astype(float)

    pairs = pd.concat({"a": of(one), "b": of(other)}, axis=1, join="inner").dropna()
    return interval(pairs.a - pairs.b)


def differences(table: pd.DataFrame, reference: str = "") -> pd.DataFrame:
    """Every row minus the ``reference`` (`PLAIN`, or the first row) at the same replay ratio: label, replay, found."""
    reference = reference or plain_of(table)
    rows = []
    for (label, row, replay), _ in labelled(table).groupby(["label", "row", "replay"], sort=False):
        if row not in (reference, RANDOM):
            rows.append({"label": label, "replay": replay, "found": difference(table, row, reference, replay)})
    return pd.DataFrame(rows, columns=["label", "replay", "found"])


def plain_of(table: pd.DataFrame) -> str:
    """The row that the others are compared with."""
    return PLAIN if PLAIN in set(table.row) else "DrQ"


def paired(table: pd.DataFrame) -> pd.DataFrame:
    """`differences` as texts: the mean with its interval, in how many pairs the row is higher, and by game."""
    rows, names = [], list(table.game.unique())
    for row in differences(table).itertuples():
        pairs = row.found.pairs
        means = pairs.groupby("game").mean()
        each = [f"{means[game]:+.2f}" if game in means.index else "-" for game in names]
        higher = f"{int((pairs > 0).sum())} of {len(pairs)}"
        rows.append([row.label, _within(row.found.mean, row.found.low, row.found.high, "+.2f"), higher, *each])
    return text_table(rows, ["Row", f"Minus {plain_of(table)}", "Higher", *map(game_title, names)])


def learned(table: pd.DataFrame) -> pd.DataFrame:
    """What each game's agent learns before methods are compared: the score of random play and of the first row that
    learns, their difference with its 95% interval, and whether that is above zero."""
    rows, (zero, _) = [], references(table)
    for game, part in table.groupby("game", sort=False):
        base = next((row for row in part.row if row != RANDOM), "")
        scores = part[(part.row == base) & (part.replay == part.replay.min())].score
        random = zero.get(game, np.nan)
        found = interval(scores - random)
        shown, clearly = _within(found.mean, found.low, found.high, "+.2f"), "yes" if found.low > 0 else "no"
        rows.append([game_title(game), f"{random:.2f}", base, _spread(scores), shown, len(scores), clearly])
    return text_table(rows, ["Game", "Random Play", "Row", "Score", "Minus Random Play", "n", "Learns"])


def recomputed() -> pd.DataFrame:
    """Table 8 computed again, as texts: ours (printed)."""
    rows = [
        [row["row"], *(f"{row[name]:.3f} ({row[f'{name} printed']:.3f})" for name in STATISTICS)]
        for row in numbers.table_8().to_dict("records")
    ]
    return text_table(rows, ["Row", *STATISTICS])


def noise() -> pd.DataFrame:
    """What five seeds can tell: how far apart two IQMs of one algorithm are in 95% of pairs, by number of seeds, and
    the chance that they differ by as much as rows of Table 1 do."""
    table = numbers.published("noise")
    rows = []
    for name, part in table.groupby("algorithm", sort=False):
        apart = [f"{part.set_index('seeds').apart[n]:.3f}" for n in (3, 5, 10, 20)]
        five = part.set_index("seeds").loc[5]
        rows.append([name, *apart, f"{five['p_0.044']:.3f}", f"{five['p_0.089']:.3f}"])
    heads = [*(f"{n} Seeds" for n in (3, 5, 10, 20)), "p of H&T's .044", "p of Head Reset's .089"]
    return text_table(rows, ["Algorithm", *heads])
